"""Inside a machine: the page on which its authorities are broken and healed. Part of the machine, not of the product.

Usage: python -m tests.machine.outage PORT WHM-URL      (listens on the machine's own 127.0.0.1)
GET / shows everything; POST /break, /heal and /visit do something and lead back to it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from tests.machine import faults, moods
from tests.machine.clients import handshake
from tests.machine.outage_html import Visit, page
from tests.machine.shape import Shape, authorities, sites

RESTART = "/usr/local/cpanel/scripts/restartsrv_httpd"
VISITORS = 4
PATIENCE = 60.0  # seconds that a visitor waits
LARGEST_FORM = 4096  # bytes
HERE = ("127.0.0.1", "localhost", "[::1]")
HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
}


class RefusedError(Exception):
    """A request that nobody's browser makes by a click on the page."""


class Outages:
    """What the page shows and does."""

    def __init__(self, shape: Shape, whm: str) -> None:
        self.authorities = authorities(shape)
        self.sites = {plan.name: plan.authority for plan in sites(shape)}
        self.whm = whm
        self.last: Visit | None = None
        self._visiting = threading.Lock()

    def render(self) -> str:
        return page(self.authorities, moods.moods(self.authorities), self.sites, self.last, self.whm)

    def strike(self, fields: dict[str, str]) -> None:
        ca, kind, family = (fields.get(name, "") for name in ("ca", "kind", "family"))
        if ca not in self._names() or kind not in moods.WORDS or family not in moods.families_of(kind):
            raise RefusedError("There is no such fault.")
        moods.strike(self.authorities, ca, kind, family)

    def heal(self, fields: dict[str, str]) -> None:
        ca = fields.get("ca", "")
        if ca not in ("all", *self._names()):
            raise RefusedError("There is no such authority.")
        moods.heal(self.authorities, ca)

    def visit(self, fields: dict[str, str]) -> None:
        """Send visitors on their way, unless some are under way still."""
        site = fields.get("site", "")
        if site not in self.sites:
            raise RefusedError("There is no such site.")
        with self._visiting:
            if self.last and self.last.under_way:
                return
            if fields.get("forget"):
                subprocess.run([RESTART, "--hard"], check=False, stdout=subprocess.DEVNULL)
            self.last = Visit(site, VISITORS, time.strftime("%H:%M:%S"))
            for _ in range(VISITORS):
                threading.Thread(target=self._one, args=(self.last,), daemon=True).start()

    def _one(self, visit: Visit) -> None:
        found = handshake(visit.site, limit=PATIENCE)
        ending = found["error"] or ("with staple" if found["stapled"] else "no staple")
        visit.handshakes.append((found["seconds"], ending))

    def _names(self) -> list[str]:
        return [a.name for a in self.authorities]


class Handler(BaseHTTPRequestHandler):
    timeout = 60

    def __init__(self, outages: Outages, *rest: object) -> None:
        self.outages = outages
        super().__init__(*rest)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        if not self._called_by_its_name() or urlsplit(self.path).path != "/":
            return self._send(404, "There is no such page.")
        return self._send(200, self.outages.render())

    do_HEAD = do_GET  # noqa: N815 - http.server's name

    def do_POST(self) -> None:
        known = {
            "/break": self.outages.strike,
            "/heal": self.outages.heal,
            "/visit": self.outages.visit,
        }
        act = known.get(self.path)
        if act is None or not self._called_by_its_name() or not self._from_this_page():
            return self._send(403, "Use the buttons of the page.")
        try:
            act(self._fields())
        except RefusedError as problem:
            return self._send(400, str(problem))
        return self._send(303, "", {"Location": "/"})

    def _called_by_its_name(self) -> bool:
        """A name that leads to a loopback address (DNS rebinding) gives a foreign page no access."""
        name, _, _ = self.headers.get("Host", "").rpartition(":")
        return name in HERE

    def _from_this_page(self) -> bool:
        """No other site's form may press a button here."""
        origin = self.headers.get("Origin")
        return origin is None or origin == f"http://{self.headers['Host']}"

    def _fields(self) -> dict[str, str]:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > LARGEST_FORM:
            raise RefusedError("That is no form of this page.")
        try:
            found = parse_qs(self.rfile.read(int(length)).decode())
        except ValueError:
            raise RefusedError("That is no form of this page.") from None
        return {name: values[0] for name, values in found.items()}

    def _send(self, status: int, text: str, more: dict[str, str] | None = None) -> None:
        body = text.encode()
        self.send_response(status)
        for name, value in {**HEADERS, **(more or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""


def main() -> None:
    port, whm = sys.argv[1:]
    shape = Shape.from_json((faults.RUN / "shape.json").read_text())
    server = ThreadingHTTPServer(("127.0.0.1", int(port)), partial(Handler, Outages(shape, whm)))
    os.dup2(os.open(faults.RUN / "outage.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), 2)
    print("ready", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
