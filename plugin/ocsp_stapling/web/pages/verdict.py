"""The verdict band: the diagnosis as a few words for people, and the buttons that fit it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from ocsp_stapling.change.request import ACCOUNT, called
from ocsp_stapling.check.diagnosis import Action, Cause, Diagnosis, Severity
from ocsp_stapling.check.diagnosis.advice import ADVICE, FIXES
from ocsp_stapling.check.diagnosis.explanation import all_answer
from ocsp_stapling.check.evidence import Evidence, is_other
from ocsp_stapling.text import listed, uncapital
from ocsp_stapling.web.words import CONFIDENCE, Tone, counted


@dataclass(frozen=True)
class Fact:
    """A named value; `when` is shown as a time, or where it is `aging` as how long ago it was."""

    name: str
    text: str = ""
    when: datetime | None = None
    aging: bool = False


_TURN_OFF = {"action": "off"}


@dataclass(frozen=True)
class Button:
    """A link that looks like a button."""

    label: str
    endpoint: str
    values: Mapping[str, str] = field(default_factory=dict)
    main: bool = False


@dataclass(frozen=True)
class Band:
    """What the band shows."""

    tone: Tone
    kicker: str
    sentence: str
    advice: str = ""
    facts: tuple[Fact, ...] = ()
    buttons: tuple[Button, ...] = ()
    confidence: str = ""
    checked: bool = True
    past: str = ""
    """The kicker of a verdict that is too old to be told in the present."""


UNCHECKED = Band(
    "calm",
    "Not checked yet",
    "Nothing is known about this server yet.",
    "A check asks the responders, tests a few sites and reads the error log. It takes about ten seconds, "
    "and changes nothing.",
    checked=False,
)


MAYBE_OVER = "What the check before it found may be over by now; the next one tells."


def just_changed(what: str, measured: str) -> Band:
    """Return the band for the moment after a change, until a check has asked the responders again."""
    return Band(
        "calm",
        "Just changed",
        f"{what}. {measured}".rstrip(),
        MAYBE_OVER,
        past="it was just changed",
    )


_BY_CAUSE: dict[Cause, tuple[Tone, str]] = {
    Cause.NOT_APPLICABLE: ("calm", "Not affected"),
    Cause.OFF_BY_PLUGIN: ("off", "Stapling is off"),
    Cause.OFF_ELSEWHERE: ("off", "Stapling is off"),
    Cause.NOT_IN_FRONT: ("calm", "Another server is in front"),
    Cause.NOT_SERVED: ("bad", "Apache is down"),
}
_BY_SEVERITY: dict[Severity, tuple[Tone, str]] = {
    Severity.STALLING: ("bad", "Visitors are waiting"),
    Severity.FAILING: ("warn", "Something fails, sites are quick"),
    Severity.NOISE: ("good", "Visitors notice nothing, the log has failures"),
    Severity.NONE: ("good", "All is well"),
}
_PAST = {
    "Not affected": "this server was not affected",
    "Not clear": "it was not clear",
    "Stapling is off": "stapling was off",
    "Another server is in front": "another server was in front",
    "Visitors are waiting": "visitors were waiting",
    "Something fails, sites are quick": "something failed, sites were quick",
    "Visitors notice nothing, the log has failures": "visitors noticed nothing, the log had failures",
    "Visitors notice nothing, a responder fails": "visitors noticed nothing, a responder failed",
    "Visitors notice nothing, a responder is slow": "visitors noticed nothing, a responder was slow",
    "Responders answer, no site was tested": "responders answered, no site was tested",
    "All is well": "all was well",
    "Apache is down": "Apache was down",
}
_OFF = (Cause.OFF_BY_PLUGIN, Cause.OFF_ELSEWHERE)
# What the terminal says with its own commands.
_ON_THE_PAGE = {
    Action.CONTACT_DATACENTER: "Tell the datacenter or network provider; the ticket holds the evidence.",
    Action.WAIT_FOR_CA: "Wait for the authority, or write to it; the ticket holds the evidence.",
}
_NEXT = {
    Action.CONTACT_DATACENTER: "Then tell the datacenter; the ticket holds the evidence.",
    Action.WAIT_FOR_CA: "Then wait for the authority, or write to it; the ticket holds the evidence.",
    Action.REISSUE: "Then have the certificate issued anew and install it.",
}


def verdict_of(
    diagnosis: Diagnosis,
    evidence: Evidence,
    *,
    operator: bool,
    since: datetime | None = None,
    returns: bool | None = None,
) -> Band:
    """Return the band for a diagnosis.

    `since` is when the present trouble was first seen; `returns` whether stapling that is off will turn on by
    itself, None where that does not apply.
    """
    tone, kicker = _tone(diagnosis, evidence)
    return Band(
        tone,
        kicker,
        diagnosis.sentence,
        _advice(diagnosis, evidence, operator),
        tuple(_facts(diagnosis, evidence, operator, since, returns)),
        tuple(_buttons(diagnosis, evidence)) if operator else _viewer_buttons(diagnosis),
        CONFIDENCE[diagnosis.confidence],
        past=_PAST.get(kicker, kicker.lower()),
    )


def apache_down(evidence: Evidence, diagnosis: Diagnosis) -> bool:
    """Say whether Apache did not run, or nothing served, when the evidence was taken."""
    return evidence.host.apache_running is False or diagnosis.cause is Cause.NOT_SERVED


def _tone(diagnosis: Diagnosis, evidence: Evidence) -> tuple[Tone, str]:
    if apache_down(evidence, diagnosis) and diagnosis.severity is not Severity.STALLING:
        return "bad", "Apache is down"
    if diagnosis.severity is Severity.STALLING:
        return _BY_SEVERITY[Severity.STALLING]
    if diagnosis.cause is Cause.UNKNOWN and diagnosis.severity is Severity.NONE:
        return "calm", "Not clear"
    if diagnosis.cause is Cause.HEALTHY and diagnosis.severity is Severity.NONE and not measured(evidence):
        return "calm", "Responders answer, no site was tested"
    if diagnosis.severity is Severity.NOISE and diagnosis.cause is not Cause.HEALTHY:
        return "good", f"Visitors notice nothing, a responder {'fails' if evidence.shield else 'is slow'}"
    return _BY_CAUSE.get(diagnosis.cause, _BY_SEVERITY[diagnosis.severity])


def measured(evidence: Evidence) -> bool:
    """Say whether a handshake told how long visitors wait: without one nothing is green."""
    return any(one.asked and not one.error for one in evidence.handshakes)


def _advice(diagnosis: Diagnosis, evidence: Evidence, operator: bool) -> str:
    if diagnosis.recommended is Action.SHIELD_ON:
        what = "Turn the shield on: sites answer again within seconds and stapling stays on. Or turn it off:"
        then = _then(diagnosis, operator)
        return f"{what} that is as quick, and can be taken back at any time. {then}".strip()
    if diagnosis.action is Action.TURN_OFF:
        what = "Turn stapling off: sites answer again within seconds, and you can take it back at any time."
        if not operator:
            what = "Someone with root privileges should turn stapling off: sites answer again within seconds."
        then = _then(diagnosis, operator)
        return f"{what} {then}".strip()
    if diagnosis.action is Action.TURN_OFF_SITE:
        whom = (
            called(f"{ACCOUNT}{diagnosis.alone_account}")
            if diagnosis.alone_account
            else listed(diagnosis.alone)
        )
        what = f"Turn stapling off for {whom} alone: all others are quick again and keep their staples."
        then = _then(diagnosis, operator)
        return f"{what} {then}".strip()
    if diagnosis.cause in _OFF and diagnosis.action is not Action.TURN_ON and diagnosis.reasons_for:
        return f"Keep it off for now: {uncapital(diagnosis.reasons_for[0])}"
    if not operator and apache_down(evidence, diagnosis):
        return "Someone with root privileges has to start Apache."
    if diagnosis.action is Action.TURN_ON:
        return f"{all_answer(evidence)}, so stapling can be turned on again."
    return diagnosis.advice.replace(
        ADVICE[diagnosis.action], _ON_THE_PAGE.get(diagnosis.action, ADVICE[diagnosis.action])
    )


def _then(diagnosis: Diagnosis, operator: bool) -> str:
    """What remains to be done once nobody waits any more."""
    if diagnosis.afterwards is Action.FIX_HERE and operator and diagnosis.cause in FIXES:
        return f"Then: {uncapital(FIXES[diagnosis.cause])}"
    return _NEXT.get(diagnosis.afterwards, "")


def _facts(
    diagnosis: Diagnosis, evidence: Evidence, operator: bool, since: datetime | None, returns: bool | None
) -> list[Fact]:
    found: list[Fact] = []
    if when := evidence.configuration.off_since:
        found.append(Fact("Off since", when=when))
    elif since:
        found.append(Fact("Since", when=since))
    if returns is not None and evidence.configuration.on is False:
        who = "when you turn it on" if operator else "when root turns it on"
        found.append(Fact("Turns on again", "by itself, once all is healthy" if returns else who))
    if operator and evidence.configuration.off_by:
        found.append(Fact("By", evidence.configuration.off_by))
    if operator and evidence.configuration.reason:
        found.append(Fact("Why", evidence.configuration.reason))
    concerned = [name for name in diagnosis.sites if not is_other(name)]
    causing = [name for name in diagnosis.causing if not is_other(name)]
    if diagnosis.waiting and concerned:
        whose = "Sites waiting" if operator else "Your sites waiting"
        found.append(Fact(whose, f"{len(concerned):,} of {evidence.site_count:,}"))
    elif concerned:
        whose = "Sites concerned" if operator else "Your sites concerned"
        found.append(Fact(whose, f"{len(concerned):,} of {evidence.site_count:,}"))
    elif evidence.site_count:
        found.append(Fact("TLS sites", f"{evidence.site_count:,}"))
    stands = evidence.retirement
    calm = diagnosis.severity in (Severity.NONE, Severity.NOISE) and evidence.configuration.on is not False
    if stands.naming_count and stands.last_ends and calm:
        found.append(
            Fact("Certificates with a responder", f"{stands.naming_count:,} of {stands.certificate_count:,}")
        )
        found.append(Fact("The last of them ends", f"{stands.last_ends:%Y-%m-%d}"))
    strict = [name for name in diagnosis.must_staple if not is_other(name)]
    if strict:
        found.append(Fact("Must-Staple", counted(len(strict), "site")))
    found.append(Fact("Last checked", when=evidence.taken_at, aging=True))
    if diagnosis.waiting and causing:
        found.append(Fact("Because of", f"{counted(len(causing), 'site')}: {listed(causing)}"))
    return found


def _buttons(diagnosis: Diagnosis, evidence: Evidence) -> list[Button]:
    found = alone_buttons(diagnosis) if diagnosis.action is Action.TURN_OFF_SITE else []
    if diagnosis.cause is Cause.CACHE_TOO_SMALL:
        found.append(Button("Make the staple cache fit…", "plan.show", {"action": "cache-fit"}))
    found += [
        button
        for action in (diagnosis.recommended, diagnosis.action, diagnosis.afterwards)
        if (button := _button(action))
    ]
    if any(one.userdata for one in evidence.configuration.own_on):
        found = [_with_overrides(button) for button in found]
        if evidence.configuration.on is False and diagnosis.severity is Severity.STALLING:
            found.append(
                Button("Turn it off for these sites, too…", "plan.show", _TURN_OFF | {"overrides": "yes"})
            )
    if evidence.configuration.on is False and not any(b.endpoint == "plan.show" for b in found):
        found.append(Button("Turn stapling on again…", "plan.show", {"action": "on"}))
    wanted = diagnosis.action is not Action.NOTHING
    found = [replace(button, main=wanted and not number) for number, button in enumerate(found)]
    if diagnosis.severity in (Severity.STALLING, Severity.FAILING):
        found.append(Button("Guided steps", "guide.show"))
    return found


def _viewer_buttons(diagnosis: Diagnosis) -> tuple[Button, ...]:
    if diagnosis.severity not in (Severity.STALLING, Severity.FAILING):
        return ()
    return (
        Button("Guided steps", "guide.show", main=True),
        Button("Write a ticket", "ticket.show", {"for": "root"}),
    )


def _with_overrides(button: Button) -> Button:
    """Sites that turn stapling on themselves keep it unless theirs is turned off, too."""
    return replace(button, values=_TURN_OFF | {"overrides": "yes"}) if button.values == _TURN_OFF else button


def alone_buttons(diagnosis: Diagnosis) -> list[Button]:
    """Return a button for each site that can be turned off alone; where they are many, one for their account."""
    account = f"{ACCOUNT}{diagnosis.alone_account}" if diagnosis.alone_account else ""
    return [
        Button(f"Turn it off for {called(site)}…", "plan.show", {"action": "site-off", "site": site})
        for site in ((account,) if account else diagnosis.alone)
    ]


def _button(action: Action) -> Button | None:
    return {
        Action.SHIELD_ON: Button("Turn the shield on…", "plan.show", {"action": "shield-on"}),
        Action.TURN_OFF: Button("Turn stapling off…", "plan.show", _TURN_OFF),
        Action.TURN_ON: Button("Turn stapling on again…", "plan.show", {"action": "on"}),
        Action.CONTACT_DATACENTER: Button("Tell the datacenter", "ticket.show", {"for": "datacenter"}),
        Action.WAIT_FOR_CA: Button("Write to the authority", "ticket.show", {"for": "ca"}),
    }.get(action)


def telling(diagnosis: Diagnosis) -> Button | None:
    """Return the button for the text to whoever can mend the cause, None where that is nobody elsewhere."""
    acts = (diagnosis.action, diagnosis.afterwards)
    wanted = (Action.WAIT_FOR_CA, Action.CONTACT_DATACENTER)
    return next((_button(act) for act in acts if act in wanted), None)
