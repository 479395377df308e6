"""What years of use add to an EasyApache 4 server: done to a machine from outside, before a test looks at it.

Written from cPanel's public documentation ("Modify Apache Virtual Hosts with Include Files", "Service and Proxy
Subdomains", "Tweak Settings", "Suspend Accounts"); the drop-in on another port has the form of a firewall's message
server, which greets blocked visitors of every site with that site's own certificate.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.machine.ea4 import CPANEL_CONFIG, INCLUDES, SERVICES_PEM, TLS, USERDATA
from tests.machine.machine import Machine
from tests.machine.pki import AuthorityKeys, combined, new_key, pem
from tests.machine.shape import SitePlan

HOSTNAME = "whm.example.test"
MESSENGER_PORT = 8887
_SPLITLOGS = "#!/bin/sh\nexec cat >>/var/log/apache2/splitlogs\n"


def live_in(machine: Machine, settings: str = "enable_piped_logs=1\n") -> None:
    """Furnish a machine, with these Tweak Settings, and start its Apache anew."""
    _write(machine, CPANEL_CONFIG, settings)
    _write(machine, Path("/usr/local/cpanel/bin/splitlogs"), _SPLITLOGS, 0o755)
    _services(machine)
    _userdata(machine, machine.sites[0])
    _write(
        machine,
        INCLUDES / "errordocument.conf",
        "ErrorDocument 404 /404.shtml\nErrorDocument 503 /503.shtml\n",
    )
    _suspend(machine, machine.sites[1])
    _write(machine, Path("/etc/apache2/conf.d/csf.messenger.conf"), messenger(machine.sites))
    machine.run("/usr/local/cpanel/scripts/rebuildhttpdconf")
    machine.run("/usr/local/cpanel/scripts/restartsrv_httpd", "--hard")


def _write(machine: Machine, path: Path, text: str, mode: int = 0o644) -> None:
    outside = machine.path(str(path))
    outside.parent.mkdir(parents=True, exist_ok=True)
    outside.write_text(text)
    outside.chmod(mode)


def _services(machine: Machine) -> None:
    """The certificate of the host's own name and its services, from the machine's last authority."""
    keys = AuthorityKeys.load(machine.authorities[-1], machine.path("/run/machine/pki"))
    key = new_key()
    leaf = keys.certificate(SitePlan(HOSTNAME, "root", keys.authority.name), key)
    _write(machine, SERVICES_PEM, combined(leaf, key, keys.issuer).decode(), 0o600)
    # One site still has its chain apart, as older installations do.
    _write(machine, TLS / machine.sites[0].name / "cabundle", pem(keys.issuer).decode(), 0o640)


def _userdata(machine: Machine, site: SitePlan) -> None:
    """An include at every level that cPanel documents."""
    levels = [USERDATA, *(USERDATA / kind for kind in ("std", "ssl"))]
    levels += [USERDATA / kind / part for kind in ("std", "ssl") for part in _deeper(site)]
    for level in levels:
        _write(machine, level / "custom.conf", f"SetEnv LEVEL {level}\n")


def _deeper(site: SitePlan) -> tuple[str, ...]:
    return ("2_4", f"2_4/{site.user}", f"2_4/{site.user}/{site.name}")


def _suspend(machine: Machine, site: SitePlan) -> None:
    _write(machine, Path("/var/cpanel/suspended") / site.user, "unpaid\n")
    page = (
        f'<Directory "/home/{site.user}/public_html">\n    Redirect 302 / /suspendedpage.cgi\n</Directory>\n'
    )
    _write(machine, INCLUDES / "account_suspensions.conf", page)


def messenger(sites: Sequence[SitePlan]) -> str:
    """Virtual hosts with the names and certificates of all sites, on a port that no visitor comes to by himself."""
    hosts = "".join(_MESSENGER_HOST.format(port=MESSENGER_PORT, name=each.name, tls=TLS) for each in sites)
    return f"Listen 0.0.0.0:{MESSENGER_PORT}\n{hosts}"


_MESSENGER_HOST = """\
<VirtualHost *:{port}>
    ServerName {name}
    SSLEngine on
    SSLCertificateFile {tls}/{name}/combined
    SSLUseStapling off
</VirtualHost>
"""
