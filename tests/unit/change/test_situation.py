"""Where a site is met: the addresses of its virtual host, or those that Apache listens on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ocsp_stapling.apache.httpd import Httpd
from ocsp_stapling.apache.tree import Place, VirtualHost
from ocsp_stapling.change.situation import _pid_file, doors, linked_files, planned_sites
from ocsp_stapling.ocsp.staple import Door
from tests.unit.change.made import Tree


def vhost(*addresses: str, name: str = "a.test") -> VirtualHost:
    place = Place(Path("httpd.conf"), 1, addresses)
    return VirtualHost(place, name, (), "", True, (Path("cert"),), None, None, (), True)


@pytest.mark.parametrize(
    ("addresses", "listen", "wanted"),
    [
        (["192.0.2.1:443", "[2001:db8::1]:443"], [], [("192.0.2.1", 443), ("2001:db8::1", 443)]),
        (["192.0.2.1:8443"], ["443"], [("192.0.2.1", 8443)]),
        (["192.0.2.1"], [], [("192.0.2.1", 443)]),
        (["*:443"], ["443"], [("127.0.0.1", 443)]),
        (["*:443"], ["0.0.0.0:443", "[::]:443 https"], [("127.0.0.1", 443), ("::1", 443)]),
        (["_default_:443"], ["203.0.113.5:443", "80"], [("203.0.113.5", 443)]),
        (["name.example:443"], ["443"], []),
        (["192.0.2.1:99999"], [], [("192.0.2.1", 443)]),
    ],
)
def test_a_site_is_met_at_its_own_addresses(
    addresses: list[str], listen: list[str], wanted: list[tuple[str, int]]
) -> None:
    found = doors(vhost(*addresses), tuple(listen))
    assert found == tuple(Door(address, port, "a.test") for address, port in wanted)


def test_a_wildcard_name_is_never_sent_as_sni() -> None:
    assert doors(vhost("192.0.2.1:443", name="*.example.test"), ())[0].name == "localhost"


@pytest.mark.parametrize(
    ("directive", "there", "wanted"),
    [
        ("PidFile run/a.pid\n", ["run/a.pid"], "run/a.pid"),
        ("PidFile run/a.pid\n", ["a.pid"], "a.pid"),
        ("PidFile run/a.pid\n", [], "run/a.pid"),
        ("", ["httpd.pid", "compiled.pid"], "httpd.pid"),
        ("", ["compiled.pid"], "compiled.pid"),
        ("", [], "httpd.pid"),
    ],
)
def test_the_pid_file_is_found_where_apache_writes_it(
    directive: str, there: list[str], wanted: str, tmp_path: Path
) -> None:
    made = Tree(tmp_path)
    made.conf(early=directive)
    (tmp_path / "run").mkdir()
    for name in there:
        (tmp_path / name).write_text("1\n")
    httpd = Httpd(made.layout)
    made.layout.httpd.write_text(
        f"#!/bin/sh\necho ' -D HTTPD_ROOT=\"{tmp_path}\"'\necho ' -D DEFAULT_PIDLOG=\"compiled.pid\"'\n"
    )
    made.layout.httpd.chmod(0o755)
    found = _pid_file(made.layout, httpd, made.situation().tree)
    assert found == tmp_path / wanted


def test_a_site_is_not_met_at_an_address_that_is_not_this_servers(tmp_path: Path) -> None:
    made = Tree(tmp_path)
    sites = planned_sites(made.situation().tree, frozenset({"198.51.100.1"}))
    assert [(site.name, site.doors) for site in sites] == [("a.test", ()), ("b.test", ())]


def test_a_linked_file_is_known_by_its_real_path(tmp_path: Path) -> None:
    made = Tree(tmp_path)
    (tmp_path / "real.conf").write_text("")
    made.pre[0].symlink_to(tmp_path / "real.conf")
    assert linked_files(made.situation().tree) == {tmp_path / "real.conf": (made.pre[0],)}


def test_a_certificate_that_is_a_fifo_holds_nothing_up(tmp_path: Path) -> None:
    made = Tree(tmp_path)
    tree = made.situation().tree
    certificate = tree.vhosts[0].certificates[0]
    certificate.unlink(missing_ok=True)
    certificate.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(certificate)
    sites = planned_sites(tree)
    assert (sites[0].responder, sites[0].expired) == ("", True)
