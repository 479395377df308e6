"""The last check as text for whoever can act: the datacenter, the authority, or a server's root admin.

Made from a check's document alone, so that one shown or stored earlier gives the same text. Customers' names stay
out unless the reader needs them; no file content, no log line and no key is ever in it.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from ipaddress import ip_address
from typing import Any

Document = Mapping[str, Any]
READERS = ("datacenter", "ca", "root")
_SHOWN = 12
_LEADING = {
    "network-block": "datacenter",
    "no-route": "datacenter",
    "ipv6-broken": "datacenter",
    "interception": "datacenter",
    "ca-outage": "ca",
    "ca-bad-answer": "ca",
    "certificate-revoked": "ca",
}


def reader_for(found: Document) -> str:
    """Return who can act on this check: `datacenter`, `ca` or `root`.

    While stapling is off that is the verdict; whoever can act then follows from the responder that fails.
    """
    cause = str(found["cause"])
    if cause.startswith("off-"):
        cause = next((str(one["cause"]) for one in found["responders"] if not one["ok"]), cause)
    return _LEADING.get(cause, "root")


def ticket(found: Document, reader: str = "", *, redact: bool = False) -> str:
    """Return the text for a reader (by default the one who can act). `redact` leaves out customers and addresses.

    `found` is the document of a check, as `report.document` makes it. Raises KeyError for anything else.
    """
    return _Ticket(found, reader or reader_for(found), redact).text()


class _Ticket:
    def __init__(self, found: Document, reader: str, redact: bool) -> None:
        self.found, self.reader, self.redact = found, reader, redact
        self.bad = [one for one in found["responders"] if not one["ok"]]
        self.good = [one for one in found["responders"] if one["ok"]]

    def text(self) -> str:
        sections = (
            self._opening(),
            self._failures(),
            self._works(),
            self._effect(),
            self._elsewhere(),
            self._routes(),
            self._reproduce(),
            self._request(),
        )
        return "\n\n".join("\n".join(map(_one_line, lines)) for lines in sections if lines) + "\n"

    def _opening(self) -> list[str]:
        found = self.found
        subjects = {
            "datacenter": "OCSP responders cannot be used from our server: please check the network",
            "ca": "Your OCSP responder fails: please check",
            "root": "OCSP stapling on this server: findings",
        }
        when = datetime.fromisoformat(str(found["checked_at"]))
        server = "(left out)" if self.redact else found["host"]["name"]
        rows = [
            f"Subject: {subjects[self.reader]}",
            "",
            f"Checked:  {when:%Y-%m-%d %H:%M:%S} {when.tzname() or ''} ({_utc(when)})".replace("  (", " ("),
            f"Server:   {server}",
        ]
        rows += [f"Finding:  {self._plain(found['sentence'])}", f"Cause:    {_cause(found)}"]
        return rows + self._sources()

    def _sources(self) -> list[str]:
        """The addresses of ours that the questions came from: what a firewall admin searches for."""
        sources = sorted(
            {a["source"] for one in self.found["responders"] for a in one["addresses"] if a["source"]}
        )
        if not sources or self.redact:
            return []
        return [f"From:     {', '.join(sources)} (user {self.found['host']['worker_user']}), to TCP port 80"]

    def _failures(self) -> list[str]:
        if not self.bad:
            return []
        lines = ["What fails"]
        for one in self.bad[:_SHOWN]:
            lines.append(f"  {one['url']} ({one['authority']}): {one['sentence']}")
            lines += [f"    {line}" for line in _addresses(one)]
            if one["name"]["sentence"]:
                lines.append(f"    DNS: {one['name']['sentence']}")
            if self.reader == "root":
                lines += [f"    firewall: {rule}" for rule in one["firewall"]]
        return [*lines, *_more(self.bad)]

    def _works(self) -> list[str]:
        if not self.good:
            return []
        lines = ["What works, from the same server at the same moment"]
        for one in self.good[:_SHOWN]:
            where = ", ".join(address["address"] for address in one["addresses"])
            lines.append(f"  {one['url']} ({one['authority']}): a good, verified answer from {where}")
        return [*lines, *_more(self.good)]

    def _effect(self) -> list[str]:
        found = self.found
        asked = [h for h in found["handshakes"] if h["asked"]]
        lines = ["Effect"]
        if asked:
            slowest = max(h["seconds"] for h in asked)
            lines.append(
                f"  TLS handshakes that ask for a staple: the slowest of {len(asked)} took {slowest:.1f} s."
            )
        causing, waiting = found["sites_causing"], found["sites_waiting"]
        if waiting:
            lines.append(f"  Sites whose visitors wait: {len(waiting)} of {found['sites']}, in one queue.")
            lines.append(f"  Sites whose certificates cause it: {len(causing)}.")
        else:
            lines.append(f"  Sites concerned: {len(found['sites_affected'])} of {found['sites']}.")
        if self.reader == "root" and not self.redact:
            lines += [f"    {name}" for name in (causing if waiting else found["sites_affected"])[:_SHOWN]]
        if strict := found["must_staple"]:
            names = "" if self.redact or self.reader != "root" else f": {', '.join(strict[:_SHOWN])}"
            lines.append(f"  Must-Staple (refused by Firefox without a staple): {len(strict)}{names}.")
        log = found["log"]
        lines.append(
            f"  Apache's error log: {log['last_hour']} failures in the last hour, {log['last_day']} in the last day."
        )
        return lines + self._root_facts()

    def _root_facts(self) -> list[str]:
        if self.reader != "root":
            return []
        one = self.found["configuration"]
        where = f", decided by {one['decided_by']}" if one["decided_by"] else ""
        return [
            f"  Stapling is {one['stapling']}{where}.",
            f"  Besides, {self.found['host']['load_sentence']}.",
        ]

    def _elsewhere(self) -> list[str]:
        told = [f"  {one['url']}: {self._place(one)}" for one in self.found["elsewhere"]]
        pages = [f"  {one['sentence']} {one['url']}" for one in self.found["authorities"]]
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
        traces: Mapping[str, str] = self.found["host"]["traces"]
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
        return [
            "Request" if self.reader != "root" else "Next step",
            f"  {_REQUESTS[self.reader](self.found)}",
        ]

    def _plain(self, text: str) -> str:
        """A sentence that may name sites, for a reader who must not see them."""
        if self.reader == "root" and not self.redact:
            return text
        names = {*self.found["sites_affected"], *self.found["sites_causing"]}
        for name in sorted(names, key=len, reverse=True):
            text = text.replace(name, "(a site)")
        return text


def _one_line(text: str) -> str:
    """Foreign text adds no lines of its own to a ticket."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _cause(found: Document) -> str:
    return f"{found['cause']} ({found['confidence']} confidence), severity {found['severity']}"


def _utc(when: datetime) -> str:
    offset = when.utcoffset()
    return f"UTC{when:%z}" if offset else "UTC"


def _addresses(one: Document) -> Iterable[str]:
    if not one["addresses"]:
        return [f"{one['outcome']}: {one['detail']}" if one["detail"] else str(one["outcome"])]
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
    return f"{family} {found['address']}: {found['outcome']}{detail}; {', '.join(stages)}{root}"


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


def _advice(found: Document) -> str:
    return str(found["advice"])


_REQUESTS: Mapping[str, Callable[[Document], str]] = {
    "datacenter": lambda _found: (
        "Please let this server open TCP connections to port 80 of the addresses above, over IPv4 and IPv6, and "
        "tell us what blocked or changed them and since when."
    ),
    "ca": lambda _found: (
        "Please check these responders at the addresses above and tell us when they answer again; the command above "
        "carries the very request."
    ),
    "root": _advice,
}
