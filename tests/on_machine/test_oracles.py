"""Other makers' programs look at the same sites: they see the staple that `check` saw, and wait as long."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.machine import Machine, Shape, why_not_here
from tests.machine.pki import AuthorityKeys, pem
from tests.machine.shape import SERVER_V4
from tests.on_machine.admin import RESTART, call

pytestmark = pytest.mark.machine
SITE = "site0001.example.test"
CHECK_HTTP = "/usr/lib/nagios/plugins/check_http"
ORACLES = {
    "openssl": ("openssl", "s_client", "-status", "-connect", f"{SERVER_V4}:443", "-servername", SITE),
    "gnutls-cli": (
        "gnutls-cli",
        "-V",
        "--no-ca-verification",
        f"--sni-hostname={SITE}",
        "-p",
        "443",
        SERVER_V4,
    ),
    "sslscan": (
        *("sslscan", "--ocsp", "--no-colour", "--no-ciphersuites", "--no-heartbleed", "--no-fallback"),
        *("--no-groups", "--no-compression", "--no-renegotiation", "--no-check-certificate"),
        *("--tls12", f"--sni-name={SITE}", f"{SERVER_V4}:443"),
    ),
}
ROOT = "/root/authority.pem"
TESTSSL = (
    *("testssl", "--quiet", "--color", "0", "--warnings", "off", "--nodns", "none"),
    # It looks into a staple only where it trusts the certificate.
    *("--add-ca", ROOT),
    *("--server-defaults", "--ip", SERVER_V4, f"https://{SITE}:443"),
)
MONITOR = (CHECK_HTTP, "-H", SITE, "-I", SERVER_V4, "-S", "--sni")
needs = {name: pytest.mark.skipif(not shutil.which(name), reason=f"needs {name}") for name in ORACLES}
each_oracle = pytest.mark.parametrize("name", [pytest.param(name, marks=needs[name]) for name in ORACLES])


@pytest.fixture(scope="module")
def shared() -> Iterator[Machine]:
    if reason := why_not_here():
        pytest.skip(reason)
    with Machine(Shape(sites=1, cas=1, v6=0, extras=False)) as machine:
        yield machine


def look(machine: Machine, name: str) -> tuple[str, float]:
    """Return the certificate's status in the staple as that program prints it ("" without one), and its seconds."""
    begin = time.monotonic()
    done = machine.run(*ORACLES[name], check=False, input="")
    found = re.search(r"Cert(?:ificate)? Status: (\w+)", done.stdout)
    return found[1] if found else "", time.monotonic() - begin


@pytest.fixture(scope="module")
def judged(shared: Machine) -> Callable[[str], dict[str, Any]]:
    """What `check` says of the site under a fault: asked once each, and the machine is left under the last one."""
    known: dict[str, dict[str, Any]] = {}
    now = [""]

    def judge(kind: str) -> dict[str, Any]:
        if now != [kind]:
            shared.heal()
            if kind != "healthy":
                shared.fault("all", kind)
            shared.run(RESTART, "--hard")
            now[:] = [kind]
        if kind not in known:
            known[kind] = call(shared, "check", "--json").document
        return known[kind]

    return judge


def asked(found: dict[str, Any]) -> dict[str, Any]:
    """The handshake with the site that asked for a staple."""
    return next(each for each in found["handshakes"] if each["asked"])


@each_oracle
@pytest.mark.parametrize(("kind", "status"), [("healthy", "good"), ("revoked", "revoked")])
def test_the_staple_they_see_is_the_one_check_saw(
    shared: Machine, judged: Callable[[str], dict[str, Any]], kind: str, status: str, name: str
) -> None:
    assert asked(judged(kind))["staple"] == status
    assert look(shared, name)[0] == status


@each_oracle
def test_they_wait_as_long_as_check_says_visitors_do(
    shared: Machine, judged: Callable[[str], dict[str, Any]], name: str
) -> None:
    found = judged("hang")
    assert (found["severity"], found["exit_status"]) == ("stalling", 2)
    status, seconds = look(shared, name)
    assert status == ""
    assert 2.5 < seconds < 9, (
        "one visitor waits for one time-out; several handshakes of one program, for several"
    )


@pytest.mark.long
@pytest.mark.skipif(not shutil.which("testssl"), reason="needs testssl (testssl.sh)")
@pytest.mark.parametrize(("kind", "said"), [("healthy", "offered, not revoked"), ("hang", "not offered")])
def test_testssl_says_of_the_staple_what_check_says(
    shared: Machine, judged: Callable[[str], dict[str, Any]], kind: str, said: str
) -> None:
    found = judged(kind)
    assert (asked(found)["staple"], found["severity"]) == (
        ("good", "none") if kind == "healthy" else (None, "stalling")
    )
    keys = AuthorityKeys.load(shared.authorities[0], shared.path("/run/machine/pki"))
    shared.path(ROOT).write_bytes(pem(keys.root))
    printed = shared.run(*TESTSSL, check=False, timeout=280).stdout
    line = re.search(r"OCSP stapling +(.*)", printed)
    assert line, printed
    assert line[1].strip() == said


@pytest.mark.skipif(not Path(CHECK_HTTP).exists(), reason="needs check_http (monitoring-plugins-basic)")
def test_a_monitor_that_asks_for_no_staple_finds_everything_in_order_meanwhile(
    shared: Machine, judged: Callable[[str], dict[str, Any]]
) -> None:
    assert judged("hang")["exit_status"] == 2
    begin = time.monotonic()
    done = shared.run(*MONITOR)
    assert done.stdout.startswith("HTTP OK")
    assert time.monotonic() - begin < 2


@pytest.mark.skipif(not shutil.which("promtool"), reason="needs promtool (Debian: prometheus)")
def test_promtool_accepts_the_metrics_of_a_real_outage_and_they_say_the_same(
    shared: Machine, judged: Callable[[str], dict[str, Any]]
) -> None:
    waited = max(each["seconds"] for each in judged("hang")["handshakes"] if each["asked"])
    printed = shared.run("ocsp-stapling", "metrics").stdout
    checked = shared.run("promtool", "check", "metrics", input=printed, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")
    found = re.search(
        r'^ocsp_stapling_handshake_seconds\{.*status_request="yes"\} ([\d.]+)$', printed, re.MULTILINE
    )
    assert found, printed
    assert float(found[1]) == pytest.approx(waited, abs=0.01)
