"""Every page in every state: it says the right thing, offers the right button, and lets no markup through."""

from __future__ import annotations

import html
import html.parser
import re
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import pytest
from flask import Flask

from ocsp_stapling.apache.stapling import effective
from ocsp_stapling.apache.tree import ConfigTree, Directive, Finding
from ocsp_stapling.change.journal import Journal
from ocsp_stapling.change.model import Change
from ocsp_stapling.change.plan import Plan, make
from ocsp_stapling.check import result
from ocsp_stapling.check.evidence import Evidence, LogEvidence, OwnSwitch
from ocsp_stapling.check.surroundings import SILENT_YET, no_all_clear
from ocsp_stapling.files import Snapshot
from ocsp_stapling.host.listeners import Server
from ocsp_stapling.ocsp.door import Door
from ocsp_stapling.server import state as server
from ocsp_stapling.server.logs import ErrorLogs
from ocsp_stapling.shield.standing import LastFailure, ShieldedResponder, ShieldEvidence, Standing
from ocsp_stapling.watch.memory import Memory
from ocsp_stapling.watch.outages import Reading
from ocsp_stapling.web.pages import errorlog, picture, plan, responders, sites
from ocsp_stapling.web.pages.sites import SiteRow
from ocsp_stapling.whm.accounts import Visible
from tests.unit.change.made import Tree, carry_out, site_wish
from tests.unit.web import made
from tests.unit.web.asking import OPERATOR, VIEWER, get
from tests.unit.web.conftest import Shown
from tests.unit.web.walk import CHANGE

PAGES = ("", "p=guide", "p=responders", "p=authorities", "p=ticket", "p=elsewhere", "p=history")
STATES = sorted(made.everything())
OWN = "site001.sectigo.example"
SILENT = no_all_clear(LogEvidence())


class Page(html.parser.HTMLParser):
    """Collects what a browser would run or obey, and what is not closed."""

    VOID = frozenset({"link", "input", "br", "meta", "img"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.ids: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def text_of(app: Flask, query: str, caller: object = OPERATOR) -> str:
    answer = get(app, query, caller)  # type: ignore[arg-type]
    assert answer.status_code == 200, answer.text
    return answer.text


@pytest.mark.parametrize("state", STATES)
def test_every_page_renders_in_every_state_without_inline_code_or_open_tags(
    showing: Shown, state: str
) -> None:
    app = showing(made.everything()[state])
    for query in PAGES:
        page = Page(text_of(app, query))
        assert not page.open, (query, page.open)
        assert page.tags.count("script") == 1  # our own file, nothing inline
        assert not [n for n, _ in page.attributes if n.startswith("on") or n == "style"], query
        assert len(page.ids) == len(set(page.ids)), query


@pytest.mark.parametrize("query", PAGES)
def test_text_that_others_wrote_is_never_markup(showing: Shown, query: str) -> None:
    text = text_of(showing(made.hostile()), query)
    assert "<script>alert" not in text
    assert not [
        value for name, value in Page(text).attributes if name == "href" and value.startswith("javascript:")
    ]


def test_hostile_text_is_shown_as_text_where_it_belongs(showing: Shown) -> None:
    assert "&lt;script&gt;alert(1)" in text_of(showing(made.hostile()), "p=responders")


def test_where_nobody_answers_apache_is_down_although_its_process_is_still_ending(showing: Shown) -> None:
    ending = made.apache_down()
    app = showing(replace(ending, host=replace(ending.host, apache_running=True)))
    assert '<p class="ost-kicker">Apache is down</p>' in get(app, "p=").text


@pytest.mark.parametrize(
    ("state", "kicker", "button"),
    [
        ("healthy", "All is well", None),
        ("stalling", "Visitors are waiting", "Turn stapling off…"),
        ("blocked", "Visitors are waiting", "Turn stapling off…"),
        ("failing", "Something fails, sites are quick", "Tell the datacenter"),
        ("noisy", "Visitors notice nothing, the log has failures", None),
        ("not-applicable", "Not affected", None),
        ("off-by-us", "Stapling is off", "Turn stapling on again…"),
        ("off-elsewhere", "Stapling is off", "Turn stapling on again…"),
        ("apache-down", "Apache is down", None),
        ("ca-outage", "Visitors are waiting", "Turn stapling off…"),
    ],
)
def test_the_verdict_names_the_state_and_recommends_one_thing(
    showing: Shown, state: str, kicker: str, button: str | None
) -> None:
    text = text_of(showing(made.everything()[state]), "")
    assert f'<p class="ost-kicker">{kicker}</p>' in text
    main = re.findall(r'<a class="ost-button ost-button-main"[^>]*>([^<]+)<', text)
    assert main == ([button] if button else [])


def test_without_a_check_the_page_offers_one(showing: Shown) -> None:
    app = showing(None)
    assert "Check now" in text_of(app, "")
    for query in PAGES:
        assert "ost-problem" not in text_of(app, query)


def test_nothing_is_green_for_what_was_so_an_hour_ago(showing: Shown) -> None:
    assert "ost-badge ost-good" in text_of(showing(made.healthy()), "")
    old = replace(made.healthy(), taken_at=made.NOW - timedelta(hours=1))
    assert "ost-badge ost-good" not in text_of(showing(old), "")


def test_where_no_certificate_names_a_responder_or_apache_is_down_no_shield_is_offered(
    showing: Shown,
) -> None:
    assert "Turn the shield on" in text_of(showing(made.healthy()), "")
    for evidence in (made.not_applicable(), made.apache_down()):
        assert "Turn the shield on" not in text_of(showing(evidence), "")


def test_off_by_us_says_since_when_by_whom_and_why(showing: Shown) -> None:
    text = text_of(showing(made.off_by_us()), "")
    assert "root (WHM)" in text
    assert "ticket 4711" in text
    assert "Off since" in text


def test_times_are_in_the_servers_zone_and_name_it(showing: Shown) -> None:
    local = made.NOW.astimezone()
    shown = f"{local:%Y-%m-%d %H:%M:%S} "
    zone = local.tzname() or ""
    assert shown + (zone if zone.isalpha() else f"UTC{local:%z}") in text_of(showing(made.healthy()), "")


def test_a_later_change_is_never_hidden_by_an_older_check(showing: Shown, tmp_path: Path) -> None:
    app = showing(replace(made.stalling(), taken_at=made.NOW - timedelta(minutes=5)))
    with Journal(tmp_path) as journal:
        plan = {"stapling_then": "off", "changes": [{}], "return_when_healthy": True}
        begun = journal.begin("off", "root (WHM)", "hangs", plan, [])
        journal.finish(begun.id, "done", {"sentence": "7 sites met."})
    text = text_of(app, "")
    assert "Visitors are waiting" not in text
    assert "Since the last check: Stapling was turned off" in text
    assert "by itself, once all is healthy" in text
    assert "healthy 0 of 3 looks" in text
    assert "Do not turn it on by itself" in text
    assert "How long visitors wait" not in text  # measured before the change


def test_an_operation_under_way_is_announced(showing: Shown, tmp_path: Path) -> None:
    app = showing(made.stalling())
    with Journal(tmp_path) as journal:
        begun = journal.begin("off", "bigboss (WHM)", "", {}, [])
    text = text_of(app, "")
    assert "under way, begun by bigboss (WHM)" in text
    assert f"?p=operations/{begun.id}" in text


# -- the viewer ------------------------------------------------------------------------------------------------


@pytest.fixture
def own_only(monkeypatch: pytest.MonkeyPatch) -> None:
    visible = Visible(frozenset({OWN}))
    for module in (picture, sites):
        monkeypatch.setattr(
            module,
            "visible_to",
            lambda caller: Visible(everything=caller.is_operator) if caller.is_operator else visible,
        )


VIEWER_PAGES = (
    "",
    "p=guide",
    "p=responders",
    "p=authorities",
    "p=ticket",
    "p=ticket&for=datacenter",
    "p=ticket&for=ca",
)


@pytest.mark.usefixtures("own_only")
@pytest.mark.parametrize("state", ["stalling", "off-by-us", "off-elsewhere", "told-elsewhere", "healthy"])
def test_a_viewer_sees_their_own_names_and_nobody_elses(showing: Shown, state: str) -> None:
    evidence = made.everything()[state]
    app = showing(_with_secrets(evidence))
    everything = "".join(text_of(app, query, VIEWER) for query in VIEWER_PAGES)
    others = "".join(text_of(app, query, VIEWER) for query in VIEWER_PAGES if "ticket" not in query)
    assert "web12.example.com" not in others  # only a ticket has to say which server it is about
    names = set(re.findall(r"site\d+\.[a-z]+\.example", everything))
    assert names <= {OWN}
    for secret in ("SECRET", "/etc/", "root (WHM)", "4711", "nobody", "httpd.conf"):
        assert secret not in everything, secret


@pytest.mark.usefixtures("own_only")
@pytest.mark.parametrize("then", ["on", "off"])
def test_what_a_change_measured_is_not_told_to_viewers_for_it_names_others_sites(
    showing: Shown, tmp_path: Path, then: str
) -> None:
    app = showing(replace(made.stalling(), taken_at=made.NOW - timedelta(minutes=5)))
    told = "Visitors still wait at sites that turn stapling on themselves (another.example)."
    with Journal(tmp_path) as journal:
        begun = journal.begin("off", "root", "", {"stapling_then": then, "changes": [{}]}, [])
        journal.finish(begun.id, "done", {"sentence": told, "still_waiting_names": ["another.example"]})
    assert "another.example" in text_of(app, "")
    for page in VIEWER_PAGES:
        assert "another.example" not in text_of(app, page, VIEWER)
    assert "but some visitors still wait" in text_of(app, "", VIEWER)


def _with_secrets(evidence: Evidence) -> Evidence:
    first, *rest = evidence.responders
    return replace(
        evidence,
        responders=(
            replace(first, blocked_by=("SECRET-RULE",), name_sentence="SECRET-DNS", command="SECRET-COMMAND"),
            *rest,
        ),
        problems=("SECRET-PROBLEM",),
        host=replace(evidence.host, traces={"a": "SECRET-TRACE"}, load_sentence="SECRET-LOAD"),
        configuration=replace(evidence.configuration, findings=("SECRET-FINDING",)),
    )


@pytest.mark.usefixtures("own_only")
def test_a_viewer_gets_the_clicks_instead_of_the_button(showing: Shown) -> None:
    text = text_of(showing(made.stalling()), "p=guide", VIEWER)
    assert "Include Editor" in text
    assert "SSLUseStapling Off" in text
    assert "?p=plan/off" not in text


@pytest.mark.usefixtures("own_only")
def test_the_ticket_of_a_viewer_asks_root_with_the_clicks_and_only_true_numbers(showing: Shown) -> None:
    text = html.unescape(text_of(showing(made.stalling()), "p=ticket", VIEWER))
    assert "Subject: URGENT: HTTPS sites on web12.example.com hang, please turn OCSP stapling off" in text
    assert "My sites whose visitors wait: 1 of 1." in text
    assert "Request: please turn OCSP stapling off" in text
    assert "2. Service Configuration > Apache Configuration > Include Editor." in text
    assert "SSLUseStapling Off" in text
    assert "Send this to root:" in text
    assert 'href="mailto:?subject=URGENT%3A%20HTTPS%20sites%20on%20web12.example.com' in text
    for wrong in ("Besides", "error log:", "Server:   \n", "severity", "confidence"):
        assert wrong not in text, wrong


def test_a_mail_of_a_long_ticket_opens_with_its_beginning_and_asks_to_paste_the_rest(showing: Shown) -> None:
    app = showing(made.blocked())
    (link,) = re.findall(r'href="(mailto:[^"]+)"', html.unescape(text_of(app, "p=ticket&for=datacenter")))
    assert len(link) < 2000
    body = unquote(link.partition("&body=")[2])
    assert "Server:   web12.example.com" in body
    assert body.endswith("[The whole text was copied on the page: paste it here.]")


@pytest.mark.usefixtures("own_only")
def test_a_viewer_without_sites_here_is_told_that_nothing_concerns_them(showing: Shown) -> None:
    app = showing(made.failing())  # digicert's responder fails; the viewer's only site is with Sectigo
    assert "All is well" in text_of(app, "", VIEWER)


@pytest.mark.parametrize(
    "page", ["errorlog", "configuration", "history", "plan/off", "elsewhere", "operations/x"]
)
def test_the_operators_pages_are_closed_to_a_viewer(showing: Shown, page: str) -> None:
    assert get(showing(made.healthy()), f"p={page}", VIEWER).status_code == 403


# -- pages that read the server --------------------------------------------------------------------------------


def test_the_error_log_is_charted_told_and_escaped(
    showing: Shown, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now()
    stamp = now.strftime("%a %b %d %H:%M:%S.000000 %Y")
    log = tmp_path / "error_log"
    log.write_text(
        f"[{stamp}] [ssl:error] [pid 7:tid 8] (101)Network is unreachable: [client 192.0.2.1:4] AH01974: "
        "could not connect to OCSP responder '<b>evil</b>'\n"
        f"[{stamp}] [ssl:error] [pid 7:tid 8] AH01941: stapling_renew_response: responder error\n"
    )
    monkeypatch.setattr(server, "look", lambda: None)
    monkeypatch.setattr(errorlog, "error_logs", lambda _here: ErrorLogs((log,), False))
    text = text_of(showing(None), "p=errorlog")
    assert "<b>evil" not in text
    assert "1 failure</strong> in 24 hours" in text
    assert not Page(text).open


def test_an_apache_that_stapling_kept_from_starting_is_not_shown_in_green(
    showing: Shown, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamp = datetime.now().strftime("%a %b %d %H:%M:%S.000000 %Y")
    log = tmp_path / "error_log"
    log.write_text(f"[{stamp}] [ssl:emerg] [pid 7] AH01958: SSLStapling: no stapling cache available\n")
    monkeypatch.setattr(server, "look", lambda: None)
    monkeypatch.setattr(errorlog, "error_logs", lambda _here: ErrorLogs((log,), False))
    text = text_of(showing(made.healthy()), "p=errorlog")
    assert "Stapling kept Apache from starting" in text
    assert "ost-good" not in text


def test_nothing_about_the_log_is_green_while_visitors_wait(
    showing: Shown, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "error_log").write_text("")
    monkeypatch.setattr(server, "look", lambda: None)
    monkeypatch.setattr(errorlog, "error_logs", lambda _here: ErrorLogs((tmp_path / "error_log",), False))
    for found, green in ((made.healthy(), True), (replace(made.stalling(), log=SILENT), False)):
        app = showing(found)
        (tile,) = re.findall(r"<h3[^>]*>Error log</h3>.*\n.*", text_of(app, ""))
        own, guide = text_of(app, "p=errorlog"), text_of(app, "p=guide")
        assert [("ost-good" in text) for text in (tile, own)] == [green, green]
        assert [(made.escaped(SILENT_YET) in text) for text in (own, guide)] == [not green, not green]


def test_configuration_lines_are_text(showing: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    line = Directive("SSLUseStapling", "On", Path("/etc/<b>.conf"), 3, None, (), True, False, made.HOSTILE)
    finding = Finding("odd", made.HOSTILE)
    tree = ConfigTree(Path("/c"), Path("/etc/apache2"), (), (line,), (), (), (finding,), Path("/u"))
    here = SimpleNamespace(tree=tree, stapling=effective(tree))
    monkeypatch.setattr(server, "look", lambda: here)
    text = text_of(showing(None), "p=configuration")
    assert "<script>alert" not in text
    assert "Stapling is on" in text


def test_of_two_lines_the_one_in_force_and_the_one_overruled_are_told_apart_and_a_refused_configuration_is_said(
    showing: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "SSLStaplingResponderTimeout"
    lines = [
        Directive(name, value, Path("/etc/a.conf"), line, None, (), True, False, f"{name} {value}")
        for line, value in ((3, "3"), (9, "1"))
    ]
    tree = ConfigTree(Path("/c"), Path("/etc/apache2"), (), tuple(lines), (), (), (), Path("/u"))
    here = SimpleNamespace(tree=tree, stapling=effective(tree))
    monkeypatch.setattr(server, "look", lambda: here)
    configuration = replace(made.healthy().configuration, refused="AH00526: Syntax error")
    text = text_of(showing(replace(made.healthy(), configuration=configuration)), "p=configuration")
    effects = re.findall(r'data-label="Effect">([^<]*)<', text)
    assert effects == ["overruled by a later line", "in force"]
    assert "Apache refuses its configuration" in text
    assert "AH00526: Syntax error" in text


def test_a_site_that_firefox_refuses_for_want_of_a_staple_is_not_marked_as_on(
    showing: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sites, "_rows", lambda: rows(3))
    shielded = replace(made.healthy(), shield=ShieldEvidence(True, 2, 3, ("site0001.example",)))
    text = text_of(showing(shielded), "p=sites")
    assert text.index("site0001.example") < text.index("Firefox refuses it") < text.index("site0000.example")
    assert "Waiting now" not in text
    assert text_of(showing(made.healthy()), "p=sites").count("Firefox refuses it") == 0


def test_a_site_turned_off_alone_can_be_turned_on_again_from_the_list_and_one_that_is_off_by_itself_cannot(
    showing: Shown, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tree = Tree(tmp_path)
    directory = tree.layout.userdata / "ssl/2_4/user/a.test"
    directory.mkdir(parents=True)
    (directory / "own.conf").write_text("# mine\n")
    own = {"a.test": f'Include "{directory}/*.conf"\n', "b.test": "SSLUseStapling Off\n", "c.test": ""}
    tree.conf(sites=own)
    carry_out(make(site_wish("off", "a.test"), tree.situation()))
    here = tree.situation().server
    monkeypatch.setattr(server, "look", lambda _: here)
    text = text_of(showing(None), "p=sites")
    assert re.findall(r'href="\?p=plan/site-on&amp;site=([^"]+)"', text) == ["a.test"]
    assert text.count("Turned off for this site alone.") == 1
    assert text.count("Turns stapling off for itself.") == 1
    for module in (picture, sites):
        monkeypatch.setattr(module, "visible_to", lambda _: Visible(domains=frozenset(own)))
    text = text_of(showing(None), "p=sites", VIEWER)
    assert "Turned off for this site alone." in text
    assert "site-on" not in text


def rows(count: int) -> list[SiteRow]:
    later = datetime.now(UTC) + timedelta(days=40)
    door = Door("127.0.0.1", 443, "x")
    return [
        SiteRow(
            f"site{n:04}.example",
            f"user{n}",
            "Sectigo" if n % 2 else "DigiCert",
            "ocsp.x",
            "good",
            "On",
            n % 100 == 7,
            later,
            "",
            door,
        )
        for n in range(count)
    ]


def test_five_thousand_sites_come_in_pages_and_can_be_searched(
    showing: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sites, "_rows", lambda: rows(5000))
    app = showing(None)
    first = text_of(app, "p=sites")
    assert first.count("Staple check") == sites.PER_PAGE
    assert "page 1 of 50" in first
    assert "site4999.example" in text_of(app, "p=sites&page=50")
    found = text_of(app, "p=sites&q=SITE0042&ca=DigiCert")
    assert found.count("Staple check") == 1
    assert text_of(app, "p=sites&show=must-staple").count("Staple check") == 50
    assert get(app, "p=sites&q=site0042&format=json").json["html"].count("Staple check") == 1  # type: ignore[index]


@pytest.mark.usefixtures("own_only")
def test_a_viewers_list_and_staple_check_are_limited_to_their_own(
    showing: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = replace(rows(1)[0], name=OWN)
    monkeypatch.setattr(sites, "_rows", lambda: [*rows(3), mine])
    text = text_of(showing(None), "p=sites", VIEWER)
    assert OWN in text
    assert "site0001.example" not in text
    assert "1 TLS site of your accounts" in text


def test_a_site_with_markup_for_a_name_stays_text(showing: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    evil = replace(
        rows(1)[0], name=made.HOSTILE, owner=made.HOSTILE, authority=made.HOSTILE, note=made.HOSTILE
    )
    monkeypatch.setattr(sites, "_rows", lambda: [evil])
    text = text_of(showing(None), "p=sites&q=" + "%3Cscript%3E")
    assert "<script>alert" not in text
    assert not Page(text).open


def test_what_the_watch_saw_is_drawn_and_told(showing: Shown, tmp_path: Path) -> None:
    evidence = made.stalling()
    one = evidence.responders[0]
    now = time.time()
    with Memory(tmp_path) as memory:
        for number in range(6):
            outcome = "ok" if number < 3 else "reply-timeout"
            severity = "none" if number < 3 else "stalling"
            seen = {f"{one.url} {address.address}": (outcome, 20.0) for address in one.finding.addresses}
            memory.add(Reading(now - 300 * (6 - number), "ca-outage", severity, "on", seen))
    app = showing(evidence)
    text = text_of(app, "p=responders")
    assert "The last 6 checks: 3 with a failure. The latest: silent at" in text
    assert "50 % of 6 looks by the watch in the last 30 days" in text


@pytest.mark.usefixtures("own_only")
def test_the_overview_tells_the_incident_and_a_viewer_when_and_how_long_but_not_whose(
    showing: Shown, tmp_path: Path
) -> None:
    app = showing(made.stalling())
    text = text_of(app, "")
    assert "<dt>Since</dt>" in text
    assert "Sites waited more than 3.5 s from" in text
    with Journal(tmp_path) as journal:
        begun = journal.begin("off", "alice (sudo)", "hangs", {"stapling_then": "off", "changes": [{}]}, [])
        journal.finish(begun.id, "done", {"sentence": "7 sites met."})
    assert "by alice (sudo); ocsp.sectigo.com still fails" in text_of(app, "")
    viewers = [text_of(app, page, VIEWER) for page in ("", "p=guide", "p=ticket")]
    for told in viewers:
        assert "Sites waited more than 3.5 s" in told
        assert not re.search("alice|p=history|7 of|certificates of", told)
    assert "stapling turned off" in viewers[0]
    assert "ocsp.sectigo.com still fails" in viewers[0]
    assert "Subject: OCSP stapling on " in viewers[2]
    assert "an outage" in viewers[2]


HANDSHAKE = {"address": "203.0.113.7", "port": 443, "key": None, "asked": True, "failure": None}


@pytest.mark.parametrize(
    ("action", "state", "says"),
    [
        ("on", "done", "Since the last check: Stapling was turned on"),
        ("shield-off", "done", "The shield was turned off. 3 sites tested."),
        (
            "shield-off",
            "restored",
            "Turning the shield off failed, and everything was put back. 3 sites tested.",
        ),
    ],
)
def test_after_a_change_the_page_stands_on_what_that_measured_at_its_end(
    showing: Shown, tmp_path: Path, action: str, state: str, says: str
) -> None:
    checked = made.off_by_us() if action == "on" else made.stalling()
    app = showing(replace(checked, taken_at=made.NOW - timedelta(minutes=1)))
    met = [
        HANDSHAKE | {"site": f"site{n:03}.sectigo.example", "seconds": 0.009, "stapled": True}
        for n in range(3)
    ]
    with Journal(tmp_path) as journal:
        begun = journal.begin(
            action, "root", "", {"stapling_now": "on", "stapling_then": "on", "changes": [{}]}, []
        )
        journal.finish(begun.id, state, {"sentence": "3 sites tested.", "after": {"handshakes": met}})
    text = text_of(app, "")
    assert says in text
    assert "9 ms" in text
    assert not re.search(
        "Visitors are waiting|could not be measured|no site could be reached|Firefox refuses", text
    )


def test_of_very_many_responders_the_addresses_come_when_they_are_looked_at(showing: Shown) -> None:
    many = tuple(made.responder(f"ocsp{n}.example.com", 3) for n in range(200))
    app = showing(replace(made.healthy(), responders=many))
    text = text_of(app, "p=responders")
    assert text.count('<details class="ost-responder') == 200
    assert len(text) < 300_000
    row = re.search(r'href="\?(p=responders&amp;open=[^"#]+)#', text)
    assert row is not None
    answer = get(app, row[1].replace("&amp;", "&") + "&format=json")
    assert "198.51.100.10" in answer.json["html"]  # type: ignore[index]
    opened = text_of(app, row[1].replace("&amp;", "&"))
    assert opened.count("198.51.100.10") == 1


def test_very_many_responders_are_drawn_once_for_a_look_and_anew_for_the_next(
    showing: Shown, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def evidence(kind: str) -> Evidence:
        return replace(
            made.healthy(), responders=tuple(made.responder(f"{kind}{n}.example", 3) for n in range(30))
        )

    row, drawn = responders._responder, []

    def counted(*found: Any) -> responders.ResponderRow:
        drawn.append(found)
        return row(*found)

    monkeypatch.setattr(responders, "_responder", counted)
    app = showing(evidence("old"))
    first = text_of(app, "p=responders")
    assert text_of(app, "p=responders") == first
    assert len(drawn) == 30
    result.store(tmp_path, result.judged(evidence("new")))
    anew = text_of(app, "p=responders")
    assert "new29.example" in anew
    assert "old" not in re.findall(r"([a-z]+)\d+\.example", anew)
    with Memory(tmp_path) as memory:
        memory.add(
            Reading(time.time(), "healthy", "none", "on", {"http://new3.example 198.51.100.1": ("ok", 9.0)})
        )
    assert "The last 1 check: 0 with a failure" in text_of(app, "p=responders")


def test_a_viewer_s_rows_are_not_shown_to_root_nor_root_s_to_a_viewer(
    showing: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = tuple(made.responder(f"ocsp{n}.example.com", 1) for n in range(30))
    own = replace(many[0], sites=(replace(many[0].sites[0], name=OWN),))
    app = showing(replace(made.healthy(), responders=(own, *many[1:])))
    monkeypatch.setattr(
        picture,
        "visible_to",
        lambda who: Visible(everything=True) if who.is_operator else Visible(frozenset({OWN})),
    )
    for _ in range(2):
        assert text_of(app, "p=responders").count("ost-responder-name") == 30
        assert text_of(app, "p=responders", VIEWER).count("ost-responder-name") == 1


# -- the shield -------------------------------------------------------------------------------------------------


LONG_AGO = datetime.fromtimestamp(1_790_000_000, UTC)


def standing(**more: object) -> Standing:
    """A shield that holds everything."""
    now, hour = datetime.now(UTC), timedelta(hours=1)
    found = Standing(True, 3, 3, earliest_end=now + 25 * hour, oldest=now - hour, port=340)
    return replace(found, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "in_force", "word", "said"),
    [
        ({}, True, "On", "3 of 3"),
        ({"answering": False}, True, "The relay does not answer", "The watch starts it again"),
        ({}, False, "Ready, not in force", "Apache does not ask the relay now"),
        (
            {
                "held_count": 2,
                "missing": ("a.example",),
                "failures": (("no answer within 3 s", 1),),
                "last_failure": LastFailure("a.example", "ocsp.test", "no answer within 3 s", LONG_AGO),
            },
            True,
            "1 answer missing",
            "Last failure (1 certificate), about a.example at ocsp.test: no answer within 3 s.",
        ),
        ({"unread": ("d.example",)}, True, "Certificates not read", "certificates of 1 site (d.example)"),
        ({"revoked": ("b.example",)}, True, "Revoked", "Revoked by the authority: b.example."),
        (
            {"responders": (ShieldedResponder("ocsp.test", 3, 0, 1, LONG_AGO, "c.example", LONG_AGO),)},
            True,
            "On",
            "No new answer for c.example from ocsp.test; the last one is valid until 2026-09-21",
        ),
    ],
)
def test_the_card_says_what_the_shield_holds_and_lacks(
    showing: Shown,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, object],
    in_force: bool,
    word: str,
    said: str,
) -> None:
    here = SimpleNamespace(shielded=in_force)
    monkeypatch.setattr("ocsp_stapling.web.pages.shield.keeping.look", lambda _: (here, standing(**changes)))
    monkeypatch.setattr("ocsp_stapling.web.pages.shield.wished_port", lambda _: 340)
    text = html.unescape(text_of(showing(made.healthy()), ""))
    card = text.partition('aria-labelledby="ost-shield"')[2].partition("</section>")[0]
    assert word in card
    assert said.lower() in card.lower()
    assert "Turn the shield off…" in card
    assert ("no visitor waits" in card) is (in_force and changes.get("answering", True))
    assert ("Turn the shield on…" in card) is not in_force


@pytest.mark.usefixtures("own_only")
def test_without_a_shield_the_card_offers_one_and_a_viewer_sees_none(showing: Shown) -> None:
    app = showing(made.healthy())
    assert "?p=plan/shield-on" in text_of(app, "")
    assert "ost-shield" not in text_of(app, "", VIEWER)


@pytest.mark.usefixtures("own_only")
def test_sites_that_are_off_alone_are_said_beside_how_stapling_stands(showing: Shown) -> None:
    several = tuple(OwnSwitch(f"alone{number}.example", f"/x.conf:{number}", True) for number in range(7))
    healthy = made.healthy()
    shown = replace(healthy, configuration=replace(healthy.configuration, own_off=several))
    told = text_of(showing(shown), "")
    assert "Off for 7 sites alone: alone0.example, " in told
    assert "Stapling on" in told
    assert "/x.conf" not in text_of(showing(shown), "", VIEWER)
    assert "alone0.example" not in text_of(showing(shown), "", VIEWER)


def test_the_tabs_are_six_and_pages_behind_them_have_a_row_of_their_own(showing: Shown) -> None:
    text = text_of(showing(made.healthy()), "p=authorities")
    first, second = re.findall(r"<nav class=\"ost-nav.*?</nav>", text, re.DOTALL)
    names = re.findall(r"<a href=\"[^\"]+\"(?: aria-current=\"(\w+)\")?>([^<]+)<", first)
    assert [name for _, name in names] == [
        "Overview",
        "Guided steps",
        "Evidence",
        "Configuration",
        "History",
        "Ticket",
    ]
    assert [name for current, name in names if current] == ["Evidence"]
    assert re.findall(r'aria-current="page">([^<]+)<', second) == ["Authorities"]


@pytest.mark.parametrize(
    ("query", "title"),
    [("", "Visitors are waiting"), ("p=history", "History"), ("p=elsewhere", "From elsewhere")],
)
def test_the_browsers_title_says_page_and_state(showing: Shown, query: str, title: str) -> None:
    assert f'data-ost-title="{title}"' in text_of(showing(made.stalling()), query)


def test_in_an_emergency_the_button_comes_before_the_prose(showing: Shown) -> None:
    text = text_of(showing(made.stalling()), "")
    assert text.index("Turn stapling off…") < text.index("sites answer again within seconds")


# -- after a change ---------------------------------------------------------------------------------------------


def changed(directory: Path, action: str = "off", then: str = "off") -> str:
    """A change that ended well, in the journal."""
    with Journal(directory) as journal:
        plan = {"stapling_then": then, "files": [{}], "return_when_healthy": False}
        begun = journal.begin(action, "root (WHM)", "hangs", plan, [])
        journal.step(begun.id, "verify", {})
        journal.finish(begun.id, "done", {"message": "7 sites met."})
        return begun.id


def test_after_an_off_the_ticket_holds_the_evidence_from_before(showing: Shown, tmp_path: Path) -> None:
    app = showing(made.stalling())
    identity = changed(tmp_path)
    text = text_of(app, f"p=operations/{identity}")
    assert 'ost-button-main" href="?p=ticket">Write the ticket' in text
    assert (
        text.index("Write the ticket") < text.index("Let it turn on by itself") < text.index("Back to the ov")
    )
    with Journal(tmp_path) as journal:
        journal.choose_return(identity, armed=True, who="root")
    text = text_of(app, f"p=operations/{identity}")
    assert "Let it turn on by itself" not in text
    assert "by itself, once all is healthy" in text
    result.store(tmp_path, result.judged(made.off_by_us()))  # what is seen since says nothing of waiting
    assert "3.5 s" in text_of(app, "p=ticket")


@pytest.mark.parametrize("whose", ["ca", "root"])
def test_right_after_an_on_no_page_says_that_a_responder_fails_as_the_check_before_it_found(
    showing: Shown, tmp_path: Path, whose: str
) -> None:
    app = showing(made.off_by_us(healed=False))
    assert "What fails" in text_of(app, f"p=ticket&for={whose}")
    assert "sectigo" in text_of(app, "p=guide")
    changed(tmp_path, "on", "on")

    assert "Just changed" in text_of(app, "")
    ticket, guide = text_of(app, f"p=ticket&for={whose}"), text_of(app, "p=guide")
    assert "What fails" not in ticket
    assert "fails, please check" not in ticket
    assert "what the check before it found may be over by now." in ticket
    assert "Check again before this is sent" in ticket
    assert "Finding:" not in ticket
    assert "from the same server at the same moment" in ticket
    assert "sectigo" not in guide
    assert guide.count("What the check before it found may be over by now; the next one tells.") == 5

    result.store(
        tmp_path, result.judged(replace(made.failing(), taken_at=datetime.now(UTC) + timedelta(seconds=1)))
    )
    assert "What fails" in text_of(app, f"p=ticket&for={whose}")
    assert "may be over by now" not in text_of(app, "p=guide")


def test_while_stapling_is_off_the_sites_that_firefox_refuses_stay_in_sight(showing: Shown) -> None:
    strict = "While stapling is off, Firefox refuses"
    assert strict in text_of(showing(made.off_by_us()), "")
    assert strict not in text_of(showing(made.healthy()), "")


def test_availability_says_how_much_it_rests_on_and_is_not_green_beside_a_failure(
    showing: Shown, tmp_path: Path
) -> None:
    evidence = made.stalling()
    with Memory(tmp_path) as memory:
        for number in range(20):
            seen = {
                f"{one.url} {address.address}": ("ok", 20.0)
                for one in evidence.responders[: 3 if number == 0 else 2]
                for address in one.finding.addresses
            }
            memory.add(Reading(time.time() - 300 * (21 - number), "healthy", "none", "on", seen))
    text = text_of(showing(evidence), "p=history")
    tones = dict(re.findall(r'<code>http://([^<]+)</code>.*?ost-badge ost-(\w+)"', text, re.DOTALL))
    assert tones == {
        "ocsp.sectigo.com": "warn",  # it fails now
        "ocsp.digicert.com": "good",
        "ocsp.globalsign.com": "calm",  # one look says little
    }
    assert "100 % of 1 look<" in text


def test_the_list_of_sites_is_filtered_by_what_a_site_has(
    showing: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = made.row("plain.example")
    shown = {
        "odd": replace(one, name="odd.example", note="The issuer is missing from the chain."),
        "none": replace(one, name="none.example", host=""),
        "must-staple": replace(one, name="strict.example", must_staple=True),
    }
    monkeypatch.setattr(sites, "_rows", lambda: [one, *shown.values()])
    app = showing(None)
    for word, row in shown.items():
        assert re.findall(r'<th scope="row">([^ <]+)', text_of(app, f"p=sites&show={word}")) == [row.name]
    with_one = re.findall(r'<th scope="row">([^ <]+)', text_of(app, "p=sites&show=responder"))
    assert with_one == ["plain.example", "odd.example", "strict.example"]


def test_in_an_outage_sites_that_cause_it_and_wait_are_marked_and_found(
    showing: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("site000.sectigo.example", "site000.digicert.example", "quiet.example")
    monkeypatch.setattr(sites, "_rows", lambda: [made.row(name) for name in reversed(names)])
    app = showing(made.stalling())
    text = text_of(app, "p=sites")
    told = re.findall(r'<th scope="row">([^<]+)</th>.*?</svg>([^<]+)</span>', text, re.DOTALL)
    assert told == list(zip(names, ("Causes the wait", "Waits", "On"), strict=True))
    assert text_of(app, "p=sites&show=causing").count("Staple check") == 1
    assert text_of(app, "p=sites&show=waiting").count("Staple check") == 2
    calm = text_of(showing(made.healthy()), "p=sites")
    assert "Causes the wait" not in calm
    assert "Waiting now" not in calm


def test_the_guide_says_that_it_is_solved(showing: Shown, tmp_path: Path) -> None:
    app = showing(made.stalling())
    assert "Solved." not in text_of(app, "p=guide")
    over = replace(made.healthy(), taken_at=datetime.now(UTC))
    result.store(tmp_path, result.judged(over))
    assert "<strong>Solved.</strong> Sites waited more than 3.5 s " in text_of(app, "p=guide")


def test_the_plan_of_a_site_that_is_off_already_says_so_of_the_site(
    showing: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = CHANGE | {"action": "site-off", "site": "a.test", "already": "Stapling is off for a.test"}
    monkeypatch.setattr(plan, "_plan", lambda *_: Plan(**facts, changes=()))
    text = text_of(showing(made.healthy()), "p=plan/site-off&site=a.test")
    assert "Stapling is off for a.test already; no file needs a change." in text


@pytest.mark.parametrize("action", ["site-off", "site-on"])
def test_only_what_is_turned_off_alone_is_said_to_outlast_an_off_for_all(
    action: str, showing: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = (Change(Snapshot(Path("/etc/new.conf"), None, None), b"x\n"),)
    facts = CHANGE | {"action": action, "site": "a.test"}
    monkeypatch.setattr(plan, "_plan", lambda *_: Plan(**facts, changes=changes))
    text = text_of(showing(made.healthy()), f"p=plan/{action}&site=a.test")
    assert ("It stays so until you take it back" in text) is (action == "site-off")


def test_a_shield_that_apache_does_not_ask_can_be_ended_on_the_page(
    showing: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = CHANGE | {"action": "shield-off", "stapling_now": False, "ends_shield": True}
    monkeypatch.setattr(plan, "_plan", lambda *_: Plan(**facts, changes=()))
    text = text_of(showing(made.healthy()), "p=plan/shield-off")
    assert "The shield ends; stapling stays off, and no file needs a change." in text
    assert ">Turn the shield off</button>" in text
    assert "will be written" not in text
    assert "already" not in text


def test_a_refused_viewer_is_led_to_the_ticket(showing: Shown) -> None:
    app = showing(made.stalling())
    assert "Write a ticket to root" in get(app, "p=plan/off", VIEWER).text
    assert "Write a ticket to root" not in get(app, "p=no-such-page", VIEWER).text


def test_no_shield_is_offered_where_another_server_answers_visitors_but_one_that_is_on_can_be_ended(
    showing: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = made.healthy()
    app = showing(
        replace(found, host=replace(found.host, front=Server.NGINX, front_sentence="nginx holds port 443"))
    )
    assert 'aria-labelledby="ost-shield"' not in text_of(app, "")
    here = SimpleNamespace(shielded=True)
    monkeypatch.setattr("ocsp_stapling.web.pages.shield.keeping.look", lambda _: (here, standing()))
    monkeypatch.setattr("ocsp_stapling.web.pages.shield.wished_port", lambda _: 340)
    assert "Turn the shield off…" in text_of(app, "")


def test_a_change_for_one_site_after_which_others_wait_takes_the_stall_from_no_page(
    showing: Shown, tmp_path: Path
) -> None:
    app = showing(replace(made.stalling(), taken_at=made.NOW - timedelta(minutes=1)))
    with Journal(tmp_path) as journal:
        plan = {"stapling_then": "on", "site": "site001.sectigo.example", "changes": [{}]}
        begun = journal.begin("site-off", "root", "", plan, [])
        journal.finish(begun.id, "done", {"sentence": "1 site tested.", "still_waiting_names": ["a.example"]})
    text = text_of(app, "")
    assert "Visitors are waiting" in text
    assert "Stapling was turned off, for some sites alone, but some visitors still wait" in text
