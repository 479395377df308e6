from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ocsp_stapling.apache.managed_block import apply
from ocsp_stapling.cli import config as face
from ocsp_stapling.problem import Problem
from ocsp_stapling.server import state as server_state
from tests.unit.apache.real_apache import head, layout_at, needs_apache

SSL = """\
<IfModule ssl_module>
  <IfModule socache_shmcb_module>
    SSLUseStapling On
    SSLStaplingCache shmcb:run/stapling(32768)
  </IfModule>
</IfModule>
"""
VHOST = """\
<VirtualHost *:18443>
  ServerName one.test
  SSLUseStapling off
</VirtualHost>
"""
pytestmark = needs_apache


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    includes = tmp_path / "conf.d/includes"
    includes.mkdir(parents=True)
    for name in ("pre_virtualhost_global.conf", "pre_virtualhost_2.conf"):
        (includes / name).write_text("")
    (tmp_path / "ea4.conf").write_text('{"sslusestapling": "On"}')
    text = head(tmp_path) + SSL + "Include conf.d/includes/pre_virtualhost_2.conf\n" + VHOST
    (tmp_path / "conf/httpd.conf").write_text(text)
    monkeypatch.setattr(server_state, "read_layout", lambda: layout_at(tmp_path))
    return tmp_path


def run(*args: str) -> Result:
    return CliRunner().invoke(face.config, args)


def document() -> dict[str, Any]:
    done = run("--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    assert isinstance(found, dict)
    return found


def test_the_document_tells_what_is_in_force_and_why(base: Path) -> None:
    found = document()
    conf = str(base / "conf/httpd.conf")
    assert found["stapling"] == "on"
    assert (found["decided_by"]["file"], found["origin"]) == (conf, "template")
    assert found["decided_by"]["text"] == "SSLUseStapling On"
    assert found["cache"]["value"] == "shmcb:run/stapling(32768)"
    assert [(o["site"], o["stapling"], o["origin"]) for o in found["overrides"]] == [
        ("one.test", "off", "hand-written")
    ]
    assert [(Path(i["path"]).name, i["exists"], i["read"], i["has_block"]) for i in found["includes"]] == [
        ("pre_virtualhost_global.conf", True, False, False),
        ("pre_virtualhost_2.conf", True, True, False),
    ]
    assert found["native_switch"]["stapling"] == "on"
    assert found["configtest"]["ok"] is True
    assert found["findings"] == []


def test_our_block_decides(base: Path) -> None:
    file = base / "conf.d/includes/pre_virtualhost_2.conf"
    file.write_bytes(apply(b"", ["SSLUseStapling Off"]))
    found = document()
    assert found["stapling"] == "off"
    assert found["origin"] == "managed-block"
    assert found["block"] == {"present": True, "places": [{"file": str(file), "begin": 1, "end": 3}]}
    in_force = [d["line"] for d in found["directives"] if d["name"] == "SSLUseStapling" and d["in_force"]]
    assert in_force == [2, found["overrides"][0]["line"]]


def test_people_see_the_deciding_line(base: Path) -> None:
    text = run().output
    assert "Stapling is ON" in text
    assert f"{base}/conf/httpd.conf:" in text
    assert "one.test" in text
    assert "\x1b" not in text


def test_a_configuration_that_httpd_refuses_is_still_shown(base: Path) -> None:
    with (base / "conf/httpd.conf").open("a") as file:
        file.write("Bogus\n")
    found = document()
    assert found["configtest"]["ok"] is False
    assert "Bogus" in found["configtest"]["detail"]
    assert found["stapling"] == "on"
    assert "Bogus" in run().output


def test_a_server_without_mod_ssl_is_a_problem(base: Path) -> None:
    (base / "conf/httpd.conf").write_text(head(base, "authz_core"))
    done = run()
    assert isinstance(done.exception, Problem)
    assert done.exception.code == "no-mod-ssl"


def test_hostile_text_cannot_reach_the_terminal(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (base / "conf/httpd.conf").open("a") as file:
        file.write(
            "<VirtualHost *:18443>\nServerName \x1b]0;evil\x07.test\nSSLUseStapling on\n</VirtualHost>\n"
        )
    monkeypatch.setattr(server_state, "read_layout", lambda: replace(layout_at(base), httpd=base / "none"))
    assert "\x1b" not in run().output
