from __future__ import annotations

from pathlib import Path

import pytest

from ocsp_stapling.apache.layout import read_layout
from ocsp_stapling.problem import Problem


def written(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "paths.conf"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_every_path_comes_from_paths_conf(tmp_path: Path) -> None:
    text = (
        "# EasyApache 4\n\nbin_httpd = /opt/a/httpd \r\ndir_base=/opt/a\n"
        "dir_conf_includes=/opt/a/inc\ndir_conf_userdata=/opt/a/ud\ndir_run=/opt/a/run\n"
        "file_conf=/opt/a/httpd.conf\nfile_error_log=/opt/a/err\nsomething_new=x y z"
    )
    layout = read_layout(written(tmp_path, text))
    assert layout.base == Path("/opt/a")
    assert layout.conf == Path("/opt/a/httpd.conf")
    assert layout.includes == Path("/opt/a/inc")
    assert layout.userdata == Path("/opt/a/ud")
    assert layout.run_dir == Path("/opt/a/run")
    assert layout.error_log == Path("/opt/a/err")
    assert layout.httpd == Path("/opt/a/httpd")
    assert layout.pre_virtualhost_files == (
        Path("/opt/a/inc/pre_virtualhost_global.conf"),
        Path("/opt/a/inc/pre_virtualhost_2.conf"),
    )


def test_missing_keys_have_easyapache_4_defaults(tmp_path: Path) -> None:
    layout = read_layout(written(tmp_path, "dir_base=\n"))
    assert layout.base == Path("/etc/apache2")
    assert layout.conf == Path("/etc/apache2/conf/httpd.conf")
    assert layout.includes == Path("/etc/apache2/conf.d/includes")
    assert layout.httpd == Path("/usr/sbin/httpd")


def test_native_switch_lies_beside_paths_conf(tmp_path: Path) -> None:
    assert read_layout(written(tmp_path, "")).ea4_conf == tmp_path / "ea4.conf"


def test_without_paths_conf_this_is_no_cpanel_server(tmp_path: Path) -> None:
    with pytest.raises(Problem) as caught:
        read_layout(tmp_path / "none" / "paths.conf")
    assert caught.value.code == "no-cpanel"
    assert "not a cPanel server" in caught.value.sentence


def test_a_directory_in_its_place_is_a_plain_problem(tmp_path: Path) -> None:
    with pytest.raises(Problem) as caught:
        read_layout(tmp_path)
    assert caught.value.code == "bad-paths-conf"


@pytest.mark.parametrize(
    "line",
    [
        b"bin_httpd=httpd",
        b"bin_httpd=./httpd",
        b"file_conf=/etc/../tmp/httpd.conf",
        b"dir_base=/etc/apache2\x00/tmp",
        b"dir_base=/etc/\x1b[2Japache2",
        b"dir_base=/" + b"a" * 5000,
        b"dir_base=/\xff\xfe",
        b"x" * 100_000,
    ],
)
def test_relative_or_hostile_values_are_refused(tmp_path: Path, line: bytes) -> None:
    with pytest.raises(Problem) as caught:
        read_layout(written(tmp_path, line + b"\n"))
    assert caught.value.code == "bad-paths-conf"
