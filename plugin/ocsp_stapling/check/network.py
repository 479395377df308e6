"""Everything about the way to the responders: the probe, and what its failures are compared with."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import select
import socket
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from itertools import islice
from typing import NamedTuple

from ocsp_stapling.apache.tree import ConfigTree
from ocsp_stapling.check.diagnosis.explanation import UNCONNECTED
from ocsp_stapling.check.evidence import NameState
from ocsp_stapling.host.firewall.report import FirewallHint, read_firewall
from ocsp_stapling.host.resolver import Comparison, LookupOutcome, NameCheck, led_to
from ocsp_stapling.host.routes import own_addresses
from ocsp_stapling.ocsp import responder
from ocsp_stapling.ocsp.finding import HTTP, ResponderFinding
from ocsp_stapling.ocsp.guard import refusal
from ocsp_stapling.ocsp.responder import Target
from ocsp_stapling.run import run
from ocsp_stapling.settings import ProbeSettings

FALLBACK_USER = "nobody"
_TRACERS = (
    ("mtr", "-rwnc", "2", "--tcp", "--port", "80"),
    ("traceroute", "-n", "-q", "1", "-w", "1"),
    ("tracepath", "-n"),
)
_TRACE_BYTES = 8192
_UNCONNECTED_LOOKED_AT = 48
_CONTROLS = 2
_PUBLIC_ADDRESSES = 4
_MARGIN_SECONDS = 0.05


class Rules(NamedTuple):
    """What of this server's firewall fits, and why none of it could be read ("" where some could)."""

    hints: tuple[FirewallHint, ...] = ()
    unread: str = ""


def probe(
    targets: Sequence[Target], settings: ProbeSettings, worker: tuple[int, int] | None, deadline: float
) -> tuple[ResponderFinding, ...]:
    """Ask every responder as Apache's worker user; one finding for each target, by `deadline` (monotonic)."""
    uid, gid = worker or (None, None)
    return responder.probe(
        targets,
        uid=uid,
        gid=gid,
        deadline_seconds=max(deadline - time.monotonic() - _MARGIN_SECONDS, 0.2),
        timeout_seconds=settings.timeout_seconds,
        allowed_networks=settings.allow_networks,
        own_addresses=own_addresses(),
    )


def worker_of(tree: ConfigTree) -> str:
    """Return the account Apache's workers run as."""
    name = tree.user or FALLBACK_USER
    return name if _known(name) else FALLBACK_USER


def identity(name: str, group: str | None) -> tuple[int, int] | None:
    """Return uid and gid to probe as; None if we are not root, and so can be nobody but ourselves."""
    if os.geteuid() != 0:
        return None
    account = pwd.getpwnam(name)
    try:
        gid = grp.getgrnam(group).gr_gid if group else account.pw_gid
    except KeyError:
        gid = account.pw_gid
    return account.pw_uid, gid


def _known(name: str) -> bool:
    try:
        return pwd.getpwnam(name).pw_uid != 0
    except KeyError:
        return False


def unconnected(findings: Sequence[ResponderFinding]) -> dict[str, int]:
    """Return the addresses to which no connection came about, and the port asked at each: the first few dozen.

    Customers can name thousands, and each costs a socket and a look through the firewall's rules.
    """
    found = (
        (address.address, finding.port or 80)
        for finding in findings
        for address in finding.addresses
        if address.outcome in UNCONNECTED
    )
    return dict(islice(found, _UNCONNECTED_LOOKED_AT))


def root_connects(addresses: Mapping[str, int], seconds: float) -> frozenset[str]:
    """Return the addresses to which we, as root, can open a connection within `seconds`, all tried at once.

    Only addresses that the probe's guard has let pass come here. Not a byte is sent or read: this only tells a
    rule against Apache's user from a block for everyone.
    """
    if os.geteuid() != 0 or not addresses:
        return frozenset()
    with ExitStack() as opened:
        pending: dict[int, tuple[socket.socket, str]] = {}
        for text, port in addresses.items():
            one = opened.enter_context(
                socket.socket(socket.AF_INET6 if ":" in text else socket.AF_INET, socket.SOCK_STREAM)
            )
            one.setblocking(False)
            if one.connect_ex((text, port)) in (0, errno.EINPROGRESS):
                pending[one.fileno()] = (one, text)
        return frozenset(_connected(pending, time.monotonic() + seconds))


def _connected(pending: dict[int, tuple[socket.socket, str]], end: float) -> set[str]:
    found: set[str] = set()
    waiting = select.poll()
    for number in pending:
        waiting.register(number, select.POLLOUT)
    while pending and (left := end - time.monotonic()) > 0:
        for number, _ in waiting.poll(left * 1000):
            waiting.unregister(number)
            one, text = pending.pop(number)
            if one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                found.add(text)
    return found


def connected(findings: Sequence[ResponderFinding]) -> frozenset[str]:
    """Return a few addresses of each family to which a connection came about."""
    found = [
        (each.family, each.address)
        for one in findings
        for each in one.addresses
        if each.tcp_ms is not None and one.port in (HTTP, None)
    ]
    families = {family for family, _ in found}
    return frozenset(
        address
        for family in families
        for _, address in [each for each in found if each[0] == family][:_CONTROLS]
    )


def firewall_rules(
    addresses: Collection[str], answering: Collection[str], worker: str, seconds: float
) -> Rules:
    """Return the rules of this server that stop connections to these addresses, or what comes back.

    A rule that would stop those that are `answering` as well is read wrongly: it stops nobody.
    """
    if not addresses:
        return Rules()
    report = read_firewall([*answering, *addresses], worker, seconds=seconds)
    unread = "" if report.known else f"its rules could not be read ({', '.join(report.unread)})"
    return Rules(tuple(hint for hint in report.hints if not set(hint.destinations) & set(answering)), unread)


def elsewhere_resolved(check: NameCheck | None) -> tuple[str, ...]:
    """Return the addresses that public resolvers give and this server does not use, the first few."""
    if check is None:
        return ()
    public = dict.fromkeys(address for answer in check.public for address in answer.addresses)
    return tuple(address for address in public if address not in check.system.addresses)[:_PUBLIC_ADDRESSES]


def source_of(check: NameCheck) -> str:
    """Return who gives this server the addresses that it uses: a name server of resolv.conf, or a cache before it."""
    used = set(check.system.addresses)
    giving = [answer.asked for answer in check.nameservers if used & set(answer.addresses)]
    if giving:
        return f"the name server{'s' if len(giving) > 1 else ''} {' and '.join(giving)} (/etc/resolv.conf)"
    if any(answer.addresses for answer in check.nameservers):
        return "a cache on this server (nscd, sssd or the like), for its name servers say otherwise"
    return "what resolves names on this server (/etc/nsswitch.conf)"


def led_elsewhere(sites: Sequence[str], seconds: float) -> dict[str, tuple[str, ...]]:
    """Return the addresses of those of these sites whose name leads to none that this server knows as its own."""
    own = set(map(str, own_addresses()))
    found = led_to([site.partition(":")[0] for site in sites], seconds)
    return {name: addresses for name, addresses in found.items() if own.isdisjoint(addresses)}


def name_state(check: NameCheck | None) -> NameState:
    """Return what the name servers' answers mean for a diagnosis."""
    if check is None:
        return NameState.UNKNOWN
    if check.verdict is Comparison.PRIVATE_ANSWER:
        told = [answer for answer in check.public if answer.outcome is LookupOutcome.ANSWERED]
        differs = any(not refusal(address) for answer in told for address in answer.addresses)
        return NameState.PRIVATE_ANSWER if differs else NameState.RESOLVES
    return _NAME_STATES.get(check.verdict, NameState.UNKNOWN)


_NAME_STATES = {
    Comparison.SAME: NameState.RESOLVES,
    Comparison.DIFFERENT: NameState.RESOLVES,
    Comparison.NOT_COMPARED: NameState.RESOLVES,
    Comparison.HOSTS_OVERRIDE: NameState.HOSTS_OVERRIDE,
    Comparison.RESOLVER_DEAD: NameState.RESOLVER_AT_FAULT,
    Comparison.RESOLVER_FAILS: NameState.RESOLVER_AT_FAULT,
    Comparison.FAILS_EVERYWHERE: NameState.FAILS_EVERYWHERE,
    Comparison.NO_SUCH_NAME: NameState.NO_SUCH_NAME,
}


def trace(address: str, seconds: float) -> str:
    """Return the route to an address as the first installed tracer prints it, "" if there is none."""
    for tracer in _TRACERS:
        done = run([*tracer, address], timeout=seconds, limit=_TRACE_BYTES)
        if done.out.strip():
            return "$ " + " ".join([*tracer, address]) + "\n" + done.out.strip()
    return ""
