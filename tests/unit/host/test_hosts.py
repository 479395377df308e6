"""/etc/hosts and /etc/resolv.conf as the C library reads them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocsp_stapling.host.resolver import HostsEntry, ResolvConf, hosts_entries, read_resolv_conf


def test_override_is_noticed_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "hosts"
    file.write_bytes(
        b"127.0.0.1 localhost\n# 192.0.2.1 ocsp.example.com\n\xff\xfe\n"
        b"192.0.2.7\twww.example.com OCSP.Example.com. # ocsp.example.org\r\n2001:db8::7 ocsp.example.com\n"
        b"not-an-address ocsp.example.com\n192.0.2.9\n"
    )
    assert hosts_entries("ocsp.EXAMPLE.com.", file) == (
        HostsEntry("ocsp.example.com", "192.0.2.7", 4),
        HostsEntry("ocsp.example.com", "2001:db8::7", 5),
    )
    assert hosts_entries("ocsp.example.org", file) == ()


def test_missing_hosts_file_overrides_nothing(tmp_path: Path) -> None:
    assert hosts_entries("localhost", tmp_path / "none") == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "search example.com\nnameserver 192.0.2.53\nnameserver 2001:db8::53\n",
            ResolvConf(("192.0.2.53", "2001:db8::53"), True),
        ),
        ("nameserver fe80::1%eth0\n", ResolvConf(("fe80::1%eth0",), True)),
        (
            "; nameserver 192.0.2.1\n#nameserver 192.0.2.2\nnameserver\nnameserver x\n",
            ResolvConf(("127.0.0.1",), False),
        ),
        (
            "".join(f"nameserver 192.0.2.{n}\n" for n in range(9)),
            ResolvConf(("192.0.2.0", "192.0.2.1", "192.0.2.2"), True),
        ),
        ("", ResolvConf(("127.0.0.1",), False)),
    ],
    ids=["usual", "scoped", "nothing usable", "more than are used", "empty"],
)
def test_name_servers_are_those_the_c_library_uses(tmp_path: Path, text: str, expected: ResolvConf) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text(text)
    assert read_resolv_conf(file) == expected


@given(st.binary(max_size=300), st.text(max_size=20))
def test_any_file_is_survived(tmp_path_factory: pytest.TempPathFactory, content: bytes, name: str) -> None:
    file = tmp_path_factory.getbasetemp() / "fuzz-hosts"
    file.write_bytes(content + b"\nnameserver " + content)
    assert len(read_resolv_conf(file).nameservers) <= 3
    hosts_entries(name, file)
