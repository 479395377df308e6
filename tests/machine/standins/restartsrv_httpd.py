"""Stand-in for /usr/local/cpanel/scripts/restartsrv_httpd.

Follows cPanel's documentation "How to Restart Services" and "The restartsrv Scripts" (docs.cpanel.net): check,
graceful, hard, notconfigured-ok, reload, restart, start, stop, each also with two dashes, and --no-verbose; without
one a restart. It signals the parent without testing the configuration first: whether cPanel's own does is not
documented, and this is the harsher case.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

HTTPD = "/usr/sbin/httpd"
PID_FILE = Path("/run/apache2/httpd.pid")
REAL_SYSTEMD = Path("/run/systemd/private")
MOOD = Path("/run/machine/restart.mood")


def parent() -> int | None:
    try:
        pid = int(PID_FILE.read_text())
        if str(Path(f"/proc/{pid}/exe").readlink()).split(" ")[0] == HTTPD:
            return pid
    except (OSError, ValueError):
        pass
    return None


def systemd(verb: str) -> int:
    """Where the machine has a real systemd, Apache is a service of it."""
    return subprocess.run(["systemctl", verb, "httpd.service"], check=False).returncode


def start() -> int:
    if parent():
        return 0
    if REAL_SYSTEMD.exists():
        return systemd("start")
    done = subprocess.run([HTTPD, "-k", "start"], check=False)
    if done.returncode or _wait(lambda: parent() is not None, 10):
        return done.returncode
    _wait(lambda: parent() is not None or not _is_there(), 110)  # thousands of sites take their time
    return int(parent() is None)


def _is_there() -> bool:
    """Whether an Apache of root's is there, which may come up; workers whose parent was killed live on for long."""
    for each in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if os.path.realpath(each / "exe") == HTTPD and "\nUid:\t0\t" in (each / "status").read_text():
                return True
    return False


def stop() -> int:
    pid = parent()
    if pid is None:
        return 0
    slow = MOOD.read_text().split() if MOOD.exists() else []
    pause = float(slow[1]) if slow[:1] == ["stop-start"] and len(slow) > 1 else 0.0
    if REAL_SYSTEMD.exists():
        code = systemd("stop")
        time.sleep(pause)
        return code
    os.kill(pid, signal.SIGTERM)
    # The pid file goes first; the children, and with them the ports, only with the parent itself.
    if not _wait(lambda: not Path(f"/proc/{pid}").exists(), 15):
        os.kill(pid, signal.SIGKILL)
    time.sleep(pause)  # what systemd, hooks and a loaded server need between stop and start
    return 0


def graceful() -> int:
    pid = parent()
    if pid is None:
        return start()
    os.kill(pid, signal.SIGUSR1)
    return 0


def hard() -> int:
    return stop() or start()


def check() -> int:
    pid = parent()
    print(
        f"httpd (/usr/sbin/httpd -k start) is running as root with PID {pid}."
        if pid
        else "httpd is not running."
    )
    return 0 if pid else 1


def _wait(done: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if done():
            return True
        time.sleep(0.02)
    return done()


ACTIONS = {
    "start": start,
    "stop": stop,
    "graceful": graceful,
    "reload": graceful,
    "hard": hard,
    "check": check,
}
WITHOUT_EFFECT = ("restart", "notconfigured-ok", "no-verbose")


def main() -> int:
    words = [each.removeprefix("--") for each in sys.argv[1:]]
    options = [each for each in words if each not in WITHOUT_EFFECT]
    unknown = [each for each in options if each not in ACTIONS]
    if unknown:
        print(f"Unknown option: {unknown[0]}", file=sys.stderr)
        return 2
    code = ACTIONS[options[0]]() if options else graceful()
    if not options or options[0] in ("graceful", "reload", "hard", "start"):
        # cPanel's texts have typographic quotes, and what Apache and hooks print stands among them as it came.
        print("Waiting for “httpd” to restart … \x1b[32mgut, äußerst schnell\x1b[0m")
        print("httpd restarted successfully." if code == 0 else "httpd failed to start.")
    return code


if __name__ == "__main__":
    sys.exit(main())
