"""The managed block: what is ours comes and goes, everything else stays byte for byte."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocsp_stapling.apache import managed_block
from ocsp_stapling.problem import Problem

LINES = ["# Turned off.", "<IfModule ssl_module>", "    SSLUseStapling Off", "</IfModule>"]
FOREIGN = [
    b"",
    b"SSLUseStapling on",
    b"SSLUseStapling on\r\n# a Windows editor\r\n",
    b"# no line end at the end",
    b"# continued \\",
    b"# continued \\\n",
    b"# continued \\\r\n",
    b"# continued \\\n\n",
    b"\n\n\n",
    b"\xff\xfe\x00 bytes \x00\n",
    b"LogLevel warn\n" * 70_000,
]
marker_free = st.binary(max_size=400).filter(lambda b: b"OCSP Stapling for WHM" not in b)
edgy = st.lists(st.sampled_from([b"\n", b"\r\n", b"\\", b"#", b"x", b" ", b"\x00"]), max_size=12).map(
    b"".join
)


@pytest.mark.parametrize("foreign", FOREIGN, ids=range(len(FOREIGN)))
def test_apply_then_remove_gives_back_every_byte(foreign: bytes) -> None:
    assert managed_block.remove(managed_block.apply(foreign, LINES)) == foreign


@given(marker_free | edgy)
def test_apply_then_remove_is_the_identity_on_any_bytes(foreign: bytes) -> None:
    assert managed_block.remove(managed_block.apply(foreign, LINES)) == foreign


@given(marker_free | edgy)
def test_apply_is_idempotent(foreign: bytes) -> None:
    once = managed_block.apply(foreign, LINES)
    assert managed_block.apply(once, LINES) == once


@given(marker_free | edgy, marker_free | edgy)
def test_text_added_after_the_block_is_kept_and_never_joined_to_the_text_before(
    one: bytes, two: bytes
) -> None:
    edited = managed_block.apply(one, LINES) + two
    rest = managed_block.remove(edited)
    assert rest.startswith(one)
    assert rest.endswith(two)
    if one and two and not one.endswith(b"\n"):
        assert rest[len(one) : len(one) + 1] == b"\n"


@given(marker_free | edgy)
def test_the_block_is_always_at_the_end_and_readable_again(foreign: bytes) -> None:
    found = managed_block.find(managed_block.apply(foreign, LINES))
    assert found is not None
    assert found.after == b""
    assert found.body.decode().splitlines() == LINES


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace(managed_block.END, b"# END"),
        lambda text: text.replace(managed_block.BEGIN, b"# BEGIN"),
        lambda text: text + text,
        lambda text: managed_block.END + b"\n" + text.replace(managed_block.END + b"\n", b""),
        lambda text: text.replace(managed_block.BEGIN, b"  # BEGIN OCSP Stapling for WHM"),
    ],
    ids=["no end", "no begin", "twice", "end before begin", "begin indented"],
)
def test_damaged_markers_are_refused(damage) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(Problem) as caught:
        managed_block.find(damage(managed_block.apply(b"# foreign\n", LINES)))
    assert caught.value.code == "block-damaged"


@pytest.mark.skipif(not Path("/usr/sbin/apache2").exists(), reason="needs Debian's apache2")
@pytest.mark.parametrize("foreign", FOREIGN[:9], ids=range(9))
def test_httpd_sees_the_directive_whatever_stands_before_it(foreign: bytes, tmp_path: Path) -> None:
    """A directive that httpd must refuse proves that it is read, and not swallowed by a continued line."""
    foreign = foreign.replace(b"SSLUseStapling on", b"LogLevel warn")
    include = tmp_path / "include.conf"
    include.write_bytes(managed_block.apply(foreign, ["NoSuchDirectiveAnywhere on"]))
    conf = tmp_path / "httpd.conf"
    modules = "/usr/lib/apache2/modules"
    load = f"LoadModule mpm_event_module {modules}/mod_mpm_event.so"
    conf.write_text(f'ServerRoot "{tmp_path}"\n{load}\nServerName x\nInclude "{include}"\n')
    done = subprocess.run(
        ["/usr/sbin/apache2", "-t", "-f", str(conf)], capture_output=True, text=True, check=False
    )
    assert "NoSuchDirectiveAnywhere" in done.stderr
