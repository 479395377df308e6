"""Whether this server resolves a responder's name, and as others do: hosts file, own name servers, public ones."""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

import dns.exception
import dns.message
import dns.query
import dns.rcode
import dns.rdataclass
import dns.rdatatype

SYSTEM = "system"
DNS_PORT = 53
HOSTS = Path("/etc/hosts")
RESOLV_CONF = Path("/etc/resolv.conf")

_NAMES = 64
_ADDRESSES = 64
_QUESTION_SECONDS = 2.0
_SIZE_LIMIT = 16 * 1024 * 1024
_NAMESERVERS = 3  # as many as the C library uses (MAXNS, resolv.conf(5))
_LOCAL = "127.0.0.1"  # what the C library asks when no name server is named


class LookupOutcome(Enum):
    """How one question for a name ended."""

    ANSWERED = "answered"
    NO_SUCH_NAME = "no-such-name"
    NO_ADDRESS = "no-address"
    FAILED = "failed"
    TIMED_OUT = "timed-out"
    UNREACHABLE = "unreachable"


SILENT = frozenset({LookupOutcome.TIMED_OUT, LookupOutcome.UNREACHABLE})


class Comparison(Enum):
    """What comparing the answers shows."""

    SAME = "same"
    DIFFERENT = "different"  # usual: a content network answers by place
    HOSTS_OVERRIDE = "hosts-override"
    PRIVATE_ANSWER = "private-answer"
    RESOLVER_DEAD = "resolver-dead"
    RESOLVER_FAILS = "resolver-fails"
    FAILS_EVERYWHERE = "fails-everywhere"
    NO_SUCH_NAME = "no-such-name"
    NOT_COMPARED = "not-compared"


@dataclass(frozen=True)
class NameAnswer:
    """One answer: `asked` is a name server's address, or "system" for what Apache itself would get."""

    asked: str
    outcome: LookupOutcome
    addresses: tuple[str, ...] = ()
    milliseconds: float | None = None


@dataclass(frozen=True)
class NameCheck:
    """Everything found out about one name; `sentence` tells it in plain words."""

    name: str
    verdict: Comparison
    system: NameAnswer
    nameservers: tuple[NameAnswer, ...]
    public: tuple[NameAnswer, ...]
    hosts: tuple[HostsEntry, ...]
    sentence: str
    alive: Set[str] = frozenset()
    """Who answered for some name: where it is silent for this one, that name's own servers may be."""

    @property
    def dead_nameservers(self) -> tuple[str, ...]:
        """The server's own name servers that answered for nothing: each costs every lookup seconds."""
        silent = (answer.asked for answer in self.nameservers if answer.outcome in SILENT)
        return tuple(asked for asked in silent if asked not in self.alive)


def check_names(
    names: Iterable[str],
    public: Sequence[str],
    seconds: float,
    *,
    hosts: Path = HOSTS,
    resolv_conf: Path = RESOLV_CONF,
    port: int = DNS_PORT,
) -> tuple[NameCheck, ...]:
    """Return a check of each name (the first 64), all questions side by side; never raises, never hangs.

    Takes at most so many seconds; a question without an answer by then is TIMED_OUT. `public` are resolvers of others
    to ask as well.
    """
    asked = tuple(dict.fromkeys(names))[:_NAMES]
    own = read_resolv_conf(resolv_conf).nameservers
    questions: dict[tuple[str, str], Callable[[], NameAnswer]] = {}
    for name in asked:
        questions[name, SYSTEM] = _asking_system(name)
        questions |= {(name, server): _asking(server, name, port, seconds) for server in {*own, *public}}
    answers = _all(questions, seconds)
    alive = frozenset(server for (_, server), said in answers.items() if said.outcome not in SILENT)
    return tuple(_check(name, own, public, answers, hosts_entries(name, hosts), alive) for name in asked)


def led_to(names: Iterable[str], seconds: float) -> dict[str, tuple[str, ...]]:
    """Return the addresses to which this server resolves each name (the first 64), of those that resolve in time."""
    asked = tuple(dict.fromkeys(names))[:_NAMES]
    answers = _all({(name, SYSTEM): _asking_system(name) for name in asked}, seconds)
    return {name: said.addresses for (name, _), said in answers.items() if said.addresses}


def _asking_system(name: str) -> Callable[[], NameAnswer]:
    return lambda: ask_system(name)


def _asking(server: str, name: str, port: int, seconds: float) -> Callable[[], NameAnswer]:
    return lambda: ask(server, name, min(_QUESTION_SECONDS, seconds), port)


def _all(
    questions: dict[tuple[str, str], Callable[[], NameAnswer]], seconds: float
) -> dict[tuple[str, str], NameAnswer]:
    """Answer all questions in threads; one that does not come back is left behind and counts as timed out."""
    answers = {key: NameAnswer(key[1], LookupOutcome.TIMED_OUT) for key in questions}
    found: dict[tuple[str, str], NameAnswer] = {}

    def work(key: tuple[str, str]) -> None:
        started = time.monotonic()
        answer = questions[key]()
        found[key] = replace(answer, milliseconds=round((time.monotonic() - started) * 1000, 1))

    threads = [threading.Thread(target=work, args=(key,), daemon=True) for key in questions]
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(deadline - time.monotonic(), 0))
    return answers | dict(found)


_GAI = {
    socket.EAI_NONAME: LookupOutcome.NO_SUCH_NAME,
    socket.EAI_AGAIN: LookupOutcome.TIMED_OUT,
    socket.EAI_NODATA: LookupOutcome.NO_ADDRESS,
}


def ask_system(name: str) -> NameAnswer:
    """Ask as Apache does: the C library, with /etc/hosts and everything else the server has configured."""
    try:
        found = socket.getaddrinfo(name, 80, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        return NameAnswer(SYSTEM, _GAI.get(error.errno or 0, LookupOutcome.FAILED))
    except (OSError, ValueError):  # UnicodeError is a ValueError: not a name at all
        return NameAnswer(SYSTEM, LookupOutcome.FAILED)
    addresses = dict.fromkeys(str(entry[4][0]) for entry in found)
    return NameAnswer(SYSTEM, LookupOutcome.ANSWERED, tuple(addresses)[:_ADDRESSES])


def ask(server: str, name: str, seconds: float, port: int = DNS_PORT) -> NameAnswer:
    """Ask one name server for a name's IPv4 and IPv6 addresses, `seconds` for each."""
    addresses: list[str] = []
    for kind in (dns.rdatatype.A, dns.rdatatype.AAAA):
        try:
            answer = _exchange(dns.message.make_query(name, kind), server, seconds, port)
        except dns.exception.Timeout:
            return NameAnswer(server, LookupOutcome.TIMED_OUT)
        except OSError:
            return NameAnswer(server, LookupOutcome.UNREACHABLE)
        except (dns.exception.DNSException, ValueError, EOFError):
            return NameAnswer(server, LookupOutcome.FAILED)
        if answer.rcode() != dns.rcode.NOERROR:
            gone = answer.rcode() == dns.rcode.NXDOMAIN
            return NameAnswer(server, LookupOutcome.NO_SUCH_NAME if gone else LookupOutcome.FAILED)
        addresses += _addresses(answer, kind)
    outcome = LookupOutcome.ANSWERED if addresses else LookupOutcome.NO_ADDRESS
    return NameAnswer(server, outcome, tuple(addresses[:_ADDRESSES]))


def _exchange(query: dns.message.Message, server: str, seconds: float, port: int) -> dns.message.Message:
    """Ask over UDP, and over TCP if the answer was too long (RFC 7766)."""
    try:
        return dns.query.udp(query, server, seconds, port, raise_on_truncation=True)
    except dns.message.Truncated:
        pass
    try:
        return dns.query.tcp(query, server, seconds, port)
    except OSError as error:
        raise EOFError from error  # it did answer, so it is not unreachable


def _addresses(answer: dns.message.Message, kind: dns.rdatatype.RdataType) -> list[str]:
    """Those of the name that was asked for, or of what it is an alias of: an answer may hold any other names."""
    name = answer.question[0].name
    for _ in range(len(answer.answer) + 1):
        if found := answer.get_rrset(answer.answer, name, dns.rdataclass.IN, kind):
            return [str(record) for record in found]
        alias = answer.get_rrset(answer.answer, name, dns.rdataclass.IN, dns.rdatatype.CNAME)
        if alias is None:
            break
        name = alias[0].target
    return []


def _check(
    name: str,
    own: Sequence[str],
    public: Sequence[str],
    answers: dict[tuple[str, str], NameAnswer],
    hosts: tuple[HostsEntry, ...],
    alive: Set[str],
) -> NameCheck:
    system = answers[name, SYSTEM]
    ours = tuple(answers[name, server] for server in own)
    theirs = tuple(answers[name, server] for server in public)
    verdict = _verdict(system, ours, theirs, bool(hosts), alive)
    unsaid = NameCheck(name, verdict, system, ours, theirs, hosts, "", alive)
    return replace(unsaid, sentence=_sentence(unsaid))


def _verdict(
    system: NameAnswer,
    ours: Sequence[NameAnswer],
    theirs: Sequence[NameAnswer],
    overridden: bool,
    alive: Set[str],
) -> Comparison:
    """Who answers for other names (`alive`) is not at fault where it fails for one that fails everywhere."""
    if overridden:
        return Comparison.HOSTS_OVERRIDE
    if system.outcome is LookupOutcome.ANSWERED:
        return _compared(system, theirs)
    if all(answer.outcome in SILENT and answer.asked not in alive for answer in ours):
        return Comparison.RESOLVER_DEAD
    if any(answer.outcome is LookupOutcome.ANSWERED for answer in theirs):
        return Comparison.RESOLVER_FAILS
    if system.outcome not in {LookupOutcome.FAILED, LookupOutcome.TIMED_OUT}:
        return Comparison.NO_SUCH_NAME
    heard = any(answer.asked in alive for answer in theirs)
    return Comparison.FAILS_EVERYWHERE if heard else Comparison.RESOLVER_FAILS


def _compared(system: NameAnswer, theirs: Sequence[NameAnswer]) -> Comparison:
    public = {address for answer in theirs for address in answer.addresses}
    if not any(_is_global(address) for address in system.addresses):
        return Comparison.PRIVATE_ANSWER
    if all(answer.outcome in SILENT for answer in theirs):
        return Comparison.NOT_COMPARED
    return Comparison.SAME if public & set(system.addresses) else Comparison.DIFFERENT


def _is_global(address: str) -> bool:
    return ipaddress.ip_address(address).is_global


def _sentence(check: NameCheck) -> str:
    return _SENTENCES[check.verdict].format(
        name=check.name,
        addresses=", ".join(check.system.addresses[:4]) or "no address",
        servers=" and ".join(answer.asked for answer in check.nameservers),
        hosts=" and ".join(f"{e.address} (line {e.line_number})" for e in check.hosts[:4]),
    )


_SENTENCES = {
    Comparison.SAME: "{name} resolves as it does elsewhere",
    Comparison.DIFFERENT: "{name} resolves to {addresses}; public resolvers answer otherwise, as is usual for "
    "names that are served from many places",
    Comparison.HOSTS_OVERRIDE: "/etc/hosts gives {name} the address {hosts}, whatever DNS says",
    Comparison.PRIVATE_ANSWER: "{name} resolves only to addresses that are not public ({addresses}): a resolver "
    "on the way gives its own answer",
    Comparison.RESOLVER_DEAD: "this server's name servers ({servers}) do not answer, so {name} cannot be found",
    Comparison.RESOLVER_FAILS: "this server cannot resolve {name}: its name servers ({servers}) fail for it",
    Comparison.FAILS_EVERYWHERE: "{name} cannot be resolved, neither by this server nor elsewhere: its own name "
    "servers fail",
    Comparison.NO_SUCH_NAME: "{name} does not exist in DNS or has no address",
    Comparison.NOT_COMPARED: "{name} resolves to {addresses}; no public resolver could be asked for comparison",
}


@dataclass(frozen=True)
class HostsEntry:
    """A line of /etc/hosts that gives a name an address, whatever DNS says."""

    name: str
    address: str
    line_number: int


@dataclass(frozen=True)
class ResolvConf:
    """The name servers in force, in order; `named` tells whether the file names any."""

    nameservers: tuple[str, ...]
    named: bool


def hosts_entries(name: str, path: Path = HOSTS) -> tuple[HostsEntry, ...]:
    """Return the lines of /etc/hosts for a name (hosts(5)); none if the file cannot be read."""
    wanted = name.rstrip(".").lower()
    return tuple(entry for entry in _entries(path) if entry.name == wanted)


def _entries(path: Path) -> Iterator[HostsEntry]:
    for number, line in enumerate(_lines(path), 1):
        words = line.split("#", 1)[0].split()
        if len(words) > 1 and _is_address(words[0]):
            yield from (HostsEntry(name.rstrip(".").lower(), words[0], number) for name in words[1:])


def read_resolv_conf(path: Path = RESOLV_CONF) -> ResolvConf:
    """Return the name servers of resolv.conf(5), as many as the C library uses."""
    found = []
    for line in _lines(path):
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver" and _is_address(words[1]):
            found.append(words[1])
    return ResolvConf(tuple(found[:_NAMESERVERS]) or (_LOCAL,), bool(found))


def _lines(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            return file.read(_SIZE_LIMIT).decode("utf-8", "replace").split("\n")
    except OSError:
        return []


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
