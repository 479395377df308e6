"""`ocsp-stapling config`: whether Apache staples, which line decided it, and every line that takes part."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from ocsp_stapling.apache import layout as whm
from ocsp_stapling.apache.httpd import Examination, Httpd, require_mod_ssl
from ocsp_stapling.apache.layout import Layout, NativeSwitch
from ocsp_stapling.apache.stapling import (
    ORIGINS,
    Override,
    StaplingState,
    compare_includes,
    origin,
    state_findings,
)
from ocsp_stapling.apache.tree import ConfigTree, Directive, Finding
from ocsp_stapling.cli.options import json_option
from ocsp_stapling.cli.output import emit_json, printable, table, wrapped
from ocsp_stapling.server import state as server
from ocsp_stapling.server.names import host_name

_SHOWN = 10


@dataclass(frozen=True)
class _Seen:
    """Everything the command tells."""

    layout: Layout
    tree: ConfigTree
    state: StaplingState
    native: NativeSwitch
    templates: tuple[Path, ...]
    examined: Examination
    findings: tuple[Finding, ...]


@click.command()
@json_option
def config(as_json: bool) -> None:
    """Show whether Apache staples, and which line of which file decided it. Changes nothing.

    The keys of --json: docs/json/config.schema.json.
    """
    seen = _look()
    if as_json:
        emit_json("config", _document(seen))
    else:
        click.echo(_text(seen))


def _look() -> _Seen:
    here = server.look()
    here.require_readable()
    layout, tree, native, state = here.layout, here.tree, here.native, here.stapling
    examined = Httpd(layout).examine()
    if examined.ok:
        require_mod_ssl(examined.modules)
    # What httpd lists before it meets an error is no measure of what it reads.
    compared = compare_includes(tree, examined.includes) if examined.ok else ()
    findings = (*tree.findings, *state_findings(state, tree, native), *compared)
    return _Seen(layout, tree, state, native, whm.local_templates(), examined, findings)


# --- for programs ---


def _document(seen: _Seen) -> dict[str, Any]:
    state, tree = seen.state, seen.tree
    return {
        "stapling": _on_off(state.on),
        "decided_by": _line(state.decided_by),
        "origin": state.origin.value,
        "cache": _line(state.cache),
        "session_cache": _line(state.session_cache),
        "force_url": _line(state.force_url),
        "proxy": _line(state.proxy),
        "md_stapling": _line(state.md_stapling),
        "client_checks": _line(state.client_checks),
        "responder_timeout": state.responder_timeout,
        "overrides": [_override(each) for each in state.overrides],
        "directives": [_directive(each, seen) for each in state.directives],
        "includes": [_include(path, tree) for path in seen.layout.pre_virtualhost_files],
        "block": {
            "present": bool(tree.managed),
            "places": [{"file": str(b.file), "begin": b.begin, "end": b.end} for b in tree.managed],
        },
        "native_switch": {
            "file": str(seen.native.file),
            "value": seen.native.value or "",
            "stapling": _on_off(seen.native.on),
        },
        "local_templates": [str(path) for path in seen.templates],
        "configtest": {"ok": seen.examined.ok, "detail": seen.examined.message},
        "files": [str(path) for path in dict.fromkeys(tree.files)],
        "findings": [finding.as_json() for finding in seen.findings],
    }


def _line(line: Directive | None) -> dict[str, Any] | None:
    return line.as_json() if line else None


def _override(each: Override) -> dict[str, Any]:
    found = {
        "site": host_name(each.vhost.server_name),
        "stapling": _on_off(each.on),
        "origin": each.origin.value,
    }
    return found | each.directive.as_json()


def _directive(each: Directive, seen: _Seen) -> dict[str, Any]:
    return each.as_json() | {
        "site": _site(each, seen.tree),
        "condition": list(each.condition),
        "certain": each.certain,
        "in_force": _in_force(each, seen.tree),
        "origin": origin(each, seen.tree, seen.native).value,
    }


def _site(each: Directive, tree: ConfigTree) -> str | None:
    if each.vhost is None:
        return None
    return next((v.server_name for v in tree.vhosts if v.stapling is each), " ".join(each.vhost.addresses))


def _in_force(each: Directive, tree: ConfigTree) -> bool:
    if each.vhost is None:
        return tree.last(each.name) is each
    return each.name != "SSLUseStapling" or any(v.stapling is each for v in tree.vhosts)


def _include(path: Path, tree: ConfigTree) -> dict[str, Any]:
    block = any(managed.file == path for managed in tree.managed)
    return {"path": str(path), "exists": path.exists(), "read": tree.reads(path), "has_block": block}


def _on_off(on: bool) -> str:
    return "on" if on else "off"


# --- for people ---


def _text(seen: _Seen) -> str:
    parts = [_headline(seen.state)]
    if not seen.examined.ok:
        parts.append("Apache does not accept its configuration:\n" + _indented(seen.examined.message))
    parts += [_facts(seen), _lines(seen)]
    if seen.state.overrides:
        parts.append(_overrides(seen.state.overrides))
    parts += [wrapped(f"Note: {printable(finding.message)}", "", "  ") for finding in seen.findings[:_SHOWN]]
    return "\n\n".join(parts)


def _headline(state: StaplingState) -> str:
    word = _on_off(state.on).upper()
    coloured = click.style(word, bold=True, fg="green" if state.on else "yellow")
    decided = state.decided_by
    where = f", decided {ORIGINS[state.origin]}" if decided else f" ({ORIGINS[state.origin]})"
    place = f"\n  {_where(decided)}: {printable(decided.text)}" if decided else ""
    return wrapped(f"Stapling is {word} at server level{where}.").replace(word, coloured, 1) + place


def _facts(seen: _Seen) -> str:
    state = seen.state
    rows = [
        (
            "WHM's own switch",
            _on_off(seen.native.on) + ("" if seen.native.value else " (not set: the default)"),
        ),
        ("Staple cache", f"{state.cache.value}  ({_where(state.cache)})" if state.cache else "none"),
        ("Responder timeout", f"{state.responder_timeout} s per address"),
    ]
    steering = (
        ("Questions go to", state.force_url),
        ("Questions go through", state.proxy),
        ("mod_md staples", state.md_stapling),
        ("Client certificates", state.client_checks),
    )
    rows += [(what, f"{line.name} {line.value}  ({_where(line)})") for what, line in steering if line]
    for path in seen.layout.pre_virtualhost_files:
        found = _include(path, seen.tree)
        read = (
            "read by Apache"
            if found["read"]
            else "not read by Apache"
            if found["exists"]
            else "does not exist"
        )
        rows.append((path.name, read + (", holds our block" if found["has_block"] else "")))
    rows += [("Local template", str(path)) for path in seen.templates]
    return table(rows)


def _lines(seen: _Seen) -> str:
    """The lines at server level, in the order in which Apache reads them; an arrow marks those in force."""
    rows = [
        ("->" if _in_force(d, seen.tree) else "", _where(d), d.text + ("" if d.certain else "  (perhaps)"))
        for d in seen.state.directives
        if d.vhost is None
    ]
    if not rows:
        return "No line of the configuration speaks of stapling at server level."
    return "Lines at server level, in Apache's order (-> in force):\n" + table(rows)


def _overrides(overrides: tuple[Override, ...]) -> str:
    on = [each for each in overrides if each.on]
    shown = (on or list(overrides))[:_SHOWN]
    rows = [(each.vhost.server_name, _on_off(each.on), _where(each.directive)) for each in shown]
    left = len(overrides) - len(shown)
    more = f"\n  ... and {left} more" if left else ""
    kinds = f"{len(on)} on, {len(overrides) - len(on)} off"
    head = f"Virtual hosts that decide for themselves: {len(overrides)} ({kinds}):"
    return f"{head}\n{table(rows)}{more}"


def _where(directive: Directive) -> str:
    return printable(f"{directive.file}:{directive.line}")


def _indented(message: str) -> str:
    return "\n".join(wrapped(printable(line), "  ", "  ") for line in message.splitlines()[:_SHOWN])
