from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocsp_stapling.apache import statements
from ocsp_stapling.apache.statements import resolve, scan, words

NOTHING: dict[bytes, bytes] = {}

NAMES = {
    b"<IfModule a>": b"<ifmodule",
    b"  <IfDefine b>": b"<ifdefine",
    b"</IfModule>": b"</ifmodule",
    b"\t</IfDefine>": b"</ifdefine",
    b"SSLUseStapling on": b"sslusestapling",
    b"  Idle line": None,
    b"# comment": None,
    b"# END OCSP Stapling for WHM": b"# end ocsp stapling for whm",
    b"<Directory />": b"<directory",
    b"</Directory>": b"</directory",
    b"<Unknown />": None,
    b"</Unknown>": None,
    b"UserDir disabled": None,
    b"'User' x": b"user",
    b"": None,
}
"""Lines, and the name of each that matters."""


def without_idle_sections(lines: list[bytes]) -> list[tuple[bytes, int]]:
    """What matters of the lines, without sections in which nothing does."""
    kept: list[tuple[bytes, int]] = []
    for number, line in enumerate(lines, 1):
        name = NAMES[line]
        if (
            name
            and name.startswith(b"</")
            and kept
            and kept[-1][0] in (b"<ifmodule", b"<ifdefine", b"<directory")
        ):
            kept.pop()
        elif name:
            kept.append((name, number))
    return kept


@given(st.lists(st.sampled_from(list(NAMES)), max_size=40))
def test_what_matters_is_found_without_idle_sections(lines: list[bytes]) -> None:
    assert [(name, line) for name, _, line, _ in scan(b"\n".join(lines))] == without_idle_sections(lines)


def test_lines_are_read_alike_whether_or_not_they_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    text = b"ServerName a\nServerName b\n<IfModule x>\n</IfModule>\nServerName a\n" * 3
    remembered = scan(text)
    monkeypatch.setattr(statements, "_LINES_KEPT", 1)
    assert scan(text) == remembered
    assert len(remembered) == 9


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (b" a  b\tc ", [b"a", b"b", b"c"]),
        (b'"a b" c', [b"a b", b"c"]),
        (b"'a \"b' c", [b'a "b', b"c"]),
        (rb'"a \"b\\" c', [b'a "b\\', b"c"]),
        (rb"a\\b a\b", [rb"a\b", rb"a\b"]),
        (b'"open end', [b"open end"]),
        (b'a"b c"', [b'a"b', b'c"']),
        (b"", []),
        (b'""', [b""]),
        (b"${X}/y ${unknown}", [b"val/y", b"${unknown}"]),
        (b'"${X} z"', [b"val z"]),
    ],
)
def test_words_are_split_as_httpd_does(args: bytes, expected: list[bytes]) -> None:
    assert words(args, {b"X": b"val"}.get) == expected


def test_variables_are_not_replaced_twice() -> None:
    assert resolve(b"${A}${B}", {b"A": b"${B}", b"B": b"x"}.get) == b"${B}x"


@given(st.binary(max_size=200))
def test_any_bytes_are_split(args: bytes) -> None:
    assert b"" not in words(args.replace(b'"', b"").replace(b"'", b""), NOTHING.get)


def test_a_section_nested_by_the_thousand_is_scanned_at_once() -> None:
    text = b"<IfModule a>\n" * 2000 + b"Idle\n" * 20_000 + b"</IfModule>\n" * 2000
    assert len(scan(text)) <= 4000


def test_names_need_an_end() -> None:
    assert [
        name for name, *_ in scan(b"SSLUseStaplingX on\nUserDir x\n'User' y\n<IfModuleX a>\nTimeout\n")
    ] == [
        b"user",
        b"timeout",
    ]
