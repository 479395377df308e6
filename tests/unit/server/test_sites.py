from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ocsp_stapling.server import sites as inventory
from ocsp_stapling.server import state as server
from ocsp_stapling.server.sites import Endpoint
from tests.bench.certificate_files import URL, make_combined_files
from tests.unit.apache.real_apache import layout_at

VHOST = """
<VirtualHost 192.0.2.1:443>
  ServerName {name}
  ServerAlias www.{name}
  DocumentRoot /home/{user}/public_html
  SSLEngine on
  SSLCertificateFile {file}
  {more}
</VirtualHost>
"""


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return make_combined_files(tmp_path_factory.mktemp("tls"), 2)


def sites(base: Path, conf: str, now: datetime | None = None) -> tuple[Endpoint, ...]:
    (base / "conf").mkdir(exist_ok=True)
    (base / "conf/httpd.conf").write_text(conf)
    return server.look(base / "state", layout=layout_at(base), now=now).endpoints


def vhost(name: str, file: Path, more: str = "") -> str:
    return VHOST.format(name=name, user=name.split(".")[0], file=file, more=more)


def test_a_site_is_described_with_its_certificate(tmp_path: Path, files: list[Path]) -> None:
    (site,) = sites(tmp_path, "SSLUseStapling on\n" + vhost("anna.test", files[0]))
    assert (site.name, site.aliases, site.owner) == ("anna.test", ("www.anna.test",), "anna")
    assert (site.issuer, site.organization, site.responder) == ("Bench CA R1", "Bench CA", URL)
    assert site.stapling
    assert site.decided_by is not None
    assert site.decided_by.line == 1
    assert site.can_staple
    assert site.not_after is not None
    assert site.not_after.tzinfo is UTC
    assert site.findings() == ()


def test_a_site_of_its_own_mind_and_apaches_default(tmp_path: Path, files: list[Path]) -> None:
    conf = vhost("a.test", files[0]) + vhost("b.test", files[0], "SSLUseStapling on")
    assert [(s.stapling, s.decided_by is None) for s in sites(tmp_path, conf)] == [
        (False, True),
        (True, False),
    ]


def test_expiry_is_judged_at_the_given_moment(tmp_path: Path, files: list[Path]) -> None:
    later = datetime.now(UTC) + timedelta(days=91)
    (site,) = sites(tmp_path, vhost("a.test", files[0]), later)
    assert site.expired
    assert not site.can_staple
    assert site.findings() == ("expired",)


def test_a_bad_file_is_that_sites_finding(tmp_path: Path, files: list[Path]) -> None:
    conf = vhost("a.test", tmp_path / "none") + vhost("b.test", files[0])
    broken, fine = sites(tmp_path, conf)
    assert broken.findings() == ("certificate-missing",)
    assert (broken.not_after, broken.ocsp_urls, broken.expired) == (None, (), False)
    assert fine.findings() == ()
    assert [group.sites for group in inventory.group([broken, fine])] == [(fine,)]


def test_of_two_certificates_the_readable_one_speaks(tmp_path: Path, files: list[Path]) -> None:
    more = f"SSLCertificateFile {files[0]}"
    (site,) = sites(tmp_path, vhost("a.test", tmp_path / "none", more))
    assert (site.ocsp_urls, site.responder, site.can_staple) == ((URL,), URL, True)
    assert site.findings() == ("certificate-missing",)


def test_sites_are_grouped_largest_first(tmp_path: Path, files: list[Path]) -> None:
    other = tmp_path / "self.pem"
    issuer = files[0].read_bytes().split(b"-----END CERTIFICATE-----\n")[1]
    other.write_bytes(issuer + b"-----END CERTIFICATE-----\n")
    conf = vhost("a.test", other) + vhost("b.test", files[0]) + vhost("c.test", files[1])
    groups = inventory.group(sites(tmp_path, conf))
    assert [(g.authority, g.responder, len(g.sites)) for g in groups] == [
        ("Bench CA", URL, 2),
        ("Bench CA", "", 1),
    ]


def test_sites_are_found_by_name_and_alias(tmp_path: Path, files: list[Path]) -> None:
    conf = vhost("a.test", files[0]) + vhost("b.test", files[0], "ServerAlias *.wild.test")
    found = sites(tmp_path, conf)
    assert inventory.matching(found, "A.test.") == found[:1]
    assert inventory.matching(found, "www.b.test") == found[1:]
    assert inventory.matching(found, "x.wild.test") == found[1:]
    assert inventory.matching(found, "x.y.wild.test") == ()
    assert inventory.matching(found, f"a.test:{'9' * 5000}") in ((), found[:1])


def test_the_code_of_an_unreadable_certificate_is_told_whichever_it_is(
    tmp_path: Path, files: list[Path]
) -> None:
    (site,) = sites(tmp_path, vhost("a.test", files[0], f"SSLCertificateFile {tmp_path / 'none'}"))
    assert (site.problem, site.chain_complete) == ("certificate-missing", True)


def test_where_no_certificate_asks_the_chain_is_that_of_the_one_that_speaks(
    tmp_path: Path, files: list[Path]
) -> None:
    leaf, issuer, _ = files[0].read_bytes().split(b"-----END CERTIFICATE-----\n")
    (tmp_path / "leaf.pem").write_bytes(leaf + b"-----END CERTIFICATE-----\n")
    (tmp_path / "self.pem").write_bytes(issuer + b"-----END CERTIFICATE-----\n")
    lame, fine = sites(tmp_path, vhost("a.test", tmp_path / "leaf.pem") + vhost("b.test", files[0]))
    (own,) = sites(tmp_path, vhost("c.test", tmp_path / "self.pem"))
    assert (lame.chain_complete, fine.chain_complete) == (False, True)
    assert own.chain_complete is own.certificates[0].chain_complete


def test_an_unreadable_certificate_never_speaks_for_a_site(tmp_path: Path, files: list[Path]) -> None:
    issuer = files[0].read_bytes().split(b"-----END CERTIFICATE-----\n")[1]
    (tmp_path / "self.pem").write_bytes(issuer + b"-----END CERTIFICATE-----\n")
    (site,) = sites(tmp_path, vhost("a.test", tmp_path / "none", f"SSLCertificateFile {tmp_path}/self.pem"))
    assert (site.certificate_file, site.self_signed, site.expired) == (tmp_path / "self.pem", True, False)


def test_a_chain_is_lacking_only_where_somebody_would_be_asked(tmp_path: Path, files: list[Path]) -> None:
    leaf, issuer, _ = files[0].read_bytes().split(b"-----END CERTIFICATE-----\n")
    (tmp_path / "leaf.pem").write_bytes(leaf + b"-----END CERTIFICATE-----\n")
    (tmp_path / "self.pem").write_bytes(issuer + b"-----END CERTIFICATE-----\n")
    lame, own = sites(
        tmp_path, vhost("a.test", tmp_path / "leaf.pem") + vhost("b.test", tmp_path / "self.pem")
    )
    assert (lame.findings(), own.findings()) == (("chain-incomplete",), ())
