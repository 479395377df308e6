"""Sections of every kind in every spelling, negated, quoted and not: entered or skipped as the real httpd does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ocsp_stapling.apache.config import read_config
from tests.unit.apache.real_apache import binary, dump_config, head, layout_at, needs_apache

# What is so and what is not; `${SO}` and `${NOT}` stand for them.
WORDS = {
    "IfModule": ("ssl_module", "nope_module"),
    "IfDefine": ("GIVEN", "MISSING"),
    "IfVersion": (">= 2.4", "< 2.4"),
    "IfFile": ("conf/httpd.conf", "conf/none"),
    "IfDirective": ("SSLUseStapling", "SSLNoSuchThing"),
    "IfSection": ("VirtualHost", ""),
}
SPELLINGS = ("{}", "{} ", " {} ", "!{}", "! {}", '"{}"', "'{}'", '"{}', '!"{}"', '!"{}" ', '"!{}"', "!!{}")
OTHERS = {
    "IfModule": (
        *("mod_ssl.c", "mod_ssl", "mod_ssl.C", "SSL_module", '"mod_ssl.c"', "!mod_ruid2.c", "!mpm_itk.c"),
        *(
            "event.c",
            "mpm_event_module",
            "prefork.c",
            "core.c",
            "http_core.c",
            "so_module",
            "ssl_module more",
        ),
    ),
    "IfDefine": ("given", "${VALUE}", "!${VALUE}"),
    "IfVersion": (
        *("2.4", "2", "= 2.4", "== 2.4.0", "> 2.4.7 ", "!~ 2\\.4", "~ 2\\.4", "/2\\.4/", "= /2\\.4/"),
        *('>= "2.4"', "~ ^2\\.4", "!= 2.4"),
    ),
    "IfFile": ('"conf/httpd.conf"', "!conf/none", "/etc/passwd", "!/etc/passwd", "conf"),
    "IfDirective": ("sslusestapling", "!SSLEngine"),
    "IfSection": ("virtualhost", "Directory", "!Location", "IfModule", "If", "Files"),
}
KINDS = tuple(WORDS)


def arguments(kind: str) -> Iterator[str]:
    spellings = ("{}", " {} ", "!{}") if kind == "IfVersion" else SPELLINGS
    yield from (spelling.format(word) for word in WORDS[kind] if word for spelling in spellings)
    yield from OTHERS[kind]


@needs_apache
@pytest.mark.parametrize("kind", KINDS)
def test_a_section_is_entered_where_httpd_enters_it(kind: str, tmp_path: Path) -> None:
    cases = dict(enumerate(arguments(kind), 1))
    lines = (f"<{kind} {case}>\nSSLStaplingResponderTimeout {i}\n</{kind}>\n" for i, case in cases.items())
    begin = head(tmp_path) + "Define GIVEN\nDefine VALUE GIVEN\n"
    (tmp_path / "conf/httpd.conf").write_text(begin + "".join(lines))
    layout = layout_at(tmp_path)
    taken = dump_config(layout)
    assert taken is not None, "httpd refuses the configuration"
    theirs = {cases[int(one.args)] for one in taken if one.name == "sslstaplingrespondertimeout"}
    tree = read_config(layout, lambda: binary(layout))
    found = [one for one in tree.directives if one.name == "SSLStaplingResponderTimeout"]
    assert {cases[int(one.value)] for one in found} == theirs
    assert [cases[int(one.value)] for one in found if not one.certain] == []
    assert 0 < len(theirs) < len(cases)
