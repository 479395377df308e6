"""`install.sh --sandbox` for real: in a browser, in the shell, told as a tour; and that it leaves nothing behind."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from ocsp_stapling import __version__
from tests.machine import Machine, faults, init, moods, relay, tour, why_not_here
from tests.machine.command import USAGE
from tests.machine.machine import REPO
from tests.on_machine.sandboxes import (
    SANDBOX,
    Person,
    Serving,
    Shell,
    namespaces_of,
    serving,
    still_there,
)

pytestmark = pytest.mark.machine
VISIT = re.compile(r" +([0-9.]+) s   (?:with|no) staple\n")


@pytest.fixture(scope="module")
def served() -> Iterator[Serving]:
    if reason := why_not_here():
        pytest.skip(reason)
    with serving("--serve") as found:
        yield found


@pytest.fixture
def outages(served: Serving) -> Iterator[str]:
    """The address of the outage page; everything is healed in the end."""
    url = served.places["outages"]
    yield url
    Person().post(f"{url}heal", ca="all")


# -- the tour ------------------------------------------------------------------------------------------------


@pytest.mark.alone
def test_the_tour_tells_the_whole_story_with_the_installed_plugin_and_each_visitor_when_he_returns() -> None:
    with subprocess.Popen(
        [*SANDBOX, "--tour"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as told:
        assert told.stdout is not None
        lines = [(time.monotonic(), line) for line in told.stdout]
    said = "".join(line for _, line in lines)
    assert told.returncode == 0, said
    assert "Checking the installation (ocsp-stapling doctor)" in said
    visits = [(at, float(found[1])) for at, line in lines if (found := VISIT.fullmatch(line))]
    assert len(visits) == tour.VISITORS * 4
    assert max(seconds for _, seconds in visits) == pytest.approx(12, abs=1.5)
    # Three seconds lie between one and the next in the outage; told all at once, nothing would.
    outage = [at for at, _ in visits[tour.VISITORS : 2 * tour.VISITORS]]
    assert outage[-1] - outage[0] > tour.RESPONDER_TIMEOUT * (tour.VISITORS - 2), visits
    assert "stand-in" in said
    assert ("systemd is this system's own, real." in said) == (not init.why_not_here())
    assert "password" not in said
    assert "127.0.0.1" not in said


def test_a_chapter_that_goes_astray_fails_the_tour(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.fault("alpha", "html")
    machine.run(tour.RESTART, "--hard")
    assert tour.tour(machine) == 1
    assert "astray: expected a staple in each" in capsys.readouterr().out


def test_a_change_that_fails_fails_the_tour(machine: Machine) -> None:
    command = machine.path("/usr/local/sbin/ocsp-stapling")
    command.unlink()
    command.write_text("#!/bin/sh\nexit 3\n")
    command.chmod(0o755)
    with pytest.raises(tour.ChapterError, match="not 3"):
        tour.off(machine)


# -- in a browser --------------------------------------------------------------------------------------------


def test_whm_asks_for_the_printed_login_and_shows_the_plugins_page(served: Serving) -> None:
    whm, person = served.places["whm"], Person()
    with pytest.raises(urllib.error.HTTPError) as refused:
        person.get(whm)
    assert refused.value.status == 401
    assert "WHM Login" in refused.value.read().decode()
    home, plugins = person.post(f"{whm}login/", user="root", **{"pass": served.places["root"]})
    link = re.search(r'href="([^"]+)"[^>]*>OCSP Stapling<', plugins)
    assert link, plugins
    page = person.get(whm.rstrip("/") + link[1])
    assert home.startswith(f"{whm}cpsess")
    assert "Not checked yet" in page
    assert "Check now" in page


def test_the_reseller_may_look_and_other_passwords_open_nothing(served: Serving) -> None:
    whm, person = served.places["whm"], Person()
    with pytest.raises(urllib.error.HTTPError, match="401"):
        person.post(f"{whm}login/", user="root", **{"pass": served.places["reseller1"]})
    _, plugins = person.post(f"{whm}login/", user="reseller1", **{"pass": served.places["reseller1"]})
    assert "OCSP Stapling" in plugins


def test_more_visitors_than_the_relay_leads_at_once_harm_nobody_afterwards(served: Serving) -> None:
    port = int(served.places["outages"].rstrip("/").rpartition(":")[2])
    idle = [socket.create_connection((relay.LOOPBACK, port), timeout=60) for _ in range(relay.AT_ONCE * 2)]
    for connection in idle:
        connection.close()
    deadline = time.monotonic() + 60
    while True:
        with contextlib.suppress(OSError):
            assert "Part of the machine" in Person().get(served.places["outages"])
            return
        assert time.monotonic() < deadline


def test_the_outage_page_breaks_and_heals(outages: str) -> None:
    person = Person()
    assert state(person.get(outages), "alpha") == "in order"
    _, page = person.post(f"{outages}break", ca="alpha", kind="refuse", family="all")
    assert state(page, "alpha") == "IPv4: refuses connections; IPv6: refuses connections"
    assert state(page, "beta") == "in order"
    assert visited(person, outages) == {"no staple"}
    _, page = person.post(f"{outages}heal", ca="alpha")
    assert state(page, "alpha") == "in order"
    assert visited(person, outages) == {"with staple"}


def test_a_responder_is_in_one_mood_in_each_address_family(outages: str) -> None:
    person = Person()
    person.post(f"{outages}break", ca="beta", kind="5xx", family="all")
    _, page = person.post(f"{outages}break", ca="beta", kind="drop", family="6")
    assert state(page, "beta") == "IPv4: answers 503 Service Unavailable; IPv6: its packets are lost"
    _, page = person.post(f"{outages}break", ca="beta", kind="dns", family="all")
    assert state(page, "beta") == " its name does not exist (NXDOMAIN)"
    person.post(f"{outages}break", ca="gamma", kind="hang", family="4")
    _, page = person.post(f"{outages}heal", ca="beta")
    assert state(page, "beta") == "in order"
    assert state(page, "gamma") == "IPv4: accepts connections and never answers"


def test_every_fault_of_the_machine_has_its_button(outages: str) -> None:
    page = Person().get(outages)
    assert set(moods.WORDS) == set(faults.KINDS)
    assert all(f'name="kind" value="{kind}"' in page for kind in faults.KINDS)


@pytest.mark.parametrize(
    ("path", "body", "headers", "status"),
    [
        ("heal", b"ca=all", {"Origin": "http://elsewhere.example"}, 403),
        ("heal", b"ca=all", {"Host": "rebound.example"}, 403),
        ("", None, {"Host": "rebound.example"}, 404),
        ("break", b"ca=alpha&kind=hang&family=5", {}, 400),
        ("break", b"ca=nobody&kind=hang&family=4", {}, 400),
        ("visit", b"site=elsewhere.example", {}, 400),
        ("heal", b"ca=" + b"a" * 5000, {}, 400),
    ],
)
def test_only_the_pages_own_buttons_do_something(
    outages: str, path: str, body: bytes | None, headers: dict[str, str], status: int
) -> None:
    person = Person()
    person.post(f"{outages}break", ca="gamma", kind="stale", family="4")
    request = urllib.request.Request(outages + path, body, headers)
    with pytest.raises(urllib.error.HTTPError) as refused:
        person.opener.open(request, timeout=60)
    assert refused.value.status == status
    assert state(person.get(outages), "gamma") == "IPv4: sends an answer that has expired"


def state(page: str, authority: str) -> str:
    """What the page says of an authority's responder."""
    found = re.search(rf'<section id="{authority}".*?<p class="state">(.*?)</p>', page, re.S)
    assert found, page
    return found[1]


def visited(person: Person, outages: str) -> set[str]:
    """Let visitors come after Apache has forgotten its staples; return how their handshakes ended."""
    _, page = person.post(f"{outages}visit", site="site0001.example.test", forget="yes")
    deadline = time.monotonic() + 90
    while "still waiting" in page:
        assert time.monotonic() < deadline
        time.sleep(0.2)
        page = person.get(outages)
    endings = re.findall(r"[0-9.]+ s</td><td>(.*?)</td>", page)
    assert len(endings) == 4
    return set(endings)


# -- in the shell --------------------------------------------------------------------------------------------


def test_the_shell_has_the_plugin_in_it_survives_ctrl_c_and_ends_cleanly() -> None:
    with Shell(SANDBOX) as shell:
        shell.type("sleep 1000\n")
        time.sleep(0.3)
        shell.type("\x03")
        shell.type("machine fault alpha drop; machine show | grep drop; ocsp-stapling --version\n")
        assert "alpha" in shell.read_until(f"version {__version__}")
        shell.type("readlink -f /usr/local/sbin/ocsp-stapling\n")
        shell.read_until("/opt/ocsp-stapling/releases/")
        shell.type("ocsp-stapling watch --test-mail; machine mail\n")
        shell.read_until("To: admin@example.com")
        shell.type("exit\n")
        shell.read_until("nothing of it is left")
        assert shell.process.wait(60) == 0


def test_the_machines_usage_has_one_command_a_line_and_every_fault(machine: Machine) -> None:
    assert machine.run("machine").stdout == USAGE
    assert [line.split()[1] for line in USAGE.splitlines()[:4]] == ["fault", "heal", "show", "visit"]
    assert set(faults.KINDS) <= set(USAGE.split())
    assert machine.run("machine", "nonsense", check=False).returncode == 2


# -- the end, and where it cannot begin ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "number", "code"),
    [
        ("--serve", signal.SIGINT, 130),
        pytest.param("--tour", signal.SIGINT, 130, marks=pytest.mark.long),
        ("--serve", signal.SIGKILL, -9),
    ],
)
def test_however_it_is_stopped_nothing_is_left(how: str, number: signal.Signals, code: int) -> None:
    with serving(how) as found, namespaces_of(found.process.pid) as namespaces:
        assert len(namespaces) >= 4  # mount, PID, the machine's network and the rest of the internet
        found.process.send_signal(number)
        rest, _ = found.process.communicate(timeout=60)
        assert found.process.returncode == code
        assert number == signal.SIGKILL or "nothing of it is left" in rest
        deadline = time.monotonic() + 30
        while left := still_there(namespaces):
            assert number == signal.SIGKILL, left
            assert time.monotonic() < deadline, left
            time.sleep(0.05)
        for place in {"whm", "outages"} & found.places.keys():
            with pytest.raises(urllib.error.URLError, match="refused"):
                Person().get(found.places[place])


def test_while_the_plugin_is_installed_a_stop_leaves_nothing_either() -> None:
    process = subprocess.Popen(SANDBOX, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if "Putting it in force" in line:
            break
    with namespaces_of(process.pid) as namespaces:
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
        assert process.returncode == 130, rest
        assert still_there(namespaces) == []


def test_where_namespaces_are_not_allowed_one_sentence_says_so_and_what_to_grant() -> None:
    done = subprocess.run(
        ["setpriv", "--bounding-set=-sys_admin", *SANDBOX], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "does not allow mount, network and PID namespaces" in done.stderr
    assert "--privileged" in done.stderr


def test_words_that_are_not_understood_are_answered_with_those_that_are() -> None:
    done = subprocess.run([*SANDBOX, "--tuor"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert "--sandbox --serve" in done.stderr


def test_help_is_no_mistake() -> None:
    done = subprocess.run([*SANDBOX, "--help"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert "--sandbox --serve" in done.stdout


def test_in_a_directory_that_the_machine_has_for_itself_it_says_to_move() -> None:
    """In a mount namespace of the test's own this checkout lies in /mnt."""
    line = f'mount --bind "{REPO}" /mnt && cd /mnt && exec .venv/bin/python -m tests.machine.sandbox --tour'
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", line],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "lies in /mnt" in done.stderr
    assert "--privileged" not in done.stderr
