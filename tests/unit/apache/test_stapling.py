from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocsp_stapling.apache.config import read_config
from ocsp_stapling.apache.layout import NativeSwitch, local_templates, read_native_switch, vhost_template_line
from ocsp_stapling.apache.managed_block import apply
from ocsp_stapling.apache.stapling import (
    Origin,
    StaplingState,
    asked_again,
    cache_bytes,
    compare_includes,
    effective,
    state_findings,
)
from ocsp_stapling.apache.tree import ConfigTree
from tests.unit.apache.real_apache import layout_at

TEMPLATE = """\
LoadModule socache_shmcb_module x
LoadModule ssl_module x
Include conf.d/includes/pre_main_*.conf
<IfModule ssl_module>
  <IfModule socache_shmcb_module>
    SSLUseStapling {switch}
    SSLStaplingCache shmcb:run/stapling(256000)
    SSLStaplingResponderTimeout 3
    SSLSessionCache shmcb:run/session(1024000)
  </IfModule>
</IfModule>
Include conf.d/includes/pre_virtualhost_*.conf
<VirtualHost *:443>
  ServerName one.test
  IncludeOptional conf.d/userdata/ssl/2_4/anna/one.test/*.conf
</VirtualHost>
<VirtualHost *:443>
  ServerName two.test
  <IfModule ssl_module>
    SSLUseStapling off
  </IfModule>
</VirtualHost>
{end}"""


def server(base: Path, switch: str = "On", end: str = "", **files: str) -> ConfigTree:
    includes = base / "conf.d/includes"
    names = ("pre_main_global", "pre_virtualhost_global", "pre_virtualhost_2")
    texts = {includes / f"{name}.conf": files.get(name, "") for name in names}
    texts[base / "conf/httpd.conf"] = TEMPLATE.format(switch=switch, end=end)
    if "userdata" in files:
        texts[base / "conf.d/userdata/ssl/2_4/anna/one.test/a.conf"] = files["userdata"]
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return read_config(layout_at(base))


def state(tree: ConfigTree, native: str | None = "On") -> StaplingState:
    return effective(tree, NativeSwitch(Path("/ea4.conf"), native))


def decided(found: StaplingState) -> tuple[bool, str, int, str]:
    assert found.decided_by is not None
    return found.on, found.decided_by.file.name, found.decided_by.line, found.origin.value


def test_the_template_decides_on_an_untouched_server(tmp_path: Path) -> None:
    found = state(server(tmp_path))
    assert decided(found) == (True, "httpd.conf", 6, "template")
    assert found.cache is not None
    assert found.cache.value == "shmcb:run/stapling(256000)"
    assert found.session_cache is not None
    assert found.responder_timeout == 3
    assert [d.name for d in found.directives if d.vhost is None] == [
        "SSLUseStapling",
        "SSLStaplingCache",
        "SSLStaplingResponderTimeout",
        "SSLSessionCache",
    ]


def test_off_in_pre_main_is_overridden_in_silence(tmp_path: Path) -> None:
    assert decided(state(server(tmp_path, pre_main_global="SSLUseStapling off\n")))[0] is True


def test_off_in_pre_virtualhost_holds(tmp_path: Path) -> None:
    tree = server(tmp_path, pre_virtualhost_2="SSLUseStapling off # since tuesday\n")
    assert decided(state(tree)) == (False, "pre_virtualhost_2.conf", 1, "hand-written")


def test_the_last_line_wins_even_after_the_virtual_hosts(tmp_path: Path) -> None:
    tree = server(tmp_path, end="sslusestapling OFF\n")
    assert decided(state(tree)) == (False, "httpd.conf", 23, "hand-written")


def test_our_block_is_named(tmp_path: Path) -> None:
    block = apply(b"", ["<IfModule ssl_module>", "SSLUseStapling Off", "</IfModule>"]).decode()
    tree = server(tmp_path, pre_virtualhost_2=block)
    assert decided(state(tree)) == (False, "pre_virtualhost_2.conf", 3, "managed-block")


def test_whms_own_switch_is_named(tmp_path: Path) -> None:
    tree = server(tmp_path, switch="Off")
    assert decided(state(tree, "Off")) == (False, "httpd.conf", 6, "native-switch")
    assert decided(state(tree, "On"))[3] == "template"


def test_without_any_line_apaches_default_is_off(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/httpd.conf").write_text("Listen 80\n")
    found = effective(read_config(layout_at(tmp_path)))
    assert (found.on, found.decided_by, found.origin, found.cache) == (False, None, Origin.DEFAULT, None)
    assert found.responder_timeout == 10


def test_virtual_hosts_of_their_own_mind_are_listed(tmp_path: Path) -> None:
    tree = server(tmp_path, userdata="SSLUseStapling off\nSSLUseStapling On\n")
    assert [(o.vhost.server_name, o.on, o.origin.value, o.directive.line) for o in state(tree).overrides] == [
        ("one.test", True, "userdata", 2),
        ("two.test", False, "template", 20),
    ]


@pytest.mark.parametrize(
    ("lines", "staples"),
    [
        ("MDStapling on", True),
        ("MDStapling on\nMDStapleOthers on", True),
        ("MDStapling on\nMDStapleOthers off", False),
        ("MDStapling off\nMDStapleOthers on", False),
        ("MDStapling on\nMDStapling off", False),
        ("MDStapling on\nMDStapleOthers off\nMDStapleOthers on", True),
        ("<IfModule md_module>\nMDStapling on\n</IfModule>", False),
        ("MDStapleOthers on", False),
        ("MDStapling on\n<VirtualHost *:443>\nMDStapling on\n</VirtualHost>", True),
        ("MDStapling on\n<VirtualHost *:443>\nMDStapling off\n</VirtualHost>", False),
        ("MDStapling on\n<VirtualHost *:443>\nMDStapleOthers off\n</VirtualHost>", False),
        ("<VirtualHost *:443>\nMDStapling on\n</VirtualHost>", False),
    ],
)
def test_mod_md_staples_what_it_does_not_manage_unless_told_otherwise(
    tmp_path: Path, lines: str, staples: bool
) -> None:
    assert bool(state(server(tmp_path, pre_virtualhost_global=lines)).md_stapling) is staples


def test_on_without_a_cache_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/httpd.conf").write_text("SSLUseStapling on\n")
    tree = read_config(layout_at(tmp_path))
    found = state(tree)
    codes = [f.code for f in state_findings(found, tree, NativeSwitch(Path("/ea4.conf"), None))]
    assert codes == ["on-without-cache"]


def test_a_switch_not_yet_rebuilt_is_a_finding(tmp_path: Path) -> None:
    tree = server(tmp_path, switch="On")
    native = NativeSwitch(Path("/ea4.conf"), "Off")
    assert [f.code for f in state_findings(effective(tree, native), tree, native)] == [
        "native-switch-pending"
    ]


def test_a_later_line_that_may_not_count_is_uncertain(tmp_path: Path) -> None:
    tree = server(tmp_path, pre_virtualhost_2="<IfDefine X>\nSSLUseStapling off\n</IfDefine>\n")
    found = state(tree)
    assert found.on
    assert [d.value for d in found.uncertain] == ["off"]
    findings = state_findings(found, tree, NativeSwitch(Path("/ea4.conf"), "On"))
    assert [(f.code, f.line) for f in findings] == [("uncertain", 2)]


def test_files_that_only_httpd_reads_are_noted(tmp_path: Path) -> None:
    tree = server(tmp_path)
    assert compare_includes(tree, tree.files) == ()
    (finding,) = compare_includes(tree, (*tree.files, Path("/etc/other.conf")))
    assert (finding.code, finding.file) == ("unverified", Path("/etc/other.conf"))
    assert len(compare_includes(tree, tree.files[1:])) == 1


@pytest.mark.parametrize(
    ("content", "value", "on"),
    [
        ('{"sslusestapling": "Off"}', "Off", False),
        ('{"sslusestapling": "On", "x": 1}', "On", True),
        ('{"sslusestapling": 0}', "0", False),
        ("{}", None, True),
        ("[1]", None, True),
        ("{not json", None, True),
        ("[" * 100_000, None, True),
    ],
)
def test_whms_switch_is_read(tmp_path: Path, content: str, value: str | None, on: bool) -> None:
    (tmp_path / "ea4.conf").write_text(content)
    found = read_native_switch(tmp_path / "ea4.conf")
    assert (found.value, found.on) == (value, on)


def test_without_ea4_conf_whms_default_is_on(tmp_path: Path) -> None:
    assert read_native_switch(tmp_path / "none").on


def test_local_templates_are_noticed(tmp_path: Path) -> None:
    (tmp_path / "ssl_vhost.local").write_text("")
    (tmp_path / "ssl_vhost.default").write_text("")
    assert local_templates(tmp_path) == (tmp_path / "ssl_vhost.local",)
    assert local_templates(tmp_path / "none") == ()


def test_a_line_of_an_administrators_own_template_is_called_so(tmp_path: Path) -> None:
    templates = tmp_path / "templates"
    templates.mkdir()
    (templates / "ea4_main.default").write_text("SSLUseStapling [% x %]\n# SSLUseStapling Off\n")
    (templates / "ea4_main.local").write_text("SSLUseStapling [% x %]\n\n  sslusestapling   Off\n")
    (templates / "ssl_vhost.default").write_text("SSLUseStapling On\n")
    (templates / "ssl_vhost.local").write_text("SSLUseStapling On\n")  # as in cPanel's own
    native = read_native_switch(tmp_path / "none", templates)
    tree = server(tmp_path, switch="Off")
    found = effective(tree, native)
    assert decided(found) == (False, "httpd.conf", 6, "local-template")
    place = native.own_line("SSLUseStapling Off")
    assert place is not None
    assert (place.file.name, place.line) == ("ea4_main.local", 3)
    assert native.own_line("SSLUseStapling On") is None
    elsewhere = server(tmp_path, pre_virtualhost_2="SSLUseStapling Off\n")
    assert effective(elsewhere, native).origin is Origin.HAND


@pytest.mark.parametrize("name", ["shop.test_SSL", "shop.test"])
@pytest.mark.parametrize("quote", ["", "'", '"'])
def test_a_line_of_a_virtual_hosts_own_template_is_found_there(tmp_path: Path, name: str, quote: str) -> None:
    template = tmp_path / "shop.template"
    template.write_text("SSLEngine on\n    SSLUseStapling   On\n")
    (tmp_path / "anna").mkdir()
    named = (
        f"---\nservername: shop.test\ncustom_vhost_template_ap2: {quote}{template}{quote}\nip: 192.0.2.1\n"
    )
    (tmp_path / "anna" / name).write_text(named)

    place = vhost_template_line("SSLUseStapling On", "anna", "shop.test", tmp_path)

    assert place is not None
    assert (place.file, place.line) == (template, 2)
    assert vhost_template_line("SSLUseStapling Off", "anna", "shop.test", tmp_path) is None
    assert vhost_template_line("SSLUseStapling On", "bert", "shop.test", tmp_path) is None
    assert vhost_template_line("SSLUseStapling On", None, "shop.test", tmp_path) is None
    assert vhost_template_line("SSLUseStapling On", "anna", "../anna/shop.test", tmp_path) is None


@pytest.mark.parametrize(
    ("certificates", "places", "again"),
    [
        (100, 168, 0),
        (168, 168, 80),
        (250, 168, 250),
        (500, 168, 500),
        (250, 336, 0),
        (500, 336, 500),
        (1000, 2694, 0),
    ],
)
def test_staples_lost_from_a_small_cache_are_as_many_as_apache_was_measured_to_ask_for_again(
    certificates: int, places: int, again: int
) -> None:
    assert asked_again(certificates, places) == pytest.approx(again, abs=10)


@given(st.integers(1, 20_000))
def test_the_cache_that_fits_loses_no_staple(certificates: int) -> None:
    assert asked_again(certificates, cache_bytes(certificates) // 1520) == 0


def test_a_cache_without_places_to_count_loses_none() -> None:
    assert asked_again(1000, None) == asked_again(0, 168) == 0


def test_a_cache_is_made_of_four_kilobytes_a_certificate_and_of_a_megabyte_at_least() -> None:
    assert [cache_bytes(count) for count in (0, 256, 257, 1000)] == [1 << 20, 1 << 20, 4096 * 257, 4_096_000]
