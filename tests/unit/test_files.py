"""Files are replaced whole or not at all, and never over somebody else's change."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from ocsp_stapling import files
from ocsp_stapling.problem import Problem


@pytest.fixture
def include(tmp_path: Path) -> Path:
    path = tmp_path / "include.conf"
    path.write_bytes(b"# mine\n")
    path.chmod(0o600)
    return path


def test_replace_keeps_owner_mode_and_labels(include: Path) -> None:
    include.chmod(0o640)
    labelled = True
    try:
        os.setxattr(include, "user.label", b"kept")
    except OSError:
        labelled = False
    if os.geteuid() == 0:
        os.chown(include, 0, 12)
    before = include.stat()
    files.replace(files.snapshot(include), b"new\n")
    after = include.stat()
    assert include.read_bytes() == b"new\n"
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    if labelled:
        assert os.getxattr(include, "user.label") == b"kept"


def test_replace_leaves_nothing_beside_the_file(include: Path) -> None:
    files.replace(files.snapshot(include), b"new\n")
    assert [p.name for p in include.parent.iterdir()] == ["include.conf"]


def test_a_symbolic_link_stays_and_its_target_is_replaced(include: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.conf"
    link.symlink_to(include)
    files.replace(files.snapshot(link), b"new\n")
    assert link.is_symlink()
    assert include.read_bytes() == b"new\n"


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p.write_bytes(b"# other\n"),
        lambda p: p.chmod(0o644),
        lambda p: p.unlink(),
        lambda p: (p.rename(p.with_name("old")), p.write_bytes(b"# mine\n")),
    ],
    ids=["written", "chmod", "removed", "exchanged"],
)
def test_a_file_changed_since_is_refused_and_left_alone(include: Path, change) -> None:  # type: ignore[no-untyped-def]
    old = files.snapshot(include)
    time.sleep(0.01)
    change(include)
    content = include.read_bytes() if include.exists() else None
    with pytest.raises(Problem) as caught:
        files.replace(old, b"new\n")
    assert caught.value.code == "changed-meanwhile"
    assert (include.read_bytes() if include.exists() else None) == content


def test_a_file_that_another_program_is_writing_is_given_back(include: Path) -> None:
    """The writer opened it before our exchange and writes after it: those bytes must not go to a lost file."""
    old = files.snapshot(include)
    with include.open("r+b") as writer:
        with pytest.raises(Problem) as caught:
            files.replace(old, b"new\n")
        writer.write(b"# edited\n")
    assert caught.value.code == "changed-meanwhile"
    assert include.read_bytes() == b"# edited\n"


def test_no_byte_of_a_concurrent_editor_is_lost(include: Path) -> None:
    """An editor appends lines by its own renames while we replace in a loop; every line must survive."""
    lines = [f"# line {i}\n".encode() for i in range(150)]

    def edit() -> None:
        for line in lines:
            time.sleep(0.002)
            while True:
                old = include.stat().st_ino
                fresh = include.with_name("editor")
                fresh.write_bytes(include.read_bytes() + line)
                if include.stat().st_ino == old:
                    fresh.rename(include)
                    break

    editor = threading.Thread(target=edit)
    editor.start()
    done = refused = 0
    while editor.is_alive():
        try:
            old = files.snapshot(include)
            files.replace(old, (old.content or b"").replace(b"# mine\n", b"# mine\n"))
            done += 1
        except Problem as problem:
            assert problem.code == "changed-meanwhile"
            refused += 1
        time.sleep(0.0005)
    editor.join()
    kept = include.read_bytes()
    # The editor itself can overwrite an edit of ours between its look and its rename, never the reverse.
    assert [line for line in lines if line not in kept] == []
    assert done > 0


def test_a_new_file_is_made_only_if_nobody_else_made_it(tmp_path: Path) -> None:
    path = tmp_path / "new.conf"
    old = files.snapshot(path)
    assert old.content is None
    path.write_bytes(b"# somebody else\n")
    with pytest.raises(Problem):
        files.replace(old, b"ours\n")
    assert path.read_bytes() == b"# somebody else\n"


def test_a_new_file_is_readable_by_root_only(tmp_path: Path) -> None:
    path = tmp_path / "new.conf"
    files.replace(files.snapshot(path), b"ours\n")
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("kind", ["fifo", "directory", "device"])
def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    path = Path("/dev/null") if kind == "device" else tmp_path / "odd.conf"
    if kind == "fifo":
        os.mkfifo(path)
    if kind == "directory":
        path.mkdir()
    with pytest.raises(files.NotRegularError):
        files.open_regular(path)
    if kind != "device":
        with pytest.raises(Problem) as caught:
            files.snapshot(path)
        assert caught.value.code == "file-unreadable"


def test_a_link_is_followed_only_where_that_is_wanted(include: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.conf"
    link.symlink_to(include)
    with os.fdopen(files.open_regular(link), "rb") as file:
        assert file.read() == include.read_bytes()
    with pytest.raises(OSError, match="regular"):
        files.open_regular(link, follow=False)


@pytest.mark.parametrize("above", [0, 1, 2])
@pytest.mark.parametrize("given", ["everybody", "group", "owner", "sticky", "root's group"])
def test_root_does_not_write_where_others_can_swap_names_at_any_height(
    tmp_path: Path, above: int, given: str
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root has somebody to fear here")
    path = tmp_path / "a/b/c/include.conf"
    path.parent.mkdir(parents=True)
    directory = path.parents[above]
    owner, group = (65534 if given == "owner" else 0), (65534 if given == "group" else 0)
    os.chown(directory, owner, group)
    directory.chmod({"everybody": 0o777, "sticky": 0o1777, "owner": 0o755}.get(given, 0o775))
    if given == "root's group" or (given == "sticky" and above):
        assert files.snapshot(path).content is None
        return
    with pytest.raises(Problem) as caught:
        files.snapshot(path)
    assert caught.value.code == "unsafe-path"


def test_a_full_disk_leaves_the_old_file(include: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = files.snapshot(include)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Problem) as caught:
        files.replace(old, b"new\n")
    assert caught.value.code == "write-failed"
    assert include.read_bytes() == b"# mine\n"
    assert [p.name for p in include.parent.iterdir()] == ["include.conf"]


def test_a_file_of_our_own_is_whole_and_closed_to_others_or_not_written_at_all(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    files.write_own(path, b"old")
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"old", 0o600)

    with pytest.raises(TypeError):
        files.write_own(path, "no bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path], "what was begun is taken away"
