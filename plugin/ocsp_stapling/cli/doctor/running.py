"""Checks of what runs: systemd's units, the page's service, WHM, Apache, the clock."""

from __future__ import annotations

import os
import socket
import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ocsp_stapling.apache.layout import read_layout
from ocsp_stapling.cli.doctor.check import FAILED, OK, WARNING, DoctorCheck, Places
from ocsp_stapling.problem import Problem, reason_of
from ocsp_stapling.run import run
from ocsp_stapling.shield import service as relay
from ocsp_stapling.shield.standing import answers, wished_port
from ocsp_stapling.watch.outbox import post
from ocsp_stapling.whm import api

_NAME = "ocsp-stapling"
_SOCKET = Path("run/ocsp-stapling/web.sock")
_ANSWER_SECONDS = 20.0
_COMPARED = ("url", "displayname", "acls")  # each may be one word, several with commas, or a list


def units(places: Places) -> DoctorCheck:
    """Does systemd know our units, start them with the server, and run them now?"""
    for unit in places.units:
        enabled = run(["systemctl", "is-enabled", unit], timeout=10).out.strip()
        active = run(["systemctl", "is-active", unit], timeout=10).out.strip()
        if (enabled, active) != ("enabled", "active"):
            said = f"systemd says {unit} is {enabled or 'unknown'} and {active or 'unknown'}."
            return DoctorCheck("units", FAILED, said, f"systemctl enable --now {unit}")
    failed = run(["systemctl", "is-failed", f"{_NAME}.service"], timeout=10)
    if failed.ok:
        return DoctorCheck(
            "units", WARNING, "The page's service ended with an error.", f"journalctl -u {_NAME}"
        )
    return DoctorCheck("units", OK, f"{', '.join(places.units)}: enabled and active.")


def service(places: Places) -> DoctorCheck:
    """Does the page's service answer on its socket, and can only root reach it?"""
    path = places.root / _SOCKET
    mend = f"systemctl restart {_NAME}.socket; journalctl -u {_NAME}"
    try:
        if stat.S_IMODE(path.parent.stat().st_mode) & 0o077:
            return DoctorCheck("service", FAILED, f"{path.parent} is open to others than root.", mend)
        status = _status_line(path)
    except OSError as error:
        return DoctorCheck(
            "service", FAILED, f"The page's service does not answer: {reason_of(error)}.", mend
        )
    if not status.startswith("HTTP/1.") or status[9:10] == "5":
        said = (
            "The page's service answers with an error." if status else "The page's service gives no answer."
        )
        return DoctorCheck("service", FAILED, said, mend)
    return DoctorCheck("service", OK, "The page's service answers.")


def _status_line(path: Path) -> str:
    """Ask as nobody, which is refused by a service in order, and return the answer's first line."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_ANSWER_SECONDS)
        connection.connect(str(path))
        connection.sendall(b"GET /?format=json HTTP/1.0\r\nHost: ocsp-stapling\r\n\r\n")
        return connection.recv(256).decode("latin-1").partition("\r\n")[0]


def mails(directory: Path) -> DoctorCheck:
    """Does the server's mail system take the watch's mails?"""
    found = post(directory)
    if found.waiting:
        return DoctorCheck("mail", WARNING, found.sentence, "ocsp-stapling watch --test-mail")
    return DoctorCheck("mail", OK, "No mail of the watch waits to be delivered.")


def shield(directory: Path) -> list[DoctorCheck]:
    """Where the shield is wished for: does its relay answer, and may nobody else take its place?"""
    port = wished_port(directory)
    if not port:
        return []
    if port >= relay.first_open_port():
        said = (
            f"Any account may listen on port {port} while the relay is away, and hand Apache answers of its own: "
            f"net.ipv4.ip_unprivileged_port_start was set to {relay.first_open_port()}."
        )
        mend = "sysctl net.ipv4.ip_unprivileged_port_start=1024, and take out what sets it (/etc/sysctl.d)"
        return [DoctorCheck("shield", FAILED, said, mend)]
    if not answers(port):
        mend = f"systemctl restart {relay.UNIT}; journalctl -u {relay.UNIT}"
        return [DoctorCheck("shield", FAILED, f"The relay does not answer on 127.0.0.1:{port}.", mend)]
    return [DoctorCheck("shield", OK, f"The relay answers on 127.0.0.1:{port}, a port of root's alone.")]


def whm() -> DoctorCheck:
    """Does WHM's API answer?"""
    try:
        version = api.call("version", asked_to="tell its version", timeout=20).data.get("version", "unknown")
    except Problem as problem:
        mend = (
            "Run: /usr/local/cpanel/bin/whmapi1 version   and mend what it says (cPanel's support can help)."
        )
        return DoctorCheck("whm", FAILED, problem.sentence, mend)
    return DoctorCheck("whm", OK, f"cPanel & WHM {str(version)[:40]} answers.")


def registration(places: Places) -> DoctorCheck:
    """Does WHM list the plugin, with the address and the privileges that it should have?

    Its name and the address that its menu opens decide; of the rest WHM's list is no proof: versions of WHM leave a
    plugin's own privilege out of it, and give addresses in several forms.
    """
    wanted = _pairs((places.release / "whm_app.conf").read_text())
    mend = f"/usr/local/cpanel/bin/register_appconfig {places.home}/current/whm_app.conf"
    try:
        data = api.call("get_appconfig_application_list", asked_to="list its plugins", timeout=20).data
    except Problem as problem:
        return DoctorCheck("registration", FAILED, problem.sentence, mend)
    shown = next((app for app in _dictionaries(data) if app.get("name") == _NAME), None)
    if shown is None:
        return DoctorCheck(
            "registration", FAILED, "WHM does not list the plugin, so its menu does not show it.", mend
        )
    if "entryurl" in shown and _words(shown["entryurl"]) != _words(wanted["entryurl"]):
        return DoctorCheck("registration", FAILED, "WHM's menu opens another address for the plugin.", mend)
    wrong = [key for key in _COMPARED if key in shown and _words(shown[key]) != _words(wanted[key])]
    if wrong:
        said = f"WHM lists the plugin with another {', '.join(wrong)}. If the menu does not show it, register again."
        return DoctorCheck("registration", WARNING, said, mend)
    return DoctorCheck("registration", OK, "WHM lists the plugin: Plugins > OCSP Stapling.")


def _pairs(text: str) -> dict[str, str]:
    lines = (line.partition("=") for line in text.splitlines() if "=" in line and not line.startswith("#"))
    return {key.strip(): value.strip() for key, _, value in lines}


def _dictionaries(data: object) -> Iterator[Mapping[str, Any]]:
    """Every object in a JSON document: lists stand by service or all in one, and may be objects by name."""
    if isinstance(data, Mapping):
        yield data
        for key, value in data.items():
            if isinstance(value, Mapping) and "name" not in value:
                value = {**value, "name": key}
            yield from _dictionaries(value)
    elif isinstance(data, list):
        for value in data:
            yield from _dictionaries(value)


def _words(value: object) -> set[str]:
    parts = value if isinstance(value, list) else str(value).split(",")
    return {str(part).strip() for part in parts if str(part).strip()}


def apache() -> DoctorCheck:
    """Is EasyApache's httpd where it says, and is there a configuration?"""
    try:
        layout = read_layout()
    except Problem as problem:
        return DoctorCheck("apache", FAILED, problem.sentence, "Install EasyApache 4, cPanel's Apache.")
    if not os.access(layout.httpd, os.X_OK):
        return DoctorCheck(
            "apache", FAILED, f"{layout.httpd} is missing.", "Install Apache through EasyApache 4."
        )
    if not layout.conf.exists():
        mend = "/usr/local/cpanel/scripts/rebuildhttpdconf"
        return DoctorCheck("apache", FAILED, f"{layout.conf} is missing.", mend)
    version = run([str(layout.httpd), "-v"], timeout=10).out.partition("\n")[0].partition(": ")[2]
    return DoctorCheck("apache", OK, f"{version.strip() or 'Apache'} ({layout.httpd}).")


def clock(places: Places) -> DoctorCheck:
    """Is the time plausible? A wrong clock makes good OCSP responses look stale, or not valid yet."""
    mend = "timedatectl set-ntp true"
    try:
        if time.time() < (places.release / "manifest").stat().st_mtime - 60:
            return DoctorCheck("clock", WARNING, "The clock is behind the time of the installation.", mend)
    except OSError:
        pass
    done = run(["timedatectl", "show", "--property=NTPSynchronized", "--value"], timeout=10)
    if done.ok and done.out.strip() == "no":
        return DoctorCheck("clock", WARNING, "The clock is not synchronised with a time server.", mend)
    return DoctorCheck("clock", OK, f"It is {time.strftime('%Y-%m-%d %H:%M:%S %Z')}.")
