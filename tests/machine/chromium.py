"""Outside a machine: a real Chromium in the machine's network, at the stand-in WHM's login."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from tests.machine.cpanel import OPERATOR, password
from tests.machine.machine import REPO, Machine
from tests.machine.shape import SERVER_V4
from tests.machine.whm import PAGE, PORT

DRIVER = "/usr/bin/chromedriver"
AXE = REPO / "node_modules/axe-core/axe.min.js"
PATIENCE = 90.0
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--ignore-certificate-errors",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    # Names of the browser's own services: in a machine's network nobody answers for them, which takes long.
    f"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE {SERVER_V4}, EXCLUDE localhost, EXCLUDE 127.0.0.1",
)
NIGHT = """new MutationObserver((_, watcher) => {
  if (!document.body) { return; }
  watcher.disconnect();
  document.body.style.setProperty("background", "#14191f", "important");
}).observe(document, {childList: true, subtree: true});"""
LISTEN = """(() => {
  const note = text => {
    const heard = JSON.parse(sessionStorage.getItem("heard") || "[]");
    if (text) { sessionStorage.setItem("heard", JSON.stringify([...heard, text])); }
  };
  const listen = () => document.querySelectorAll("[aria-live], [role=status], [role=alert]").forEach(region =>
    new MutationObserver(() => note(region.textContent.trim())).observe(region, {childList: true, subtree: true}));
  document.readyState === "loading" ? document.addEventListener("DOMContentLoaded", listen) : listen();
})();"""
FOCUSED = """const one = document.activeElement, label = one.labels && one.labels[0];
return (one.getAttribute("aria-label") || (label || one).textContent || one.tagName).trim().replace(/\\s+/g, " ");"""
_CLONE_NEWNET = 0x40000000


def why_no_browser() -> str:
    """Return why there is no browser here, or ""."""
    missing = [name for name in ("chromium", "chromedriver") if not shutil.which(name)]
    return f"{' and '.join(missing)} missing (Debian packages chromium, chromium-driver)" if missing else ""


@contextlib.contextmanager
def network_of(machine: Machine) -> Iterator[None]:
    """Move this thread, and whatever it starts, into the machine's network for a while."""
    own = os.open(f"/proc/self/task/{threading.get_native_id()}/ns/net", os.O_RDONLY)
    theirs = os.open(f"/proc/{machine.pid}/ns/net", os.O_RDONLY)
    try:
        _enter(theirs)
        yield
    finally:
        _enter(own)
        os.close(own)
        os.close(theirs)


def _enter(namespace: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(namespace, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


@dataclass(frozen=True)
class Spoken:
    """One thing that a screen reader is told of; `level` is a heading's, else 0."""

    role: str
    name: str
    level: int
    focusable: bool


def _spoken(node: Mapping[str, Any], nodes: Mapping[str, Mapping[str, Any]]) -> Iterator[Spoken]:
    if not node.get("ignored"):
        facts = {one["name"]: one["value"].get("value") for one in node.get("properties", ())}
        yield Spoken(
            str(node.get("role", {}).get("value", "")),
            " ".join(str(node.get("name", {}).get("value", "")).split()),
            int(facts.get("level") or 0),
            bool(facts.get("focusable")),
        )
    for child in node.get("childIds", ()):
        yield from _spoken(nodes[child], nodes)


@dataclass
class Window:
    """A browser window at WHM."""

    driver: WebDriver
    prefix: str = ""
    user: str = ""
    night: str = ""
    listening: bool = False

    @property
    def text(self) -> str:
        """What the plugin's page says."""
        return self.one("#ost").text

    def log_in(self, user: str = OPERATOR) -> Window:
        """Fill in WHM's login form and come to the plugin's page."""
        self.driver.get(f"https://{SERVER_V4}:{PORT}/")
        self.user = user
        self.one("input[name=user]").send_keys(user)
        self.one("input[name=pass]").send_keys(password(user))
        self.one("form [type=submit], form button").click()
        self.wait(lambda: "/cpsess" in self.driver.current_url)
        self.prefix = self.driver.current_url.partition("/cpsess")[2].partition("/")[0]
        return self.open()

    def open(self, page: str = "") -> Window:
        """Open a page of the plugin: `responders`, `plan/off`."""
        self.driver.get(f"https://{SERVER_V4}:{PORT}/cpsess{self.prefix}{PAGE}?p={page}")
        return self

    def one(self, selector: str) -> WebElement:
        """Return the first element that fits."""
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        """Return every element that fits."""
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def click(self, label: str) -> Window:
        """Press the button or follow the link that is called so; once more if the page was replaced meanwhile."""
        with contextlib.suppress(StaleElementReferenceException):
            return self._click(label)
        return self._click(label)

    def _click(self, label: str) -> Window:
        named = f'[starts-with(normalize-space(), "{label}")]'
        path = f"//*[@id='ost']//*[self::a or self::button or self::summary]{named}"
        found = self.driver.find_element(By.XPATH, path)
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", found)
        found.click()
        return self

    def wait(self, ready: Callable[[], Any], seconds: float = PATIENCE) -> None:
        """Wait until something is so; what fails because the page is being replaced counts as not yet."""

        def attempt(_driver: WebDriver) -> Any:
            with contextlib.suppress(Exception):
                return ready()
            return False

        WebDriverWait(self.driver, seconds, 0.15).until(attempt, self._seen())

    def wait_for(self, text: str, seconds: float = PATIENCE) -> Window:
        """Wait until the page says something."""
        self.wait(lambda: text in self.text, seconds)
        return self

    def check(self) -> Window:
        """Press the check's button and wait until a page shows what it found."""
        self.driver.execute_script("window.ostBefore = true")  # gone with the page that is left
        self.click("Check")
        fresh = "return !window.ostBefore && !document.querySelector('[data-ost-poll]')"
        self.wait(lambda: self.driver.execute_script(fresh) and self.all("#ost-verdict-title"))
        return self

    def _seen(self) -> str:
        with contextlib.suppress(Exception):
            return f"at {self.driver.current_url}: {self.text[:600]}"
        return "nothing"

    def size(self, width: int, height: int) -> Window:
        """Give the page this many CSS pixels."""
        values = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", values)
        return self

    def dark(self, wanted: bool = True) -> Window:
        """Let WHM's own page be dark, or light; the system wishes for the opposite, which decides nothing."""
        if self.night:
            self.driver.execute_cdp_cmd(
                "Page.removeScriptToEvaluateOnNewDocument", {"identifier": self.night}
            )
            self.night = ""
        if wanted:
            added = self.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": NIGHT})
            self.night = added["identifier"]
        value = "light" if wanted else "dark"
        features = [{"name": "prefers-color-scheme", "value": value}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        return self

    def scripts(self, allowed: bool) -> Window:
        """Let pages run scripts, or not."""
        self.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not allowed})
        return self

    def press(self, key: str, times: int = 1) -> Window:
        """Press a key of the keyboard: `Tab`, `Enter`, `Space`."""
        for _ in range(times):
            self.driver.switch_to.active_element.send_keys(getattr(Keys, key.upper()))
        return self

    def tab_to(self, name: str, most: int = 60) -> list[str]:
        """Press Tab until the element of that name has the focus; return the names passed on the way, it included."""
        passed: list[str] = []
        while len(passed) < most:
            self.press("Tab")
            passed.append(str(self.driver.execute_script(FOCUSED)))
            if passed[-1].startswith(name):
                return passed
        raise AssertionError(f"{name!r} is not among {passed}")

    def heard(self) -> list[str]:
        """Return what live regions said since this was first asked for, on all pages since, oldest first."""
        if not self.listening:
            self.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": LISTEN})
            self.driver.execute_script("sessionStorage.removeItem('heard');" + LISTEN)
            self.listening = True
        found: list[str] = json.loads(
            self.driver.execute_script("return sessionStorage.getItem('heard') || '[]'")
        )
        return found

    def spoken(self) -> list[Spoken]:
        """Return what a screen reader is given of the plugin's page: Chromium's accessibility tree, in its order."""
        self.driver.execute_cdp_cmd("DOM.enable", {})
        nodes = self.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
        by_id = {one["nodeId"]: one for one in nodes}
        wanted = {"expression": "document.getElementById('ost')"}
        held = self.driver.execute_cdp_cmd("Runtime.evaluate", wanted)["result"]["objectId"]
        root = self.driver.execute_cdp_cmd("DOM.describeNode", {"objectId": held})["node"]["backendNodeId"]
        start = next(one for one in nodes if one.get("backendDOMNodeId") == root)
        return list(_spoken(start, by_id))

    def axe(self) -> list[str]:
        """Return what axe-core finds serious or critical within the plugin's page, in short."""
        self.driver.execute_cdp_cmd("Runtime.evaluate", {"expression": AXE.read_text()})
        script = "const done = arguments[0]; axe.run('#ost').then(r => done(JSON.stringify(r.violations)))"
        found = json.loads(self.driver.execute_async_script(script))
        return [
            f"{one['id']}: {one['help']}: {one['nodes'][0]['html'][:200]} {one['nodes'][0]['failureSummary'][:300]}"
            for one in found
            if one["impact"] in ("serious", "critical")
        ]

    def complaints(self) -> list[str]:
        """Return what the browser complained about since last asked: refused scripts, missing files, errors."""
        assert isinstance(self.driver, webdriver.Chrome)
        found: list[dict[str, str]] = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
        return [one["message"] for one in found if one["level"] == "SEVERE" and self.prefix in one["message"]]


@contextlib.contextmanager
def window(machine: Machine, width: int = 1280, height: int = 900) -> Iterator[Window]:
    """Open a window in the machine's network; the thread stays there meanwhile."""
    # Short, for sockets lie in it; and what a browser that is ended leaves behind goes with it.
    profile = tempfile.mkdtemp(prefix="ost-chromium-", dir="/tmp")
    with contextlib.ExitStack() as cleanup, network_of(machine):
        cleanup.callback(shutil.rmtree, profile, ignore_errors=True)
        # Its crash reports lie in the home directory, whatever its profile is.
        own = dict.fromkeys(("HOME", "XDG_CONFIG_HOME", "TMPDIR"), profile)
        service = Service(DRIVER, env=os.environ | own)
        driver = webdriver.Chrome(_options(profile), service)
        cleanup.callback(driver.quit)
        driver.set_script_timeout(60)
        yield Window(driver).size(width, height)


def _options(profile: str) -> webdriver.ChromeOptions:
    options = webdriver.ChromeOptions()
    options.binary_location = str(Path("/usr/bin/chromium"))
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    options.set_capability("acceptInsecureCerts", True)
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    return options
