"""What follows from a status document."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocsp_stapling.ca import statusio, statuspage
from ocsp_stapling.ca.reading import Level, PageReading, UnreadablePageError, plain
from tests.unit.ca import documents

PAGE = "https://status.example.com"
QUIET = {"CertCentral": "operational", "OCSP": "operational"}


def io(**document: Any) -> PageReading:
    return statusio.parse(documents.statusio(**document), PAGE)


def page(**document: Any) -> PageReading:
    return statuspage.parse(documents.summary(**document), PAGE)


def test_all_green_is_operational() -> None:
    assert io() == PageReading(Level.OPERATIONAL, ())
    assert page() == PageReading(Level.OPERATIONAL, ())


@pytest.mark.parametrize(
    ("code", "level"),
    [
        (200, Level.MAINTENANCE),
        (300, Level.DEGRADED),
        (400, Level.OUTAGE),
        (500, Level.OUTAGE),
        (600, Level.DEGRADED),
        (700, Level.UNKNOWN),
    ],
)
def test_statusio_code_of_the_ocsp_component_decides(code: int, level: Level) -> None:
    assert io(components={"Website": 500, "OCSP": code}).level is level


@pytest.mark.parametrize(
    ("status", "level"),
    [
        ("degraded_performance", Level.DEGRADED),
        ("partial_outage", Level.OUTAGE),
        ("major_outage", Level.OUTAGE),
        ("under_maintenance", Level.MAINTENANCE),
        ("sparkling", Level.UNKNOWN),
    ],
)
def test_statuspage_status_of_the_ocsp_component_decides(status: str, level: Level) -> None:
    assert page(components={"Portal": "major_outage", "OCSP responder": status}).level is level


@pytest.mark.parametrize("name", ["OCSP", "Revocation services", "CRL", "Domain Validation"])
def test_component_is_about_ocsp_by_its_name(name: str) -> None:
    assert page(components={name: "major_outage"}).level is Level.OUTAGE


def test_without_such_a_component_the_banner_decides() -> None:
    assert io(overall=500, components={"Website": 100}).level is Level.OUTAGE
    assert page(indicator="minor", components={"Portal": "operational"}).level is Level.DEGRADED
    assert page(indicator="purple", components={}).level is Level.UNKNOWN
    assert io(overall=999, components={}).level is Level.UNKNOWN


def test_incident_beats_a_green_banner() -> None:
    found = page(incidents=[documents.summary_incident()])
    assert found.level is Level.DEGRADED
    assert found.incidents[0].title == "OCSP errors"
    assert found.incidents[0].update == "Looking into it."
    assert found.incidents[0].url == "https://stspg.io/abc"
    assert found.incidents[0].started_at == "2026-01-05T09:00:00.000Z"


@pytest.mark.parametrize("absent", [{}, {"incidents": None, "scheduled_maintenances": None}])
@pytest.mark.parametrize(
    ("ocsp", "level"), [("operational", Level.OPERATIONAL), ("major_outage", Level.OUTAGE)]
)
def test_a_summary_without_incidents_has_none_and_its_components_still_count(
    absent: dict[str, None], ocsp: str, level: Level
) -> None:
    document = documents.summary(components={"OCSP": ocsp})
    del document["incidents"], document["scheduled_maintenances"]
    assert statuspage.parse(document | absent, PAGE) == PageReading(level, ())


@pytest.mark.parametrize("absent", [{}, {"incidents": None, "maintenance": None}])
@pytest.mark.parametrize(("code", "level"), [(100, Level.OPERATIONAL), (500, Level.OUTAGE)])
def test_a_statusio_page_without_incidents_has_none_and_its_components_still_count(
    absent: dict[str, None], code: int, level: Level
) -> None:
    document = documents.statusio(components={"OCSP": code})
    del document["result"]["incidents"], document["result"]["maintenance"]
    document["result"] |= absent
    assert statusio.parse(document, PAGE) == PageReading(level, ())


def test_an_incident_that_leaves_out_what_it_has_none_of_still_counts() -> None:
    bare = {"name": "OCSP down", "status": "investigating", "impact": "major"}
    for unsaid in ({}, {"incident_updates": None, "components": None, "shortlink": None}):
        assert page(incidents=[bare | unsaid]).level is Level.OUTAGE
    for unsaid in ({}, {"messages": None, "components_affected": None, "containers_affected": None}):
        assert io(incidents=[{"name": "OCSP down"} | unsaid]).level is Level.DEGRADED


@pytest.mark.parametrize(
    "document",
    [
        {"page": {"name": "CA", "status": "UP"}, "activeIncidents": []},  # Instatus
        {"status": "ok", "data": {"state": "operational"}},
        {"status": {"indicator": "none"}, "components": None},
        {"result": {"status_overall": {"status_code": 100}, "status": None}},
    ],
)
def test_json_of_another_form_is_unreadable(document: object) -> None:
    for parse in (statusio.parse, statuspage.parse):
        with pytest.raises(UnreadablePageError):
            parse(document, PAGE)


def test_statusio_incident_is_told_by_its_newest_message() -> None:
    found = io(incidents=[documents.statusio_incident(code=500)])
    assert found.level is Level.OUTAGE
    assert found.incidents[0].update == "We are working on it."


def test_running_incident_whose_last_message_is_green_is_still_one() -> None:
    assert io(incidents=[documents.statusio_incident(code=100)]).level is Level.DEGRADED


def test_incident_of_other_components_does_not_count() -> None:
    elsewhere = documents.summary_incident("Login trouble", "critical", touches=("CertCentral",))
    assert page(incidents=[elsewhere]) == PageReading(Level.OPERATIONAL, ())
    website = documents.statusio_incident("Login trouble", 500, ("Website",))
    website["messages"] = []
    assert io(incidents=[website]) == PageReading(Level.OPERATIONAL, ())


def test_incident_of_other_components_that_speaks_of_ocsp_counts() -> None:
    told = documents.summary_incident("OCSP signing delayed", "major", touches=("CertCentral",))
    assert page(incidents=[told]).level is Level.OUTAGE


@pytest.mark.parametrize("status", ["resolved", "postmortem"])
def test_incident_that_is_over_does_not_count(status: str) -> None:
    assert page(incidents=[documents.summary_incident(status=status)]).level is Level.OPERATIONAL


def test_maintenance_counts_while_it_runs() -> None:
    running = documents.summary_incident("OCSP work", "maintenance", "in_progress")
    planned = documents.summary_incident("OCSP work", "maintenance", "scheduled")
    assert page(maintenances=[running]).level is Level.MAINTENANCE
    assert page(maintenances=[planned]).level is Level.OPERATIONAL
    work = documents.statusio_incident("OCSP work")
    assert io(maintenance={"active": [work], "upcoming": []}).level is Level.MAINTENANCE
    assert io(maintenance={"active": [], "upcoming": [work]}).level is Level.OPERATIONAL


def test_gravest_incident_comes_first_and_their_number_is_capped() -> None:
    many = [documents.summary_incident(f"OCSP {n}") for n in range(100)]
    found = page(incidents=[*many, documents.summary_incident("OCSP down", "critical")])
    assert found.incidents[0].title == "OCSP down"
    assert len(found.incidents) == 20


@pytest.mark.parametrize(
    "link", ["http://stspg.io/x", "https://evil.example/x", "javascript:alert(1)", 7, "https://[", None]
)
def test_link_that_leads_elsewhere_becomes_the_page(link: object) -> None:
    incident = documents.summary_incident() | {"shortlink": link}
    assert page(incidents=[incident]).incidents[0].url == PAGE


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        7,
        {},
        {"result": []},
        {"result": {"status_overall": {"status_code": 100}}},
        {"result": {"status_overall": {"status_code": 100}, "status": {}, "incidents": []}},
        {"result": {"status_overall": {"status_code": 100}, "status": [], "incidents": [3]}},
        {"status": {"indicator": "none"}},
        {"status": {"indicator": "none"}, "components": [], "incidents": {}},
        {"status": {"indicator": "none"}, "components": [], "incidents": ["x"]},
        {"status": "none", "components": [], "incidents": []},
    ],
)
def test_wrong_types_are_unreadable_never_operational(document: object) -> None:
    for parse in (statusio.parse, statuspage.parse):
        with pytest.raises(UnreadablePageError):
            parse(document, PAGE)


@pytest.mark.parametrize("code", ["100", 100.0, True, None, [100]])
def test_a_code_of_the_wrong_type_is_unknown(code: object) -> None:
    document = documents.statusio(components={})
    document["result"]["status_overall"]["status_code"] = code
    assert statusio.parse(document, PAGE).level is Level.UNKNOWN


@pytest.mark.parametrize(
    "html",
    [
        "<script>var statuspageId = '0123456789abcdef01234567';</script>",
        'x={statuspageId: "0123456789abcdef01234567"}',
    ],
)
def test_page_id_is_discovered(html: str) -> None:
    assert statusio.discover(html) == "0123456789abcdef01234567"


@pytest.mark.parametrize(
    "html", ["", "statuspageId = '../../../x'", "statuspageId = '0123456789abcdef012345678'"]
)
def test_no_page_id_is_unreadable(html: str) -> None:
    with pytest.raises(UnreadablePageError):
        statusio.discover(html)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[31mred\x00", "a [31mred"),
        ("pay\u202egnp.exe", "pay gnp.exe"),
        ("a\u2066b\u200bc\ufeffd\u2028e", "a b c d e"),
        ("<script>alert(1)</script> <b>x</b>", "alert(1) x"),
        ("a\r\n\tb", "a b"),
        ("\ud800", ""),
        (["x"], ""),
        ("x" * 900, "x" * 497 + "..."),
    ],
)
def test_foreign_text_is_made_plain(text: object, shown: str) -> None:
    assert plain(text) == shown


@given(st.text())
def test_foreign_text_is_printable_on_one_line_and_capped(text: str) -> None:
    assert plain(text).isprintable()
    assert len(plain(text)) <= 500


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
KEYS = st.sampled_from(
    [
        *[
            "name",
            "status",
            "status_code",
            "impact",
            "incident_updates",
            "messages",
            "components",
            "shortlink",
        ],
        *["body", "components_affected", "containers", "started_at", "datetime", "details", "created_at"],
    ]
)
ROWS = st.lists(st.dictionaries(KEYS, JSON | st.lists(st.dictionaries(KEYS, JSON), max_size=2)), max_size=3)


@given(JSON, ROWS, ROWS, JSON)
def test_any_document_is_a_reading_or_unreadable(
    loose: Any, components: Any, incidents: Any, maintenance: Any
) -> None:
    shaped = {"status": {"indicator": "none"}, "components": components, "incidents": incidents}
    shaped["scheduled_maintenances"] = maintenance
    result = {"status_overall": {"status_code": 100}, "status": components, "incidents": incidents}
    for document in (loose, shaped, {"result": result}, {"result": result | {"maintenance": maintenance}}):
        for parse in (statusio.parse, statuspage.parse):
            try:
                found = parse(document, PAGE)
            except UnreadablePageError:
                continue
            assert all(i.title.isprintable() and i.update.isprintable() for i in found.incidents)
