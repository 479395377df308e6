"""Configurations in EasyApache 4's form, one setting or include apart: judged as the real httpd takes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ocsp_stapling.apache import managed_block
from ocsp_stapling.change import plan
from ocsp_stapling.change.model import Situation
from ocsp_stapling.change.situation import linked_files
from ocsp_stapling.server.state import ServerState, look
from tests.machine import ea4
from tests.machine.livedin import messenger
from tests.machine.pki import combined
from tests.machine.shape import SitePlan
from tests.unit.apache.real_apache import MODULES, layout_at, needs_apache
from tests.unit.apache.test_config_against_apache import compare
from tests.unit.change.made import carry_out, wish
from tests.unit.ocsp.authority import NOW, issue, key, make_authority, pem

OFF = "<IfModule ssl_module>\n    SSLUseStapling Off\n</IfModule>\n"
BLOCK = managed_block.apply(b"", OFF.splitlines()).decode()
PRE = "conf.d/includes/pre_virtualhost_{}.conf"
BLOCKED = {PRE.format("global"): BLOCK, PRE.format("2"): BLOCK}
USERDATA = "conf.d/userdata"
ON = "SSLUseStapling On\n"
SUSPENDED = '<Directory "/home/one">\nRedirect 302 / /suspendedpage.cgi\n</Directory>\n'
SITES = (SitePlan("one.test", "one", "x"), SitePlan("two.test", "two", "x"))
CA = make_authority()
COMBINED = combined(issue(CA, "http://ocsp.one.test", number=2), key(2), CA.certificate)
CHAIN = pem(CA.certificate).decode()


@dataclass(frozen=True)
class Variant:
    """What is apart from a fresh server's, and what then holds: who staples, by which origin, on which ports."""

    on: tuple[str, ...] = ("one.test", "two.test")
    origin: str = "template"
    ports: tuple[int, ...] = (443,)
    files: Mapping[str, str] = field(default_factory=dict)
    settings: str = ""
    native: str = "On"
    mpm: str = "event"
    modules: tuple[str, ...] = ea4.MODULES
    services: bool = False


WITHOUT_SHMCB = (*(name for name in ea4.MODULES if name != "socache_shmcb"), "socache_dbm")
EVERY_LEVEL = ("", "/ssl", "/ssl/2_4", "/ssl/2_4/one", "/ssl/2_4/one/one.test")
VARIANTS = {
    "a fresh server": Variant(),
    "WHM's own switch": Variant(on=(), origin="native-switch", native="Off"),
    "our block": Variant(on=(), origin="managed-block", files=BLOCKED),
    "a line by hand": Variant(on=(), origin="hand-written", files={PRE.format("2"): OFF}),
    "a line that is read too early": Variant(files={"conf.d/includes/pre_main_global.conf": OFF}),
    "a drop-in": Variant(on=(), origin="hand-written", files={"conf.d/zz.conf": OFF}),
    "a drop-in and On after it": Variant(
        origin="hand-written", files={"conf.d/zz.conf": OFF, PRE.format("global"): ON}
    ),
    "On after our block": Variant(
        origin="hand-written", files=BLOCKED | {"conf.d/includes/post_virtualhost_global.conf": ON}
    ),
    "an include for all sites": Variant(
        origin="managed-block",
        files=BLOCKED | {f"{USERDATA}/custom.conf": "<IfModule ssl_module>\n" + ON + "</IfModule>\n"},
    ),
    "an include for TLS sites": Variant(
        origin="managed-block", files=BLOCKED | {f"{USERDATA}/ssl/2_4/a.conf": ON}
    ),
    "an include for plain sites": Variant(
        on=(), origin="managed-block", files=BLOCKED | {f"{USERDATA}/std/2_4/a.conf": ON}
    ),
    "an include for an account": Variant(
        on=("two.test",), origin="managed-block", files=BLOCKED | {f"{USERDATA}/ssl/2_4/two/a.conf": ON}
    ),
    "an include for a site": Variant(
        on=("one.test",), files={f"{USERDATA}/ssl/2_4/two/two.test/a.conf": "SSLUseStapling off\n"}
    ),
    "prefork": Variant(mpm="prefork"),
    "no module for the cache": Variant(on=(), origin="default", modules=WITHOUT_SHMCB),
    "behind nginx": Variant(ports=(444,), settings="apache_port=0.0.0.0:81\napache_ssl_port=0.0.0.0:444\n"),
    "no IPv6": Variant(settings="ipv6_listen=0\n"),
    "piped logs": Variant(settings="enable_piped_logs=1\n"),
    "service subdomains": Variant(on=("one.test", "two.test", "whm.example.test"), services=True),
    "service subdomains and our block": Variant(on=(), origin="managed-block", files=BLOCKED, services=True),
    "a firewall's drop-in": Variant(ports=(443, 8887), files={"conf.d/csf.conf": messenger(SITES)}),
    "a firewall's drop-in that says nothing of stapling": Variant(
        ports=(443, 8887),
        files={"conf.d/csf.conf": messenger(SITES).replace("    SSLUseStapling off\n", "")},
    ),
    "a chain in a file of its own": Variant(files={"tls/one.test/cabundle": CHAIN}),
    "WHM's own switch and a site that says On": Variant(
        on=("one.test",),
        origin="native-switch",
        native="Off",
        files={f"{USERDATA}/ssl/2_4/one/one.test/a.conf": ON},
    ),
    "includes of every level": Variant(
        on=("one.test",),
        origin="managed-block",
        files=BLOCKED
        | {
            f"{USERDATA}{level}/a.conf": f"<IfModule mod_ssl.c>\n{ON}</IfModule>\n"
            for level in EVERY_LEVEL[3:]
        }
        | {f"{USERDATA}{level}/a.conf": "SetEnv LEVEL 1\n" for level in EVERY_LEVEL[:3]},
    ),
    "suspensions and error documents": Variant(
        files={
            "conf.d/includes/account_suspensions.conf": SUSPENDED,
            "conf.d/includes/errordocument.conf": "ErrorDocument 503 /503.shtml\n",
        }
    ),
}


def lay_out(base: Path, variant: Variant, patch: pytest.MonkeyPatch) -> ServerState:
    """Write the variant's files, have httpd.conf rendered, and return what the server then is."""
    places = {
        "BASE": "",
        "INCLUDES": "conf.d/includes",
        "USERDATA": USERDATA,
        "TLS": "tls",
        "STATE": "sites.json",
    }
    places |= {"EA4_JSON": "ea4.conf", "CPANEL_CONFIG": "cpanel.config", "SERVICES_PEM": "mycpanel.pem"}
    for name, place in places.items():
        patch.setattr(ea4, name, base / place)
    for name in ("conf", "conf.modules.d", USERDATA, "conf.d/includes", "run", "logs"):
        (base / name).mkdir(parents=True, exist_ok=True)
    mpm, *_ = ea4.MPM_LINES[variant.mpm]
    loads = "".join(
        f"LoadModule {name}_module {MODULES}/mod_{name}.so\n" for name in (mpm, *variant.modules, "ssl")
    )
    written = {f"conf.modules.d/000_mod_{mpm}.conf": loads, "conf/mime.types": "text/html html\n"}
    written |= {f"conf.d/includes/{name}": "" for name in ea4.INCLUDE_NAMES} | {
        "conf.d/autoindex.conf": "# none\n"
    }
    written |= {f"tls/{site.name}/combined": COMBINED.decode() for site in SITES}
    written |= {"cpanel.config": variant.settings, "ea4.conf": json.dumps({"sslusestapling": variant.native})}
    written |= {"sites.json": json.dumps([[site.name, site.user, True] for site in SITES])}
    written |= {"mycpanel.pem": COMBINED.decode()} if variant.services else {}
    for name, text in (written | dict(variant.files)).items():
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_text(text.replace("/var/cpanel/ssl/apache_tls", str(base / "tls")))
    conf = ea4.render().replace("Group nobody", "Group nogroup").replace("/etc/apache2", str(base))
    (base / "conf/httpd.conf").write_text(conf.replace("/run/apache2", str(base / "run")))
    return look(layout=layout_at(base), now=NOW)


def staplers(server: ServerState) -> set[str]:
    return {one.name for one in server.endpoints if one.stapling}


def switched(server: ServerState, variant: Variant, action: str) -> ServerState:
    """Carry out what the plan for off or on says, and return what the server then is, by httpd's reading too."""
    modules = frozenset(f"{name}_module" for name in (*variant.modules, "ssl"))
    now = Situation(server, server.foresee, modules, "httpd", 3, (), linked_files(server.tree))
    carry_out(plan.make(wish(action, write_on=action == "on"), now))
    assert compare(server.layout), "httpd refuses the configuration"
    return look(layout=server.layout, now=NOW)


def bytes_below(base: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in base.rglob("*") if path.is_file()}


@needs_apache
@pytest.mark.parametrize("name", VARIANTS)
def test_it_is_judged_as_httpd_takes_it_and_off_and_on_do_what_they_say(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variant = VARIANTS[name]
    server = lay_out(tmp_path, variant, monkeypatch)
    assert compare(server.layout), "httpd refuses the configuration"
    assert server.stapling.origin.value == variant.origin
    assert staplers(server) == set(variant.on)
    assert {one.port for one in server.endpoints} == set(variant.ports)
    assert all(one.can_staple or not one.stapling for one in server.endpoints)
    before = bytes_below(tmp_path)
    off = switched(server, variant, "off")
    # What says On for itself stays on; with stapling on for all, no variant has such a site.
    assert (off.stapling.on, staplers(off)) == (False, set() if server.stapling.on else set(variant.on))
    on = switched(off, variant, "on")
    assert staplers(on) >= (set(variant.on) if server.stapling.on else {"one.test", "two.test"})
    assert (bytes_below(tmp_path) == before) == (server.stapling.on and not server.tree.managed)
