"""Which sites Firefox refuses: one rule for terminal, page and status."""

from __future__ import annotations

from dataclasses import replace

import click

from ocsp_stapling.check.diagnosis import diagnose
from ocsp_stapling.check.diagnosis.queue import refused
from ocsp_stapling.check.evidence import ConfigurationEvidence, Evidence, Site, SteeringLine
from ocsp_stapling.check.report import document
from ocsp_stapling.cli.check_text import as_text
from ocsp_stapling.shield.standing import ShieldEvidence
from tests.unit.check.diagnosis.made import evidence, responder

OFF = ConfigurationEvidence(on=False)


def with_sites(*sites: Site, **more: object) -> Evidence:
    one = responder()
    return replace(evidence(one), responders=(replace(one, sites=sites),), **more)  # type: ignore[arg-type]


def test_a_site_that_is_off_alone_is_refused_while_stapling_is_on() -> None:
    seen = with_sites(
        Site("alone.example", must_staple=True, stapling=False), Site("a.example", must_staple=True)
    )
    assert refused(seen) == ("alone.example",)
    told = click.unstyle(as_text(document(seen, diagnose(seen))))
    assert "Firefox refuses 1 Must-Staple site for want of a staple: alone.example." in told


def test_a_site_that_turns_stapling_on_itself_is_not_refused_while_it_is_off() -> None:
    own, other = Site("own.example", must_staple=True), Site("b.example", must_staple=True, stapling=False)
    seen = with_sites(own, other, Site("c.example", stapling=False), configuration=OFF)
    assert refused(seen) == ("b.example",)


def test_where_mod_md_staples_the_directive_says_nothing() -> None:
    managed = replace(OFF, md_stapling=SteeringLine("MDStapling", "on", "/etc/a.conf:3"))
    assert (
        refused(with_sites(Site("b.example", must_staple=True, stapling=False), configuration=managed)) == ()
    )


def test_under_the_shield_it_is_whose_staple_is_missing() -> None:
    shield = ShieldEvidence(True, 1, 2, ("a.example",))
    assert refused(with_sites(Site("a.example", must_staple=True), shield=shield)) == ("a.example",)
