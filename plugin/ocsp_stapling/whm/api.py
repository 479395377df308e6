"""WHM API 1 on this server through cPanel's own command (no TLS, no token to keep), and cPanel's scripts for Apache.

Sources: cPanel's developer documentation, "Guide to WHM API 1" and "whmapi1"; its documentation, "The restartsrv
scripts" and "The rebuildhttpdconf script".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ocsp_stapling.problem import Problem
from ocsp_stapling.run import run

WHMAPI1 = Path("/usr/local/cpanel/bin/whmapi1")
_ENVIRONMENT = {"REMOTE_USER": "root"}
RESTART_WORDS = ("restartservice", "service=httpd")
"""What tells a call that restarts Apache from others."""


@dataclass(frozen=True)
class ApiAnswer:
    """A successful answer: the function's data and everything it printed for people."""

    data: Mapping[str, Any]
    output: str


def call(
    function: str, arguments: Mapping[str, str] | None = None, *, asked_to: str, timeout: float = 30
) -> ApiAnswer:
    """Call a WHM API 1 function and return its answer; `asked_to` says for people what it shall do.

    Raises Problem `whmapi-missing`, `whmapi-timeout`, or `whmapi-failed` - for a non-zero exit, an answer that
    is not JSON, one without metadata, and one whose `result` is not 1.
    """
    if not WHMAPI1.exists():
        raise Problem(
            "whmapi-missing", f"{WHMAPI1} does not exist, so WHM cannot be asked to restart Apache."
        )
    pairs = [f"{key}={value}" for key, value in (arguments or {}).items()]
    argv = [str(WHMAPI1), "--output=json", function, *pairs]
    done = run(argv, timeout=timeout, env=_ENVIRONMENT)
    if done.timed_out:
        raise Problem(
            "whmapi-timeout",
            f"WHM's API was asked to {asked_to} and did not answer within {timeout:.0f} seconds.",
        )
    document = _document(done.out)
    metadata = document.get("metadata")
    if not isinstance(metadata, dict):
        told = f"it printed something else than an answer (exit status {done.code})"
        raise _failed(asked_to, told, done.out + done.err)
    # Integers may come as strings.
    if str(metadata.get("result")) != "1" or done.code != 0:
        raise _failed(asked_to, str(metadata.get("reason") or f"exit status {done.code}"), done.err)
    data = document.get("data")
    found = data if isinstance(data, dict) else {}
    return ApiAnswer(found, _told(found, metadata))


def _told(data: Mapping[str, Any], metadata: Mapping[str, Any]) -> str:
    """What was printed for people: the documentation says `data.output`, WHM writes `metadata.output.raw`."""
    output = metadata.get("output")
    raw = output.get("raw") if isinstance(output, dict) else output
    return str(raw or data.get("output") or "")


def restart_httpd(timeout: float = 60) -> str:
    """Ask WHM to restart Apache and return what it printed. Success here proves nothing: verify."""
    function, argument = RESTART_WORDS
    return call(function, dict([argument.split("=")]), asked_to="restart Apache", timeout=timeout).output


def _document(text: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _failed(asked_to: str, reason: str, detail: str) -> Problem:
    sentence = f"WHM's API refused to {asked_to}: {reason[:300]}"
    return Problem("whmapi-failed", sentence.rstrip(".") + ".", detail[:4000])


SCRIPTS = Path("/usr/local/cpanel/scripts")
RESTART = SCRIPTS / "restartsrv_httpd"
REBUILD = SCRIPTS / "rebuildhttpdconf"


def rebuild_httpd_conf(timeout: float = 120) -> None:
    """Have cPanel write httpd.conf anew. Raises Problem `rebuild-failed`; the old httpd.conf stays then."""
    done = run([str(REBUILD)], timeout=timeout)
    if not done.ok:
        sentence = (
            "cPanel could not rebuild httpd.conf, so the include is still not read; Apache runs as before."
        )
        raise Problem("rebuild-failed", sentence, (done.out + done.err)[-4000:])


def stop_httpd(timeout: float = 30) -> bool:
    """Have cPanel stop Apache; return whether its script said that it did."""
    return run([str(RESTART), "--stop"], timeout=timeout).ok


def start_httpd(timeout: float = 30) -> bool:
    """Have cPanel start Apache; return whether its script said that it did."""
    return run([str(RESTART), "--start"], timeout=timeout).ok
