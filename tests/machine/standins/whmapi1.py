"""Stand-in for /usr/local/cpanel/bin/whmapi1.

Follows "Use WHM API to restart services: restartservice", "servicestatus", "version",
"get_appconfig_application_list", "fetch_ssl_vhosts" and "Guide to WHM API 1 - Return data"
(api.docs.cpanel.net). Faults of the API itself are set in /run/machine/whmapi1.mode: fail (it refuses), hang,
silent, garbage, lie, page (a page for browsers instead of JSON, as without a licence); page-after and error-after, in
which what was asked for is done first; answer-first, in which it is done two seconds after the answer. How a restart
goes is set in /run/machine/restart.mood: WHM's may be a stop and start
(`stop-start PAUSE BEFORE`: seconds between the two, and before both), and it may be put off ("Minimum time
between Apache graceful restarts" of Tweak Settings). As observed of WHM 11.120, `result` is 1 for a restart that
failed, and the text stands in `metadata.output.raw`; registered applications are listed by service, with lists of
addresses and privileges.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

RESTART = "/usr/local/cpanel/scripts/restartsrv_httpd"
APPS = Path("/var/cpanel/apps")
MODE = Path("/run/machine/whmapi1.mode")
PAGE = "<!DOCTYPE html>\n<html><head><title>No licence</title></head><body>This page is for browsers.</body></html>"
VERSION = "11.132.0.9"


def restartservice(args: dict[str, str]) -> tuple[dict[str, object], str]:
    if args.get("service") != "httpd":
        return {}, "The service is not known."
    if mode() == "lie":
        return {"service": "httpd"}, ""
    if mode() == "answer-first":
        if os.fork():
            RAW.append("Apache restart queued.\n")
            return {"service": "httpd"}, ""
        os.setsid()
        for descriptor in (1, 2):  # whoever asked is not kept waiting for what goes on without them
            os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
        time.sleep(2)
    action = mood("restart")
    if action.startswith("deferred"):
        time.sleep(float(action.partition(" ")[2] or 25))
    elif len(words := action.split()) > 2:
        time.sleep(float(words[2]))
    command = [RESTART, "--hard"] if action.startswith("stop-start") else [RESTART]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    RAW.append(done.stdout + done.stderr)
    return {"service": "httpd"}, ""


def servicestatus(args: dict[str, str]) -> tuple[dict[str, object], str]:
    done = subprocess.run([RESTART, "--check"], capture_output=True, check=False)
    running = int(done.returncode == 0)
    entry = {
        "name": "httpd",
        "display_name": "Apache Web Server",
        "enabled": 1,
        "monitored": 1,
        "installed": 1,
    }
    return {"service": [entry | {"running": running}]}, ""


def version(args: dict[str, str]) -> tuple[dict[str, object], str]:
    return {"version": VERSION}, ""


def get_appconfig_application_list(args: dict[str, str]) -> tuple[dict[str, object], str]:
    apps: dict[str, list[object]] = {"cpanel": [], "whostmgr": [], "webmail": []}
    for path in sorted(APPS.glob("*.conf")):
        pairs = (line.partition("=") for line in path.read_text().splitlines() if "=" in line)
        found = {key.strip(): value.strip() for key, _, value in pairs}
        apps[found["service"]].append(found | {"url": [found["url"]], "acls": found["acls"].split(",")})
    return dict(apps), ""


def fetch_ssl_vhosts(args: dict[str, str]) -> tuple[dict[str, object], str]:
    state = json.loads(Path("/var/cpanel/machine-sites.json").read_text())
    vhosts = [{"servername": n, "domains": [n, f"www.{n}"], "user": u, "type": "main"} for n, u, _ in state]
    return {"vhosts": vhosts}, ""


FUNCTIONS = {
    f.__name__: f
    for f in (restartservice, servicestatus, version, get_appconfig_application_list, fetch_ssl_vhosts)
}


RAW: list[str] = []
"""What the command printed: in `metadata.output.raw`, while `result` is 1 even for a restart that failed."""


def mood(name: str) -> str:
    """How the restart goes: "" gracefully, `stop-start`, or `deferred SECONDS` before anything is done."""
    path = MODE.with_name(f"{name}.mood")
    return path.read_text().strip() if path.exists() else ""


def mode() -> str:
    return MODE.read_text().strip() if MODE.exists() else ""


def misbehave() -> int | None:
    if mode() == "hang":
        time.sleep(600)
    if mode() == "silent":
        return 1
    if mode() == "page":
        print(PAGE)
        return 0
    if mode() == "garbage":
        print("Can't locate object method via package at line 1.")
        return 0
    return None


def asked(name: str, args: dict[str, str]) -> tuple[dict[str, object], str]:
    function = FUNCTIONS.get(name)
    if mode() == "fail":
        return {}, "The request failed on purpose."
    if not function:
        return {}, f"Unknown app (“{name}”) requested for this version (1)."
    data, reason = function(args)
    return ({}, "500 Internal Server Error") if mode() == "error-after" else (data, reason)


def main() -> int:
    words = [w for w in sys.argv[1:] if not w.startswith("--")]
    if not words:
        print("Usage: whmapi1 [--output=json] FUNCTION [key=value ...]", file=sys.stderr)
        return 1
    name, args = words[0], dict(w.split("=", 1) for w in words[1:] if "=" in w)
    code = misbehave()
    if code is not None:
        return code
    data, reason = asked(name, args)
    if mode() == "page-after":
        print(PAGE)
        return 0
    metadata = {"command": name, "version": 1, "result": int(not reason), "reason": reason or "OK"}
    if RAW:
        metadata["output"] = {"raw": RAW[-1]}
    print(json.dumps({"metadata": metadata, "data": data}))
    return int(bool(reason))


if __name__ == "__main__":
    sys.exit(main())
