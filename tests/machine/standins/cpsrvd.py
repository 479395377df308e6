"""Stand-in for cpsrvd, WHM's web server on port 2087. Standard library only; run inside a machine as root.

Follows (api.docs.cpanel.net, docs.cpanel.net): "Guide to WHM Plugins - The AppConfig System" and "- AppConfig
Configuration File" (dispatch by url, acls, user), "Guide to WHM Plugins - Access Control Lists", "Guide to API
Authentication" (session, basic, API tokens), "Create a session: create_user_session" (/cpsess##########), and what
plugins' authors report of the CGI environment. Its hostile habits are on purpose: no PATH_INFO, no cookies, no custom
headers, the login's password in REMOTE_PASSWORD, a CONTENT_LENGTH that lies when told to, buffered and gzipped
answers, static files cached for 60 days, `index.cgi/anything` is 404, an app without acls or a CGI without an app is
refused even to root.

Usage: cpsrvd.py [PORT]. Users: /run/machine/whm-users.json {NAME: {"password": ..., "tokens": {NAME: SECRET}}}.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import html
import json
import os
import re
import resource
import secrets
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO
from urllib.parse import parse_qs, unquote, urlsplit

DOCROOT = Path("/usr/local/cpanel/whostmgr/docroot")
APPS = Path("/var/cpanel/apps")
RESELLERS = Path("/var/cpanel/resellers")
DRIVERS = Path("/usr/local/cpanel/Cpanel/Config/ConfigObj/Driver")
LOGS = Path("/usr/local/cpanel/logs")
USERS = Path("/run/machine/whm-users.json")
PEM = Path("/run/machine/cpsrvd.pem")
WITHOUT_FRAME_OPTIONS = Path("/run/machine/cpsrvd.without-frame-options")
COOKIE = "whostmgrsession"
KNOWN_ACLS = ("all", "list-accts", "restart", "ssl", "ssl-info", "status", "stats", "news")
CACHE_SECONDS = 60 * 86400
CGI_SECONDS = 300
LIE = "X-Stand-In-Content-Length"  # only this stand-in: the CONTENT_LENGTH that the CGI is told
TYPES = {
    ".css": "text/css",
    ".js": "application/javascript",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".html": "text/html; charset=utf-8",
}


@dataclass(frozen=True)
class Login:
    """Who is logged in, and how: a session has a token prefix, basic authentication and API tokens have none."""

    user: str
    password: str = ""
    prefix: str = ""
    api_token: str = ""


SESSIONS: dict[str, Login] = {}


def users() -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = json.loads(USERS.read_text())
    return found


def password_fits(user: str, password: str) -> bool:
    known = users().get(user, {}).get("password")
    return isinstance(known, str) and secrets.compare_digest(known.encode(), password.encode())


def acls_of(user: str) -> set[str]:
    if user == "root":
        return {"all"}
    lines = RESELLERS.read_text().splitlines() if RESELLERS.exists() else []
    return {a for line in lines if line.partition(":")[0] == user for a in line.partition(":")[2].split(",")}


def existing_acls() -> set[str]:
    """A privilege that no driver describes does not exist, and is dropped from an app's list without a word."""
    text = "".join(path.read_text() for path in DRIVERS.glob("*.pm"))
    return {*KNOWN_ACLS, *re.findall(r"\bacl'?\s*=>\s*'(software-[^']+)'", text)}


def apps() -> list[dict[str, str]]:
    found = []
    for path in sorted(APPS.glob("*.conf")):
        lines = [
            x.partition("=") for x in path.read_text().splitlines() if "=" in x and not x.startswith("#")
        ]
        found.append({key.strip(): value.strip() for key, _, value in lines})
    return found


def urls(app: dict[str, str]) -> list[str]:
    return [value for key, value in app.items() if re.fullmatch(r"url[0-9]*", key)]


def may_use(app: dict[str, str], user: str) -> bool:
    wanted = {x.strip() for x in app.get("acls", "").split(",")} & existing_acls()
    held = acls_of(user)
    return bool(wanted) and ("all" in held or bool(wanted & held))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "cpsrvd"
    timeout = 120

    def do_GET(self) -> None:
        self.answer()

    do_POST = do_HEAD = do_PUT = do_GET  # noqa: N815 - http.server's names

    def log_message(self, format: str, *args: object) -> None:
        with (LOGS / "access_log").open("a") as log:
            log.write(f"{self.client_address[0]} {time.strftime('%FT%T')} {format % args}\n")

    # -- who -----------------------------------------------------------------------------------------------

    def login_of(self, prefix: str) -> Login | None:
        kind, _, rest = self.headers.get("Authorization", "").partition(" ")
        if kind.lower() == "basic":
            with contextlib.suppress(ValueError):
                user, _, password = base64.b64decode(rest).decode().partition(":")
                return Login(user, password) if password_fits(user, password) else None
        if kind.lower() == "whm":
            user, _, secret = rest.partition(":")
            tokens = users().get(user, {}).get("tokens", {})
            names = [n for n, s in tokens.items() if s == secret] if isinstance(tokens, dict) else []
            return Login(user, api_token=names[0]) if names else None
        morsel = SimpleCookie(self.headers.get("Cookie", "")).get(COOKIE)
        login = SESSIONS.get(morsel.value) if morsel else None
        return login if login and login.prefix == prefix else None

    def log_in(self) -> None:
        fields = parse_qs(self.body().decode())
        user, password = fields.get("user", [""])[0], fields.get("pass", [""])[0]
        if not password_fits(user, password):
            return self.page(401, LOGIN_PAGE.replace("@MESSAGE@", "The login is invalid."))
        identity, prefix = secrets.token_hex(16), f"/cpsess{secrets.randbelow(10**10):010d}"
        SESSIONS[identity] = Login(user, password, prefix)
        cookie = f"{COOKIE}={identity}; HttpOnly; Path=/; Secure"
        wanted = fields.get("goto_uri", ["/"])[0]
        if "login_only=1" in self.path:
            told = {"status": 1, "redirect": f"{prefix}/", "security_token": prefix}
            return self.send(200, json.dumps(told).encode(), "application/json", {"Set-Cookie": cookie})
        target = prefix + (wanted if wanted.startswith("/") and not wanted.startswith("//") else "/")
        return self.send(301, b"", "text/html", {"Set-Cookie": cookie, "Location": target})

    def log_out(self) -> None:
        morsel = SimpleCookie(self.headers.get("Cookie", "")).get(COOKIE)
        if morsel:
            SESSIONS.pop(morsel.value, None)
        self.page(200, LOGIN_PAGE.replace("@MESSAGE@", "You have logged out."))

    # -- what ----------------------------------------------------------------------------------------------

    def answer(self) -> None:
        parts = urlsplit(self.path)
        match = re.match(r"/cpsess[0-9]+", parts.path)
        prefix = match[0] if match else ""
        path = unquote(parts.path[len(prefix) :]) or "/"
        if path == "/login/" and self.command == "POST":
            return self.log_in()
        if path == "/logout/":
            return self.log_out()
        login = self.login_of(prefix)
        if login is None:
            return self.page(
                401, LOGIN_PAGE.replace("@MESSAGE@", "Log in." if not prefix else "Your session has ended.")
            )
        if path == "/":
            return self.page(200, home(login))
        return self.dispatch(login, path, parts.query)

    def dispatch(self, login: Login, path: str, query: str) -> None:
        file = Path(os.path.normpath(f"{DOCROOT}{path}"))
        if DOCROOT not in file.parents or not file.is_file():
            return self.page(404, "<h1>404</h1><p>There is no such document.</p>")
        if file.suffix not in (".cgi", ".pl", ".php"):
            return self.static(file)
        app = next((a for a in apps() if path in urls(a) and a.get("service") == "whostmgr"), None)
        if app is None or not may_use(app, login.user):
            return self.page(403, "<h1>403</h1><p>You do not have the privilege to use this application.</p>")
        return self.cgi(login, file, path, query)

    def static(self, file: Path) -> None:
        kind = TYPES.get(file.suffix, "application/octet-stream")
        self.send(200, file.read_bytes(), kind, {"Cache-Control": f"max-age={CACHE_SECONDS}"})

    # -- CGI -----------------------------------------------------------------------------------------------

    def environment(self, login: Login, file: Path, path: str, query: str) -> dict[str, str]:
        found = {
            "PATH": "/usr/local/cpanel/3rdparty/bin:/usr/bin:/bin",
            "GATEWAY_INTERFACE": "CGI/1.1",
            "SERVER_SOFTWARE": "cpsrvd",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "SERVER_NAME": "whm.example.test",
            "SERVER_PORT": str(self.server.server_port),  # type: ignore[attr-defined]
            "HTTPS": "on",
            "DOCUMENT_ROOT": str(DOCROOT),
            "SCRIPT_NAME": path,
            "SCRIPT_FILENAME": str(file),
            "REQUEST_METHOD": self.command,
            "REQUEST_URI": self.path,
            "QUERY_STRING": query,
            "REMOTE_USER": login.user,
            "REMOTE_ADDR": str(self.client_address[0]).removeprefix("::ffff:"),
            "HTTP_HOST": self.headers.get("Host", ""),
            "HTTP_USER_AGENT": self.headers.get("User-Agent", ""),
            "cp_security_token": login.prefix,
        }
        if login.password:
            found["REMOTE_PASSWORD"] = login.password
        if login.api_token:
            found["WHM_API_TOKEN_NAME"] = login.api_token
        if self.command == "POST":
            found["CONTENT_TYPE"] = self.headers.get("Content-Type", "")
            found["CONTENT_LENGTH"] = self.headers.get(LIE, self.headers.get("Content-Length", ""))
        return found

    def cgi(self, login: Login, file: Path, path: str, query: str) -> None:
        with (LOGS / "error_log").open("ab") as errors:
            process = subprocess.Popen(
                [str(file)],
                env=self.environment(login, file, path, query),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=file.parent,
                start_new_session=True,
            )
        assert process.stdin is not None
        assert process.stdout is not None
        threading.Thread(target=self.pour, args=(process.stdin,), daemon=True).start()
        guard = threading.Timer(CGI_SECONDS, end_group, [process.pid])
        guard.daemon = True
        guard.start()
        output = process.stdout.read()
        guard.cancel()
        process.wait()
        end_group(process.pid)  # what the request started ends with it
        self.relay(output)

    def pour(self, stdin: IO[bytes]) -> None:
        """Give the CGI the body as it arrives."""
        left = int(self.headers.get("Content-Length") or 0)
        with contextlib.suppress(OSError):
            while left > 0:
                chunk = self.rfile.read1(min(left, 65536))
                if not chunk:
                    break
                left -= len(chunk)
                stdin.write(chunk)
                stdin.flush()
        self.close_connection = self.close_connection or left > 0
        with contextlib.suppress(OSError):
            stdin.close()

    def relay(self, output: bytes) -> None:
        head, separator, body = output.replace(b"\r\n\r\n", b"\n\n", 1).partition(b"\n\n")
        if not separator:
            return self.page(500, "<h1>500</h1><p>The application printed no headers.</p>")
        pairs = [line.rstrip("\r").partition(": ") for line in head.decode("latin-1").split("\n")]
        headers = {name: value for name, space, value in pairs if space}  # no space after the colon: lost
        status = headers.pop("Status", "302 Found" if "Location" in headers else "200 OK")
        kind = headers.pop("Content-Type", "text/html")
        return self.send(int(status[:3]), body, kind, headers)

    # -- answers -------------------------------------------------------------------------------------------

    def body(self) -> bytes:
        return self.rfile.read(min(int(self.headers.get("Content-Length") or 0), 1 << 20))

    def page(self, status: int, text: str) -> None:
        self.close_connection = True
        self.send(status, text.encode(), "text/html; charset=utf-8", {"Cache-Control": "no-store"})

    def send(self, status: int, body: bytes, kind: str, headers: dict[str, str]) -> None:
        if kind.startswith("text/") and "gzip" in self.headers.get("Accept-Encoding", "") and len(body) > 200:
            body, headers = gzip.compress(body, 1), {**headers, "Content-Encoding": "gzip"}
        self.send_response(status)
        for name, value in {**headers, "Content-Type": kind, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        if not WITHOUT_FRAME_OPTIONS.exists():
            self.send_header("X-Frame-Options", "SAMEORIGIN")
        self.send_header("X-Content-Type-Options", "nosniff")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def end_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def home(login: Login) -> str:
    """WHM's home: the plugins that this user may open."""
    shown = [a for a in apps() if a.get("entryurl") and may_use(a, login.user)]
    links = "".join(_link(login.prefix, app) for app in shown)
    return HOME_PAGE.replace("@LINKS@", links)


def _link(prefix: str, app: dict[str, str]) -> str:
    where, target = html.escape(app["entryurl"]), html.escape(app.get("target", "_blank"))
    return f'<li><a href="{prefix}/cgi/{where}" target="{target}">{html.escape(app["displayname"])}</a></li>'


HOME_PAGE = """<!DOCTYPE html><html lang="en"><title>WHM Home</title><h1>Plugins</h1>
<ul id="plugins">@LINKS@</ul></html>
"""
LOGIN_PAGE = """<!DOCTYPE html><html lang="en"><title>WHM Login</title><h1>WHM Login</h1><p id="message">@MESSAGE@</p>
<form id="login_form" method="post" action="/login/"><label>Username <input name="user" id="user"></label>
<label>Password <input name="pass" id="pass" type="password"></label>
<button type="submit" id="login_submit">Log in</button></form></html>
"""


class Server(ThreadingHTTPServer):
    address_family = socket.AF_INET6
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, port: int) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(PEM)
        super().__init__(("::", port), Handler)

    def finish_request(self, request: object, client_address: object) -> None:
        """Shake hands in the request's own thread: one slow visitor must not hold up the others."""
        assert isinstance(request, socket.socket)
        request.settimeout(30)
        with contextlib.suppress(OSError), self.context.wrap_socket(request, server_side=True) as secured:
            secured.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            super().finish_request(secured, client_address)


def certificate() -> None:
    if PEM.exists():
        return
    made = PEM.with_suffix(".new")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-days", "30", "-subj", "/CN=whm.example.test", "-keyout", str(made), "-out", f"{made}.crt"),
            *("-addext", "subjectAltName=DNS:whm.example.test,IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    made.write_bytes(made.read_bytes() + Path(f"{made}.crt").read_bytes())
    made.rename(PEM)


def main() -> None:
    os.umask(0o077)
    certificate()
    LOGS.mkdir(parents=True, exist_ok=True)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
    server = Server(int(sys.argv[1]) if len(sys.argv) > 1 else 2087)
    print("ready", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
