"""A real Firefox in a machine, steered over Marionette, the protocol it speaks itself: no driver program is needed.

Protocol: Firefox Source Docs, "Marionette", "Protocol": frames `LENGTH:JSON`, commands named as in W3C WebDriver.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.machine.chromium import Window, network_of
from tests.machine.cpanel import password
from tests.machine.machine import Machine
from tests.machine.pki import AuthorityKeys, pem
from tests.machine.shape import SERVER_V4
from tests.machine.whm import PAGE
from tests.machine.whm import PORT as WHM

PORT = 2828
PROFILE = "/tmp/firefox-{port}"
_PATIENCE = 60.0
_SHOWN = """return document.documentURI.startsWith("about:")
    ? document.getNetErrorInfo?.().errorCodeString ?? document.documentURI : document.body.innerText"""
# Firefox as people have it, but for its own services: nobody answers for them in a machine's network.
_PREFS = {
    "app.normandy.enabled": False,
    "app.update.disabledForTesting": True,
    "browser.safebrowsing.blockedURIs.enabled": False,
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
    "browser.sessionstore.resume_from_crash": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "extensions.getAddons.cache.enabled": False,
    "extensions.systemAddon.update.enabled": False,
    "extensions.update.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "services.settings.server": "data:,none",
    "toolkit.telemetry.enabled": False,
    "network.dns.forceResolve": SERVER_V4,  # the sites' names are in no zone
    # Of a page that comes twice nothing is remembered: neither its content nor its connection.
    "browser.cache.disk.enable": False,
    "browser.cache.memory.enable": False,
}


def why_no_firefox() -> str:
    """Return why there is no Firefox here, or ""."""
    missing = [name for name in ("firefox-esr", "certutil") if not shutil.which(name)]
    return f"{' and '.join(missing)} missing (Debian packages firefox-esr, libnss3-tools)" if missing else ""


class FirefoxError(Exception):
    """What Firefox answered instead; `text` is its error and message."""


class Firefox:
    """A conversation with a running Firefox."""

    def __init__(self, connection: socket.socket) -> None:
        self._stream = connection.makefile("rwb")
        self._number = 0
        self._read()  # its greeting

    def command(self, name: str, **parameters: object) -> Any:
        """Have Firefox do something. Raises FirefoxError with what it says if it cannot."""
        self._number += 1
        full = name if ":" in name else f"WebDriver:{name}"
        text = json.dumps([0, self._number, full, parameters]).encode()
        self._stream.write(b"%d:%s" % (len(text), text))
        self._stream.flush()
        _, _, error, found = self._read()
        if error:
            raise FirefoxError(f"{error['error']}: {error['message']}")
        return found["value"] if isinstance(found, dict) and set(found) == {"value"} else found

    def visit(self, url: str) -> tuple[str, float]:
        """Open a page; return its text, or Firefox's error code (`MOZILLA_PKIX_ERROR_...`), and the seconds."""
        begin = time.monotonic()
        with contextlib.suppress(FirefoxError):  # it shows a page that says why
            self.command("Navigate", url=url)
        seconds = time.monotonic() - begin
        return str(self.script(_SHOWN)).strip(), seconds

    def script(self, text: str, *words: str) -> Any:
        """Run a script in the page and return what it returns."""
        return self.command("ExecuteScript", script=text, args=list(words))

    def wait(self, condition: str) -> None:
        """Wait until an expression is true in the page. Raises AssertionError if it does not become so."""
        end = time.monotonic() + _PATIENCE
        while not self.script(f"return Boolean({condition})"):
            assert time.monotonic() < end, condition
            time.sleep(0.1)

    def _read(self) -> Any:
        length = b""
        while (byte := self._stream.read(1)) != b":":
            assert byte, "Firefox has hung up"
            length += byte
        return json.loads(self._stream.read(int(length)))


_LOGIN = """document.querySelector("input[name=user]").value = arguments[0];
document.querySelector("input[name=pass]").value = arguments[1];
document.querySelector("form").submit()"""


@dataclass
class FirefoxWindow:
    """A Firefox at WHM; it goes where it is told, or where the window of a story is."""

    browser: Firefox
    user: str = ""
    session: str = ""

    def log_in(self, user: str) -> None:
        """Fill in WHM's login form."""
        self.browser.visit(f"https://{SERVER_V4}:{WHM}/")
        self.browser.script(_LOGIN, user, password(user))
        self.browser.wait("location.pathname.startsWith('/cpsess') && document.readyState == 'complete'")
        self.session, self.user = str(self.browser.script("return location.pathname")).split("/")[1], user

    def open(self, query: str) -> None:
        """Open a page of the plugin: `p=responders`."""
        self.browser.visit(f"https://{SERVER_V4}:{WHM}/{self.session}{PAGE}?{query}")

    def follow(self, page: Window, form: str = "") -> None:
        """Open the page that another browser's window shows, as the same user; then run the script `form`."""
        if page.user != self.user:
            self.log_in(page.user)
        self.open(page.driver.current_url.partition("?")[2])
        if form:
            self.browser.script(f"document.body.dataset.left = 'yes'; {form}")
            self.browser.wait(
                "document.body && !document.body.dataset.left && document.querySelector('#ost')"
            )
        if page.night:
            self.browser.script(
                "document.body.style.setProperty('background', '#14191f', 'important');"
                "dispatchEvent(new Event('load'))"
            )

    def shoot(self, file: Path, width: int) -> None:
        """Take a picture of the whole page, this many CSS pixels wide."""
        self.browser.command("SetWindowRect", width=width, height=900)
        high = int(self.browser.script("return document.documentElement.scrollHeight"))
        self.browser.command("SetWindowRect", width=width, height=min(max(high + 90, 900), 5000))
        found = self.browser.command("TakeScreenshot", full=True, hash=False)
        file.write_bytes(base64.b64decode(found))


@contextlib.contextmanager
def firefox(machine: Machine, any_certificate: bool = False, port: int = PORT) -> Iterator[Firefox]:
    """Start Firefox in the machine; it trusts the machine's authorities, or whoever shows `any_certificate`."""
    profile = _profile(machine, port)
    options = ("--marionette", "--remote-allow-system-access", "--no-remote", "--profile", profile)
    argv = ("env", "MOZ_HEADLESS=1", "firefox-esr", *options)
    process = machine.popen("sh", "-c", f'exec "$@" >{profile}.log 2>&1', "sh", *argv)
    try:
        with _connected(machine, process, port) as connection:
            opened = Firefox(connection)
            opened.command("NewSession", acceptInsecureCerts=any_certificate)
            _as_narrow_as_phones(opened)
            yield opened
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def _as_narrow_as_phones(opened: Firefox) -> None:
    """Take from Firefox's window the width that it keeps at least."""
    opened.command("Marionette:SetContext", value="chrome")
    opened.script("document.documentElement.style.minWidth = '1px'")
    opened.command("Marionette:SetContext", value="content")


def _profile(machine: Machine, port: int) -> str:
    name = PROFILE.format(port=port)
    profile = machine.path(name)
    profile.mkdir()
    preferences = {**_PREFS, "marionette.port": port}
    lines = (f"user_pref({json.dumps(key)}, {json.dumps(value)});\n" for key, value in preferences.items())
    (profile / "user.js").write_text("".join(lines))
    machine.run("certutil", "-N", "-d", name, "--empty-password")
    for authority in machine.authorities:
        keys = AuthorityKeys.load(authority, machine.path("/run/machine/pki"))
        (profile / "root.pem").write_bytes(pem(keys.root))
        file = f"{name}/root.pem"
        machine.run("certutil", "-A", "-d", name, "-n", authority.name, "-t", "C,,", "-i", file)
    return name


def _connected(machine: Machine, process: subprocess.Popen[str], port: int) -> socket.socket:
    """Wait until Firefox listens, in the machine's network."""
    end, log = time.monotonic() + _PATIENCE, machine.path(f"{PROFILE.format(port=port)}.log")
    while True:
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(OSError), network_of(machine):
            return socket.create_connection(("127.0.0.1", port), _PATIENCE)
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.05)
