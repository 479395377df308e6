"""Inside a machine: cPanel's part of the page. Stand-in modules, logins and web server; and the plugin's front.

python -m tests.machine.cpanel prepare     cPanel itself: Perl, modules, logins, accounts' owners (no web server yet)
python -m tests.machine.cpanel install     the plugin's page and units, as an installer would put them there
python -m tests.machine.cpanel start       cpsrvd on 2087, and the plugin's socket
python -m tests.machine.cpanel serve       cpsrvd alone, where install.sh put the plugin in place
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from ocsp_stapling.web import assets

REPO = Path(__file__).resolve().parents[2]
STANDINS = REPO / "tests/machine/standins"
UNITS = Path("/etc/systemd/system")
CPANEL = Path("/usr/local/cpanel")
PERL = CPANEL / "3rdparty/bin/perl"
DOCROOT = CPANEL / "whostmgr/docroot"
USERS = Path("/run/machine/whm-users.json")
OPERATOR, ROOTLIKE, VIEWER, STRANGER, SUPPORT = "root", "bigboss", "reseller1", "reseller2", "cptkt8f3a91c2"
PRIVILEGES = {
    ROOTLIKE: "all",
    VIEWER: "list-accts,software-ocsp-stapling",
    STRANGER: "list-accts",
    SUPPORT: "all",
}
API_TOKEN = "T0KENT0KENT0KENT0KENT0KENT0KEN01"
OWNED = ("user0001", "user0002")  # the accounts of the reseller who may look


def password(user: str) -> str:
    """The password of a login of this stand-in; long, so that a test that looks for it finds only it."""
    return f"the-password-of-{user}-3e9d"


def prepare() -> None:
    """Put in place what cPanel has and a plugin relies on."""
    shutil.copytree(STANDINS / "cpanel", CPANEL, dirs_exist_ok=True, ignore=shutil.ignore_patterns("docroot"))
    shutil.copytree(STANDINS / "cpanel/docroot", DOCROOT / "styled", dirs_exist_ok=True)
    for directory in ("cgi", "addon_plugins"):
        (DOCROOT / directory).mkdir(parents=True, exist_ok=True)
    PERL.parent.mkdir(parents=True, exist_ok=True)
    if not PERL.exists():
        PERL.symlink_to("/usr/bin/perl")
    Path("/var/cpanel").mkdir(exist_ok=True)
    Path("/var/cpanel/resellers").write_text("".join(f"{n}:{acls}\n" for n, acls in PRIVILEGES.items()))
    _owners()
    USERS.parent.mkdir(exist_ok=True)
    logins = {n: {"password": password(n), "tokens": {}} for n in (OPERATOR, *PRIVILEGES)}
    logins[OPERATOR]["tokens"] = {"fleet": API_TOKEN}
    USERS.touch(0o600)
    USERS.write_text(json.dumps(logins))


def _owners() -> None:
    """`account: owner`, as scripts/updateuserdomains writes it; every reseller has an account too."""
    domains = Path("/etc/trueuserdomains")
    accounts = [line.split(": ")[1] for line in domains.read_text().splitlines()] if domains.exists() else []
    owners = {name: VIEWER if name in OWNED else "root" for name in accounts} | dict.fromkeys(
        PRIVILEGES, "root"
    )
    Path("/etc/trueuserowners").write_text("".join(f"{n}: {owner}\n" for n, owner in owners.items()))


def install() -> None:
    """Put the plugin's front, privilege, registration and units in place."""
    page = DOCROOT / "cgi/ocsp-stapling"
    page.mkdir(exist_ok=True)
    shutil.copy(REPO / "plugin/index.cgi", page / "index.cgi")
    (page / "index.cgi").chmod(0o755)
    assets.publish(page / "static")
    shutil.copy(REPO / "plugin/icon.png", DOCROOT / "addon_plugins/ocsp-stapling.png")
    shutil.copytree(REPO / "plugin/acl", CPANEL / "Cpanel/Config/ConfigObj/Driver", dirs_exist_ok=True)
    for unit in (REPO / "plugin/systemd").iterdir():
        shutil.copy(unit, UNITS)
    subprocess.run(["systemctl", "daemon-reload"], check=True)
    subprocess.run(
        [CPANEL / "bin/register_appconfig", REPO / "whm_app.conf"], check=True, capture_output=True
    )


def start() -> None:
    """Start WHM's web server and the plugin's socket; both end with the machine."""
    serve()
    subprocess.run(["systemctl", "start", "ocsp-stapling.socket"], check=True)


def serve() -> None:
    """Start WHM's web server alone."""
    with Path("/run/machine/cpsrvd.log").open("a") as log:
        process = subprocess.Popen(
            [sys.executable, "-I", str(STANDINS / "cpsrvd.py"), "2087"],
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            stderr=log,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            cwd="/",
            start_new_session=True,
            text=True,
        )
    assert process.stdout is not None
    if process.stdout.readline() != "ready\n":
        raise SystemExit("cpsrvd did not start")


def main() -> None:
    for name in sys.argv[1:]:
        {"prepare": prepare, "install": install, "start": start, "serve": serve}[name]()


if __name__ == "__main__":
    main()
