"""The EasyApache 4 tree of the machine: paths, modules, includes, certificates and the generated httpd.conf.

Written from cPanel's public documentation ("EasyApache 4 and the ea-nginx/Apache configuration files",
"Advanced Apache configuration", "Include Editor") and from the order of includes measured on such servers.
Standard library only, for the stand-in of `rebuildhttpdconf` runs it too.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from tests.machine.shape import SERVER_V4, SERVER_V6, Shape, SitePlan, authorities, sites

BASE = Path("/etc/apache2")
CONF = BASE / "conf/httpd.conf"
INCLUDES = BASE / "conf.d/includes"
USERDATA = BASE / "conf.d/userdata"
TLS = Path("/var/cpanel/ssl/apache_tls")
EA4_JSON = Path("/etc/cpanel/ea4/ea4.conf")
PATHS_CONF = Path("/etc/cpanel/ea4/paths.conf")
CPANEL_CONFIG = Path("/var/cpanel/cpanel.config")
SERVICES_PEM = Path("/var/cpanel/ssl/cpanel/mycpanel.pem")
STATE = Path("/var/cpanel/machine-sites.json")
PID_FILE = Path("/run/apache2/httpd.pid")
DEBIAN_MODULES = Path("/usr/lib/apache2/modules")

PATHS = {
    "bin_apachectl": "/usr/sbin/apachectl",
    "bin_httpd": "/usr/sbin/httpd",
    "bin_suexec": "/usr/sbin/suexec",
    "dir_base": "/etc/apache2",
    "dir_conf": "/etc/apache2/conf.d",
    "dir_conf_includes": "/etc/apache2/conf.d/includes",
    "dir_conf_userdata": "/etc/apache2/conf.d/userdata",
    "dir_docroot": "/var/www/html",
    "dir_domlogs": "/etc/apache2/logs/domlogs",
    "dir_logs": "/etc/apache2/logs",
    "dir_modules": "/etc/apache2/modules",
    "dir_run": "/run/apache2",
    "file_access_log": "/etc/apache2/logs/access_log",
    "file_conf": "/etc/apache2/conf/httpd.conf",
    "file_conf_mime_types": "/etc/apache2/conf/mime.types",
    "file_conf_php_conf": "/etc/apache2/conf.d/php.conf",
    "file_conf_srm_conf": "/etc/apache2/conf.d/srm.conf",
    "file_error_log": "/etc/apache2/logs/error_log",
}
# Everything an ordinary EA4 profile loads that matters here; mod_info is a package of its own and absent.
MODULES = (
    "authz_core",
    "authz_host",
    "alias",
    "dir",
    "env",
    "mime",
    "setenvif",
    "headers",
    "socache_shmcb",
    "status",
)
MPM_LINES = {
    "event": (
        "mpm_event",
        "StartServers 3",
        "ServerLimit 256",
        "MaxRequestWorkers 150",
        "ThreadsPerChild 25",
    ),
    "event-tight": (
        "mpm_event",
        "StartServers 3",
        "ServerLimit 6",
        "MaxRequestWorkers 150",
        "ThreadsPerChild 25",
    ),
    "worker": (
        "mpm_worker",
        "StartServers 3",
        "ServerLimit 6",
        "MaxRequestWorkers 150",
        "ThreadsPerChild 25",
    ),
    "prefork": ("mpm_prefork", "StartServers 5", "ServerLimit 256", "MaxRequestWorkers 150"),
}
INCLUDE_NAMES = [
    f"{place}_{version}.conf"
    for place in ("pre_main", "pre_virtualhost", "post_virtualhost")
    for version in ("global", "2")
]


def build(shape: Shape) -> None:
    """Lay out the tree as a fresh EA4 server has it, except httpd.conf, which `rebuildhttpdconf` writes."""
    for directory in (CONF.parent, INCLUDES, USERDATA, BASE / "conf.modules.d", Path("/run/apache2"), TLS):
        directory.mkdir(parents=True, exist_ok=True)
    for leftover in ("apache2.conf", "envvars", "ports.conf", "magic"):
        (BASE / leftover).unlink(missing_ok=True)
    for leftover in ("mods-available", "mods-enabled", "sites-available", "sites-enabled", "conf-available"):
        shutil.rmtree(BASE / leftover, ignore_errors=True)
    shutil.rmtree(BASE / "conf-enabled", ignore_errors=True)
    # Debian's httpd looks for apache2.conf where EA4's looks for conf/httpd.conf: one name for both.
    (BASE / "apache2.conf").symlink_to("conf/httpd.conf")
    (BASE / "modules").symlink_to(DEBIAN_MODULES)
    (BASE / "logs").symlink_to("/var/log/apache2")
    Path("/usr/local/apache").mkdir(parents=True, exist_ok=True)
    Path("/usr/local/apache/conf").symlink_to(BASE / "conf")
    (BASE / "conf/includes").symlink_to(INCLUDES)
    Path("/var/log/apache2").mkdir(parents=True, exist_ok=True)
    Path("/var/www/html").mkdir(parents=True, exist_ok=True)
    PATHS_CONF.parent.mkdir(parents=True, exist_ok=True)
    PATHS_CONF.write_text("".join(f"{key}={value}\n" for key, value in PATHS.items()))
    EA4_JSON.write_text(
        json.dumps({"sslusestapling": "On", "sslprotocol": "all -SSLv3 -TLSv1 -TLSv1.1"}) + "\n"
    )
    for name in INCLUDE_NAMES:
        _root_only(INCLUDES / name, "")
    shutil.copy2("/usr/sbin/apache2", "/usr/sbin/httpd")
    (BASE / "conf/mime.types").write_text("text/html html\ntext/plain txt\n")
    # conf.d is never empty on EA4, whose httpd.conf demands at least one file there.
    (BASE / "conf.d/autoindex.conf").write_text(
        "<IfModule autoindex_module>\n    IndexOptions FancyIndexing\n</IfModule>\n"
    )
    with Path("/etc/group").open("a") as groups:
        groups.write("nobody:x:65534:\n")  # the distributions of EA4 call the group of nobody so
    _modules(shape)
    _accounts(sites(shape))


def _root_only(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o600)


def _modules(shape: Shape) -> None:
    directory = BASE / "conf.modules.d"
    mpm, *lines = MPM_LINES[shape.mpm]
    (directory / f"000_mod_{mpm}.conf").write_text("\n".join([_load(mpm), *lines, ""]))
    (directory / "001_core.conf").write_text("\n".join(_load(name) for name in MODULES) + "\n")
    (directory / "390_mod_ssl.conf").write_text(_load("ssl") + "\n")


def _load(name: str) -> str:
    return f"LoadModule {name}_module modules/mod_{name}.so"


def _accounts(plans: list[SitePlan]) -> None:
    users = Path("/var/cpanel/users")
    users.mkdir(parents=True, exist_ok=True)
    for plan in plans:
        home = Path("/home") / plan.user / "public_html"
        home.mkdir(parents=True, exist_ok=True)
        (home / "index.html").write_text(f"{plan.name}\n")
        (users / plan.user).write_text(f"DNS={plan.name}\nUSER={plan.user}\nOWNER=root\n")
    owners = "".join(f"{plan.name}: {plan.user}\n" for plan in plans)
    Path("/etc/userdomains").write_text(owners)
    Path("/etc/trueuserdomains").write_text(owners)
    STATE.write_text(json.dumps([[p.name, p.user, p.ocsp_url] for p in plans]))


def certificates(shape: Shape, pki: Path) -> None:
    """Create the authorities and write every site's combined file."""
    from tests.machine.pki import AuthorityKeys, combined, new_key

    keys = {a.name: AuthorityKeys.create(a) for a in authorities(shape)}
    for each in keys.values():
        each.save(pki)
    key = new_key()
    for plan in sites(shape):
        issuer = keys[plan.authority]
        directory = TLS / plan.name
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / "combined"
        path.write_bytes(combined(issuer.certificate(plan, key), key, issuer.issuer))
        path.chmod(0o640)


def render() -> str:
    """Return httpd.conf as a rebuild writes it now: an include file is named only if it exists."""
    stapling = json.loads(EA4_JSON.read_text()).get("sslusestapling", "On")
    settings = _settings()
    parts = [_MAIN.format(listen=_listen(settings, "apache_port"))]
    parts += _existing("pre_main_global", "pre_main_2")
    parts.append(_SSL.format(listen=_listen(settings, "apache_ssl_port"), stapling=stapling, mutex=_mutex()))
    parts.append('Include "/etc/apache2/conf.d/*.conf"\n')
    parts += _existing("pre_virtualhost_global", "pre_virtualhost_2")
    parts += _existing("errordocument", "account_suspensions")
    parts += [_vhosts(settings, *site) for site in json.loads(STATE.read_text())]
    parts += _existing("post_virtualhost_global", "post_virtualhost_2")
    if SERVICES_PEM.exists():
        parts.append(
            _SERVICES.format(port=_port(settings, "apache_ssl_port"), v4=SERVER_V4, pem=SERVICES_PEM)
        )
    return "\n".join(parts)


def _settings() -> dict[str, str]:
    """WHM's Tweak Settings, as far as Apache's configuration follows them."""
    text = CPANEL_CONFIG.read_text() if CPANEL_CONFIG.exists() else ""
    found = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    return {"apache_port": "0.0.0.0:80", "apache_ssl_port": "0.0.0.0:443", "ipv6_listen": "1"} | found


def _port(settings: dict[str, str], name: str) -> str:
    return settings[name].rpartition(":")[2]


def _listen(settings: dict[str, str], name: str) -> str:
    port = _port(settings, name)
    return f"Listen 0.0.0.0:{port}" + (f"\nListen [::]:{port}" if settings["ipv6_listen"] == "1" else "")


def _mutex() -> str:
    prefork = (BASE / "conf.modules.d/000_mod_mpm_prefork.conf").exists()
    return "Mutex sysvsem ssl-cache" if prefork else "Mutex file:/run/apache2 ssl-cache"


def _existing(*names: str) -> list[str]:
    return [f'Include "{INCLUDES / name}.conf"' for name in names if (INCLUDES / f"{name}.conf").exists()]


def _vhosts(settings: dict[str, str], name: str, user: str, has_url: bool) -> str:
    v6 = settings["ipv6_listen"] == "1"
    plain, secure = _port(settings, "apache_port"), _port(settings, "apache_ssl_port")
    bundle = TLS / name / "cabundle"
    return _VHOST.format(
        name=name,
        user=user,
        where=f"{SERVER_V4}:{plain}" + (f" [{SERVER_V6}]:{plain}" if v6 else ""),
        tls_where=f"{SERVER_V4}:{secure}" + (f" [{SERVER_V6}]:{secure}" if v6 else ""),
        tls=TLS,
        authority=f"        SSLCACertificateFile {bundle}\n" if bundle.exists() else "",
        stapling="" if has_url else "        SSLUseStapling off\n",
        guarded=_GUARDED.format(user=user),
        log=_PIPED.format(name=name) if settings.get("enable_piped_logs") == "1" else "",
        plain=_userdata("std", user, name),
        secure=_userdata("ssl", user, name),
    )


def _userdata(kind: str, user: str, name: str) -> str:
    """The includes of every level that has files; the innermost is named in any case, for who wants to add one."""
    inner = USERDATA / kind / "2_4" / user / name
    outer = (USERDATA, USERDATA / kind, USERDATA / kind / "2_4", USERDATA / kind / "2_4" / user)
    lines = [f'    Include "{each}/*.conf"\n' for each in outer if any(each.glob("*.conf"))]
    return "".join(lines) + f'    {"" if any(inner.glob("*.conf")) else "# "}Include "{inner}/*.conf"\n'


def rebuild() -> tuple[bool, str]:
    """Write httpd.conf anew unless Apache would not accept it; return whether it was written, and Apache's
    words.
    """
    fresh = CONF.with_suffix(".conf.new")
    fresh.write_text(render())
    test = subprocess.run(
        ["/usr/sbin/httpd", "-t", "-f", str(fresh)], capture_output=True, text=True, check=False, timeout=120
    )
    if test.returncode != 0:
        fresh.unlink()
        return False, test.stdout + test.stderr
    fresh.replace(CONF)
    return True, test.stdout + test.stderr


_MAIN = """\
# GENERATED BY THE MACHINE'S STAND-IN FOR rebuildhttpdconf. DO NOT EDIT: the next rebuild loses every edit.
ServerRoot "/etc/apache2"
Include "/etc/apache2/conf.modules.d/*.conf"
PidFile /run/apache2/httpd.pid
DefaultRuntimeDir /run/apache2
# EA4's httpd has this default compiled in; Debian's has another.
ErrorLog logs/error_log
LogLevel warn
User nobody
Group nobody
ServerName whm.example.test
UseCanonicalName Off
TraceEnable Off
ServerTokens ProductOnly
{listen}
Timeout 300
KeepAlive On
DocumentRoot "/var/www/html"
<Directory "/">
    AllowOverride All
    Require all granted
</Directory>
<Files ~ "^error_log$">
    Require all denied
</Files>
<IfModule log_config_module>
    LogFormat "%h %l %u %t \\"%r\\" %>s %b \\"%{{Referer}}i\\"" combined
    CustomLog logs/access_log combined
</IfModule>
<IfModule prefork.c>
    MinSpareServers 5
    MaxSpareServers 10
</IfModule>
<Location "/whm-server-status">
    SetHandler server-status
    Require ip 127.0.0.1 ::1
</Location>
TypesConfig conf/mime.types
"""

_SSL = """\
<IfModule ssl_module>
{listen}
    SSLProtocol all -SSLv3 -TLSv1 -TLSv1.1
    <IfModule socache_shmcb_module>
        SSLUseStapling {stapling}
        SSLStaplingCache shmcb:/run/apache2/stapling_cache_shmcb(256000)
        SSLStaplingReturnResponderErrors off
        SSLStaplingErrorCacheTimeout 60
        SSLStaplingFakeTryLater off
        SSLStaplingResponderTimeout 3
        SSLSessionCache shmcb:/run/apache2/ssl_gcache_data_shmcb(1024000)
    </IfModule>
    <IfModule !socache_shmcb_module>
        SSLSessionCache dbm:/run/apache2/ssl_gcache_data_dbm
    </IfModule>
    SSLSessionCacheTimeout 300
    {mutex}
    SSLRandomSeed startup builtin
    SSLRandomSeed connect builtin
</IfModule>
"""

_VHOST = """\
<VirtualHost {where}>
    ServerName {name}
    ServerAlias www.{name} mail.{name}
    DocumentRoot /home/{user}/public_html
{guarded}{log}{plain}</VirtualHost>
<VirtualHost {tls_where}>
    ServerName {name}
    ServerAlias www.{name} mail.{name}
    DocumentRoot /home/{user}/public_html
    <IfModule ssl_module>
        SSLEngine on
        SSLCertificateFile {tls}/{name}/combined
{authority}{stapling}        SetEnvIf User-Agent ".*MSIE.*" nokeepalive ssl-unclean-shutdown
    </IfModule>
{guarded}{log}{secure}</VirtualHost>
"""

# What an account's virtual host says only where a module of its name is there; few profiles have them all.
_GUARDED = """\
    <IfModule userdir_module>
        <IfModule !mpm_itk.c>
            <IfModule !ruid2_module>
                UserDir disabled
                UserDir enabled {user}
            </IfModule>
        </IfModule>
    </IfModule>
    <IfModule suexec_module>
        <IfModule !mod_ruid2.c>
            SuexecUserGroup {user} {user}
        </IfModule>
    </IfModule>
    <IfModule alias_module>
        ScriptAlias /cgi-bin/ /home/{user}/public_html/cgi-bin/
    </IfModule>
    <IfModule headers_module>
        RequestHeader set X-HTTPS 1
    </IfModule>
"""

_PIPED = (
    '    CustomLog "|/usr/local/cpanel/bin/splitlogs --main={name} --suffix=-bytes_log" '
    '"%{{%s}}t %I .\\n%{{%s}}t %O ."\n'
)

# After the sites: the host's own name on every address, and the service subdomains of all accounts.
_SERVICES = """\
<VirtualHost 127.0.0.1:{port} *:{port}>
    ServerName whm.example.test
    DocumentRoot /var/www/html
    <IfModule ssl_module>
        SSLEngine on
        SSLCertificateFile {pem}
        SSLCertificateKeyFile {pem}
        SSLCertificateChainFile {pem}
    </IfModule>
</VirtualHost>
<VirtualHost {v4}:{port} 127.0.0.1:{port}>
    ServerName whm.example.test
    ServerAlias cpanel.* whm.* webmail.* webdisk.* cpcalendars.* cpcontacts.*
    DocumentRoot /var/www/html
    <IfModule ssl_module>
        SSLEngine on
        SSLCertificateFile {pem}
        SSLCertificateKeyFile {pem}
        SSLCertificateChainFile {pem}
    </IfModule>
</VirtualHost>
"""
