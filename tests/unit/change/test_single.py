"""One virtual host alone: its stapling is off, that of all others stays, whatever the server level says then."""

from __future__ import annotations

from pathlib import Path

import pytest

from ocsp_stapling.apache import managed_block
from ocsp_stapling.change import plan
from ocsp_stapling.change.note import turned_off
from ocsp_stapling.change.transaction import put_back, write
from ocsp_stapling.problem import Problem
from tests.unit.change.made import Tree, site_wish, wish


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    made = Tree(tmp_path)
    for path in (*made.pre, *made.post):
        path.write_bytes(b"")
    return made


def include(tree: Tree, account: str, name: str) -> Path:
    """Give a site an include directory with a line of the administrator's in it; return our file's path there."""
    directory = tree.layout.userdata / "ssl/2_4" / account / name
    directory.mkdir(parents=True)
    (directory / "own.conf").write_text("# mine\n")
    return directory / managed_block.SITE_NAME


def sites(tree: Tree, *names: str, late: str = "") -> None:
    lines = {
        name: f'    Include "{tree.layout.userdata}/ssl/2_4/user/{name}/*.conf"\n{late}' for name in names
    }
    tree.conf(sites=lines | {"other.test": ""})


def stapling(tree: Tree) -> dict[str, bool]:
    return {one.name: one.stapling for one in tree.situation().server.endpoints}


def carry_out(found: plan.Plan) -> None:
    for change in found.changes:
        write(change)


def test_a_site_alone_is_off_and_on_again_and_the_others_keep_their_stapling(tree: Tree) -> None:
    ours = include(tree, "user", "a.test")
    sites(tree, "a.test")
    off = plan.make(site_wish("off", "a.test"), tree.situation())
    assert (off.site, off.rebuild, off.stapling_then, off.sites_affected) == ("a.test", False, True, 1)
    assert {one.door.name for one in off.samples} == {"a.test"}
    assert {one.staple for one in off.samples} == {False}
    assert {one.door.name for one in off.others} == {"other.test"}
    carry_out(off)
    assert stapling(tree) == {"a.test": False, "other.test": True}
    assert turned_off(tree.situation().server) == {"a.test": ours}
    assert plan.make(site_wish("off", "a.test"), tree.situation()).changes == ()
    carry_out(plan.make(site_wish("on", "a.test"), tree.situation()))
    assert stapling(tree) == {"a.test": True, "other.test": True}
    assert not ours.exists()


def test_all_sites_of_an_account_are_off_and_on_again_in_one_change(tree: Tree) -> None:
    names = [f"n{number}.test" for number in range(5)]
    ours = {name: include(tree, "user", name) for name in names}
    sites(tree, *names)
    off = plan.make(site_wish("off", "@user"), tree.situation())
    assert (off.site, off.rebuild, len(off.changes), off.sites_affected) == ("@user", False, 5, 5)
    assert {one.door.name for one in off.others} == {"other.test"}
    carry_out(off)
    assert turned_off(tree.situation().server) == ours
    assert stapling(tree) == {**dict.fromkeys(names, False), "other.test": True}
    assert plan.make(site_wish("off", "@user"), tree.situation()).changes == ()
    carry_out(plan.make(site_wish("on", names[0]), tree.situation()))
    assert len(plan.make(site_wish("off", "@user"), tree.situation()).changes) == 1
    carry_out(plan.make(site_wish("on", "@user"), tree.situation()))
    assert stapling(tree) == dict.fromkeys([*names, "other.test"], True)


def test_it_outlives_an_off_and_an_on_for_all_until_overrides_are_asked_for(tree: Tree) -> None:
    include(tree, "user", "a.test")
    sites(tree, "a.test")
    for asked in (site_wish("off", "a.test"), wish("off"), wish("on")):
        carry_out(plan.make(asked, tree.situation()))
    assert stapling(tree) == {"a.test": False, "other.test": True}
    carry_out(plan.make(wish("on", overrides=True), tree.situation()))
    assert stapling(tree) == {"a.test": True, "other.test": True}


def test_a_site_without_an_include_gets_a_directory_and_httpd_conf_is_rebuilt(tree: Tree) -> None:
    tree.conf(sites={"a.test": "    DocumentRoot /home/user/public_html\n", "other.test": ""})
    before = sorted(tree.layout.userdata.rglob("*"))
    found = plan.make(site_wish("off", "a.test"), tree.situation())
    assert found.rebuild
    assert [sample.staple for sample in found.samples] == [False]
    ours = tree.layout.userdata / "ssl/2_4/user/a.test" / managed_block.SITE_NAME
    assert [change.old.path for change in found.changes] == [ours]
    carry_out(found)
    assert ours.exists()
    assert put_back(found.changes[0]) == ""
    assert sorted(tree.layout.userdata.rglob("*")) == before


def test_the_only_file_of_a_directory_that_httpd_conf_names_stays_empty(tree: Tree) -> None:
    ours = include(tree, "user", "a.test")
    ours.with_name("own.conf").unlink()
    ours.write_bytes(b"")
    sites(tree, "a.test")
    carry_out(plan.make(site_wish("off", "a.test"), tree.situation()))
    carry_out(plan.make(site_wish("on", "a.test"), tree.situation()))
    assert ours.read_bytes() == b""


@pytest.mark.parametrize(
    ("action", "site", "code"),
    [
        ("off", "unknown.test", "no-such-site"),
        ("on", "unknown.test", "no-such-site"),
        ("off", "other.test", "site-without-include"),
        ("off", "late.test", "overridden"),
        ("off", "@nobody-here", "no-such-site"),
        ("off", "@../..", "no-such-site"),
        ("on", "hand.test", "not-off-alone"),
    ],
)
def test_what_cannot_be_done_for_a_site_alone_is_refused(
    tree: Tree, action: str, site: str, code: str
) -> None:
    include(tree, "user", "late.test")
    include(tree, "user", "hand.test").with_name("own.conf").write_text("SSLUseStapling off\n")
    tree.conf(
        sites={
            "other.test": "",
            "late.test": f'    Include "{tree.layout.userdata}/ssl/2_4/user/late.test/*.conf"\n'
            "    SSLUseStapling on\n",
            "hand.test": f'    Include "{tree.layout.userdata}/ssl/2_4/user/hand.test/*.conf"\n',
        }
    )
    with pytest.raises(Problem) as caught:
        plan.make(site_wish(action, site), tree.situation())
    assert caught.value.code == code


@pytest.mark.parametrize("name", ["../../etc", "a/b", ".hidden", "", "x y"])
def test_no_name_leads_out_of_the_userdata_directory(tree: Tree, name: str) -> None:
    tree.conf(sites={f"{name}.test" if name else "_": f"    DocumentRoot /home/{name or '..'}/x\n"})
    for one in tree.situation().server.endpoints:
        try:
            found = plan.make(site_wish("off", one.name), tree.situation())
        except Problem:
            continue
        for change in found.changes:
            assert change.old.path.is_relative_to(tree.layout.userdata)
            assert len(change.old.path.relative_to(tree.layout.userdata).parts) == 5


def test_a_site_whose_certificate_cannot_be_read_is_off_with_its_account(tree: Tree) -> None:
    """Nobody knows whom Apache asks about it; off for the account is what ends that."""
    for name in ("a.test", "b.test"):
        include(tree, "user", name)
    sites(tree, "a.test", "b.test")
    own = tree.layout.userdata / "b.pem"
    own.write_text("no certificate")
    conf = tree.layout.conf.read_text().partition("ServerName b.test")
    kept = conf[2].replace("SSLCertificateFile", f'SSLCertificateFile "{own}"\n#', 1)
    tree.layout.conf.write_text(conf[0] + conf[1] + kept)
    assert len(plan.make(site_wish("off", "@user"), tree.situation()).changes) == 2
