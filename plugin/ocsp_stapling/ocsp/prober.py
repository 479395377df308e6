"""Asks all addresses of all responders at once and tells, stage by stage, how far each came.

Runs in the child that has given up root (`worker`); what it is told to ask comes from foreign certificates.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from typing import Any

from ocsp_stapling.ocsp.answer import SKEW_SECONDS, verify_answer
from ocsp_stapling.ocsp.certificate import Certificate
from ocsp_stapling.ocsp.exchange import ExchangeError, Reply, connect, receive, request_bytes, send
from ocsp_stapling.ocsp.finding import AddressFinding, Outcome, ResponderFinding
from ocsp_stapling.ocsp.guard import (
    ITS_OWN,
    IPAddress,
    IPNetwork,
    ResponderURL,
    UnusableURLError,
    is_allowed,
    parse_url,
    refusal,
    through,
    unwrapped,
)
from ocsp_stapling.ocsp.icmp import Pinger
from ocsp_stapling.ocsp.request import ocsp_request

MAX_ADDRESSES_PER_FAMILY = 8
MAX_LOOKUPS_AT_ONCE = 64
MAX_CONNECTIONS_AT_ONCE = 200
"""To the further addresses of all names together."""
MAX_FIRST_CONNECTIONS_AT_ONCE = 400
"""To the first of each name and family: apart, for one customer's names can have hundreds of addresses that hang."""
_FURTHER_AT_ONCE = 32
"""At one address, of the questions about further certificates: no responder need take this server for an attacker."""
_PING_SECONDS = 1.0
_IPV6 = 6
_RESOLVER_GAVE_UP_SECONDS = 4.0  # a first time-out of the C library's resolver is five

_ANYWHERE = (ip_network("0.0.0.0/0"), ip_network("::/0"))
_FAMILIES = {socket.AF_INET: "ipv4", socket.AF_INET6: "ipv6"}


@dataclass(frozen=True)
class Target:
    """A responder to ask, and the certificate to ask it about; without both, only reachability is probed."""

    url: str
    certificate: Certificate | None = None
    issuer: Certificate | None = None
    trusted: bool = False
    """Whether a line of Apache's configuration names it, which only root writes: then any address may be asked."""
    via: str = ""
    """The URL of the HTTP proxy through which Apache asks (SSLOCSPProxyURL), "" for none."""
    keep: bool = False
    """Whether the finding shall hold the answer itself."""
    at: tuple[str, ...] = ()
    """The addresses to ask instead of those that the name has on this server; the guard vets them alike."""
    skew: int = SKEW_SECONDS
    """Seconds that Apache forgives an answer's times (SSLStaplingResponseTimeSkew)."""

    @property
    def asks(self) -> bool:
        """Whether there is a question: without the issuer none can be put."""
        return self.certificate is not None and self.issuer is not None


@dataclass(frozen=True)
class Limits:
    """How long and whom the probe may ask. Seconds."""

    deadline_seconds: float
    timeout_seconds: float
    """Per socket operation, as SSLStaplingResponderTimeout."""
    allowed_networks: Collection[IPNetwork] = ()
    own_addresses: Collection[IPAddress] = ()


Address = tuple[socket.AddressFamily, str]
Resolver = Callable[[str], Sequence[Address]]


def resolve(host: str) -> Sequence[Address]:
    """Return the addresses of a host in the order in which Apache tries them; raises socket.gaierror.

    With the flags of the library Apache uses: without an IPv6 address of its own it never tries AAAA.
    """
    found = socket.getaddrinfo(
        host.encode("latin-1", "replace"), None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
    )
    addresses = [(family, str(where[0])) for family, _, _, _, where in found if family in _FAMILIES]
    return list(dict.fromkeys(addresses))


async def probe_all(
    targets: Sequence[Target],
    limits: Limits,
    pinger: Pinger,
    report: Callable[[int, ResponderFinding], None],
    resolver: Resolver = resolve,
) -> None:
    """Probe every target and report each exactly once, by its position, when it ends or the deadline comes."""
    lookups = _Lookups(resolver)
    places = _Places()
    probes = [_ResponderProbe(target, limits, pinger, lookups, places) for target in targets]
    tasks = {asyncio.create_task(probe.run()): number for number, probe in enumerate(probes)}
    end = time.monotonic() + limits.deadline_seconds
    pending = set(tasks)
    while pending and time.monotonic() < end:
        done, pending = await asyncio.wait(
            pending, timeout=end - time.monotonic(), return_when=asyncio.FIRST_COMPLETED
        )
        for task in done:
            report(tasks[task], probes[tasks[task]].finding())
    for task in pending:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for task in pending:
        report(tasks[task], probes[tasks[task]].finding())
    lookups.close()


class _Lookups:
    """Resolves each name once, however many certificates share it; the C library blocks, so in threads."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._threads = ThreadPoolExecutor(MAX_LOOKUPS_AT_ONCE)
        self._found: dict[str, asyncio.Future[tuple[Sequence[Address] | Exception, float]]] = {}

    async def addresses(self, host: str) -> tuple[Sequence[Address] | Exception, float]:
        """What the name leads to, or why to nothing, and the seconds that it took."""
        if host not in self._found:
            loop = asyncio.get_running_loop()
            self._found[host] = loop.run_in_executor(self._threads, self._timed, host)
        return await asyncio.shield(self._found[host])

    def _timed(self, host: str) -> tuple[Sequence[Address] | Exception, float]:
        """In the thread, so that waiting for one of the threads does not count."""
        started = time.perf_counter()
        try:
            found: Sequence[Address] | Exception = self._resolver(host)
        except (OSError, UnicodeError) as error:
            found = error
        return found, time.perf_counter() - started

    def close(self) -> None:
        for future in self._found.values():
            future.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)


class _Places:
    """Room for connections: so many of the first addresses, of further ones, and fewer to one that was given."""

    def __init__(self) -> None:
        self._first = asyncio.Semaphore(MAX_FIRST_CONNECTIONS_AT_ONCE)
        self._further = asyncio.Semaphore(MAX_CONNECTIONS_AT_ONCE)
        self._given: dict[str, asyncio.Semaphore] = {}

    @contextlib.asynccontextmanager
    async def at(self, address: str, *, given: bool, first: bool) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as held:
            if given:
                at_once = self._given.setdefault(address, asyncio.Semaphore(_FURTHER_AT_ONCE))
                await held.enter_async_context(at_once)
            async with self._first if first else self._further:
                yield


class _ResponderProbe:
    """One responder: resolve once, vet every address, ask all that may be asked side by side."""

    def __init__(
        self, target: Target, limits: Limits, pinger: Pinger, lookups: _Lookups, places: _Places
    ) -> None:
        self._target, self._limits, self._pinger = target, limits, pinger
        self._lookups, self._places = lookups, places
        self._addresses: list[_AddressProbe] = []
        self._finding = ResponderFinding(target.url, "", None, target.asks, None, 0, (), Outcome.DEADLINE)

    def finding(self) -> ResponderFinding:
        """What is known by now."""
        return replace(self._finding, addresses=tuple(probe.finding for probe in self._addresses))

    async def run(self) -> None:
        try:
            asked = url = parse_url(self._target.url)
            if self._target.via:
                url = through(url, parse_url(self._target.via))
        except UnusableURLError as error:
            return self._note(fault=Outcome.URL_UNUSABLE, detail=str(error))
        self._note(host=asked.host, port=asked.port, fault=Outcome.DNS_TIMEOUT)
        addresses = self._given() if self._target.at else await self._resolve(url.host)
        chosen = _first_of_each(addresses)
        self._addresses = [self._address_probe(url, *address) for address in chosen]
        seen: set[socket.AddressFamily] = set()
        async with asyncio.TaskGroup() as group:
            for probe, (family, _) in zip(self._addresses, chosen, strict=True):
                group.create_task(self._in_turn(probe, first=family not in seen))
                seen.add(family)
        return None

    def _note(self, **facts: Any) -> None:
        self._finding = replace(self._finding, **facts)

    def _given(self) -> Sequence[Address]:
        found = [
            (socket.AF_INET6 if ip_address(text).version == _IPV6 else socket.AF_INET, text)
            for text in self._target.at
        ]
        self._note(fault=None, address_count=len(found))
        return found

    async def _resolve(self, host: str) -> Sequence[Address]:
        found, took = await self._lookups.addresses(host)
        if isinstance(found, Exception):
            silent = getattr(found, "errno", 0) == socket.EAI_AGAIN and took > _RESOLVER_GAVE_UP_SECONDS
            fault = Outcome.DNS_TIMEOUT if silent else Outcome.DNS_FAILURE
            self._note(fault=fault, detail=getattr(found, "strerror", "") or "", resolve_ms=took * 1000)
            return []
        empty = None if found else Outcome.DNS_FAILURE
        self._note(fault=empty, resolve_ms=took * 1000, address_count=len(found))
        return found

    def _address_probe(self, url: ResponderURL, family: socket.AddressFamily, address: str) -> _AddressProbe:
        limits = self._limits
        if self._target.trusted:
            limits = replace(limits, allowed_networks=_ANYWHERE, own_addresses=())
        return _AddressProbe(self._target, url, family, address, limits, self._pinger)

    async def _in_turn(self, probe: _AddressProbe, *, first: bool) -> None:
        async with self._places.at(probe.finding.address, given=bool(self._target.at), first=first):
            await probe.run()


def _first_of_each(addresses: Sequence[Address]) -> list[Address]:
    """Keep the first few of each family: a hostile zone can hold thousands."""
    chosen = []
    room = dict.fromkeys(_FAMILIES, MAX_ADDRESSES_PER_FAMILY)
    for family, address in addresses:
        if room[family]:
            room[family] -= 1
            chosen.append((family, address))
    return chosen


class _AddressProbe:
    """One address: vet, route, TCP, HTTP, verification, and a ping where that failed. `finding` grows with each."""

    def __init__(
        self,
        target: Target,
        url: ResponderURL,
        family: socket.AddressFamily,
        address: str,
        limits: Limits,
        pinger: Pinger,
    ) -> None:
        self._target = target
        self._url, self._family, self._address = url, family, address
        self._limits, self._pinger = limits, pinger
        self._reply = Reply()
        self._connected = 0.0
        self.finding = AddressFinding(
            address, _FAMILIES[family], Outcome.DEADLINE, apache_accepts=False if target.asks else None
        )

    async def run(self) -> None:
        refused = refusal(self._address, self._limits.allowed_networks, self._limits.own_addresses)
        if refused:
            return self._note(outcome=Outcome.ADDRESS_FORBIDDEN, detail=refused)
        self._note(allowed_by_operator=is_allowed(self._address, self._limits.allowed_networks))
        try:
            self._find_route()
            await self._ask()
            # Not before: a responder that sees our ping first could behave for as long as we look.
            if not self.finding.outcome.is_good and self.finding.outcome is not Outcome.REACHABLE:
                await self._ping()
        except ExchangeError as error:
            self._note(outcome=error.outcome, detail=error.detail)
        except OSError as error:  # no IPv6 in this kernel, no more sockets
            self._note(outcome=Outcome.NO_ROUTE, detail=error.strerror or "")
        return None

    def _note(self, **facts: Any) -> None:
        self.finding = replace(self.finding, **facts)

    def _find_route(self) -> None:
        """Ask the kernel, without sending anything: a connected UDP socket has a source address or an error."""
        with socket.socket(self._family, socket.SOCK_DGRAM) as opened:
            try:
                opened.connect((self._address, self._url.port))
            except OSError as error:
                self._note(route=False)
                raise ExchangeError(Outcome.NO_ROUTE, error.strerror or "") from error
            source = opened.getsockname()[0]
        self._note(route=True, source=source)
        own = unwrapped(ip_address(source)) == unwrapped(ip_address(self._address))
        if (
            own and not self.finding.allowed_by_operator
        ):  # only to itself does a server talk from this address
            raise ExchangeError(Outcome.ADDRESS_FORBIDDEN, ITS_OWN)

    async def _ping(self) -> None:
        timeout = min(_PING_SECONDS, self._limits.timeout_seconds)
        self._note(icmp_ms=await self._pinger.ping(self._family, self._address, timeout))

    async def _ask(self) -> None:
        try:
            with contextlib.closing(
                socket.socket(self._family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            ) as opened:
                await self._exchange(opened)
            self._note(outcome=self._judge())
        except ExchangeError as error:
            if error.outcome is Outcome.REPLY_TIMEOUT and self._reply.body:
                self._judge()  # a good answer whose end Apache waits for in vain is worth knowing
                self._note(apache_accepts=False)
            if error.outcome in (Outcome.RESET, Outcome.EMPTY_REPLY) and self.finding.tcp_ms is not None:
                self._note(http_ms=(time.perf_counter() - self._connected) * 1000)
            self._note(outcome=error.outcome, detail=error.detail)
        except asyncio.CancelledError:
            if self._reply.received:  # drop by drop: each read was in time, the whole was not
                self._note(outcome=Outcome.SLOW)
            raise

    async def _exchange(self, opened: socket.socket) -> None:
        timeout = self._limits.timeout_seconds
        started = time.perf_counter()
        try:
            await connect(opened, self._address, self._url.port, timeout)
        except ExchangeError:
            self._note(failed_ms=(time.perf_counter() - started) * 1000)
            raise
        connected = time.perf_counter()
        self._connected = connected
        self._note(tcp_ms=(connected - started) * 1000)
        try:
            await send(opened, request_bytes(self._url, self._question()), timeout)
            await receive(opened, self._reply, timeout, whole=self._target.asks)
        finally:
            if self._reply.received:
                took = (time.perf_counter() - connected) * 1000
                self._note(http_status=self._reply.status, http_ms=took, clock_ahead=self._clock_ahead())

    def _clock_ahead(self) -> float | None:
        date = self._reply.date
        return (datetime.now(UTC) - date).total_seconds() if date else None

    def _question(self) -> bytes | None:
        certificate, issuer = self._target.certificate, self._target.issuer
        return ocsp_request(certificate, issuer) if certificate and issuer else None

    def _judge(self) -> Outcome:
        """Look at the complete reply as mod_ssl does, then verify what it does not."""
        certificate, issuer = self._target.certificate, self._target.issuer
        if certificate is None or issuer is None:
            return Outcome.REACHABLE
        status = self._reply.status or 0
        if not 200 <= status <= 299:
            return Outcome.REDIRECT if 300 <= status <= 399 else Outcome.HTTP_ERROR
        if self._reply.is_html:
            return Outcome.HTML
        answer = verify_answer(self._reply.body, certificate, issuer, datetime.now(UTC), self._target.skew)
        self._note(
            verdict=answer.verdict,
            apache_accepts=answer.apache_accepts,
            certificate_status=answer.certificate_status,
            this_update=answer.this_update,
            next_update=answer.next_update,
            answer=base64.b64encode(self._reply.body).decode() if self._target.keep else "",
        )
        outcome = Outcome.of(answer.verdict)
        if outcome is Outcome.NOT_OCSP:
            self._note(detail=self._reply.coding)
        return Outcome.SLOW if outcome.is_good and self._took_too_long() else outcome

    def _took_too_long(self) -> bool:
        took_ms = (self.finding.tcp_ms or 0) + (self.finding.http_ms or 0)
        return took_ms > self._limits.timeout_seconds * 1000
