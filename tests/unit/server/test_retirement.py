"""How many certificates still name a responder, and until when."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from ocsp_stapling.server.retirement import Retirement, retirement
from ocsp_stapling.server.sites import EndpointCertificate
from tests.unit.change.made import Tree

LATER = datetime(2099, 1, 2, tzinfo=UTC)


def certificates(tmp_path: Path) -> list[EndpointCertificate]:
    tree = Tree(tmp_path)
    tree.conf(sites={"a.test": "", "b.test": "", "must.test": ""})
    return [one for each in tree.situation().server.endpoints for one in each.certificates]


def test_each_certificate_counts_once_and_the_last_to_end_is_told(tmp_path: Path) -> None:
    found = retirement(certificates(tmp_path))

    assert (found.certificate_count, found.naming_count) == (2, 2)
    assert found.last_ends is not None
    told = f"2 of 2 certificates in use name a responder; the last of them ends {found.last_ends:%Y-%m-%d}."
    assert found.sentence == told
    assert "nothing needs to be changed" in found.advice


def test_certificates_without_a_responder_expired_or_unreadable_do_not_name_one(tmp_path: Path) -> None:
    plain, _, strict = certificates(tmp_path)
    ended = plain._replace(reading=plain.reading._replace(ocsp_urls=(), not_after=int(LATER.timestamp())))

    assert (retirement([ended, strict]).naming_count, retirement([ended, strict]).certificate_count) == (1, 2)
    assert retirement([strict._replace(expired=True), plain]).certificate_count == 1
    assert (
        retirement(
            [strict._replace(reading=strict.reading._replace(problem="unreadable")), plain]
        ).certificate_count
        == 1
    )
    assert retirement([ended]).sentence == "No certificate in use names a responder any more."
    assert "may stay as it is" in retirement([ended]).advice
    longer = strict._replace(reading=strict.reading._replace(not_after=int(LATER.timestamp())))
    assert [retirement(each).last_ends for each in ([plain, longer], [longer, plain])] == [LATER, LATER]


def test_without_certificates_nothing_is_said() -> None:
    assert (Retirement().sentence, Retirement().advice) == ("", "")
