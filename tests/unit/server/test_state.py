"""One answer to "what is this server now?": every room gets the same one, and it is Apache's."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from ocsp_stapling.apache import managed_block
from ocsp_stapling.apache.stapling import Origin
from ocsp_stapling.change import plan
from ocsp_stapling.cli.config import config
from ocsp_stapling.server import state as server
from ocsp_stapling.server.sites import labels, matching
from tests.unit.apache.real_apache import layout_at
from tests.unit.change.made import SSL, Tree, wish
from tests.unit.ocsp.authority import NOW, issue, make_authority, pem

CA, OTHER = make_authority(), make_authority("Another CA", 7)
URL, SECOND = "http://ocsp.one.test", "http://ocsp.two.test"


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def httpd_that_says(tree: Tree, version: str) -> None:
    """A program that tells what `httpd -v`, `-l` and `-D DUMP_MODULES` tell."""
    tree.layout.httpd.write_text(
        f"""#!/bin/sh
case "$*" in
*" -v") echo 'Server version: Apache/{version} (cPanel)' ;;
*DUMP_MODULES*) echo ' ssl_module (shared)' ;;
*) echo '  core.c' ;;
esac
"""
    )
    tree.layout.httpd.chmod(0o755)


def test_a_condition_on_the_version_is_judged_alike_everywhere(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    httpd_that_says(tree, "2.4.62")
    tree.pre[0].write_text("<IfVersion >= 2.4>\nSSLUseStapling Off\n</IfVersion>\n")
    monkeypatch.setattr(server, "read_layout", lambda: tree.layout)
    now = server.look(now=NOW)
    assert (now.stapling.on, now.stapling.origin) == (False, Origin.HAND)
    assert {one.stapling for one in now.endpoints} == {False}
    shown = CliRunner().invoke(config, ["--json"])
    assert '"stapling": "off"' in shown.output
    made = plan.make(wish("off"), tree.situation())
    assert (made.changes, made.origin) == ((), "hand-written")


def test_the_certificate_of_the_server_itself_is_warned_about_before_an_off(tree: Tree) -> None:
    engine = f"Listen 443\nServerName srv.test\nSSLEngine on\nSSLCertificateFile {tree.base}/must.pem\n"
    tree.conf(early=engine, sites={})
    situation = tree.situation()
    assert [(one.name, one.port, one.must_staple) for one in situation.server.endpoints] == [
        ("srv.test", 443, True)
    ]
    assert plan.make(wish("off"), situation).must_staple == ("srv.test",)


def test_a_bare_line_in_httpd_conf_is_nobodys_template(tree: Tree) -> None:
    tree.conf(ssl=SSL.replace("<IfModule ssl_module>\n", "").replace("</IfModule>\n", ""))
    situation = tree.situation()
    assert situation.server.stapling.origin is Origin.HAND
    assert plan.make(wish("off"), situation).origin == "hand-written"


def test_a_server_name_with_scheme_and_port_is_sent_as_a_name(tree: Tree) -> None:
    tree.conf(sites={"https://X.test.:443": ""})
    made = plan.make(wish("off"), tree.situation())
    assert {sample.door.name for sample in made.samples} == {"x.test"}


def conf(base: Path, *lines: str) -> server.ServerState:
    (base / "conf").mkdir(exist_ok=True)
    (base / "conf/httpd.conf").write_text("\n".join(lines) + "\n")
    return server.look(layout=layout_at(base), now=NOW)


def certificate(base: Path, name: str, *, url: str = URL, chain: bool = True, number: int = 2) -> Path:
    path = base / f"{name}.pem"
    path.write_bytes(pem(issue(CA, url, number=number)) + (pem(CA.certificate) if chain else b""))
    return path


def vhost(place: str, name: str, *lines: str) -> str:
    inner = "\n".join(lines)
    return f"<VirtualHost {place}>\nServerName {name}\nSSLEngine on\n{inner}\n</VirtualHost>"


def test_a_name_is_its_own_sites_before_it_is_anybodys_alias(tmp_path: Path) -> None:
    line = f"SSLCertificateFile {certificate(tmp_path, 'a')}"
    none = f"SSLCertificateFile {certificate(tmp_path, 'b', url='')}"
    alias = "ServerAlias anna.test *.test"
    here = conf(tmp_path, vhost("*:443", "mallory.test", line, alias), vhost("*:443", "anna.test", none))
    found = [here.called(name) for name in ("anna.test", "ANNA.test:443", "other.test")]
    assert [one and one.name for one in found] == ["anna.test", "anna.test", "mallory.test"]


def test_one_name_on_two_ports_is_two_endpoints(tmp_path: Path) -> None:
    line = f"SSLCertificateFile {certificate(tmp_path, 'a')}"
    here = conf(
        tmp_path,
        "SSLUseStapling On",
        vhost("*:443", "a.test", line),
        vhost("*:8443", "A.test", line, "SSLUseStapling off"),
        vhost("*:443", "b.test", line),
    )
    assert [(one.name, one.port, one.stapling) for one in here.endpoints] == [
        ("a.test", 443, True),
        ("a.test", 8443, False),
        ("b.test", 443, True),
    ]
    assert list(labels(here.endpoints).values()) == ["a.test:443", "a.test:8443", "b.test"]
    assert [one.port for one in matching(here.endpoints, "https://A.TEST:8443")] == [8443]


def test_two_certificates_of_a_virtual_host_are_both_asked_about(tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    other.write_bytes(pem(issue(OTHER, SECOND)) + pem(OTHER.certificate))
    files = [f"SSLCertificateFile {path}" for path in (certificate(tmp_path, "a"), other)]
    (one,) = conf(tmp_path, "SSLUseStapling On", vhost("*:443", "a.test", *files)).endpoints
    assert one.responders == (URL, SECOND)
    assert [each.issuer for each in one.certificates] == ["Test Issuing CA", "Another CA"]


@pytest.mark.parametrize("at_server_level", [True, False])
def test_an_issuer_is_found_in_the_trusted_file_too(tmp_path: Path, at_server_level: bool) -> None:
    leaf, trusted = certificate(tmp_path, "a", chain=False), tmp_path / "trusted.pem"
    trusted.write_bytes(pem(OTHER.certificate) + pem(CA.certificate))
    own, line = f"SSLCertificateFile {leaf}", f"SSLCACertificateFile {trusted}"
    lines = (
        (line, vhost("*:443", "a.test", own)) if at_server_level else (vhost("*:443", "a.test", own, line),)
    )
    (one,) = conf(tmp_path, "SSLUseStapling On", *lines).endpoints
    assert one.can_staple
    assert one.certificates[0].issuer_file == trusted


@pytest.mark.parametrize("at_server_level", [True, False])
def test_an_issuer_is_found_in_the_directory_of_trusted_certificates_by_the_hash_of_its_name(
    tmp_path: Path, at_server_level: bool
) -> None:
    leaf, trusted = certificate(tmp_path, "a", chain=False), tmp_path / "trusted"
    trusted.mkdir()
    (trusted / "ca.pem").write_bytes(pem(CA.certificate))
    lines = (f"SSLCertificateFile {leaf}", "SSLCACertificatePath trusted")
    (unnamed,) = conf(tmp_path, vhost("*:443", "a.test", *lines)).endpoints
    assert not unnamed.can_staple, "OpenSSL opens a file by the hash alone"

    told = ["openssl", "x509", "-in", str(trusted / "ca.pem"), "-noout", "-hash"]
    name = subprocess.run(told, capture_output=True, text=True, check=True).stdout.strip()
    (trusted / f"{name}.0").write_bytes(pem(OTHER.certificate))  # another name with the same hash
    (trusted / f"{name}.1").symlink_to("ca.pem")
    at = (
        (lines[1], vhost("*:443", "a.test", lines[0]))
        if at_server_level
        else (vhost("*:443", "a.test", *lines),)
    )
    (one,) = conf(tmp_path, "SSLUseStapling On", *at).endpoints
    assert one.can_staple
    assert one.certificates[0].issuer_file == trusted / f"{name}.1"


def test_without_the_issuer_anywhere_nothing_can_be_asked(tmp_path: Path) -> None:
    leaf = certificate(tmp_path, "a", chain=False)
    (one,) = conf(tmp_path, vhost("*:443", "a.test", f"SSLCertificateFile {leaf}")).endpoints
    assert not one.can_staple
    assert one.findings() == ("chain-incomplete",)


def test_what_a_line_forces_is_what_apache_asks(tmp_path: Path) -> None:
    line = f"SSLCertificateFile {certificate(tmp_path, 'a')}"
    here = conf(
        tmp_path,
        "SSLStaplingForceURL http://127.0.0.1:340/",
        "SSLOCSPProxyURL http://proxy.test:3128/",
        "SSLStaplingResponderTimeout 7",
        "SSLStaplingResponseTimeSkew 900",
        vhost("*:443", "a.test", line),
        vhost(
            "*:443", "b.test", line, "SSLStaplingForceURL http://own.test/", "SSLStaplingResponderTimeout 1"
        ),
    )
    assert [(one.responder, one.responder_timeout, one.skew) for one in here.endpoints] == [
        ("http://127.0.0.1:340/", 7, 900),
        ("http://own.test/", 1, 900),
    ]
    assert all(one.proxy and one.proxy.value == "http://proxy.test:3128/" for one in here.endpoints)
    assert all(one.ocsp_urls == (URL,) for one in here.endpoints)
    assert here.stapling.force_url is not None
    assert here.stapling.force_url.line == 1


@pytest.mark.parametrize(
    ("line", "asked"),
    [("", False), ("SSLOCSPEnable off", False), ("SSLOCSPEnable on", True), ("SSLOCSPEnable leaf", True)],
)
def test_only_a_line_of_its_own_has_client_certificates_checked(
    tmp_path: Path, line: str, asked: bool
) -> None:
    for lines in ((line,), (vhost("*:443", "a.test", line),)):
        assert (conf(tmp_path, *lines).stapling.client_checks is not None) is asked


def test_a_virtual_host_that_is_off_itself_is_no_sample_for_an_on(tree: Tree) -> None:
    tree.conf(
        ssl=SSL.replace("Stapling On", "Stapling Off"),
        sites={"a.test": "", "own.test": "    SSLUseStapling off\n"},
    )
    made = plan.make(wish("on", write_on=True), tree.situation())
    assert made.samples[0].door.name == "a.test"
    assert [sample.staple for sample in made.samples if sample.door.name == "own.test"] == [False]


@pytest.mark.parametrize("managed", [True, False])
@pytest.mark.parametrize("on", [True, False])
def test_apache_asks_our_relay_where_our_block_sends_it_there_and_stapling_is_on(
    tree: Tree, managed: bool, on: bool
) -> None:
    cache = "SSLStaplingCache shmcb:c(1048576)"
    lines = managed_block.shield_block("root", "", NOW, cache, 341, on)
    body = managed_block.apply(b"", lines) if managed else "\n".join(lines).encode() + b"\n"
    tree.conf(ssl=SSL.replace("SSLUseStapling On", "SSLUseStapling Off"))
    tree.pre[0].write_bytes(body)
    now = tree.situation().server
    assert (now.relay_port, now.shielded) == ((341, on) if managed else (0, False))
    assert {one.vhost.force_url is None for one in now.endpoints} == {managed}


def test_an_endpoint_is_found_by_the_responder_it_asks_in_any_spelling(tmp_path: Path) -> None:
    none = f"SSLCertificateFile {certificate(tmp_path, 'c', chain=False)}"
    six = f"SSLCertificateFile {certificate(tmp_path, 'b', url='http://[2001:db8::5]:8080/x', number=3)}"
    here = conf(
        tmp_path,
        vhost("*:443", "lame.test", none),
        vhost("*:443", "a.test", f"SSLCertificateFile {certificate(tmp_path, 'a')}"),
        vhost("*:443", "b.test", six),
    )
    for asked, wanted in (
        (URL, "a.test"),
        (f"{URL}/", "a.test"),
        ("ocsp.one.test", "a.test"),
        ("[2001:db8::5]:8080", "b.test"),
        ("2001:db8::5", "b.test"),
        ("one.test", None),
    ):
        found = here.asking(asked)
        assert (found and found.name) == wanted, asked


def test_certificates_that_cannot_be_stapled_want_no_place_in_the_cache(tmp_path: Path) -> None:
    lame = f"SSLCertificateFile {certificate(tmp_path, 'lame', chain=False, number=3)}"
    fine = f"SSLCertificateFile {certificate(tmp_path, 'fine')}"
    own = ("SSLUseStapling off", f"SSLCertificateFile {certificate(tmp_path, 'own', number=4)}")
    here = conf(
        tmp_path,
        "SSLUseStapling On",
        *(
            vhost("*:443", f"{name}.test", *lines)
            for name, lines in (("a", [lame]), ("b", [fine]), ("c", own))
        ),
    )
    assert here.asking_count == 1


def test_a_line_comes_from_the_template_of_the_virtual_host_it_stands_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str | None, str]] = []

    def template(_text: str, owner: str | None, name: str) -> None:
        asked.append((owner, name))

    monkeypatch.setattr(server, "vhost_template_line", template)
    lines = (f"SSLCertificateFile {certificate(tmp_path, 'a')}", "SSLUseStapling On")
    here = conf(tmp_path, *(vhost("*:443", f"{name}.test", *lines) for name in "ab"))
    line = here.vhosts[1].stapling
    assert line is not None
    assert here.place_of(line).endswith(f"httpd.conf:{line.line}")
    assert asked == [(None, "b.test")]
