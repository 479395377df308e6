"""A check as text for whoever can act: the datacenter, the authority, or a server's root admin.

Made from a check's document, so that one shown or stored earlier gives the same text; once stapling is off, from the
incident's record as well, for then the outage that made somebody turn it off is to be told. Customers' names stay
out unless the reader needs them; no file content, no log line and no key is ever in it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from ipaddress import ip_address
from typing import Any

from ocsp_stapling.change.request import SHIELD_ON
from ocsp_stapling.check.diagnosis.handshakes import queue_words
from ocsp_stapling.check.evidence import is_other
from ocsp_stapling.check.incident import Incident, words
from ocsp_stapling.check.incident.model import OTHERS, SERVER
from ocsp_stapling.check.words import HARM, cause_words, confidence_words, harm_words, trouble_words
from ocsp_stapling.ocsp.finding import HTTP
from ocsp_stapling.text import capital, listed

LINES_OFF = "<IfModule ssl_module>\n    SSLUseStapling Off\n</IfModule>"
CLICKS_OFF = (
    "Log in to WHM as root.",
    "Service Configuration > Apache Configuration > Include Editor.",
    "At Pre VirtualHost Include, select All Versions.",
    "Go to the end of the text and add the lines below.",
    "Update, then Restart Apache.",
)
CLICKS_ON = (
    "Log in to WHM as root.",
    "Service Configuration > Apache Configuration > Include Editor > Pre VirtualHost Include > All Versions.",
    "Remove the lines that were added (everything else stays).",
    "Update, then Restart Apache.",
)


Document = Mapping[str, Any]
READERS = ("datacenter", "ca", "root")
_SHOWN = 12
_PORT = re.compile(r"http://[^/]*?:(\d{1,5})(?:/|$)")
_USERDATA = re.compile(r"/\S*/userdata/[^\s:),]+")
"""Of such a path two parts are names of a customer's."""
_REFUSAL = re.compile(r"^Apache refuses its configuration.*?(so nothing can be changed yet|would end it)\. ")
"""What stands before the verdict where httpd refuses its files: no matter of an authority's or a datacenter's."""
_SERIAL = re.compile(r" \(serial [0-9A-F]+\)")
_ACCOUNT = re.compile(r"(?<=[ -]account )(?!(?:is|alone) )[\w.-]+\b")
_SITE_LISTS = (
    *("sites_affected", "sites_causing", "sites_waiting", "must_staple_sites", "refused_sites", "alone"),
    *("never_stapled", "unreadable_sites"),
)
_TOLD_SECONDS = 24 * 3600.0
"""So long after its end an incident is what a ticket is about."""
_LEADING = {
    "network-block": "datacenter",
    "no-route": "datacenter",
    "ipv6-broken": "datacenter",
    "interception": "datacenter",
    "ca-outage": "ca",
    "ca-bad-answer": "ca",
    "certificate-revoked": "ca",
}


def reader_for(found: Document, incident: Incident | None = None) -> str:
    """Return who can act on this check: `datacenter`, `ca` or `root`.

    While stapling is off that is the verdict; whoever can act then follows from the responder that fails or failed.
    """
    cause = str(found["cause"])
    if cause.startswith("off-"):
        cause = next((str(one["cause"]) for one in _failing(found)), cause)
    if cause not in _LEADING and (led := _led_by(found, incident)):
        cause = led.cause
    return _LEADING.get(cause, "root")


def ticket(
    found: Document,
    reader: str = "",
    *,
    redact: bool = False,
    incident: Incident | None = None,
    restricted: bool = False,
    passes: int = 0,
    changed: str = "",
) -> str:
    """Return the text for a reader (by default the one who can act). `redact` leaves out customers and addresses.

    `found` is the document of a check, as `report.document` makes it. `incident` is the newest one: where it was
    worse than the check, the text leads with it. `restricted`: the sender sees their own domains only, and asks root;
    then both are as that sender may see them.
    `passes`: after so many good looks stapling returns by itself, 0 if it does not.
    `changed`: what was done after the check, which may have ended what it found failing.
    Raises KeyError for anything that is no document.
    """
    led = _led_by(found, incident)
    whom = reader or reader_for(found, incident)
    done = None if incident is None or incident.ended is not None else incident
    try:
        return _Ticket(found, whom, redact, led, restricted, done, passes, changed).text()
    except KeyError:  # another version kept the incident
        if led is None:
            raise
        return _Ticket(found, whom, redact, None, restricted, done, passes, changed).text()


def subject(text: str) -> str:
    """Return the subject of a ticket's text."""
    return text.partition("\n")[0].removeprefix("Subject: ")


def _led_by(found: Document, incident: Incident | None) -> Incident | None:
    """The incident if it tells more than the check does: visitors were hit, and that was ended before the check.

    No check need have seen it: what visitors met when somebody turned stapling off is enough.
    """
    if incident is None or not incident.hits:
        return None
    at = datetime.fromisoformat(str(found["checked_at"])).timestamp()
    failing = {str(one["url"]) for one in _failing(found)}
    caused = {one.url for one in words.causing(incident)}
    if failing and caused and not caused & {*failing, SERVER, OTHERS}:
        return None  # what fails now made nobody wait
    lately = incident.ended is None or (at - incident.ended < _TOLD_SECONDS and not failing)
    return incident if lately and (found["severity"] != "stalling" or _off_since(incident, at)) else None


def _off_since(incident: Incident, at: float) -> bool:
    """Whether the waiting was ended after that check, whose time is told in whole seconds."""
    return incident.relieved is not None and incident.relieved >= at + 1 and not incident.hits_now


class _Ticket:
    def __init__(
        self,
        found: Document,
        reader: str,
        redact: bool,
        incident: Incident | None,
        restricted: bool,
        open_one: Incident | None,
        passes: int,
        changed: str,
    ) -> None:
        self.now, self.reader, self.redact = found, reader, redact
        shielded = incident is not None and incident.relief == SHIELD_ON and incident.off_since is not None
        self.passes = passes
        self.open_one = open_one
        """The incident that is not over, whether the text leads with it or not: what was done about it is told."""
        # The shield mends no responder, and the outage's line tells it.
        self.changed = "" if shielded else changed
        self.incident, self.restricted = incident, restricted
        self.found: Document = incident.kept if incident and incident.kept else found
        """What the text is about: the incident at its worst, if a check saw it, else this check."""
        failing = _failing(found)
        self.bad = failing or _failing(self.found)
        over = incident is None or incident.healed is not None or incident.ended is not None
        self.healed = bool(self.bad) and (bool(self.changed) or (not failing and over))
        """What failed may be, or is, over: it is told as the past."""
        self.good = [one for one in found["responders"] if one["ok"]]

    def text(self) -> str:
        sections = (
            self._opening(),
            self._failures(),
            self._works(),
            self._effect(),
            self._since(),
            self._elsewhere(),
            self._routes(),
            self._reproduce(),
            self._request(),
        )
        return "\n\n".join("\n".join(map(_one_line, lines)) for lines in sections if lines) + "\n"

    def _opening(self) -> list[str]:
        found = self.found
        rows = [f"Subject: {self._subject()}", ""]
        if self.incident:
            rows.append(f"Outage:   {words.sentence(self.incident, named=not self.redact)}")
        rows.append(f"Checked:  {_moment(found)}")
        if server := "(left out)" if self.redact else str(self.now["this_server"]["name"]):
            rows.append(f"Server:   {server}")
        if self.changed:
            rows.append(f"Changed:  {self.changed}; what the check before it found may be over by now.")
        rows += self._finding()
        rows.append(f"Effect:   {self._harm()}")
        return rows + self._done() + self._sources()

    def _finding(self) -> list[str]:
        """What is wrong; that stapling is off is what was done about it, where a responder fails."""
        found, off = self.found, str(self.found["cause"]).startswith("off-")
        told = self.bad[0] if off and self.bad and not self.healed else found
        switched = f" {found['sentence']}" if told is not found and self.incident is None else ""
        rows = [
            f"{'Before:' if self.changed else 'Finding:':10}{self._plain(str(told['sentence']) + switched)}"
        ]
        if not self._for_root_to_see:
            sure = "" if told is not found else confidence_words(found["confidence"])
            rows.append(f"Cause:    {cause_words(str(told['cause']))}{sure}")
        return rows

    def _done(self) -> list[str]:
        """What was turned off for some alone, and for all where neither the outage's line nor the check tells it."""
        one = self.open_one
        if one is None:
            return []
        named = self.reader == "root" and not self.redact
        told = [] if self.incident or not self._old() else [words.switched(one, not self.redact)]
        told += words.singles(one) if named else [words.singly(one)]
        return [f"Done:     {capital(each)}" for each in told if each]

    def _old(self) -> bool:
        """Whether something was done after the check that the text is made from."""
        at = datetime.fromisoformat(str(self.now["checked_at"])).timestamp()
        return self.open_one is not None and (self.open_one.relieved or at) >= at + 1

    @property
    def _for_root_to_see(self) -> bool:
        """Whether visitors wait for something that the sender may not see, so that only root can act on it."""
        return self.restricted and self.now["severity"] == "stalling" and self.now["advice"] == "nothing"

    def _harm(self) -> str:
        if self.incident is None:
            return harm_words(self.found)
        one = self.incident
        alone = (one.off_since is None or one.relief == SHIELD_ON) and not one.hits_now
        over = self.healed or alone or one.healed is not None or one.ended is not None
        return "visitors waited or were turned away" if over else HARM["stalling"] + " while stapling is on"

    def _subject(self) -> str:
        host = "" if self.redact else str(self.now["this_server"]["name"])
        on, of = (f" on {host}", f" of {host}") if host else ("", "")
        stalling = self.now["severity"] == "stalling" and not self.incident
        urgent = "URGENT: " if stalling else ""
        if self.reader != "root" and not self.bad:
            return f"OCSP responders{f' seen from {host}' if host else ''}: all that were asked answer"
        if self.reader == "datacenter":
            lead = f"HTTPS sites{of} {self._suffering()}: " if stalling else ""
            server = host or "our server"
            could = "could not" if self.healed else "cannot"
            return f"{urgent}{lead}OCSP responders {could} be used from {server}, please check the network"
        if self.reader == "ca":
            what = "failed, please tell us why" if self.healed else "fails, please check"
            return f"{urgent}your OCSP responder {what}{f' (seen from {host})' if host else ''}"
        off = self.open_one is not None and self.open_one.off_since is not None
        if stalling and not off and (for_whom := _OFF_FOR.get(self.now["advice"])) is not None:
            for_whom = "" if self._old() else for_whom
            return f"{urgent}HTTPS sites{on} {self._suffering()}, please turn OCSP stapling off{for_whom}"
        what = (
            f"HTTPS sites {self._suffering()}" if stalling else "an outage" if self.incident else "findings"
        )
        return f"{urgent}OCSP stapling{on or ' on this server'}: {what}"

    def _suffering(self) -> str:
        """What the sites do to whoever asks for a staple, in a stall."""
        failures = [str(one["failure"]) for one in self.now["handshakes"] if one["failure"]]
        away = failures and all(one.startswith("tls") for one in failures)
        return "turn visitors away" if away and not self.now["sites_waiting"] else "hang"

    def _sources(self) -> list[str]:
        """The addresses of ours that the questions came from: what a firewall admin searches for."""
        sources = sorted(
            {a["source"] for one in self.found["responders"] for a in one["addresses"] if a["source"]}
        )
        if not sources or self.redact:
            return []
        user = self.found["this_server"]["worker_user"]
        return [f"From:     {', '.join(sources)} (user {user}), to TCP {_ports(self.bad)}"]

    def _failures(self) -> list[str]:
        if not self.bad:
            return []
        lines = [f"What failed ({_moment(self.found)})" if self.healed else "What fails"]
        for one in self.bad[:_SHOWN]:
            lines.append(f"  {one['url']} ({one['authority']}): {self._plain(one['sentence'])}")
            lines += [f"    {line}" for line in _addresses(one)]
            if one["name_sentence"]:
                lines.append(f"    DNS: {one['name_sentence']}")
            if self.reader == "root":
                lines += [f"    firewall: {rule}" for rule in one["firewall"]]
        return [*lines, *_more(self.bad)]

    def _works(self) -> list[str]:
        if not self.good:
            return []
        moment = f"now ({_moment(self.now)})" if self.healed and not self.changed else "at the same moment"
        lines = [f"What works, from the same server {moment}"]
        for one in self.good[:_SHOWN]:
            where = ", ".join(address["address"] for address in one["addresses"])
            lines.append(f"  {one['url']} ({one['authority']}): a good, verified answer from {where}")
        return [*lines, *_more(self.good)]

    def _effect(self) -> list[str]:
        found = self.found
        asked = [h for h in found["handshakes"] if h["asked"]]
        then = f" ({_moment(found)})" if self.incident and self.incident.kept else ""
        lines = [f"How long visitors wait{'ed' if self.incident else ''}{then}", *self._waits(asked)]
        lines += self._sites()
        if strict := _own(found["must_staple_sites"]):
            names = "" if self.redact or self.reader != "root" else f": {', '.join(strict[:_SHOWN])}"
            lines.append(f"  Must-Staple (refused by Firefox without a staple): {len(strict)}{names}.")
        log = found["log"]
        if log["unreadable_reason"]:
            lines.append(f"  Apache's error log: {log['unreadable_reason']}")
        elif not self.restricted:
            lines.append(
                f"  Apache's error log: {_counted(log['last_hour_count'], 'stapling failure')} in the last hour, "
                f"{log['last_day_count']:,} in the last day."
            )
        return lines + self._root_facts()

    def _waits(self, asked: list[Document]) -> list[str]:
        if self.incident and self.incident.wait:
            wait = self.incident.wait
            told = "; ".join(filter(None, (words.visitors_waited(wait), queue_words(wait.each))))
            return [f"  {capital(told)}"]
        if not asked:
            return []
        if all(one["failure"] == "refused" for one in asked):
            return ["  No site answers on its port: the connection is refused."]
        slowest = max(asked, key=lambda one: float(one["seconds"]))
        seconds = float(slowest["seconds"])
        took = f"took {seconds:.1f} s" if seconds >= 0.1 else f"took {1000 * seconds:.0f} ms"
        if slowest["failure"] == "timeout":
            took = f"did not end (cut off at {slowest['seconds']:.1f} s)"
        elif slowest["failure"]:
            took = f"was broken off ({slowest['failure']})"
        count = f"the slowest of {len(asked)} TLS handshakes" if len(asked) > 1 else "a TLS handshake"
        return [f"  Of visitors who ask for a staple, {count} {took}."]

    def _sites(self) -> list[str]:
        """Numbers of sites and, for root, names; a sender who sees only their own counts only those."""
        found = self.found
        causing, waiting, concerned = (
            _own(found[name]) for name in ("sites_causing", "sites_waiting", "sites_affected")
        )
        whose = "My sites" if self.restricted else "Sites"
        past = self.incident is not None and bool(self.incident.kept)
        wait, cause = ("waited", "caused") if past else ("wait", "cause")
        lines = []
        if waiting:
            queue = ", in one queue" if len(waiting) > 1 else ""
            lines.append(f"  {whose} whose visitors {wait}: {len(waiting)} of {found['site_count']}{queue}.")
            if causing:
                lines.append(f"  {whose} whose certificates {cause} it: {len(causing)}.")
        elif concerned:
            lines.append(f"  {whose} concerned: {len(concerned)} of {found['site_count']}.")
        if self.reader == "root" and not self.redact:
            lines += [f"    {name}" for name in ((causing or waiting) if waiting else concerned)[:_SHOWN]]
        return lines

    def _since(self) -> list[str]:
        """Once stapling is off: how it is now, so that nobody takes quick sites for a healed responder."""
        if self.incident is None:
            return []
        if self._old():
            return [
                "Since then",
                f"  {words.relief(self.incident, named=not self.redact)} No check was made since.",
            ]
        lines = [f"Since then ({_moment(self.now)})", f"  {self._plain(self.now['sentence'])}"]
        if (
            self.now["configuration"]["stapling"] == "off"
            and not self.healed
            and self.incident.healed is None
        ):
            lines.append(
                "  Sites are quick because stapling is turned off; it stays off until "
                f"{'the responders answer' if len(self.bad) > 1 else 'the responder answers'} again."
            )
        return lines

    def _root_facts(self) -> list[str]:
        if self.reader != "root":
            return []
        one = self.now["configuration"]
        line = one["decided_by"]
        where = f", decided by {line['file']}:{line['line']}" if line else ""
        load = str(self.now["this_server"]["load_sentence"])
        return [f"  Stapling is {one['stapling']}{where}.", *([f"  Besides, {load}."] if load else [])]

    def _elsewhere(self) -> list[str]:
        told = [f"  {one['url']}: {self._place(one)}" for one in self.now["elsewhere"]]
        pages = [f"  {one['sentence']} {one['url']}" for one in self.now["authorities"]]
        return [
            *(["From other machines", *told] if told else []),
            *(["Status pages", *pages] if pages else []),
        ]

    def _place(self, one: Document) -> str:
        sentence = str(one["sentence"])
        return sentence.replace(str(one["place"]), "another machine") if self.redact else sentence

    def _routes(self) -> list[str]:
        if self.redact:
            return []
        traces: Mapping[str, str] = self.now["this_server"]["traces"]
        lines = [line for text in traces.values() for line in ("", *text.splitlines())]
        return ["Route", *(f"  {line}".rstrip() for line in lines)] if lines else []

    def _reproduce(self) -> list[str]:
        asked = [one for one in self.bad if one["command"]][:2]
        if not asked:
            return []
        # The request carries a certificate's serial number, by which anybody can look its site up.
        if self.redact and self.reader != "ca":
            return [
                "To reproduce (whether anything answers)",
                *_indented(_reach(one["url"]) for one in asked),
            ]
        title = "To reproduce (the same question with curl; a working responder gives status 200)"
        return [title, *_indented(one["command"] for one in asked)]

    def _request(self) -> list[str]:
        if self.changed:
            return ["Next step", "  Check again before this is sent: what failed may be over by now."]
        if self.reader == "root" and self.restricted and self.now["advice"] == "turn-off":
            steps = [f"  {number}. {click}" for number, click in enumerate(CLICKS_OFF, 1)]
            lines = [f"       {line}" for line in LINES_OFF.splitlines()]
            return [
                "Request: please turn OCSP stapling off; the sites answer again at once",
                "  As root open WHM > Plugins > OCSP Stapling, or run: ocsp-stapling off. Or by hand:",
                *steps,
                *lines,
            ]
        if self.reader != "root" and not self.bad:
            return ["Request", "  Nothing: every responder that was asked answers rightly."]
        if self.reader == "root" and self._for_root_to_see:
            return [
                "Request: please end it, the sites wait now",
                "  As root open WHM > Plugins > OCSP Stapling, or run: ocsp-stapling check",
                "  It names the responder at fault and what ends the waiting within seconds.",
            ]
        if self.reader == "root" and self.open_one is not None and self._old():
            return ["Next step", f"  {words.advice(self.open_one, self.passes)}"]
        return [
            "Request" if self.reader != "root" or self.restricted else "Next step",
            f"  {self._plain((_AFTERWARDS if self.healed else _REQUESTS)[self.reader](self.now))}",
        ]

    def _plain(self, text: str) -> str:
        """A sentence that may name sites, for a reader who must not see them."""
        if self.reader == "root" and not self.redact:
            return text
        text = _USERDATA.sub("(a site's include)", _REFUSAL.sub("", text) if self.reader != "root" else text)
        names = _names(self.found) | _names(self.now)
        for name in sorted(names, key=len, reverse=True):
            text = re.sub(rf"(?<![\w.-]){re.escape(name)}(?![\w-]|\.\w)", "(a site)", text)
        text = _ACCOUNT.sub("(an account)", text)
        # By its serial number anybody can look a certificate's site up; its authority needs it.
        return text if self.reader == "ca" else _SERIAL.sub("", text)


def _one_line(text: str) -> str:
    """Foreign text adds no lines of its own to a ticket."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _own(names: Iterable[str]) -> list[str]:
    """The sites that have a name: a number stands for each that the sender may not see."""
    return [name for name in names if not is_other(name)]


def _names(found: Document) -> set[str]:
    """Every site that a document names, wherever its sentences have it from."""
    lists = [found.get(key, ()) for key in _SITE_LISTS]
    lists += [one["site_names"] for one in (*found["responders"], *found.get("responders_turned_off", ()))]
    configuration = found["configuration"]
    own = [*found["handshakes"], *configuration.get("own_off", ())]
    lists += [[one["site"] for one in own], configuration["still_on"]]
    lists.append([one["name"] for one in found["incomplete_chains"]])
    names = {name for names in lists for name in names if name}
    return names | {name.partition(":")[0] for name in names}  # a command names no port


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _moment(found: Document) -> str:
    when = datetime.fromisoformat(str(found["checked_at"]))
    zone, offset = when.tzname() or "", f"UTC{when:%z}" if when.utcoffset() else "UTC"
    return f"{when:%Y-%m-%d %H:%M:%S} {zone if zone == offset else f'{zone} ({offset})'.strip()}"


def _addresses(one: Document) -> Iterable[str]:
    if not one["addresses"]:
        outcome = trouble_words(str(one["outcome"]))
        return [f"{outcome}: {one['detail']}" if one["detail"] else outcome]
    return [_address(address) for address in one["addresses"]]


def _address(found: Document) -> str:
    family = "IPv6" if ip_address(found["address"]).version == 6 else "IPv4"
    stages = [
        *([] if found["outcome"] == "ok" else [f"ping {_took(found['icmp_ms'])}"]),
        f"TCP connect {_took(found['tcp_ms'])}",
        f"HTTP {found['http_status']}" if found["http_status"] else "no HTTP answer",
    ]
    detail = f" ({found['detail']})" if found["detail"] else ""
    root = "; root does connect" if found["root_connects"] else ""
    outcome = trouble_words(str(found["outcome"]))
    return f"{family} {found['address']}: {outcome}{detail}; {', '.join(stages)}{root}"


def _took(milliseconds: float | None) -> str:
    if milliseconds is None:
        return "no answer"
    return "under 1 ms" if milliseconds < 1 else f"{milliseconds:.0f} ms"


def _more(found: list[Document]) -> list[str]:
    return [f"  ... and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"  {line}" for line in lines]


def _reach(url: str) -> str:
    told = "%{http_code} %{remote_ip} %{time_connect}\\n"
    return f"curl -qsgm 8 --noproxy '*' --proto =http -o /dev/null -w {shlex.quote(told)} {shlex.quote(url)}"


def _failing(found: Document) -> list[Document]:
    return [one for one in found["responders"] if not one["ok"]]


def _ports(responders: Iterable[Document]) -> str:
    """Return the ports that these are asked at, in words."""
    told = {int(found[1]) if (found := _PORT.match(one["url"])) else HTTP for one in responders} or {HTTP}
    return f"port{'s'[: len(told) > 1]} {listed([str(port) for port in sorted(told)])}"


def _advice(found: Document) -> str:
    return str(found["advice_sentence"])


_OFF_FOR = {"turn-off": "", "turn-off-site": " for the sites at fault"}
_REQUESTS: dict[str, Callable[[Document], str]] = {
    "datacenter": lambda found: (
        "Please see that nothing on the way answers in place of the addresses above, and tell us what does and since "
        "when."
        if found["cause"] == "interception"
        else f"Please let this server open TCP connections to {_ports(_failing(found))} of the addresses above, over "
        "IPv4 and IPv6, and tell us what blocked or changed them and since when."
    ),
    "ca": lambda found: (
        "Please check this responder and tell us when it answers again."
        if len(_failing(found)) <= 1
        else "Please check these responders and tell us when they answer again."
    ),
    "root": _advice,
}
_AFTERWARDS = _REQUESTS | {
    "datacenter": lambda _found: (
        "It works again. Please tell us what blocked or changed these connections, and from when to when."
    ),
    "ca": lambda _found: "It works again. Please tell us what happened, and from when to when.",
}
"""What is asked once everything answers again."""
