"""What WHM's API does not do is said in words for people, not by the name of its function."""

from __future__ import annotations

from pathlib import Path

import pytest

from ocsp_stapling.problem import Problem
from ocsp_stapling.whm import api


@pytest.mark.parametrize(
    ("script", "code", "told"),
    [
        ("""echo '{"metadata": {"result": 0, "reason": "No such service."}}'""", "whmapi-failed",
         "WHM's API refused to restart Apache: No such service."),
        ("echo '<html>'; exit 3", "whmapi-failed",
         "WHM's API refused to restart Apache: it printed something else than an answer (exit status 3)."),
        ("sleep 60", "whmapi-timeout", "WHM's API was asked to restart Apache and did not answer within 1 seconds."),
    ],
)  # fmt: skip
def test_a_restart_that_whm_does_not_make_is_told_plainly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, code: str, told: str
) -> None:
    program = tmp_path / "whmapi1"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(api, "WHMAPI1", program)
    with pytest.raises(Problem) as caught:
        api.restart_httpd(1 if code == "whmapi-timeout" else 60)
    assert (caught.value.code, caught.value.sentence) == (code, told)
