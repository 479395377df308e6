"""Takes the pictures in docs/screenshots: every state of the page, wide and on a phone, in Chromium and in Firefox.

Usage (root): python -m tests.screenshots [DIRECTORY [STATE...]]

The page is that of a WHM-shaped machine, through the stand-in WHM. Outages and changes in it are real; states that
such a machine does not come into stand on evidence made by hand (`tests/unit/web/made.py`), and the list says so.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ocsp_stapling.check import result
from ocsp_stapling.check.evidence import Evidence
from tests.machine import Machine, Shape, why_not_here
from tests.machine.chromium import Window, why_no_browser, window
from tests.machine.cpanel import VIEWER
from tests.machine.firefox import FirefoxWindow, firefox, why_no_firefox
from tests.machine.whm import open_whm
from tests.unit.web import made

RESTART = "/usr/local/cpanel/scripts/restartsrv_httpd"
WHMAPI = "/usr/local/cpanel/bin/whmapi1"
STATE = "/var/lib/ocsp-stapling"
INCLUDE = "/etc/apache2/conf.d/includes/pre_virtualhost_2.conf"
DIRECTORY = Path(__file__).resolve().parents[1] / "docs/screenshots"
SIZES = {"": (1280, 900), "-phone": (380, 800)}
HIGHEST = 5000
SETTLED = "!document.querySelector('[data-ost-poll]')"
PATIENCE = 120.0
LIVE = "document.querySelector('[data-ost-live]')"
NOW_TOLD = f"(!{LIVE} || !{LIVE}.hidden && !{LIVE}.textContent.includes('being tested'))"
NOW_SECONDS = 4.0
MADE = {
    "failing": (made.failing, "a responder refuses, sites are quick"),
    "blocked": (made.blocked, "this server reaches no responder"),
    "authority-outage": (made.ca_outage, "the authority reports an outage"),
    "off-elsewhere": (made.off_elsewhere, "stapling was turned off by hand"),
    "not-affected": (made.not_applicable, "no certificate names a responder"),
}
"""States on evidence made by hand."""


@dataclass
class Album:
    """Where the pictures go, and who takes them: the window of the story, and a second browser that follows it."""

    page: Window
    second: FirefoxWindow
    directory: Path
    wanted: tuple[str, ...] = ()
    captions: dict[str, str] = field(default_factory=dict)

    def take(
        self,
        name: str,
        caption: str,
        *,
        form: str = "",
        settled: bool = True,
        made: bool = False,
        again: Callable[[], None] | None = None,
    ) -> None:
        """Take a picture of the whole page in both browsers and sizes.

        `form` is a script that sends a form, for a page that has no address of its own. `settled`: wait until
        nothing is under way any more. `made`: the evidence is, so nobody visits its sites now.
        `again` brings a state that passes back for the second browser.
        """
        self.captions[name] = caption + " *" * made
        if self.wanted and name not in self.wanted:
            return
        if settled:
            self.page.wait(lambda: self.page.driver.execute_script(f"return {SETTLED}"), PATIENCE)
            _tell_now(self.page.driver.execute_script, made)
        elif made:
            _silence(self.page.driver.execute_script)
        for suffix, size in SIZES.items():
            self._chromium(self._file("", name + suffix), size)
        if again:
            again()
        self.second.follow(self.page, form)
        if settled:
            self.second.browser.wait(SETTLED)
            _tell_now(self.second.browser.script, made)
        elif made:
            _silence(self.second.browser.script)
        for suffix, size in SIZES.items():
            self.second.shoot(self._file("firefox", name + suffix), size[0])

    def _file(self, browser: str, name: str) -> Path:
        directory = self.directory / browser
        directory.mkdir(parents=True, exist_ok=True)
        return directory / f"{name}.png"

    def _chromium(self, file: Path, size: tuple[int, int]) -> None:
        height = self.page.size(*size).driver.execute_script("return document.documentElement.scrollHeight")
        self.page.size(size[0], min(max(int(height), size[1]), HIGHEST))
        time.sleep(0.2)
        self.page.driver.save_screenshot(str(file))
        self.page.size(*SIZES[""])

    def close(self) -> None:
        """Make the files small where a program for it is installed, and write the list of them."""
        files = [str(file) for file in self.directory.rglob("*.png")]
        if shutil.which("pngquant"):
            small = [
                "pngquant",
                "--force",
                "--skip-if-larger",
                "--speed",
                "1",
                "--nofs",
                "--ext",
                ".png",
                "64",  # with fewer the pale grounds of the tones are gone
            ]
            subprocess.run([*small, *files], check=False)
        if not self.wanted:
            (self.directory / "README.md").write_text("\n".join(self._list()) + "\n")

    def _list(self) -> Iterator[str]:
        yield "# The page in every state\n"
        yield (
            "Taken by `python -m tests.screenshots` (root) on the machine of [the tests](../../tests/README.md),\n"
            "each wide (1280 px) and on a phone (380 px). Outages and changes are real there; pictures marked with * "
            "stand on evidence made by hand.\n"
        )
        yield "| state | Chromium | phone | Firefox | phone |\n| --- | --- | --- | --- | --- |"
        for name, caption in self.captions.items():
            cells = [
                f"[picture]({browser}{name}{suffix}.png)" for browser in ("", "firefox/") for suffix in SIZES
            ]
            yield f"| {caption} | {' | '.join(cells)} |"


def _tell_now(ask: Callable[[str], Any], made: bool) -> None:
    """Wait until what visitors meet now is told, if it is told at all; of made evidence it would be untrue."""
    if made:
        _silence(ask)
    end = time.monotonic() + NOW_SECONDS
    while not ask(f"return {NOW_TOLD}") and time.monotonic() < end:
        time.sleep(0.2)


def _silence(ask: Callable[[str], Any]) -> None:
    ask(f"if ({LIVE}) {LIVE}.remove()")


def _fill(selector: str, text: str) -> str:
    """A script that types a text into a field and sends its form."""
    return f"const f = document.querySelector('{selector}'); f.value = '{text}'; f.form.submit();"


def calm(page: Window, album: Album) -> None:
    """Before the first check, the first check, and all is well."""
    page.log_in()
    album.take("unchecked", "before the first check")
    page.check()
    album.take("healthy", "all is well")
    page.open("rehearsal")
    album.take("rehearsal", "what would happen if a responder hung now")


def outage(machine: Machine, page: Window, album: Album) -> None:
    """The responder of an authority hangs: every page that is needed then."""
    machine.fault("alpha", "hang")
    machine.run(RESTART, "--hard")
    page.open().click("Check")
    album.take("checking", "a check is under way", settled=False)
    visitors = machine.popen("sh", "-c", "machine visit 6; machine visit 4")
    page.open().check()
    visitors.communicate(timeout=PATIENCE)
    page.check()
    album.take("stalling", "visitors are waiting")
    for name, caption in (
        ("guide", "guided steps in an outage"),
        ("responders", "the responders, one silent"),
        ("authorities", "the authorities"),
        ("errorlog", "stapling failures in the error log"),
        ("sites", "sites that cause the wait, and that wait"),
        ("ticket", "the ticket"),
        ("customer&domain=site0002.example.test", "a customer asks"),
        ("elsewhere", "the line for another machine"),
    ):
        page.open(name)
        album.take(name.partition("&")[0], caption)
    wrong = _fill("#ost-pasted", "curl: command not found")
    page.open("elsewhere").driver.execute_script(wrong)
    page.wait_for("This is not what the command prints", PATIENCE)
    album.take("elsewhere-wrong", "a wrong paste is kept, and what is wrong is said", form=wrong)
    page.open("sites").click("Staple check")
    page.wait_for("Asking for a staple, as browsers do", PATIENCE)
    album.take("sites-tested", "a site tested as a browser does", settled=False)


def viewing(page: Window, album: Album) -> None:
    """What a reseller sees of the outage."""
    for name, caption in (
        ("", "a reseller's overview in an outage"),
        ("guide", "a reseller's steps, with the clicks for root"),
        ("ticket", "a reseller's ticket to root"),
        ("plan/off", "what needs root privileges"),
    ):
        page.log_in(VIEWER).open(name)
        album.take(f"viewer{'-' * bool(name)}{name.partition('/')[0]}", caption)


@contextlib.contextmanager
def dawdling(machine: Machine) -> Iterator[None]:
    """Let WHM take its time for a restart, so that a picture can be taken meanwhile."""
    program = machine.path(WHMAPI)
    before = program.read_bytes()
    program.with_name("whmapi1.quick").write_bytes(before)
    program.with_name("whmapi1.quick").chmod(0o755)
    program.write_text(f'#!/bin/sh\nsleep 8\nexec {WHMAPI}.quick "$@"\n')
    try:
        yield
    finally:
        program.write_bytes(before)


def ending(machine: Machine, page: Window, album: Album) -> None:
    """The plan, the change, the time without stapling, and stapling again."""
    page.log_in().open("plan/shield-on")
    album.take("plan-shield", "the plan of the shield")
    page.open("plan/off").one("#ost-reason").send_keys("Alpha's responder hangs, ticket 4711")
    album.take("plan", "the plan of an off in an outage")
    page.open("plan/off").one("#ost-reason").send_keys("Alpha's responder hangs, ticket 4711")
    page.one("[name=return]").click()
    crowd = machine.popen("sh", "-c", "machine visit 4")
    with dawdling(machine):
        page.click("Turn stapling off").wait(lambda: page.all("#ost-steps li"), PATIENCE)
        album.take("changing", "a change under way", settled=False)
        page.wait_for("Back to the overview", PATIENCE)
    crowd.communicate(timeout=PATIENCE)
    album.take("turned-off", "stapling was turned off: what comes next")
    page.open().wait_for("Keep it off for now", PATIENCE)
    album.take("off-waiting", "stapling is off, the responder still hangs")
    page.open("guide")
    album.take("guide-off", "guided steps while stapling is off")
    machine.heal()
    page.open()
    page.check()
    album.take("off", "stapling is off and can be turned on again")
    page.open("plan/on")
    album.take("plan-on", "the plan of an on")
    page.click("Turn stapling on").wait_for("Back to the overview", PATIENCE)
    album.take("turned-on", "stapling is on again")
    page.open().wait_for("Visitors notice nothing", PATIENCE)
    album.take("log-failures", "all is well again, failures are in the log")


def afterwards(page: Window, album: Album) -> None:
    """What is left of it."""
    page.open("history")
    album.take("history", "history: the incident, the changes, thirty days of each responder")
    page.open("history").click("Undo…")
    album.take("plan-undo", "the plan of an undo")
    page.open("configuration")
    album.take("configuration", "every line that takes part")


def refusals(machine: Machine, page: Window, album: Album) -> None:
    """What does not work, and says so."""
    page.open("plan/off")
    machine.path(INCLUDE).write_text("# changed meanwhile\n")
    page.click("Turn stapling off").wait_for("Back to the overview", PATIENCE)
    album.take("refused", "a change refused, because a file changed meanwhile")
    program = machine.path(WHMAPI)
    before = program.read_bytes()
    program.write_text("#!/bin/sh\nexit 1\n")
    page.open("plan/off").click("Turn stapling off").wait_for("Back to the overview", PATIENCE)
    program.write_bytes(before)
    album.take("restored", "a change that failed: everything is as it was")
    page.open("no-such-page")
    album.take("problem", "an error as one sentence")
    machine.run(RESTART, "--stop")
    page.open()
    page.check()
    album.take("apache-down", "Apache is down")
    machine.run(RESTART, "--hard")


def sheltered(machine: Machine, page: Window, album: Album) -> None:
    """An outage under the shield, and a site that is turned off alone."""
    page.open("plan/shield-on").click("Turn the shield on").wait_for("Back to the overview", PATIENCE)
    album.take("shield-turned-on", "the shield was turned on")
    machine.run("ocsp-stapling", "shield", "refresh")
    machine.fault("alpha", "hang")
    machine.run(RESTART, "--hard")
    page.open()
    page.check()
    album.take("shielded", "a responder hangs, the shield is on")
    machine.heal()
    plan = page.open("plan/site-off&site=site0002.example.test")
    plan.click("Turn it off for this site").wait_for("Back to the overview", PATIENCE)
    page.open()
    page.check()
    page.open("sites")
    album.take("sites-off-alone", "a site turned off alone, and the way back")


def others(machine: Machine, page: Window, album: Album) -> None:
    """States on evidence made by hand, an old verdict, and the dark."""

    def show(evidence: Evidence) -> None:
        result.store(machine.path(STATE), result.judged(evidence))
        page.open()

    for name, (make, caption) in MADE.items():
        show(replace(make(), taken_at=datetime.now(UTC)))
        album.take(name, caption, made=True)

    def show_old() -> None:
        page.wait(lambda: page.driver.execute_script(f"return {SETTLED}"), PATIENCE)
        show(replace(made.healthy(), taken_at=datetime.now(UTC) - timedelta(hours=2)))

    show_old()
    album.take(
        "old",
        "a verdict that is two hours old, while a new check is under way",
        settled=False,
        made=True,
        again=show_old,
    )
    page.wait(lambda: page.driver.execute_script(f"return {SETTLED}"), PATIENCE)
    show(replace(made.stalling(), taken_at=datetime.now(UTC)))
    page.dark().open()
    album.take("stalling-dark", "where WHM is dark", made=True)
    page.dark(False)


def tell(machine: Machine, page: Window, album: Album) -> None:
    """Go through the story and take pictures on the way."""
    calm(page, album)
    others(machine, page, album)
    page.open().check()
    outage(machine, page, album)
    viewing(page, album)
    ending(machine, page, album)
    afterwards(page, album)
    refusals(machine, page, album)
    sheltered(machine, page, album)


def main() -> None:
    """Take all pictures, or those of some states."""
    if reason := why_not_here() or why_no_browser() or why_no_firefox():
        raise SystemExit(reason)
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else DIRECTORY
    with Machine(Shape()) as machine:
        open_whm(machine)
        with firefox(machine, any_certificate=True) as second, window(machine) as page:
            album = Album(page, FirefoxWindow(second), directory, tuple(sys.argv[2:]))
            tell(machine, page, album)
            album.close()


if __name__ == "__main__":
    main()
