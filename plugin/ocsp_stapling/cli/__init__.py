"""The terminal face. Each command lives in its own module and is imported only when it is called."""

from __future__ import annotations

import contextlib
import gc
import importlib
import io
import json
import os
import re
import shutil
import sys
import textwrap
from typing import TYPE_CHECKING, NoReturn

import click

from ocsp_stapling import __version__
from ocsp_stapling.problem import Problem, not_root
from ocsp_stapling.text import versioned

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

# Section -> command -> "module:attribute", in the order of use; a module is imported only when its command is run, so
# that `log` never waits for cryptography.
SECTIONS = {
    "In an outage": {
        "check": "check:check",
        "off": "switching:off",
        "shield": "shield:shield",
        "status": "status:status",
        "ticket": "ticket:ticket",
        "on": "switching:on",
        "return": "returning:returning",
        "undo": "switching:undo",
        "history": "history:history",
        "report": "report:report",
    },
    "Looking closer": {
        "probe": "probe:probe",
        "sites": "sites:sites",
        "log": "log:log",
        "config": "config:config",
    },
    "Upkeep": {
        "cache": "cache:cache",
        "watch": "watch:watch",
        "metrics": "metrics:metrics",
        "doctor": "doctor:doctor",
        "serve": "serve:serve",
    },
}
COMMANDS = {name: target for commands in SECTIONS.values() for name, target in commands.items()}
_CHECK_UNKNOWN = 3
_EXAMPLES = (
    ("ocsp-stapling check", "why sites hang, and what to do"),
    ("ocsp-stapling off --dry-run", "what turning stapling off would write"),
    ("ocsp-stapling off --reason 'CA outage'", "do it"),
    ("ocsp-stapling undo", "take the last change back"),
    ("ocsp-stapling probe example.com", "ask the responder of one site"),
    ("ocsp-stapling log --since 3d", "stapling failures of three days"),
)


class PlainGroup(click.Group):
    """A group whose help cuts no command's sentence short."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each command with its whole first sentence."""
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, _first_sentence(self.get_command(ctx, name))) for name in self.list_commands(ctx)]
            )


class LazyGroup(click.Group):
    """A click group that imports a command's module when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the commands that begin so, in the order of use; who waits for TAB waits for no import."""
        from click.shell_completion import CompletionItem

        names = [CompletionItem(name) for name in COMMANDS if name.startswith(incomplete)]
        return names + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands section by section, each with its whole first sentence, then examples."""
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl(
                    [(name, _first_sentence(self.get_command(ctx, name))) for name in commands]
                )
        with formatter.section("Examples"):
            formatter.write_dl(_EXAMPLES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        target = COMMANDS.get(cmd_name)
        if target is None:
            return None
        module, attribute = target.split(":")
        command = getattr(importlib.import_module(f"{__name__}.{module}"), attribute)
        assert isinstance(command, click.Command)
        return command


def _first_sentence(command: click.Command | None) -> str:
    text = " ".join((command.help or "").split("\n\n")[0].split()) if command else ""
    return re.split(r"(?<=\w)\. ", text)[0].rstrip(".")


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ocsp-stapling")
def group() -> None:
    """Tell why HTTPS hangs when Apache cannot reach an OCSP responder, and end it safely."""


def is_plain() -> bool:
    """Return whether the terminal, or who sits at it, wants no colour and no moving cursor (https://no-color.org)."""
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"


def main() -> NoReturn:
    """Run the command line. Whatever ends it is one sentence with a code, as JSON where that was asked for.

    Exit status 1 for a Problem that no command handled and for an unexpected error, click's own for a mistake in the
    command line (2; 3 for all of it at `check`, whose 1 and 2 monitoring reads as warning and critical).
    """
    if "serve" not in sys.argv:
        # What a large configuration is read into lives until the command ends: looking for cycles costs 5 % of it.
        gc.set_threshold(50_000)
    _open_what_was_closed()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a reason or a file's line that the terminal cannot show
    try:
        status = _ended("--json" in sys.argv)
        sys.stdout.flush()
    except OSError as error:  # of standard output or standard error themselves
        output_is_lost(error)
        status = _failed()
    sys.exit(status)


def _failed() -> int:
    """The exit status of what failed by no verdict of its own: monitoring reads 1 of a check as a warning."""
    return _CHECK_UNKNOWN if sys.argv[1:2] == ["check"] else 1


def _open_what_was_closed() -> None:
    """Lead a standard stream that was closed to /dev/null, else the next file opened would get what is printed."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            stream = os.fdopen(os.open(os.devnull, os.O_RDWR), "w" if number else "r", encoding="utf-8")
            if stream.fileno() != number:
                os.dup2(stream.fileno(), number)
            os.set_inheritable(number, True)
            setattr(sys, name, stream)


def _ended(as_json: bool) -> int | str:
    """Run the command and return its exit status. Raises OSError where its words cannot be written."""
    try:
        plain = {"color": False} if is_plain() else {}
        return int(group(prog_name="ocsp-stapling", standalone_mode=not as_json, **plain) or 0)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int | str) else 0
    except Problem as problem:
        show_problem(problem, as_json)
        return _failed()
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.ClickException as misuse:
        show_problem(Problem("usage", misuse.format_message()), as_json)
        return misuse.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 130
    except OSError as error:
        if _was_printing(error):
            raise
        show_problem(_of_system(error), as_json)
        return _failed()
    except Exception as error:  # a fault of ours: monitoring must not read it as a verdict
        show_problem(_unexpected(error), as_json)
        return _failed()


def _was_printing(error: OSError) -> bool:
    """Whether a standard stream refused: neither click nor this package writes files itself."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    writer = str(trace.tb_frame.f_globals.get("__name__")) if trace else ""
    return error.filename is None and writer.startswith(("click.", __name__))


def output_is_lost(error: OSError) -> None:
    """Say why nothing more can be printed, and print no more; a reader who has left knows it."""
    if not isinstance(error, BrokenPipeError):
        with contextlib.suppress(OSError):
            show_problem(
                Problem(
                    "output-lost",
                    f"What this command had to say could not be written ({error.strerror}), so some of it is lost. "
                    "Give it a place to write to and call it again; what a change did is told by "
                    "ocsp-stapling history.",
                ),
                as_json=False,
            )
    with contextlib.suppress(OSError):  # Python flushes once more when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _of_system(error: OSError) -> Problem:
    """A file or the system that refuses is no fault of the program's, so it gets a sentence and no traceback."""
    if isinstance(error, PermissionError) and os.geteuid() != 0:
        return not_root()
    what = error.filename or "something this command needs"
    reason = error.strerror or type(error).__name__
    return Problem(
        "system-refused", f"{what} cannot be used ({reason}), so the command ended. Mend that and repeat it."
    )


def _unexpected(error: Exception) -> Problem:
    import traceback

    sentence = "The command ran into an error that it was not made for; please report the text below."
    return Problem("unexpected", sentence, "".join(traceback.format_exception(error))[-4000:])


def _wrapped(text: str) -> str:
    """The sentence by words at a terminal; whole in a log or a mail."""
    if not sys.stderr.isatty():
        return text
    width = max(40, shutil.get_terminal_size().columns)
    return "\n".join(textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False))


def show_problem(problem: Problem, as_json: bool) -> None:
    """Print a Problem: JSON on standard output for programs, one sentence on standard error for people."""
    if as_json:
        click.echo(json.dumps(versioned("error", {"error": problem.as_json()})))
        return
    click.echo(_wrapped(f"ocsp-stapling: {problem.sentence} [{problem.code}]"), err=True)
    if problem.detail:
        click.echo(problem.detail.rstrip(), err=True)


def program() -> NoReturn:
    """Run the command line as a process of its own, which ends at once.

    To take a server's thousands of sites apart, object by object, costs a tenth of a command's time; all of it ends
    with the process. What still runs beside it is WHM's restart, which goes on by itself, or of no interest any more.
    """
    try:
        main()
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    with contextlib.suppress(OSError, ValueError):  # standard output is flushed by then, or lost and told so
        sys.stderr.flush()
    os._exit(status)
