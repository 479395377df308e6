"""Lines for the error log's tests: Apache's own from the fixtures, and the same line in other clothes."""

from __future__ import annotations

from pathlib import Path

FIXTURES = Path(__file__).parents[2] / "fixtures" / "errorlog"

TIME = "Sun Nov 22 03:04:05.123456 2026"
ISO = "2026-11-22T03:04:05.123456"
SUMMARY = "AH01941: stapling_renew_response: responder error"
UNREACHABLE = (
    "(101)Network is unreachable: [client 203.0.113.7:5858] "
    "AH01974: could not connect to OCSP responder 'ocsp.example.com'"
)
TIMEOUT = (
    "(70007)The timeout specified has expired: [client 203.0.113.7:5858] "
    "AH01985: error reading response from OCSP server"
)


def line(message: str, pid: int = 4711, tid: int | None = 140, time: str = TIME, level: str = "error") -> str:
    """Return a line in httpd's default format, of mod_ssl."""
    worker = f"[pid {pid}:tid {tid}]" if tid else f"[pid {pid}]"
    return f"[{time}] [ssl:{level}] {worker} {message}"


def at(clock: str, day: int = 22) -> str:
    """Return Apache's time for a clock reading of November 2026."""
    return f"Sun Nov {day:2} {clock} 2026"


def failure(pid: int = 4711, time: str = TIME, cause: str = UNREACHABLE) -> str:
    """Return the two lines of one failure, each with its newline."""
    return line(cause, pid, time=time) + "\n" + line(SUMMARY, pid, time=time) + "\n"


def fixture(name: str) -> list[bytes]:
    """Return the lines of a log that Apache wrote."""
    return (FIXTURES / f"{name}.log").read_bytes().splitlines()
