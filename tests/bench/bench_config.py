"""How long Apache's configuration takes to read: a server of 5,000 accounts, each with a plain and a TLS vhost.

Run by hand: .venv/bin/python -m tests.bench.bench_config [ACCOUNTS]. The virtual hosts have the shape of EasyApache
4's: fifty lines each, most of them in conditional sections for modules that are not there.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from tests.unit.apache.real_apache import layout_at

from ocsp_stapling.apache.conditions import Binary
from ocsp_stapling.apache.config import read_config
from ocsp_stapling.apache.stapling import effective
from ocsp_stapling.server.vhosts import tls_vhosts

ROUNDS = 5
HEAD = "LoadModule ssl_module x\nLoadModule socache_shmcb_module x\nSSLUseStapling On\nSSLStaplingCache shmcb:x\n"
SECTIONS = (
    "userdir_module",
    "suphp_module",
    "suexec_module",
    "ruid2_module",
    "mpm_itk.c",
    "mod_passenger.c",
    "include_module",
)
INNER = "    <IfModule !mod_other.c>\n      Setting {}\n      Other {}\n    </IfModule>\n"
NESTED = "  <IfModule {}>\n" + INNER + "  </IfModule>\n"
TLS = "  <IfModule ssl_module>\n    SSLEngine on\n    SSLCertificateFile /tls/{}/combined\n  </IfModule>\n"


def vhost(account: int, tls: bool) -> str:
    """Return one virtual host."""
    name, user = f"site{account}.example.test", f"user{account}"
    port = 443 if tls else 80
    names = f"  ServerName {name}\n  ServerAlias www.{name} mail.{name}\n  DocumentRoot /home/{user}/public_html\n"
    idle = "".join(NESTED.format(module, user, user) for module in SECTIONS)
    secure = TLS.format(name) if tls else ""
    comment = (
        f'  # To customize this VirtualHost use an include file\n  # Include "/etc/userdata/{user}/*.conf"\n'
    )
    return f"<VirtualHost 192.0.2.1:{port}>\n{names}{idle}{secure}{comment}</VirtualHost>\n"


def main() -> None:
    """Print the best of several rounds."""
    accounts = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    text = HEAD + "".join(vhost(account, tls) for tls in (False, True) for account in range(accounts))
    with tempfile.TemporaryDirectory(prefix="bench-config-") as name:
        layout = layout_at(Path(name))
        layout.conf.parent.mkdir()
        layout.conf.write_text(text)
        seconds = []
        for _ in range(ROUNDS):
            begin = time.perf_counter()
            tree = read_config(layout, lambda: Binary(static_modules=frozenset()))
            assert effective(tree).on
            assert len(tls_vhosts(tree)) == accounts
            seconds.append(time.perf_counter() - begin)
    lines = text.count("\n")
    print(f"{len(tree.vhosts)} virtual hosts, {lines} lines, {len(text) / 1e6:.1f} MB: {min(seconds):.3f} s")


if __name__ == "__main__":
    main()
