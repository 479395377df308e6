"""The page as people meet it: real Chromium, at the stand-in WHM's login, on a machine whose outage is real."""

from __future__ import annotations

import os
import random
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlencode

import pytest
from selenium.common.exceptions import NoSuchElementException

from ocsp_stapling.check import result
from tests.machine import Machine, Shape, why_not_here
from tests.machine.chromium import AXE, Window
from tests.machine.cpanel import OPERATOR, SUPPORT, VIEWER
from tests.machine.engines import ENGINES, Open
from tests.machine.init import with_systemd
from tests.machine.shape import SERVER_V4
from tests.machine.whm import FORM, log_in, open_whm
from tests.unit.web import made

pytestmark = pytest.mark.machine
RESTART = "/usr/local/cpanel/scripts/restartsrv_httpd"
INCLUDE = "/etc/apache2/conf.d/includes/pre_virtualhost_global.conf"
STATE = "/var/lib/ocsp-stapling"
LOG = "/var/log/apache2/error_log"
EMERGENCY = "emergency"
PAGES = (
    "",
    "guide",
    "responders",
    "authorities",
    "sites",
    "errorlog",
    "configuration",
    "history",
    "elsewhere",
    "ticket",
    "customer",
    "rehearsal",
)
VIEWER_PAGES = ("", "guide", "responders", "authorities", "sites", "ticket", "customer")
PHONE = (380, 800)
IN_SIGHT = """const seen = document.querySelector("#ost " + arguments[0]).getBoundingClientRect();
return seen.top >= 0 && seen.bottom <= innerHeight && seen.height > 0;"""
CUT_LETTERS = """return [...document.querySelectorAll("#ost svg text")].filter(one => {
  const seen = one.getBoundingClientRect();
  return seen.left < 0 || seen.right > innerWidth || seen.height < 10;
}).map(one => one.textContent)"""
SCROLLS_DOWN = """return [...document.querySelectorAll("#ost .ost-nav ul")]
  .some(one => getComputedStyle(one).overflowY === "auto" && one.scrollHeight > one.clientHeight)"""
ROWS_OF_TABS = (
    "return new Set([...document.querySelector('.ost-nav ul').children].map(e => e.offsetTop)).size"
)
PRESSED_ON_PAPER = """return [...document.querySelectorAll("#ost button, #ost nav, #ost form, #ost .ost-actions")]
  .filter(one => one.getClientRects().length).map(one => one.outerHTML.slice(0, 100))"""
CUT_ON_PAPER = """return [...document.querySelectorAll("#ost pre, #ost .ost-scroll")]
  .filter(one => one.scrollHeight > one.clientHeight + 1 || one.scrollWidth > one.clientWidth + 1)
  .map(one => one.outerHTML.slice(0, 100))"""
QUICK_CLOCK = """(() => {
  const now = Date.now, every = window.setInterval;
  window.setInterval = (work, pause) => every(work, pause / 100);
  window.quarterLater = () => { Date.now = () => now.call(Date) + 16 * 60000; };
})();"""
TAB_ICON = "return (document.querySelector('link[rel=icon]#ost-icon') || {href: ''}).href"
FOREIGN = ("site0003", "site0004", "user0003", "muststaple", "/etc/", "httpd.conf", "AH01941")


@pytest.fixture(scope="module")
def server() -> Iterator[Machine]:
    """One machine for all: starting it and a browser takes longer than most tests."""
    if reason := why_not_here():
        pytest.skip(reason)
    with Machine(with_systemd(Shape())) as machine:
        open_whm(machine)
        yield machine


def engine_of(name: str) -> object:
    """One engine to run tests with: Chromium always, the others in long campaigns."""
    reason = ENGINES[name][1]
    marks = [pytest.mark.skipif(bool(reason), reason=reason or "it is here")]
    return pytest.param(name, marks=marks if name == "chromium" else [*marks, pytest.mark.long])


@pytest.fixture(scope="module", params=[engine_of(name) for name in ENGINES])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def window(engine: str) -> Open:
    """What opens a window of the engine."""
    return ENGINES[engine][0]


@pytest.fixture
def devtools(engine: str) -> None:
    """For what only Chromium can be asked (its DevTools Protocol)."""
    if engine != "chromium":
        pytest.skip("only Chromium can be asked that")


@pytest.fixture(scope="module")
def browser(server: Machine, window: Open) -> Iterator[Window]:
    with window(server) as opened:
        yield opened


def reset(server: Machine) -> None:
    """Let the machine be as if new: nothing broken, nothing changed, nothing known."""
    server.heal()
    for name in ("global", "2"):
        server.path(f"/etc/apache2/conf.d/includes/pre_virtualhost_{name}.conf").write_bytes(b"")
    running = f"{STATE}/page-check.out"  # locked while a check that a page began is under way
    server.run("sh", "-c", f"[ ! -e {running} ] || timeout 60 flock -s {running} true", check=False)
    known = " ".join(f"{STATE}/{each}" for each in ("*.sqlite*", "*check*", "operations", EMERGENCY))
    server.run("sh", "-c", f"rm -rf {known}; : >{LOG}; {RESTART} --hard")


@pytest.fixture
def whm(server: Machine) -> Machine:
    reset(server)
    return server


def roots(browser: Window) -> Window:
    return browser.scripts(allowed=True).size(1280, 900).dark(False).log_in()


@pytest.fixture
def page(whm: Machine, browser: Window) -> Iterator[Window]:
    """A window of root's, at the plugin's page; afterwards at none, for an open page has things checked."""
    assert whm.pid
    yield roots(browser)
    browser.driver.get("about:blank")


@pytest.fixture
def emergency(server: Machine, browser: Window) -> Iterator[Window]:
    """The same while visitors wait and a check said so: one for tests beside each other that change nothing."""
    kept = server.path(f"{STATE}/{EMERGENCY}")
    if kept.exists():
        be_of(server, minutes=0)
        page = roots(browser)
    else:
        reset(server)
        stall(server)
        page = roots(browser).check()
        kept.touch()
    yield page
    browser.driver.get("about:blank")


def be_of(machine: Machine, minutes: float) -> None:
    """Let the last check be so many minutes old."""
    state = machine.path(STATE)
    checked = result.load(state)
    assert checked is not None
    aged = replace(checked.evidence, taken_at=datetime.now(UTC) - timedelta(minutes=minutes))
    result.store(state, result.judged(aged))


def stall(machine: Machine) -> None:
    """Let the responder of alpha hang, and Apache forget the staples it has."""
    machine.fault("alpha", "hang")
    machine.run(RESTART, "--hard")


def finished(page: Window) -> Window:
    """Wait until the operation's page shows its end."""
    return page.wait_for("Back to the overview")


def kicker(page: Window) -> str:
    """The verdict's word; the page may be renewing itself at this moment."""
    said: list[str] = []

    def read() -> bool:
        said.append(page.one(".ost-kicker").text)
        return True

    page.wait(read)
    return said[-1]


def found_by_axe(page: Window) -> list[str]:
    return page.axe() if AXE.exists() else []


def test_the_whole_story(whm: Machine, page: Window) -> None:
    """The responder hangs, the page says so, off, healed, the responder is back, on."""
    assert kicker(page) == "Not checked yet"
    stall(whm)
    assert kicker(page.check()) == "Visitors are waiting"
    assert "ocsp.alpha-ca.test" in page.one("#ost-verdict-title").text
    assert "7 of 8" in page.text  # all that staple wait in one queue ...
    assert "3 sites: " in page.text  # ... for the responder of alpha, the Must-Staple one among them

    page.click("Turn stapling off…")
    assert "muststaple.example.test" in page.text
    assert "+    SSLUseStapling Off" in page.text
    page.one("#ost-reason").send_keys("alpha hangs <b>")
    crowd = whm.popen("sh", "-c", "machine visit 4")
    page.click("Turn stapling off")
    finished(page)
    crowd.communicate(timeout=60)
    assert "Stapling is off" in page.text
    assert "alpha hangs <b>" in page.text
    assert "Asking WHM to restart Apache" in page.one("#ost-steps").text
    assert "did not answer (cut off at 0.3 s)" in page.one("table").text  # the handshakes before
    assert "SSLUseStapling Off" in whm.path(INCLUDE).read_text()

    page.click("Back to the overview")
    assert kicker(page) == "Stapling is off"
    page.wait(lambda: "Keep it off for now" in page.text and "A check is running" not in page.text)
    whm.heal()
    page.check()
    assert "can be turned on again" in page.text
    page.click("Turn stapling on again…").click("Turn stapling on")
    finished(page)
    assert "Stapling is on" in page.text
    assert "SSLUseStapling" not in whm.path(INCLUDE).read_text()
    page.click("Back to the overview").wait_for(
        "Visitors notice nothing, the log has failures"
    )  # checked by itself
    page.open("history")
    assert len(page.all("#ost-changes tbody tr")) == 2
    assert page.complaints() == []


HOLDERS = ("region", "listitem", "option", "MenuListPopup")
OPERATED = ("link", "button", "textbox", "searchbox", "combobox", "checkbox", "DisclosureTriangle")


def test_every_page_is_accessible_and_fits_a_phone_in_light_and_dark(
    emergency: Window, request: pytest.FixtureRequest
) -> None:
    """Wide by day and narrow by night; `--long` has the other two as well."""
    pages = (*PAGES, "plan/off")
    looks = [(False, 1280), (True, 380)]
    if request.config.getoption("--long"):
        looks += [(False, 380), (True, 1280)]
    for dark, width in looks:
        emergency.dark(dark).size(width, 900)
        for name in pages:
            emergency.open(name)
            assert found_by_axe(emergency) == [], (name, width, dark)
            assert ("ost-dark" in (emergency.one("#ost").get_attribute("class") or "")) is dark, name
            assert emergency.driver.execute_script("return document.documentElement.scrollWidth") <= width, (
                name
            )
            assert emergency.driver.execute_script(CUT_LETTERS) == [], (name, width)
            assert not emergency.driver.execute_script(SCROLLS_DOWN), (name, width)
    emergency.dark(False).size(640, 450)  # 1280 x 900 at 200 %
    for name in pages:
        emergency.open(name)
        assert emergency.driver.execute_script("return document.documentElement.scrollWidth") <= 640, name
    assert emergency.complaints() == []


@pytest.mark.parametrize("size", [(1280, 900), PHONE])
def test_in_an_emergency_the_button_is_above_the_fold(emergency: Window, size: tuple[int, int]) -> None:
    emergency.size(*size)
    for name in ("", "plan/off"):
        emergency.open(name)
        bottom = "return document.querySelector('#ost .ost-button-main').getBoundingClientRect().bottom"
        assert emergency.driver.execute_script(bottom) <= size[1], name
    emergency.open()
    assert emergency.driver.title == "Visitors are waiting - OCSP Stapling"
    assert "c3161d" in emergency.driver.execute_script(TAB_ICON), "red, as the verdict"
    assert emergency.open("history").driver.execute_script(TAB_ICON) == "", "it tells no state"
    if size == PHONE:
        for name, pressed in (
            ("", ".ost-button-main"),
            ("plan/off", ".ost-button-main"),
            ("guide", ".ost-next a"),
        ):
            emergency.open(name).driver.execute_script(
                "scrollTo(0, document.documentElement.scrollHeight / 2)"
            )
            assert emergency.driver.execute_script(IN_SIGHT, pressed), (name, "stays in sight")


@pytest.mark.usefixtures("devtools")
def test_the_tabs_stand_in_one_row_and_colours_that_the_reader_forces_hide_nothing(emergency: Window) -> None:
    emergency.size(1100, 900)
    assert emergency.driver.execute_script(ROWS_OF_TABS) == 1
    forced = [{"name": "forced-colors", "value": "active"}]
    emergency.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": forced})
    emergency.open()
    assert emergency.driver.execute_script("return matchMedia('(forced-colors: active)').matches")
    paper = emergency.driver.execute_script("return getComputedStyle(document.body).backgroundColor")
    for selector, colour in (
        ("a.ost-button-main", "border-top-color"),
        ("#ost .ost-nav [aria-current]", "border-bottom-color"),
        ("#ost .ost-badge", "border-top-color"),
        ("#ost .ost-bars [class^=ost-fill]", "fill"),
    ):
        assert emergency.one(selector).value_of_css_property(colour) != paper, selector


@pytest.mark.usefixtures("devtools")
def test_on_paper_the_ticket_and_the_report_are_whole_dark_on_light_and_nothing_can_be_pressed(
    emergency: Window,
) -> None:
    emergency.dark()
    for name in ("ticket", "history", ""):
        emergency.open(name).driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
        assert emergency.driver.execute_script(PRESSED_ON_PAPER) == [], name
        assert emergency.driver.execute_script(CUT_ON_PAPER) == [], name
        assert emergency.one("#ost").value_of_css_property("color") == "rgba(0, 0, 0, 1)", name
        emergency.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


@pytest.mark.usefixtures("devtools")
def test_what_a_screen_reader_is_given_has_names_levels_and_one_landmark(emergency: Window) -> None:
    for name in (*PAGES, "plan/off"):
        given = emergency.open(name).spoken()
        nameless = [one for one in given if one.role in (*OPERATED, "image", "region") and not one.name]
        assert nameless == [], name
        strange = [one for one in given if one.focusable and one.role not in (*OPERATED, *HOLDERS)]
        assert strange == [], name
        assert [one.role for one in given].count("main") == 1, name
        assert [one.level for one in given if one.role == "heading"][:1] == [2], name
        assert [one.role for one in given].count("status") == 1, name


@pytest.mark.usefixtures("devtools")
def test_the_keyboard_alone_ends_the_outage_and_what_is_heard_is_enough_and_no_chatter(
    whm: Machine, page: Window
) -> None:
    """What a screen reader is given, from the check to the ticket: no screen reader itself was tried."""
    stall(whm)
    earlier = len(page.heard())
    page.tab_to("Check now")
    page.press("Enter")
    page.wait(lambda: kicker(page) == "Visitors are waiting" and not page.all("[data-ost-poll]"))
    verdict = page.one("#ost-verdict-title").text
    page.wait(lambda: page.heard()[earlier:] == [verdict])

    line = page.one(".ost-now")
    page.wait(lambda: "waiting for" in line.text)
    before = line.text
    page.wait(lambda: line.text != before)
    assert page.heard()[earlier:] == [verdict], "what changes all the time is not told all the time"

    passed = page.tab_to("Turn stapling off")
    assert passed.index("Skip to the content") == passed.index("Overview") - 1, passed
    acts = passed[passed.index("Ticket") + 1 :]
    with_shield = ["Turn the shield on…", "Turn stapling off…"]  # where a relay can be started
    assert acts in (with_shield, with_shield[1:]), "first behind the tabs"
    assert "solid" in page.driver.switch_to.active_element.value_of_css_property("outline-style")
    page.press("Enter").wait(lambda: page.all("#ost-reason"))
    assert page.tab_to("Reason")[-2].startswith("Turn stapling on again by itself")
    page.driver.switch_to.active_element.send_keys("alpha hangs")
    page.tab_to("Turn stapling off")
    page.press("Enter")
    finished(page)
    page.wait(lambda: page.heard()[-1] == "Stapling is off")
    told = page.heard()[earlier + 1 :]
    assert len(told) == len(set(told)), told
    assert {"Testing the configuration with httpd", "Asking WHM to restart Apache"} & set(told), told
    page.tab_to("Write the ticket")
    page.press("Enter").wait(lambda: page.all("#ost-for"))
    assert "alpha" in page.one("pre").text


@pytest.mark.usefixtures("devtools")
def test_a_page_that_renews_itself_keeps_the_focus_and_one_that_is_copied_from_only_offers_to(
    whm: Machine, page: Window
) -> None:
    stall(whm)
    page.check().open("history")  # silent; the overview may still speak, half a second after it is there
    be_of(whm, minutes=3)
    earlier = len(page.heard())
    page.open().wait(lambda: page.all("[data-ost-poll]"))
    page.tab_to("Turn stapling off")
    page.wait(lambda: not page.all("[data-ost-poll]") and page.all("#ost-verdict-title"))
    verdict = page.one("#ost-verdict-title").text
    page.wait(lambda: page.heard()[earlier:] == [verdict])
    assert page.driver.switch_to.active_element.text == "Turn stapling off…"
    be_of(whm, minutes=3)
    page.open("ticket").driver.execute_script("window.ostSame = true")
    page.wait_for("There is a newer check.")
    assert page.driver.execute_script("return window.ostSame"), "nothing was replaced under the reader"
    assert page.heard()[earlier:] == [verdict, "There is a newer check."]
    page.click("Show what it found").wait(lambda: not page.driver.execute_script("return window.ostSame"))


@pytest.mark.usefixtures("devtools", "whm")
def test_a_page_that_stays_open_grows_old_and_nothing_on_it_is_green_for_what_was_so_then(
    page: Window,
) -> None:
    page.check()
    kept = page.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": QUICK_CLOCK})
    try:
        page.open().wait_for("All is well")
        assert page.all(".ost-grid .ost-badge.ost-good")
        page.driver.execute_script("quarterLater()")
        page.wait(lambda: "minutes ago: all was well" in kicker(page).lower())
    finally:
        page.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", kept)
    assert page.one("#ost-verdict-title").text.startswith("The check said then: ")
    assert [one.text for one in page.all(".ost-verdict.ost-good, .ost-grid .ost-good")] == []
    assert page.all(".ost-grid use[href='#ost-i-good']") == []
    assert "minutes ago: all was well" in page.driver.title


def test_a_customers_page_cannot_show_the_plugin_in_a_frame_to_have_it_clicked(
    server: Machine, emergency: Window
) -> None:
    """Worst case: the customer knows the session's address, and the cookie comes along (the host is the same).

    By the plugin's own word alone: WHM's X-Frame-Options, which would be enough, is not sent.
    """
    server.path("/run/machine/cpsrvd.without-frame-options").touch()
    plan = emergency.open("plan/off").driver.current_url
    site, root = f"https://{SERVER_V4}", server.path("/home/user0001/public_html")
    (root / "own.html").write_text('<p id="ost">own</p>')
    shown: dict[str, int] = {}
    for inside in (f"{site}/own.html", plan):
        (root / "frame.html").write_text(f'<iframe src="{inside.replace("&", "&amp;")}"></iframe>')
        emergency.driver.get(f"{site}/frame.html?{len(shown)}")
        emergency.driver.switch_to.frame(emergency.one("iframe"))
        shown[inside] = len(emergency.all("#ost"))
        emergency.driver.switch_to.default_content()
    assert list(shown.values()) == [1, 0]


def test_a_viewer_sees_their_own_sites_and_the_clicks(whm: Machine, page: Window) -> None:
    stall(whm)
    page.log_in(VIEWER)
    assert kicker(page.check()) == "Visitors are waiting"
    assert "Someone with root privileges should turn stapling off" in page.text
    seen = ""
    for name in VIEWER_PAGES:
        seen += page.open(name).text
        assert found_by_axe(page) == []
    assert "site0001.example.test" in seen
    assert [word for word in FOREIGN if word in seen.replace("Include Editor", "")] == []
    assert "Pre VirtualHost Include" in seen
    for name in ("errorlog", "configuration", "history", "plan/off", "elsewhere"):
        assert "needs root privileges" in page.open(name).text


def test_without_scripts_everything_works_by_itself_too(page: Window, engine: str) -> None:
    if engine == "webkit":
        pytest.skip("WebKit's driver reads pages with scripts of its own")
    page.log_in().scripts(allowed=False)
    page.open().click("Check now")
    page.wait_for("All is well")
    page.open("plan/off").click("Turn stapling off")
    page.wait_for("Back to the overview")
    assert "Stapling is off" in page.text
    page.open("sites").one("#ost-q").send_keys("site0002")
    page.click("Show")
    page.wait(lambda: "1 site" in page.one("#ost-sites").text)  # the page from before has such a part, too


def test_a_browser_closed_in_the_middle_changes_nothing(whm: Machine, window: Open) -> None:
    with window(whm) as page:
        page.log_in().open("plan/off").click("Turn stapling off")
        page.wait(lambda: page.all("#ost-operation"))
    wait_until(lambda: "SSLUseStapling Off" in whm.path(INCLUDE).read_text())
    with window(whm) as page:
        page.log_in()
        page.wait(lambda: "Done" in page.open("history").text)
        assert "Turn stapling off" in page.one("tbody").text


def test_a_service_killed_in_the_middle_is_back_for_the_next_question(whm: Machine, page: Window) -> None:
    page.open("plan/off").click("Turn stapling off")
    page.wait(lambda: page.all("#ost-operation"))
    for process in whm.path("/proc").glob("[0-9]*/cmdline"):
        if b"ocsp-stapling\0serve" in process.read_bytes():
            whm.run("kill", "-9", process.parent.name, check=False)
    finished(page)
    assert "Stapling is off" in page.text


def test_a_service_that_is_missing_is_said_plainly(whm: Machine, page: Window) -> None:
    whm.run("sh", "-c", "mv /run/ocsp-stapling/web.sock /run/ocsp-stapling/aside.sock")
    page.open()
    assert "does not answer" in page.driver.page_source
    assert "ocsp-stapling status" in page.driver.page_source
    whm.run("sh", "-c", "mv /run/ocsp-stapling/aside.sock /run/ocsp-stapling/web.sock")
    page.open().wait_for("Not checked yet")


def test_a_form_of_an_ended_session_does_nothing(whm: Machine, page: Window) -> None:
    page.open("plan/off")
    token = page.one("form[action*=operations] input[name=csrf]")
    page.driver.execute_script("arguments[0].value = 'x' + arguments[0].value", token)
    page.click("Turn stapling off")
    page.wait_for("belongs to another login")
    assert "SSLUseStapling" not in whm.path(INCLUDE).read_text()
    assert found_by_axe(page) == []


def test_a_session_that_ended_leads_back_to_the_login(whm: Machine, page: Window) -> None:
    page.driver.delete_all_cookies()
    page.driver.refresh()
    assert page.all("input[name=pass]")


def test_of_two_administrators_one_changes_and_the_other_is_told(
    whm: Machine, page: Window, window: Open
) -> None:
    page.open("plan/off")
    with window(whm) as other:
        other.log_in(SUPPORT).open("plan/off").click("Turn stapling off")
        finished(other)
    page.click("Turn stapling off")
    finished(page)
    # The other one's change made this plan stale: refused, untouched, and the way on is shown.
    assert "Nothing was changed" in page.text
    page.click("Look at the new plan")
    assert "no file needs a change" in page.text


def test_a_second_change_meets_the_lock_and_names_its_holder(whm: Machine, page: Window) -> None:
    holder = (
        "import sys, time\nfrom pathlib import Path\nsys.path.insert(0, sys.argv[1])\n"
        "from ocsp_stapling.change import lock\n"
        "with lock.hold(Path(sys.argv[2]), 'bigboss (WHM)', 'off'): print('held', flush=True); time.sleep(60)"
    )
    python = str(Path(__file__).parents[2] / ".venv/bin/python")
    held = whm.popen(python, "-c", holder, str(Path(__file__).parents[2] / "plugin"), STATE)
    assert held.stdout is not None
    assert held.stdout.readline() == "held\n"
    page.open("plan/off").click("Turn stapling off")
    finished(page)
    assert "bigboss (WHM)" in page.text
    assert "Nothing was changed" in page.text
    os.killpg(held.pid, signal.SIGKILL)
    held.communicate()


def test_a_change_that_fails_says_that_everything_is_as_before(whm: Machine, page: Window) -> None:
    program = whm.path("/usr/local/cpanel/bin/whmapi1")
    before = program.read_bytes()
    program.write_text("#!/bin/sh\nexit 1\n")
    try:
        page.open("plan/off").click("Turn stapling off")
        finished(page)
    finally:
        program.write_bytes(before)
    assert "It did not work; everything is as it was before" in page.text
    assert whm.path(INCLUDE).read_bytes() == b""
    assert found_by_axe(page) == []


def test_with_apache_down_the_page_says_so(whm: Machine, page: Window) -> None:
    whm.run(RESTART, "--stop")
    assert kicker(page.check()) == "Apache is down"
    with pytest.raises(NoSuchElementException):
        page.one("a.ost-button-main")


def test_a_broken_include_is_refused_with_httpds_own_words(whm: Machine, page: Window) -> None:
    include = whm.path(INCLUDE)
    include.write_text("SSLUseStapling perhaps\n")
    page.open("plan/off")
    assert "SSLUseStapling must be On or Off" in page.text
    assert include.read_text() == "SSLUseStapling perhaps\n"


def test_another_machines_word_changes_the_cause(whm: Machine, page: Window) -> None:
    stall(whm)
    page.check()
    page.click("Guided steps").click("Get the command")
    page.wait(lambda: page.all("pre[aria-label^=Command]"))
    command = page.one("pre[aria-label^=Command]").text
    assert "curl" in command
    whm.heal()
    printed = whm.run("sh", "-c", command).stdout  # as if elsewhere: from where the responder answers
    whm.fault("alpha", "hang")
    page.driver.execute_script("arguments[0].value = arguments[1]", page.one("#ost-pasted"), printed)
    page.click("Take it into account")
    page.wait_for("Works there")
    assert "lets no answer of ocsp.alpha-ca.test reach" in page.open().text


def test_the_search_finds_a_site_while_one_types_and_meets_it(page: Window) -> None:
    page.open("sites").one("#ost-q").send_keys("muststaple")
    page.wait(lambda: page.one("#ost-sites").text.startswith("1 site"))
    page.click("Staple check")
    page.wait_for("It sends a good staple, verified.")


def test_a_site_is_met_also_while_the_page_has_a_newer_check_to_offer(whm: Machine, page: Window) -> None:
    old = replace(made.healthy(), taken_at=datetime.now(UTC) - timedelta(minutes=5))
    result.store(whm.path(STATE), result.judged(old))
    page.open("sites").click("Staple check")
    page.wait_for("It sends a good staple, verified.")


def test_undo_from_the_history_brings_the_bytes_back(whm: Machine, page: Window) -> None:
    include = whm.path(INCLUDE)
    include.write_text("# mine, without an end of line")
    page.open("plan/off").click("Turn stapling off")
    finished(page)
    page.open("history").click("Undo…")
    page.click("Take it back")
    finished(page)
    assert "The change was taken back" in page.text
    assert include.read_text() == "# mine, without an end of line"


@pytest.mark.parametrize("crowd", [24, 110])
def test_forms_of_a_viewer_take_the_page_from_nobody(whm: Machine, crowd: int) -> None:
    """So many at once, again and again, on a site that hangs: root's page stays quick, forms are answered at once.

    As the front asks the service: how many requests WHM itself takes at once is cPanel's.
    """
    log_in(whm).get("")  # the service runs
    whm.run("ocsp-stapling", "check", check=False)
    token = re.search(r'name="csrf" value="([^"]+)"', at_service(whm, VIEWER, "sites")[1])
    assert token is not None
    stall(whm)
    until, answers = time.monotonic() + 5, list[tuple[int, float]]()

    def press() -> None:
        while (began := time.monotonic()) < until:
            page, site = random.choice((("sites", "site0001.example.test"), ("check", "")))
            status, _ = at_service(whm, VIEWER, page, {"site": site, "csrf": token[1]})
            answers.append((status, time.monotonic() - began))
            time.sleep(0.05)

    pressing = [threading.Thread(target=press) for _ in range(crowd)]
    for one in pressing:
        one.start()
    waits = []
    while (began := time.monotonic()) < until:
        assert at_service(whm, OPERATOR, "")[0] == 200
        waits.append(time.monotonic() - began)
    for one in pressing:
        one.join()
    worst = max(took for _, took in answers)
    print(f"root: median {sorted(waits)[len(waits) // 2]:.2f} s, worst {max(waits):.2f} s of {len(waits)}")
    print(f"viewer: {len(answers)} forms, worst {worst:.2f} s")
    assert {status for status, _ in answers} <= {303, 429}
    assert max(waits) < 3
    assert worst < 5


def at_service(
    machine: Machine, user: str, page: str, fields: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Ask the service as the front does, and return status and text."""
    body = urlencode(fields or {}).encode()
    role = "operator" if user == OPERATOR else "viewer"
    head = f"{'POST' if fields else 'GET'} /?p={page} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    head += f"X-Ocsp-Stapling-User: {user}\r\nX-Ocsp-Stapling-Role: {role}\r\nContent-Length: {len(body)}\r\n"
    with socket.socket(socket.AF_UNIX) as opened:
        opened.connect(str(machine.path("/run/ocsp-stapling/web.sock")))
        opened.sendall(f"{head}Content-Type: {FORM}\r\n\r\n".encode() + body)
        answer = b"".join(iter(lambda: opened.recv(65536), b"")).decode()
    return int(answer.split(" ", 2)[1]), answer


def wait_until(so: object, seconds: float = 60) -> None:
    assert callable(so)
    deadline = time.monotonic() + seconds
    while not so():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_of_very_many_responders_one_is_unfolded_when_it_is_looked_at(whm: Machine, page: Window) -> None:
    many = tuple(made.responder(f"ocsp{n}.example.com", 3) for n in range(60))
    evidence = replace(made.healthy(), responders=many)
    result.store(whm.path(STATE), result.judged(evidence))
    page.open("responders")
    assert "198.51.100.10" not in page.driver.page_source
    page.one("details.ost-responder:nth-of-type(7) > summary").click()
    page.wait_for("198.51.100.10")
    assert found_by_axe(page) == []
