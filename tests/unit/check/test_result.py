"""A check is stored with its verdict, and nothing of either is lost."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import pytest

from ocsp_stapling.check import result
from ocsp_stapling.check.diagnosis import Cause
from ocsp_stapling.check.evidence import ConfigurationEvidence, Evidence, SteeringLine
from ocsp_stapling.ocsp.finding import Outcome
from ocsp_stapling.web.pages.picture import last_check
from tests.unit.check.diagnosis.made import evidence, responder, stalled
from tests.unit.web import made

FINE = responder("zeta")
LINE = SteeringLine("SSLStaplingForceURL", "http://ocsp.alpha.example", "/etc/x.conf:3")


def owned(name: str, owner: str, outcome: Outcome = Outcome.CONNECT_TIMEOUT) -> object:
    one = responder(name, outcome)
    return replace(one, sites=tuple(replace(site, owner=owner) for site in one.sites))


def every_state() -> dict[str, Evidence]:
    steered = ConfigurationEvidence(force_url=LINE, proxy=LINE, md_stapling=LINE, still_on=("a.test",))
    return dict(made.everything()) | {
        "steered": stalled(responder(), configuration=steered),
        "three authorities": stalled(*(owned(name, owner) for name, owner in zip("abc", "xyz", strict=True))),  # type: ignore[arg-type]
        "problems": evidence(problems=("Nothing could be read.",)),
    }


@pytest.mark.parametrize("state", sorted(every_state()))
def test_a_stored_check_is_the_check_that_was_made(tmp_path: Path, state: str) -> None:
    check = result.judged(every_state()[state])
    document = result.store(tmp_path, check)
    assert result.load(tmp_path) == check
    assert result.load_document(tmp_path) == document == check.document()


def test_the_page_gives_the_verdict_that_the_check_gave(tmp_path: Path) -> None:
    """Sites of several accounts and authorities, all hanging: a block of the network, whoever looks."""
    several = [owned(name, owner) for name, owner in zip("abc", "xyz", strict=True)]
    check = result.judged(stalled(*several))  # type: ignore[arg-type]
    result.store(tmp_path, check)
    assert check.diagnosis.cause is Cause.NETWORK_BLOCK
    kept = last_check(tmp_path)
    assert kept is not None
    assert kept.diagnosis == check.diagnosis
    assert result.judged(kept.evidence).diagnosis == check.diagnosis


def test_the_last_check_is_kept_for_root_alone(tmp_path: Path) -> None:
    for _ in range(2):
        result.store(tmp_path / "state", result.judged(evidence(FINE)))
    kept = tmp_path / "state" / result.NAME
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700
    assert list(kept.parent.iterdir()) == [kept]


DAMAGED = [
    None,
    b"",
    b"{",
    b"[]",
    b"{}",
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"kept": 1}',
    b'{"kept": {"evidence": {}}}',
]


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_last_check_counts_as_none(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / result.NAME).write_bytes(content)
    assert result.load(tmp_path) is None
    assert result.load_document(tmp_path) is None
