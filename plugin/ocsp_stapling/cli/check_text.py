"""A check's document as a good doctor tells it: verdict first, then the findings, then what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from ocsp_stapling.check.words import cause_words, confidence_words, harm_words
from ocsp_stapling.cli.output import blocks, boxed, place_of, printable, table, wrapped
from ocsp_stapling.ocsp.finding import Outcome
from ocsp_stapling.text import counted, duration, host_of, listed, milliseconds, when

_COLOURS = {"OK": "green", "WARNING": "yellow", "CRITICAL": "red", "UNKNOWN": "magenta"}
_UNDECIDED = ("network-block", "ca-outage", "interception")
"""Causes that an answer from another machine confirms or overthrows."""
_ROWS = 40
_SHOWN = 6
_NAME_SHOWN = 60
Document = Mapping[str, Any]


def as_text(found: Document, monitoring: bool = True) -> str:
    """Return the whole text, the verdict first.

    For `monitoring` that is one line with performance data behind the bar, else a box with the next step in it.
    """
    parts = [
        [_verdict(found)] if monitoring else [_box(found)],
        _reasons(found),
        _responders(found),
        _handshakes(found),
        _surroundings(found),
        _elsewhere(found),
        _next(found) if monitoring else [],
    ]
    return "\n\n".join("\n".join(part) for part in parts if part)


def _verdict(found: Document) -> str:
    state = str(found["monitoring_state"])
    head = click.style(f"OCSP STAPLING {state}", fg=_COLOURS[state], bold=True)
    sentence = printable(str(found["sentence"]), 1000).replace("|", "/")
    return f"{head} - {sentence} | {_performance(found)}"


def _box(found: Document) -> str:
    state = str(found["monitoring_state"])
    verdict = f"{state}: {printable(str(found['sentence']), 1000)}"
    step = f"Next step: {printable(str(found['advice_sentence']), 1000)}"
    return click.style(boxed([verdict, step]), fg=_COLOURS[state], bold=True)


def _performance(found: Document) -> str:
    """The thresholds are those of the verdict: a handshake of a second or more that a staple slowed is a stall."""
    seconds = found["slowest_handshake_seconds"]
    bad = sum(not one["ok"] for one in found["responders"])
    slowest = "" if seconds is None else f"slowest_handshake={seconds:.3f}s;1;1 "
    return f"{slowest}responders_failing={bad} sites_affected={len(found['sites_affected'])}"


def _reasons(found: Document) -> list[str]:
    """The cause in words and by its code; what speaks for it and against it. A healthy server has none to name."""
    facts = []
    if found["cause"] != "healthy":
        sure = confidence_words(str(found["confidence"]))
        facts.append(wrapped(f"Cause: {cause_words(str(found['cause']))}{sure}. [{found['cause']}]"))
        facts.append(wrapped(f"Effect: {harm_words(found)}."))
    facts += map(wrapped, (*_names(found), *_refused(found)))
    facts += [wrapped(printable(text, 600), "  + ", "    ") for text in found["for"]]
    facts += [wrapped(printable(text, 600), "  - ", "    ") for text in found["against"]]
    return facts


def _refused(found: Document) -> list[str]:
    """What browsers refuse without a staple is said as long as it lasts, unless the line before names it."""
    strict = [name for name in found["refused_sites"] if name not in found["must_staple_sites"]]
    if not strict:
        return []
    why = "while it is off" if found["configuration"]["stapling"] == "off" else "for want of a staple"
    return [f"Firefox refuses {counted(strict, 'Must-Staple site')} {why}: {listed(strict)}."]


def _names(found: Document) -> list[str]:
    causing, waiting, all_sites = found["sites_causing"], found["sites_waiting"], found["site_count"]
    if not waiting:
        return _named(
            f"Sites concerned: {len(found['sites_affected'])} of {all_sites}", found["sites_affected"], found
        )
    which = (
        "all HTTPS sites" if len(waiting) >= all_sites else f"{len(waiting):,} of {all_sites:,} HTTPS sites"
    )
    lines = _named(f"Waiting: {which}", waiting, found)
    return [*lines, *_named(f"Sites whose certificates cause it: {len(causing):,}", causing, found)]


def _named(what: str, names: Sequence[str], found: Document) -> list[str]:
    if not names:
        return []
    strict = set(found["must_staple_sites"])
    # Those that a browser refuses outright come first.
    ordered = sorted(names, key=lambda name: name not in strict)
    shown = ", ".join(f"{name} (Must-Staple)" if name in strict else name for name in ordered[:_SHOWN])
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return [printable(f"{what}: {shown}{more}.", 1000)]


def _responders(found: Document) -> list[str]:
    groups = [(one, list(_rows(one))) for one in found["responders"]]
    hosts = Counter(host for host, _ in {(one["host"], one["url"]) for one in found["responders"]})
    rows = [row for _, each in groups for row in each]
    if not rows:
        return []
    header, *lines = blocks(rows[:_ROWS], ("address", "ping", "connect", "answer", "result"), indent=4)
    shown = [_heading(f"Responders, asked as Apache's user {found['this_server']['worker_user']}".rstrip())]
    shown.append(click.style(header, dim=True))
    left = list(zip(lines, rows, strict=False))
    for one, each in groups:
        part, left = left[: len(each)], left[len(each) :]
        shown += [_group(one, hosts), *(_colour(line, row) for line, row in part)] if part else []
    if len(rows) > _ROWS:
        shown.append(f"  ... {len(rows) - _ROWS} more lines: --json has them all.")
    return shown


def _group(one: Document, hosts: Counter[str]) -> str:
    """The host, with its port where that is not http's own, or the whole URL where several have the same host."""
    alone = one["host"] and hosts[one["host"]] == 1
    name = printable(host_of(one["url"]).rpartition("@")[2] if alone else str(one["url"]), _NAME_SHOWN)
    return wrapped(f"{name} ({counted(one['site_names'], 'site')})", "  ", "    ")


def _rows(one: Document) -> Iterator[tuple[str, ...]]:
    if not one["addresses"]:
        yield "-", "-", "-", "-", _result(one["outcome"], one["detail"])
    for address in one["addresses"]:
        yield (
            address["address"],
            milliseconds(address["icmp_ms"]),
            milliseconds(address["tcp_ms"]),
            milliseconds(address["http_ms"]),
            _result(address["outcome"], address["detail"]) + _validity(address),
        )


def _result(outcome: str, detail: str) -> str:
    word = Outcome(outcome).word
    return f"{word}: {detail}" if detail else word


def _validity(address: Document) -> str:
    until = address["next_update"]
    if not until or address["outcome"] != "ok":
        return ""
    left = datetime.fromisoformat(until) - datetime.now(UTC)
    return (
        f", valid for {duration(left.total_seconds())} more" if left > timedelta(0) else ", no longer valid"
    )


def _colour(line: str, row: tuple[str, ...]) -> str:
    word = row[-1].partition(":")[0].partition(",")[0]
    good = word in {each.word for each in Outcome if each.is_good}
    return line if good else click.style(line, fg="red")


def _handshakes(found: Document) -> list[str]:
    if not found["handshakes"]:
        return []
    rows = [
        (
            one["site"],
            f"{one['address']}",
            _asking(one),
            f"{one['seconds']:.2f} s",
            _ending(one),
        )
        for one in _telling(found["handshakes"])
    ]
    header = ("site", "address", "asked for", "after", "ended with")
    lines = [_heading("Handshakes, each group at once"), *table(rows, header).splitlines()]
    if (left := len(found["handshakes"]) - len(rows)) > 0:
        lines.append(f"  ... {left} more lines: --json has them all.")
    if found["this_server"]["front"] != "httpd":
        lines.append(wrapped(printable(found["this_server"]["front_sentence"]), "  ", "  "))
    return lines


def _telling(made: Sequence[Document]) -> Sequence[Document]:
    """Those that are shown: of very many, whatever came without a good staple before the others."""
    ordered = sorted(made, key=lambda one: one["asked"] and one["staple"] == "good")
    return made if len(made) <= _ROWS else ordered[:_ROWS]


def _asking(one: Document) -> str:
    again = ", again" if one["repeated"] else ""
    # Of a site with certificates of both kinds each kind is met: they may have responders of their own.
    which = f" ({str(one['key']).upper()})" if one["key"] else ""
    return f"{'a staple' if one['asked'] else 'none'}{which}{again}"


def _ending(one: Document) -> str:
    if one["failure"]:
        return "given up" if one["failure"] == "timeout" else str(one["failure"])
    if not one["asked"]:
        return "served"
    return f"{str(one['staple']).replace('-', ' ')} staple" if one["stapled"] else "no staple"


def _surroundings(found: Document) -> list[str]:
    configuration, log, host = found["configuration"], found["log"], found["this_server"]
    rows = [("Stapling", _stapling(configuration)), *_alone(found), *_shield(found["shield"])]
    rows.append(("Error log", _log(log)))
    if told := found["retirement"]["sentence"]:
        rows.append(("OCSP", str(told)))
    rows += [("CA status", f"{one['sentence']}{_link(one)}") for one in found["authorities"]]
    rows += [("", f"incident: {incident}") for one in found["authorities"] for incident in one["incidents"]]
    rules = dict.fromkeys(rule for one in found["responders"] for rule in one["firewall"])
    rows += [("Firewall", rule) for rule in rules][:_SHOWN]
    rows += [("Server", "; ".join(filter(None, (host["load_sentence"], host["ipv6_sentence"]))))]
    return [_heading("Around it"), *table(rows).splitlines()]


def _alone(found: Document) -> list[tuple[str, str]]:
    """Sites for which stapling is off alone: whoever turned it off for an outage is to know when that is over."""
    told = []
    for one in found["responders_turned_off"]:
        whose = f"{one['host'] or one['url']} {'answers' if one['ok'] else 'fails'}"
        which = f"off alone for {listed(one['site_names'])}, whose responder {whose}"
        told.append(("", f"{which} (ocsp-stapling status: since when, by whom)"))
    return told


def _shield(found: Document | None) -> list[tuple[str, str]]:
    if found is None:
        return []
    word = "on" if found["answering"] else "on, but its relay does not answer"
    return [("Shield", f"{word}; {found['held_count']:,} of {found['certificate_count']:,} answers held")]


def _stapling(one: Document) -> str:
    by = f", by {one['off_by']}" if one["off_by"] else ""
    why = f": {one['reason']}" if one["reason"] else ""
    return f"{one['stapling']}, decided by {place_of(one['decided_by'], one['origin'])}{by}{why}"


def _log(one: Document) -> str:
    if one["unreadable_reason"]:
        return str(one["unreadable_reason"])
    unheard = f". {one['unheard_reason']}" if one["unheard_reason"] else ""
    if not one["last_day_count"]:
        return f"no stapling failure in the last day{unheard}"
    last = f", the last at {when(datetime.fromisoformat(one['last_at']))}" if one["last_at"] else ""
    day = counted(one["last_day_count"], "failure")
    return f"{day} in the last day, {one['last_hour_count']:,} in the last hour{last}{unheard}"


def _link(one: Document) -> str:
    return f" ({one['url']})" if one["url"] and one["level"] != "operational" else ""


def _elsewhere(found: Document) -> list[str]:
    told = [wrapped(printable(one["sentence"], 600), "  ", "  ") for one in found["elsewhere"]]
    if told:
        return [_heading("Another vantage point"), *told]
    asked = (one for one in found["responders"] if one["command"] and one["cause"] in _UNDECIDED)
    bad = next(asked, None)
    if bad is None:
        return []
    return [
        _heading(wrapped("To tell the network from the authority, run this line on a machine elsewhere")),
        f"  {printable(bad['command'], 4000)}",
        wrapped("and give what it prints to: ocsp-stapling check --elsewhere -", "  ", "  "),
    ]


def _next(found: Document) -> list[str]:
    return [click.style("Next step: ", bold=True) + printable(str(found["advice_sentence"]), 1000)]


def _heading(text: str) -> str:
    return click.style(text, bold=True)
