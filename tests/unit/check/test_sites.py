"""From virtual hosts to questions: one certificate asks for many, and only for those that can be asked about."""

from __future__ import annotations

from datetime import timedelta
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography import x509

from ocsp_stapling.apache.layout import Layout, read_layout
from ocsp_stapling.ca.directory import directory
from ocsp_stapling.check import questions
from ocsp_stapling.check.questions import Served, sort_endpoints
from ocsp_stapling.server import certificate_files
from ocsp_stapling.server import state as server
from ocsp_stapling.server.sites import Endpoint
from ocsp_stapling.settings import Authority
from tests.unit.ocsp.authority import NOW, issue, make_authority, pem

CA, OTHER = make_authority(), make_authority("Another CA", 7)
URL = "http://ocsp.one.test"
KNOWN = directory([Authority(name="One Trust", responders=("one.test",))])


class Tree:
    """A little Apache configuration on disk, grown site by site."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lines = ["SSLUseStapling On"]

    def site(self, name: str, more: str = "", chain: bool = True, ca: Any = CA, **certificate: Any) -> None:
        leaf = issue(ca, common_name=name, **certificate)
        path = self.root / f"{name}.pem"
        path.write_bytes(pem(leaf) + (pem(ca.certificate) if chain else b""))
        self.lines += [
            "<VirtualHost 192.0.2.1:443 [2001:db8::1]:443>",
            f"ServerName {name}\nSSLEngine on\nSSLCertificateFile {path}\n{more}",
            "</VirtualHost>",
        ]

    def endpoints(self) -> tuple[Endpoint, ...]:
        (self.root / "httpd.conf").write_text("\n".join(self.lines) + "\n")
        return server.look(layout=self._layout(), now=NOW).endpoints

    def _layout(self) -> Layout:
        paths = self.root / "paths.conf"
        paths.write_text(f"file_conf={self.root}/httpd.conf\ndir_base={self.root}\n")
        return read_layout(paths)

    def served(self) -> Served:
        return sort_endpoints(self.endpoints(), KNOWN)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_sites_of_one_responder_and_issuer_share_a_question(tree: Tree) -> None:
    for name in ("a.test", "b.test"):
        tree.site(name, url=URL)
    tree.site("c.test", url="http://ocsp.two.test", must_staple=True)

    found = tree.served()

    assert [(one.url, [site.name for site in one.sites]) for one in found.subjects] == [
        (URL, ["a.test", "b.test"]),
        ("http://ocsp.two.test", ["c.test"]),
    ]
    assert [one.authority for one in found.subjects] == ["One Trust", "Test Trust Ltd"]
    assert found.subjects[1].sites[0].must_staple
    assert found.subjects[0].target.asks
    assert (len(found.names), [one.name for one in found.authorities]) == (3, ["One Trust"])


def test_each_issuer_behind_a_responder_is_asked_about(tree: Tree) -> None:
    tree.site("a.test", url=URL)
    tree.site("b.test", url=URL, ca=OTHER)

    assert [one.issuer for one in tree.served().subjects] == ["Test Issuing CA", "Another CA"]


def test_an_issuer_of_ones_own_with_an_authoritys_name_speaks_for_nobody_else(tree: Tree) -> None:
    """What the authority's responder answers about it is told of that site alone."""
    tree.site("aaa.test", url=URL, ca=make_authority(number=99))
    tree.site("b.test", url=URL)
    tree.site("c.test", url=URL)

    found = tree.served().subjects

    assert len({one.issuer for one in found}) == 1
    assert sorted([site.name for site in one.sites] for one in found) == [["aaa.test"], ["b.test", "c.test"]]


def test_only_a_few_issuers_of_one_responder_are_asked_and_no_site_is_lost(tree: Tree) -> None:
    for number in range(6):
        tree.site(f"s{number}.test", url=URL, ca=make_authority(f"CA {number}", 20 + number))

    found = tree.served()

    assert len(found.subjects) == 3
    assert {site.name for one in found.subjects for site in one.sites} == {f"s{n}.test" for n in range(6)}


def test_what_cannot_be_asked_about_is_not_asked(tree: Tree) -> None:
    tree.site("silent.test")
    tree.site("broken.test", url=URL)
    (tree.root / "broken.test.pem").write_bytes(
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    )

    found = tree.served()

    assert (len(found.names), found.subjects, found.incomplete) == (2, (), ())


def test_apache_asks_for_an_expired_certificate_so_its_responder_is_probed_without_a_question(
    tree: Tree,
) -> None:
    over = (NOW - timedelta(days=9), NOW - timedelta(days=1))
    tree.site("expired.test", url=URL, valid=over)
    tree.site("valid.test", url="http://ocsp.two.test")
    tree.site("old.test", url="http://ocsp.two.test", valid=over)

    asks = {one.url: (one.target.asks, [site.name for site in one.sites]) for one in tree.served().subjects}

    assert asks == {URL: (False, ["expired.test"]), "http://ocsp.two.test": (True, ["valid.test"])}


def test_many_sites_of_one_customer_do_not_crowd_out_a_responder_that_several_use(tree: Tree) -> None:
    for number in range(4):
        tree.site(f"flood{number}.test", url="http://flood.test", more="DocumentRoot /home/mallory/x")
    for owner in ("anna", "bert"):
        tree.site(f"{owner}.test", url=URL, more=f"DocumentRoot /home/{owner}/public_html")

    assert [one.url for one in tree.served().subjects] == [URL, "http://flood.test"]


def test_hundreds_of_responders_of_one_customer_do_not_crowd_out_that_of_another(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(questions, "MAX_SUBJECTS", 2)
    monkeypatch.setattr(questions, "_BY_LOT", 0)
    for number in range(4):
        for twice in range(2):
            site = f"flood{number}-{twice}.test"
            tree.site(site, url=f"http://flood{number}.test", more="DocumentRoot /home/mallory/x")
    tree.site("anna.test", url=URL, more="DocumentRoot /home/anna/public_html")

    found = tree.served()

    assert URL in [one.url for one in found.subjects]
    assert (len(found.subjects), len(found.unasked)) == (2, 6)
    assert {site.owner for site in found.unasked} == {"mallory"}


def test_certificates_that_take_long_to_read_cost_their_own_turn(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = count()  # each look at the clock is one later
    monkeypatch.setattr(questions, "_SUBJECT_SECONDS", 3.0)
    monkeypatch.setattr(questions, "time", SimpleNamespace(monotonic=lambda: float(next(seconds))))
    for number in range(9):
        tree.site(
            f"flood{number}.test", url=f"http://flood{number}.test", more="DocumentRoot /home/mallory/x"
        )
    tree.site("anna.test", url=URL, more="DocumentRoot /home/anna/public_html")

    found = tree.served()

    assert URL in [one.url for one in found.subjects]
    assert (len(found.subjects), len(found.unasked)) == (3, 7)
    assert {site.owner for site in found.unasked} == {"mallory"}


def test_certificates_that_were_not_read_for_want_of_time_are_told_as_not_asked(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(9):
        tree.site(
            f"flood{number}.test", url=f"http://flood{number}.test", more="DocumentRoot /home/mallory/x"
        )
    tree.site("anna.test", url=URL, more="DocumentRoot /home/anna/public_html")
    monkeypatch.setattr(certificate_files, "_SECONDS", 1e-9)
    monkeypatch.setattr(certificate_files, "_SECONDS_A_FILE", 0.0)
    monkeypatch.setattr(certificate_files, "_SECONDS_A_BYTE", 1.0)

    found = tree.served()  # nothing but the first file

    assert {site.owner for site in found.unasked} == {"mallory", "anna"}
    assert (len(found.unasked), found.unreadable, found.subjects[1:]) == (9, (), ())


def test_each_of_the_responders_beyond_the_bound_is_asked_at_some_time(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(questions, "MAX_SUBJECTS", 3)
    monkeypatch.setattr(questions, "_BY_LOT", 1)
    for number in range(6):
        tree.site(
            f"flood{number}.test", url=f"http://flood{number}.test", more="DocumentRoot /home/mallory/x"
        )

    asked = {one.url for _ in range(80) for one in tree.served().subjects}

    assert asked == {f"http://flood{number}.test" for number in range(6)}


def test_issuers_of_ones_own_at_a_public_responder_crowd_out_nobodys(tree: Tree) -> None:
    for number in range(4):
        made = make_authority(f"Own CA {number}")
        for twice in range(2):
            site = f"flood{number}-{twice}.test"
            tree.site(site, url=URL, ca=made, more="DocumentRoot /home/mallory/x")
    tree.site("anna.test", url=URL, more="DocumentRoot /home/anna/public_html")

    first = [one.sites[0].name for one in tree.served().subjects]

    assert "anna.test" in first


def test_a_monstrous_certificate_costs_the_probe_no_memory_and_its_responder_is_probed_still(
    tree: Tree,
) -> None:
    monster = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), bytes(80_000))
    tree.site("monster.test", url=URL, extra=monster)

    found = tree.served().subjects

    assert [(one.url, one.target.asks) for one in found] == [(URL, False)]


def test_a_site_without_its_issuer_is_told_unless_its_stapling_is_off(tree: Tree) -> None:
    tree.site("lame.test", url=URL, chain=False)
    tree.site("off.test", url=URL, chain=False, more="SSLUseStapling off")

    assert [site.name for site in tree.served().incomplete] == ["lame.test"]


def test_sites_that_are_turned_off_alone_are_not_met_and_others_at_different_addresses(tree: Tree) -> None:
    tree.site("off.test", url=URL, more="SSLUseStapling off")
    tree.site("a.test", url=URL)
    tree.site("b.test", url=URL)

    doors = tree.served().subjects[0].doors

    assert [(door.name, door.address) for door in doors] == [
        ("a.test", "192.0.2.1"),
        ("b.test", "2001:db8::1"),
    ]


def test_a_chain_file_of_its_own_completes_the_chain(tree: Tree) -> None:
    chain = tree.root / "chain.pem"
    chain.write_bytes(pem(CA.certificate))
    tree.site("a.test", url=URL, chain=False, more=f"SSLCertificateChainFile {chain}")

    found = tree.served()

    assert found.incomplete == ()
    assert found.subjects[0].target.asks


def test_a_responder_that_only_sites_turned_off_alone_name_is_asked_whether_it_answers_again(
    tree: Tree,
) -> None:
    tree.site("off.test", url=URL, must_staple=True, more="SSLUseStapling off")
    tree.site("on.test", url="http://ocsp.two.test")

    found = tree.served()

    assert [one.url for one in found.subjects] == ["http://ocsp.two.test"]
    (asked,) = found.turned_off
    assert (asked.url, asked.target.asks, [site.name for site in asked.sites]) == (URL, True, ["off.test"])
    assert not asked.doors


def test_a_certificate_replaced_after_it_was_listed_costs_the_others_nothing(tree: Tree) -> None:
    tree.site("a.test", url=URL)
    tree.site("b.test", url=URL)
    listed = tree.endpoints()
    (tree.root / "a.test.pem").write_text("gone")

    found = sort_endpoints(listed, KNOWN)

    assert found.subjects[0].target.certificate is not None
    assert found.subjects[0].target.certificate.subject == "b.test"


def test_every_certificate_that_must_staple_is_asked_about_each_account_in_its_turn(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(questions, "_READING_SECONDS", 600.0)
    for number in range(70):
        home = "DocumentRoot /home/mallory/x"
        tree.site(f"flood{number}.test", url=URL, must_staple=True, more=home)
    for owner in ("anna", "bert"):
        tree.site(f"{owner}.test", url=URL, must_staple=True, more=f"DocumentRoot /home/{owner}/public_html")
    tree.site("plain.test", url=URL)

    (found,) = tree.served().subjects

    assert (found.certificate_count, found.must_staple_count) == (73, 72)
    order = [one.sites[0].name for one in found.others]
    assert len(order) == 72
    assert {"anna.test", "bert.test", "plain.test"} & set(order) <= set(order[:4])


def test_no_more_certificates_are_read_than_there_is_time_and_room_for(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(8):
        tree.site(f"a{number}.test", url=URL, must_staple=True)
        tree.site(f"b{number}.test", url="http://ocsp.two.test", must_staple=True)
    monkeypatch.setattr(questions, "_READING_BYTES", 6000)

    few = [len(one.others) for one in tree.served().subjects]
    monkeypatch.setattr(questions, "_READING_SECONDS", -1.0)
    none = [len(one.others) for one in tree.served().subjects]

    assert 0 < few[0] < 7
    assert abs(few[0] - few[1]) <= 1
    assert none == [0, 0]
