"""Does Apache serve as it should? Timed handshakes that ask for a staple, over a sample of sites.

A restart that reports success proves nothing; nor does a client that asks for no staple, which is served at once
in the worst stall.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ocsp_stapling.ocsp.door import Door
from ocsp_stapling.ocsp.staple import Handshake, handshake, handshakes
from ocsp_stapling.text import counted

_PAUSE_SECONDS = 0.05
_SHORTEST_SECONDS = 0.25


@dataclass(frozen=True)
class Sample:
    """A site to meet, the responder its certificate names ("" if none), and what the plan expects of it.

    `staple` is True or False when a staple must be there or must be absent, None when either is right.
    """

    door: Door
    responder: str = ""
    staple: bool | None = None


@dataclass(frozen=True)
class Verification:
    """What a round of handshakes showed. `served`: quick for clients that ask; `as_wanted`: staples too.

    `first_quick_at` is when (time.monotonic) the first quick handshake ended, None if there was none.
    """

    served: bool
    as_wanted: bool
    sentence: str
    handshakes: tuple[Handshake, ...] = ()
    warnings: tuple[str, ...] = ()
    first_quick_at: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the keys served, as_wanted, sentence, handshakes, warnings."""
        return {
            "served": self.served,
            "as_wanted": self.as_wanted,
            "sentence": self.sentence,
            "handshakes": [handshake_json(each) for each in self.handshakes],
            "warnings": list(self.warnings),
        }


def any_staple(samples: Sequence[Sample]) -> list[Sample]:
    """Return the samples without a wish for their staples: only whether they are served counts."""
    return [replace(sample, staple=None) for sample in samples]


def handshake_json(found: Handshake) -> dict[str, Any]:
    """Return one handshake as the JSON object every face shows."""
    return {
        "site": found.door.name,
        "address": found.door.address,
        "port": found.door.port,
        "key": found.door.key or None,
        "asked": found.asked,
        "seconds": round(found.seconds, 4),
        "stapled": found.staple is not None,
        "failure": found.error or None,
    }


def paired(
    before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]
) -> list[tuple[str, Mapping[str, Any], Mapping[str, Any] | None]]:
    """Return of each handshake what its site is called, itself and the one after the change, as `handshake_json`.

    A site of several ports (a drop-in's own, beside the one visitors come to) is called by name and port; one that
    was met as clients of RSA or ECDSA alone meet it says so.
    """
    then = {_place(each): each for each in after}
    ports = Counter(name for name, _ in {(each["site"], each.get("port")) for each in before})
    return [(_called(each, ports[each["site"]] > 1), each, then.get(_place(each))) for each in before]


def _called(found: Mapping[str, Any], with_port: bool) -> str:
    name = f"{found['site']}:{found['port']}" if with_port else str(found["site"])
    return f"{name} ({str(found['key']).upper()})" if found.get("key") else name


def _place(found: Mapping[str, Any]) -> tuple[Any, ...]:
    return found["site"], found["address"], found.get("port"), found.get("key")


def wait_until_served(
    samples: Sequence[Sample],
    *,
    within: float,
    quick: float,
    hopeless: Callable[[], bool] = lambda: False,
) -> Verification:
    """Meet the samples again and again until all are served as wanted or `within` seconds are over.

    `quick` is the most seconds that a served handshake may take; `hopeless`, asked when a round was in vain,
    ends the waiting. The last round's verdict is returned.
    """
    deadline = time.monotonic() + within
    first: float | None = None
    while True:
        limit = min(quick, max(_SHORTEST_SECONDS, deadline - time.monotonic()))
        begin = time.monotonic()
        verdict = judge(samples, handshakes([s.door for s in samples], ask=True, limit=limit))
        times = [h.seconds for h in verdict.handshakes if h.completed]
        if first is None and times:
            first = begin + min(times)
        if verdict.served and verdict.as_wanted and _met_what_staples(samples, verdict):
            return replace(_settled(samples, verdict, quick), first_quick_at=first)
        if time.monotonic() >= deadline or hopeless():
            return replace(verdict, sentence=_told(verdict, within), first_quick_at=first)
        time.sleep(_PAUSE_SECONDS)


def _met_what_staples(samples: Sequence[Sample], verdict: Verification) -> bool:
    """Whether one of the samples that must staple was met: while Apache restarts, some connections are refused."""
    of_those = [h for s, h in zip(samples, verdict.handshakes, strict=False) if s.staple]
    return not of_those or any(h.completed for h in of_those)


def _settled(samples: Sequence[Sample], verdict: Verification, quick: float) -> Verification:
    """Meet the samples once more: the round that ended the wait still shows some of the waiting."""
    again = judge(samples, handshakes([s.door for s in samples], ask=True, limit=quick))
    return again if again.served and again.as_wanted else verdict


def judge(samples: Sequence[Sample], found: Sequence[Handshake]) -> Verification:
    """Return what one round of handshakes with the samples means. Pure."""
    made = tuple(found)
    if not made:
        return Verification(True, True, "There was no TLS site to test.", made)
    slow = [h for h in made if h.error == "timeout"]
    dead = [h for h in made if h.error in ("refused", "unreachable", "reset")]
    odd = [h for h in made if h.error and h not in slow and h not in dead]
    if slow or len(dead) == len(made):
        return Verification(False, False, _unserved(slow, dead, made), made)
    warnings = [f"{h.door.name} at {h.door.address} did not answer ({h.error})." for h in dead + odd]
    return _judge_staples(samples, made, warnings)


def _judge_staples(
    samples: Sequence[Sample], made: tuple[Handshake, ...], warnings: list[str]
) -> Verification:
    """Every staple that must be absent is; of those that must be there, at least one responder's is."""
    pairs = [(s, h) for s, h in zip(samples, made, strict=True) if h.completed]
    unwanted = [h for s, h in pairs if s.staple is False and h.staple is not None]
    if unwanted:
        names = ", ".join(sorted({h.door.name for h in unwanted})[:3])
        return Verification(True, False, f"Staples are still sent ({names}).", made, tuple(warnings))
    wanted = [(s, h) for s, h in pairs if s.staple]
    missing = sorted({s.responder for s, h in wanted if h.staple is None})
    if wanted and all(h.staple is None for _, h in wanted):
        return Verification(True, False, "No site sends a staple.", made, tuple(warnings))
    warnings += [f"No staple yet for certificates of {name or 'an unnamed responder'}." for name in missing]
    slowest = max((h.milliseconds for _, h in pairs), default=0)
    what = (
        "with staples"
        if wanted
        else "without staples"
        if any(s.staple is False for s in samples) and not any(s.staple for s in samples)
        else "served"
    )
    sentence = f"{counted(pairs, 'site').capitalize()} tested, {what}, the slowest after {slowest} ms."
    return Verification(True, True, sentence, made, tuple(warnings))


def answers_plain_clients(samples: Sequence[Sample], quick: float) -> bool:
    """Return whether a client that asks for no staple is served: then workers are free, and only stapling hangs."""
    return any(handshake(s.door, ask=False, limit=quick).completed for s in samples[:2])


def _unserved(slow: list[Handshake], dead: list[Handshake], made: tuple[Handshake, ...]) -> str:
    if len(dead) == len(made):
        return f"No site answers on its port ({dead[0].error})."
    longest = max(h.seconds for h in slow)
    return f"{len(slow)} of {len(made)} sites did not complete a handshake within {longest:.1f} s."


def _told(verdict: Verification, within: float) -> str:
    """A last short round says little; what counts is how long it was tried in vain."""
    waiting = sum(h.error == "timeout" for h in verdict.handshakes)
    if not waiting:
        return verdict.sentence
    return f"{waiting} of {len(verdict.handshakes)} sites did not complete a handshake in {within:.1f} s of trying."
