"""What looks like the outage and is not, and the other way round; on real Apache, packets and certificates."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from cryptography import x509

from tests.machine import Machine, Shape
from tests.machine.cpanel import VIEWER
from tests.machine.pki import AuthorityKeys, combined, new_key
from tests.machine.whm import log_in, open_whm
from tests.unit.check.diagnosis.agreement import contradictions

pytestmark = pytest.mark.machine

RESTART = "/usr/local/cpanel/scripts/restartsrv_httpd"
REBUILD = "/usr/local/cpanel/scripts/rebuildhttpdconf"
INCLUDE = "/etc/apache2/conf.d/includes/pre_virtualhost_global.conf"
ERROR_LOG = "/etc/apache2/logs/error_log"
STRICT = "muststaple.example.test"


def check(machine: Machine, *options: str, paste: str = "") -> dict[str, Any]:
    """Run check in the machine and return its document."""
    done = machine.run("ocsp-stapling", "check", "--json", *options, check=False, input=paste)
    found: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == found.get("exit_status"), done.stderr
    # Whatever the trap, what is said must fit the table that stands below it.
    assert "sentence" not in found or not contradictions(found)
    return found


def seen(found: dict[str, Any]) -> tuple[str, str, str]:
    return found["cause"], found["severity"], found["advice"]


def restart(machine: Machine) -> None:
    """Start Apache anew, with no staple in its cache."""
    machine.run(RESTART, "--stop")
    machine.run(RESTART, "--start")


def test_a_healthy_server(machine: Machine) -> None:
    found = check(machine)

    assert seen(found) == ("healthy", "none", "nothing")
    assert found["exit_status"] == 0
    assert found["confidence"] == "high"
    assert found["sites_affected"] == []
    assert {h["staple"] for h in found["handshakes"] if h["asked"]} == {"good"}


def test_no_site_is_called_quick_that_was_not_met(machine: Machine) -> None:
    machine.run("nft", "add table inet trap; add chain inet trap in { type filter hook input priority 0; }")
    machine.run("nft", "add rule inet trap in tcp dport 443 reject with tcp reset")

    found = check(machine)

    assert seen(found) == ("unknown", "failing", "fix-here")
    assert {one["ok"] for one in found["responders"]} == {True}
    assert "no site of" in found["sentence"]
    assert not any("quick" in text for text in (found["sentence"], *found["for"], *found["against"]))


def test_of_a_site_whose_name_leads_to_a_proxy_elsewhere_it_is_said_that_its_visitors_meet_that_one(
    machine: Machine,
) -> None:
    hosts, (away, here) = machine.path("/etc/hosts"), [plan.name for plan in machine.sites[:2]]
    hosts.write_text(f"{hosts.read_text()}192.0.2.77 {away}\n44.128.1.2 {here}\n")
    machine.fault("all", "hang")
    restart(machine)

    found = check(machine)

    assert found["severity"] == "stalling"
    (told,) = [text for text in found["against"] if "lead elsewhere" in text]
    assert f"the names of {away} lead elsewhere (192.0.2.77)" in told
    assert here not in told


def test_where_each_site_is_off_by_a_line_of_its_own_the_lines_are_named(
    start_machine: Callable[[Shape], Machine],
) -> None:
    machine = small(start_machine)
    (plan,) = machine.sites
    file = f"/etc/apache2/conf.d/userdata/ssl/2_4/{plan.user}/{plan.name}/own.conf"
    machine.path(file).parent.mkdir(parents=True)
    machine.path(file).write_text("# not for this one\nSSLUseStapling Off\n")
    machine.run(REBUILD)
    restart(machine)

    found = check(machine)

    assert seen(found) == ("not-applicable", "none", "nothing")
    assert any(text == f"Turned off by {file}:2: {plan.name}." for text in found["for"])
    assert [(one["file"], one["line"]) for one in found["configuration"]["own_off"]] == [(file, 2)]


def test_how_far_ocsp_has_retired_is_said_by_check_and_sites_without_an_alarm(machine: Machine) -> None:
    for plan in machine.sites:
        if plan.ocsp_url and plan.name != STRICT:
            reissue(machine, plan.name, None)
    restart(machine)

    found = check(machine)

    assert seen(found) == ("healthy", "none", "nothing")
    stands = found["retirement"]
    assert (stands["naming_count"], stands["certificate_count"]) == (1, len(machine.sites))
    assert f"1 of {len(machine.sites)} certificates in use names a responder" in stands["sentence"]
    assert stands["last_ends"][:10] in stands["sentence"]
    assert "nothing needs to be changed" in stands["advice_sentence"]
    assert stands["sentence"] in machine.run("ocsp-stapling", "sites").stdout


def test_a_server_on_which_no_certificate_names_a_responder(machine: Machine) -> None:
    state = machine.path("/var/cpanel/machine-sites.json")
    state.write_text(json.dumps([row for row in json.loads(state.read_text()) if not row[2]]))
    machine.run(REBUILD)
    restart(machine)

    found = check(machine)

    assert seen(found) == ("not-applicable", "none", "nothing")
    assert (found["site_count"], found["exit_status"]) == (1, 0)
    assert found["retirement"]["sentence"] == "No certificate in use names a responder any more."


def test_failures_in_the_log_of_a_server_that_is_quick(machine: Machine) -> None:
    machine.fault("alpha", "5xx")
    machine.python("tests.machine.clients", "3")
    machine.heal()
    restart(machine)

    found = check(machine)

    assert seen(found) == ("healthy", "noise", "nothing")
    assert found["log"]["last_hour_count"] >= 1
    assert found["exit_status"] == 0


def test_good_staples_hide_a_dead_responder_for_a_while(machine: Machine) -> None:
    check(machine)
    machine.fault("alpha", "hang")

    found = check(machine)

    assert seen(found) == ("ca-outage", "failing", "wait-for-ca")
    assert "when these run out" in found["sentence"]


@pytest.mark.parametrize("kind", ["bad-signature", "unauthorized"])
def test_an_answer_with_http_status_200_is_not_taken_for_health(machine: Machine, kind: str) -> None:
    machine.fault("all", kind)
    restart(machine)

    found = check(machine)

    assert seen(found) == ("ca-bad-answer", "failing", "wait-for-ca")
    assert {a["http_status"] for one in found["responders"] for a in one["addresses"]} == {200}


def test_apache_staples_a_badly_signed_answer_and_check_says_so(machine: Machine) -> None:
    machine.fault("alpha", "bad-signature")
    restart(machine)

    found = check(machine)

    mine = [h for h in found["handshakes"] if h["asked"] and "alpha" in h["responder"]]
    assert {h["staple"] for h in mine} == {"bad-signature"}


def test_off_by_the_plugin_and_responders_in_order(machine: Machine) -> None:
    machine.run("ocsp-stapling", "off", "--yes", "--reason", "maintenance of the line")

    found = check(machine)

    assert seen(found) == ("off-by-plugin", "none", "turn-on")
    assert found["exit_status"] == 1
    assert found["configuration"]["reason"] == "maintenance of the line"
    assert found["configuration"]["off_since"]
    assert {h["stapled"] for h in found["handshakes"]} == {False}


def test_off_by_the_plugin_and_a_responder_still_dead(machine: Machine) -> None:
    machine.run("ocsp-stapling", "off", "--yes")
    machine.fault("alpha", "drop")

    found = check(machine)

    assert seen(found) == ("off-by-plugin", "none", "contact-datacenter")
    assert found["afterwards"] == "turn-on"


def test_off_by_a_line_written_by_hand(machine: Machine) -> None:
    machine.path(INCLUDE).write_text("# by me\nSSLUseStapling off\n")
    restart(machine)

    found = check(machine)

    assert seen(found) == ("off-elsewhere", "none", "turn-on")
    decided = found["configuration"]["decided_by"]
    assert (decided["file"], decided["line"]) == (INCLUDE, 2)


def test_off_by_whms_own_switch(machine: Machine) -> None:
    machine.path("/etc/cpanel/ea4/ea4.conf").write_text('{"sslusestapling": "Off"}\n')
    machine.run(REBUILD)
    restart(machine)

    found = check(machine)

    assert seen(found) == ("off-elsewhere", "none", "turn-on")
    assert found["configuration"]["origin"] == "native-switch"


def test_nginx_in_front_of_apache(machine: Machine) -> None:
    machine.run("sed", "-i", "s/:443/:444/g", "/etc/apache2/conf/httpd.conf")
    restart(machine)
    machine.run("cp", shutil.which("nc.openbsd") or shutil.which("sleep") or "", "/usr/local/sbin/nginx")
    found = check_behind(machine)

    assert found["cause"] == "not-in-front"
    assert found["this_server"]["front"] == "nginx"
    # Visitors are met where they come in, at port 443; this nginx answers none of them, whatever they ask for.
    assert {each["port"] for each in found["handshakes"]} == {443}
    assert seen(found) == ("not-in-front", "none", "nothing")
    assert "serves no client in time" in found["sentence"]
    assert found["slowest_handshake_seconds"] is None


OTHER_APACHE = """
ServerName elsewhere.example.test
PidFile /run/other.pid
User nobody
TypesConfig /dev/null
Listen 443
ErrorLog /run/other.log
SSLEngine on
SSLCertificateFile {certificate}
"""


def test_another_apache_in_front_is_not_taken_for_the_one_of_this_servers_sites(machine: Machine) -> None:
    machine.run("sed", "-i", "s/:443/:444/g", "/etc/apache2/conf/httpd.conf")
    restart(machine)
    modules = machine.run("sh", "-c", "grep -rh ^LoadModule /etc/apache2/conf.modules.d").stdout
    certificate = f"/var/cpanel/ssl/apache_tls/{machine.sites[0].name}/combined"
    machine.path("/run/other.conf").write_text(modules + OTHER_APACHE.format(certificate=certificate))
    machine.run("/usr/sbin/httpd", "-f", "/run/other.conf")

    found = check(machine)

    assert seen(found) == ("not-in-front", "none", "nothing")
    assert found["this_server"]["front"] == "other-httpd"
    assert "another Apache, not the one of this server's sites" in found["sentence"]


def check_behind(machine: Machine) -> dict[str, Any]:
    """Check while a program named nginx holds port 443; it inherits the socket, so it can be any program."""
    holder = machine.popen(
        "python3",
        "-c",
        "import os, socket\n"
        "held = socket.create_server(('0.0.0.0', 443)); held.set_inheritable(True)\n"
        "print('ready', flush=True)\n"
        "os.execv('/usr/local/sbin/nginx', ['nginx', '60'])",
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "ready\n"
        return check(machine)
    finally:
        os.killpg(holder.pid, signal.SIGKILL)
        holder.communicate()


@pytest.mark.parametrize(
    "rules",
    [
        # A policy, and no rule for what belongs to a connection of our own.
        "add chain inet trap in { type filter hook input priority 0; policy drop; }\n"
        "add rule inet trap in meta l4proto ipv6-icmp accept\n"
        "add rule inet trap in tcp dport { 80, 443 } accept\nadd rule inet trap in udp sport 53 accept\n"
        "add rule inet trap in iif lo accept\n",
        # Before anybody looks to which connection a packet belongs, for the authority's addresses alone.
        "add chain inet trap in { type filter hook prerouting priority -300; }\n"
        "add rule inet trap in ip saddr 44.128.10.0/24 drop\nadd rule inet trap in ip6 saddr 2a0f:c0de:a::/48 drop\n",
    ],
    ids=["input policy", "prerouting by address"],
)
def test_replies_that_this_servers_own_rules_drop_are_no_block_of_the_network(
    machine: Machine, rules: str
) -> None:
    machine.run("nft", "-f", "-", input=f"add table inet trap\n{rules}")
    restart(machine)

    found = check(machine)

    assert (found["cause"], found["severity"]) == ("local-firewall", "stalling")
    assert (found["advice"], found["afterwards"]) == ("turn-off", "fix-here")
    assert "drops what ocsp.alpha-ca.test sends back" in found["sentence"]
    assert any("table inet trap, chain in" in rule for one in found["responders"] for rule in one["firewall"])
    assert "ct state established" in found["advice_sentence"]


def test_a_rule_that_may_drop_replies_is_told_beside_a_block_of_the_network(machine: Machine) -> None:
    rules = "add chain inet trap in { type filter hook input priority 0; }\n"
    rules += "add rule inet trap in ip saddr 44.128.10.0/24 meta mark 7 drop\n"
    machine.run("nft", "-f", "-", input=f"add table inet trap\n{rules}")
    machine.fault("alpha", "drop")
    restart(machine)

    found = check(machine)

    assert found["cause"] == "network-block"
    assert any("perhaps drops what OCSP responders send back" in text for text in found["against"])


def test_an_override_in_the_hosts_file(machine: Machine) -> None:
    hosts = machine.path("/etc/hosts")
    hosts.write_text(hosts.read_text() + "44.128.99.9 ocsp.alpha-ca.test\n")
    restart(machine)

    found = check(machine)

    assert found["cause"] == "dns"
    assert "/etc/hosts" in found["sentence"]
    assert found["afterwards"] == "fix-here" or found["advice"] == "fix-here"


def test_a_certificate_with_an_https_responder_aborts_handshakes(machine: Machine) -> None:
    plan = next(site for site in machine.sites if site.authority == "gamma")
    authority = next(one for one in machine.authorities if one.name == "gamma")
    keys, key = AuthorityKeys.load(authority, machine.path("/run/machine/pki")), new_key()
    leaf = keys.certificate(plan, key, url="https://ocsp.gamma-ca.test/")
    machine.path(f"/var/cpanel/ssl/apache_tls/{plan.name}/combined").write_bytes(
        combined(leaf, key, keys.issuer)
    )
    restart(machine)

    found = check(machine)

    assert seen(found) == ("bad-ocsp-url", "failing", "turn-off-site")
    assert f"ocsp-stapling off --site {plan.name}" in found["advice_sentence"]
    assert found["sites_affected"] == [plan.name]


def test_a_chain_file_without_the_issuer(machine: Machine) -> None:
    plan = machine.sites[0]
    path = machine.path(f"/var/cpanel/ssl/apache_tls/{plan.name}/combined")
    text = path.read_text()
    path.write_text(text[: text.rindex("-----BEGIN CERTIFICATE-----")])
    restart(machine)

    found = check(machine)

    assert seen(found) == ("chain-incomplete", "failing", "fix-here")
    assert found["sites_affected"] == [plan.name]


def test_apache_that_does_not_run(machine: Machine) -> None:
    machine.run(RESTART, "--stop")

    found = check(machine)

    assert (found["cause"], found["advice"], found["exit_status"]) == ("not-served", "fix-here", 2)
    assert "does not run" in found["sentence"]
    assert len(found["sites_affected"]) == found["site_count"] == len(machine.sites)
    first = machine.run("ocsp-stapling", "check", check=False).stdout.splitlines()[0]
    assert first.endswith(f"sites_affected={found['site_count']}")


@pytest.fixture
def beyond(machine: Machine) -> Iterator[Callable[..., str]]:
    """Run something at the other end of the cable: a machine elsewhere, to which the responders are near."""
    world = machine.path("/run/machine/world.pid").read_text().strip()
    yield lambda *argv: machine.run("nsenter", "-t", world, "-n", *argv, check=False).stdout


def test_works_elsewhere_and_not_here_is_the_network(machine: Machine, beyond: Callable[..., str]) -> None:
    rules = (
        "table inet way { chain c { type filter hook input priority 0; iifname cable tcp dport 80 drop; }; }"
    )
    beyond("nft", rules)
    restart(machine)
    first = check(machine)
    printed = "".join(beyond("sh", "-c", one["command"]) for one in first["responders"])

    found = check(machine, "--elsewhere", "-", paste=f"root@elsewhere:~# \n{printed}\nlogout\n")

    assert (found["cause"], found["confidence"]) == ("network-block", "high")
    assert [one["works"] for one in found["elsewhere"]] == [True, True, True]


def test_fails_everywhere_is_the_authority(machine: Machine, beyond: Callable[..., str]) -> None:
    machine.fault("alpha", "drop")
    restart(machine)
    first = check(machine)
    assert first["cause"] == "network-block"
    command = next(one["command"] for one in first["responders"] if not one["ok"])
    printed = beyond("sh", "-c", command.replace("-qsgm 8", "-qsgm 1"))

    found = check(machine, "--elsewhere", "-", paste=printed)

    assert (found["cause"], found["confidence"]) == ("ca-outage", "high")
    assert [one["works"] for one in found["elsewhere"]] == [False]


def test_the_first_line_and_the_exit_status_serve_monitoring(machine: Machine) -> None:
    machine.fault("all", "hang")
    restart(machine)

    done = machine.run("ocsp-stapling", "check", check=False)

    assert done.returncode == 2
    first = done.stdout.splitlines()[0]
    assert first.startswith("OCSP STAPLING CRITICAL - ")
    assert "| slowest_handshake=" in first
    assert "muststaple.example.test (Must-Staple)" in done.stdout
    assert "\x1b" not in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(
    "options", [("--deadline", "fast"), ("--nonsense",), ("--elsewhere", "/does/not/exist")]
)
def test_a_mistake_is_unknown_and_not_an_outage(machine: Machine, options: tuple[str, ...]) -> None:
    assert machine.run("ocsp-stapling", "check", *options, check=False).returncode == 3


def test_without_apache_the_check_is_unknown(machine: Machine) -> None:
    machine.path("/etc/cpanel/ea4/paths.conf").unlink()

    done = machine.run("ocsp-stapling", "check", check=False)

    assert done.returncode == 3
    assert done.stdout.startswith("OCSP STAPLING UNKNOWN - ")


def test_status_tells_the_last_check_and_who_switched_off(machine: Machine) -> None:
    check(machine)
    machine.run("ocsp-stapling", "off", "--yes", "--reason", "the line is cut")

    found = json.loads(machine.run("ocsp-stapling", "status", "--json").stdout)

    assert (found["stapling"], found["origin"], found["reason"]) == (
        "off",
        "managed-block",
        "the line is cut",
    )
    assert datetime.fromisoformat(found["off_since"]).tzinfo is not None
    assert found["decided_by"]["file"].endswith("/pre_virtualhost_2.conf")
    assert (found["must_staple_count"], found["must_staple_sites"]) == (1, [STRICT])
    assert found["last_check"]["cause"] == "healthy"
    assert found["last_operation"]["state"] == "done"
    assert found["pending_operation"] is None


def test_the_ticket_says_what_a_datacenter_needs_and_names_no_customer(machine: Machine) -> None:
    machine.fault("all", "drop", "4")
    restart(machine)

    text = machine.run("ocsp-stapling", "ticket").stdout

    assert text.startswith("Subject: ")
    assert "44.128.10.10: packets dropped; " in text
    assert "44.128.1.2" in text
    assert "curl" in text
    assert "example.test" not in text.replace("whm.example.test", "")
    redacted = machine.run("ocsp-stapling", "ticket", "--last", "--redact").stdout
    assert "whm.example.test" not in redacted
    assert "44.128.1.2" not in redacted


def test_a_staple_cache_that_is_too_small_is_found_made_to_fit_and_taken_back(
    start_machine: Callable[[Shape], Machine],
) -> None:
    machine = start_machine(Shape(sites=10, cas=2, v6=0))
    conf = machine.path("/etc/apache2/conf/httpd.conf")
    conf.write_text(conf.read_text().replace("(256000)", "(10240)"))  # six places for eleven certificates
    restart(machine)

    assert seen(check(machine)) == ("cache-too-small", "failing", "fix-here")
    machine.fault("all", "slow")
    found = check(machine)  # at most six of the sites met can be among those that Apache still has staples of
    machine.heal()
    assert seen(found) == ("cache-too-small", "stalling", "fix-here")
    assert "ocsp-stapling cache fit" in found["advice_sentence"]
    assert len(found["sites_waiting"]) == 11

    done = json.loads(machine.run("ocsp-stapling", "cache", "fit", "--yes", "--json").stdout)
    assert (done["action"], done["state"], done["rungs"]) == ("cache-fit", "done", ["whm-api"])
    assert seen(check(machine)) == ("healthy", "none", "nothing")
    machine.run("ocsp-stapling", "undo", "--yes")
    cache = json.loads(machine.run("ocsp-stapling", "config", "--json").stdout)["cache"]
    assert cache["value"].endswith("(10240)")


def test_one_certificate_among_others_that_its_authority_has_revoked_is_found_and_named(
    machine: Machine,
) -> None:
    path = machine.path("/var/cpanel/ssl/apache_tls/site0004.example.test/combined")
    text = path.read_text()
    leaf = x509.load_pem_x509_certificate(text[text.index("-----BEGIN CERT") :].encode())
    serial = f"{leaf.serial_number:040x}"
    authority = next(one.authority for one in machine.sites if one.name == "site0004.example.test")
    machine.fault(authority, "revoked", serial=serial)
    machine.run(RESTART, "--hard")

    found = check(machine)

    assert (found["cause"], found["severity"], found["advice"]) == (
        "certificate-revoked",
        "failing",
        "reissue",
    )
    assert found["sites_affected"] == ["site0004.example.test"]
    assert f"site0004.example.test (serial {leaf.serial_number:X})" in found["sentence"]
    assert not any("names this responder" in text for text in found["for"])  # others name it as well
    assert [one["ok"] for one in found["responders"] if not one["serial"]] == [True] * 3
    assert STRICT in {h["site"] for h in found["handshakes"] if h["stapled"]}


@pytest.mark.alone
def test_thirty_responders_of_which_half_drop_packets_are_asked_within_the_deadline(
    start_machine: Callable[[Shape], Machine],
) -> None:
    machine = start_machine(Shape(sites=30, cas=30, v4=2, v6=2))
    for authority in machine.authorities[::2]:
        machine.fault(authority.name, "drop")
    restart(machine)

    found = check(machine)

    assert found["severity"] == "stalling"
    assert found["seconds"] <= 8.0
    outcomes = {one["host"]: {a["outcome"] for a in one["addresses"]} for one in found["responders"]}
    assert [outcomes[one.host] for one in machine.authorities] == [{"connect-timeout"}, {"ok"}] * 15
    assert found["problems"] == []


def small(start_machine: Callable[[Shape], Machine]) -> Machine:
    """A machine with one site at one authority, so that no other certificate plays a part."""
    return start_machine(Shape(sites=1, cas=1, v6=0, extras=False))


def test_a_name_server_that_is_silent_before_one_that_answers(
    start_machine: Callable[[Shape], Machine],
) -> None:
    machine = small(start_machine)
    machine.path("/etc/resolv.conf").write_text("nameserver 44.128.66.6\nnameserver 44.128.1.1\n")
    restart(machine)

    found = check(machine)

    assert seen(found) == ("dns", "stalling", "turn-off")
    assert any("No answer from 44.128.66.6" in text for text in found["for"])
    assert "take it out of /etc/resolv.conf" in found["advice_sentence"]
    assert {each["outcome"] for one in found["responders"] for each in one["addresses"]} == {"ok"}


def test_one_site_alone_shows_the_queue(start_machine: Callable[[Shape], Machine]) -> None:
    machine = small(start_machine)
    machine.fault("alpha", "hang")
    restart(machine)

    found = check(machine)

    assert (found["severity"], len([h for h in found["handshakes"] if h["asked"]])) == ("stalling", 3)
    assert any("one after the other: the tenth waits" in text for text in found["for"])


RELAY = """\
import asyncio

async def pump(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()

async def serve(reader, writer):
    behind = await asyncio.open_connection("44.128.1.2", 444)
    await asyncio.gather(pump(reader, behind[1]), pump(behind[0], writer), return_exceptions=True)

async def main():
    await asyncio.start_server(serve, "0.0.0.0", 443)
    print("ready", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def test_a_balancer_that_passes_tls_on_lets_visitors_meet_apaches_stall(
    start_machine: Callable[[Shape], Machine],
) -> None:
    machine = small(start_machine)
    machine.run("sed", "-i", "s/:443/:444/g", "/etc/apache2/conf/httpd.conf")
    machine.fault("alpha", "hang")
    restart(machine)
    relay = machine.popen("python3", "-c", RELAY)
    assert relay.stdout is not None
    assert relay.stdout.readline() == "ready\n"

    found = check(machine)
    machine.heal()
    restart(machine)  # whoever still waits in Apache's queue would hold up the next look
    healed = check(machine)

    assert seen(found) == ("ca-outage", "stalling", "turn-off")
    assert any("passes TLS on to Apache" in text for text in found["for"])
    assert seen(healed) == ("not-in-front", "none", "nothing")
    assert "mode tcp" in healed["advice_sentence"]


def test_a_line_of_a_virtual_hosts_own_template_is_named_as_the_place_to_edit(
    start_machine: Callable[[Shape], Machine],
) -> None:
    machine = small(start_machine)
    (plan,) = machine.sites
    template = "/var/cpanel/templates/apache2_4/shop.template"
    userdata = machine.path(f"/var/cpanel/userdata/{plan.user}/{plan.name}_SSL")
    for path in (machine.path(template), userdata):
        path.parent.mkdir(parents=True, exist_ok=True)
    machine.path(template).write_text("SSLEngine on\n  SSLUseStapling On\n")
    userdata.write_text(f"---\ncustom_vhost_template_ap2: {template}\nservername: {plan.name}\n")
    conf = machine.path("/etc/apache2/conf/httpd.conf")
    conf.write_text(conf.read_text().replace("SSLEngine on", "SSLEngine on\n        SSLUseStapling On"))
    machine.fault("alpha", "hang")
    restart(machine)

    found = check(machine)
    plan_of_off = json.loads(machine.run("ocsp-stapling", "off", "--dry-run", "--json").stdout)

    assert f"{plan.name} ({template}:2)" in found["advice_sentence"]
    assert any(f"Only an edit ends it at {template}:2" in each for each in plan_of_off["warnings"])


def test_a_staple_cache_that_keeps_nothing(start_machine: Callable[[Shape], Machine]) -> None:
    machine = small(start_machine)
    module = machine.path("/etc/apache2/conf.modules.d/402_memcache.conf")
    module.write_text("LoadModule socache_memcache_module modules/mod_socache_memcache.so\n")
    machine.path(INCLUDE).write_text("SSLStaplingCache memcache:127.0.0.1:11211\n")  # where nothing listens
    restart(machine)
    machine.python("tests.machine.clients", "3", "--site", machine.sites[0].name)

    found = check(machine)

    assert (found["cause"], found["advice"]) == ("cache-broken", "fix-here")
    assert f"memcache:127.0.0.1:11211, {INCLUDE}:1" in found["sentence"]


@pytest.mark.long
def test_a_staple_cache_that_apache_cannot_set_up(start_machine: Callable[[Shape], Machine]) -> None:
    machine = small(start_machine)
    module = machine.path("/etc/apache2/conf.modules.d/402_dbm.conf")
    module.write_text("LoadModule socache_dbm_module modules/mod_socache_dbm.so\n")
    machine.path(INCLUDE).write_text("SSLStaplingCache dbm:/root/nowhere/stapling\n")
    machine.run(RESTART, "--stop")
    assert machine.run(RESTART, "--start", check=False).returncode != 0

    found = check(machine)

    assert (found["cause"], found["exit_status"], found["advice"]) == ("no-cache", 2, "fix-here")
    assert "could not set up its staple cache" in found["sentence"]


@pytest.mark.long
def test_a_server_without_a_free_local_port(start_machine: Callable[[Shape], Machine]) -> None:
    machine = small(start_machine)
    # From within: which network a file of /proc/sys belongs to depends on who opens it.
    machine.run("sh", "-c", "echo 40000 40003 >/proc/sys/net/ipv4/ip_local_port_range")
    holder = machine.popen(
        "python3",
        "-c",
        "import socket, time\n"
        "held = [socket.socket() for _ in range(4)]\n"
        "for number, one in enumerate(held): one.bind(('', 40000 + number))\n"
        "print('ready', flush=True)\n"
        "time.sleep(600)",
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "ready\n"

    found = check(machine)

    assert (found["cause"], found["advice"]) == ("local-limit", "fix-here")


@pytest.mark.long
def test_a_full_table_of_connections(start_machine: Callable[[Shape], Machine]) -> None:
    machine = small(start_machine)
    machine.path("/root/full").write_text("65536\n")
    for name in (
        "count",
        "max",
    ):  # the limit itself is the whole system's: what the kernel says of it is replaced
        machine.run("mount", "--bind", "/root/full", f"/proc/sys/net/netfilter/nf_conntrack_{name}")
    machine.fault("alpha", "drop")
    restart(machine)

    found = check(machine)

    assert (found["cause"], found["severity"], found["afterwards"]) == ("local-limit", "stalling", "fix-here")
    assert any("65,536 connections of 65,536" in text for text in found["for"])


def reissue(machine: Machine, site: str, url: str | None) -> None:
    """Give a site a certificate of its authority that names this responder, or (None) none."""
    plan = next(one for one in machine.sites if one.name == site)
    authority = next(one for one in machine.authorities if one.name == plan.authority)
    keys, key = AuthorityKeys.load(authority, machine.path("/run/machine/pki")), new_key()
    leaf = keys.certificate(replace(plan, ocsp_url=url is not None), key, url=url)
    machine.path(f"/var/cpanel/ssl/apache_tls/{site}/combined").write_bytes(combined(leaf, key, keys.issuer))


def test_what_certificates_name_that_no_outage_explains(machine: Machine) -> None:
    private = "site0003.example.test"
    reissue(machine, private, "http://10.9.8.7/ocsp")
    reissue(machine, STRICT, None)
    restart(machine)

    found = check(machine)

    assert (found["cause"], found["never_stapled"]) == ("bad-ocsp-url", [STRICT])
    assert "allow_networks" in found["advice_sentence"]
    assert any(f"the certificate of {STRICT} demands a staple" in text for text in found["against"])
    (alone,) = (one for one in found["responders"] if one["url"] == "http://10.9.8.7/ocsp")
    assert (alone["site_names"], alone["ok"]) == ([private], False)


PRIVATE = "10.9.8.7"
OWN_LINE = "/etc/apache2/conf.d/userdata/ssl/2_4/user0001/site0001.example.test/own.conf"


def test_a_private_responder_that_apache_reaches_is_no_warning_and_is_asked_once_it_is_allowed(
    machine: Machine, beyond: Callable[..., str]
) -> None:
    beyond("ip", "addr", "add", f"{PRIVATE}/32", "dev", "lo")
    to = f"ip daddr {PRIVATE} tcp dport 80 dnat to 44.128.10.10"
    beyond("nft", f"table ip own {{ chain c {{ type nat hook prerouting priority -100; {to}; }}; }}")
    hosts = machine.path("/etc/hosts")
    hosts.write_text(f"{hosts.read_text()}{PRIVATE} ocsp.corp.test\n")
    reissue(machine, "site0001.example.test", f"http://{PRIVATE}/ocsp")
    reissue(machine, STRICT, "http://ocsp.corp.test/ocsp")
    restart(machine)

    found = check(machine)

    assert (found["severity"], found["exit_status"]) == ("none", 0)
    assert "allow_networks" in found["advice_sentence"]
    assert "issued anew and install" not in found["advice_sentence"]
    config = machine.path("/etc/ocsp-stapling/config.toml")
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(f'[probe]\nallow_networks = ["{PRIVATE}/32"]\n')
    assert seen(check(machine)) == ("healthy", "none", "nothing")


def test_an_apache_that_died_of_a_sites_own_line_is_revived_by_the_command_that_is_named(
    machine: Machine,
) -> None:
    own = machine.path(OWN_LINE)
    own.parent.mkdir(parents=True, exist_ok=True)
    own.write_text("SSLUseStapling On\n")
    machine.run(REBUILD)
    conf = machine.path("/etc/apache2/conf/httpd.conf")
    text = conf.read_text().replace("  SSLStaplingCache", "  #SSLStaplingCache")
    conf.write_text(text.replace("  SSLUseStapling On", "  SSLUseStapling Off"))
    machine.run(RESTART, "--stop")
    assert machine.run(RESTART, "--start", check=False).returncode != 0

    found = check(machine)

    assert (found["cause"], found["exit_status"]) == ("no-cache", 2)
    assert "ocsp-stapling off --overrides turns stapling off and starts Apache" in found["advice_sentence"]
    machine.run("ocsp-stapling", "off", "--overrides", "--yes")
    assert machine.run("ocsp-stapling", "check", check=False).returncode == 1  # off, and Apache serves


def test_an_apache_whose_next_restart_would_be_its_end_is_warned_about_before(machine: Machine) -> None:
    conf = machine.path("/etc/apache2/conf/httpd.conf")
    conf.write_text(conf.read_text().replace("  SSLStaplingCache", "  #SSLStaplingCache"))

    found = check(machine)

    assert seen(found) == ("config-broken", "failing", "fix-here")
    assert "the next restart of Apache would end it" in found["sentence"]
    assert {each["staple"] for each in found["handshakes"] if each["asked"]} == {"good"}
    assert "ocsp-stapling cache fit" in found["advice_sentence"]
    machine.run("ocsp-stapling", "cache", "fit", "--yes")
    restart(machine)
    assert seen(check(machine)) == ("healthy", "none", "nothing")


@pytest.mark.parametrize("url", ["https://ocsp.alpha-ca.test/", "127.0.0.1"], ids=["an alert", "a crash"])
def test_a_forced_url_that_turns_visitors_away_is_critical(machine: Machine, url: str) -> None:
    """The one ends each handshake that asks with an alert, the other crashes the worker: it sends none."""
    machine.path(INCLUDE).write_text(f"SSLStaplingForceURL {url}\n")
    restart(machine)

    found = check(machine)

    assert (found["cause"], found["severity"], found["exit_status"]) == ("forced-url", "stalling", 2)
    assert found["advice"] == "turn-off"
    assert "Visitors are turned away" in found["sentence"]


def test_a_site_that_must_staple_and_has_stapling_off_is_a_warning(machine: Machine) -> None:
    owner = next(plan.user for plan in machine.sites if plan.name == STRICT)
    own = machine.path(f"/etc/apache2/conf.d/userdata/ssl/2_4/{owner}/{STRICT}/own.conf")
    own.parent.mkdir(parents=True, exist_ok=True)
    own.write_text("SSLUseStapling off\nSSLStaplingForceURL http://127.0.0.1:1/\n")  # nobody answers there
    machine.run(REBUILD)
    restart(machine)

    found = check(machine)

    (asked,) = found["responders_turned_off"]
    assert (asked["ok"], asked["site_names"]) == (False, [STRICT])
    assert seen(found) == ("healthy", "none", "nothing")
    assert "Leave it off until it does" in " ".join(found["against"])

    own.write_text("SSLUseStapling off\n")
    restart(machine)

    found = check(machine)

    assert found["responders_turned_off"][0]["ok"]
    assert seen(found) == ("must-staple-off", "failing", "fix-here")
    assert (found["sites_affected"], found["exit_status"]) == ([STRICT], 1)


def test_brands_of_one_operator_are_one_witness_and_a_refused_configuration_is_said_first(
    machine: Machine,
) -> None:
    table = "".join(
        f'[[authority]]\nname = "{name}"\nresponders = ["ocsp.{name.lower()}-ca.test"]\noperator = "One Ltd"\n'
        for name in ("Alpha", "Beta", "Gamma")
    )
    config = machine.path("/etc/ocsp-stapling/config.toml")
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(table)
    machine.fault("all", "drop")
    restart(machine)
    together = check(machine)
    machine.path(INCLUDE).write_text("ssl_trusted_certificate /etc/ssl/ca.pem;\n")

    refused = check(machine)

    assert (together["cause"], together["confidence"]) == ("ca-outage", "medium")
    assert any("All responders of One Ltd" in text for text in together["for"])
    assert refused["sentence"].startswith(f"Apache refuses its configuration ({INCLUDE} line 1)")
    assert (refused["advice"], refused["afterwards"]) == ("fix-here", "turn-off")


@pytest.mark.parametrize("new_key_too", [False, True], ids=["key kept", "key new"])
def test_a_renewed_intermediate_is_asked_about_as_apache_asks(machine: Machine, new_key_too: bool) -> None:
    """The key of the issuer whose certificate stands in the chain makes the question; by its name both would fit."""
    alpha = next(one for one in machine.authorities if one.name == "alpha")
    keys = AuthorityKeys.load(alpha, machine.path("/run/machine/pki"))
    renewed = keys.renewed(new_key() if new_key_too else keys.issuer_key)
    plan = next(one for one in machine.sites if one.authority == "alpha" and one.name != STRICT)
    key = new_key()
    path = machine.path(f"/var/cpanel/ssl/apache_tls/{plan.name}/combined")
    path.write_bytes(combined(keys.certificate(plan, key, tied=True), key, renewed))
    restart(machine)

    found = check(machine)

    mine = [each for each in found["handshakes"] if each["site"] == plan.name and each["asked"]]
    assert {each["staple"] for each in mine} == (set() if new_key_too else {"good"})
    assert [each["name"] for each in found["incomplete_chains"]] == [plan.name] * new_key_too
    expected = ("chain-incomplete", "failing") if new_key_too else ("healthy", "none")
    assert (found["cause"], found["severity"]) == expected


def test_a_viewer_learns_that_anothers_responder_holds_his_sites_up_and_not_whose(
    start_machine: Callable[[Shape], Machine],
) -> None:
    machine = start_machine(Shape(sites=3, cas=3))
    open_whm(machine)
    machine.fault("gamma", "hang")
    restart(machine)
    assert check(machine)["severity"] == "stalling"

    page = " ".join(log_in(machine, VIEWER).get().text.split())

    assert "other customers" in page
    assert "every responder answers rightly" not in page
    assert "gamma" not in page
    assert "site0003" not in page
