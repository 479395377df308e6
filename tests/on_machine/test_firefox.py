"""A real Firefox at a Must-Staple site: it opens with a staple and with nothing else, which is why plans name it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.machine import Machine, Shape, why_not_here
from tests.machine.cpanel import OPERATOR
from tests.machine.firefox import Firefox, FirefoxWindow, firefox, why_no_firefox
from tests.machine.whm import open_whm
from tests.on_machine.admin import RESTART, call, switch

pytestmark = [
    pytest.mark.machine,
    pytest.mark.skipif(bool(why_no_firefox()), reason=why_no_firefox() or "there is a Firefox"),
]
STRICT = "muststaple.example.test"
ORDINARY = "site0001.example.test"
REFUSED = "MOZILLA_PKIX_ERROR_REQUIRED_TLS_FEATURE_MISSING"


@pytest.fixture(scope="module")
def server() -> Iterator[Machine]:
    if reason := why_not_here():
        pytest.skip(reason)
    with Machine(Shape(sites=1, cas=1, v6=0)) as machine:
        yield machine


@pytest.fixture(scope="module")
def browser(server: Machine) -> Iterator[Firefox]:
    with firefox(server) as opened:
        yield opened


def shown(browser: Firefox, site: str) -> str:
    return browser.visit(f"https://{site}/")[0]


def test_a_must_staple_site_opens_with_stapling_on_and_not_while_it_is_off(
    server: Machine, browser: Firefox
) -> None:
    assert shown(browser, STRICT) == STRICT
    plan = call(server, "off", "--dry-run", "--json").document
    assert plan["must_staple_sites"] == [STRICT]
    assert switch(server, "off").code == 0
    assert (shown(browser, STRICT), shown(browser, ORDINARY)) == (REFUSED, ORDINARY)
    assert switch(server, "on").code == 0
    assert shown(browser, STRICT) == STRICT


@pytest.mark.parametrize(
    "kind", ["hang", *[pytest.param(kind, marks=pytest.mark.long) for kind in ("try-later", "unauthorized")]]
)
def test_in_an_outage_it_does_not_open_either_and_the_others_do(
    server: Machine, browser: Firefox, kind: str
) -> None:
    server.fault("all", kind)
    server.run(RESTART, "--hard")
    text, seconds = browser.visit(f"https://{STRICT}/")
    assert text == REFUSED
    assert kind != "hang" or seconds > 2.5, "it waits for the responder as everybody does"
    assert shown(browser, ORDINARY) == ORDINARY
    server.heal()


CHECK = """document.body.dataset.left = "yes";
[...document.querySelectorAll("#ost button, #ost a")].find(e => e.innerText.startsWith("Check")).click()"""
CHECKED = """document.body && !document.body.dataset.left && document.querySelector("#ost-verdict-title")
&& !document.querySelector("[data-ost-poll]")"""


@pytest.mark.long
def test_the_page_checks_and_fits_wide_and_narrow_in_firefox_too(machine: Machine) -> None:
    open_whm(machine)
    with firefox(machine, any_certificate=True) as opened:
        page = FirefoxWindow(opened)
        page.log_in(OPERATOR)
        page.open("p=")
        opened.script(CHECK)
        opened.wait(CHECKED)
        assert (
            opened.script("return document.querySelector('.ost-kicker').innerText").lower() == "all is well"
        )
        for width in (1280, 1100, 380):
            opened.command("SetWindowRect", width=width, height=900)
            for name in (
                "",
                "guide",
                "responders",
                "sites",
                "errorlog",
                "configuration",
                "history",
                "plan/off",
            ):
                page.open(f"p={name}")
                assert opened.script("return document.querySelector('#ost').innerText"), name
                wide = opened.script("return document.documentElement.scrollWidth - window.innerWidth")
                assert wide <= 0, (name, width)
