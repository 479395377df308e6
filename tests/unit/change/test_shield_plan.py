"""The shield's block: in one form only, refused with the reason where it would not help, and gone without a trace."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from ocsp_stapling.apache import managed_block
from ocsp_stapling.change import files_changed, plan
from ocsp_stapling.change.model import Situation
from ocsp_stapling.change.request import ChangeRequest
from ocsp_stapling.ocsp.staple import Handshake
from ocsp_stapling.problem import Problem
from ocsp_stapling.shield.refresh import wanted
from tests.unit.change.made import MODULES, SSL, Tree, carry_out, wish
from tests.unit.ocsp.authority import issue, make_authority, pem

SHIELD = replace(wish("shield-on"), shield_port=341)
ONE_SITE = replace(wish("off"), action="site-off", site="a.test")
ELSEWHERE = "SSLStaplingForceURL http://192.0.2.9/\n"
MD = "LoadModule md_module modules/mod_md.so\nMDStapling on\nMDStapleOthers on\n"


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    made = Tree(tmp_path)
    for path in (*made.pre, *made.post):
        path.write_bytes(b"# theirs\n")
    return made


def test_apache_asks_the_relay_afterwards_and_shield_off_gives_back_every_byte(tree: Tree) -> None:
    made = plan.make(SHIELD, tree.situation())
    assert files_changed.relay_port(made.changes) == 341
    carry_out(made)
    there = tree.situation().server
    assert (there.shielded, there.relay_port) == (True, 341)
    assert there.stapling.force_url is not None
    assert there.stapling.force_url.value == "http://127.0.0.1:341/"
    assert b"SSLUseStapling" not in tree.pre[0].read_bytes()  # on it was before
    carry_out(plan.make(wish("shield-off"), tree.situation()))
    assert {path.read_bytes() for path in tree.pre} == {b"# theirs\n"}
    assert tree.situation().server.relay_port == 0


def test_each_certificate_of_a_virtual_host_is_asked_about_once(tree: Tree) -> None:
    """One for RSA and one for ECDSA, as cPanel has them; a site that staples nothing is not asked about."""
    authority = make_authority()
    second = issue(authority, "http://ocsp.other.test/", common_name="a.test", number=5)
    (tree.base / "second.pem").write_bytes(pem(second) + pem(authority.certificate))
    both = f"SSLCertificateFile {tree.base}/second.pem\n"
    tree.conf(sites={"a.test": both, "b.test": both, "c.test": "SSLUseStapling off\n"})
    found = wanted(tree.situation().server.endpoints).certificates
    assert len(found) == len({one.cert_id for one in found}) == 2
    assert {one.url for one in found} >= {"http://ocsp.other.test/"}


def test_it_turns_stapling_on_where_it_is_off(tree: Tree) -> None:
    tree.conf(ssl=SSL.replace("Stapling On", "Stapling Off"))
    carry_out(plan.make(SHIELD, tree.situation(native="Off")))
    assert tree.situation(native="Off").server.shielded


def test_off_replaces_it_and_on_returns_to_it(tree: Tree) -> None:
    for action in ("on", "off"):
        carry_out(plan.make(replace(wish(action), shield_port=341), tree.situation()))
        assert tree.situation().server.relay_port == (341 if action == "on" else 0)
    assert not tree.situation().server.stapling.on
    carry_out(plan.make(replace(wish("on"), shield_port=341), tree.situation()))
    assert tree.situation().server.shielded


def proxied(tree: Tree) -> Situation:
    tree.conf(ssl=SSL + "SSLOCSPProxyURL http://192.0.2.9:3128\n")
    return tree.situation()


def behind(tree: Tree, front: str) -> Situation:
    return replace(tree.situation(), front=front)


def without_responders(tree: Tree) -> Situation:
    tree.conf(sites={})
    return tree.situation()


def asking_elsewhere(tree: Tree) -> Situation:
    """A site of its own mind: while it waits for the one it asks, every other site waits too."""
    tree.conf(sites={"a.test": ELSEWHERE, "b.test": ""})
    return tree.situation()


CASES = [
    (proxied, "shield-proxy"),
    (asking_elsewhere, "overridden"),
    (lambda tree: behind(tree, "nginx"), "shield-not-in-front"),
    (lambda tree: behind(tree, "litespeed"), "shield-not-in-front"),
    (without_responders, "nothing-to-shield"),
]


@pytest.mark.parametrize(("made", "code"), CASES)
def test_it_is_refused_with_the_reason_where_it_would_not_help(tree: Tree, made: object, code: str) -> None:
    assert callable(made)
    with pytest.raises(Problem) as caught:
        plan.make(SHIELD, made(tree))
    assert caught.value.code == code
    assert "othing" in caught.value.sentence


def test_a_later_line_of_the_administrators_does_not_send_questions_elsewhere(tree: Tree) -> None:
    """It wins against a block before the virtual hosts, so one goes behind it, or the shield is refused."""
    tree.post[0].write_text(ELSEWHERE)
    carry_out(plan.make(SHIELD, tree.situation()))
    assert tree.situation().server.relay_port == 341
    carry_out(plan.make(wish("shield-off"), tree.situation()))
    tree.conf(late=ELSEWHERE)
    with pytest.raises(Problem, match=ELSEWHERE.strip().replace(".", r"\.")) as caught:
        plan.make(SHIELD, tree.situation())
    assert caught.value.code == "overridden"


def test_a_site_that_staples_nothing_may_name_whom_it_likes(tree: Tree) -> None:
    tree.conf(sites={"a.test": ELSEWHERE + "SSLUseStapling off\n", "b.test": ""})
    carry_out(plan.make(SHIELD, tree.situation()))
    assert tree.situation().server.relay_port == 341


@pytest.mark.parametrize("made", [SHIELD, wish("off"), wish("on"), ONE_SITE])
def test_where_mod_md_staples_any_change_is_refused_because_it_would_change_nothing(
    tree: Tree, made: ChangeRequest
) -> None:
    tree.conf(ssl=SSL + MD, sites={"a.test": ""})
    with pytest.raises(Problem, match="change nothing") as caught:
        plan.make(made, tree.situation())
    assert caught.value.code == "md-staples"


@pytest.mark.parametrize("made", [case[0] for case in CASES])
def test_where_there_is_no_returning_to_it_stapling_returns_without_it(tree: Tree, made: object) -> None:
    carry_out(plan.make(wish("off"), tree.situation()))
    assert callable(made)
    carry_out(plan.make(replace(wish("on"), shield_port=341), made(tree)))
    there = tree.situation().server
    assert (there.stapling.on, there.relay_port) == (True, 0)


def test_only_the_one_form_that_apache_bears_is_taken_for_our_relay(tree: Tree) -> None:
    for line in ("127.0.0.1", "https://127.0.0.1:340/", "http://192.0.2.1:340/", "http://127.0.0.1:340/x"):
        tree.conf(ssl=SSL + f"SSLStaplingForceURL {line}\n")
        assert tree.situation().server.relay_port == 0


def test_turned_on_again_where_it_is_on_it_costs_nobody_a_staple(tree: Tree) -> None:
    """Neither by `shield on` nor by `on`, which return to it: nothing but the time would be written anew."""
    carry_out(plan.make(SHIELD, tree.situation()))
    later = replace(SHIELD, now=SHIELD.now + timedelta(hours=1), reason="again")
    assert plan.make(later, tree.situation()).changes == ()
    assert plan.make(replace(later, action="on"), tree.situation()).changes == ()
    assert (
        files_changed.relay_port(plan.make(replace(later, shield_port=342), tree.situation()).changes) == 342
    )


def test_shield_off_turns_nothing_on_where_stapling_is_off(tree: Tree) -> None:
    """Who turned stapling off in an outage does not want it back because the shield goes."""
    carry_out(plan.make(SHIELD, tree.situation()))
    carry_out(plan.make(wish("off"), tree.situation()))
    found = plan.make(wish("shield-off"), tree.situation())
    assert (found.changes, found.stapling_then) == ((), False)


def test_shield_off_takes_a_block_out_that_apache_does_not_read_yet(tree: Tree) -> None:
    """Else it would send Apache to a relay that is gone as soon as httpd.conf is written anew."""
    carry_out(plan.make(SHIELD, tree.situation()))
    tree.conf(named=())
    assert tree.situation().server.relay_port == 0
    assert plan.make(wish("shield-off"), tree.situation()).changes


def test_under_the_shield_turning_off_is_said_not_to_help_also_while_a_responder_fails(tree: Tree) -> None:
    carry_out(plan.make(SHIELD, tree.situation()))
    off = plan.make(wish("off"), tree.situation()).knowing(
        plan.Outlook(failing=("ocsp.a.test",), healthy=False)
    )
    told = off.met([Handshake(off.samples[0].door, True, 0.02)])
    assert "This will not help" in told.warnings[0]
    assert "shield is on" in told.warnings[0]


@pytest.mark.parametrize("on", [True, False])
def test_the_block_has_these_lines_and_no_other(tree: Tree, on: bool) -> None:
    """Without a scheme Apache's children crash, and with longer time-outs visitors wait for a relay that hangs."""
    native = "On" if on else "Off"
    if not on:
        tree.conf(ssl=SSL.replace("Stapling On", "Stapling Off"))
    carry_out(plan.make(SHIELD, tree.situation(native=native)))
    lines = [line.strip() for line in tree.pre[0].read_text().splitlines() if not line.startswith("#")]
    assert lines == [
        "<IfModule ssl_module>",
        'SSLStaplingCache "shmcb:/run/apache2/ocsp_stapling_shield_shmcb(1048576)"',
        "SSLStaplingForceURL http://127.0.0.1:341/",
        "SSLStaplingResponderTimeout 1",
        "SSLStaplingStandardCacheTimeout 3600",
        "SSLStaplingErrorCacheTimeout 10",
        "SSLStaplingReturnResponderErrors off",
        "SSLStaplingFakeTryLater off",
        *(() if on else ("SSLUseStapling On",)),
        "</IfModule>",
    ]


@pytest.mark.parametrize(("certificates", "size"), [(50, 1_048_576), (256, 1_048_576), (500, 2_048_000)])
def test_the_cache_of_the_block_holds_every_certificate(tree: Tree, certificates: int, size: int) -> None:
    line = managed_block.cache_line(tree.situation().tree, MODULES, certificates, "ocsp_stapling_shield")
    assert f"({size})" in line
