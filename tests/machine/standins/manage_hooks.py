"""Stand-in for /usr/local/cpanel/bin/manage_hooks, as far as scripts are registered by hand.

Follows "Guide to Standardized Hooks - The manage_hooks Utility" (api.docs.cpanel.net): add, delete and list; a hook
is the script with its category, event and stage. `run EVENT` is the machine's own: what WHM does after that event.
"Guide to Standardized Hooks - Privilege Escalation": a script of an account's event (category Cpanel) runs as the
account's user unless it was registered with `--escalateprivs 1`.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

DATA = Path("/var/cpanel/hooks/data.json")


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="manage_hooks", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("add", "delete"):
        command = commands.add_parser(name)
        command.add_argument("kind", choices=("script",))
        command.add_argument("script")
        command.add_argument("--manual", action="store_true", required=True)
        for option in ("--category", "--event", "--stage"):
            command.add_argument(option, required=True)
        command.add_argument("--escalateprivs", nargs="?", const="1", default="0")
    commands.add_parser("list")
    commands.add_parser("run").add_argument("event")
    return parser.parse_args()


def load() -> list[list[str]]:
    found: list[list[str]] = json.loads(DATA.read_text()) if DATA.exists() else []
    return found


def store(hooks: list[list[str]]) -> None:
    if hooks:
        DATA.parent.mkdir(parents=True, exist_ok=True)
        DATA.write_text(json.dumps(hooks))
    elif DATA.exists():
        DATA.unlink()
        DATA.parent.rmdir()


def run(event: str) -> int:
    """Call the scripts of an event with the payload on standard input; a broken pipe ends this, as it may end WHM."""
    payload = json.dumps({"context": {"event": event}, "data": {"key": "SECRET-" + "x" * 200_000}})
    for script, category, of, _stage, escalated in load():
        if of == event:
            user = "nobody" if category == "Cpanel" and escalated != "1" else None
            with subprocess.Popen([script], stdin=subprocess.PIPE, text=True, user=user) as process:
                assert process.stdin is not None
                process.stdin.write(payload)
    return 0


def main() -> int:
    given = options()
    if given.command == "list":
        for hook in load():
            print("  hook: {}\n    category: {}\n    event: {}\n    stage: {}".format(*hook[:4]))
        return 0
    if given.command == "run":
        return run(given.event)
    hook = [given.script, given.category, given.event, given.stage, given.escalateprivs]
    hooks = load()
    if given.command == "add":
        if not os.access(given.script, os.X_OK):
            print(f"{given.script} is not executable", file=sys.stderr)
            return 1
        store([*hooks, hook])  # registered twice is called twice
    elif hook not in hooks:
        print("There is no such hook", file=sys.stderr)
        return 1
    else:
        store([each for each in hooks if each != hook])
    return 0


if __name__ == "__main__":
    sys.exit(main())
