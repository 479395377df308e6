"""What is in force: whether httpd staples, which line decided it, and which virtual hosts say otherwise."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ocsp_stapling.apache.native import NativeSwitch
from ocsp_stapling.apache.tree import ConfigTree, Directive, Finding, VirtualHost

DEFAULT_RESPONDER_TIMEOUT = 10  # seconds; mod_ssl's SSLStaplingResponderTimeout

_MOD_SSL = {"IfModule ssl_module", "IfModule mod_ssl.c"}

MANAGED = "managed-block"
NATIVE = "native-switch"
TEMPLATE = "template"
USERDATA = "userdata"
BY_HAND = "hand-written"
DEFAULT = "default"


@dataclass(frozen=True)
class Override:
    """A virtual host with its own SSLUseStapling, which beats the server level."""

    vhost: VirtualHost
    directive: Directive
    on: bool
    origin: str


@dataclass(frozen=True)
class StaplingState:
    """The outcome of all lines together."""

    on: bool
    """At server level."""
    decided_by: Directive | None
    """None: no line decides, Apache's default (Off) holds."""
    origin: str
    cache: Directive | None
    """The SSLStaplingCache in force; without one, `On` kills Apache at the next start."""
    session_cache: Directive | None
    overrides: tuple[Override, ...]
    responder_timeout: int
    """Seconds per address and socket operation."""
    directives: tuple[Directive, ...]
    """Every line that takes part, in the order in which httpd reads them."""
    uncertain: tuple[Directive, ...]
    """Lines that might decide otherwise, in sections whose condition cannot be judged from here."""


def effective(tree: ConfigTree, native: NativeSwitch | None = None) -> StaplingState:
    """Return what is in force. At server level the last line wins, wherever it stands; without one it is Off.

    `native` (WHM's own switch) only serves to say where an Off in httpd.conf comes from.
    """
    decided = tree.last("SSLUseStapling")
    return StaplingState(
        on=decided is not None and is_on(decided),
        decided_by=decided,
        origin=origin(decided, tree, native) if decided else DEFAULT,
        cache=tree.last("SSLStaplingCache"),
        session_cache=tree.last("SSLSessionCache"),
        overrides=tuple(_overrides(tree, native)),
        responder_timeout=_responder_timeout(tree.last("SSLStaplingResponderTimeout")),
        directives=tuple(d for d in tree.directives if takes_part(d)),
        uncertain=_uncertain(tree.server_level("SSLUseStapling"), decided),
    )


def is_on(directive: Directive) -> bool:
    """Say whether an On-Off directive says On."""
    return directive.value.lower() == "on"


def takes_part(directive: Directive) -> bool:
    """Say whether the directive concerns stapling or the cache that stapling's cache must match."""
    return directive.name.startswith("SSLStapling") or directive.name in ("SSLUseStapling", "SSLSessionCache")


def origin(directive: Directive, tree: ConfigTree, native: NativeSwitch | None = None) -> str:
    """Return where a line comes from.

    `managed-block` (ours), `userdata`, `template` (cPanel's, in httpd.conf), `native-switch` (the same, but Off
    because WHM's own switch is), or `hand-written`.
    """
    if directive.managed:
        return MANAGED
    if str(directive.file).startswith(f"{tree.userdata}/"):
        return USERDATA
    if directive.file != tree.conf or not _like_template(directive, tree):
        return BY_HAND
    if directive.vhost is None and native is not None and not native.on and not is_on(directive):
        return NATIVE
    return TEMPLATE


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


def _responder_timeout(directive: Directive | None) -> int:
    found = re.match(r"\d{1,9}", directive.value) if directive else None
    return int(found[0]) if found else DEFAULT_RESPONDER_TIMEOUT


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
    return line.name == "SSLUseStapling" and line.vhost is None and origin(line, tree) == TEMPLATE


def compare_includes(tree: ConfigTree, read: Sequence[Path]) -> tuple[Finding, ...]:
    """Return a finding `unverified` when httpd (`Httpd.includes()`) reads other files than the tree holds."""
    ours, its = set(tree.files), set(read)
    more, less = sorted(its - ours), sorted(ours - its)
    if not more and not less:
        return ()
    example = (more or less)[0]
    kind = "reads also" if more else "does not read"
    sentence = (
        f"Apache itself {kind} {example}: the state shown may be wrong in {len(more) + len(less)} file(s)."
    )
    return (Finding("unverified", sentence, example),)
