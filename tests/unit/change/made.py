"""A small EasyApache 4 tree in a temporary directory, and the situation a plan is made from."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from ocsp_stapling.apache.config import read_config
from ocsp_stapling.apache.layout import Layout
from ocsp_stapling.change.model import PlannedSite, Situation, Wish
from ocsp_stapling.change.plan import Plan
from ocsp_stapling.change.situation import linked_files
from ocsp_stapling.ocsp.staple import Door

NOON = datetime.datetime(2026, 3, 1, 12, 0, tzinfo=datetime.UTC)
MODULES = frozenset({"ssl_module", "socache_shmcb_module"})
SSL = """\
SSLUseStapling On
SSLStaplingCache shmcb:/run/apache2/stapling_cache_shmcb(256000)
SSLSessionCache shmcb:/run/apache2/ssl_gcache_data_shmcb(1024000)
"""
CONF = """\
ServerRoot "{base}"
LoadModule ssl_module modules/mod_ssl.so
LoadModule socache_shmcb_module modules/mod_socache_shmcb.so
{early}{ssl}{includes}{vhosts}{late}
"""
VHOST = """\
<VirtualHost 192.0.2.1:443>
    ServerName {name}
    SSLEngine on
    SSLCertificateFile {base}/certificate.pem
{own}</VirtualHost>
"""


class Tree:
    """The tree; `include` writes an include, `situation` reads everything."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.layout = Layout(
            base=base,
            conf=base / "httpd.conf",
            includes=base / "includes",
            userdata=base / "userdata",
            run_dir=base,
            logs_dir=base,
            error_log=base / "error_log",
            httpd=base / "httpd",
            apachectl=base / "apachectl",
            ea4_conf=base / "ea4.conf",
        )
        self.layout.includes.mkdir(exist_ok=True)
        self.layout.userdata.mkdir(exist_ok=True)
        self.pre = self.layout.pre_virtualhost_files
        self.post = self.layout.post_virtualhost_files
        self.conf()

    def conf(
        self,
        *,
        ssl: str = SSL,
        early: str = "",
        late: str = "",
        sites: Mapping[str, str] | None = None,
        named: tuple[Path, ...] | None = None,
    ) -> None:
        """Write httpd.conf; `sites` maps a name to the lines of its virtual host, `named` are its includes."""
        own = {"a.test": "", "b.test": ""} if sites is None else sites
        names = (*self.pre, *self.post) if named is None else named
        includes = "".join(f"IncludeOptional {path}\n" for path in names if path in self.pre)
        after = "".join(f"IncludeOptional {path}\n" for path in names if path in self.post)
        vhosts = "".join(VHOST.format(name=name, base=self.base, own=lines) for name, lines in own.items())
        self.layout.conf.write_text(
            CONF.format(
                base=self.base, ssl=ssl, early=early, includes=includes, vhosts=vhosts, late=after + late
            )
        )

    def situation(self, modules: frozenset[str] = MODULES, native: str = "On") -> Situation:
        """Return the situation as a plan sees it; every site has a certificate that names a responder."""
        simulate = partial(read_config, self.layout, None)
        tree = simulate()
        sites = tuple(
            PlannedSite(
                vhost.server_name,
                (Door("192.0.2.1", 443, vhost.server_name), Door("2001:db8::1", 443, vhost.server_name)),
                "ocsp.ca.test",
                vhost.server_name.startswith("must"),
                False,
                vhost.stapling,
                bool(vhost.stapling and vhost.stapling.file in vhost.included),
            )
            for vhost in tree.vhosts
        )
        linked = linked_files(tree)
        return Situation(self.layout, tree, simulate, sites, modules, native, "httpd", 3, (), linked)


def wish(action: str, *, overrides: bool = False, write_on: bool = False) -> Wish:
    """Return a wish of root's at noon."""
    return Wish(action, "root", "a trial", overrides, write_on, now=NOON)


def carry_out(plan: Plan) -> None:
    """Write what the plan says, without the care that the switch takes."""
    for change in plan.changes:
        if change.content is None:
            change.old.path.unlink()
        else:
            change.old.path.write_bytes(change.content)
