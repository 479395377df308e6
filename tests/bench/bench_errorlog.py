#!/usr/bin/env python3
"""`ocsp-stapling log` against `grep -F -c AH01941` on a big error log: whole processes, in turn.

    .venv/bin/python tests/bench/bench_errorlog.py [--size BYTES] [--failures N] [--runs N]

The log is what a shared server writes in weeks (PHP, ModSecurity, missing indexes, SNI mismatches), with one outage
in it. Prints one line of JSON: the least seconds of all runs, as other work only ever adds, and the ratios to grep.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SIZE = 1_000_000_000
FAILURES = 10_000
OURS = [sys.executable, "-c", "from ocsp_stapling.cli import main; main()", "log"]

FOREIGN = [
    "[proxy_fcgi:error] [pid {pid}:tid {tid}] [client 203.0.113.{n}:{port}] AH01071: Got error 'PHP message: "
    "PHP Warning:  Undefined variable $x in /home/user{n}/public_html/wp-content/plugins/shop/cart.php on line 12', "
    "referer: https://www{n}.example.com/shop/",
    "[core:error] [pid {pid}:tid {tid}] [client 203.0.113.{n}:{port}] AH00126: Invalid URI in request GET "
    "/cgi-bin/.%2e/.%2e/.%2e/etc/passwd HTTP/1.1",
    "[autoindex:error] [pid {pid}:tid {tid}] [client 203.0.113.{n}:{port}] AH01276: Cannot serve directory "
    "/home/user{n}/public_html/: No matching DirectoryIndex (index.php,index.html) found, and server-generated "
    "directory index forbidden by Options directive",
    "[ssl:error] [pid {pid}:tid {tid}] [client 203.0.113.{n}:{port}] AH02032: Hostname www{n}.example.com provided "
    "via SNI and hostname example.org provided via HTTP have no compatible SSL setup",
    "[security2:error] [pid {pid}:tid {tid}] [client 203.0.113.{n}:{port}] ModSecurity: Warning. Pattern match "
    '"(?i:select)" at ARGS:q. [file "/etc/apache2/conf.d/modsec/rules.conf"] [line "{port}"] [id "942100"] '
    '[msg "SQL Injection Attack"] [severity "CRITICAL"] [hostname "www{n}.example.com"] [uri "/index.php"]',
]
TIMEOUT = (
    "[ssl:error] [pid {pid}:tid {tid}] (70007)The timeout specified has expired: [client 203.0.113.{n}:{port}] "
    "AH01985: error reading response from OCSP server",
    "[ssl:error] [pid {pid}:tid {tid}] AH01941: stapling_renew_response: responder error",
)
UNREACHABLE = (
    "[ssl:error] [pid {pid}:tid {tid}] (101)Network is unreachable: [client 203.0.113.{n}:{port}] "
    "AH01974: could not connect to OCSP responder 'ocsp.example.com'",
    TIMEOUT[1],
)


def write_log(path: Path, size: int, failures: int) -> None:
    """Write a log of about `size` bytes whose middle tenth holds the outage."""
    rng = random.Random(3)
    written, clock = 0, 1_790_000_000.0
    with path.open("w") as log:
        while written < size:
            outage = 0.45 < written / size < 0.55
            share = failures * 250 / (size / 10) if outage else 0.0
            chunk: list[str] = []
            for _ in range(5000):
                clock += 0.05
                stamp = time.strftime("%a %b %d %H:%M:%S", time.gmtime(clock))
                fields = {
                    "pid": rng.randrange(1000, 99999),
                    "tid": 139872000000000 + rng.randrange(1000),
                    "n": rng.randrange(1, 255),
                    "port": rng.randrange(1024, 65536),
                }
                told = rng.choice([TIMEOUT, UNREACHABLE]) if rng.random() < share else (rng.choice(FOREIGN),)
                chunk.extend(
                    f"[{stamp}.{int(clock * 1e6) % 10**6:06} 2026] {text.format(**fields)}\n" for text in told
                )
            text = "".join(chunk)
            log.write(text)
            written += len(text)


def seconds(command: list[str]) -> float:
    begin = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - begin


def measure(path: Path, runs: int) -> dict[str, float]:
    """Return the least seconds of each command; the commands take turns, so that noise hits all alike."""
    # grep must not see /dev/null as its output: it would stop at the first match.
    commands = {
        "grep": ["sh", "-c", f"grep -F -c AH01941 '{path}' | cat"],
        "json": [*OURS, str(path), "--json"],
        "summary": [*OURS, str(path)],
    }
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(runs):
        for name, command in commands.items():
            taken[name].append(seconds(command))
    return {name: min(times) for name, times in taken.items()}


def compare(size: int, failures: int, runs: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="bench-errorlog-") as directory:
        path = Path(directory) / "error_log"
        write_log(path, size, failures)
        found = measure(path, runs)
        return {
            "bytes": path.stat().st_size,
            **{f"{name}_seconds": round(value, 3) for name, value in found.items()},
            "json_ratio": round(found["json"] / found["grep"], 2),
            "summary_ratio": round(found["summary"] / found["grep"], 2),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=SIZE)
    parser.add_argument("--failures", type=int, default=FAILURES)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    print(json.dumps(compare(options.size, options.failures, options.runs)))


if __name__ == "__main__":
    main()
