"""The rest of the internet, in its own network namespace: name servers and OCSP responders, with their
faults.

The machine's first process becomes it (boot.py); it reads the authorities' keys from RUN.
"""

from __future__ import annotations

import asyncio
import base64
import datetime
import urllib.parse
from email.utils import formatdate
from functools import partial
from typing import cast

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from tests.machine import faults
from tests.machine.pki import AuthorityKeys, new_key
from tests.machine.shape import GATEWAY_V4, NOBODY_V4, SLY_V4, STRANGER_V4, Authority, Shape, authorities
from tests.machine.trapzone import Reply, TrapZone

PKI = faults.RUN / "pki"
REQUESTS = faults.RUN / "requests.log"
PAGE = b"<!DOCTYPE html><html><head><title>Welcome</title></head><body>Please log in.</body></html>"
UNSUCCESSFUL = {
    "try-later": ocsp.OCSPResponseStatus.TRY_LATER,
    "unauthorized": ocsp.OCSPResponseStatus.UNAUTHORIZED,
}
OLD_ADDRESSES = {"dns-stale": NOBODY_V4, "dns-stranger": STRANGER_V4}
HOUR = datetime.timedelta(hours=1)


class World:
    """Everything beyond the server's cable."""

    def __init__(self, shape: Shape) -> None:
        self.authorities = authorities(shape)
        self.by_address = {a: c for c in self.authorities for a in c.addresses}
        self.by_host = {c.host: c for c in self.authorities}
        self.keys = {c.name: AuthorityKeys.load(c, PKI) for c in self.authorities}
        self.trap_zone = TrapZone(self.authorities[0].addresses)
        self._sly_waiting = False
        self._faults: list[faults.Fault] = []
        self._stamp = 0

    def fault(self, authority: Authority, address: str, among: tuple[str, ...], question: bytes = b"") -> str:
        """Return the first fault of the wanted sort that hits this responder's address (and question), or ""."""
        stamp = faults.FAULTS.stat().st_mtime_ns if faults.FAULTS.exists() else 0
        if stamp != self._stamp:
            self._faults, self._stamp = faults.read(), stamp
        hitting = (f for f in self._faults if f.kind in among and f.hits(authority.name, address))
        return next((f.kind for f in hitting if bytes.fromhex(f.serial) in question), "")

    # -- OCSP ---------------------------------------------------------------------------------------------

    async def serve_http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await asyncio.wait_for(self._serve(reader, writer), 600)
        except (OSError, asyncio.IncompleteReadError, TimeoutError, ValueError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address = writer.get_extra_info("sockname")[0]
        if address == SLY_V4:
            await self._serve_slyly(reader, writer)
            return
        authority = self.by_address.get(address)
        if authority is None:
            if address == STRANGER_V4:
                await read_request(reader)
                writer.write(http(PAGE, media="text/html"))
                await writer.drain()
            return
        head, body = await read_request(reader)
        with REQUESTS.open("a") as log:
            log.write(f"{authority.name} {address} {head.splitlines()[0]}\n")
        kind = self.fault(authority, address, faults.ANSWERS, body)
        if kind == "hang":
            await reader.read()
            return
        if kind == "slow":
            await asyncio.sleep(2)
        writer.write(self.reply(authority, kind, body))
        await writer.drain()

    async def _serve_slyly(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, body = await read_request(reader)
        if self._sly_waiting:
            writer.write(self.reply(self.authorities[0], "", body))
            await writer.drain()
            return
        self._sly_waiting = True
        try:
            await reader.read()
        finally:
            self._sly_waiting = False

    def reply(self, authority: Authority, kind: str, body: bytes) -> bytes:
        """Return the whole HTTP reply of a responder in that mood."""
        if kind == "empty":
            return b""
        if kind == "5xx":
            return http(b"out of order", "503 Service Unavailable", "text/plain")
        if kind == "redirect":
            return http(
                b"", "301 Moved Permanently", "text/plain", f"Location: http://{authority.host}/elsewhere\r\n"
            )
        if kind == "html":
            return http(PAGE, media="text/html")
        if kind == "not-ocsp":
            return http(b"\x30\x03\x02\x01\x2a")
        if kind in UNSUCCESSFUL:
            return http(_der(ocsp.OCSPResponseBuilder.build_unsuccessful(UNSUCCESSFUL[kind])))
        return http(self.answer(self.keys[authority.name], kind, body), more=_dated(kind))

    def answer(self, keys: AuthorityKeys, kind: str, body: bytes) -> bytes:
        """Return a signed OCSP answer to the request in `body` (RFC 6960)."""
        asked = ocsp.load_der_ocsp_request(body)
        now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
        start, end = now - HOUR, now + 72 * HOUR
        if kind == "stale":
            start, end = now - 96 * HOUR, now - 24 * HOUR
        if kind == "future":
            start, end = now + 24 * HOUR, now + 96 * HOUR
        status, when = ocsp.OCSPCertStatus.GOOD, None
        if kind == "revoked":
            status, when = ocsp.OCSPCertStatus.REVOKED, now - 48 * HOUR
        if kind == "unknown":
            status = ocsp.OCSPCertStatus.UNKNOWN
        serial = asked.serial_number + 1 if kind == "wrong-certificate" else asked.serial_number
        builder = ocsp.OCSPResponseBuilder().add_response_by_hash(
            asked.issuer_name_hash,
            asked.issuer_key_hash,
            serial,
            asked.hash_algorithm,
            status,
            start,
            end,
            when,
            None,
        )
        return _der(self._sign(builder, keys, kind))

    def _sign(self, builder: ocsp.OCSPResponseBuilder, keys: AuthorityKeys, kind: str) -> ocsp.OCSPResponse:
        signer, key = keys.signer, keys.signer_key
        if kind == "wrong-delegate":
            stranger = AuthorityKeys.create(keys.authority)
            signer, key = stranger.signer, stranger.signer_key
        if kind == "bad-signature":
            key = new_key()
            # The builder refuses a key that does not fit, so sign rightly and then spoil the signature
            # itself.
            good = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, signer).certificates([signer])
            raw = bytearray(_der(good.sign(keys.signer_key, hashes.SHA256())))
            at = bytes(raw).index(ocsp.load_der_ocsp_response(bytes(raw)).signature)
            raw[at + 12] ^= 0xFF
            return ocsp.load_der_ocsp_response(bytes(raw))
        if keys.authority.name == "beta" and kind not in ("wrong-delegate", "oversize"):
            # One authority signs with the issuing key itself, without a delegate.
            direct = builder.responder_id(ocsp.OCSPResponderEncoding.NAME, keys.issuer)
            return direct.sign(keys.issuer_key, hashes.SHA256())
        copies = 40 if kind == "oversize" else 1
        delegated = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, signer).certificates(
            [signer] * copies
        )
        return delegated.sign(key, hashes.SHA256())

    # -- DNS ----------------------------------------------------------------------------------------------

    def resolve(self, wire: bytes, local: str) -> Reply | None:
        """Return the reply to a DNS query that came in at the address `local`, or None for silence."""
        query = dns.message.from_wire(wire)
        if trap := self.trap_zone.reply(query):
            return trap
        plain = self._resolve(query, local)
        return Reply(plain) if plain is not None else None

    def _resolve(self, query: dns.message.Message, local: str) -> bytes | None:
        reply = dns.message.make_response(query, recursion_available=True)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        authority = self.by_host.get(name)
        if authority is None:
            reply.set_rcode(dns.rcode.NXDOMAIN)
            return reply.to_wire()
        # A broken resolver is this server's own; the public ones beyond it are in order.
        kind = self.fault(authority, authority.addresses[0], faults.NAMES) if local == GATEWAY_V4 else ""
        if kind == "dns-hang":
            return None
        if kind in OLD_ADDRESSES:
            if int(question.rdtype) == dns.rdatatype.A:
                old = OLD_ADDRESSES[kind]
                reply.answer.append(dns.rrset.from_text_list(question.name, 60, "IN", question.rdtype, [old]))
            return reply.to_wire()
        if kind:
            reply.set_rcode(dns.rcode.SERVFAIL if kind == "dns-servfail" else dns.rcode.NXDOMAIN)
            return reply.to_wire()
        wanted = {1: ".", 28: ":"}.get(int(question.rdtype))
        found = [a for a in authority.addresses if wanted and wanted in a]
        if found:
            reply.answer.append(dns.rrset.from_text_list(question.name, 60, "IN", question.rdtype, found))
        return reply.to_wire()


class NameServer(asyncio.DatagramProtocol):
    """One UDP name server at one address."""

    def __init__(self, world: World, local: str) -> None:
        self.world, self.local = world, local

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        reply = self.world.resolve(data, self.local)
        if reply is not None and reply.wire:
            loop = asyncio.get_running_loop()
            loop.call_later(reply.after, self.transport.sendto, reply.wire, addr)


async def read_request(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    """Return head and OCSP request of an HTTP request: the body of a POST, the path of a GET."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    lines = head.split("\r\n")
    if lines[0].startswith("GET "):
        path = urllib.parse.unquote(lines[0].split()[1]).split("?")[0]
        return head, base64.b64decode(path.lstrip("/"))
    length = next((int(x.split(":")[1]) for x in lines if x.lower().startswith("content-length:")), 0)
    return head, await reader.readexactly(length)


def http(
    body: bytes, status: str = "200 OK", media: str = "application/ocsp-response", more: str = ""
) -> bytes:
    head = f"HTTP/1.0 {status}\r\nContent-Type: {media}\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    return head.encode() + body


def _dated(kind: str) -> str:
    """The header that every real responder sends; those of a wrong time leave it out, as if our clock were wrong."""
    return "" if kind in ("stale", "future") else f"Date: {formatdate(usegmt=True)}\r\n"


def _der(response: ocsp.OCSPResponse) -> bytes:
    return response.public_bytes(Encoding.DER)


async def serve(world: World, resolvers: list[str]) -> None:
    loop = asyncio.get_running_loop()
    for local in resolvers:
        await loop.create_datagram_endpoint(partial(NameServer, world, local), local_addr=(local, 53))
    await asyncio.start_server(world.serve_http, "0.0.0.0", 80, backlog=512)
    await asyncio.start_server(world.serve_http, "::", 80, backlog=512)
    print("ready", flush=True)
    await asyncio.Event().wait()


def run(shape: Shape, resolvers: list[str]) -> None:
    """Be the rest of the internet, with name servers at these addresses."""
    asyncio.run(serve(World(shape), resolvers))
