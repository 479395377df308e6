"""A small EasyApache 4 tree in a temporary directory, and the situation a plan is made from."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from pathlib import Path

from ocsp_stapling.apache.layout import Layout
from ocsp_stapling.change.model import Situation
from ocsp_stapling.change.plan import Plan
from ocsp_stapling.change.request import ChangeRequest
from ocsp_stapling.change.situation import linked_files
from ocsp_stapling.server.state import look
from tests.unit.ocsp.authority import NOW, issue, make_authority, pem

NOON = datetime.datetime(2026, 3, 1, 12, 0, tzinfo=datetime.UTC)
MODULES = frozenset({"ssl_module", "socache_shmcb_module"})
SSL = """\
<IfModule ssl_module>
SSLUseStapling On
SSLStaplingCache shmcb:/run/apache2/stapling_cache_shmcb(256000)
SSLSessionCache shmcb:/run/apache2/ssl_gcache_data_shmcb(1024000)
</IfModule>
"""
_CA = make_authority()
CERTIFICATES = {
    kind: pem(issue(_CA, "http://ocsp.ca.test", must_staple=kind == "must")) + pem(_CA.certificate)
    for kind in ("plain", "must")
}
CONF = """\
ServerRoot "{base}"
LoadModule ssl_module modules/mod_ssl.so
LoadModule socache_shmcb_module modules/mod_socache_shmcb.so
{early}{ssl}{includes}{vhosts}{late}
"""
VHOST = """\
<VirtualHost 192.0.2.1:443 [2001:db8::1]:443>
    ServerName {name}
    SSLEngine on
    SSLCertificateFile {base}/{kind}.pem
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
            error_log=base / "error_log",
            httpd=base / "httpd",
            ea4_conf=base / "ea4.conf",
        )
        for kind, certificate in CERTIFICATES.items():
            (base / f"{kind}.pem").write_bytes(certificate)
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
        vhosts = "".join(
            VHOST.format(
                name=name, base=self.base, own=lines, kind="must" if name.startswith("must") else "plain"
            )
            for name, lines in own.items()
        )
        self.layout.conf.write_text(
            CONF.format(
                base=self.base, ssl=ssl, early=early, includes=includes, vhosts=vhosts, late=after + late
            )
        )

    def situation(self, modules: frozenset[str] = MODULES, native: str = "On") -> Situation:
        """Return the situation as a plan sees it; every site has a certificate that names a responder."""
        self.layout.ea4_conf.write_text(json.dumps({"sslusestapling": native}))
        server = look(layout=self.layout, now=NOW)
        return Situation(server, server.foresee, modules, "httpd", 3, (), linked_files(server.tree))


def wish(action: str, *, overrides: bool = False, write_on: bool = False) -> ChangeRequest:
    """Return a wish of root's at noon."""
    return ChangeRequest(action, "root", "a trial", overrides, write_on, now=NOON)


def carry_out(plan: Plan) -> None:
    """Write what the plan says, without the care that the switch takes."""
    for change in plan.changes:
        if change.content is None:
            change.old.path.unlink()
        else:
            change.old.path.write_bytes(change.content)


def site_wish(action: str, site: str) -> ChangeRequest:
    """Return a wish of root's at noon for one site alone."""
    return ChangeRequest(f"site-{action}", "root", "a trial", site=site, now=NOON)
