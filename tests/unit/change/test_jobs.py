"""A change in a process of its own: started once, followed to its end however that comes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from ocsp_stapling.change import lock
from ocsp_stapling.change.jobs import Operations, Progress
from ocsp_stapling.change.journal import Journal, new_identity
from ocsp_stapling.change.request import ChangeRequest
from ocsp_stapling.problem import Problem
from ocsp_stapling.run import SAFE_PATH, Completed
from ocsp_stapling.text import moment

# Written out, for workers that share the tests must name them alike.
FRESH = "20250101T000000-012345"


def off(identity: str = FRESH) -> ChangeRequest:
    return ChangeRequest("off", "root (WHM)", "ca hangs", identity=identity)


def command(directory: Path, body: str) -> Path:
    """A stand-in for the command that runs Python `body`; it sees its arguments in sys.argv."""
    script = directory / "command.py"
    script.write_text(f"import json, os, sys, time\nsys.path.insert(0, {str(PLUGIN)!r})\n{body}\n")
    path = directory / "command"
    path.write_text(f'#!/bin/sh\nexec {sys.executable} {script} "$@"\n')
    path.chmod(0o755)
    return path


PLUGIN = Path(__file__).parents[3] / "plugin"
SAY = "print(json.dumps({'state': 'done', 'action': sys.argv[1], 'argv': sys.argv[1:]}))"
WITH_JOURNAL = """
from pathlib import Path
from ocsp_stapling.change.journal import Journal
identity = [a.partition('=')[2] for a in sys.argv if a.startswith('--operation=')][0]
journal = Journal(Path(sys.argv[0]).parent / 'state')
journal.begin('off', 'root (WHM)', '', {}, [], identity)
journal.step(identity, 'write', {'path': '/x'})
"""


def operations(tmp_path: Path, body: str) -> Operations:
    return Operations(tmp_path / "state", command=command(tmp_path, body))


def ended(followed: Operations, identity: str) -> Progress:
    deadline = time.monotonic() + 60
    while not (progress := followed.follow(identity)).ended:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return progress


def wait_for(path: Path) -> str:
    deadline = time.monotonic() + 60
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return path.read_text()


def test_the_command_gets_the_order_and_its_answer_is_the_result(tmp_path: Path) -> None:
    identity = new_identity()
    found = operations(tmp_path, SAY)
    asked = ChangeRequest(
        "undo", "root (WHM)", "--json; rm -rf /", undone="20250101T000000-abcdef", identity=identity
    )
    found.start(asked)
    progress = ended(found, identity)
    assert (progress.state, progress.action) == ("done", "undo")
    assert progress.result is not None
    assert progress.result["argv"] == [
        "undo",
        "--yes",
        "--json",
        f"--operation={identity}",
        "--who=root (WHM)",
        "--reason=--json; rm -rf /",
        "--",
        "20250101T000000-abcdef",
    ]


def test_the_same_form_twice_starts_one_change(tmp_path: Path) -> None:
    identity = new_identity()
    found = operations(tmp_path, f"open({str(tmp_path / 'ran')!r}, 'a').write('x')\n{SAY}")
    found.start(off(identity))
    ended(found, identity)
    found.start(off(identity))
    assert ended(found, identity).state == "done"
    assert (tmp_path / "ran").read_text() == "x"


def test_the_change_is_nobodys_child_and_knows_nothing_of_our_environment(tmp_path: Path) -> None:
    identity = new_identity()
    look = "print(json.dumps({'state': 'done', 'ppid': os.getppid(), 'sid': os.getsid(0), 'env': dict(os.environ)}))"
    os.environ["REMOTE_PASSWORD"] = "the-password"
    try:
        found = operations(tmp_path, f"time.sleep(0.3)\n{look}")
        found.start(off(identity))
    finally:
        del os.environ["REMOTE_PASSWORD"]
    result = ended(found, identity).result
    assert result is not None
    assert result["ppid"] != os.getpid()
    assert result["sid"] != os.getsid(0)
    assert {"PATH": SAFE_PATH, "HOME": "/root", "LC_ALL": "C.UTF-8"}.items() <= result["env"].items()
    assert "the-password" not in str(result["env"])


def test_where_the_place_of_the_output_is_a_file_nothing_is_started(tmp_path: Path) -> None:
    (tmp_path / "operations").write_text("")
    with pytest.raises(Problem) as caught:
        Operations(tmp_path, lambda *_: pytest.fail("started")).start(off())
    path = tmp_path / f"operations/{FRESH}.json"
    assert caught.value.sentence.startswith(f"{path} cannot be written (")
    assert caught.value.sentence.endswith("), so nothing was started.")


def test_steps_come_from_the_journal_while_it_runs_and_its_end_too(tmp_path: Path) -> None:
    go_on = tmp_path / "go-on"
    waits = f"while not os.path.exists({str(go_on)!r}): time.sleep(0.02)"
    body = f"{WITH_JOURNAL}\n{waits}\njournal.finish(identity, 'restored', {{'sentence': 'm'}})"
    identity = new_identity()
    found = operations(tmp_path, body)
    found.start(off(identity))
    deadline = time.monotonic() + 60
    while not (progress := found.follow(identity)).steps:
        assert time.monotonic() < deadline
    assert (progress.state, progress.steps[0].name, progress.ended) == ("running", "write", False)
    go_on.touch()
    progress = ended(found, identity)
    assert (progress.state, progress.result) == ("restored", {"sentence": "m"})
    told = progress.as_json()
    assert (told["operation"], told["state"], told["action"], told["ended"]) == (
        identity,
        "restored",
        "off",
        True,
    )
    assert told["finished"] == moment(progress.finished or 0)


def test_a_killed_change_is_seen_as_interrupted(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    identity = new_identity()
    found = operations(
        tmp_path, f"{WITH_JOURNAL}\nopen({str(pid_file)!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)"
    )
    found.start(off(identity))
    os.kill(int(wait_for(pid_file)), signal.SIGKILL)
    assert ended(found, identity).state == "interrupted"


def test_a_refusal_that_never_reached_the_journal_is_the_result(tmp_path: Path) -> None:
    identity = new_identity()
    found = operations(
        tmp_path, "print(json.dumps({'error': {'code': 'busy', 'sentence': 'm'}})); sys.exit(1)"
    )
    found.start(off(identity))
    progress = ended(found, identity)
    assert progress.state == "refused"
    assert progress.as_json()["result"] == {"error": {"code": "busy", "sentence": "m"}}


def test_a_command_that_breaks_is_told_with_its_last_words(tmp_path: Path) -> None:
    identity = new_identity()
    found = operations(tmp_path, "raise SystemExit('no such module')")
    found.start(off(identity))
    progress = ended(found, identity)
    assert progress.state == "interrupted"
    assert progress.result is not None
    error = progress.result["error"]
    assert (error["code"], error["sentence"]) == ("no-result", "The change ended without a result.")
    assert "no such module" in error["detail"]


@pytest.mark.parametrize("identity", ["", "x", "../../etc/passwd", FRESH, f"{FRESH}\n"])
def test_an_unknown_operation_is_unknown(tmp_path: Path, identity: str) -> None:
    with pytest.raises(Problem) as caught:
        operations(tmp_path, SAY).follow(identity)
    assert (caught.value.code, caught.value.sentence) == ("operation-unknown", "There is no such operation.")


@pytest.mark.parametrize(
    "request_",
    [
        off("x"),
        off("../20250101T000000-abcdef"),
        ChangeRequest("off", "root"),
        ChangeRequest("undo", "root", undone="--help", identity=FRESH),
    ],
)
def test_a_form_that_does_not_name_its_operation_starts_nothing(
    tmp_path: Path, request_: ChangeRequest
) -> None:
    def never(_identity: str, _argv: Sequence[str]) -> Completed:
        raise AssertionError("started")

    with pytest.raises(Problem) as caught:
        Operations(tmp_path, never).start(request_)
    assert caught.value.code == "invalid-input"


@pytest.mark.parametrize(
    ("action", "site", "command"),
    [
        ("off", "", "ocsp-stapling off"),
        ("cache-fit", "", "ocsp-stapling cache fit"),
        ("site-off", "a.test", "ocsp-stapling off --site a.test"),
        ("site-on", "@anna", "ocsp-stapling on --account anna"),
    ],
)
def test_a_start_that_fails_says_so_names_the_command_and_can_be_tried_again(
    tmp_path: Path, action: str, site: str, command: str
) -> None:
    answers = [Completed(1, "", "no systemd"), Completed(0, "", "")]
    found = Operations(tmp_path, lambda _identity, _argv: answers.pop(0))
    identity = new_identity()
    asked = ChangeRequest(action, "root (WHM)", identity=identity, site=site)
    with pytest.raises(Problem) as caught:
        found.start(asked)
    told = f"The change could not be started, so nothing was changed. Use ssh: {command}"
    assert (caught.value.code, caught.value.sentence) == ("start-failed", told)
    assert caught.value.detail == "no systemd"
    found.start(asked)
    assert found.follow(identity).state == "starting"


def test_a_change_made_at_a_terminal_can_be_followed(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        made = journal.begin("on", "admin (sudo)", "", {}, [])
        journal.step(made.id, "configtest")
        assert Operations(tmp_path).follow(made.id).state == "running"
        journal.finish(made.id, "done", {"sentence": "m"})
    assert Operations(tmp_path).follow(made.id).state == "done"


def test_output_is_for_root_alone_and_does_not_pile_up(tmp_path: Path) -> None:
    found = Operations(tmp_path, lambda _identity, _argv: Completed(0, "", ""))
    first, second = "20250101T000000-abcdef", new_identity()
    found.start(off(first))
    path = tmp_path / "operations" / f"{first}.json"
    assert path.stat().st_mode & 0o777 == 0o600
    os.utime(path, (0, 0))
    found.start(off(second))
    assert [each.stem for each in path.parent.iterdir()] == [second]


def test_with_systemd_it_is_a_transient_unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Sequence[str]] = []

    def record(argv: Sequence[str], **_: object) -> Completed:
        seen.append(argv)
        return Completed(0, "", "")

    monkeypatch.setattr("ocsp_stapling.change.jobs._BOOTED", tmp_path)
    monkeypatch.setattr("ocsp_stapling.change.jobs.run", record)
    identity = new_identity()
    found = operations(tmp_path, SAY)
    found.start(off(identity))
    unit = list(seen[0])
    assert unit[0] == "systemd-run"
    assert f"--unit=ocsp-stapling-operation-{identity}" in unit
    # What follows -- is a command that runs by itself; systemd would start it just so, with $$ read as $.
    words = [word.replace("$$", "$") for word in unit[unit.index("--") + 1 :]]
    subprocess.run(words, check=True, timeout=60)
    assert found.follow(identity).state == "done"


def test_a_page_has_an_interrupted_change_finished_but_never_a_running_one(tmp_path: Path) -> None:
    launched: list[list[str]] = []

    def launch(identity: str, argv: Sequence[str]) -> Completed:
        launched.append([identity, *argv])
        return Completed(0, "", "")

    found = Operations(tmp_path, launch, Path("/usr/local/sbin/ocsp-stapling"))
    found.finish_interrupted()
    with Journal(tmp_path) as journal:
        journal.begin("off", "root", "", {}, (), FRESH)
    with lock.hold(tmp_path, "root", "off"):
        found.finish_interrupted()
    assert launched == []
    found.finish_interrupted()
    assert launched == [[f"recovery-{FRESH}", "/usr/local/sbin/ocsp-stapling", "watch", "--recover"]]
    with Journal(tmp_path) as journal:
        journal.finish(FRESH, "restored", {})
    found.finish_interrupted()
    assert len(launched) == 1
