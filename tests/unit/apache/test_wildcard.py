from __future__ import annotations

from pathlib import Path

import pytest

from ocsp_stapling.apache.wildcard import expand, has_wildcard


@pytest.fixture
def base(tmp_path: Path) -> Path:
    for name in (
        "b.conf",
        "B.conf",
        "a.conf",
        ".h.conf",
        "10.conf",
        "9.conf",
        "[x].conf",
        "d/z.conf",
        "d/e/y.txt",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    return tmp_path


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.conf", ["10.conf", "9.conf", "B.conf", "[x].conf", "a.conf", "b.conf"]),
        (".*.conf", [".h.conf"]),
        ("?.conf", ["9.conf", "B.conf", "a.conf", "b.conf"]),
        ("[a-b].conf", ["a.conf", "b.conf"]),
        ("[!a-b].conf", ["9.conf", "B.conf"]),
        ("[^a-b].conf", ["9.conf", "B.conf"]),
        ("[z-a].conf", []),
        ("\\[x].c*", ["[x].conf"]),
        ("[x.conf", ["[x.conf"]),
        ("d", ["d/e/y.txt", "d/z.conf"]),
        ("d/", ["d/e/y.txt", "d/z.conf"]),
        ("*/z.conf", ["d/z.conf"]),
        ("*/missing.conf", ["d/missing.conf"]),
        ("none/*.conf", []),
        ("none.conf", ["none.conf"]),
    ],
)
def test_files_come_as_httpd_takes_them(base: Path, pattern: str, names: list[str]) -> None:
    assert expand(f"{base}/{pattern}") == [f"{base}/{name}" for name in names]


def test_an_overlay_adds_and_removes_files(base: Path) -> None:
    overlay: dict[str, bytes | None] = {
        f"{base}/a.conf": None,
        f"{base}/c.conf": b"",
        f"{base}/d/q.conf": b"",
    }
    assert expand(f"{base}/[a-c].conf", overlay) == [f"{base}/b.conf", f"{base}/c.conf"]
    assert expand(f"{base}/*/q*", overlay) == [f"{base}/d/q.conf"]


def test_brackets_need_both_sides_to_be_a_wildcard() -> None:
    assert has_wildcard("a[b]")
    assert not has_wildcard("a[b")
