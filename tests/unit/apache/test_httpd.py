from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ocsp_stapling.apache.httpd import Httpd, require_mod_ssl
from ocsp_stapling.problem import Problem
from tests.unit.apache.real_apache import head, layout_at, needs_apache


@needs_apache
def test_a_good_configuration_passes(tmp_path: Path) -> None:
    (tmp_path / "more.conf").write_text("Timeout 5\n")
    text = head(tmp_path) + "Include more.conf\n"
    httpd = Httpd(layout_at(tmp_path))
    httpd.layout.conf.write_text(text)
    assert httpd.configtest().ok
    assert {"ssl_module", "core_module", "mpm_event_module"} <= httpd.modules()
    assert httpd.includes() == (httpd.layout.conf, tmp_path / "more.conf")
    assert httpd.version >= (2, 4, 0)
    assert {"core.c", "mod_so.c"} <= httpd.static_modules
    require_mod_ssl(httpd.modules())


@needs_apache
def test_httpds_own_words_are_kept(tmp_path: Path) -> None:
    text = head(tmp_path) + "Bogus directive\n"
    httpd = Httpd(layout_at(tmp_path))
    httpd.layout.conf.write_text(text)
    test = httpd.configtest()
    assert not test.ok
    assert "Invalid command 'Bogus'" in test.message
    with pytest.raises(Problem) as caught:
        httpd.includes()
    assert caught.value.code == "httpd-failed"
    assert "Bogus" in caught.value.detail


@needs_apache
def test_a_certificate_whose_file_is_gone_is_refused_although_a_dump_accepts_it(tmp_path: Path) -> None:
    httpd = Httpd(layout_at(tmp_path))
    httpd.layout.conf.write_text(head(tmp_path) + f"SSLCertificateFile {tmp_path}/gone.pem\n")
    assert httpd.includes()
    found = httpd.examine()
    assert not found.ok
    assert "gone.pem" in found.message
    assert "ssl_module" in found.modules


@needs_apache
def test_a_server_without_mod_ssl_is_a_plain_problem(tmp_path: Path) -> None:
    text = head(tmp_path, "authz_core")
    httpd = Httpd(layout_at(tmp_path))
    httpd.layout.conf.write_text(text)
    with pytest.raises(Problem) as caught:
        require_mod_ssl(httpd.modules())
    assert caught.value.code == "no-mod-ssl"


def test_a_missing_program_leaves_gaps_only(tmp_path: Path) -> None:
    httpd = Httpd(replace(layout_at(tmp_path), httpd=tmp_path / "httpd"))
    assert not httpd.configtest().ok
    assert httpd.binary().version is None
    with pytest.raises(Problem):
        httpd.modules()


def test_a_program_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ocsp_stapling.apache.httpd.CONFIG_SECONDS", 0.2)
    program = tmp_path / "httpd"
    program.write_text("#!/bin/sh\nexec sleep 600\n")
    program.chmod(0o755)
    test = Httpd(replace(layout_at(tmp_path), httpd=program)).configtest()
    assert not test.ok
    assert "no answer" in test.message
