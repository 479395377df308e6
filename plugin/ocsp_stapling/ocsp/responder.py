"""The probe: asks responders as Apache does, in a child without root, and is back within one deadline."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import sys
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from ocsp_stapling import codec
from ocsp_stapling.ocsp.certificate import Certificate
from ocsp_stapling.ocsp.finding import AddressFinding, Outcome, ResponderFinding
from ocsp_stapling.ocsp.guard import IPAddress, IPNetwork
from ocsp_stapling.ocsp.prober import Target
from ocsp_stapling.problem import Problem
from ocsp_stapling.run import Completed, run

__all__ = ["AddressFinding", "Outcome", "ResponderFinding", "Target", "probe"]

DEADLINE_SECONDS = 8.0
TIMEOUT_SECONDS = 3.0  # EasyApache's SSLStaplingResponderTimeout
_MARGIN_SECONDS = 0.3  # what the child keeps to report in
_OUTPUT_BYTES = 16 * 1024 * 1024
_PACKAGE_ROOT = Path(__file__).resolve().parent.parent.parent
_BOOT = f"""
import sys
sys.path.insert(0, {str(_PACKAGE_ROOT)!r})
from ocsp_stapling.ocsp.worker import main
main()
"""


def probe(
    targets: Sequence[Target],
    *,
    uid: int | None = None,
    gid: int | None = None,
    deadline_seconds: float = DEADLINE_SECONDS,
    timeout_seconds: float = TIMEOUT_SECONDS,
    allowed_networks: Collection[IPNetwork] = (),
    own_addresses: Collection[IPAddress] = (),
) -> tuple[ResponderFinding, ...]:
    """Ask every target at once, as user `uid` and group `gid`, and return one finding for each, in order.

    Root must name a user to become (normally that of Apache's workers); anyone else asks as himself. What has
    not answered by the deadline is found to be late. Raises Problem `probe-user` or `probe-failed`.
    """
    ends_at = time.monotonic() + deadline_seconds
    identity = _identity(uid, gid)
    job = {
        "ends_at": ends_at - min(_MARGIN_SECONDS, deadline_seconds / 10),
        "timeout_seconds": timeout_seconds,
        "allowed_networks": [str(network) for network in allowed_networks],
        "own_addresses": [str(address) for address in own_addresses],
        "targets": [_as_job(target) for target in targets],
    }
    done = run(
        [sys.executable, "-I", "-c", _BOOT, *identity],
        timeout=ends_at - time.monotonic(),
        input=json.dumps(job),
        env={"MALLOC_ARENA_MAX": "2"},  # else each resolver thread reserves memory of its own
        limit=_OUTPUT_BYTES,
    )
    found = _read(done)
    if not done.ok and not done.timed_out and len(found) < len(targets):
        raise Problem("probe-failed", "The probe of the responders ended unexpectedly.", done.err[-2000:])
    return tuple(found.get(number) or _late(target) for number, target in enumerate(targets))


def _identity(uid: int | None, gid: int | None) -> tuple[str, str]:
    if os.geteuid() != 0:
        if uid in (None, os.geteuid()):
            return "-", "-"
        raise Problem("probe-user", "Only root can probe as another user: run the command as root.")
    if not uid or not gid:
        raise Problem(
            "probe-user", "Responders are never asked as root: name an unprivileged user and group."
        )
    return str(uid), str(gid)


def _as_job(target: Target) -> dict[str, Any]:
    return {
        "url": target.url,
        "certificate": _encoded(target.certificate),
        "issuer": _encoded(target.issuer),
        "trusted": target.trusted,
        "via": target.via,
        "keep": target.keep,
        "at": target.at,
        "skew": target.skew,
    }


def _encoded(certificate: Certificate | None) -> str:
    return base64.b64encode(certificate.der).decode() if certificate else ""


def _read(done: Completed) -> dict[int, ResponderFinding]:
    """Read the child's lines; a last one that was torn by its end does not count."""
    found = {}
    for line in done.out.splitlines():
        with contextlib.suppress(codec.UnreadableError):
            number, finding = codec.from_plain(codec.from_json(line.encode()), tuple[int, ResponderFinding])
            found[number] = finding
    return found


def _late(target: Target) -> ResponderFinding:
    return ResponderFinding(target.url, "", None, target.asks, None, 0, (), Outcome.DEADLINE)
