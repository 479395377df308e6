"""A customer of the machine who means harm: a certificate of their own choice, and visitors without end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from cryptography import x509

from tests.machine import Machine
from tests.machine.machine import REPO
from tests.machine.pki import AuthorityKeys, combined, new_key
from tests.machine.shape import SERVER_V4, SitePlan
from tests.on_machine.admin import REBUILD, RESTART

EVIL = "evil.example.test"
_VISITS = """
import sys, time
sys.path.insert(0, sys.argv[1])
from ocsp_stapling.ocsp.door import Door
from ocsp_stapling.ocsp.staple import handshakes
end = time.monotonic() + 120
while time.monotonic() < end:
    handshakes([Door(sys.argv[2], 443, sys.argv[3])] * int(sys.argv[4]), ask=True, limit=30)
    time.sleep(0.05)
"""


def authority(machine: Machine, name: str = "alpha") -> AuthorityKeys:
    """Return the keys of an authority of the machine."""
    found = next(one for one in machine.authorities if one.name == name)
    return AuthorityKeys.load(found, machine.path("/run/machine/pki"))


def customer(machine: Machine, url: str, name: str = EVIL, user: str = "mallory", ca: str = "alpha") -> None:
    """Give an account a site whose certificate names this OCSP URL; Apache serves it at once."""
    keys, key = authority(machine, ca), new_key()
    plan = SitePlan(name, user, ca)
    serve(machine, name, user, combined(_certificate(keys, plan, key, url), key, keys.issuer))


def customers(machine: Machine, sites: dict[str, tuple[str, str]], ca: str = "alpha") -> None:
    """Give accounts sites: name to account and OCSP URL; Apache serves them at once, after one restart."""
    keys, key = authority(machine, ca), new_key()
    for name, (user, url) in sites.items():
        certificate = keys.certificate(SitePlan(name, user, ca), key, url)
        _put(machine, name, user, combined(certificate, key, keys.issuer))
    _apply(machine)


def flood(machine: Machine, count: int, size: int, ca: str = "alpha") -> None:
    """Give one account so many sites, each with a certificate file of that size: one file of many names."""
    keys, key = authority(machine, ca), new_key()
    certificate = keys.certificate(SitePlan("flood.test", "mallory", ca), key)
    content = combined(certificate, key, keys.issuer)
    _put(
        machine, "flood0.evil.test", "mallory", content + (b"#" * 64 + b"\n") * ((size - len(content)) // 65)
    )
    base = machine.path("/var/cpanel/ssl/apache_tls")
    for number in range(1, count):
        site = base / f"flood{number}.evil.test"
        site.mkdir()
        (site / "combined").hardlink_to(base / "flood0.evil.test/combined")
        _account(machine, site.name, "mallory")
    _apply(machine)


def _certificate(keys: AuthorityKeys, plan: SitePlan, key: object, url: str) -> x509.Certificate:
    return keys.certificate(plan, key, url)  # type: ignore[arg-type]


def serve(machine: Machine, name: str, user: str, content: bytes, *, first: bool = False) -> None:
    """Install a site with these bytes as its certificate file, as cPanel lays them down, or before all others."""
    _put(machine, name, user, content)
    if first:
        state = machine.path("/var/cpanel/machine-sites.json")
        plans = sorted(json.loads(state.read_text()), key=lambda each: each[0] != name)
        state.write_text(json.dumps(plans))
    _apply(machine)


def _put(machine: Machine, name: str, user: str, content: bytes) -> None:
    directory = machine.path("/var/cpanel/ssl/apache_tls") / name
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "combined").write_bytes(content)
    (directory / "combined").chmod(0o640)
    _account(machine, name, user)


def _apply(machine: Machine) -> None:
    machine.run(REBUILD)
    machine.run(RESTART, "--hard", timeout=500)


def _account(machine: Machine, name: str, user: str) -> None:
    state = machine.path("/var/cpanel/machine-sites.json")
    plans = json.loads(state.read_text())
    if any(each[0] == name for each in plans):
        return
    state.write_text(json.dumps([*plans, [name, user, True]]))
    for owners in ("/etc/userdomains", "/etc/trueuserdomains"):
        with machine.path(owners).open("a") as file:
            file.write(f"{name}: {user}\n")
    home = machine.path(f"/home/{user}/public_html")
    home.mkdir(parents=True, exist_ok=True)
    (home / "index.html").write_text(f"{name}\n")


@contextlib.contextmanager
def visited(machine: Machine, name: str = EVIL, count: int = 4, settle: float = 3.0) -> Iterator[None]:
    """Somebody meets a site all the time and asks for its staple, as only the customer needs to."""
    package = str(Path(REPO) / "plugin")
    visitor = machine.popen(sys.executable, "-I", "-c", _VISITS, package, SERVER_V4, name, str(count))
    try:
        time.sleep(settle)
        yield
    finally:
        os.killpg(visitor.pid, signal.SIGKILL)
        visitor.communicate()
