"""This server's own firewall: does a rule of it stop Apache's questions to OCSP responders, or what they answer?

Each firewall's rules are followed for the packets of such a question, from Apache's worker user and from
root, and for those that come back. What is found is evidence, not proof: the verdict belongs to the probe.
"""

from __future__ import annotations

import ipaddress
import os
import pwd
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ocsp_stapling.host.firewall import csf, iptables, nft
from ocsp_stapling.host.firewall.iptables import IpSet
from ocsp_stapling.host.firewall.nft_match import Elements
from ocsp_stapling.host.firewall.ruleset import Blocked, Hook, IPAddress, Packet, RuleAction, blocks
from ocsp_stapling.host.routes import devices, route_to
from ocsp_stapling.run import NOT_FOUND, run

_ADDRESS_TYPES = ("hash:ip", "hash:net", "bitmap:ip")


class IpSetReader:
    """Reads a set when it is first asked for; `deadline` is on the monotonic clock."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self._known: dict[str, Elements | None] = {}

    def __call__(self, name: str) -> IpSet:
        def holds(address: IPAddress) -> bool | None:
            if name not in self._known:
                self._known[name] = self._read(name)
            elements = self._known[name]
            return None if elements is None else elements.hold(address)

        return holds

    def _read(self, name: str) -> Elements | None:
        left = self.deadline - time.monotonic()
        done = run(["ipset", "save", name], timeout=left) if left > 0 else None
        return parse(done.out) if done is not None and done.ok and not done.truncated else None


def parse(text: str) -> Elements | None:
    """Return the elements in the output of `ipset save NAME`; None for sets of anything but plain addresses."""
    elements: list[object] = []
    for line in text.split("\n"):
        words = line.split()
        if words[:1] == ["create"] and (len(words) < 3 or words[2] not in _ADDRESS_TYPES):
            return None
        if words[:1] == ["add"] and len(words) > 2:
            if "nomatch" in words:
                return None
            elements.append(_element(words[2]))
    return Elements(elements)


def _element(text: str) -> object:
    """An address, network or range in the form of libnftables-json."""
    address, slash, length = text.partition("/")
    if slash:
        return {"prefix": {"addr": address, "len": length}}
    low, dash, high = text.partition("-")
    return {"range": [low, high]} if dash else text


_DESTINATIONS = 64
# When nobody says which responders matter: any public address of each family.
_ANYWHERE = ("93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c")


@dataclass(frozen=True)
class FirewallHint:
    """One rule that stops our questions, or (`replies`) what comes back.

    `text` is a plain sentence with the rule and where it stands; `certain` is False if the rule also asks something
    that could not be found out; `destinations` are the asked addresses that it stops.
    """

    text: str
    certain: bool
    destinations: tuple[str, ...]
    replies: bool = False


@dataclass(frozen=True)
class FirewallReport:
    """The hints, certain ones first; which tools could be read; and why others could not, as sentences."""

    hints: tuple[FirewallHint, ...]
    read: tuple[str, ...]
    unread: tuple[str, ...]

    @property
    def known(self) -> bool:
        """Whether any firewall could be read: without, no hint means nothing."""
        return bool(self.read)


def read_firewall(
    destinations: Sequence[IPAddress | str] = (),
    worker: str = "",
    *,
    seconds: float = 3.0,
    csf_folder: Path = csf.FOLDER,
) -> FirewallReport:
    """Return the rules that stop questions to these addresses (the first 64) from user `worker` or from root.

    Takes at most about `seconds`; addresses not looked at by then are left out. Never raises. Only root can
    read a firewall: for others the report says so.
    """
    deadline = time.monotonic() + seconds
    if os.geteuid() != 0:
        return FirewallReport((), (), ("only root can read the firewall",))
    gathered = _Gathered(deadline)
    gathered.iptables("iptables", "iptables-save")
    gathered.iptables("ip6tables", "ip6tables-save")
    gathered.nft()
    finders: list[_Finder] = [partial(blocks, hook) for hook in gathered.hooks]
    if (own := csf.read(csf_folder)) is not None:
        gathered.read.append(csf.TOOL)
        finders.append(lambda packet: () if packet.reply else own.blocks(packet.responder))
    targets = [ipaddress.ip_address(d) for d in (destinations or _ANYWHERE)][:_DESTINATIONS]
    found = _follow(finders, gathered.hooks, targets, worker, deadline)
    return FirewallReport(_hints(found, worker), tuple(gathered.read), tuple(gathered.unread))


class _Gathered:
    """The hooks of all tools, each asked within what is left of the time."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.hooks: list[Hook] = []
        self.read: list[str] = []
        self.unread: list[str] = []
        self.shown: set[tuple[str, str]] = set()

    def iptables(self, tool: str, program: str) -> None:
        """Add what iptables-save or ip6tables-save shows."""
        text = self._run(tool, [program])
        if text is not None:
            family = "ip" if tool == "iptables" else "ip6"
            self.shown |= {(family, table) for table in iptables.tables_shown(text)}
            self.hooks += iptables.parse(text, tool, IpSetReader(self.deadline))

    def nft(self) -> None:
        """Add what nft shows and iptables has not shown already."""
        text = self._run(nft.TOOL, ["nft", "-j", "list", "ruleset"])
        if text is None:
            return
        try:
            self.hooks += nft.parse(text, self.shown)
        except ValueError:
            self.read.remove(nft.TOOL)
            self.unread.append("nft printed something other than a ruleset")

    def _run(self, tool: str, argv: list[str]) -> str | None:
        done = run(argv, timeout=max(self.deadline - time.monotonic(), 0.1))
        if done.ok and not done.truncated:
            self.read.append(tool)
            return done.out
        self.unread.append(
            f"{argv[0]} is not installed" if done.code == NOT_FOUND else f"{argv[0]} could not be read"
        )
        return None


@dataclass(frozen=True)
class _Found:
    """A block, for whom and for which address."""

    block: Blocked
    destination: IPAddress
    root_too: bool
    reply: bool


_Finder = Callable[[Packet], tuple[Blocked, ...]]


def _follow(
    finders: list[_Finder],
    hooks: list[Hook],
    targets: list[IPAddress],
    worker: str,
    deadline: float,
) -> list[_Found]:
    uid, gid = _account(worker)
    device_of = devices()
    found: list[_Found] = []
    for target in targets:
        if time.monotonic() >= deadline:
            break
        source = route_to(target).source
        own = ipaddress.ip_address(source) if source else None
        first = Packet(target, uid, gid, device_of.get(source), own=own)
        back = replace(first, reply=True)
        tracked = not any(hook.may_untrack(packet) for hook in hooks for packet in (first, back))
        first = replace(first, tracked=tracked)
        stopped = _stopped(finders, first)
        root_too = not uid or bool(stopped and _stopped(finders, replace(first, uid=0, gid=0)))
        found += [_Found(block, target, root_too, reply=False) for block in stopped]
        if not any(block.certain for block in stopped):
            came_back = _stopped(finders, replace(back, tracked=tracked))
            found += [_Found(block, target, root_too=True, reply=True) for block in came_back]
    return found


def _stopped(finders: list[_Finder], first: Packet) -> list[Blocked]:
    """Where the first packet ends; if it gets through, where those after it end."""
    stopped = [block for finder in finders for block in finder(first)]
    return stopped or [block for finder in finders for block in finder(replace(first, new=False))]


def _account(worker: str) -> tuple[int, int]:
    try:
        account = pwd.getpwnam(worker)
    except (KeyError, ValueError):
        return 0, 0
    return account.pw_uid, account.pw_gid


def _hints(found: list[_Found], worker: str) -> tuple[FirewallHint, ...]:
    """One hint per rule, with all addresses it stops; two if root gets through to some of them."""
    rules: dict[tuple[Blocked, bool, bool], list[_Found]] = {}
    for one in found:
        rules.setdefault((one.block, one.root_too, one.reply), []).append(one)
    hints = [_hint(group, worker) for group in rules.values()]
    return tuple(sorted(hints, key=lambda hint: not hint.certain))


def _hint(group: list[_Found], worker: str) -> FirewallHint:
    first = group[0]
    return FirewallHint(
        text=_sentence(first.block, None if first.root_too else worker, replies=first.reply),
        certain=first.block.certain,
        destinations=tuple(dict.fromkeys(str(one.destination) for one in group)),
        replies=first.reply,
    )


def _sentence(block: Blocked, only_user: str | None, *, replies: bool) -> str:
    verb = {RuleAction.DROP: "drops", RuleAction.REJECT: "rejects"}[block.action]
    whose = f" from user {only_user} (not from root)" if only_user else ""
    perhaps = "" if block.certain else "perhaps "
    what = "what OCSP responders send back" if replies else f"connections{whose} to OCSP responders"
    return f"{block.tool} {perhaps}{verb} {what} ({block.where}: {block.text})"
