"""Every fault of the machine, in every variant that makes sense, is told rightly: cause, severity, action."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.machine import Machine, Shape, nginx
from tests.machine.ea4 import TLS
from tests.machine.pki import AuthorityKeys, combined, new_rsa_key
from tests.on_machine.admin import userdata, write
from tests.on_machine.fault_matrix import ELSEWISE, Cell, Elsewise, as_markdown, cells, check_complete

RESTART = "/usr/local/cpanel/scripts/restartsrv_httpd"
REBUILD = "/usr/local/cpanel/scripts/rebuildhttpdconf"
BETAS = "site0002.example.test"
DOCUMENT = Path(__file__).resolve().parents[2] / "docs/diagnosis.md"


@pytest.fixture(scope="module")
def whole() -> Iterator[Machine]:
    """One machine for all cells: starting it costs as much as a cell."""
    with Machine(Shape(sites=3)) as started:
        yield started


def mark(cell: Cell) -> Any:
    marks = [pytest.mark.machine, *([] if cell.in_ci else [pytest.mark.long])]
    return pytest.param(cell, id=str(cell), marks=marks)


@pytest.mark.parametrize("cell", [mark(cell) for cell in cells()])
def test_the_fault_is_told_by_cause_severity_and_action(whole: Machine, cell: Cell) -> None:
    whole.heal()
    whole.run(RESTART, "--stop")
    whole.run(RESTART, "--start")  # with no staple in its cache
    whole.fault("alpha" if cell.who == "one" else "all", cell.kind, cell.address, cell.user)

    found = json.loads(whole.run("ocsp-stapling", "check", "--json", check=False).stdout)

    expected = (cell.cause, cell.severity, cell.action)
    assert (found["cause"], found["severity"], found["advice"]) == expected, found["sentence"]
    if cell.severity == "stalling":
        assert found["afterwards"] == cell.remedy
    concerned = {"site0001.example.test", "muststaple.example.test"}
    others = {"site0002.example.test", "site0003.example.test"} if cell.who == "all" else set()
    assert set(found["sites_causing"]) == concerned | others
    if cell.severity == "stalling":
        # Each that staples; the one whose certificate names no responder never waits.
        assert (len(found["sites_waiting"]), found["site_count"]) == (4, 5)
    assert found["must_staple_sites"] == ["muststaple.example.test"]
    assert found["problems"] == []


@pytest.fixture(scope="module")
def other() -> Iterator[Machine]:
    """One machine for all other shapes."""
    with Machine(Shape()) as started:
        yield started


@contextmanager
def small_cache(machine: Machine) -> Iterator[None]:
    conf = machine.path("/etc/apache2/conf/httpd.conf")
    before = conf.read_text()
    conf.write_text(before.replace("(256000)", "(8192)"))
    try:
        yield
    finally:
        conf.write_text(before)


@contextmanager
def behind_nginx(machine: Machine) -> Iterator[None]:
    nginx.put_in_front(machine)
    try:
        yield
    finally:
        machine.run("nginx", "-s", "stop")
        machine.path(nginx.CPANEL_CONFIG).unlink()
        machine.run(REBUILD)


@contextmanager
def two_certificates(machine: Machine) -> Iterator[None]:
    """A site of beta's has one of alpha's, too, for clients of another kind."""
    alpha, key = AuthorityKeys.load(machine.authorities[0], machine.path("/run/machine/pki")), new_rsa_key()
    second = combined(alpha.certificate(machine.sites[1], key), key, alpha.issuer)
    write(machine, f"{TLS}/{BETAS}/rsa", second, 0o640)
    userdata(machine, BETAS, f"SSLCertificateFile {TLS}/{BETAS}/rsa\n", "rsa.conf")
    try:
        yield
    finally:
        machine.path(f"/etc/apache2/conf.d/userdata/ssl/2_4/user0002/{BETAS}/rsa.conf").unlink()
        machine.run(REBUILD)


SHAPED = {"small-cache": small_cache, "nginx": behind_nginx, "two-certificates": two_certificates}
NO_NGINX = pytest.mark.skipif(not shutil.which("nginx", path="/usr/sbin"), reason="nginx is missing")


@pytest.mark.machine
@pytest.mark.parametrize(
    "one",
    [pytest.param(one, id=str(one), marks=NO_NGINX if one.shape == "nginx" else ()) for one in ELSEWISE],
)
def test_a_server_of_another_shape_is_told_so(other: Machine, one: Elsewise) -> None:
    with SHAPED[one.shape](other):
        other.run(RESTART, "--stop")
        other.run(RESTART, "--start")
        if one.kind:
            other.fault("alpha" if one.who == "one" else "all", one.kind)
        found = json.loads(other.run("ocsp-stapling", "check", "--json", check=False).stdout)
        other.heal()

    told = (found["cause"], found["severity"], found["advice"], found["afterwards"])
    assert told == (one.cause, one.severity, one.action, one.afterwards or "nothing"), found["sentence"]
    assert (BETAS in found["sites_causing"]) == (one.shape == "two-certificates")


def test_the_matrix_has_every_fault_of_the_machine() -> None:
    check_complete()


def test_the_published_matrix_is_the_tested_one() -> None:
    assert as_markdown() in DOCUMENT.read_text(), "run: python -m tests.on_machine.fault_matrix"
