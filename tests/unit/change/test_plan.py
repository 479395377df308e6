"""The plan: pure, complete, and what happens afterwards is what it said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ocsp_stapling.apache.stapling import Origin
from ocsp_stapling.change import plan
from ocsp_stapling.change.plan import Outlook
from ocsp_stapling.ocsp.staple import Handshake
from ocsp_stapling.problem import Problem
from tests.unit.change.made import SSL, VHOST, Tree, carry_out, wish

LINES = (
    b"SSLUseStapling On",
    b"SSLUseStapling off",
    b"  ssluseSTAPLING on",
    b"# SSLUseStapling On",
    b"SSLUseStapling \\",
    b"# continued \\",
    b"",
    b"LogLevel warn",
    b"<IfModule ssl_module>\nSSLUseStapling on\n</IfModule>",
    b"<IfModule no_such_module>\nSSLUseStapling on\n</IfModule>",
    b"\xff\xfe",
)
texts = st.tuples(
    st.lists(st.sampled_from(LINES), max_size=5), st.sampled_from([b"\n", b"\r\n"]), st.booleans()
).map(lambda made: made[1].join(made[0]) + (made[1] if made[2] and made[0] else b""))
places = st.fixed_dictionaries(
    {
        "global": texts | st.none(),
        "2": texts | st.none(),
        "late": st.sampled_from([b"", b"SSLUseStapling On\n"]),
    }
)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    made = Tree(tmp_path)
    for path in (*made.pre, *made.post):
        path.write_bytes(b"")
    return made


def code(tree: Tree, action: str, **options: bool) -> str:
    with pytest.raises(Problem) as caught:
        plan.make(wish(action, **options), tree.situation())
    return caught.value.code


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(found=places, native=st.booleans())
def test_plan_and_result_agree_and_on_gives_back_every_byte(
    tree: Tree, found: dict[str, bytes | None], native: bool
) -> None:
    tree.conf(ssl=SSL if native else SSL.replace("Stapling On", "Stapling Off"))
    files = {tree.pre[0]: found["global"], tree.pre[1]: found["2"], tree.post[0]: found["late"]}
    for path, content in files.items():
        path.unlink(missing_ok=True) if content is None else path.write_bytes(content)
    off = plan.make(wish("off"), tree.situation())
    assert not off.stapling_then
    if not off.rebuild:
        carry_out(off)
        assert not tree.situation().server.stapling.on
        again = plan.make(wish("off"), tree.situation())
        assert (again.changes, again.stapling_now) == ((), False)
        if off.changes:
            on = plan.make(wish("on"), tree.situation())
            carry_out(on)
            assert tree.situation().server.stapling.on is on.stapling_then is off.stapling_now
    for path, content in files.items():
        assert (path.read_bytes() if path.exists() else b"") == (content or b"")


def test_the_plan_of_off_says_what_it_means(tree: Tree) -> None:
    tree.conf(sites={"a.test": "", "must.test": "", "own.test": "    SSLUseStapling on\n"})
    made = plan.make(wish("off"), tree.situation())
    document = made.as_json()
    assert (document["stapling_now"], document["stapling_then"]) == ("on", "off")
    assert document["decided_by"]["text"] == "SSLUseStapling On"
    assert document["origin"] == "template"
    assert document["sites_affected_count"] == 2
    assert document["must_staple_sites"] == ["must.test"]
    assert [each["text"] for each in document["overrides"]] == ["SSLUseStapling on"]
    assert all("+    SSLUseStapling Off\n" in each["diff"] for each in document["changes"])
    assert [(s["site"], s["staple_wanted"]) for s in document["verification"]] == [
        ("a.test", False),
        ("must.test", False),
    ]
    assert {s["address"] for s in document["verification"]} == {"192.0.2.1", "2001:db8::1"}


def test_the_tag_is_the_same_at_another_time_and_another_when_a_file_was_touched(tree: Tree) -> None:
    first = plan.make(wish("off"), tree.situation())
    later = replace(wish("off"), now=wish("off").now.replace(hour=13))
    assert plan.make(later, tree.situation()).tag == first.tag
    tree.pre[0].write_bytes(b"# touched\n")
    assert plan.make(later, tree.situation()).tag != first.tag
    tree.pre[0].write_bytes(b"")
    tree.conf(sites={"a.test": "    SSLUseStapling on\n"})
    assert plan.make(later, tree.situation()).tag != first.tag


def test_includes_that_are_not_named_mean_a_rebuild(tree: Tree) -> None:
    tree.conf(named=())
    made = plan.make(wish("off"), tree.situation())
    assert (made.rebuild, made.stapling_then) == (True, False)
    tree.conf(named=(tree.pre[1],))
    assert not plan.make(wish("off"), tree.situation()).rebuild


def test_a_later_line_is_beaten_or_named(tree: Tree) -> None:
    tree.post[1].write_bytes(b"SSLUseStapling On\n")
    made = plan.make(wish("off"), tree.situation())
    assert [c.old.path for c in made.changes] == [*tree.pre, *tree.post]
    tree.conf(late="SSLUseStapling On\n")
    assert code(tree, "off") == "overridden"


def test_without_mod_ssl_there_is_nothing_to_switch(tree: Tree) -> None:
    with pytest.raises(Problem) as caught:
        plan.make(wish("off"), tree.situation(modules=frozenset()))
    assert caught.value.code == "no-mod-ssl"


def test_litespeed_in_apaches_place_is_left_alone(tree: Tree) -> None:
    now = replace(tree.situation(), front="litespeed", workers=0)
    with pytest.raises(Problem) as caught:
        plan.make(wish("off"), now)
    assert caught.value.code == "not-apache"
    beside = plan.make(wish("off"), replace(now, front="nginx"))
    assert any("nginx answers on port 443" in each for each in beside.warnings)


@pytest.mark.parametrize(
    ("native", "ssl", "words"),
    [
        ("Off", SSL.replace("Stapling On", "Stapling off"), "WHM's own switch"),
        ("On", SSL.replace("SSLUseStapling On\n", ""), "nothing in Apache's configuration"),
        ("On", SSL.replace("Stapling On", "Stapling off"), "httpd.conf line 5"),
    ],
)
def test_on_says_what_else_keeps_stapling_off(tree: Tree, native: str, ssl: str, words: str) -> None:
    tree.conf(ssl=ssl)
    with pytest.raises(Problem) as caught:
        plan.make(wish("on"), tree.situation(native=native))
    assert caught.value.code == "off-elsewhere"
    assert words in caught.value.sentence
    made = plan.make(wish("on", write_on=True), tree.situation(native=native))
    assert made.stapling_then


def test_stapling_is_never_turned_on_without_a_cache(tree: Tree) -> None:
    carry_out(plan.make(wish("off"), tree.situation()))
    tree.conf(ssl="SSLUseStapling On\nSSLSessionCache shmcb:/run/apache2/x(512000)\n")
    with pytest.raises(Problem, match="that ends Apache at its next restart") as caught:
        plan.make(wish("on"), tree.situation())
    assert caught.value.code == "no-cache"
    tree.conf(ssl="SSLSessionCache shmcb:/run/apache2/x(512000)\n")
    made = plan.make(wish("on", write_on=True), tree.situation())
    assert b'SSLStaplingCache "shmcb:/run/apache2/' in (made.changes[0].content or b"")
    tree.conf(ssl="")
    assert code(tree, "on", write_on=True) == "no-session-cache"
    tree.conf(ssl="SSLSessionCache dbm:/run/apache2/x\n")
    assert code(tree, "on", write_on=True) == "no-socache"


def test_the_cache_of_our_own_block_stays_when_stapling_goes_off(tree: Tree) -> None:
    tree.conf(ssl="SSLSessionCache shmcb:/run/apache2/x(512000)\n")
    carry_out(plan.make(wish("on", write_on=True), tree.situation()))
    made = plan.make(wish("off"), tree.situation())
    assert (made.stapling_then, made.cache_now, made.cache_then) == (False, True, True)
    carry_out(made)
    gone = plan.make(wish("on"), tree.situation())
    assert (gone.cache_now, gone.cache_then) == (True, False)
    assert "stopped and started" in gone.cost


def test_of_an_apache_that_does_not_run_a_plan_says_that_it_is_started(tree: Tree) -> None:
    assert "reads its configuration anew (3 workers now)" in plan.make(wish("off"), tree.situation()).cost
    stopped = plan.make(wish("off"), replace(tree.situation(), workers=0))
    assert stopped.cost == "Apache is not running now; it is started."


def test_of_lines_that_keep_stapling_on_those_that_only_an_edit_ends_are_told_apart(tree: Tree) -> None:
    directory = tree.layout.userdata / "ssl/2_4/user/own.test"
    directory.mkdir(parents=True)
    (directory / "mine.conf").write_text("SSLUseStapling On\n")
    tree.conf(sites={"own.test": f"    Include {directory}/*.conf\n", "hand.test": "    SSLUseStapling On\n"})

    def told(overrides: bool) -> str:
        made = plan.make(wish("off", overrides=overrides), tree.situation())
        assert len(made.by_hand) == 1
        return next(each for each in made.warnings if "keep it on" in each)

    hand = f"Only an edit ends it at {plan.make(wish('off'), tree.situation()).by_hand[0]}."
    assert told(False).endswith(f"`ocsp-stapling off --overrides` turns off those in userdata, too. {hand}")
    assert "--overrides" not in told(True)
    assert told(True).endswith(hand)


def test_an_override_in_userdata_gets_a_file_of_ours_that_on_takes_away(tree: Tree) -> None:
    directory = tree.layout.userdata / "ssl/2_4/user/own.test"
    directory.mkdir(parents=True)
    (directory / "mine.conf").write_text("SSLUseStapling On\n")
    tree.conf(sites={"a.test": "", "own.test": f"    Include {directory}/*.conf\n"})
    alone = plan.make(wish("off"), tree.situation())
    assert [each.file.name for each in alone.overrides] == ["mine.conf"]
    assert [sample.door.name for sample in alone.others] == [
        "own.test"
    ]  # met afterwards: does it still wait?
    both = plan.make(wish("off", overrides=True), tree.situation())
    assert both.others == ()
    assert (both.overrides, both.sites_affected) == ((), 2)
    carry_out(both)
    back = plan.make(wish("on"), tree.situation())
    assert {s.door.name: s.staple for s in back.samples} == {"a.test": True, "own.test": True}
    carry_out(back)
    assert [each.name for each in directory.iterdir()] == ["mine.conf"]


def test_an_override_that_a_userdata_file_includes_from_elsewhere_is_beaten_beside_that_file(
    tree: Tree, tmp_path: Path
) -> None:
    directory = tree.layout.userdata / "ssl/2_4/user/own.test"
    directory.mkdir(parents=True)
    (directory / "mine.conf").write_text(f"Include {tmp_path}/snippet.conf\n")
    (tmp_path / "snippet.conf").write_text("SSLUseStapling On\n")
    tree.conf(sites={"a.test": "", "own.test": f"    Include {directory}/*.conf\n"})
    alone = plan.make(wish("off"), tree.situation())
    assert [each.file.name for each in alone.overrides] == ["snippet.conf"]
    assert alone.by_hand == ()
    both = plan.make(wish("off", overrides=True), tree.situation())
    assert both.overrides == ()
    carry_out(both)
    assert (tmp_path / "snippet.conf").read_text() == "SSLUseStapling On\n"
    carry_out(plan.make(wish("on"), tree.situation()))
    assert [each.name for each in directory.iterdir()] == ["mine.conf"]


def test_an_include_that_httpd_conf_names_is_emptied_not_removed(tree: Tree) -> None:
    from ocsp_stapling import files
    from ocsp_stapling.change.model import Change

    tree.pre[0].write_bytes(b"# x\n")
    made = plan.make(wish("undo"), tree.situation(), (Change(files.snapshot(tree.pre[0]), None),))
    assert [c.content for c in made.changes] == [b""]


SMALL = SSL.replace("256000", "10240")
MANY = {f"s{number}.test": "" for number in range(8)}


@pytest.fixture
def crowded(tree: Tree) -> Tree:
    """Eight sites with a certificate of their own beside a common one, and a cache of six places."""
    own = {name: f"    SSLCertificateFile {tree.base}/{name}.pem\n" for name in MANY}
    for name in MANY:
        (tree.base / f"{name}.pem").write_bytes((tree.base / "plain.pem").read_bytes())
    tree.conf(ssl=SMALL, sites=own)
    return tree


def test_the_cache_is_made_to_fit_and_nothing_else_changes(crowded: Tree) -> None:
    made = plan.make(wish("cache-fit"), crowded.situation())
    assert (made.stapling_now, made.stapling_then, made.sites_affected) == (True, True, 0)
    assert "Each of 9 certificates is asked about once more" in made.cost
    assert {sample.staple for sample in made.samples} == {None}
    carry_out(made)
    after = crowded.situation().server
    assert after.stapling.cache is not None
    assert after.stapling.cache.value == "shmcb:/run/apache2/ocsp_stapling_shmcb(1048576)"
    assert not after.loses_staples
    assert after.stapling.origin is Origin.TEMPLATE
    assert plan.make(wish("cache-fit"), crowded.situation()).changes == ()


def test_a_cache_that_is_missing_is_made_by_the_same_word(crowded: Tree) -> None:
    crowded.conf(ssl=SMALL.replace("SSLStaplingCache", "#SSLStaplingCache"))
    assert crowded.situation().server.stapling.cache is None
    carry_out(plan.make(wish("cache-fit"), crowded.situation()))
    assert crowded.situation().server.stapling.cache is not None
    assert crowded.situation().server.stapling.origin is Origin.TEMPLATE


def test_a_cache_that_was_made_to_fit_outlives_off_and_on(crowded: Tree) -> None:
    for action in ("cache-fit", "off", "on", "on"):
        carry_out(plan.make(wish(action), crowded.situation()))
    assert not crowded.situation().server.loses_staples
    assert crowded.situation().server.stapling.on
    carry_out(plan.make(wish("on", overrides=True), crowded.situation()))
    assert {path.read_bytes() for path in crowded.pre} == {b""}


def test_a_cache_of_ours_goes_when_it_is_no_longer_needed(crowded: Tree) -> None:
    carry_out(plan.make(wish("cache-fit"), crowded.situation()))
    crowded.conf(ssl=SSL, sites=MANY)
    carry_out(plan.make(wish("on"), crowded.situation()))
    assert {path.read_bytes() for path in crowded.pre} == {b""}


def test_on_brings_a_cache_that_fits(crowded: Tree) -> None:
    crowded.conf(ssl=SMALL.replace("Stapling On", "Stapling Off"), sites=dict.fromkeys(MANY, ""))
    made = plan.make(wish("on", write_on=True), crowded.situation())
    assert b"SSLStaplingCache" not in (made.changes[0].content or b"")  # one certificate for all
    own = {name: f"    SSLCertificateFile {crowded.base}/{name}.pem\n" for name in MANY}
    crowded.conf(ssl=SMALL.replace("Stapling On", "Stapling Off"), sites=own)
    made = plan.make(wish("on", write_on=True), crowded.situation())
    assert b"(1048576)" in (made.changes[0].content or b"")


def test_a_small_cache_of_a_later_line_is_beaten_or_named(crowded: Tree) -> None:
    own = {name: f"    SSLCertificateFile {crowded.base}/{name}.pem\n" for name in MANY}
    crowded.conf(ssl=SMALL, sites=own, late="SSLStaplingCache shmcb:/run/apache2/late(10240)\n")
    with pytest.raises(Problem) as caught:
        plan.make(wish("cache-fit"), crowded.situation())
    assert caught.value.code == "overridden"
    assert "SSLStaplingCache shmcb:/run/apache2/late" in caught.value.sentence


def test_no_cache_is_made_to_fit_while_stapling_is_off(crowded: Tree) -> None:
    carry_out(plan.make(wish("off"), crowded.situation()))
    assert code(crowded, "cache-fit") == "stapling-is-off"


@pytest.mark.parametrize(
    ("seconds", "outlook", "words"),
    [
        (
            0.02,
            Outlook(healthy=True),
            "This will not help: 1 site tested just now answered within 20 ms, and every",
        ),
        (
            0.02,
            Outlook(),
            "This may not help: 1 site tested just now answered within 20 ms. `ocsp-stapling check`",
        ),
        (0.02, Outlook(healthy=False), ""),
        (0.02, Outlook(failing=("ocsp.ca.test",)), ""),
        (1.0, Outlook(healthy=True), ""),
    ],
)
def test_whoever_turns_off_what_does_no_harm_is_told(
    tree: Tree, seconds: float, outlook: Outlook, words: str
) -> None:
    for action in ("off", "on"):
        made = replace(plan.make(wish(action), tree.situation()), outlook=outlook)
        told = made.met([Handshake(made.samples[0].door, True, seconds)]).warnings[
            : -len(made.warnings) or None
        ]
        assert [each[: len(words)] for each in told] == ([words] if words and action == "off" else [])


def test_many_responders_crowd_no_port_out_of_the_verification(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    sites = {f"s{n}.test": f"SSLStaplingForceURL http://r{n // 2}.test/\n" for n in range(12)}
    mail = VHOST.format(name="mail.test", base=tmp_path, own="", kind="plain").replace(":443", ":2096")
    tree.conf(sites=sites, late=mail)
    made = plan.make(wish("off"), tree.situation())
    assert {sample.responder for sample in made.samples} >= {f"r{n}.test" for n in range(6)}
    assert {sample.door.port for sample in made.samples} == {443, 2096}


def test_every_responder_is_met_after_a_change_and_every_port(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    mail = VHOST.format(name="mail.test", base=tmp_path, own="", kind="plain").replace(":443", ":2096")

    def made(responders: int) -> plan.Plan:
        names = [f"r{n}.test" for n in range(responders)]
        tree.conf(sites={f"s-{n}": f"SSLStaplingForceURL http://{n}/\n" for n in names}, late=mail)
        return plan.make(wish("off"), tree.situation())

    few, many = made(20), made(60)
    assert {sample.responder for sample in few.samples} >= {f"r{n}.test" for n in range(20)}
    assert not any("are tested afterwards" in each for each in few.warnings)
    assert len(many.samples) <= 32
    assert {sample.door.port for sample in many.samples} == {443, 2096}
    told = "Of 61 kinds of responder, port and key that it concerns, sites of 32 are tested afterwards"
    assert any(each.startswith(told) for each in many.warnings), "what was not met is said"
