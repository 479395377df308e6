"""cPanel's scripts for Apache: rebuild its configuration, stop it, start it.

Source: cPanel's documentation, "The restartsrv scripts" and "The rebuildhttpdconf script".
"""

from __future__ import annotations

from pathlib import Path

from ocsp_stapling.problem import Problem
from ocsp_stapling.run import run

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
