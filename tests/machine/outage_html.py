"""How the outage page looks: plain HTML that works without scripts."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.machine.moods import BOTH, FAMILIES, WORDS, Mood, families_of
from tests.machine.shape import Authority

COMMON = 6  # so many faults of WORDS are shown at once, the others when one asks for them


@dataclass
class Visit:
    """Visitors who came at once to a site: when, and the handshakes that have ended so far."""

    site: str
    count: int
    at: str
    handshakes: list[tuple[float, str]] = field(default_factory=list)  # seconds, how it ended

    @property
    def under_way(self) -> bool:
        return len(self.handshakes) < self.count


def page(
    authorities: Sequence[Authority],
    moods: Sequence[Mood],
    sites: Mapping[str, str],
    visit: Visit | None,
    whm: str,
) -> str:
    """Return the page; while visitors are under way it asks again each second. `sites`: name -> its authority."""
    again = '<meta http-equiv="refresh" content="1">' if visit and visit.under_way else ""
    parts = [
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">{again}',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>Outages of the machine</title><style>{STYLE}</style></head><body>",
        '<p class="mark">Part of the machine, not of the product</p><h1>Outages</h1>',
        "<p>Here the certificate authorities of this machine are broken and healed. Their responders, the packets",
        "and Apache are real. The product is the plugin "
        f'<a href="{html.escape(whm)}">OCSP Stapling in WHM</a>; WHM itself is a stand-in.</p>',
        _visiting(sites, visit),
        *(_authority(each, [m for m in moods if m.authority == each.name]) for each in authorities),
        _form("heal", {"ca": "all"}, "Heal everything"),
        "</body></html>\n",
    ]
    return "\n".join(parts)


def _visiting(sites: Mapping[str, str], visit: Visit | None) -> str:
    options = "".join(
        f'<option value="{site}"{" selected" if visit and visit.site == site else ""}>{site} ({authority})</option>'
        for site, authority in sites.items()
    )
    return (
        '<section><h2>Visit the sites</h2><form method="post" action="/visit">'
        f'<label>Four visitors at once to <select name="site">{options}</select></label> '
        "<button>Visit the sites now</button> "
        '<button name="forget" value="yes">Forget the staples, then visit</button></form>'
        "<p>Apache keeps a good staple for an hour, so an outage is felt only when that is over, or after a restart: "
        "the second button restarts Apache first.</p>"
        f"{_result(visit) if visit else ''}</section>"
    )


def _result(visit: Visit) -> str:
    rows = "".join(
        f'<tr><td class="number">{seconds:.3f} s</td><td>{html.escape(ending)}</td>'
        f'<td><meter min="0" max="15" low="1" high="2.5" optimum="0" value="{seconds:.3f}"></meter></td></tr>'
        for seconds, ending in sorted(visit.handshakes)
    )
    waiting = visit.count - len(visit.handshakes)
    rest = f"<p>{waiting} still waiting …</p>" if waiting else ""
    return (
        f'<table id="visit"><caption>{html.escape(visit.site)} at {visit.at}: time of each TLS handshake that asked '
        f"for a staple</caption>{rows}</table>{rest}"
    )


def _authority(authority: Authority, moods: Sequence[Mood]) -> str:
    rows = [_row(authority, kind, moods) for kind in WORDS]
    state = "; ".join(f"{_where(m.family)} {WORDS[m.kind]}" for m in moods) or "in order"
    name = html.escape(authority.name)
    hidden = {m.kind for m in moods} & set(list(WORDS)[COMMON:])
    return (
        f'<section id="{name}" class="{"broken" if moods else "well"}"><h2>{name}</h2>'
        f"<p><code>{authority.host}</code> {' '.join(authority.addresses)}</p>"
        f'<p class="state">{html.escape(state)}</p>{_form("heal", {"ca": authority.name}, "Heal")}'
        f"<table>{''.join(rows[:COMMON])}</table>"
        f"<details{' open' if hidden else ''}><summary>{len(rows) - COMMON} other faults</summary>"
        f"<table>{''.join(rows[COMMON:])}</table></details></section>"
    )


def _where(family: str) -> str:
    return f"{FAMILIES[family]}:" if family in FAMILIES else ""


def _row(authority: Authority, kind: str, moods: Sequence[Mood]) -> str:
    present = {m.family for m in moods if m.kind == kind}
    buttons = "".join(
        _form(
            "break",
            {"ca": authority.name, "kind": kind, "family": family},
            FAMILIES.get(family, "break" if len(families_of(kind)) == 1 else "both"),
            pressed=family in present or present == set(FAMILIES),
        )
        for family in families_of(kind)
    )
    return f"<tr><th scope=row>{kind}</th><td>{html.escape(WORDS[kind])}</td><td class=buttons>{buttons}</td></tr>"


def _form(action: str, fields: dict[str, str], label: str, pressed: bool = False) -> str:
    hidden = "".join(f'<input type="hidden" name="{n}" value="{html.escape(v)}">' for n, v in fields.items())
    what = " ".join((action, *(v for v in fields.values() if v != BOTH)))
    return (
        f'<form method="post" action="/{action}">{hidden}'
        f'<button aria-pressed="{str(pressed).lower()}" title="{html.escape(what)}">{label}</button></form>'
    )


STYLE = """
:root { color-scheme: light dark; --line: light-dark(#ccc, #555); --bad: light-dark(#a00, #f99);
  --good: light-dark(#060, #9d9); }
body { font: 16px/1.45 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; }
.mark { color: #000; background: #fc0; text-align: center; font-weight: bold; padding: .4rem; margin: 0;
  border: 6px solid; border-image: repeating-linear-gradient(45deg, #222 0 8px, #fc0 8px 16px) 6; }
section { border: 1px solid var(--line); border-radius: 8px; padding: .2rem 1rem 1rem; margin: 1rem 0; }
section.broken { border-left: 6px solid var(--bad); } section.well { border-left: 6px solid var(--good); }
.broken .state { color: var(--bad); font-weight: bold; } .well .state { color: var(--good); }
form { display: inline-block; margin: .1rem; }
button, select { font: inherit; padding: .15rem .6rem; cursor: pointer; }
button[aria-pressed=true] { background: var(--bad); color: light-dark(#fff, #000); }
table { border-collapse: collapse; width: 100%; } caption { text-align: left; font-weight: bold; }
td, th { border-top: 1px solid var(--line); padding: .15rem .5rem; text-align: left; font-weight: normal; }
th { font-family: ui-monospace, monospace; } .number { text-align: right; font-variant-numeric: tabular-nums; }
.buttons { text-align: right; white-space: nowrap; } meter { width: 100%; min-width: 8rem; }
@media (max-width: 40rem) { td:nth-child(2) { display: none; } }
"""
