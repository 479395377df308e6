from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ocsp_stapling.cli import sites as face
from ocsp_stapling.problem import Problem
from ocsp_stapling.server import state as server
from ocsp_stapling.settings import Settings
from tests.bench.certificate_files import URL, make_combined_files
from tests.unit.apache.real_apache import layout_at

VHOST = """
<VirtualHost 192.0.2.1:443>
  ServerName {name}
  ServerAlias www.{name}
  SSLEngine on
  SSLCertificateFile {file}
</VirtualHost>
"""


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    first, second = make_combined_files(tmp_path / "tls", 2)
    files = {"one.test": first, "two.test": second, "broken.test": tmp_path / "none"}
    conf = tmp_path / "conf/httpd.conf"
    conf.parent.mkdir()
    conf.write_text("SSLUseStapling on\n" + "".join(VHOST.format(name=n, file=f) for n, f in files.items()))
    monkeypatch.setattr(server, "read_layout", lambda: layout_at(tmp_path))
    monkeypatch.setattr(server, "read_owners", lambda: {"one.test": "anna"})
    monkeypatch.setattr("ocsp_stapling.settings.load", lambda: Settings(state_directory=tmp_path / "state"))
    return tmp_path


def run(*args: str) -> Result:
    return CliRunner().invoke(face.sites, args)


def document(*args: str) -> dict[str, Any]:
    done = run("--json", *args)
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    assert isinstance(found, dict)
    return found


def test_every_site_is_listed_with_its_certificate(base: Path) -> None:
    found = document()
    assert [site["name"] for site in found["sites"]] == ["one.test", "two.test", "broken.test"]
    first = found["sites"][0]
    assert (first["owner"], first["authority"], first["responder"]) == ("anna", "Bench CA", URL)
    assert (first["stapling"], first["must_staple"], first["chain_complete"]) == ("on", False, True)
    assert first["listeners"] == [{"address": "192.0.2.1", "port": 443}]
    assert first["not_after"].endswith("+00:00")
    assert found["sites"][2]["finding_codes"] == ["certificate-missing"]
    assert found["groups"] == [
        {
            "authority": "Bench CA",
            "responder": URL,
            "site_count": 2,
            "must_staple_count": 0,
            "stapling_count": 2,
        }
    ]


def test_sites_can_be_chosen(base: Path) -> None:
    assert document("WWW.two.test")["site_count"] == 1
    assert document("--ca", "BENCH")["site_count"] == 2
    assert document("--ca", "bench-ca.test")["site_count"] == 2
    assert document("--ca", "Other")["sites"] == []
    assert document("--must-staple")["site_count"] == 0


def test_an_unknown_name_is_a_problem(base: Path) -> None:
    done = run("nope.test")
    assert isinstance(done.exception, Problem)
    assert done.exception.code == "no-such-site"


def test_people_see_a_table(base: Path) -> None:
    text = run().output
    assert "3 TLS sites" in text
    assert URL in text
    assert "certificate-missing" in text
    assert run("--must-staple").output == "None of 3 TLS sites fits.\n"


def test_no_key_is_ever_printed(base: Path) -> None:
    key = (base / "tls").glob("*/combined").__next__().read_text().splitlines()[1]
    assert key not in run().output + run("--json").output
