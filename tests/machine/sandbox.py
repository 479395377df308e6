"""`install.sh --sandbox`: a WHM-shaped machine to try the plugin on, by hand in a shell or told as a tour.

Usage: python -m tests.machine.sandbox [--tour]
Without a terminal the tour is told; it ends with 0 only if every chapter went as it should.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.machine.machine import CLEAN, Machine, Shape, why_not_here

GRANT = (
    "In a container, grant it: docker run --privileged ... "
    "(or --cap-add SYS_ADMIN --cap-add NET_ADMIN --security-opt seccomp=unconfined "
    "--security-opt apparmor=unconfined)."
)
STAND_IN = (
    "WHM itself is a stand-in here: cPanel's programs are imitated after its public documentation.\n"
    "Apache, its stapling, TLS, DNS, the certificate authorities, their responders and the outage are real."
)
BANNER = f"""
This is a machine shaped like a WHM server: six websites, three certificate authorities.
{STAND_IN}

  ocsp-stapling status           how things stand
  machine fault alpha hang       let the responder of the authority "alpha" hang, then forget the cached staples:
  /usr/local/cpanel/scripts/restartsrv_httpd --hard
  machine visit                  four visitors at once: see the stall
  ocsp-stapling off              end it
  machine heal                   the responder comes back
  ocsp-stapling on               staple again

  machine                        everything else that can break      exit   leave and remove the machine
"""
RESTART = "/usr/local/cpanel/scripts/restartsrv_httpd"
VISITORS = 4
QUICK_SECONDS = 1.0
RESPONDER_TIMEOUT = 3.0  # SSLStaplingResponderTimeout as EasyApache 4 sets it
LEEWAY = 1.2


@dataclass(frozen=True)
class Visit:
    """One handshake that asked for a staple."""

    seconds: float
    stapled: bool
    error: str


class ChapterError(Exception):
    """A chapter did not go as it should."""


def visits(machine: Machine) -> list[Visit]:
    """Let visitors come at once; print and return their handshakes, the quickest first."""
    printed = machine.python("tests.machine.clients", str(VISITORS))
    found = [json.loads(line) for line in printed.splitlines()]
    result = sorted((Visit(f["seconds"], f["stapled"], f["error"]) for f in found), key=lambda v: v.seconds)
    for visit in result:
        say(f"   {visit.seconds:7.3f} s   {visit.error or ('with staple' if visit.stapled else 'no staple')}")
    return result


def expect(right: bool, what: str) -> None:
    if not right:
        raise ChapterError(f"expected {what}")


def all_quick(found: list[Visit], stapled: bool) -> None:
    expect(not any(v.error for v in found), "every handshake to complete")
    expect(all(v.seconds < QUICK_SECONDS for v in found), f"every handshake within {QUICK_SECONDS:.0f} s")
    expect(all(v.stapled == stapled for v in found), f"{'a' if stapled else 'no'} staple in each")


def command(machine: Machine, *words: str) -> None:
    """Run the plugin's command as an administrator would, showing what it prints."""
    say(f"   # {shlex.join(['ocsp-stapling', *words])}")
    done = machine.run("ocsp-stapling", *words, check=False)
    for line in (done.stdout + done.stderr).splitlines():
        say(f"   {line}")
    expect(done.returncode == 0, f"`ocsp-stapling {words[0]}` to end with 0, not {done.returncode}")


# -- the chapters --------------------------------------------------------------------------------------------


def healthy(machine: Machine) -> None:
    """All is well: four visitors at once, each asking for a staple."""
    all_quick(visits(machine), stapled=True)


def outage(machine: Machine) -> None:
    """The responder of one authority accepts connections and never answers; the same four visitors."""
    machine.fault("alpha", "hang")
    machine.run(RESTART, "--hard")  # staples from before are cached for an hour; a restart forgets them
    for turn, visit in enumerate(visits(machine), start=1):
        due = turn * RESPONDER_TIMEOUT
        expect(abs(visit.seconds - due) < LEEWAY, f"visitor {turn} to wait about {due:.0f} s in the queue")


def off(machine: Machine) -> None:
    """One command ends it, although the responder still hangs."""
    command(machine, "off", "--yes", "--reason", "the responder of alpha hangs")


def healed(machine: Machine) -> None:
    """The responder hangs on; the visitors no longer notice."""
    all_quick(visits(machine), stapled=False)


def on(machine: Machine) -> None:
    """The responder is back, so stapling is turned on again."""
    machine.heal()
    command(machine, "on", "--yes")


def healthy_again(machine: Machine) -> None:
    """Everything is as it was."""
    all_quick(visits(machine), stapled=True)


CHAPTERS: tuple[Callable[[Machine], None], ...] = (healthy, outage, off, healed, on, healthy_again)


def tour(machine: Machine) -> int:
    """Tell the story; return the exit status."""
    say(STAND_IN)
    for number, chapter in enumerate(CHAPTERS, start=1):
        say(f"\n{number}. {chapter.__doc__}")
        begin = time.monotonic()
        try:
            chapter(machine)
        except (ChapterError, AssertionError) as problem:
            say(f"   This chapter went astray: {problem}")
            return 1
        say(f"   As it should ({time.monotonic() - begin:.1f} s).")
    say("\nThe tour ends well. Try it yourself in a terminal: sudo ./install.sh --sandbox")
    return 0


def shell(machine: Machine) -> int:
    """Open a shell in the machine and return when its user leaves it."""
    say(BANNER)
    startup = machine.path("/run/machine/bashrc")
    startup.write_text("PS1='[WHM-shaped machine] \\w # '\n")
    environment = CLEAN | {"TERM": os.environ.get("TERM", "dumb")}
    # Ctrl-C belongs to whatever runs in the shell; a handler, unlike SIG_IGN, is not passed on to it.
    signal.signal(signal.SIGINT, lambda *_: None)
    subprocess.run(
        machine.enter(["sh", "-c", "cd /root && exec bash --rcfile /run/machine/bashrc -i"]),
        env=environment,
        check=False,
    )
    say("The machine is removed; nothing of it is left.")
    return 0


def say(text: str) -> None:
    print(text, flush=True)


def leave(number: int, _frame: object) -> None:
    sys.exit(128 + number)


def main() -> int:
    reason = why_not_here()
    if reason:
        print(f"The sandbox cannot run: {reason}. {GRANT}", file=sys.stderr)
        return 1
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)
    by_itself = "--tour" in sys.argv[1:] or not (sys.stdin.isatty() and sys.stdout.isatty())
    try:
        with Machine(Shape()) as machine:
            return tour(machine) if by_itself else shell(machine)
    except KeyboardInterrupt:
        say("\nStopped; the machine is removed.")
        return 130


if __name__ == "__main__":
    sys.exit(main())
