"""nginx in front of a machine's Apache, in ea-nginx's layout: Debian's nginx on 80 and 443, Apache on 81 and 444.

Written from cPanel's public documentation ("NGINX with Reverse Proxy", "Advanced NGINX configuration"): Apache's
ports are WHM's settings `apache_port` and `apache_ssl_port`, each account has a file in conf.d/users, and what is
asked over TLS goes on over TLS. ea-nginx itself writes no `ssl_stapling`; an administrator may.
"""

from __future__ import annotations

from tests.machine.machine import Machine
from tests.machine.shape import GATEWAY_V4, SERVER_V4, SERVER_V6, SitePlan

CPANEL_CONFIG = "/var/cpanel/cpanel.config"
BEHIND = "apache_port=0.0.0.0:81\napache_ssl_port=0.0.0.0:444\n"


def move_apache_behind(machine: Machine) -> None:
    """Have Apache listen on 81 and 444 from now on, as WHM's settings for a server in front say."""
    machine.path(CPANEL_CONFIG).write_text(BEHIND)
    machine.run("/usr/local/cpanel/scripts/rebuildhttpdconf")
    machine.run("/usr/local/cpanel/scripts/restartsrv_httpd", "--hard")


def put_in_front(machine: Machine, stapling: bool = False) -> None:
    """Move Apache behind nginx and start that, with or without `ssl_stapling on` for every site."""
    move_apache_behind(machine)
    machine.path("/etc/nginx/nginx.conf").write_text(_MAIN)
    users = machine.path("/etc/nginx/conf.d/users")
    users.mkdir(parents=True, exist_ok=True)
    for plan in machine.sites:
        (users / f"{plan.user}.conf").write_text(_server(plan, stapling))
    machine.run("nginx")


def staple(machine: Machine, on: bool) -> None:
    """Have the running nginx staple by itself from now on, or no longer."""
    for plan in machine.sites:
        machine.path(f"/etc/nginx/conf.d/users/{plan.user}.conf").write_text(_server(plan, on))
    machine.run("nginx", "-s", "reload")


def _server(plan: SitePlan, stapling: bool) -> str:
    lines = f"    ssl_stapling on;\n    resolver {GATEWAY_V4};\n" if stapling else ""
    return _SERVER.format(name=plan.name, v6=SERVER_V6, v4=SERVER_V4, stapling=lines)


_MAIN = """\
user nobody nogroup;
worker_processes 2;
pid /run/nginx.pid;
error_log /var/log/nginx/error.log warn;
events { worker_connections 512; }
http {
    access_log off;
    ssl_session_cache off;
    include /etc/nginx/conf.d/users/*.conf;
}
"""

_SERVER = """\
server {{
    listen {v4}:80;
    listen [{v6}]:80;
    listen {v4}:443 ssl;
    listen [{v6}]:443 ssl;
    server_name {name} www.{name};
    ssl_certificate /var/cpanel/ssl/apache_tls/{name}/combined;
    ssl_certificate_key /var/cpanel/ssl/apache_tls/{name}/combined;
{stapling}    location / {{
        proxy_pass https://{v4}:444;
        proxy_ssl_server_name on;
        proxy_ssl_name $host;
        proxy_set_header Host $host;
        proxy_http_version 1.1;
    }}
}}
"""
