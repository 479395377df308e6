"""Visitors at a steady rate, who come whether or not those before them are served yet (an open loop).

Usage: python -m tests.machine.traffic RATE SECONDS SITES [--limit SECONDS]
RATE handshakes a second that ask for a staple, at site0001 to the last of SITES in turn. Prints one JSON object:
handshakes, the share stapled, and milliseconds at the median, the 99th percentile and the most. A handshake that
does not complete counts as unstapled, and in `failed`.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from typing import Any

from tests.machine.clients import handshake


def drive(rate: float, seconds: float, sites: int, limit: float) -> list[dict[str, Any]]:
    """Return every handshake's result."""
    found: list[dict[str, Any]] = []
    threads = []
    begin = time.monotonic()

    def visit(number: int) -> None:
        found.append(handshake(f"site{number % sites + 1:04d}.example.test", limit=limit))

    for number in range(int(rate * seconds)):
        time.sleep(max(0.0, begin + number / rate - time.monotonic()))
        threads.append(threading.Thread(target=visit, args=(number,)))
        threads[-1].start()
    for thread in threads:
        thread.join()
    return found


def summed(found: list[dict[str, Any]]) -> dict[str, float]:
    """Return the figures of these handshakes."""
    times = sorted(1000 * one["seconds"] for one in found)
    return {
        "handshakes": len(found),
        "stapled_percent": round(100 * sum(one["stapled"] for one in found) / len(found), 1),
        "failed": sum(bool(one["error"]) for one in found),
        "p50_ms": round(times[len(times) // 2], 1),
        "p99_ms": round(times[min(len(times) - 1, int(0.99 * len(times)))], 1),
        "max_ms": round(times[-1], 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rate", type=float)
    parser.add_argument("seconds", type=float)
    parser.add_argument("sites", type=int)
    parser.add_argument("--limit", type=float, default=30.0)
    options = parser.parse_args()
    threading.stack_size(256 * 1024)
    print(json.dumps(summed(drive(options.rate, options.seconds, options.sites, options.limit))))


if __name__ == "__main__":
    main()
