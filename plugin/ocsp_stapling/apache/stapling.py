"""What is in force: whether httpd staples, which line decides it, on whose behalf, and who says otherwise."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from math import exp, lgamma, log, log1p
from pathlib import Path
from typing import NamedTuple

from ocsp_stapling.apache.layout import NativeSwitch
from ocsp_stapling.apache.tree import ConfigTree, Directive, Finding, VirtualHost
from ocsp_stapling.text import counted


class Origin(Enum):
    """Where the line comes from that decides whether stapling is on."""

    PLUGIN = "managed-block"
    WHM = "native-switch"
    HAND = "hand-written"
    USERDATA = "userdata"
    TEMPLATE = "template"
    OWN_TEMPLATE = "local-template"
    """An administrator's own template, from which cPanel writes httpd.conf."""
    DEFAULT = "default"
    """No line decides."""
    UNKNOWN = "unknown"
    """Nobody has looked."""


ORIGINS = {
    Origin.PLUGIN: "by OCSP Stapling for WHM",
    Origin.WHM: "by WHM's own switch: Global Configuration, SSL Use Stapling",
    Origin.TEMPLATE: "by cPanel's template",
    Origin.OWN_TEMPLATE: "by an administrator's own template",
    Origin.USERDATA: "for one site, in userdata",
    Origin.HAND: "by hand",
    Origin.DEFAULT: "no line says it: Apache's default, which is off",
    Origin.UNKNOWN: "by what could not be found out",
}
"""Each goes on after "decided", but for the default: there nothing decides."""


def origin_words(code: str) -> str:
    """Return the words for an origin by its code (a document has nothing else); an unknown one is its own word."""
    return next((words for origin, words in ORIGINS.items() if origin.value == code), code)


DEFAULT_RESPONDER_TIMEOUT = 10  # seconds; mod_ssl's SSLStaplingResponderTimeout
DEFAULT_ERROR_SECONDS = 600  # its SSLStaplingErrorCacheTimeout

_TAKING_PART = frozenset(
    ("SSLUseStapling", "SSLSessionCache", "SSLOCSPProxyURL", "SSLOCSPEnable", "MDStapling", "MDStapleOthers")
)
_MOD_SSL = {"IfModule ssl_module", "IfModule mod_ssl.c"}


class Override(NamedTuple):
    """A virtual host with its own SSLUseStapling, which beats the server level."""

    vhost: VirtualHost
    directive: Directive
    on: bool
    origin: Origin


@dataclass(frozen=True)
class StaplingState:
    """The outcome of all lines together."""

    on: bool
    """At server level."""
    decided_by: Directive | None
    """None: no line decides, Apache's default (Off) holds."""
    origin: Origin
    cache: Directive | None
    """The SSLStaplingCache in force; without one, `On` kills Apache at the next start."""
    session_cache: Directive | None
    overrides: tuple[Override, ...]
    responder_timeout: int
    """Seconds per address and socket operation."""
    error_seconds: int
    """How long Apache keeps a failed answer."""
    max_age: Directive | None
    """The SSLStaplingResponseMaxAge: a right answer that is older is none for Apache."""
    directives: tuple[Directive, ...]
    """Every line that takes part, in the order in which httpd reads them."""
    uncertain: tuple[Directive, ...]
    """Lines that might decide otherwise, in sections whose condition cannot be judged from here."""
    force_url: Directive | None
    """The SSLStaplingForceURL that sends questions elsewhere; of several the server's, else a virtual host's."""
    proxy: Directive | None
    """The SSLOCSPProxyURL that questions go through, likewise."""
    client_checks: Directive | None
    """A line that has client certificates checked by OCSP (SSLOCSPEnable); without one, nothing but stapling asks."""
    md_stapling: Directive | None
    """The MDStapling with which mod_md staples in mod_ssl's place: then SSLUseStapling decides nothing."""

    @property
    def cache_places(self) -> int | None:
        """How many staples the cache holds (first in, first out); None for a kind without such a limit."""
        value = self.cache.value if self.cache else ""
        if not value.startswith("shmcb:"):
            return None
        found = _SHMCB.match(value)
        return (int(found[1]) if found else _SHMCB_DEFAULT_BYTES) // _BYTES_PER_STAPLE


# mod_socache_shmcb gives each object a place of 1,500 bytes on average and 20 of its name.
_BYTES_PER_STAPLE = 1520
_SUBCACHES = 256
_LOST_SHARE = 0.05
_SHMCB = re.compile(r"shmcb:.*\((\d{1,12})\)\s*\Z", re.DOTALL)
_SHMCB_DEFAULT_BYTES = 512 * 1024


def cache_bytes(certificates: int) -> int:
    """Return the size of a staple cache that holds so many certificates' answers, whatever their size."""
    return max(1 << 20, 4096 * certificates)


def asked_again(certificates: int, places: int | None) -> int:
    """Return of how many certificates the staple is gone before it is next wanted, if visits go round; 0 if few.

    shmcb deals its places out to subcaches, and a certificate to one of them as if by lot. What comes first goes
    first, so a subcache with more certificates than places keeps none of them until they are visited again.
    (httpd: modules/cache/mod_socache_shmcb.c.)
    """
    if not places or not certificates:
        return 0
    subcaches = _SUBCACHES
    while subcaches > 1 and places // subcaches < 2 * subcaches:
        subcaches //= 2
    lost = certificates * _more_than(places // subcaches - 1, certificates - 1, 1 / subcaches)
    return round(lost) if lost > certificates * _LOST_SHARE else 0


def _more_than(most: int, count: int, share: float) -> float:
    """Return how likely more than `most` of `count` fall to one that gets each with the likelihood `share`."""
    if share >= 1:
        return float(count > most)
    one = (
        lgamma(count + 1)
        - lgamma(k + 1)
        - lgamma(count - k + 1)
        + k * log(share)
        + (count - k) * log1p(-share)
        for k in range(min(most, count) + 1)
    )
    return max(0.0, 1.0 - sum(map(exp, one)))


def effective(tree: ConfigTree, native: NativeSwitch | None = None) -> StaplingState:
    """Return what is in force. At server level the last line wins, wherever it stands; without one it is Off.

    `native` (WHM's own switch) only serves to say where an Off in httpd.conf comes from.
    """
    decided = tree.last("SSLUseStapling")
    return StaplingState(
        on=decided is not None and is_on(decided),
        decided_by=decided,
        origin=origin(decided, tree, native) if decided else Origin.DEFAULT,
        cache=tree.last("SSLStaplingCache"),
        session_cache=tree.last("SSLSessionCache"),
        overrides=tuple(_overrides(tree, native)),
        responder_timeout=seconds_of(tree.last("SSLStaplingResponderTimeout")),
        error_seconds=seconds_of(tree.last("SSLStaplingErrorCacheTimeout"), DEFAULT_ERROR_SECONDS),
        max_age=_anywhere(tree, "SSLStaplingResponseMaxAge"),
        directives=tuple(d for d in tree.directives if takes_part(d)),
        uncertain=_uncertain(tree.server_level("SSLUseStapling"), decided),
        force_url=_anywhere(tree, "SSLStaplingForceURL"),
        proxy=_anywhere(tree, "SSLOCSPProxyURL"),
        client_checks=_anywhere(tree, "SSLOCSPEnable"),
        md_stapling=_md_stapling(tree),
    )


def _md_stapling(tree: ConfigTree) -> Directive | None:
    """MDStapling concerns certificates that mod_md does not manage, unless MDStapleOthers is off.

    Where a virtual host says otherwise for itself, mod_ssl staples there, and its switch matters.
    """
    line, others = tree.last("MDStapling"), tree.last("MDStapleOthers")
    of_md = (
        d for d in tree.directives if d.name in ("MDStapling", "MDStapleOthers") and d.vhost and d.certain
    )
    whole = line and is_on(line) and not (others and not is_on(others))
    return line if whole and all(map(is_on, of_md)) else None


def _anywhere(tree: ConfigTree, name: str) -> Directive | None:
    """The server's line of that name, else any virtual host's; a value of Off is as good as none."""
    of_vhosts = (d for d in tree.directives if d.name == name and d.vhost is not None and d.certain)
    lines = (line for line in (tree.last(name), *of_vhosts) if line)
    return next((line for line in lines if line.value.lower() not in ("off", "")), None)


def is_on(directive: Directive) -> bool:
    """Say whether an On-Off directive says On."""
    return directive.value.lower() == "on"


def takes_part(directive: Directive) -> bool:
    """Say whether the directive concerns stapling, whom it asks, or the cache that stapling's cache must match."""
    return directive.name.startswith("SSLStapling") or directive.name in _TAKING_PART


def origin(directive: Directive, tree: ConfigTree, native: NativeSwitch | None = None) -> Origin:
    """Return where a line comes from.

    `managed-block` (ours), `userdata`, `template` (cPanel's, in httpd.conf), `native-switch` (the same, but Off
    because WHM's own switch is), `local-template` (an administrator's own) or `hand-written`.
    """
    if directive.managed:
        return Origin.PLUGIN
    if str(directive.file).startswith(f"{tree.userdata}/"):
        return Origin.USERDATA
    if directive.file == tree.conf and native is not None and native.own_line(directive.text):
        return Origin.OWN_TEMPLATE
    if directive.file != tree.conf or not _like_template(directive, tree):
        return Origin.HAND
    if directive.vhost is None and native is not None and not native.on and not is_on(directive):
        return Origin.WHM
    return Origin.TEMPLATE


def _like_template(directive: Directive, tree: ConfigTree) -> bool:
    """cPanel writes its lines in httpd.conf inside `<IfModule ssl_module>`, and before the virtual hosts.

    What somebody appended to httpd.conf by hand (it is lost at the next rebuild) stands elsewhere or bare.
    """
    first_vhost = next((v.place.line for v in tree.vhosts if v.place.file == tree.conf), None)
    early = directive.vhost is not None or first_vhost is None or directive.line < first_vhost
    return early and not _MOD_SSL.isdisjoint(directive.condition)


def _overrides(tree: ConfigTree, native: NativeSwitch | None) -> list[Override]:
    return [
        Override(vhost, vhost.stapling, is_on(vhost.stapling), origin(vhost.stapling, tree, native))
        for vhost in tree.vhosts
        if vhost.stapling is not None
    ]


def seconds_of(line: Directive | None, default: int = DEFAULT_RESPONDER_TIMEOUT) -> int:
    """Return the seconds of a time-out, mod_ssl's default without one."""
    found = re.match(r"\d{1,9}", line.value) if line else None
    return int(found[0]) if found else default


def _uncertain(lines: Sequence[Directive], decided: Directive | None) -> tuple[Directive, ...]:
    later = lines[lines.index(decided) + 1 :] if decided else lines
    on = decided is not None and is_on(decided)
    return tuple(line for line in later if not line.certain and is_on(line) != on)


def state_findings(state: StaplingState, tree: ConfigTree, native: NativeSwitch) -> tuple[Finding, ...]:
    """Return what an administrator must know about the state: `on-without-cache`, `native-switch-pending`,
    `uncertain`.
    """
    found = []
    decided = state.decided_by
    if decided and state.on and state.cache is None:
        sentence = "SSLUseStapling is On without an SSLStaplingCache: Apache will not start again (AH01958)."
        found.append(Finding("on-without-cache", sentence, decided.file, decided.line))
    for line in state.directives:
        if _from_template(line, tree) and is_on(line) != native.on:
            now, then = ("On", "Off") if is_on(line) else ("Off", "On")
            sentence = (
                f"WHM's SSL Use Stapling says {then}, httpd.conf still says {now}: a rebuild changes it."
            )
            found.append(Finding("native-switch-pending", sentence, line.file, line.line))
    for line in state.uncertain:
        sentence = f"{line.text} counts only if <{line.condition[-1]}> holds, which cannot be told from here."
        found.append(Finding("uncertain", sentence, line.file, line.line))
    return tuple(found)


def _from_template(line: Directive, tree: ConfigTree) -> bool:
    """Whether it is the line that WHM's own switch writes."""
    return line.name == "SSLUseStapling" and line.vhost is None and origin(line, tree) == Origin.TEMPLATE


def compare_includes(tree: ConfigTree, read: Sequence[Path]) -> tuple[Finding, ...]:
    """Return a finding `unverified` when httpd (`Httpd.includes()`) reads other files than the tree holds."""
    ours, its = set(tree.files), set(read)
    more, less = sorted(its - ours), sorted(ours - its)
    if not more and not less:
        return ()
    example = (more or less)[0]
    kind = "reads also" if more else "does not read"
    wrong = counted([*more, *less], "file")
    sentence = f"Apache itself {kind} {example}: the state shown may be wrong in {wrong}."
    return (Finding("unverified", sentence, example),)
