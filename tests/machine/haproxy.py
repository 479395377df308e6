"""HAProxy in front of a machine's Apache: it ends TLS on 443 and fetches staples itself (`ocsp-update`, from 2.8 on).

It takes an answer only if the signer leads to what it trusts: with the issuing certificate alone in a site's file
that is so where the authority signs with the issuing key itself; a delegate's answer needs the root there, too.
Format: HAProxy's configuration manual, "crt-list" and "ocsp-update".
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Collection

from tests.machine.machine import CLEAN, Machine
from tests.machine.nginx import move_apache_behind
from tests.machine.pki import AuthorityKeys, pem
from tests.machine.shape import SERVER_V4

FROM = (2, 8)
DIRECTORY = "/etc/haproxy"


def why_not_here() -> str:
    """Return why there is no HAProxy here that staples by itself, or ""."""
    if why := missing():
        return why
    said = subprocess.run(["haproxy", "-v"], env=CLEAN, capture_output=True, text=True, check=False).stdout
    found = re.search(r"version (\d+)\.(\d+)", said)
    if found and (int(found[1]), int(found[2])) >= FROM:
        return ""
    return "HAProxy knows ocsp-update from 2.8 on only"


def missing() -> str:
    """Return why there is no HAProxy of any age here, or ""."""
    return (
        "" if shutil.which("haproxy", path=CLEAN["PATH"]) else "haproxy is missing (the package of that name)"
    )


def put_plainly_in_front(machine: Machine, *, passing: bool) -> None:
    """Move Apache behind HAProxy without staples of its own: it passes TLS on (`mode tcp`), or ends it."""
    move_apache_behind(machine)
    directory = machine.path(f"{DIRECTORY}/sites")
    directory.mkdir(parents=True, exist_ok=True)
    for plan in machine.sites:
        combined = machine.path(f"/var/cpanel/ssl/apache_tls/{plan.name}/combined").read_bytes()
        (directory / f"{plan.name}.pem").write_bytes(combined)
    mode, front, back = "http", f" ssl crt {DIRECTORY}/sites/", " ssl verify none"
    if passing:
        mode, front, back = "tcp", "", ""
    text = _PLAIN.format(mode=mode, v4=SERVER_V4, front=front, back=back)
    machine.path("/run/haproxy.cfg").write_text(text)
    machine.run("haproxy", "-D", "-f", "/run/haproxy.cfg", "-p", "/run/haproxy.pid")


def put_in_front(machine: Machine, without_root: Collection[str] = ()) -> None:
    """Move Apache behind HAProxy and start that, with `ocsp-update on` for every site."""
    move_apache_behind(machine)
    directory = machine.path(DIRECTORY)
    directory.mkdir(exist_ok=True)
    for plan in machine.sites:
        authority = next(one for one in machine.authorities if one.name == plan.authority)
        root = AuthorityKeys.load(authority, machine.path("/run/machine/pki")).root
        combined = machine.path(f"/var/cpanel/ssl/apache_tls/{plan.name}/combined").read_bytes()
        whole = combined if plan.name in without_root else combined + pem(root)
        (directory / f"{plan.name}.pem").write_bytes(whole)
    lines = (f"{DIRECTORY}/{plan.name}.pem [ocsp-update on] {plan.name}\n" for plan in machine.sites)
    (directory / "sites.txt").write_text("".join(lines))
    (directory / "haproxy.cfg").write_text(_CONFIGURATION)
    machine.run("haproxy", "-D", "-f", f"{DIRECTORY}/haproxy.cfg", "-p", "/run/haproxy.pid")


_PLAIN = """\
defaults
    mode {mode}
    timeout connect 5s
    timeout client 30s
    timeout server 30s
frontend visitors
    bind {v4}:443{front}
    default_backend apache
backend apache
    server apache {v4}:444{back}
"""

_CONFIGURATION = f"""\
global
    tune.ssl.ocsp-update.mindelay 1
    tune.ssl.ocsp-update.maxdelay 5
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
frontend visitors
    bind {SERVER_V4}:443 ssl crt-list {DIRECTORY}/sites.txt
    default_backend apache
backend apache
    server apache {SERVER_V4}:444 ssl verify none sni req.hdr(host)
"""
