"""What this server's firewall does to questions for responders: real rules, real kernel."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ocsp_stapling.host.firewall.report import read_firewall
from tests.unit.host.firewall_truth import SETUP
from tests.unit.host.namespace import in_namespace, needs_namespace

needs_nft = pytest.mark.skipif(not shutil.which("nft"), reason="needs nft")
needs_iptables = pytest.mark.skipif(not shutil.which("iptables"), reason="needs iptables")

TABLE = "nft add table inet t\nnft 'add chain inet t out { type filter hook output priority 0; %s }'\n"
HINTS = """
from ocsp_stapling.host.firewall.report import read_firewall
r = read_firewall({destinations}, "nobody", seconds=60)
show([[[h.certain, h.destinations] for h in r.hints],
      [h.text for h in r.hints], r.read, r.unread])
"""


def hints(setup: str, *destinations: str) -> Any:
    """What is found with these rules in force."""
    return in_namespace(setup, HINTS.format(destinations=destinations))


@needs_namespace
@needs_nft
@needs_iptables
def test_no_rules_mean_no_hints_and_every_tool_was_read() -> None:
    assert hints("") == [[], [], ["iptables", "ip6tables", "nft"], []]


@needs_namespace
@needs_nft
def test_nft_rule_for_the_worker_only_is_told_as_that() -> None:
    found, texts, _, _ = hints(
        TABLE % "policy accept;" + "nft add rule inet t out meta skuid nobody tcp dport 80 drop",
        "198.51.100.7",
    )
    assert found == [[True, ["198.51.100.7"]]]
    assert texts == [
        "nft drops connections from user nobody (not from root) to OCSP responders "
        "(table inet t, chain out: meta skuid 65534 tcp dport 80 drop)"
    ]


@needs_namespace
@needs_iptables
def test_iptables_rule_is_told_once_though_nft_lists_it_too() -> None:
    found, texts, _, _ = hints("iptables -A OUTPUT -p tcp --dport 80 -j REJECT", "198.51.100.7", "2a00::7")
    assert found == [[True, ["198.51.100.7"]]]
    assert "iptables rejects connections to OCSP responders (table filter, chain OUTPUT: " in texts[0]
    assert "-A OUTPUT -p tcp -m tcp --dport 80 -j REJECT" in texts[0]


@needs_namespace
@needs_nft
def test_rule_that_also_asks_the_unknowable_is_uncertain() -> None:
    rules = (
        "nft add rule inet t out meta mark 7 tcp dport 80 drop\nnft add rule inet t out meta mark 8 drop\n"
    )
    found, texts, _, _ = hints(TABLE % "policy accept;" + rules, "198.51.100.7")
    assert [hint[0] for hint in found] == [False]
    assert "perhaps drops" in texts[0]


@needs_namespace
@needs_nft
def test_policy_behind_an_accept_that_cannot_be_judged_is_uncertain() -> None:
    rules = "nft add rule inet t out meta mark 7 accept\n"
    found, texts, _, _ = hints(TABLE % "policy drop;" + rules, "198.51.100.7")
    assert [hint[0] for hint in found] == [False]
    assert "policy drop" in texts[0]


@needs_namespace
@needs_nft
def test_without_destinations_any_public_address_is_followed() -> None:
    found, _, _, _ = hints(TABLE % "policy accept;" + "nft add rule inet t out tcp dport 80 drop")
    assert [":" in each for each in found[0][1]] == [False, True]


@needs_namespace
@needs_nft
def test_large_sets_are_followed_in_time() -> None:
    rules = """
    { echo 'add set inet t big { type ipv4_addr; flags interval; }'
      python3 -c 'for i in range(50000): print(f"add element inet t big {{ 11.{i>>8&255}.{i&255}.{i>>16}/32 }}")'
      echo 'add rule inet t out ip daddr @big drop'; } | nft -f -
    """
    found, _, read, _ = hints(
        TABLE % "policy accept;" + rules, *(f"11.0.{n}.0" for n in range(32)), "12.0.0.1"
    )
    assert "nft" in read
    assert len(found[0][1]) == 32


# Pieces of rulesets. Each line is complete in itself, any selection in any order is a ruleset.
NFT_PIECES = (
    "tcp dport 80 accept",
    "tcp dport 443 drop",
    "tcp dport { 80, 443 } reject with tcp reset",
    "tcp dport 70-90 drop",
    "tcp dport != 80 drop",
    "tcp dport > 1024 drop",
    "udp dport 80 drop",
    "meta l4proto { tcp, udp } th dport 80 ip daddr 198.51.100.0/24 drop",
    "meta skuid nobody drop",
    "meta skuid != root tcp dport 80 reject",
    "meta skuid { root, 33 } tcp dport 80 drop",
    "meta skuid 1-70000 ip6 daddr 2a00:9::/32 drop",
    "meta skgid nogroup tcp dport 80 drop",
    "ip daddr @bad drop",
    "ip daddr != 203.0.113.0/24 tcp dport 80 drop",
    "ip6 daddr { 2a00:7::7, 2a00:8::1-2a00:8::ff } tcp dport 80 accept",
    "meta nfproto ipv6 tcp dport 80 reject",
    "ip protocol tcp tcp dport 80 drop",
    "ip6 nexthdr tcp drop",
    "ct state established,related accept",
    "ct state new tcp dport 80 counter accept",
    "oifname lo tcp dport 80 accept",
    "oifname != lo drop",
    "tcp dport vmap { 25 : drop, 80 : jump inner }",
    "tcp dport vmap @ports",
    "jump inner",
    "tcp dport 80 goto inner",
    "log prefix x counter",
)
INNER_PIECES = (
    "return",
    "ip daddr 203.0.113.9 drop",
    "ip6 daddr 2a00:7::7 return",
    "tcp dport 80 accept",
    "drop",
)

IPTABLES_PIECES = (
    "-p tcp --dport 80 -j ACCEPT",
    "-p tcp --dport 80 -j REJECT",
    "-p tcp --dport 80 -j REJECT --reject-with tcp-reset",
    "-p tcp -m multiport --dports 25,80,400:500 -j DROP",
    "-p tcp -m multiport ! --dports 80,443 -j DROP",
    "-p tcp --dport 81: -j DROP",
    "-p tcp --dport :80 -j DROP",
    "-p udp --dport 80 -j DROP",
    "! -p tcp -j DROP",
    "-p tcp ! --dport 80 -j DROP",
    "-m owner --uid-owner nobody -j REJECT",
    "-p tcp -m owner ! --uid-owner 0 -m tcp --dport 80 -j DROP",
    "-m owner --uid-owner 0-1000 -p tcp --dport 80 -j DROP",
    "-m owner --gid-owner 65534 -j DROP",
    "-m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
    "-p tcp -m state --state NEW --dport 80 -j ACCEPT",
    "-p tcp --syn -m comment --comment 'stop it -j ACCEPT' -j DROP",
    "-p tcp --tcp-flags FIN,SYN FIN,SYN -j DROP",
    "-o lo -p tcp --dport 80 -j ACCEPT",
    "! -o lo -j DROP",
    "-o eth+ -j DROP",
    "-j inner",
    "-p tcp --dport 80 -g inner",
    "-j LOG --log-prefix 'x -j DROP'",
)
INNER4 = (
    "-j RETURN",
    "-d 203.0.113.0/24 -j DROP",
    "! -d 198.51.100.7 -j RETURN",
    "-p tcp --dport 80 -j ACCEPT",
    "-j DROP",
)
INNER6 = (
    "-j RETURN",
    "-d 2a00:9::/32 -j DROP",
    "! -d 2a00:7::7 -j RETURN",
    "-p tcp --dport 80 -j ACCEPT",
    "-j DROP",
)


NFT_REPLY_PIECES = (
    "ct state established,related accept",
    "ct state established ip saddr 198.51.100.0/24 accept",
    "ct state new drop",
    "ct state invalid drop",
    "tcp sport 80 accept",
    "tcp sport { 80, 443 } drop",
    "tcp sport != 443 ip saddr 203.0.113.9 reject",
    "tcp dport { 22, 443 } accept",
    "tcp dport 1-1023 drop",
    "tcp dport 1024-65535 accept",
    "tcp dport > 1023 drop",
    "ip saddr @bad drop",
    "ip6 saddr 2a00:9::/32 drop",
    "ip daddr 203.0.113.9 accept",
    "ip6 daddr != 2a00:7::7 drop",
    "iifname lo ip saddr 198.51.100.7 accept",
    "iifname eth0 drop",
    "iif != lo drop",
    "udp sport 53 drop",
    "jump inner",
)
REPLY_INNER_PIECES = (
    "return",
    "ip saddr 203.0.113.9 drop",
    "tcp sport 80 accept",
    "ip6 saddr 2a00:7::7 drop",
)
IPTABLES_REPLY_PIECES = (
    "-m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
    "-p tcp -m state --state NEW,INVALID -j DROP",
    "-p tcp --sport 80 -j ACCEPT",
    "-p tcp -m multiport --sports 80,443 -j DROP",
    "-p tcp ! --sport 80 -j DROP",
    "-p tcp -m multiport --dports 22,443 -j ACCEPT",
    "-p tcp --dport 1024:65535 -j ACCEPT",
    "-p tcp --dport :1023 -j REJECT",
    "-p tcp --syn -j DROP",
    "-p tcp --tcp-flags SYN,ACK SYN,ACK -j DROP",
    "-p tcp ! --syn -m conntrack --ctstate NEW -j DROP",
    "-i lo -p tcp --sport 443 -j DROP",
    "! -i lo -j DROP",
    "-i eth+ -j ACCEPT",
    "-j inner",
    "-p udp -j DROP",
)
REPLY_INNER4 = (
    "-j RETURN",
    "-s 203.0.113.0/24 -j DROP",
    "! -s 198.51.100.7 -j DROP",
    "-d 198.51.100.7 -j ACCEPT",
)
REPLY_INNER6 = ("-j RETURN", "-s 2a00:9::/32 -j DROP", "! -s 2a00:7::7 -j RETURN", "-d 2a00:7::7 -j ACCEPT")


def nft_reply_ruleset(chance: random.Random) -> str:
    """A random nftables ruleset for what comes in; the questions come in as well, on loopback."""
    lines = [
        "add table inet t",
        "add set inet t bad { type ipv4_addr; flags interval; elements = { 198.51.100.0/25, 192.0.2.1 }; }",
        "add chain inet t inner",
        f"add chain inet t in {{ type filter hook input priority 0; policy {chance.choice(['accept', 'drop'])}; }}",
        "add rule inet t in tcp dport 80 accept",
    ]
    inner = chance.sample(REPLY_INNER_PIECES, chance.randint(0, 3))
    lines += [f"add rule inet t inner {piece}" for piece in inner]
    lines += [f"add rule inet t in {each}" for each in chance.sample(NFT_REPLY_PIECES, chance.randint(1, 6))]
    return "nft -f - <<'END'\n" + "\n".join(lines) + "\nEND\n"


def iptables_reply_ruleset(chance: random.Random) -> str:
    """The same for iptables and ip6tables."""
    lines = []
    for tool, inner in (("iptables", REPLY_INNER4), ("ip6tables", REPLY_INNER6)):
        lines += [f"{tool} -N inner", f"{tool} -A INPUT -p tcp --dport 80 -j ACCEPT"]
        lines += [f"{tool} -A inner {piece}" for piece in chance.sample(inner, chance.randint(0, 3))]
        pieces = chance.sample(IPTABLES_REPLY_PIECES, chance.randint(1, 6))
        lines += [f"{tool} -A INPUT {piece}" for piece in pieces]
        lines.append(f"{tool} -P INPUT {chance.choice(['ACCEPT', 'ACCEPT', 'DROP'])}")
    return "\n".join(lines)


def nft_ruleset(chance: random.Random) -> str:
    """A random nftables ruleset."""
    policy = chance.choice(["accept", "accept", "drop"])
    lines = [
        "add table inet t",
        "add set inet t bad { type ipv4_addr; flags interval; elements = { 198.51.100.0/25, 192.0.2.1 }; }",
        "add map inet t ports { type inet_service : verdict; elements = { 80 : drop, 81 : accept }; }",
        "add chain inet t inner",
        f"add chain inet t out {{ type filter hook output priority 0; policy {policy}; }}",
    ]
    lines += [f"add rule inet t inner {piece}" for piece in chance.sample(INNER_PIECES, chance.randint(0, 3))]
    lines += [f"add rule inet t out {piece}" for piece in chance.sample(NFT_PIECES, chance.randint(1, 7))]
    # Answers must come back: only the way out is judged.
    lines.insert(5, "add rule inet t out tcp sport 80 accept")
    return "nft -f - <<'END'\n" + "\n".join(lines) + "\nEND\n"


def iptables_ruleset(chance: random.Random) -> str:
    """A random ruleset for iptables and ip6tables."""
    lines = []
    for tool, inner in (("iptables", INNER4), ("ip6tables", INNER6)):
        lines += [f"{tool} -N inner", f"{tool} -A OUTPUT -p tcp --sport 80 -j ACCEPT"]
        lines += [f"{tool} -A inner {piece}" for piece in chance.sample(inner, chance.randint(0, 3))]
        lines += [
            f"{tool} -A OUTPUT {piece}" for piece in chance.sample(IPTABLES_PIECES, chance.randint(1, 6))
        ]
        lines.append(f"{tool} -P OUTPUT {chance.choice(['ACCEPT', 'ACCEPT', 'DROP'])}")
    return "\n".join(lines)


def differing(rulesets: list[str]) -> Any:
    code = f"from tests.unit.host.firewall_truth import compare\nshow(compare({rulesets!r}))"
    return in_namespace(SETUP, code)


@needs_namespace
@needs_nft
@needs_iptables
@pytest.mark.parametrize("seed", range(3))
def test_reading_of_random_nft_rules_agrees_with_the_kernel(seed: int) -> None:
    chance = random.Random(seed)
    assert differing([nft_ruleset(chance) for _ in range(8)]) == []


@needs_namespace
@needs_iptables
@needs_nft
@pytest.mark.parametrize("seed", range(3))
def test_reading_of_random_iptables_rules_agrees_with_the_kernel(seed: int) -> None:
    chance = random.Random(seed)
    assert differing([iptables_ruleset(chance) for _ in range(8)]) == []


@needs_namespace
@needs_nft
@needs_iptables
@pytest.mark.parametrize("made", [nft_reply_ruleset, iptables_reply_ruleset])
@pytest.mark.parametrize("seed", range(3))
def test_reading_of_random_rules_for_replies_agrees_with_the_kernel(
    made: Callable[[random.Random], str], seed: int
) -> None:
    chance = random.Random(seed)
    assert differing([made(chance) for _ in range(8)]) == []


REPLIES = (
    "198.51.100.7",
    "iptables drops what OCSP responders send back (table filter, chain INPUT: policy drop)",
)


@needs_namespace
@needs_iptables
def test_a_policy_without_a_rule_for_answers_drops_what_comes_back() -> None:
    rules = "iptables -A INPUT -p tcp -m multiport --dports 22,80,443 -j ACCEPT\niptables -P INPUT DROP\n"
    found, texts, _, _ = hints(rules, REPLIES[0])
    assert [hint[0] for hint in found] == [True]
    assert texts == [REPLIES[1]]
    let_in = "iptables -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT\n"
    assert hints(let_in + rules, REPLIES[0])[1] == []


@needs_namespace
@needs_iptables
@pytest.mark.parametrize(
    "perhaps",
    [
        "iptables -A INPUT -p tcp --dport 49152:65534 -j ACCEPT",  # for FTP: some replies come in by it
        "iptables -t raw -A OUTPUT -p tcp --dport 80 -j CT --notrack\n"
        "iptables -A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT",
        "iptables -A INPUT -m mark --mark 7 -j ACCEPT",
    ],
)
def test_replies_that_some_rule_may_let_in_are_not_certainly_dropped(perhaps: str) -> None:
    found, texts, _, _ = hints(f"{perhaps}\niptables -P INPUT DROP", REPLIES[0])
    assert [hint[0] for hint in found] == [False]
    assert "perhaps drops what OCSP responders send back" in texts[0]


def test_without_root_nothing_is_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    report = read_firewall()
    assert not report.known
    assert report.unread == ("only root can read the firewall",)


def test_missing_tools_are_named_and_prove_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr("ocsp_stapling.run.SAFE_PATH", str(tmp_path))
    report = read_firewall(csf_folder=tmp_path)
    assert not report.known
    assert report.hints == ()
    assert report.unread == (
        "iptables-save is not installed",
        "ip6tables-save is not installed",
        "nft is not installed",
    )


@pytest.mark.parametrize("printed", ["", "not json", '{"nftables": 3}', "[" * 100_000])
def test_tool_that_prints_nonsense_is_unread(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, printed: str
) -> None:
    (tmp_path / "out").write_text(printed)
    for name in ("nft", "iptables-save", "ip6tables-save"):
        (tmp_path / name).write_text(f'#!/bin/sh\nwhile read -r l; do echo "$l"; done <{tmp_path}/out\n')
        (tmp_path / name).chmod(0o755)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr("ocsp_stapling.run.SAFE_PATH", f"{tmp_path}:/usr/bin:/bin")
    report = read_firewall(csf_folder=tmp_path)
    assert report.hints == ()
    assert report.unread == ("nft printed something other than a ruleset",)
