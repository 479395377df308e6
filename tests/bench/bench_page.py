#!/usr/bin/env python3
"""The WHM page through the whole chain, against a bare Flask hello world run as a CGI (and a bare Perl CGI).

    sudo .venv/bin/python tests/bench/bench_page.py [--responders N] [--requests N] [--starts N]

On the WHM-shaped machine, through the stand-in WHM: login, TLS, dispatch by the registered AppConfig files. A stored
check holds 200 responders of two addresses each, the watch's memory their last readings. Every request of every
rival opens a connection of its own, and nothing is subtracted: TLS, the stand-in and the CGI's start count for all.
The rivals take turns, so that other work on the machine hits all alike. `first` is the same page when the service
does not run and its socket starts it. Memory is the service's VmRSS after all requests. Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.machine import Machine, Shape, why_not_here
from tests.machine.cpanel import PERL
from tests.machine.whm import Answer, Browser, log_in, open_whm
from tests.unit.web.made import healthy, responder

from ocsp_stapling.check import result
from ocsp_stapling.check.evidence import Evidence
from ocsp_stapling.watch.memory import Memory
from ocsp_stapling.watch.outages import Reading

DOCROOT = "/usr/local/cpanel/whostmgr/docroot"
REGISTER = "/usr/local/cpanel/bin/register_appconfig"
STATE = "/var/lib/ocsp-stapling"
SITES_EACH = 5
READINGS = 24
FLASK = """#!{python}
from wsgiref.handlers import CGIHandler
from flask import Flask
app = Flask(__name__)
@app.get("/", defaults={{"path": ""}})
@app.get("/<path:path>")
def hello(path):
    return "hello world"
CGIHandler().run(app)
"""
PERL_SCRIPT = """#{perl}
print "Content-Type: text/plain\\r\\n\\r\\nhello world";
"""


def many(count: int) -> Evidence:
    """A check of a server whose sites name this many responders."""
    found = healthy()
    responders = tuple(responder(f"ocsp{n:03}.example", SITES_EACH) for n in range(count))
    return replace(
        found, responders=responders, names=tuple(map("site{}.test".format, range(count * SITES_EACH)))
    )


def remember(directory: Path, evidence: Evidence) -> None:
    """Write what the watch would have read of these responders in the last two hours."""
    addresses: dict[str, tuple[str, float | None]] = {
        f"{one.url} {address.address}": ("ok", 21.4)
        for one in evidence.responders
        for address in one.finding.addresses
    }
    with Memory(directory) as memory:
        for number in range(READINGS, 0, -1):
            memory.add(Reading(time.time() - 300 * number, "healthy", "none", "on", addresses))


def furnish(machine: Machine, evidence: Evidence) -> None:
    """Put the check and the watch's memory in place."""
    state = machine.path(STATE)
    result.store(state, result.judged(evidence))
    with tempfile.TemporaryDirectory(prefix="bench-page-") as name:
        remember(Path(name), evidence)  # outside: SQLite would resolve the path into the machine
        for file in Path(name).iterdir():
            shutil.copy(file, state / file.name)


def register(machine: Machine, name: str, script: str) -> str:
    """Put a CGI in place as any plugin's would be; return its address."""
    url = f"/cgi/{name}/index.cgi"
    file = machine.path(DOCROOT + url)
    file.parent.mkdir(parents=True)
    file.write_text(script)
    file.chmod(0o755)
    app = f"name={name}\nservice=whostmgr\nurl={url}\nuser=root\nacls=all\ndisplayname={name}\n"
    machine.path(f"/run/{name}.conf").write_text(app)
    machine.run(REGISTER, f"/run/{name}.conf")
    return url


def milliseconds(ask: Callable[[], Answer], expected: str) -> float:
    """Return how long the answer took; it must hold the expected text."""
    begin = time.perf_counter()
    answer = ask()
    taken = (time.perf_counter() - begin) * 1000
    assert answer.status == 200, answer.text
    assert expected in answer.text
    return taken


def service(machine: Machine) -> str:
    """Return the service's process, empty if it does not run."""
    return machine.run("pgrep", "-o", "-f", "ocsp-stapling serve", check=False).stdout.strip()


def stop(machine: Machine) -> None:
    """End the service as its idle time would, and wait until its socket waits for the next caller."""
    while pid := service(machine):
        machine.run("kill", pid, check=False)
        time.sleep(0.05)
    time.sleep(0.2)


def memory(machine: Machine) -> dict[str, float]:
    """Return the service's resident memory in MB, now and at its highest."""
    text = machine.path(f"/proc/{service(machine)}/status").read_text()
    found = {line.split(":")[0]: line.split() for line in text.splitlines()}
    return {
        "rss_mb": round(int(found["VmRSS"][1]) * 1024 / 1e6, 1),
        "peak_mb": round(int(found["VmHWM"][1]) * 1024 / 1e6, 1),
    }


def cpu_milliseconds(machine: Machine, ask: Callable[[], float], requests: int) -> float:
    """Return the service's own CPU time a request, which other work on the machine hardly changes."""
    stat = machine.path(f"/proc/{service(machine)}/stat")

    def ticks() -> int:
        return sum(map(int, stat.read_text().rpartition(")")[2].split()[11:13]))  # utime, stime; proc(5)

    before = ticks()
    for _ in range(requests):
        ask()
    return (ticks() - before) * 1000 / os.sysconf("SC_CLK_TCK") / requests


def rivals(machine: Machine, browser: Browser, last: str) -> dict[str, Callable[[], float]]:
    """Return what is measured: each takes one request and returns its milliseconds."""
    flask = register(machine, "bench-flask", FLASK.format(python=sys.executable))
    perl = register(machine, "bench-perl", PERL_SCRIPT.format(perl=f"!{PERL}"))
    return {
        "page": lambda: milliseconds(lambda: browser.get("responders"), last),
        "overview": lambda: milliseconds(lambda: browser.get(), "OCSP Stapling"),
        "flask_cgi": lambda: milliseconds(lambda: browser.ask("GET", flask), "hello world"),
        "perl_cgi": lambda: milliseconds(lambda: browser.ask("GET", perl), "hello world"),
    }


def measure(machine: Machine, count: int, requests: int, starts: int) -> dict[str, float]:
    """Return medians in milliseconds, megabytes, and ratios to the Flask CGI."""
    evidence = many(count)
    furnish(machine, evidence)
    browser = log_in(machine)
    hosts = [one.finding.host for one in evidence.responders]
    contenders = rivals(machine, browser, hosts[-1])
    page = browser.get("responders")
    assert all(host in page.text for host in hosts)
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(requests + 2):
        for name, ask in contenders.items():
            one = ask()
            if number >= 2:  # the first ones fill caches
                taken[name].append(one)
    cpu = cpu_milliseconds(machine, contenders["page"], requests)
    held = memory(machine)
    first = []
    for _ in range(starts):
        stop(machine)
        first.append(contenders["page"]())
    found = {f"{name}_ms": round(statistics.median(times), 1) for name, times in taken.items()}
    best = {f"{name}_best_ms": round(min(times), 1) for name, times in taken.items()}
    return {
        "responders": count,
        "page_kb": round(len(page.body) / 1000),
        **found,
        **best,
        "page_service_cpu_ms": round(cpu, 1),
        "first_ms": round(statistics.median(first), 1),
        **held,
        "flask_to_page": round(found["flask_cgi_ms"] / found["page_ms"], 2),
        "perl_to_page": round(found["perl_cgi_ms"] / found["page_ms"], 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--responders", type=int, default=200)
    parser.add_argument("--requests", type=int, default=40)
    parser.add_argument("--starts", type=int, default=5)
    options = parser.parse_args()
    if reason := why_not_here():
        raise SystemExit(reason)
    with Machine(Shape(sites=2, cas=1)) as machine:
        open_whm(machine)
        print(json.dumps(measure(machine, options.responders, options.requests, options.starts)))


if __name__ == "__main__":
    main()
