from __future__ import annotations

from pathlib import Path

import pytest

from ocsp_stapling.apache.config import read_config
from ocsp_stapling.server.names import Address, address
from ocsp_stapling.server.vhosts import TlsVhost, read_owners, tls_vhosts
from tests.unit.apache.real_apache import layout_at


def vhosts(base: Path, conf: str, owners: dict[str, str] | None = None, **files: str) -> list[TlsVhost]:
    (base / "conf").mkdir(exist_ok=True)
    (base / "conf/httpd.conf").write_text(conf)
    for name, text in files.items():
        path = base / "conf.d/userdata/ssl/2_4" / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return list(tls_vhosts(read_config(layout_at(base)), owners))


def test_a_tls_virtual_host_is_described(tmp_path: Path) -> None:
    conf = """
<VirtualHost 192.0.2.1:80>
  ServerName plain.test
</VirtualHost>
<virtualhost 192.0.2.1:443 [2001:db8::1]:443>
  ServerName https://One.test:443
  ServerAlias www.one.test "mail.one.test"
  ServerAlias *.one.test
  DocumentRoot /home/anna/public_html
  SSLEngine ON
  SSLCertificateFile "/tls/one.test/combined"
  SSLCertificateChainFile chain.pem
  SSLUseStapling off
</virtualhost>
"""
    (found,) = vhosts(tmp_path, conf)
    assert found.name == "one.test"
    assert found.aliases == ("www.one.test", "mail.one.test", "*.one.test")
    assert found.addresses == (Address("192.0.2.1", 443), Address("2001:db8::1", 443))
    assert found.certificate_file == Path("/tls/one.test/combined")
    assert found.chain_file == tmp_path / "chain.pem"
    assert found.owner == "anna"
    assert found.stapling is not None
    assert (found.stapling.value, found.stapling.line) == ("off", 13)


def test_engine_and_certificate_are_inherited_from_the_server(tmp_path: Path) -> None:
    conf = (
        "SSLEngine on\nSSLCertificateFile srv.pem\n<VirtualHost *:443>\nServerName a.test\n</VirtualHost>\n"
    )
    off = "<VirtualHost *:80>\nServerName b.test\nSSLEngine off\n</VirtualHost>\n"
    assert [(v.name, v.certificates) for v in vhosts(tmp_path, conf + off)] == [
        ("a.test", (tmp_path / "srv.pem",))
    ]


@pytest.mark.parametrize(
    ("lines", "at", "speaks"),
    [
        ("Listen 9443 https", "*:9443", True),
        ("Listen [::]:9443 HTTPS", "*:9443", True),
        ("Listen 192.0.2.1:9443 https", "192.0.2.1:9443", True),
        ("Listen 0.0.0.0:443", "_default_:443", True),
        ("Listen 443 http", "*:443", False),
        ("Listen 9443", "*:9443", False),
        ("Listen 443 https", "*:9443", False),
        ("Listen 9443 https", "192.0.2.1:9443", False),
        ("Listen 192.0.2.1:9443 https", "*:9443", False),
        ("Listen 0.0.0.0:9443 https", "[::]:9443", False),
        ("Listen 443", "*", False),
        ("Listen 9443 https\nSSLEngine off", "*:9443", False),
    ],
)
def test_without_an_engine_the_listen_of_just_its_address_decides_whether_it_is_tls(
    tmp_path: Path, lines: str, at: str, speaks: bool
) -> None:
    """As Apache 2.4.71 was seen to do it; 443 means https where it does not say otherwise."""
    conf = f"{lines}\n<VirtualHost {at}>\nServerName a.test\nSSLCertificateFile a.pem\n</VirtualHost>\n"
    assert [v.name for v in vhosts(tmp_path, conf)] == ["a.test"] * speaks


def test_two_certificates_are_kept_and_tokens_left_out(tmp_path: Path) -> None:
    conf = (
        "<VirtualHost *:443>\nSSLEngine on\nSSLCertificateFile rsa.pem\nSSLCertificateFile ecc.pem\n"
        "SSLCertificateFile pkcs11:token=x\n</VirtualHost>\n"
    )
    (found,) = vhosts(tmp_path, conf)
    assert found.certificates == (tmp_path / "rsa.pem", tmp_path / "ecc.pem")
    assert found.name == "*:443"


def test_without_a_certificate_there_is_nothing_to_serve(tmp_path: Path) -> None:
    assert vhosts(tmp_path, "<VirtualHost *:443>\nSSLEngine on\n</VirtualHost>\n") == []


def test_the_owner_comes_from_cpanels_list_then_userdata_then_home(tmp_path: Path) -> None:
    body = "SSLEngine on\nSSLCertificateFile c\n"
    include = "IncludeOptional conf.d/userdata/ssl/2_4/bert/*/*.conf\n"
    conf = (
        f"<VirtualHost *:443>\nServerName a.test\n{body}{include}</VirtualHost>\n"
        f"<VirtualHost *:443>\nServerName b.test\n{body}{include}</VirtualHost>\n"
        f"<VirtualHost *:443>\nServerName c.test\n{body}DocumentRoot /home2/carl/www\n</VirtualHost>\n"
        f"<VirtualHost *:443>\nServerName d.test\n{body}DocumentRoot /var/www\n</VirtualHost>\n"
    )
    found = vhosts(tmp_path, conf, {"a.test": "anna"}, **{"bert__b.test__x.conf": ""})
    assert [v.owner for v in found] == ["anna", "bert", "carl", None]


def test_cpanels_lists_are_read(tmp_path: Path) -> None:
    first, second = tmp_path / "true", tmp_path / "all"
    first.write_bytes(b"one.test: anna\n\xff\xfe: x\n")
    second.write_text("WWW.one.test: anna\ntwo.test: bert\n*: nobody\nthree.test: nobody\nbroken\n")
    found = read_owners((first, second, tmp_path / "none"))
    assert found["www.one.test"] == "anna"
    assert found["two.test"] == "bert"
    assert "three.test" not in found
    assert "*" not in found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.1:443", Address("192.0.2.1", 443)),
        ("[2001:db8::1]:8443", Address("2001:db8::1", 8443)),
        ("[2001:db8::1]", Address("2001:db8::1", 0)),
        ("*:443", Address("*", 443)),
        ("_default_:443", Address("*", 443)),
        ("*", Address("*", 0)),
        ("host.test", Address("host.test", 0)),
        ("192.0.2.1:*", Address("192.0.2.1", 0)),
        (":443", Address("*", 443)),
        ("x:99999999999999999999", Address("x", 0)),
    ],
)
def test_addresses_are_read(text: str, expected: Address) -> None:
    assert address(text) == expected


def test_a_line_that_may_not_hold_is_not_in_force_in_a_virtual_host(tmp_path: Path) -> None:
    unknown = "<IfModule mod_unheard_of.c>\nSSLOCSPProxyURL http://no.test/\n</IfModule>\n"
    conf = (
        "SSLOCSPProxyURL http://yes.test/\nSSLCipherSuite HIGH\n<VirtualHost *:443>\nSSLEngine on\n"
        f"SSLCertificateFile a.pem\nSSLCipherSuite LOW\n{unknown}</VirtualHost>\n"
    )
    (found,) = vhosts(tmp_path, conf)
    assert {name: line.value for name, line in found.in_force.items()} == {
        "SSLOCSPProxyURL": "http://yes.test/"
    }


def test_the_server_itself_is_none_where_it_listens_at_no_port(tmp_path: Path) -> None:
    itself = "ServerName srv.test\nSSLEngine on\nSSLCertificateFile srv.pem\n"
    taken = "<VirtualHost *:443>\nServerName a.test\nSSLEngine off\n</VirtualHost>\n"
    for listen, wanted in (
        ("", []),
        ("Listen 443\n", []),
        ("Listen 443\nListen 8443\n", [("srv.test", 8443)]),
    ):
        found = vhosts(tmp_path, listen + itself + taken)
        assert [(one.name, one.addresses[0].port) for one in found] == wanted, listen
