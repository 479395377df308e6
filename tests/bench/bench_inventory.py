"""How long 5,000 certificate files take: our inventory against a shell loop of `openssl x509 -ocsp_uri`.

Run by hand: .venv/bin/python -m tests.bench.bench_inventory [FILES]. Whole processes are timed, the interpreter's
start included. The loop is timed on a sample and scaled up, because all of it takes half a minute.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.certificate_files import make_combined_files

SAMPLE = 500
ROUNDS = 5
OURS = """
import os, sys
from pathlib import Path
from ocsp_stapling.server.certificate_files import read_all
from ocsp_stapling.server.certificate_memory import CertificateFiles
base, state = sys.argv[1], Path(sys.argv[2])
found = CertificateFiles(state, read_all).read((f"{base}/{name}/combined", "") for name in os.listdir(base))
print(sum(1 for reading in found.values() if reading.ocsp_urls))
"""
LOOP = 'for f in "$@"; do openssl x509 -in "$f" -noout -ocsp_uri; done'


def timed(argv: list[str]) -> tuple[float, str]:
    """Return the seconds a program took and what it printed."""
    begin = time.perf_counter()
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    return time.perf_counter() - begin, done.stdout


def measure(files: int, directory: Path) -> dict[str, float]:
    """Return seconds for `loop` (scaled to all files), `cold`, `warm`; each the best of several rounds."""
    base, state = directory / "tls", directory / "state"
    state.mkdir(mode=0o700)
    paths = make_combined_files(base, files)
    sample = [str(path) for path in paths[:SAMPLE]]
    loop: list[float] = []
    cold: list[float] = []
    warm: list[float] = []
    ours = [sys.executable, "-c", OURS, str(base), str(state)]
    for _ in range(ROUNDS):
        seconds, printed = timed(["sh", "-c", LOOP, "sh", *sample])
        assert printed.count("http://") == len(sample)
        loop.append(seconds * files / len(sample))
        for seconds_of in (cold, warm):
            seconds, printed = timed(ours)
            assert int(printed) == files
            seconds_of.append(seconds)
        (state / "certificates.json").unlink()
    return {"loop": min(loop), "cold": min(cold), "warm": min(warm)}


def main() -> None:
    """Print the table."""
    files = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    with tempfile.TemporaryDirectory(prefix="bench-inventory-") as name:
        found = measure(files, Path(name))
    print(
        f"{files} combined files, whole process, best of {ROUNDS}; loop timed on {SAMPLE} files and scaled up"
    )
    print(f"  openssl loop     {found['loop']:8.2f} s")
    for kind in ("cold", "warm"):
        print(f"  inventory, {kind}  {found[kind]:8.3f} s  {found['loop'] / found[kind]:6.0f} x")


if __name__ == "__main__":
    main()
