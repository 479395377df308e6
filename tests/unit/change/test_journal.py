"""The history: durable, in order whatever the clock does, and never a reason to fail."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from ocsp_stapling.change.journal import NAME, RUNNING, FileRecord, Journal, step_words


def begin(journal: Journal, action: str = "off", identity: str = "") -> str:
    record = FileRecord(Path("/etc/x"), b"before \xff\x00", None)
    return journal.begin(action, "root", "why", {"verification": []}, [record], identity).id


def test_what_was_recorded_is_read_back_by_the_next_process(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        identity = begin(journal)
        journal.step(identity, "write", {"path": "/etc/x"})
        journal.step(identity, "configtest")
    with Journal(tmp_path) as journal:
        assert [each.state for each in journal.operations(state=RUNNING)] == [RUNNING]
        assert journal.files(identity) == [FileRecord(Path("/etc/x"), b"before \xff\x00", None)]
        assert [(s.name, dict(s.detail)) for s in journal.steps(identity)] == [
            ("write", {"path": "/etc/x"}),
            ("configtest", {}),
        ]
        journal.finish(identity, "done", {"sentence": "good"})
        found = journal.operation(identity)
        assert found is not None
        assert (found.state, found.result) == ("done", {"sentence": "good"})
        assert journal.operations(state=RUNNING) == []
    assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o600


def test_the_newest_comes_first_even_if_the_clock_went_back(tmp_path: Path) -> None:
    times = iter([2000.0, 1000.0])
    with Journal(tmp_path, clock=lambda: next(times)) as journal:
        first, second = begin(journal), begin(journal, "on")
        assert [each.id for each in journal.operations()] == [second, first]


def test_an_operation_is_called_by_its_number_or_as_the_last(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        first, second = begin(journal), begin(journal, "on")
        called = {word: found.id for word in ("last", "1", "2", first) if (found := journal.called(word))}
        assert called == {"last": second, "1": second, "2": first, first: first}
        assert [journal.called(word) for word in ("3", "0", "-1", "x")] == [None] * 4


def test_it_is_written_through_to_the_disk(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        assert journal._database is not None
        assert journal._database.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


def test_without_create_nothing_appears_on_disk(tmp_path: Path) -> None:
    with Journal(tmp_path / "state", create=False) as journal:
        assert journal.operations() == []
        assert journal.operation("x") is None
        assert journal.lost == ""
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("content", [b"no database" * 100, b"SQLite format 3\x00" + b"\xff" * 4096])
def test_a_damaged_history_is_put_aside_and_said(tmp_path: Path, content: bytes) -> None:
    (tmp_path / NAME).write_bytes(content)
    with Journal(tmp_path) as journal:
        assert "put aside" in journal.lost
        identity = begin(journal)
        assert journal.operation(identity) is not None
    aside = [each for each in tmp_path.iterdir() if ".damaged-" in each.name]
    assert [each.read_bytes() for each in aside] == [content]


def test_damage_met_while_reading_is_survived_too(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        for _ in range(50):
            begin(journal)
    path = tmp_path / NAME
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)
    with Journal(tmp_path) as journal:
        assert journal.operations() == []
        assert journal.lost


def test_a_locked_history_is_said_and_nothing_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ocsp_stapling.change.journal._BUSY_SECONDS", 0.05)
    with Journal(tmp_path) as journal:
        other = sqlite3.connect(tmp_path / NAME)
        other.execute("BEGIN EXCLUSIVE")
        identity = begin(journal)
        journal.step(identity, "write")
        journal.finish(identity, "done", {})
        assert "locked" in journal.lost
        assert journal.steps(identity) == []
        other.close()
        begin(journal)
    with Journal(tmp_path) as journal:
        assert journal.operations() == []  # once lost it is not written to in part


def test_a_place_that_cannot_be_written_is_said_and_not_moved(tmp_path: Path) -> None:
    blocked = tmp_path / "state"
    blocked.write_text("a file")
    with Journal(blocked) as journal:
        begin(journal)
        assert "cannot be used" in journal.lost
    assert blocked.read_text() == "a file"


@pytest.mark.parametrize(
    ("name", "detail", "told"),
    [
        ("return", {"armed": True, "who": "root"}, "It shall turn on by itself, says root"),
        ("return", {"armed": False, "who": "root"}, "It shall not turn on by itself, says root"),
        ("write", {"path": "/etc/a.conf"}, "Writing /etc/a.conf"),
        ("restart", {"rung": "whm-api", "workers": 3}, "Asking WHM to restart Apache"),
        (
            "restart",
            {"rung": "start", "because": "No."},
            "Starting Apache, which WHM's restart left stopped. No.",
        ),
        ("restore", {"because": "configtest-failed"}, "Putting everything back as it was"),
        ("whm-said", {"said": "Apache was\n  restarted."}, "WHM's own words: Apache was restarted."),
        ("whm-said", {"said": "httpd … \x1b[1;32mgood\x1b[0m"}, "WHM's own words: httpd … good"),
    ],
)
def test_a_step_is_told_in_words_and_never_by_its_code(
    name: str, detail: dict[str, object], told: str
) -> None:
    assert step_words(name, detail) == told
