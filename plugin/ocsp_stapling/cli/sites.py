"""`ocsp-stapling sites`: every TLS site with its authority, responder, Must-Staple, expiry and stapling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from ocsp_stapling import settings
from ocsp_stapling.cli import completion
from ocsp_stapling.cli.options import json_option
from ocsp_stapling.cli.output import emit_json, printable, table, wrapped
from ocsp_stapling.problem import Problem
from ocsp_stapling.server import sites as inventory
from ocsp_stapling.server import state as server
from ocsp_stapling.server.retirement import Retirement, retirement
from ocsp_stapling.server.sites import Endpoint, EndpointCertificate, Group
from ocsp_stapling.text import counted

_SHOWN = 200


@click.command()
@click.argument("name", required=False, shell_complete=completion.sites)
@click.option("--ca", "authority", metavar="TEXT", help="Only sites whose issuer or responder contains TEXT.")
@click.option("--must-staple", is_flag=True, help="Only sites whose certificate demands a staple.")
@json_option
def sites(name: str | None, authority: str | None, must_staple: bool, as_json: bool) -> None:
    """Show every TLS site that Apache serves, or those called NAME. Changes nothing.

    The keys of --json: docs/json/sites.schema.json.
    """
    here = server.look(settings.load().state_directory)
    here.require_readable()
    found = here.endpoints
    chosen = [site for site in found if _wanted(site, authority, must_staple)]
    if name is not None:
        chosen = list(inventory.matching(chosen, name))
        if not chosen:
            raise Problem("no-such-site", f"Apache serves no TLS site called {printable(name)} that fits.")
    if as_json:
        emit_json("sites", _document(chosen))
    else:
        click.echo(_text(chosen, len(found)))


def _wanted(site: Endpoint, authority: str | None, must_staple: bool) -> bool:
    if must_staple and not site.must_staple:
        return False
    texts = [t for one in site.certificates for t in (one.organization, one.issuer, *one.ocsp_urls)]
    return authority is None or any(authority.casefold() in text.casefold() for text in texts)


# --- for programs ---


def _document(chosen: Sequence[Endpoint]) -> dict[str, Any]:
    return {
        "site_count": len(chosen),
        "sites": [_site(site) for site in chosen],
        "groups": [_group(each) for each in inventory.group(chosen)],
        "retirement": _retirement(chosen).as_json(),
    }


def _site(site: Endpoint) -> dict[str, Any]:
    return {
        "name": site.name,
        "aliases": site.aliases,
        "owner": site.owner,
        "port": site.port,
        "listeners": [{"address": host, "port": port} for host, port in site.addresses],
        "certificates": [_certificate(one) for one in site.certificates],
        "certificate_file": str(site.certificate_file),
        "issuer": site.issuer,
        "authority": site.organization or site.issuer,
        "ocsp_urls": site.ocsp_urls,
        "responder": site.responder or None,
        "must_staple": site.must_staple,
        "not_after": site.not_after.isoformat() if site.not_after else None,
        "expired": site.expired,
        "self_signed": site.self_signed,
        "chain_complete": site.chain_complete,
        "stapling": _on_off(site.stapling),
        "decided_by": site.decided_by.as_json() if site.decided_by else None,
        "finding_codes": site.findings(),
    }


def _certificate(one: EndpointCertificate) -> dict[str, Any]:
    return {
        "file": str(one.file),
        "issuer": one.issuer,
        "issuer_file": str(one.issuer_file) if one.issuer_file else None,
        "authority": one.organization or one.issuer,
        "ocsp_urls": one.ocsp_urls,
        "responder": one.responder or None,
        "must_staple": one.must_staple,
        "not_after": one.not_after.isoformat() if one.not_after else None,
        "expired": one.expired,
        "chain_complete": one.chain_complete,
        "problem": one.problem or None,
    }


def _group(each: Group) -> dict[str, Any]:
    return {
        "authority": each.authority,
        "responder": each.responder or None,
        "site_count": len(each.sites),
        "must_staple_count": sum(site.must_staple for site in each.sites),
        "stapling_count": sum(site.stapling for site in each.sites),
    }


def _retirement(chosen: Sequence[Endpoint]) -> Retirement:
    return retirement(one for site in chosen for one in site.certificates)


def _on_off(on: bool) -> str:
    return "on" if on else "off"


# --- for people ---


def _text(chosen: Sequence[Endpoint], total: int) -> str:
    if not chosen:
        return f"None of {counted(total, 'TLS site')} fits." if total else "Apache serves no TLS site."
    of = f"{len(chosen):,} of " if len(chosen) < total else ""
    parts = [f"{of}{counted(total, 'TLS site')}"]
    if not any(site.responder for site in chosen):
        parts.append(
            wrapped("No certificate names an OCSP responder: an outage of one cannot affect these sites.")
        )
    parts.append(table(map(_group_row, inventory.group(chosen)), _GROUP_HEADER))
    names = inventory.labels(chosen)
    parts.append(table((_row(one, names[one.name, one.port]) for one in chosen[:_SHOWN]), _HEADER))
    if len(chosen) > _SHOWN:
        parts.append(
            f"... and {len(chosen) - _SHOWN:,} more; --json shows all, --ca, --must-staple or NAME choose."
        )
    stands = _retirement(chosen)
    parts.append(wrapped(f"{stands.sentence} {stands.advice}".strip()))
    return "\n\n".join(filter(None, parts))


_GROUP_HEADER = ("sites", "must-staple", "stapling", "CA", "responder")
_HEADER = ("site", "account", "CA", "stapling", "expires", "remarks")


def _group_row(each: Group) -> tuple[str, ...]:
    numbers = _group(each)
    counts = (str(numbers[key]) for key in ("site_count", "must_staple_count", "stapling_count"))
    return (*counts, each.authority, each.responder or "none")


def _row(site: Endpoint, name: str) -> tuple[str, ...]:
    expires = site.not_after.date().isoformat() if site.not_after else "?"
    remarks = (["must-staple"] if site.must_staple else []) + list(site.findings())
    if not site.responder and not site.problem:
        remarks.append("no responder")
    authority = site.organization or site.issuer or "?"
    return name, site.owner or "", authority, _on_off(site.stapling), expires, ", ".join(remarks)
