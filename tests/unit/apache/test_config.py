"""Reading configurations that are odd, broken or hostile; what httpd makes of ordinary ones is checked elsewhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocsp_stapling.apache.conditions import Binary
from ocsp_stapling.apache.config import read_config
from ocsp_stapling.apache.managed_block import apply
from ocsp_stapling.apache.statements import MAX_WORD
from ocsp_stapling.apache.tree import ConfigTree
from ocsp_stapling.problem import Problem
from tests.unit.apache.real_apache import layout_at

BINARY = Binary((2, 4, 62), frozenset({"core.c", "mod_so.c", "http_core.c", "mod_version.c"}), frozenset())


def read(base: Path, conf: str | bytes, binary: Binary = BINARY, **files: str) -> ConfigTree:
    (base / "conf").mkdir(exist_ok=True)
    for name, text in {
        "conf/httpd.conf": conf,
        **{k.replace("__", "/"): v for k, v in files.items()},
    }.items():
        path = base / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_config(layout_at(base), lambda: binary)


def stapling(tree: ConfigTree) -> list[tuple[str, int, str]]:
    return [(d.file.name, d.line, d.value) for d in tree.directives if d.name == "SSLUseStapling"]


def codes(tree: ConfigTree) -> list[str]:
    return [finding.code for finding in tree.findings]


def test_a_missing_httpd_conf_is_a_plain_problem(tmp_path: Path) -> None:
    with pytest.raises(Problem) as caught:
        read_config(layout_at(tmp_path))
    assert caught.value.code == "no-httpd-conf"


def test_a_file_that_includes_itself_is_a_finding(tmp_path: Path) -> None:
    tree = read(
        tmp_path, "Include a\nSSLUseStapling on\n", a="Include b\n", b="SSLUseStapling off\nInclude a\n"
    )
    assert codes(tree) == ["include-loop"]
    assert tree.findings[0].file == tmp_path / "b"
    assert stapling(tree) == [("b", 1, "off"), ("httpd.conf", 2, "on")]


def test_includes_that_multiply_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ocsp_stapling.apache.config.MAX_STATEMENTS", 10_000)
    files: dict[str, Any] = {f"f{i}": f"Include f{i + 1}\n" * 10 for i in range(9)}
    tree = read(tmp_path, "Include f0\n", **files, f9="SSLUseStapling on\n")
    assert "include-too-much" in codes(tree)


def test_missing_and_unreadable_includes_are_findings(tmp_path: Path) -> None:
    (tmp_path / "pipe").parent.mkdir(exist_ok=True)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling.conf").symlink_to("nowhere")
    text = "Include missing.conf\nInclude none/*.conf\nInclude pipe\nInclude dang*.conf\nIncludeOptional no.conf\n"
    tree = read(tmp_path, text + "SSLUseStapling on\n")
    assert [(f.code, f.line) for f in tree.findings] == [
        ("include-unreadable", 1),
        ("include-missing", 2),
        ("include-unreadable", 3),
        ("include-unreadable", 4),
    ]
    assert stapling(tree) == [("httpd.conf", 6, "on")]


def test_an_include_of_everything_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ocsp_stapling.apache.wildcard.MAX_FILES", 50)
    for number in range(60):
        (tmp_path / f"{number}.conf").write_text("")
    assert codes(read(tmp_path, "Include *.conf\n")) == ["include-unreadable"]


@pytest.mark.parametrize(
    ("condition", "taken"),
    [
        ("IfModule ssl_module", True),
        ("IfModule !ssl_module", False),
        ("IfModule mod_so.c", True),
        ("IfModule so_module", True),
        ("IfModule other_module", False),
        ("IfDefine NEVER", False),
        ("IfDefine !NEVER", True),
        ("IfVersion >= 2.4.50", True),
        ("IfVersion < 2.4", False),
        ("IfVersion = /^2\\.4/", True),
        ("IfFile /etc/passwd", True),
    ],
)
def test_conditions_that_are_known(tmp_path: Path, condition: str, taken: bool) -> None:
    kind = condition.split()[0]
    tree = read(tmp_path, f"LoadModule ssl_module x\n<{condition}>\nSSLUseStapling on\n</{kind}>\n")
    assert [d.condition for d in tree.directives] == ([(condition,)] if taken else [])
    assert all(d.certain for d in tree.directives)


@pytest.mark.parametrize(
    "condition",
    ["IfModule ssl_module", "IfDefine NEVER", "IfVersion >= 2.4", "IfDirective SSLEngine", "IfSection Proxy"],
)
def test_what_cannot_be_known_is_uncertain(tmp_path: Path, condition: str) -> None:
    text = f"<{condition}>\nSSLUseStapling on\n</{condition.split()[0]}>\nSSLUseStapling off\n"
    tree = read(tmp_path, text, binary=Binary())
    assert [d.certain for d in tree.directives] == [False, True]


def test_a_module_counts_from_where_it_is_loaded(tmp_path: Path) -> None:
    text = "<IfModule a_module>\nSSLUseStapling on\n</IfModule>\n"
    tree = read(tmp_path, text + "LoadModule a_module x\n" + text)
    assert stapling(tree) == [("httpd.conf", 6, "on")]


def test_lines_are_counted_through_continuations(tmp_path: Path) -> None:
    text = "# one \\\n SSLUseStapling on\n\nSSLUse\\\nStapling \\\r\n  off\nSSLUseStapling on"
    assert stapling(read(tmp_path, text)) == [("httpd.conf", 4, "off"), ("httpd.conf", 7, "on")]


def test_a_nul_byte_ends_its_line(tmp_path: Path) -> None:
    assert stapling(read(tmp_path, b"SSLUseStapling off\0 \\\nSSLUseStapling on\n")) == [
        ("httpd.conf", 1, "off"),
        ("httpd.conf", 2, "on"),
    ]


def test_long_idle_sections_are_not_lost(tmp_path: Path) -> None:
    idle = "<IfModule so_module>\n" + "Idle line\n" * 500 + "</IfModule>\n"
    text = idle + "<IfModule so_module>\n" + idle + "SSLUseStapling on\n" + "</IfModule>\n" + idle
    assert stapling(read(tmp_path, text)) == [("httpd.conf", 1 + 502 + 1 + 502, "on")]


def test_nested_sections_that_are_skipped_end_where_they_end(tmp_path: Path) -> None:
    inner = "<IfModule so_module>\nSSLUseStapling on\n</IfModule>\n"
    text = f"<IfModule nope>\n{inner}{inner}</IfModule>\nSSLUseStapling off\n"
    assert stapling(read(tmp_path, text)) == [("httpd.conf", 9, "off")]


def test_macros_are_expanded_where_they_are_used(tmp_path: Path) -> None:
    text = (
        "<Macro Site $name $state>\n<VirtualHost *:443>\nServerName $name\nSSLUseStapling $state\n</VirtualHost>\n"
        "</Macro>\nUse Site one.test on\nUse site two.test off\nUse nothing\n"
    )
    tree = read(tmp_path, text)
    assert [(v.server_name, v.stapling.value if v.stapling else "") for v in tree.vhosts] == [
        ("one.test", "on"),
        ("two.test", "off"),
    ]


def test_a_macro_that_uses_itself_is_a_finding(tmp_path: Path) -> None:
    tree = read(tmp_path, "<Macro A>\nUse A\nUse A\n</Macro>\nUse A\nSSLUseStapling on\n")
    assert codes(tree) == ["include-loop", "include-loop"]
    assert stapling(tree) == [("httpd.conf", 6, "on")]


def test_a_variable_that_doubles_stays_small(tmp_path: Path) -> None:
    tree = read(tmp_path, "Define X xx\n" + "Define X ${X}${X}\n" * 200 + "Listen ${X}\n")
    assert len(tree.listen[0]) == MAX_WORD


def test_macros_that_multiply_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ocsp_stapling.apache.config.MAX_STATEMENTS", 10_000)
    macros = "".join(f"<Macro m{i} $a>\n" + f"Use m{i + 1} $a$a\n" * 10 + "</Macro>\n" for i in range(20))
    tree = read(tmp_path, macros + "Use m0 x\n")
    assert "include-too-much" in codes(tree)


def test_overlay_shows_the_configuration_as_it_would_be(tmp_path: Path) -> None:
    read(tmp_path, "Include d/*.conf\n", d__a__conf="")
    for name, text in (("a.conf", "SSLUseStapling on\n"), ("b.conf", "SSLUseStapling off\n")):
        (tmp_path / "d").mkdir(exist_ok=True)
        (tmp_path / "d" / name).write_text(text)
    layout = layout_at(tmp_path)
    changed = {tmp_path / "d/a.conf": None, tmp_path / "d/z.conf": b"SSLUseStapling On\n"}
    assert stapling(read_config(layout, lambda: BINARY)) == [("a.conf", 1, "on"), ("b.conf", 1, "off")]
    assert stapling(read_config(layout, lambda: BINARY, changed)) == [
        ("b.conf", 1, "off"),
        ("z.conf", 1, "On"),
    ]


def test_our_block_is_recognised(tmp_path: Path) -> None:
    block = apply(b"SSLUseStapling on\n", ["<IfModule so_module>", "SSLUseStapling Off", "</IfModule>"])
    tree = read(tmp_path, block + b"SSLUseStapling on\n")
    assert [(d.value, d.managed) for d in tree.directives] == [("on", False), ("Off", True), ("on", False)]
    assert [(b.begin, b.end) for b in tree.managed] == [(2, 6)]


def test_a_block_without_end_is_reported_open(tmp_path: Path) -> None:
    tree = read(tmp_path, "# BEGIN OCSP Stapling for WHM\nSSLUseStapling Off\n")
    assert [(b.begin, b.end) for b in tree.managed] == [(1, None)]


def test_settings_of_the_server_are_kept(tmp_path: Path) -> None:
    text = "User nobody\nGroup nogroup\nPidFile run/x.pid\nListen 0.0.0.0:443\nListen [::]:443 https\nTimeout 300\n"
    tree = read(tmp_path, text)
    assert (tree.user, tree.group, tree.timeout) == ("nobody", "nogroup", 300)
    assert tree.pid_file == tmp_path / "run/x.pid"
    assert tree.listen == ("0.0.0.0:443", "[::]:443 https")


def test_an_include_is_found_under_its_old_name(tmp_path: Path) -> None:
    (tmp_path / "old").symlink_to("d")
    tree = read(tmp_path, "Include old/a.conf\n", d__a="")
    assert not tree.reads(tmp_path / "d/a.conf")
    (tmp_path / "d/a.conf").write_text("")
    tree = read_config(layout_at(tmp_path), lambda: BINARY)
    assert tree.reads(tmp_path / "d/a.conf")
    assert tree.reads(tmp_path / "old/a.conf")


PIECES = st.sampled_from(
    [
        b"SSLUseStapling",
        b" on",
        b"\n",
        b"\\\n",
        b"\r\n",
        b"\0",
        b'"',
        b"'",
        b"${X}",
        b"<IfModule so_module>",
        b"</IfModule>",
        b"<IfVersion >= 2>",
        b"<VirtualHost *:443>",
        b"</VirtualHost>",
        b"<Macro m $a>",
        b"</Macro>",
        b"Use m x",
        b"Include *.c",
        b"IncludeOptional [",
        b"Define X ${X}${X}",
        b"UnDefine",
        b"ServerRoot sub",
        b"LoadModule",
        b"ServerName",
        b"SSLCertificateFile x",
        b"Listen",
        b"# BEGIN OCSP Stapling for WHM",
        b"# END OCSP Stapling for WHM",
        b"#",
        b">",
        b"\xff\xfe",
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(PIECES, PIECES, st.binary(max_size=8)), max_size=60).map(b"".join))
def test_no_bytes_make_it_fail(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    base = tmp_path_factory.mktemp("fuzz")
    tree = read(base, content)
    assert tree.files[0] == base / "conf/httpd.conf"
    lines = content.count(b"\n") + 1
    assert all(1 <= directive.line <= lines for directive in tree.directives)


def test_httpd_is_asked_once_and_only_where_a_condition_hangs_on_it(tmp_path: Path) -> None:
    asked: list[Binary] = []

    def ask() -> Binary:
        asked.append(BINARY)
        return BINARY

    read(tmp_path, "LoadModule ssl_module x.so\n<IfModule ssl_module>\nSSLUseStapling on\n</IfModule>\n")
    assert read_config(layout_at(tmp_path), ask).last("SSLUseStapling")
    assert not asked
    read(
        tmp_path,
        "<IfModule http_core.c>\nSSLUseStapling on\n</IfModule>\n<IfVersion >= 2.4>\nListen 1\n</IfVersion>\n",
    )
    tree = read_config(layout_at(tmp_path), ask)
    assert tree.last("SSLUseStapling")
    assert tree.listen == ("1",)
    assert len(asked) == 1


PARTS = ("Directory /home/one", "FilesMatch x$", "Location /a", "Proxy *", 'If "true"', "MDomain a.test")


@pytest.mark.parametrize("section", PARTS)
def test_what_holds_for_a_part_decides_nothing_for_the_server_or_a_site(tmp_path: Path, section: str) -> None:
    """A LogLevel of one directory hides no staple's error; mod_md that staples one domain staples no other."""
    inside = f"<{section}>\n<IfModule core.c>\nLogLevel crit\n</IfModule>\nMDStapling on\nInclude more\n"
    inside += f"SSLCACertificateFile conf/clients.pem\n</{section.split()[0]}>\n"
    host = "<VirtualHost *:443>\nSSLEngine on\nSSLCertificateFile conf/a.pem\n"
    conf = f"LogLevel warn\n{inside}{host}{inside}ServerName a.test\n</VirtualHost>\nMDStapling off\n"
    tree = read(tmp_path, conf, more="LogLevel emerg\n")
    assert [
        (line.name, line.value) for line in tree.directives if line.name in ("LogLevel", "MDStapling")
    ] == [
        ("LogLevel", "warn"),
        ("MDStapling", "off"),
    ]
    (vhost,) = tree.vhosts
    assert (vhost.server_name, vhost.trusted_file) == ("a.test", None)
    assert tree.reads(tmp_path / "more")
