"""The page's plumbing through the stand-in WHM: who gets in, what passes the front, and what never shows."""

from __future__ import annotations

import base64
import contextlib
import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from ocsp_stapling.change.journal import new_identity
from ocsp_stapling.web.csrf import FormTokens
from ocsp_stapling.web.identity import Caller, Role
from tests.machine import Machine, Shape, why_not_here
from tests.machine.cpanel import API_TOKEN, OPERATOR, ROOTLIKE, STRANGER, SUPPORT, VIEWER, password
from tests.machine.whm import FORM, PAGE, Answer, Browser, connect, log_in, open_whm

pytestmark = pytest.mark.machine
APP = "/var/cpanel/apps/ocsp-stapling.conf"
FRONT = "/usr/local/cpanel/whostmgr/docroot" + PAGE
SOCKET = "/run/ocsp-stapling/web.sock"
STATE = "/var/lib/ocsp-stapling"
UNKNOWN = "operations/20250101T000000-abcdef"  # a page for operators; no such operation: 404 for those let in
SECONDS = 90
UNITS = Path(__file__).parents[2] / "plugin/systemd"


@pytest.fixture(scope="module")
def whm() -> Iterator[Machine]:
    """One machine with WHM for the tests that leave it as it was."""
    if reason := why_not_here():
        pytest.skip(reason)
    with Machine(Shape(sites=2, cas=1)) as machine:
        open_whm(machine)
        yield machine


def code(answer: Answer) -> str:
    """The error code of a JSON answer."""
    error = answer.json()["error"]
    assert isinstance(error, dict)
    return str(error["code"])


def state_file(machine: Machine, name: str) -> Path:
    return machine.path(f"{STATE}/{name}")


def token(machine: Machine, browser: Browser, user: str = OPERATOR, prefix: str | None = None) -> str:
    """A token as a form of the page would carry it."""
    browser.get("nowhere")  # the service has made its key by then
    tokens = FormTokens(state_file(machine, "page.key").read_bytes())
    return tokens.issue(Caller(user, Role.OPERATOR, browser.prefix if prefix is None else prefix))


# -- who gets in -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user", "status"), [(OPERATOR, 404), (ROOTLIKE, 404), (SUPPORT, 404), (VIEWER, 403), (STRANGER, 403)]
)
def test_root_privileges_are_what_counts_not_the_name(whm: Machine, user: str, status: int) -> None:
    assert log_in(whm, user).get(UNKNOWN).status == status


def test_the_viewers_privilege_opens_the_page_but_not_the_operators_views(whm: Machine) -> None:
    viewer = log_in(whm, VIEWER)
    assert viewer.get("nowhere").status == 404
    answer = viewer.get(UNKNOWN, format="json")
    assert (answer.status, code(answer)) == (403, "forbidden")


def test_the_front_refuses_by_itself_even_if_whm_let_a_stranger_through(whm: Machine) -> None:
    registered = whm.path(APP)
    before = registered.read_text()
    registered.write_text(before.replace("acls=", "acls=list-accts,"))
    try:
        answer = log_in(whm, STRANGER).get("nowhere", format="json")
    finally:
        registered.write_text(before)
    assert (answer.status, code(answer)) == (403, "forbidden")


def test_the_privilege_exists_only_with_the_plugins_modules(whm: Machine) -> None:
    driver = whm.path("/usr/local/cpanel/Cpanel/Config/ConfigObj/Driver/OCSPStapling.pm")
    aside = driver.with_suffix(".aside")
    driver.rename(aside)
    try:
        assert log_in(whm, VIEWER).get("nowhere").status == 403
        assert log_in(whm).get("nowhere").status == 404
    finally:
        aside.rename(driver)


def test_an_api_token_is_refused_and_a_password_alone_is_not(whm: Machine) -> None:
    token_holder = Browser(whm, headers={"Authorization": f"whm root:{API_TOKEN}"})
    answer = token_holder.get("nowhere", format="json")
    assert (answer.status, code(answer)) == (403, "api-token")
    basic = base64.b64encode(f"{OPERATOR}:{password(OPERATOR)}".encode()).decode()
    assert Browser(whm, headers={"Authorization": f"Basic {basic}"}).get(UNKNOWN).status == 404


def test_nobody_gets_in_without_a_login_or_with_another_sessions_address(whm: Machine) -> None:
    browser = log_in(whm)
    assert Browser(whm).get("nowhere").status == 401
    assert Browser(whm, browser.prefix).get("nowhere").status == 401
    assert Browser(whm, "/cpsess0000000000", browser.headers).get("nowhere").status == 401
    browser.ask("GET", "/logout/")
    assert browser.get("nowhere").status == 401


def test_a_plugin_that_is_not_registered_and_a_path_behind_it_are_not_served(whm: Machine) -> None:
    browser = log_in(whm)
    assert browser.ask("GET", f"{PAGE}/operations").status == 404
    registered = whm.path(APP)
    text = registered.read_text()
    registered.unlink()
    try:
        assert browser.get("nowhere").status == 403
    finally:
        registered.write_text(text)


@pytest.mark.parametrize(("user", "shown"), [(OPERATOR, True), (VIEWER, True), (STRANGER, False)])
def test_whms_menu_shows_the_plugin_to_those_who_may_open_it(whm: Machine, user: str, shown: bool) -> None:
    browser = log_in(whm, user)
    assert (f'href="{browser.prefix}{PAGE}"' in browser.ask("GET", "/").text) == shown


# -- forms -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", ["missing", "other user", "other session", "no session", "expired", "nonsense"]
)
def test_a_form_that_is_not_this_sessions_starts_nothing(whm: Machine, kind: str) -> None:
    browser = log_in(whm)
    given = {
        "missing": ("", "form-missing"),
        "other user": (token(whm, browser, user=ROOTLIKE), "form-foreign"),
        "other session": (token(whm, browser, prefix=log_in(whm).prefix), "form-foreign"),
        "no session": (token(whm, browser, prefix=""), "form-foreign"),
        "expired": (expired(whm, browser), "form-expired"),
        "nonsense": ("form.x.y", "form-foreign"),
    }
    identity = new_identity()
    sent, expected = given[kind]
    answer = browser.post("operations", {"operation": identity, "action": "off", "csrf": sent}, format="json")
    assert (answer.status, code(answer)) == (403, expected)
    assert not state_file(whm, f"operations/{identity}.json").exists()


def expired(machine: Machine, browser: Browser) -> str:
    """A token that was made yesterday."""
    browser.get("nowhere")
    signer = FormTokens(state_file(machine, "page.key").read_bytes())._signer(
        Caller(OPERATOR, Role.OPERATOR, browser.prefix)
    )
    signer.get_timestamp = lambda: int(time.time()) - 86400  # type: ignore[method-assign]
    return signer.sign(b"form").decode()


def test_a_link_starts_nothing(whm: Machine) -> None:
    browser = log_in(whm)
    identity = new_identity()
    fields = {"operation": identity, "action": "off", "csrf": token(whm, browser)}
    assert browser.get("operations", **fields).status == 405
    for method in ("HEAD", "PUT"):
        assert browser.ask(method, f"{PAGE}?{urlencode({'p': 'operations', **fields})}").status == 405
    assert not state_file(whm, f"operations/{identity}.json").exists()


def test_a_viewer_starts_nothing_even_with_a_token(whm: Machine) -> None:
    viewer = log_in(whm, VIEWER)
    identity = new_identity()
    fields = {"operation": identity, "action": "off", "csrf": token(whm, viewer, user=VIEWER)}
    assert viewer.post("operations", fields).status == 403
    assert not state_file(whm, f"operations/{identity}.json").exists()


# -- what passes the front ---------------------------------------------------------------------------------


def run_front(machine: Machine, environment: dict[str, str], body: str = "") -> str:
    """Run the front as cpsrvd does, with an environment of the test's choosing; return what it printed."""
    base = {"REMOTE_USER": "root", "REQUEST_METHOD": "GET", "REMOTE_PASSWORD": "the-password"}
    pairs = [f"{name}={value}" for name, value in (base | environment).items()]
    return machine.run("env", "-i", *pairs, FRONT, input=body).stdout


@pytest.mark.parametrize(
    ("environment", "status"),
    [
        ({"QUERY_STRING": "p=nowhere"}, "404"),
        ({"QUERY_STRING": "p=nowhere HTTP/1.1"}, "400"),
        ({"QUERY_STRING": "p=nowhere\r\nX-Ocsp-Stapling-Role: operator"}, "400"),
        ({"QUERY_STRING": "p=nowhere\n"}, "400"),
        ({"QUERY_STRING": "p=<script>"}, "400"),
        ({"QUERY_STRING": 'p="'}, "400"),
        ({"QUERY_STRING": "p=é"}, "400"),
        ({"QUERY_STRING": "p=" + "x" * 9000}, "400"),
        ({"REMOTE_USER": "reseller1\r\nX-Ocsp-Stapling-User: root"}, "403"),
        ({"REMOTE_USER": "root\n"}, "403"),
        ({"REMOTE_USER": ""}, "403"),
        ({"REMOTE_USER": "nobody"}, "403"),
        ({"REQUEST_METHOD": "GET / HTTP/1.1\r\nX: y\r\n\r\nGET"}, "405"),
        ({"REQUEST_METHOD": "DELETE"}, "405"),
        ({"cp_security_token": "/cpsess1\r\nX-Ocsp-Stapling-Role: x", "QUERY_STRING": "p=nowhere"}, "404"),
        ({"REMOTE_ADDR": "192.0.2.1\r\nX: y", "QUERY_STRING": "p=nowhere"}, "404"),
        ({"REQUEST_METHOD": "POST"}, "415"),
        ({"REQUEST_METHOD": "POST", "CONTENT_TYPE": "multipart/form-data; boundary=x"}, "415"),
        ({"REQUEST_METHOD": "POST", "CONTENT_TYPE": FORM}, "411"),
        ({"REQUEST_METHOD": "POST", "CONTENT_TYPE": FORM, "CONTENT_LENGTH": "-1"}, "411"),
        ({"REQUEST_METHOD": "POST", "CONTENT_TYPE": FORM, "CONTENT_LENGTH": "1e3"}, "411"),
        ({"REQUEST_METHOD": "POST", "CONTENT_TYPE": FORM, "CONTENT_LENGTH": "1048577"}, "413"),
        ({"REQUEST_METHOD": "POST", "CONTENT_TYPE": FORM, "CONTENT_LENGTH": "50"}, "408"),
        ({"REQUEST_METHOD": "POST", "CONTENT_TYPE": FORM, "CONTENT_LENGTH": "0"}, "403"),
        ({"REQUEST_METHOD": "POST", "CONTENT_TYPE": f"{FORM}; charset=utf-8", "CONTENT_LENGTH": "3"}, "403"),
    ],
)
def test_the_front_lets_through_only_what_it_knows(
    whm: Machine, environment: dict[str, str], status: str
) -> None:
    query = {"QUERY_STRING": "p=operations"} if environment.get("REQUEST_METHOD") == "POST" else {}
    printed = run_front(whm, query | environment, body="a=b")
    assert printed.startswith(f"Status: {status} ")
    assert "the-password" not in printed


def test_a_custom_header_of_the_browser_names_nobody(whm: Machine) -> None:
    viewer = log_in(whm, VIEWER)
    forged = {"X-Ocsp-Stapling-Role": "operator", "X-Ocsp-Stapling-User": "root"}
    assert viewer.ask("GET", f"{PAGE}?p={UNKNOWN}", headers=forged).status == 403


def test_a_length_that_lies_smuggles_no_second_request(whm: Machine) -> None:
    browser = log_in(whm)
    first = urlencode({"csrf": token(whm, browser), "operation": "x", "action": "off"}).encode()
    second = (
        b"POST /?p=operations HTTP/1.1\r\nHost: x\r\nX-Ocsp-Stapling-User: root\r\n"
        b"X-Ocsp-Stapling-Role: operator\r\nContent-Length: 0\r\n\r\n"
    )
    told = {"Content-Type": FORM, "X-Stand-In-Content-Length": str(len(first))}
    answer = browser.ask("POST", f"{PAGE}?p=operations&format=json", first + second, told)
    assert (answer.status, code(answer)) == (400, "invalid-input")


def test_a_form_that_is_too_large_is_refused_before_it_is_read(whm: Machine) -> None:
    assert begin_form(whm, 10**12, b"x" * 1000).split()[1] == b"413"


def test_a_form_that_comes_too_slowly_is_given_up(whm: Machine) -> None:
    assert begin_form(whm, 100, b"csrf=").split()[1] == b"408"


def begin_form(machine: Machine, length: int, body: bytes) -> bytes:
    """Announce a form, send its beginning and no more; return the beginning of the answer."""
    browser = log_in(machine)
    lines = [
        f"POST {browser.prefix}{PAGE}?p=operations HTTP/1.1",
        "Host: x",
        f"Cookie: {browser.headers['Cookie']}",
        f"Content-Type: {FORM}",
        f"Content-Length: {length}",
    ]
    with connect(machine) as connection:
        connection.settimeout(SECONDS)
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        return connection.recv(4096)


def test_html_comes_inside_whms_page_whose_own_scripts_are_the_only_inline_ones_allowed(whm: Machine) -> None:
    answer = log_in(whm).get("nowhere")
    assert answer.text.startswith("<!DOCTYPE html>")
    assert answer.text.index("contentContainer") < answer.text.index("There is no such page")
    assert answer.text.index("There is no such page") < answer.text.index("whm-footer")
    policy = answer.headers["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert policy.count("'sha256-") == answer.text.count("<script>") + answer.text.count(
        '<script type="text/'
    )
    assert answer.headers["Cache-Control"] == "no-store"


def test_json_passes_without_whms_page(whm: Machine) -> None:
    answer = log_in(whm).get("nowhere", format="json")
    assert (code(answer), answer.headers["Content-Type"]) == ("not-found", "application/json")
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


# -- what never shows --------------------------------------------------------------------------------------


def test_the_logins_password_and_the_session_reach_no_process_file_or_answer(whm: Machine) -> None:
    browser = log_in(whm)
    fields = {"operation": new_identity(), "action": "undo", "csrf": token(whm, browser), "reason": "test"}
    answers = [
        browser.get("nowhere"),
        browser.get("nowhere", format="json"),
        browser.post("operations", fields, format="json"),
        browser.post("operations", {"csrf": "wrong"}),
    ]
    secret = password(OPERATOR)
    for answer in answers:
        assert secret not in answer.text
    assert answers[2].status == 202
    follow(browser, fields["operation"])
    assert found_in_processes(whm, "serve", secret, browser.prefix) == []
    where = ["/var/lib", "/var/log", "/run", "/tmp", "/etc", "/usr/local/cpanel/logs/error_log"]
    hits = whm.run("grep", "-rlF", "-D", "skip", secret, *where, check=False).stdout.split()
    assert hits == ["/run/machine/whm-users.json"]  # where the stand-in keeps its logins
    kept = ["/var/lib", "/run", "/usr/local/cpanel/logs/error_log"]
    assert whm.run("grep", "-rlF", "-D", "skip", browser.prefix, *kept, check=False).stdout == ""


def found_in_processes(machine: Machine, name: str, *secrets: str) -> list[str]:
    """What of the secrets stands in the environment or arguments of the processes whose command has `name`."""
    seen, hits = 0, []
    for pid in machine.run("ls", "/proc").stdout.split():
        directory = machine.path(f"/proc/{pid}")
        with contextlib.suppress(OSError):
            arguments = (directory / "cmdline").read_bytes()
            if not pid.isdigit() or name.encode() not in arguments.split(b"\0"):
                continue
            seen += 1
            text = arguments + (directory / "environ").read_bytes()
            hits += [secret for secret in secrets if secret.encode() in text]
    assert seen
    return hits


def test_nothing_secret_lies_where_every_whm_user_can_read(whm: Machine) -> None:
    page = whm.path("/usr/local/cpanel/whostmgr/docroot/cgi/ocsp-stapling")
    served = [p.relative_to(page) for p in page.rglob("*") if p.is_file()]
    assert {p.suffix for p in served} <= {".cgi", ".css", ".js", ".svg", ".png", ".woff2"}
    stranger = log_in(whm, STRANGER)
    assert stranger.ask("GET", f"{PAGE.rpartition('/')[0]}/index.cgi").status == 403


def test_no_other_user_reaches_the_service(whm: Machine) -> None:
    log_in(whm).get("nowhere")
    ask = f"import socket; s = socket.socket(socket.AF_UNIX); s.connect({SOCKET!r})"
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    done = whm.run(*nobody, "/usr/bin/python3", "-c", ask, check=False)
    assert "PermissionError" in done.stderr
    assert whm.path(SOCKET).lstat().st_mode & 0o777 == 0o600
    assert whm.path("/run/ocsp-stapling").stat().st_mode & 0o777 == 0o700


# -- the service ends, breaks, comes back ------------------------------------------------------------------


def service_pids(machine: Machine) -> list[str]:
    return machine.run("pgrep", "-f", "ocsp-stapling serve", check=False).stdout.split()


def test_a_killed_service_is_there_again_at_the_next_request(whm: Machine) -> None:
    browser = log_in(whm)
    browser.get("nowhere")
    before = service_pids(whm)
    whm.run("kill", "-9", *before)
    assert browser.get("nowhere").status == 404
    assert service_pids(whm) != before


def test_without_the_service_a_plain_page_names_the_command(whm: Machine) -> None:
    browser = log_in(whm)
    with socket_put_aside(whm):
        page, told = browser.get("nowhere"), browser.get("nowhere", format="json")
    assert page.status == 503
    assert "ocsp-stapling doctor" in page.text
    assert (told.status, code(told)) == (503, "service-down")
    assert browser.get("nowhere").status == 404


@contextlib.contextmanager
def socket_put_aside(machine: Machine) -> Iterator[None]:
    machine.run("mv", SOCKET, SOCKET + ".aside")
    try:
        yield
    finally:
        machine.run("mv", SOCKET + ".aside", SOCKET)


SAY = """
import socket, sys
s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(1); print("ready", flush=True)
c, _ = s.accept(); c.recv(65536); c.sendall(sys.argv[2].encode("latin-1").decode("unicode_escape").encode("latin-1"))
"""
HEAD = r"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"


@pytest.mark.parametrize(
    "said",
    [
        "",
        r"garbage",
        r"HTTP/1.1 200 OK\r\n\r\nno length",
        HEAD + r"Content-Length: 100\r\n\r\nbroken off",
        HEAD + r"Content-Length: 1\r\n\r\ntoo much",
        r"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n",
        r"HTTP/1.1 200 OK\x0bX\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_half_an_answer_is_no_answer(whm: Machine, said: str) -> None:
    assert answered_with(whm, said).status == 503


def test_only_known_headers_and_addresses_of_our_own_pass(whm: Machine) -> None:
    more = r"Set-Cookie: a=b\r\nX-Other: 1\r\nContent-Disposition: attachment; filename=ticket.txt\r\n"
    answer = answered_with(
        whm, HEAD + more + r"Location: https://evil.example/\r\nContent-Length: 2\r\n\r\nok"
    )
    assert (answer.status, answer.text) == (200, "ok")
    assert answer.headers["Content-Disposition"] == "attachment; filename=ticket.txt"
    assert not {"Set-Cookie", "X-Other", "Location"} & set(answer.headers)


def test_a_redirect_keeps_the_session(whm: Machine) -> None:
    browser = log_in(whm)
    said = r"HTTP/1.1 303 See Other\r\nLocation: ?p=operations/x\r\nContent-Length: 0\r\n\r\n"
    answer = answered_with(whm, said, browser)
    assert (answer.status, answer.headers["Location"]) == (303, f"{browser.prefix}{PAGE}?p=operations/x")


def answered_with(machine: Machine, said: str, browser: Browser | None = None) -> Answer:
    """What a browser gets when the service says this."""
    return answered_by(machine, browser or log_in(machine), SAY, said)


def answered_by(machine: Machine, browser: Browser, program: str, told: str) -> Answer:
    """What a browser gets when this program is the service."""
    with socket_put_aside(machine):
        service = machine.popen("/usr/bin/python3", "-c", program, SOCKET, told)
        try:
            assert service.stdout is not None
            assert service.stdout.readline() == "ready\n"
            return browser.get("nowhere")
        finally:
            service.kill()
            service.communicate()
            machine.run("rm", "-f", SOCKET)


ANSWER_ONCE_DRESSED = """
import os, socket, sys, time
s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(1); print("ready", flush=True)
c, _ = s.accept(); c.recv(65536)
end = time.monotonic() + 10
while not os.path.exists(sys.argv[2]) and time.monotonic() < end: time.sleep(0.01)
body = b"made meanwhile" if os.path.exists(sys.argv[2]) else b"not made yet"
head = "HTTP/1.1 200 OK\\r\\nContent-Type: text/html\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body)
c.sendall(head.encode() + body)
"""


def test_whms_page_is_made_while_the_service_works(whm: Machine) -> None:
    browser, mark = log_in(whm), "/run/machine/header-made"
    module = whm.path("/usr/local/cpanel/Whostmgr/HTMLInterface.pm")
    before = module.read_text()
    module.write_text(before.replace("sub defheader {", f"sub defheader {{ open my $mark, '>', '{mark}';"))
    try:
        answer = answered_by(whm, browser, ANSWER_ONCE_DRESSED, mark)
    finally:
        module.write_text(before)
        whm.run("rm", "-f", mark)
    assert "made meanwhile" in answer.text
    assert answer.text.index("contentContainer") < answer.text.index("made meanwhile")


# -- work that outlives the request ------------------------------------------------------------------------


def follow(browser: Browser, identity: str) -> dict[str, object]:
    """Poll as the page does until the operation has ended."""
    deadline = time.monotonic() + SECONDS
    while True:
        answer = browser.get(f"operations/{identity}", format="json")
        assert answer.status == 200, answer.text
        progress = answer.json()
        if progress["ended"]:
            return progress
        assert time.monotonic() < deadline, progress
        time.sleep(0.1)


def test_an_operation_survives_the_service_and_a_second_form_starts_no_second_one(tmp_path: Path) -> None:
    with Machine(Shape(sites=2, cas=1)) as machine:
        open_whm(machine)
        browser = log_in(machine, SUPPORT)
        identity = new_identity()
        fields = {"operation": identity, "action": "off", "reason": "alpha hangs <b>"}
        fields["csrf"] = token(machine, browser, user=SUPPORT)
        answer = browser.post("operations", fields)
        assert answer.status == 303
        machine.run("kill", "-9", *service_pids(machine))
        assert browser.post("operations", fields, format="json").status == 202  # the form sent twice
        progress = follow(browser, identity)
        assert (progress["state"], progress["action"]) == ("done", "off")
        assert (progress["who"], progress["reason"]) == (f"{SUPPORT} (WHM)", "alpha hangs <b>")
        assert progress["steps"]
        assert operations_in_journal(machine, tmp_path) == [(identity, "done")]
        include = machine.path("/etc/apache2/conf.d/includes/pre_virtualhost_global.conf").read_text()
        assert "SSLUseStapling Off" in include


def operations_in_journal(machine: Machine, copies: Path) -> list[tuple[str, str]]:
    # A copy: SQLite resolves the path into the machine to one of our own.
    copy = copies / "journal.sqlite"
    copy.write_bytes(state_file(machine, "journal.sqlite").read_bytes())
    with contextlib.closing(sqlite3.connect(copy)) as database:
        return list(database.execute("SELECT id, state FROM operations"))


# -- what systemd and cPanel read --------------------------------------------------------------------------


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_systemd_accepts_the_units(whm: Machine) -> None:
    units = [str(UNITS / f"ocsp-stapling.{kind}") for kind in ("socket", "service")]
    done = whm.run("systemd-analyze", "verify", "--man=no", *units, check=False)
    assert [line for line in done.stderr.splitlines() if "ocsp-stapling" in line] == []
    assert done.returncode == 0


def test_the_privileges_modules_say_what_whm_asks_for(whm: Machine) -> None:
    name = "Cpanel::Config::ConfigObj::Driver::OCSPStapling"
    ask = (
        f"use {name} (); use {name}::META (); my $d = {name}->init(undef); my $c = {name}::META::content(undef);"
        f"my $v = {name}::META::spec_version(); my $acl = {name}->acl_desc()->[0]{{acl}};"
        "print join '|', $acl, ref $d, $c->{name}{driver}, $v;"
    )
    told = whm.run("/usr/local/cpanel/3rdparty/bin/perl", "-I/usr/local/cpanel", "-we", ask)
    assert (told.stdout, told.stderr) == (f"software-ocsp-stapling|{name}|OCSPStapling_driver|1", "")
