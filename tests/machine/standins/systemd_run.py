"""Stand-in for systemd-run(1): a transient service, kept as by systemd (keeper.py). Standard library only.

Carried out: --unit --description --service-type --setenv --collect --quiet --no-block --wait -p/--property.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.machine.standins import units
from tests.machine.standins.systemctl import start
from tests.machine.standins.units import UnitError

TRANSIENT = Path("/run/systemd/system")


def options(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="systemd-run", allow_abbrev=False)
    for flag in ("--quiet", "--collect", "--no-block", "--wait"):
        parser.add_argument(flag, action="store_true")
    parser.add_argument("--unit", default=f"run-r{time.monotonic_ns():x}")
    parser.add_argument("--description", default="")
    parser.add_argument("--service-type", default="simple")
    parser.add_argument("--setenv", action="append", default=[])
    parser.add_argument("-p", "--property", action="append", default=[])
    parser.add_argument("command", nargs="+")
    return parser.parse_args(argv)


def unit_text(given: argparse.Namespace) -> str:
    lines = ["[Unit]", f"Description={given.description or given.command[0]}", "[Service]"]
    kind = "exec" if given.no_block and given.service_type == "oneshot" else given.service_type
    lines += [f"Type={kind}", *(f"Environment={shlex.quote(each)}" for each in given.setenv), *given.property]
    return "\n".join([*lines, f"ExecStart={shlex.join(given.command)}", ""])


def main() -> int:
    given = options(sys.argv[1:])
    name = given.unit if given.unit.endswith(".service") else f"{given.unit}.service"
    path = TRANSIENT / name
    if units.pid_of(name) or (path.exists() and units.active_state(name) == "failed"):
        raise UnitError(f"Failed to start transient service unit: Unit {name} was already loaded.")
    TRANSIENT.mkdir(parents=True, exist_ok=True)
    path.write_text(unit_text(given))
    if not given.quiet:
        print(f"Running as unit: {name}", file=sys.stderr)
    code = start(units.load(name))
    while given.wait and units.pid_of(name, "keeper"):
        time.sleep(0.02)
    return int(str(units.recall(name).get("status", 0))) if given.wait else code


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UnitError as problem:
        print(problem, file=sys.stderr)
        sys.exit(1)
