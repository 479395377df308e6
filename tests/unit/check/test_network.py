"""What a failed probe is compared with."""

from __future__ import annotations

import os
import socket

import pytest

from ocsp_stapling.check.evidence import NameState
from ocsp_stapling.check.network import name_state, root_connects
from ocsp_stapling.host.resolver import Comparison, LookupOutcome, NameAnswer, NameCheck


def check(verdict: Comparison, public: tuple[str, ...] = ()) -> NameCheck:
    system = NameAnswer("system", LookupOutcome.ANSWERED, ("10.0.0.1",))
    told = (NameAnswer("192.0.2.53", LookupOutcome.ANSWERED, public),) if public else ()
    return NameCheck("ocsp.test", verdict, system, (), told, (), "")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root compares with itself")
def test_root_connects_where_something_listens_and_sends_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as open_port, socket.create_server(("127.0.0.2", 0)) as other:
        port = open_port.getsockname()[1]
        other.close()

        assert root_connects({"127.0.0.1": port, "127.0.0.2": port}, 5) == {"127.0.0.1"}

        open_port.settimeout(5)
        accepted, _ = open_port.accept()
        with accepted:
            accepted.settimeout(5)
            assert accepted.recv(10) == b""


def test_nothing_to_compare_asks_nothing() -> None:
    assert root_connects({}, 5) == frozenset()


@pytest.mark.parametrize(
    ("found", "state"),
    [
        (None, NameState.UNKNOWN),
        (check(Comparison.SAME), NameState.RESOLVES),
        (check(Comparison.HOSTS_OVERRIDE), NameState.HOSTS_OVERRIDE),
        (check(Comparison.RESOLVER_DEAD), NameState.RESOLVER_AT_FAULT),
        (check(Comparison.NO_SUCH_NAME), NameState.NO_SUCH_NAME),
        (check(Comparison.PRIVATE_ANSWER, ("93.184.216.34",)), NameState.PRIVATE_ANSWER),
        (check(Comparison.PRIVATE_ANSWER, ("10.0.0.2", "127.0.0.1")), NameState.RESOLVES),
        (check(Comparison.FAILS_EVERYWHERE), NameState.FAILS_EVERYWHERE),
        (check(Comparison.PRIVATE_ANSWER, ("10.0.0.1",)), NameState.RESOLVES),
        (check(Comparison.PRIVATE_ANSWER), NameState.RESOLVES),
    ],
)
def test_what_name_servers_say_in_terms_of_the_diagnosis(found: NameCheck | None, state: NameState) -> None:
    assert name_state(found) is state


def test_every_verdict_on_a_name_has_a_meaning() -> None:
    unknown = [verdict for verdict in Comparison if name_state(check(verdict)) is NameState.UNKNOWN]

    assert unknown == []
