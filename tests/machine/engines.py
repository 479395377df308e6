"""Outside a machine: the other engines' windows, which do what Chromium's does as far as their drivers can.

Firefox is steered by Marionette, which knows W3C WebDriver's commands by other names; WebKit (GTK's port) by its own
driver program, on a screen that nobody sees.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import select
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar, Protocol, cast

from selenium import webdriver
from selenium.webdriver.firefox.options import Options as FirefoxOptions
from selenium.webdriver.remote.remote_connection import RemoteConnection
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.webkitgtk.options import Options as WebKitOptions
from selenium.webdriver.webkitgtk.service import Service

from tests.machine import chromium, firefox
from tests.machine.chromium import AXE, Window, network_of
from tests.machine.machine import Machine

_PORTS = itertools.count(firefox.PORT + 1)  # each Firefox of a machine has one for itself
_WEBKIT = "WebKitWebDriver"
# The browser's own bar must not keep its window from being as narrow as a phone.
_BAR = "* { font-size: 1px; padding: 0; margin: 0; min-width: 0; border-width: 0; }"
_SCREEN = ("-screen", "0", "1600x1200x24", "-nolisten", "tcp", "-noreset")
_AXE = "const done = arguments[0]; axe.run('#ost').then(r => done(JSON.stringify(r.violations)))"
_NIGHT = (
    "document.body.style.setProperty('background', '#14191f', 'important'); dispatchEvent(new Event('load'))"
)
_AROUND = "return [window.outerWidth - window.innerWidth, window.outerHeight - window.innerHeight]"
_SIZE = """const page = gBrowser.selectedBrowser;
for (const [side, length] of [["width", arguments[0]], ["height", arguments[1]]]) {
  for (const bound of ["min-", "max-", ""]) { page.style.setProperty(bound + side, length + "px", "important"); }
}"""


class Open(Protocol):
    """What opens a window of an engine at a machine's WHM."""

    def __call__(self, machine: Machine) -> AbstractContextManager[Window]: ...


class OtherWindow(Window):
    """A window of an engine that has no Chrome DevTools Protocol."""

    def size(self, width: int, height: int) -> Window:
        """Give the page this many CSS pixels."""
        more_width, more_height = self.driver.execute_script(_AROUND)
        self.driver.set_window_size(width + more_width, height + more_height)
        self.wait(lambda: self.driver.execute_script("return window.innerWidth") == width, 10)
        return self

    def open(self, page: str = "") -> Window:
        """Open a page of the plugin; it is dark where WHM is to be dark."""
        super().open(page)
        if self.night:
            self.driver.execute_script(_NIGHT)
        return self

    def dark(self, wanted: bool = True) -> Window:
        """Let WHM's own page be dark, or light, on every page that is opened from now on."""
        self.night = "dark" if wanted else ""
        return self

    def scripts(self, allowed: bool) -> Window:
        """Scripts run always; a test that wants none skips."""
        if not allowed:
            raise NotImplementedError
        return self

    def axe(self) -> list[str]:
        """Return what axe-core finds serious or critical within the plugin's page, in short."""
        found = json.loads(self.driver.execute_async_script(f"{AXE.read_text()};{_AXE}"))
        return [f"{one['id']}: {one['help']}" for one in found if one["impact"] in ("serious", "critical")]

    def complaints(self) -> list[str]:
        """Only Chromium tells."""
        return []


class Commands:
    """Selenium's commands as Marionette has them: under other names, with the same parameters (W3C WebDriver)."""

    NAMES: ClassVar[dict[str, str]] = {
        "get": "Navigate",
        "refresh": "Refresh",
        "getCurrentUrl": "GetCurrentURL",
        "getTitle": "GetTitle",
        "getPageSource": "GetPageSource",
        "findElement": "FindElement",
        "findElements": "FindElements",
        "clickElement": "ElementClick",
        "sendKeysToElement": "ElementSendKeys",
        "getElementText": "GetElementText",
        "getElementValueOfCssProperty": "GetElementCSSValue",
        "w3cGetActiveElement": "GetActiveElement",
        "w3cExecuteScript": "ExecuteScript",
        "w3cExecuteScriptAsync": "ExecuteAsyncScript",
        "deleteAllCookies": "DeleteAllCookies",
        "setTimeouts": "SetTimeouts",
        "quit": "DeleteSession",
    }

    def __init__(self, opened: firefox.Firefox) -> None:
        self.opened = opened

    def execute(self, command: str, params: dict[str, Any]) -> dict[str, Any]:
        """Have Firefox do it, and return what a driver program would answer."""
        if command == "newSession":
            return {"value": {"sessionId": "firefox", "capabilities": {"browserName": "firefox"}}}
        words = {name: value for name, value in params.items() if name != "sessionId"}
        try:
            return {"value": self.opened.command(self.NAMES[command], **words)}
        except firefox.FirefoxError as error:
            word, _, message = str(error).partition(": ")
            return {"status": word, "value": {"message": message}}

    def close(self) -> None:
        """What a connection to a driver program would need."""


class FirefoxWindow(OtherWindow):
    """A window of Firefox; what WebDriver has no word for is told to Firefox's own interface."""

    opened: firefox.Firefox

    def size(self, width: int, height: int) -> Window:
        """Give the page this many CSS pixels, whatever the window around it."""
        self._inside(_SIZE, width, height)
        self.wait(lambda: self.driver.execute_script("return window.innerWidth") == width, 10)
        return self

    def scripts(self, allowed: bool) -> Window:
        """Let pages run scripts, or not."""
        self._inside("Services.prefs.setBoolPref('javascript.enabled', arguments[0])", allowed)
        return self

    def _inside(self, script: str, *words: object) -> None:
        self.opened.command("Marionette:SetContext", value="chrome")
        try:
            self.opened.command("ExecuteScript", script=script, args=list(words))
        finally:
            self.opened.command("Marionette:SetContext", value="content")


@contextlib.contextmanager
def firefox_window(machine: Machine) -> Iterator[Window]:
    """Open a window of Firefox in the machine."""
    with firefox.firefox(machine, any_certificate=True, port=next(_PORTS)) as opened:
        connection = cast(RemoteConnection, Commands(opened))
        made = FirefoxWindow(WebDriver(connection, options=FirefoxOptions()))
        made.opened = opened
        made.driver.set_script_timeout(60)
        yield made.size(1280, 900)


def why_no_webkit() -> str:
    """Return why there is no WebKit here, or ""."""
    missing = [name for name in (_WEBKIT, "Xvfb") if not shutil.which(name)]
    return f"{' and '.join(missing)} missing (Debian packages webkit2gtk-driver, xvfb)" if missing else ""


@contextlib.contextmanager
def _screen() -> Iterator[str]:
    """Start a screen; return its name."""
    reads, writes = os.pipe()
    argv = ["Xvfb", "-displayfd", str(writes), *_SCREEN]
    with subprocess.Popen(argv, pass_fds=[writes], stderr=subprocess.DEVNULL) as server:
        os.close(writes)
        try:
            with os.fdopen(reads) as told:
                assert select.select([told], [], [], 60)[0], "the screen did not start"
                yield f":{told.readline().strip()}"
        finally:
            server.terminate()


@contextlib.contextmanager
def webkit_window(machine: Machine) -> Iterator[Window]:
    """Open a window of WebKit in the machine's network; the thread stays there meanwhile."""
    home = tempfile.mkdtemp(prefix="ost-webkit-", dir="/tmp")
    with contextlib.ExitStack() as cleanup, network_of(machine):
        cleanup.callback(shutil.rmtree, home, ignore_errors=True)
        theme = Path(home, "gtk-3.0/gtk.css")
        theme.parent.mkdir()
        theme.write_text(_BAR)
        own = {"DISPLAY": cleanup.enter_context(_screen()), "GDK_BACKEND": "x11"}
        own |= dict.fromkeys(("HOME", "XDG_CONFIG_HOME", "TMPDIR"), home)
        options = WebKitOptions()
        options.set_capability("acceptInsecureCerts", True)
        driver = webdriver.WebKitGTK(options, Service(shutil.which(_WEBKIT), env=os.environ | own))
        cleanup.callback(driver.quit)
        driver.set_script_timeout(60)
        yield OtherWindow(driver).size(1280, 900)


# name -> what opens its window, and why it cannot here ("" if it can)
ENGINES: dict[str, tuple[Open, str]] = {
    "chromium": (chromium.window, chromium.why_no_browser()),
    "firefox": (firefox_window, firefox.why_no_firefox()),
    "webkit": (webkit_window, why_no_webkit()),
}
