"""What to do about each cause, in words an administrator can act on at once."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from ocsp_stapling.check.diagnosis.explanation import Cause, Explanation
from ocsp_stapling.check.evidence import ConfigurationEvidence
from ocsp_stapling.text import listed


class Action(Enum):
    """What to do next."""

    TURN_OFF = "turn-off"
    TURN_OFF_SITE = "turn-off-site"
    SHIELD_ON = "shield-on"
    TURN_ON = "turn-on"
    FIX_HERE = "fix-here"
    CONTACT_DATACENTER = "contact-datacenter"
    WAIT_FOR_CA = "wait-for-ca"
    REISSUE = "reissue"
    NOTHING = "nothing"


ADVICE = {
    Action.TURN_OFF: "Turn stapling off now: ocsp-stapling off.",
    Action.TURN_OFF_SITE: "Turn stapling off for that site alone: ocsp-stapling off --site NAME.",
    Action.SHIELD_ON: "End the waiting and keep stapling on: ocsp-stapling shield on.",
    Action.TURN_ON: "Turn stapling on again: ocsp-stapling on.",
    Action.FIX_HERE: "Repair it on this server.",
    Action.CONTACT_DATACENTER: "Tell the datacenter; ocsp-stapling ticket writes the text.",
    Action.WAIT_FOR_CA: "Wait for the authority; ocsp-stapling ticket --for ca writes a text to send.",
    Action.REISSUE: "Have the certificate issued anew and install it.",
    Action.NOTHING: "Nothing needs to be done.",
}
ALLOWING = "name its network in allow_networks (config.toml, [probe])"
FIXES = {
    Cause.LOCAL_FIREWALL: "Allow TCP out to port 80 for Apache's user (CSF: TCP_OUT, TCP6_OUT; nft; iptables).",
    Cause.LOCAL_LIMIT: "See who holds the connections (ss -s), end that, or raise the limit (sysctl "
    "net.ipv4.ip_local_port_range, net.netfilter.nf_conntrack_max).",
    Cause.IPV6_BROKEN: "Repair this server's IPv6 (route, firewall), or take its IPv6 address away until it works.",
    Cause.DNS: "Repair name resolution on this server: /etc/resolv.conf, /etc/hosts, the name servers named there; "
    "an old address goes when that resolver's cache is emptied.",
    Cause.NO_ROUTE: "Repair this server's routing table (ip route, ip -6 route).",
    Cause.CLOCK: "Set this server's clock and keep it right (timedatectl, chronyc; of a container: the host's).",
    Cause.BAD_OCSP_URL: f"If the authority is your own, {ALLOWING}; if a customer's certificate names it by mistake, "
    "have that issued anew.",
    Cause.CONFIG_BROKEN: "Mend what httpd names, then look again: until then no restart would succeed.",
    Cause.FORCED_URL: "Mend what answers there, or take that line out and restart Apache: it then asks the CAs.",
    Cause.PROXY: "Mend the proxy, or take that line out and restart Apache: it then asks the CAs itself.",
    Cause.CHAIN_INCOMPLETE: "Install the certificate with its CA bundle, so that Apache finds the issuer.",
}
_REMEDIES = {
    Cause.NETWORK_BLOCK: Action.CONTACT_DATACENTER,
    Cause.LOCAL_FIREWALL: Action.FIX_HERE,
    Cause.LOCAL_LIMIT: Action.FIX_HERE,
    Cause.DNS: Action.FIX_HERE,
    Cause.INTERCEPTION: Action.CONTACT_DATACENTER,
    Cause.CA_OUTAGE: Action.WAIT_FOR_CA,
    Cause.CA_BAD_ANSWER: Action.WAIT_FOR_CA,
    Cause.CERTIFICATE_REVOKED: Action.REISSUE,
    Cause.CHAIN_INCOMPLETE: Action.FIX_HERE,
    Cause.BAD_OCSP_URL: Action.REISSUE,
    Cause.CLOCK: Action.FIX_HERE,
    Cause.FORCED_URL: Action.FIX_HERE,
    Cause.PROXY: Action.FIX_HERE,
}


def turning_off(configuration: ConfigurationEvidence) -> str:
    """Return how stapling is turned off here: sites that turn it on themselves need more than the server's switch."""
    command, by_hand = off_command(configuration)
    reaches = (
        configuration.on is not False or any(one.userdata for one in configuration.own_on) or not by_hand
    )
    return " ".join(filter(None, (f"Turn stapling off now: {command}." if reaches else "", by_hand)))


def off_command(configuration: ConfigurationEvidence) -> tuple[str, str]:
    """Return the command that turns stapling off for all that it reaches, and what is left to do by hand ("")."""
    own = configuration.own_on
    by_hand = [one for one in own if not one.userdata]
    command = "ocsp-stapling off --overrides" if len(by_hand) < len(own) else "ocsp-stapling off"
    places = listed([f"{one.site} ({one.where})" for one in by_hand])
    return command, f"Take SSLUseStapling On out of these virtual hosts by hand: {places}." if by_hand else ""


def turning_off_alone(sites: Sequence[str], account: str) -> str:
    """Return how stapling is turned off for these sites, or for all of their account's, and for no other."""
    whom = f"the sites of account {account}" if account else listed(sites)
    return f"Turn stapling off for {whom} alone, all others keep their staples: {single_commands(sites, account)}."


def single_commands(sites: Sequence[str], account: str) -> str:
    """Return the commands that turn stapling off for these sites alone, or for all of their account's."""
    if account:
        return f"ocsp-stapling off --account {account}"
    return ", ".join(f"ocsp-stapling off --site {name}" for name in sites)


def remedy(why: Explanation) -> Action:
    """Return what ends this cause; turning stapling off never does, it only ends the waiting."""
    if why.cause is Cause.BAD_OCSP_URL and why.local:
        return Action.FIX_HERE
    if why.cause in (Cause.NO_ROUTE, Cause.IPV6_BROKEN):
        return Action.FIX_HERE if why.local else Action.CONTACT_DATACENTER
    return _REMEDIES.get(why.cause, Action.NOTHING)


def advised(why: Explanation, action: Action) -> str:
    """Return the advice for an action, in detail where the cause is known."""
    if why.cause is Cause.UNKNOWN:
        return "Look again, with more time: ocsp-stapling check --deadline 30."
    if action is Action.FIX_HERE:
        return why.fix or FIXES.get(why.cause, ADVICE[action])
    fix = why.fix if action in (Action.WAIT_FOR_CA, Action.CONTACT_DATACENTER) else ""
    return fix or ADVICE[action]
