"""The whole story, told on a machine with the plugin installed: healthy, outage, off, healed, on - each measured."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.machine.machine import Machine

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
    """Let visitors come at once; say each as he returns, and return their handshakes, the quickest first."""
    say(f"   {VISITORS} visitors have set out, each asks for a staple:")
    result = []
    for printed in machine.python_lines("tests.machine.clients", str(VISITORS)):
        found = json.loads(printed)
        visit = Visit(found["seconds"], found["stapled"], found["error"])
        say(f"   {visit.seconds:7.3f} s   {visit.error or ('with staple' if visit.stapled else 'no staple')}")
        result.append(visit)
    return sorted(result, key=lambda visit: visit.seconds)


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


def say(text: str) -> None:
    print(text, flush=True)
