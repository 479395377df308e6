"""The manual page that the installer writes."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from ocsp_stapling.cli import COMMANDS, manual


def test_every_command_has_its_section() -> None:
    sections = re.findall(r'^\.SS "([a-z-]+)', manual.page(), re.M)
    assert [name.replace("\\", "") for name in sections] == list(COMMANDS)


def test_no_text_can_be_taken_for_a_request() -> None:
    requests = {line.split()[0] for line in manual.page().splitlines() if line.startswith((".", "'"))}
    assert requests <= {".TH", ".SH", ".SS", ".B", ".I", ".TP", ".PP"}


@pytest.mark.skipif(not shutil.which("groff"), reason="groff is not installed")
def test_groff_has_no_complaint() -> None:
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-z"], input=manual.page(), capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
