"""Shell completion, as install.sh writes it, in a real bash with a real TAB."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from ocsp_stapling.change.journal import Journal
from ocsp_stapling.cli import completion

START = """
import sys
from pathlib import Path
from types import SimpleNamespace as Made

from ocsp_stapling import settings
from ocsp_stapling.cli import group
from ocsp_stapling.server import state

settings.load = lambda: Made(state_directory=Path(sys.argv[0]).parent / "state")
site = Made(name="shop.example", owner="shopper", responders=("http://ocsp.ca.example/path",))
state.look = lambda _directory: Made(endpoints=(site,))
group(prog_name="ocsp-stapling")
"""
Tab = Callable[[str, str], str]


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    """Type something, then TAB; return what the terminal shows until a text appears that is waited for."""
    if not shutil.which("bash"):
        pytest.skip("bash is not installed")
    here = tmp_path_factory.mktemp("completion")
    (here / "error_log.1").touch()
    command = here / "ocsp-stapling"
    (here / "program.py").write_text(START)
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{here}/program.py" "$@"\n')
    command.chmod(0o755)
    with Journal(here / "state") as journal:
        journal.begin("off", "root", "", {}, (), "20261124T034507-3a4b5c")
    script = subprocess.run(
        [command],
        env={**os.environ, "_OCSP_STAPLING_COMPLETE": "bash_source"},
        capture_output=True,
        text=True,
        check=True,
    )
    rc = (
        f"PS1='ready> '\nPATH={here}:$PATH\nbind 'set show-all-if-ambiguous on'\nbind 'set bell-style none'\n"
    )
    (here / "rc").write_text(rc + script.stdout)
    yield lambda text, wanted: typed(here, text, wanted)


def typed(here: Path, text: str, wanted: str) -> str:
    terminal, child = pty.openpty()
    shell = subprocess.Popen(
        ["bash", "--noprofile", "--rcfile", str(here / "rc"), "-i"],
        cwd=here,
        env={**os.environ, "TERM": "dumb"},
        stdin=child,
        stdout=child,
        stderr=child,
        start_new_session=True,
    )
    os.close(child)
    try:
        until(terminal, "ready> ")
        os.write(terminal, text.encode() + b"\t")
        return until(terminal, wanted)
    finally:
        shell.kill()
        shell.wait()
        os.close(terminal)


def until(terminal: int, wanted: str) -> str:
    """What the terminal shows up to a text, or within a minute."""
    shown, deadline = "", time.monotonic() + 60
    while time.monotonic() < deadline and wanted not in shown:
        if select.select([terminal], [], [], 1.0)[0]:
            shown += os.read(terminal, 65536).decode("utf-8", "replace")
    return shown


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("ocsp-stapling hist", "history "),
        ("ocsp-stapling shield st", "status "),
        ("ocsp-stapling off --dry", "--dry-run "),
        ("ocsp-stapling ticket --for data", "datacenter "),
        ("ocsp-stapling log error", "error_log.1"),
        ("ocsp-stapling off --site sh", "shop.example "),
        ("ocsp-stapling on --account sh", "shopper "),
        ("ocsp-stapling sites sh", "shop.example "),
        ("ocsp-stapling probe sh", "shop.example "),
        ("ocsp-stapling probe oc", "ocsp.ca.example "),
        ("ocsp-stapling probe err", "error_log.1"),
        ("ocsp-stapling undo 2", "20261124T034507-3a4b5c "),
        ("ocsp-stapling history la", "last "),
    ],
)
def test_tab_completes_commands_options_choices_names_of_this_server_and_files(
    tab: Tab, text: str, wanted: str
) -> None:
    assert wanted in tab(text, wanted)


def test_tab_shows_the_commands_in_the_order_of_use(tab: Tab) -> None:
    words = tab("ocsp-stapling ", "ready> ").split()
    assert words.index("check") < words.index("off") < words.index("metrics")


@pytest.mark.parametrize("trouble", [lambda: time.sleep(60), lambda: [][0]], ids=["slow", "unreadable"])
def test_tab_waits_a_moment_only_and_shows_no_traceback(
    trouble: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completion, "LONGEST_SECONDS", 0.1)
    monkeypatch.setattr("ocsp_stapling.server.state.look", lambda _directory: trouble())
    begun = time.monotonic()
    command = click.Command("probe", params=[click.Argument(["target"], shell_complete=completion.probed)])
    (target,) = command.params
    offered = target.shell_complete(click.Context(command), "sh")
    assert [(each.type, each.value) for each in offered] == [("file", "sh")]
    assert time.monotonic() - begun < 5
