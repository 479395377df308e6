from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocsp_stapling.apache import statements
from ocsp_stapling.apache.statements import Statement, resolve, scan, words

NOTHING: dict[bytes, bytes] = {}

LINES = st.lists(
    st.sampled_from(
        [
            b"<IfModule a>",
            b"  <IfDefine b>",
            b"</IfModule>",
            b"\t</IfDefine>",
            b"SSLUseStapling on",
            b"  Idle line",
            b"# comment",
            b"# END OCSP Stapling for WHM",
            b"<Directory />",
            b"</Directory>",
            b"UserDir disabled",
            b"'User' x",
            b"",
        ]
    ),
    max_size=40,
).map(b"\n".join)


def without_idle_pairs(found: list[Statement]) -> list[tuple[bytes, int]]:
    """Drop every section in which nothing stands, for the fast pattern skips those up to some depth."""
    kept: list[tuple[bytes, int]] = []
    for name, _, line, _ in found:
        if name.startswith(b"</if") and kept and kept[-1][0].startswith(b"<if"):
            kept.pop()
        else:
            kept.append((name, line))
    return kept


@given(LINES)
def test_skipping_idle_sections_loses_nothing(text: bytes) -> None:
    slow = []
    for match in statements._LINE.finditer(b"\n" + text):
        written = match[1] or match[3]
        line = (b"\n" + text).count(b"\n", 0, match.start() + 1)
        slow.append((written.lower(), match[2] or b"", line, written))
    assert without_idle_pairs(scan(text)) == without_idle_pairs(slow)


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
