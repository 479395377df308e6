"""The old workflow as steps that check themselves: notice, ask, decide, switch, verify, tell, return."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from flask import Blueprint, render_template

from ocsp_stapling.ca.reading import Level
from ocsp_stapling.change.request import SHIELD_ON
from ocsp_stapling.check.diagnosis import Action, Cause, Diagnosis, Severity, unseen
from ocsp_stapling.check.diagnosis.explanation import all_answer
from ocsp_stapling.check.diagnosis.handshakes import measure
from ocsp_stapling.check.evidence import Evidence, LogEvidence, is_other
from ocsp_stapling.check.incident import Incident, words
from ocsp_stapling.check.ticket import CLICKS_OFF, CLICKS_ON, LINES_OFF
from ocsp_stapling.text import host_of
from ocsp_stapling.web.context import caller
from ocsp_stapling.web.identity import operators_and_viewers
from ocsp_stapling.web.pages import picture, story
from ocsp_stapling.web.pages.vantage import own_command
from ocsp_stapling.web.pages.verdict import MAYBE_OVER, Button, alone_buttons, apache_down, telling
from ocsp_stapling.web.words import LEVELS, Tone, counted, duration, listed, outcome_word, sentence

blueprint = Blueprint("guide", __name__)


@dataclass(frozen=True)
class GuideStep:
    """One step: its state as a tone and a word, why, what was found, and what to press or click."""

    title: str
    tone: Tone
    word: str
    why: str
    lines: tuple[str, ...] = ()
    buttons: tuple[Button, ...] = ()
    clicks: tuple[str, ...] = ()
    paste: str = ""
    command: str = ""
    """What to run on another machine."""


@dataclass(frozen=True)
class _Case:
    evidence: Evidence
    diagnosis: Diagnosis
    operator: bool
    incident: Incident | None = None
    """The outage that stapling was turned off for: its steps stay done, with what was seen then."""
    verified: str = ""
    command: str = ""

    @property
    def off(self) -> bool:
        return self.evidence.configuration.on is False

    @property
    def down(self) -> bool:
        return apache_down(self.evidence, self.diagnosis)

    @property
    def shielded(self) -> bool:
        """Whether the shield ended the waiting in this outage, so that stapling stays on."""
        stalls = self.diagnosis.severity is Severity.STALLING
        return self.incident is not None and self.incident.relief == SHIELD_ON and not stalls

    @property
    def urgent(self) -> bool:
        """Whether visitors wait and turning stapling off ends it: then nothing else is worth a minute before."""
        return not self.off and self.diagnosis.action in (Action.TURN_OFF, Action.TURN_OFF_SITE)

    @property
    def needed(self) -> tuple[Tone, str]:
        """What is to be done, unless something is to be done before."""
        return _CAN_WAIT if self.urgent or self.nothing else _NEEDED

    @property
    def nothing(self) -> bool:
        """Whether the verdict says that nothing needs to be done, whatever fails."""
        found = self.diagnosis
        return found.severity in (Severity.NONE, Severity.NOISE) and found.action is Action.NOTHING

    @property
    def broken(self) -> Sequence[str]:
        return [one.url for one in self.diagnosis.responders if not one.ok]


_DONE: tuple[Tone, str] = ("good", "Done")
_NEEDED: tuple[Tone, str] = ("warn", "Needs you")
_URGENT: tuple[Tone, str] = ("bad", "Needs you")
_IMPOSSIBLE: tuple[Tone, str] = ("off", "Not possible here")
_ASK_FIRST: tuple[Tone, str] = ("bad", "Ask root first")
_ASK: tuple[Tone, str] = ("warn", "Ask root")
_SPARED: tuple[Tone, str] = ("calm", "Not needed")
_LATER: tuple[Tone, str] = ("calm", "Later")
_FIRST: tuple[Tone, str] = ("bad", "Do this first")
_CAN_WAIT: tuple[Tone, str] = ("calm", "Can wait")
_TITLES = (
    "Notice the symptoms",
    "Ask the responder from here",
    "Ask the responder from elsewhere",
    "Look at the authority's status",
    "Decide",
    "Turn stapling off",
    "Verify",
    "Tell who can mend it",
    "Turn stapling on again",
)
_EITHER = "Turn the shield on, or stapling off"
"""The sixth where the shield can, or did, end it."""


def next_step(found: Sequence[GuideStep]) -> int:
    """Return the number of the step to take now, counted from 1; 0 if there is none."""
    for wanted in (_FIRST, _ASK_FIRST, _URGENT, _NEEDED, _ASK):
        for number, step in enumerate(found, 1):
            if (step.tone, step.word) == wanted:
                return number
    return 0


def steps(
    evidence: Evidence | None,
    diagnosis: Diagnosis | None,
    *,
    operator: bool,
    incident: Incident | None = None,
    verified: str = "",
    own_command: str = "",
    changed: str = "",
) -> list[GuideStep]:
    """Return the nine steps as they stand; `incident` is the newest one that may be told.

    `verified` is what a change that ended after the check saw at its end. `own_command` asks a failing responder
    about a certificate of the viewer's own. `changed` was done after the check, and may have ended what fails.
    """
    if evidence is None or diagnosis is None:
        first = GuideStep(_TITLES[0], *_NEEDED, "Nothing has been checked yet: press “Check again” below.")
        rest = [GuideStep(title, *_LATER, "After the check.") for title in _TITLES[1:]]
        if incident and incident.off_since and incident.ended is None:
            rest[4] = _was_turned_off(incident, shielded=incident.relief == SHIELD_ON)
        return [first, *rest]
    led = incident if incident and _leads(diagnosis, incident) else None
    case = _Case(evidence, diagnosis, operator, led, verified, own_command)
    made = (_symptoms, _here, _elsewhere, _authorities, _decide, _turn_off, _verify, _tell, _turn_on)
    old = _OF_THE_CHECK if led else (*_OF_THE_CHECK, _here, _decide)
    later = GuideStep("", *_LATER, f"{changed}. {MAYBE_OVER}")
    return [
        replace(later, title=title) if changed and step in old else step(case)
        for title, step in zip(_TITLES, made, strict=True)
    ]


def _leads(diagnosis: Diagnosis, incident: Incident) -> bool:
    """Whether the steps tell of it: something was done about it, and it goes on or was solved."""
    return incident.off_since is not None and (incident.ended is None or bool(solved(diagnosis, incident)))


def _then(incident: Incident) -> str:
    return f"Seen from {words.clock(incident.began)} on."


def solved(diagnosis: Diagnosis | None, incident: Incident) -> str:
    """Return that the latest incident is over, in one sentence; "" while it is not, or something fails again."""
    quiet = diagnosis is not None and diagnosis.severity in (Severity.NONE, Severity.NOISE)
    return words.sentence(incident) if quiet and incident.ended is not None else ""


def _symptoms(case: _Case) -> GuideStep:
    evidence = case.evidence
    if case.incident is not None:
        told = words.experienced(case.incident)
        buttons = (Button("Its timeline", "history.show"),) if case.operator else ()
        return GuideStep(_TITLES[0], *_DONE, _then(case.incident), told, buttons)
    lines = [
        "Apache does not run." if case.down else "Apache runs.",
        sentence(
            evidence.host.load_sentence or f"load is {'normal' if evidence.host.load_normal else 'high'}"
        ),
        _handshakes(case),
    ]
    if case.operator:
        lines.append(_log(evidence.log))
    load = "" if evidence.host.load_normal is False else "load is normal and "
    why = f"All HTTPS sites hang while {load}Apache runs: that is how a stapling stall looks."
    if case.diagnosis.severity is not Severity.STALLING:
        why = "In a stapling stall all HTTPS sites hang while Apache runs. What was seen here:"
    return GuideStep(
        _TITLES[0],
        *_DONE,
        why,
        tuple(lines),
        (Button("Error log", "errorlog.show"),) if case.operator else (),
    )


def _log(log: LogEvidence) -> str:
    if log.unreadable:
        return f"Error log: {log.unreadable}"
    return f"Error log: {counted(log.last_hour, 'stapling failure')} in the last hour. {log.unheard}".strip()


def _handshakes(case: _Case) -> str:
    asked = [h for h in case.evidence.handshakes if h.asked]
    plain = [h for h in case.evidence.handshakes if not h.asked]
    if not asked:
        return "No site was tested since the last change."
    if refused := [h.error for h in asked if h.error not in ("", "timeout")]:
        return (
            f"{len(refused)} of {counted(asked, 'site')} tested did not complete a handshake ({refused[0]})."
        )
    slowest = max(asked, key=lambda h: h.seconds)
    least = "more than" if slowest.error == "timeout" else "up to"
    words = f"Visitors who ask for a staple waited {least} {duration(slowest.seconds)}"
    if plain:
        words += f", others {duration(max(h.seconds for h in plain))}"
    return f"{words}."


def _here(case: _Case) -> GuideStep:
    responders = case.evidence.responders
    if case.incident is not None:
        lines = tuple(words.trouble(one) for one in case.incident.troubles)[:8]
        return GuideStep(
            _TITLES[1], *_DONE, _then(case.incident), lines, (Button("Responders", "responders.show"),)
        )
    if not responders:
        return GuideStep(_TITLES[1], *_SPARED, "No certificate in use names a responder.")
    lines = tuple(one.why.sentence for one in case.diagnosis.responders if not one.ok)[:8]
    good = len(case.diagnosis.responders) - len(case.broken)
    why = f"Asked as Apache asks: {good} of {counted(case.diagnosis.responders, 'responder')} in order."
    return GuideStep(_TITLES[1], *_DONE, why, lines, (Button("Responders", "responders.show"),))


def _elsewhere(case: _Case) -> GuideStep:
    told = [each for one in case.evidence.responders for each in one.elsewhere if each.works is not None]
    if told:
        return GuideStep(
            _TITLES[2], *_DONE, "Other machines were asked.", tuple(each.sentence for each in told)
        )
    if not case.broken:
        why = unseen.told(case.evidence) or f"{all_answer(case.evidence)} from here."
        return GuideStep(_TITLES[2], *_SPARED, why)
    if not case.operator and case.command:
        why = (
            "This line asks about a certificate of yours. Run it on a machine in another network, such as your own "
            "computer. In the line that it prints, 200 after the long word means an answer, 000 none. "
            "An answer there and none here: this server's network. None anywhere: the authority. Tell root which."
        )
        return GuideStep(_TITLES[2], *case.needed, why, command=case.command)
    if not case.operator:
        why = "No question about a certificate of yours can be put from elsewhere; root can ask about others."
        return GuideStep(_TITLES[2], *_IMPOSSIBLE, why)
    why = "Works there and not here: the network. Fails everywhere: the authority."
    return GuideStep(_TITLES[2], *case.needed, why, buttons=(Button("Get the command", "elsewhere.show"),))


def _authorities(case: _Case) -> GuideStep:
    known = [one for one in case.evidence.authorities if one.level is not Level.UNKNOWN]
    unknown = [one for one in case.evidence.authorities if one.level is Level.UNKNOWN]
    buttons = (Button("Certificate authorities", "responders.authorities"),)
    if known:
        lines = tuple(f"{one.name}: {LEVELS[one.level][1].lower()}." for one in known)
        return GuideStep(
            _TITLES[3], *_DONE, "What the authorities say of themselves; such pages lag.", lines, buttons
        )
    if not case.broken:
        return GuideStep(_TITLES[3], *_SPARED, "No responder fails.", buttons=buttons if unknown else ())
    if not unknown:
        return GuideStep(_TITLES[3], *_IMPOSSIBLE, "No status page of the authorities in use is known.")
    why = "Their status pages could not be read from here; look yourself."
    return GuideStep(_TITLES[3], *case.needed, why, buttons=buttons)


def _decide(case: _Case) -> GuideStep:
    found = case.diagnosis
    if case.incident is not None and case.incident.sentence:
        checked = case.incident.sign != "change" or case.incident.kept
        then = "The check said then: " if checked else ""
        return GuideStep(_TITLES[4], *_DONE, f"{then}{case.incident.sentence}")
    advice = (found.advice,) if case.operator and case.down else ()
    return GuideStep(_TITLES[4], *_DONE, found.sentence, (*found.reasons_for[:4], *advice))


def _was_turned_off(led: Incident, *, shielded: bool) -> GuideStep:
    title, what = _TITLES[5], "Stapling was found turned off" if led.off_found else "Stapling was turned off"
    if shielded:
        title, what = _EITHER, "The shield was turned on"
    when = words.clock(led.off_since or led.began)
    return GuideStep(title, *_DONE, f"{what} at {when}{f' by {led.off_by}' * bool(led.off_by)}.")


def _turn_off(case: _Case) -> GuideStep:
    led = case.incident
    if led is not None and led.off_since is not None and (case.off or case.shielded or led.ended is not None):
        return _was_turned_off(led, shielded=case.shielded)
    if case.off:
        return GuideStep(_TITLES[5], *_DONE, "Stapling is off.")
    if case.diagnosis.action is Action.TURN_OFF_SITE and case.operator:
        return _turn_off_alone(case.diagnosis)
    wanted = case.diagnosis.action in (Action.TURN_OFF, Action.TURN_OFF_SITE)
    if not wanted and case.diagnosis.severity is Severity.STALLING:
        return GuideStep(_TITLES[5], *_IMPOSSIBLE, case.diagnosis.advice)
    if not wanted:
        why = f"{_why_not_off(case)}. Turning stapling off helps only while handshakes stall."
        return GuideStep(_TITLES[5], *_SPARED, why)
    why = "Visitors wait now. Off, each browser asks the authority itself, which costs little; sites answer again."
    strict = [name for name in case.diagnosis.must_staple if not is_other(name)]
    lines = (f"Firefox refuses these Must-Staple sites meanwhile: {listed(strict)}.",) if strict else ()
    if case.operator:
        return _ending(case.diagnosis, why, lines)
    why += " It needs root privileges, which you do not have here: send these clicks, or the ticket with them in it."
    ticket = (Button("Write the ticket to root", "ticket.show", {"for": "root"}, main=True),)
    return GuideStep(_TITLES[5], *_ASK_FIRST, why, lines, ticket, clicks=CLICKS_OFF, paste=LINES_OFF)


def _why_not_off(case: _Case) -> str:
    if case.down:
        return "Apache does not run"
    met = measure(case.evidence)
    if not met.plain_quick:
        return "Clients that ask for no staple wait as long"
    return "Sites are quick" if met.quick or met.once_only else "No site was seen to answer"


def _ending(diagnosis: Diagnosis, why: str, lines: tuple[str, ...]) -> GuideStep:
    """What the overview's first button does is the first here, too."""
    shielded = diagnosis.recommended is Action.SHIELD_ON
    off = Button("Turn stapling off…", "plan.show", {"action": "off"}, main=not shielded)
    if not shielded:
        return GuideStep(_TITLES[5], *_FIRST, why, lines, (off,))
    shield = Button("Turn the shield on…", "plan.show", {"action": "shield-on"}, main=True)
    why = f"{why} Turning the shield on is as quick, and stapling stays on."
    return GuideStep(_EITHER, *_FIRST, why, lines, (shield, off))


def _turn_off_alone(diagnosis: Diagnosis) -> GuideStep:
    why = "One customer's certificate is at fault: off for that alone, all others are quick and keep their staples."
    return GuideStep(_TITLES[5], *_FIRST, why, buttons=tuple(alone_buttons(diagnosis)))


def _verify(case: _Case) -> GuideStep:
    asked = [h for h in case.evidence.handshakes if h.asked]
    slow = case.diagnosis.severity is Severity.STALLING
    over = case.incident is not None and case.incident.ended is not None
    if (case.off or case.shielded or over) and asked and not slow:
        return GuideStep(_TITLES[6], *_DONE, _handshakes(case))
    if case.off and not asked and case.verified:
        return GuideStep(_TITLES[6], *_DONE, case.verified)
    if case.off:
        return GuideStep(
            _TITLES[6], *(_URGENT if slow else _NEEDED), f"{_handshakes(case)} Press “Check again” below."
        )
    return GuideStep(_TITLES[6], *(_LATER if slow else _SPARED), "After step 6.")


def _tell(case: _Case) -> GuideStep:
    if not case.broken:
        if told := unseen.told(case.evidence):
            button = Button("Write the ticket", "ticket.show", {"for": "root"})
            return GuideStep(_TITLES[7], *case.needed, told, buttons=(button,))
        return GuideStep(_TITLES[7], *_SPARED, "Nothing is wrong with the responders or the way to them.")
    why = "The ticket holds times, addresses and what fails how"
    why += ", and a command to reproduce it." if case.operator else "."
    if case.nothing:
        why = case.diagnosis.advice
    elif Action.FIX_HERE in (case.diagnosis.action, case.diagnosis.afterwards):
        why = f"The cause lies on this server: {case.diagnosis.advice}"
    audience = "datacenter" if case.operator else "root"
    told_to = telling(case.diagnosis) or Button("Write the ticket", "ticket.show", {"for": audience})
    return GuideStep(_TITLES[7], *case.needed, why, buttons=(told_to,))


def _turn_on(case: _Case) -> GuideStep:
    if not case.off and case.incident is not None and case.incident.ending:
        stays = "stayed" if case.shielded else "is"
        return GuideStep(_TITLES[8], *_DONE, f"Stapling {stays} on. {case.incident.ending}")
    if not case.off:
        return GuideStep(_TITLES[8], *_SPARED, f"Stapling {'stayed' if case.shielded else 'is'} on.")
    if case.diagnosis.action is not Action.TURN_ON:
        return GuideStep(_TITLES[8], *_LATER, _not_yet(case))
    healthy = f"{all_answer(case.evidence)} again"
    why = f"{healthy}, so turn stapling on: it was only meant to be off for a while."
    if case.operator and case.diagnosis.cause in (Cause.OFF_BY_PLUGIN, Cause.OFF_ELSEWHERE):
        button = Button("Turn stapling on again…", "plan.show", {"action": "on"}, main=True)
        return GuideStep(_TITLES[8], *_NEEDED, why, buttons=(button,))
    told = (
        f"{healthy}, and stapling was only meant to be off for a while. It is over when "
        "root turns it on; send these clicks, if it was turned off with such."
    )
    return GuideStep(_TITLES[8], *_ASK, told, clicks=CLICKS_ON)


_OF_THE_CHECK = (_elsewhere, _authorities, _tell)
"""What only a check tells, whatever is known of an outage before it."""


def _not_yet(case: _Case) -> str:
    every = case.diagnosis.responders
    failing = [f"{host_of(one.url)} ({outcome_word(one.why.outcome).lower()})" for one in every if not one.ok]
    if not failing:
        return "Not yet: not everything is in order."
    fail = "fails" if len(failing) == 1 else "fail"
    return f"Not yet, {len(failing)} of {counted(every, 'responder')} {fail}: {listed(failing)}."


@blueprint.get("/guide")
@operators_and_viewers
def show() -> str:
    """Show the nine steps as they stand."""
    seen = picture.picture()
    operator = caller().is_operator
    told = story.present()
    told = told if story.fresh(told) else None
    verified = seen.changed.sentence if seen.changed else ""
    found = steps(
        seen.evidence,
        seen.diagnosis,
        operator=operator,
        incident=told,
        verified=verified if operator else "",
        own_command="" if operator else _own_command(seen),
        changed=seen.changed.what if seen.changed and seen.interim else "",
    )
    return render_template(
        "guide.html",
        steps=found,
        next=next_step(found),
        solved=solved(seen.diagnosis, told) if told is not None else "",
        evidence=seen.evidence,
    )


def _own_command(seen: picture.Picture) -> str:
    if seen.evidence is None or seen.diagnosis is None:
        return ""
    failing = [one.url for one in seen.diagnosis.responders if not one.ok]
    return own_command(seen.evidence, failing, seen.visible)
