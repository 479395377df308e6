"""One responder at a time: which cause follows from which finding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from ocsp_stapling.ca.reading import Level
from ocsp_stapling.check import report
from ocsp_stapling.check.diagnosis import Action, Cause, Confidence, Severity, diagnose
from ocsp_stapling.check.diagnosis.advice import FIXES
from ocsp_stapling.check.diagnosis.witnesses import surroundings
from ocsp_stapling.check.evidence import (
    AuthorityEvidence,
    ConfigurationEvidence,
    Elsewhere,
    HostEvidence,
    NameState,
    PublicAddresses,
    ResponderEvidence,
    Site,
    SteeringLine,
)
from ocsp_stapling.ocsp.answer import Verdict
from ocsp_stapling.ocsp.finding import Outcome
from tests.unit.check.diagnosis.made import V4, V6, address, evidence, meeting, responder, stalled, unstapled

FINE = responder("zeta")
URL = "http://ocsp.alpha.example"
WORKS = (Elsewhere("another machine", URL, True, "From another machine it answers rightly."),)
FAILS = (Elsewhere("another machine", URL, False, "From another machine it fails as well."),)

# What the address shows -> cause and action when it is one authority of several.
ALONE = {
    Outcome.CONNECT_TIMEOUT: (Cause.NETWORK_BLOCK, Action.CONTACT_DATACENTER),
    Outcome.REFUSED: (Cause.NETWORK_BLOCK, Action.CONTACT_DATACENTER),
    Outcome.NOT_PERMITTED: (Cause.LOCAL_FIREWALL, Action.FIX_HERE),
    Outcome.NO_ROUTE: (Cause.NO_ROUTE, Action.CONTACT_DATACENTER),
    Outcome.NO_PORT: (Cause.LOCAL_LIMIT, Action.FIX_HERE),
    Outcome.REPLY_TIMEOUT: (Cause.CA_OUTAGE, Action.WAIT_FOR_CA),
    Outcome.RESET: (Cause.CA_OUTAGE, Action.WAIT_FOR_CA),
    Outcome.EMPTY_REPLY: (Cause.CA_OUTAGE, Action.WAIT_FOR_CA),
    Outcome.SLOW: (Cause.CA_OUTAGE, Action.WAIT_FOR_CA),
    Outcome.HTTP_ERROR: (Cause.CA_OUTAGE, Action.WAIT_FOR_CA),
    Outcome.TRY_LATER: (Cause.CA_OUTAGE, Action.WAIT_FOR_CA),
    Outcome.HTML: (Cause.INTERCEPTION, Action.CONTACT_DATACENTER),
    Outcome.REDIRECT: (Cause.CA_BAD_ANSWER, Action.WAIT_FOR_CA),
    Outcome.NOT_HTTP: (Cause.CA_BAD_ANSWER, Action.WAIT_FOR_CA),
    Outcome.UNAUTHORIZED: (Cause.CA_BAD_ANSWER, Action.WAIT_FOR_CA),
    Outcome.OTHER_OCSP_ERROR: (Cause.CA_BAD_ANSWER, Action.WAIT_FOR_CA),
    Outcome.UNKNOWN: (Cause.CA_BAD_ANSWER, Action.WAIT_FOR_CA),
    Outcome.STALE: (Cause.CA_BAD_ANSWER, Action.WAIT_FOR_CA),
    Outcome.NOT_YET_VALID: (Cause.CA_BAD_ANSWER, Action.WAIT_FOR_CA),
    Outcome.WRONG_CERTIFICATE: (Cause.CA_BAD_ANSWER, Action.WAIT_FOR_CA),
    Outcome.OTHER_DIGEST: (Cause.CA_BAD_ANSWER, Action.WAIT_FOR_CA),
    Outcome.BAD_SIGNATURE: (Cause.CA_BAD_ANSWER, Action.WAIT_FOR_CA),
    Outcome.WRONG_DELEGATE: (Cause.CA_BAD_ANSWER, Action.WAIT_FOR_CA),
    Outcome.NOT_OCSP: (Cause.CA_BAD_ANSWER, Action.WAIT_FOR_CA),
    Outcome.OVERSIZE: (Cause.CA_BAD_ANSWER, Action.WAIT_FOR_CA),
    Outcome.REVOKED: (Cause.CERTIFICATE_REVOKED, Action.REISSUE),
    Outcome.ADDRESS_FORBIDDEN: (Cause.BAD_OCSP_URL, Action.FIX_HERE),
    Outcome.DEADLINE: (Cause.UNKNOWN, Action.NOTHING),
}
# What differs when every authority shows the same at once: the way to them, not they.
TOGETHER = {
    Outcome.REPLY_TIMEOUT: Cause.NETWORK_BLOCK,
    Outcome.RESET: Cause.NETWORK_BLOCK,
    Outcome.EMPTY_REPLY: Cause.NETWORK_BLOCK,
    Outcome.REDIRECT: Cause.INTERCEPTION,
    Outcome.NOT_OCSP: Cause.INTERCEPTION,
    Outcome.NOT_HTTP: Cause.INTERCEPTION,
    Outcome.STALE: Cause.CLOCK,
    Outcome.NOT_YET_VALID: Cause.CLOCK,
}
NAMES = {Outcome.DNS_FAILURE, Outcome.DNS_TIMEOUT, Outcome.URL_UNUSABLE}


def test_every_outcome_that_is_not_good_is_in_the_table() -> None:
    assert set(ALONE) | NAMES == {each for each in Outcome if not each.is_good}


@pytest.mark.parametrize("outcome", ALONE, ids=lambda each: each.value)
def test_one_authority_fails_and_another_works(outcome: Outcome) -> None:
    found = diagnose(unstapled(responder(v4=outcome), FINE))

    assert (found.cause, found.action) == ALONE[outcome]
    assert found.sites == ("alpha0.example", "alpha1.example")


@pytest.mark.parametrize("outcome", ALONE, ids=lambda each: each.value)
def test_all_authorities_fail_in_the_same_way(outcome: Outcome) -> None:
    found = diagnose(unstapled(responder(v4=outcome), responder("beta", v4=outcome)))

    assert found.cause is TOGETHER.get(outcome, ALONE[outcome][0])


@pytest.mark.parametrize(
    "outcome", [Outcome.CONNECT_TIMEOUT, Outcome.REFUSED, Outcome.REPLY_TIMEOUT, Outcome.EMPTY_REPLY]
)
@pytest.mark.parametrize(
    ("elsewhere", "cause"), [(WORKS, Cause.NETWORK_BLOCK), (FAILS, Cause.CA_OUTAGE)], ids=["works", "fails"]
)
def test_another_vantage_point_decides(
    outcome: Outcome, elsewhere: tuple[Elsewhere, ...], cause: Cause
) -> None:
    found = diagnose(unstapled(responder(v4=outcome, elsewhere=elsewhere), FINE))

    assert (found.cause, found.confidence) == (cause, Confidence.HIGH)
    assert elsewhere[0].sentence in found.reasons_for


@pytest.mark.parametrize("outcome", [Outcome.HTTP_ERROR, Outcome.REDIRECT, Outcome.HTML])
def test_what_comes_back_only_here_is_intercepted(outcome: Outcome) -> None:
    found = diagnose(unstapled(responder(v4=outcome, elsewhere=WORKS), FINE))

    assert (found.cause, found.confidence) == (Cause.INTERCEPTION, Confidence.HIGH)


def test_a_web_page_that_everybody_gets_is_the_authoritys_own() -> None:
    found = diagnose(unstapled(responder(v4=Outcome.HTML, elsewhere=FAILS), FINE))

    assert found.cause is Cause.CA_BAD_ANSWER


def test_a_status_page_that_reports_an_outage_turns_a_dead_connection_into_the_authoritys_outage() -> None:
    page = AuthorityEvidence("Alpha", Level.OUTAGE, "the status page of Alpha reports an outage")

    found = diagnose(unstapled(responder(v4=Outcome.CONNECT_TIMEOUT), FINE, authorities=(page,)))

    assert (found.cause, found.confidence) == (Cause.CA_OUTAGE, Confidence.HIGH)


@pytest.mark.parametrize("outcome", [Outcome.CONNECT_TIMEOUT, Outcome.REFUSED, Outcome.NO_ROUTE])
def test_only_ipv6_fails_everywhere(outcome: Outcome) -> None:
    both = [responder(name, v4=Outcome.OK, v6=outcome) for name in ("alpha", "beta")]

    found = diagnose(unstapled(*both))

    assert (found.cause, found.action) == (Cause.IPV6_BROKEN, Action.FIX_HERE)


def test_ipv6_that_works_to_others_is_broken_on_the_way() -> None:
    found = diagnose(unstapled(responder(v4=Outcome.OK, v6=Outcome.CONNECT_TIMEOUT), FINE))

    assert (found.cause, found.action) == (Cause.IPV6_BROKEN, Action.CONTACT_DATACENTER)
    assert any("IPv6 to other responders works" in reason for reason in found.reasons_against)


def test_only_ipv4_fails_is_not_an_ipv6_matter() -> None:
    found = diagnose(unstapled(responder(v4=Outcome.CONNECT_TIMEOUT, v6=Outcome.OK), FINE))

    assert found.cause is Cause.NETWORK_BLOCK


def test_a_missing_entry_in_our_own_routing_table_is_repaired_here() -> None:
    gone = address(V4, Outcome.NO_ROUTE, route=False)

    found = diagnose(unstapled(responder(v4=gone, v6=address(V6, Outcome.NO_ROUTE, route=False)), FINE))

    assert (found.cause, found.action) == (Cause.NO_ROUTE, Action.FIX_HERE)


@pytest.mark.parametrize("outcome", [Outcome.CONNECT_TIMEOUT, Outcome.REFUSED])
@pytest.mark.parametrize(
    "clue",
    [{"root_connects": frozenset({V4})}, {"blocked_by": ("meta skuid nobody tcp dport 80 drop",)}],
    ids=["root connects", "a rule says so"],
)
def test_a_rule_on_this_server_is_told_from_a_block_beyond_it(outcome: Outcome, clue: dict[str, Any]) -> None:
    found = diagnose(unstapled(responder(v4=outcome, **clue), FINE))

    assert (found.cause, found.confidence) == (Cause.LOCAL_FIREWALL, Confidence.HIGH)


REPLIES_DROPPED = "nft drops what OCSP responders send back (table inet t, chain in: policy drop)"


def test_replies_that_a_rule_of_this_server_drops_are_its_own_doing_with_the_rule_named() -> None:
    """Of several authorities at once, too: before it is taken for the network."""
    silent: dict[str, Any] = {"v4": Outcome.CONNECT_TIMEOUT, "replies_blocked_by": (REPLIES_DROPPED,)}
    found = diagnose(unstapled(responder(**silent), responder("beta", **silent)))

    assert (found.cause, found.confidence, found.action) == (
        Cause.LOCAL_FIREWALL,
        Confidence.HIGH,
        Action.FIX_HERE,
    )
    assert any(REPLIES_DROPPED in why for why in found.reasons_for)
    assert "established" in found.advice


@pytest.mark.parametrize("outcome", [Outcome.REFUSED, Outcome.REPLY_TIMEOUT, Outcome.HTTP_ERROR])
def test_who_is_heard_is_not_kept_out_by_a_rule_for_replies(outcome: Outcome) -> None:
    found = diagnose(unstapled(responder(v4=outcome, replies_blocked_by=(REPLIES_DROPPED,)), FINE))

    assert found.cause is not Cause.LOCAL_FIREWALL


def test_a_rule_that_only_may_fit_stands_beside_the_networks_block() -> None:
    perhaps = "its rules could not be read (nft is not installed)"
    found = diagnose(unstapled(responder(v4=Outcome.CONNECT_TIMEOUT, perhaps_blocked_by=(perhaps,)), FINE))

    assert found.cause is Cause.NETWORK_BLOCK
    assert any(perhaps in text for text in found.responders[0].why.reasons_against)


def test_a_firewall_rule_does_not_explain_a_wrong_answer() -> None:
    found = diagnose(unstapled(responder(v4=Outcome.STALE, blocked_by=("some rule",)), FINE))

    assert found.cause is Cause.CA_BAD_ANSWER


@pytest.mark.parametrize(
    ("fault", "state", "cause"),
    [
        (Outcome.DNS_TIMEOUT, NameState.UNKNOWN, Cause.DNS),
        (Outcome.DNS_FAILURE, NameState.UNKNOWN, Cause.DNS),
        (Outcome.DNS_FAILURE, NameState.RESOLVER_AT_FAULT, Cause.DNS),
        (Outcome.DNS_FAILURE, NameState.NO_SUCH_NAME, Cause.BAD_OCSP_URL),
        (Outcome.DNS_FAILURE, NameState.FAILS_EVERYWHERE, Cause.CA_OUTAGE),
        (Outcome.DNS_TIMEOUT, NameState.FAILS_EVERYWHERE, Cause.CA_OUTAGE),
        (Outcome.URL_UNUSABLE, NameState.UNKNOWN, Cause.BAD_OCSP_URL),
    ],
)
def test_faults_of_the_name_and_the_url(fault: Outcome, state: NameState, cause: Cause) -> None:
    found = diagnose(unstapled(responder(fault=fault, name_state=state), FINE))

    assert found.cause is cause


@pytest.mark.parametrize("outcome", [Outcome.REFUSED, Outcome.HTML, Outcome.ADDRESS_FORBIDDEN])
def test_an_override_in_the_hosts_file_explains_whatever_fails(outcome: Outcome) -> None:
    found = diagnose(unstapled(responder(v4=outcome, name_state=NameState.HOSTS_OVERRIDE), FINE))

    assert (found.cause, found.action) == (Cause.DNS, Action.FIX_HERE)


def test_an_override_in_the_hosts_file_that_works_is_no_fault() -> None:
    assert diagnose(evidence(responder(name_state=NameState.HOSTS_OVERRIDE))).cause is Cause.HEALTHY


def test_a_resolver_that_gives_its_own_private_answer_is_a_dns_fault() -> None:
    one = responder(v4=Outcome.ADDRESS_FORBIDDEN, name_state=NameState.PRIVATE_ANSWER)

    assert diagnose(unstapled(one, FINE)).cause is Cause.DNS


HOURS = 2 * 3600.0


def told(outcome: Outcome, name: str = "alpha", ahead: float | None = None) -> ResponderEvidence:
    return responder(name, address(V4, outcome, clock_ahead=ahead))


@pytest.mark.parametrize(
    ("outcome", "ahead", "words"),
    [
        (Outcome.STALE, HOURS, "2 hours ahead"),
        (Outcome.NOT_YET_VALID, -HOURS, "2 hours behind"),
        (Outcome.STALE, None, "ahead"),
    ],
)
def test_wrong_times_from_several_authorities_are_this_servers_clock(
    outcome: Outcome, ahead: float | None, words: str
) -> None:
    found = diagnose(unstapled(told(outcome, "alpha", ahead), told(outcome, "beta", ahead)))
    assert (found.cause, found.action) == (Cause.CLOCK, Action.FIX_HERE)
    assert words in found.sentence


def test_old_answers_under_a_right_clock_are_the_authoritys() -> None:
    both = told(Outcome.STALE, "alpha", 1.0), told(Outcome.STALE, "beta", 0.4)
    assert diagnose(unstapled(*both)).cause is Cause.CA_BAD_ANSWER


def test_the_date_of_one_replys_header_suffices_where_only_one_authority_is_asked() -> None:
    found = diagnose(unstapled(told(Outcome.STALE, ahead=HOURS)))
    assert (found.cause, found.confidence) == (Cause.CLOCK, Confidence.MEDIUM)
    assert diagnose(unstapled(told(Outcome.STALE))).cause is Cause.CA_BAD_ANSWER


def test_one_lying_date_beside_right_ones_is_no_clock() -> None:
    both = told(Outcome.STALE, "alpha", HOURS), told(Outcome.OK, "beta", 0.0)
    assert diagnose(unstapled(*both)).cause is Cause.CA_BAD_ANSWER
    assert diagnose(unstapled(*both, told(Outcome.OK, "gamma", 0.1))).cause is Cause.CA_BAD_ANSWER


def test_one_word_about_the_clock_is_not_enough_where_answers_are_right_by_it() -> None:
    found = diagnose(unstapled(told(Outcome.STALE, "his", HOURS), told(Outcome.OK, "beta")))
    assert found.cause is Cause.CA_BAD_ANSWER


@pytest.mark.parametrize("ahead", [HOURS, None])
def test_one_customers_authorities_make_no_clock_wrong_however_many_they_are(ahead: float | None) -> None:
    """A customer can run authorities of his own: their stale answers and their dates are one word."""
    mine = [of_customer(told(Outcome.STALE, f"his{number}", ahead)) for number in range(3)]
    found = diagnose(unstapled(*mine, told(Outcome.OK, "alpha", 0.0)))
    assert found.cause is Cause.CA_BAD_ANSWER


@pytest.mark.parametrize("outcome", [Outcome.CONNECT_TIMEOUT, Outcome.REPLY_TIMEOUT, Outcome.REDIRECT])
def test_one_customers_authorities_are_no_several_that_do_not_fail_together(outcome: Outcome) -> None:
    mine = [of_customer(told(outcome, f"his{number}")) for number in range(3)]
    found = diagnose(stalled(*mine))
    assert found.confidence is not Confidence.HIGH
    assert not any("do not fail together" in why for why in found.reasons_for)


def of_customer(one: ResponderEvidence) -> ResponderEvidence:
    """The same, at an address of its own, its operator not known, named by certificates of one account alone."""
    sites = tuple(replace(site, owner="mallory") for site in one.sites)
    found = tuple(
        replace(each, address=f"198.51.100.{int(one.finding.host[8]) + 20}") for each in one.finding.addresses
    )
    return replace(one, sites=sites, operator="", finding=replace(one.finding, addresses=found))


@pytest.mark.parametrize("lie", [0.0, -9e8, 9e8])
@pytest.mark.parametrize("outcome", [Outcome.OK, Outcome.TRY_LATER])
def test_one_lying_date_hides_no_wrong_clock(outcome: Outcome, lie: float) -> None:
    right = (told(Outcome.STALE, name, HOURS) for name in ("alpha", "beta"))
    found = diagnose(unstapled(*right, told(outcome, "his", lie)))
    assert (found.cause, found.action) == (Cause.CLOCK, Action.FIX_HERE)
    assert "2 hours ahead" in found.sentence


@pytest.mark.parametrize("lies", [(9e8,), (-9e8,), (9e8, -9e8)])
def test_one_operators_word_is_the_date_of_most_of_its_addresses(lies: Sequence[float]) -> None:
    """Neither the first nor the last, the lowest nor the highest: a server of its fleet may have a wrong clock."""
    dates = (HOURS, HOURS, HOURS, *lies)
    for turn in range(len(dates)):
        found = [
            address(f"198.51.100.{number}", Outcome.STALE, clock_ahead=ahead)
            for number, ahead in enumerate((*dates[turn:], *dates[:turn]), 1)
        ]
        one = told(Outcome.STALE)
        fleet = replace(one, finding=replace(one.finding, addresses=tuple(found)))
        verdict = diagnose(unstapled(fleet, told(Outcome.STALE, "beta", HOURS)))
        assert (verdict.cause, verdict.action) == (Cause.CLOCK, Action.FIX_HERE)
        assert "2 hours ahead" in verdict.sentence


@pytest.mark.parametrize(
    ("responders", "leading"),
    [
        (
            (responder(v4=Outcome.REFUSED, sites=9), responder("beta", v4=Outcome.REPLY_TIMEOUT, sites=1)),
            "beta",
        ),
        ((responder(v4=Outcome.STALE, sites=1), responder("beta", v4=Outcome.REVOKED, sites=9)), "beta"),
        ((responder(v4=Outcome.STALE, sites=9), responder("beta", v4=Outcome.REFUSED, sites=1)), "alpha"),
    ],
    ids=["what hangs leads", "else most sites lead", "whatever the fault"],
)
def test_of_several_faults_the_gravest_leads_and_none_is_forgotten(
    responders: Sequence[ResponderEvidence], leading: str
) -> None:
    found = diagnose(unstapled(*responders))

    assert f"ocsp.{leading}.example" in found.sentence or leading.capitalize() in found.sentence
    assert [one.ok for one in found.responders] == [False, False]
    assert len(found.sites) == 10


def test_one_customers_dead_responder_does_not_turn_an_authoritys_outage_into_a_block_of_the_network() -> (
    None
):
    real = responder("alpha", v4=Outcome.REPLY_TIMEOUT, shared=True)
    made_up = responder("eta", v4=Outcome.REPLY_TIMEOUT)

    assert diagnose(evidence(real, made_up)).responders[0].cause is Cause.CA_OUTAGE


@pytest.mark.parametrize(
    "url", ["https://" + "a" * 2000, "ldap://x\r\nBcc: all@example", "http://\x1b[2J\u202e"]
)
def test_a_hostile_url_neither_floods_nor_breaks_a_sentence(url: str) -> None:
    one = responder(fault=Outcome.URL_UNUSABLE)
    one = replace(one, finding=replace(one.finding, url=url, host=""))
    other = replace(one, finding=replace(one.finding, url=url + "/2"))

    found = diagnose(evidence(one, other, FINE))

    assert len(found.sentence) < 500
    assert found.sentence.isprintable()


FORCED = SteeringLine("SSLStaplingForceURL", "http://ocsp.alpha.example", "/etc/apache2/x.conf:1")
PROXY = SteeringLine("SSLOCSPProxyURL", "http://proxy.example:3128", "/etc/apache2/x.conf:2")


@pytest.mark.parametrize(
    "outcome",
    [Outcome.REFUSED, Outcome.CONNECT_TIMEOUT, Outcome.REPLY_TIMEOUT, Outcome.HTML, Outcome.HTTP_ERROR],
)
def test_a_line_that_sends_every_question_to_a_dead_place_is_the_cause(outcome: Outcome) -> None:
    made = stalled(responder(v4=outcome), configuration=ConfigurationEvidence(force_url=FORCED))
    found = diagnose(made)
    assert (found.cause, found.afterwards) == (Cause.FORCED_URL, Action.FIX_HERE)
    assert "SSLStaplingForceURL (/etc/apache2/x.conf:1)" in found.sentence


def test_a_line_that_sends_questions_to_a_place_that_serves_is_none() -> None:
    made = evidence(responder(), configuration=ConfigurationEvidence(force_url=FORCED))
    assert diagnose(made).cause is Cause.HEALTHY


@pytest.mark.parametrize("outcome", [Outcome.REFUSED, Outcome.CONNECT_TIMEOUT, Outcome.REPLY_TIMEOUT])
def test_a_dead_proxy_is_the_cause_and_not_the_network(outcome: Outcome) -> None:
    several = responder(v4=outcome), responder("beta", outcome), responder("gamma", outcome)
    found = diagnose(stalled(*several, configuration=ConfigurationEvidence(proxy=PROXY)))
    assert (found.cause, found.afterwards) == (Cause.PROXY, Action.FIX_HERE)
    assert "http://proxy.example:3128" in found.sentence


def test_an_error_that_a_working_proxy_hands_on_is_not_the_proxys() -> None:
    made = unstapled(responder(v4=Outcome.UNAUTHORIZED), configuration=ConfigurationEvidence(proxy=PROXY))
    assert diagnose(made).cause is Cause.CA_BAD_ANSWER


def test_a_line_of_one_virtual_host_is_the_cause_of_its_own_trouble_alone() -> None:
    forced, proxy = (replace(line, of_site=True) for line in (FORCED, PROXY))
    for line, cause in ((forced, Cause.FORCED_URL), (proxy, Cause.PROXY)):
        shown = ConfigurationEvidence(
            force_url=forced, proxy=proxy
        )  # the first that there is, wherever it stands
        his = replace(responder(v4=Outcome.REFUSED), steering=(line,))
        other = responder("beta", Outcome.REPLY_TIMEOUT)

        found = diagnose(stalled(his, other, FINE, configuration=shown))

        assert [one.cause for one in found.responders] == [cause, Cause.CA_OUTAGE, Cause.HEALTHY]
        assert "sends the questions of alpha0.example, alpha1.example" in found.responders[0].why.sentence
        beside = diagnose(stalled(responder(v4=Outcome.REFUSED), FINE, configuration=shown))
        assert beside.responders[0].cause is Cause.NETWORK_BLOCK


def test_where_mod_md_staples_nothing_is_to_be_switched() -> None:
    line = SteeringLine("MDStapling", "on", "/etc/apache2/md.conf:1")
    for on in (True, False):
        found = diagnose(evidence(responder(), configuration=ConfigurationEvidence(on=on, md_stapling=line)))
        assert (found.cause, found.severity, found.action) == (Cause.MOD_MD, Severity.NONE, Action.NOTHING)


@pytest.mark.parametrize(
    "outcome", [Outcome.CONNECT_TIMEOUT, Outcome.REFUSED, Outcome.HTML, Outcome.HTTP_ERROR]
)
def test_an_old_address_that_only_this_servers_resolver_gives_is_its_resolvers_fault(
    outcome: Outcome,
) -> None:
    public = PublicAddresses(
        ("198.51.100.7",), ("198.51.100.7",), "the name server 192.0.2.53 (/etc/resolv.conf)"
    )
    found = diagnose(stalled(responder(v4=outcome, public=public), FINE))
    assert found.cause is Cause.DNS
    assert any("192.0.2.53" in why for why in found.reasons_for)
    assert FIXES[Cause.DNS][1:] in found.advice


FEIGNED: list[tuple[Cause, dict[str, Any]]] = [
    (
        Cause.DNS,
        {"v4": Outcome.HTML, "public": PublicAddresses(("192.0.2.9",), ("192.0.2.9",), "192.0.2.53")},
    ),
    (Cause.DNS, {"fault": Outcome.DNS_TIMEOUT, "name_state": NameState.RESOLVER_AT_FAULT}),
    (Cause.DNS, {"fault": Outcome.DNS_FAILURE, "name_state": NameState.RESOLVES}),
    (Cause.DNS, {"v4": Outcome.ADDRESS_FORBIDDEN, "name_state": NameState.PRIVATE_ANSWER}),
    (Cause.INTERCEPTION, {"v4": Outcome.HTML}),
    (Cause.NETWORK_BLOCK, {"v4": Outcome.CONNECT_TIMEOUT}),
]


@pytest.mark.parametrize(("cause", "how"), FEIGNED)
def test_what_one_customers_own_zone_and_host_can_feign_is_said_to_be_a_guess(
    cause: Cause, how: dict[str, Any]
) -> None:
    """They may answer this server otherwise than all others; an authority's, which several name, does not."""
    one = responder(**how, operator="")
    owned = replace(one, sites=(Site("evil.example", owner="mallory"),))

    found = diagnose(evidence(owned, FINE))
    others = [diagnose(evidence(owned)), diagnose(evidence(one, FINE))]

    why = found.responders[0].why
    assert (found.cause, found.confidence) == (cause, Confidence.LOW)
    assert any("One account alone names ocsp.alpha.example" in told for told in why.reasons_against)
    assert "Repair name resolution" not in found.advice
    if cause is Cause.DNS:
        assert all("Repair name resolution" in each.advice for each in others)


def test_where_the_publicly_resolved_addresses_fail_too_the_name_is_not_at_fault() -> None:
    public = PublicAddresses(("198.51.100.7",), (), "the name server 192.0.2.53 (/etc/resolv.conf)")
    found = diagnose(stalled(responder(v4=Outcome.CONNECT_TIMEOUT, public=public), FINE))
    assert found.cause is Cause.NETWORK_BLOCK


def test_one_of_several_own_addresses_that_answers_rightly_shows_that_the_name_is_right() -> None:
    public = PublicAddresses(("198.51.100.7",), ("198.51.100.7",), "a cache on this server")
    found = diagnose(stalled(responder(v4=Outcome.OK, v6=Outcome.CONNECT_TIMEOUT, public=public), FINE))
    assert found.cause is not Cause.DNS


def found_after(milliseconds: float, name: str = "alpha", **more: Any) -> ResponderEvidence:
    one = responder(name, Outcome.OK, **more)
    return replace(one, finding=replace(one.finding, resolve_ms=milliseconds))


def test_a_name_server_that_is_silent_before_another_one_answers_is_the_cause() -> None:
    one = found_after(5004, dead_nameservers=("192.0.2.53",))
    made = meeting(one, seconds=3.5, error="timeout", staple="")

    found = diagnose(evidence(one, handshakes=tuple(made)))

    assert (found.cause, found.severity, found.action) == (Cause.DNS, Severity.STALLING, Action.TURN_OFF)
    assert found.confidence is Confidence.HIGH
    assert "takes 5.0 s to resolve ocsp.alpha.example" in found.sentence
    assert any("192.0.2.53 (/etc/resolv.conf)" in text for text in found.reasons_for)
    assert "/etc/resolv.conf" in found.advice


def test_a_name_that_is_found_slowly_stalls_nothing_while_handshakes_are_quick() -> None:
    found = diagnose(evidence(found_after(2500), responder("beta")))

    assert (found.cause, found.severity) == (Cause.DNS, Severity.NOISE)
    assert found.confidence is Confidence.MEDIUM
    assert report.exit_status(found) == report.OK


def test_one_customers_slow_name_is_turned_off_for_that_site_alone() -> None:
    one = found_after(4000)
    one = replace(one, sites=(Site("slow.example", owner="mallory"),))
    made = [*meeting(one, seconds=3.5, error="timeout", staple=""), *meeting(responder("beta"))]

    found = diagnose(evidence(one, responder("beta"), handshakes=tuple(made)))

    assert (found.action, found.alone) == (Action.TURN_OFF_SITE, ("slow.example",))


def test_no_local_port_left_is_this_servers_own_limit() -> None:
    found = diagnose(evidence(responder("alpha", Outcome.NO_PORT), responder("beta", Outcome.NO_PORT)))

    assert (found.cause, found.action) == (Cause.LOCAL_LIMIT, Action.FIX_HERE)
    assert "ip_local_port_range" in found.advice


@pytest.mark.parametrize(
    ("full", "cause"),
    [("the kernel tracks 262,144 connections", Cause.LOCAL_LIMIT), ("", Cause.NETWORK_BLOCK)],
)
def test_a_full_table_of_connections_is_no_block_on_the_way(full: str, cause: Cause) -> None:
    both = responder("alpha", Outcome.CONNECT_TIMEOUT), responder("beta", Outcome.CONNECT_TIMEOUT)

    found = diagnose(stalled(*both, host=HostEvidence(tracking_full=full)))

    assert (found.cause, found.action) == (cause, Action.TURN_OFF)
    assert not full or "The kernel tracks 262,144 connections." in found.reasons_for


@pytest.mark.parametrize(("denies", "cause"), [(True, Cause.LOCAL_FIREWALL), (False, Cause.UNKNOWN)])
def test_selinux_that_keeps_apache_from_connecting_is_named_where_staples_are_missing(
    denies: bool, cause: Cause
) -> None:
    found = diagnose(unstapled(FINE, host=HostEvidence(selinux_denies=denies)))

    assert (found.cause, found.severity) == (cause, Severity.FAILING)
    assert ("setsebool" in found.advice) is denies
    assert diagnose(evidence(FINE, host=HostEvidence(selinux_denies=denies))).cause is Cause.HEALTHY


def refusing(name: str, status: int, **more: Any) -> ResponderEvidence:
    found = [address(text, Outcome.HTTP_ERROR, http_status=status) for text in (V4, V6)]
    return responder(name, *found, **more)


@pytest.mark.parametrize(
    ("status", "elsewhere", "cause"),
    [
        (403, (), Cause.CA_OUTAGE),
        (404, FAILS, Cause.CA_OUTAGE),
        (403, WORKS, Cause.INTERCEPTION),
        (407, (), Cause.INTERCEPTION),
        (511, (), Cause.INTERCEPTION),
        (503, (), Cause.CA_OUTAGE),
    ],
)
def test_an_http_status_that_refuses_is_told_as_one(
    status: int, elsewhere: tuple[Elsewhere, ...], cause: Cause
) -> None:
    found = diagnose(evidence(refusing("alpha", status, elsewhere=elsewhere), FINE))

    assert found.cause is cause
    assert ("answers this server with HTTP" in found.sentence) is (status != 503)
    assert ("out of order" in found.sentence) is (status == 503)


def test_independent_authorities_that_all_refuse_are_a_proxys_doing() -> None:
    found = diagnose(evidence(refusing("alpha", 403), refusing("beta", 403)))

    assert (found.cause, found.action) == (Cause.INTERCEPTION, Action.CONTACT_DATACENTER)


def test_several_authorities_that_send_no_ocsp_at_all_are_not_to_blame() -> None:
    found = diagnose(evidence(responder("alpha", Outcome.NOT_OCSP), responder("beta", Outcome.NOT_OCSP)))

    assert (found.cause, found.action) == (Cause.INTERCEPTION, Action.CONTACT_DATACENTER)


@pytest.mark.parametrize(
    ("verdict", "told"), [(Verdict.GOOD, True), (Verdict.NOT_OCSP, False), (None, False)]
)
def test_a_right_answer_whose_connection_stays_open_is_called_so(verdict: Verdict | None, told: bool) -> None:
    found = [address(text, Outcome.REPLY_TIMEOUT, verdict=verdict) for text in (V4, V6)]

    reasons = diagnose(stalled(responder("alpha", *found))).reasons_for

    assert any("the connection is not closed" in text for text in reasons) is told


def test_how_an_answer_is_packed_that_apache_cannot_read_is_told() -> None:
    found = [address(text, Outcome.NOT_OCSP, detail="it is compressed") for text in (V4, V6)]

    reasons = diagnose(unstapled(responder("alpha", *found), FINE)).reasons_for
    assert "Apache cannot read the answer: it is compressed." in reasons
    assert not any("something other than the responder" in each for each in reasons)


THROUGH = ConfigurationEvidence(proxy=SteeringLine("SSLOCSPProxyURL", "http://192.0.2.8:3128", "/pre.conf:1"))


@pytest.mark.parametrize(
    ("both", "cause"),
    [
        ((refusing("alpha", 407), refusing("beta", 407)), Cause.PROXY),
        ((responder("alpha", Outcome.HTML), responder("beta", Outcome.HTML)), Cause.PROXY),
        ((refusing("alpha", 407), FINE), Cause.PROXY),
        ((refusing("alpha", 503), FINE), Cause.CA_OUTAGE),
    ],
)
def test_a_proxy_that_answers_in_the_place_of_all_is_mended_here(
    both: tuple[ResponderEvidence, ...], cause: Cause
) -> None:
    found = diagnose(unstapled(*both, configuration=THROUGH))

    assert found.cause is cause
    assert (found.action is Action.FIX_HERE) is (cause is Cause.PROXY)


def test_a_proxy_whose_name_is_gone_is_not_called_a_responder() -> None:
    found = diagnose(unstapled(responder("alpha", fault=Outcome.DNS_FAILURE), configuration=THROUGH))

    assert found.sentence.startswith("SSLOCSPProxyURL (/pre.conf:1)")
    assert "which fails: its name does not resolve." in found.sentence


def test_one_customer_hides_no_block_of_the_network_behind_a_responder_that_answers() -> None:
    blocked = [responder(name, Outcome.CONNECT_TIMEOUT, shared=True) for name in ("alpha", "beta")]
    others = replace(responder("gamma", Outcome.CONNECT_TIMEOUT), sites=(Site("hers.example", "anna"),))
    his = replace(responder("zeta"), sites=(Site("his.example", "mallory"),))

    assert surroundings(evidence(*blocked, others, his)).unconnected_everywhere


def test_one_customers_dead_ports_at_the_authorities_hosts_make_no_block_of_the_network() -> None:
    fine = [replace(responder(name), sites=(Site(f"{name}.example", name),)) for name in ("alpha", "beta")]
    dead = [
        replace(
            one,
            finding=replace(responder(name, Outcome.CONNECT_TIMEOUT).finding, url=f"{one.url}:81", port=81),
            sites=(Site(f"his-{name}.example", "mallory"),),
        )
        for name, one in zip(("alpha", "beta"), fine, strict=True)
    ]

    assert not surroundings(evidence(*fine, *dead)).unconnected_everywhere
