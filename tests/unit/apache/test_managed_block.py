"""The lines of a block: readable again, whatever people write into their reasons."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocsp_stapling.apache import managed_block
from tests.unit.change.made import NOON


@given(st.text(max_size=400), st.text(max_size=100))
def test_no_reason_and_no_name_breaks_out_of_its_comment(reason: str, who: str) -> None:
    lines = managed_block.off_block(who, reason, NOON)
    assert all("\n" not in line and "\r" not in line for line in lines)
    assert not any(line.startswith("#") and line.endswith("\\") for line in lines)
    outside = [line for line in lines if not line.startswith("#")]
    assert outside == ["<IfModule ssl_module>", "    SSLUseStapling Off", "</IfModule>"]
    found = managed_block.find(managed_block.apply(b"", lines))
    assert found is not None


def test_the_note_can_be_read_back() -> None:
    lines = managed_block.off_block("alice (sudo)", "CA: down since 9", NOON)
    note = managed_block.read_note("\n".join(lines))
    assert note == {
        "what": "off",
        "when": "2026-03-01 12:00:00 +0000",
        "who": "alice (sudo)",
        "reason": "CA: down since 9",
    }
    assert managed_block.read_note("# somebody rewrote this") == {}


@pytest.mark.skipif(not Path("/usr/sbin/apache2").exists(), reason="needs Debian's apache2")
@pytest.mark.parametrize(
    "reason", ["a \\", "</IfModule>", "${HOME}", "# BEGIN OCSP Stapling for WHM", "ä\u2028b"]
)
def test_httpd_accepts_the_block_whatever_the_reason(reason: str, tmp_path: Path) -> None:
    include = tmp_path / "include.conf"
    include.write_bytes(managed_block.apply(b"", managed_block.off_block("root", reason, NOON)))
    conf = tmp_path / "httpd.conf"
    modules = "/usr/lib/apache2/modules"
    load = (
        f"LoadModule mpm_event_module {modules}/mod_mpm_event.so\nLoadModule ssl_module {modules}/mod_ssl.so"
    )
    shmcb = f"LoadModule socache_shmcb_module {modules}/mod_socache_shmcb.so"
    conf.write_text(
        f'ServerRoot "{tmp_path}"\nErrorLog "{tmp_path}/log"\n{load}\n{shmcb}\nServerName x\nInclude "{include}"\n'
    )
    done = subprocess.run(
        ["/usr/sbin/apache2", "-t", "-f", str(conf)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
