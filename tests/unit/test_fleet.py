"""docs/fleet: every example is accepted by the program it is for, and names only metrics that there are."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ocsp_stapling.change.journal import Operation
from ocsp_stapling.check import metrics
from ocsp_stapling.check.words import DOWN

FLEET = Path(__file__).resolve().parents[2] / "docs/fleet"
WANTS_PROMTOOL = pytest.mark.skipif(
    not shutil.which("promtool"), reason="needs promtool (Debian: prometheus)"
)
NAME = re.compile(r"\bocsp_stapling_[a-z_]+")
CHECK: dict[str, Any] = {
    "exit_status": 2,
    "cause": "network-block",
    "severity": "stalling",
    "advice": "turn-off",
    "checked_at": "2026-11-22T10:00:00+00:00",
    "seconds": 3.25,
    "site_count": 12,
    "sites_affected": ["a.example.com"],
    "must_staple_sites": [],
    "configuration": {"stapling": "off", "off_since": "2026-11-22T09:00:00+00:00"},
    "responders": [
        {
            "url": 'http://ocsp.example.com/"\\\n',
            "must_staple_sites": ["strict.example.com"],
            "addresses": [
                {
                    "address": "192.0.2.1",
                    "family": "ipv4",
                    "outcome": "ok",
                    "next_update": "2026-11-25T00:00:00+00:00",
                },
                {"address": "2001:db8::1", "family": "ipv6", "outcome": "no-route", "next_update": None},
            ],
        }
    ],
    "handshakes": [
        {"responder": "http://ocsp.example.com", "asked": True, "seconds": 3.01},
        {"responder": "http://ocsp.example.com", "asked": False, "seconds": 0.01},
    ],
    "log": {"last_hour_count": 7, "last_day_count": 1000},
    "shield": {
        "answering": True,
        "held_count": 3,
        "certificate_count": 4,
        "earliest_end": "2026-11-23T10:00:00+00:00",
        "held_by_responder": [{"host": "ocsp.example.com", "failing_count": 1}],
        "question_count": 12,
    },
}
OFF = Operation("id", "off", "root", "", 1.0, 2.5, "done", {}, {})


def promtool(*argv: str, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["promtool", *argv], input=text, capture_output=True, text=True, cwd=FLEET, check=False
    )


@WANTS_PROMTOOL
def test_the_metrics_follow_prometheus_conventions() -> None:
    done = promtool("check", "metrics", text=metrics.render(CHECK, [OFF]))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_no_urls_of_a_customers_make_two_samples_alike_for_which_a_collector_would_drop_all() -> None:
    """Their labels are shortened and cleaned: what differed must differ still."""
    long = "http://ocsp.example.com/" + "a" * 300
    names = [*(long + end for end in "xy"), "http://ocsp.example.com/\x01", "http://ocsp.example.com/\x02"]
    found = {"address": "192.0.2.1", "family": "ipv4", "outcome": "ok", "next_update": CHECK["checked_at"]}
    check = CHECK | {
        "responders": [{"url": name, "addresses": [found]} for name in names],
        "handshakes": [{"responder": name, "asked": True, "seconds": 1} for name in names],
        "shield": {"held_by_responder": [{"host": name, "failing_count": 1} for name in names]},
    }
    samples = [line.rpartition(" ")[0] for line in metrics.render(check, []).splitlines() if line[0] != "#"]
    assert len(samples) == len(set(samples)) >= 4 * len(names)
    assert max(map(len, samples)) < 400


@pytest.mark.parametrize(("severity", "longest"), [("noise", 0.01), ("stalling", 2.0)])
def test_the_longest_handshake_is_the_one_that_counts_in_the_verdict(severity: str, longest: float) -> None:
    door = {"site": "a.example.com", "address": "192.0.2.1", "port": 443, "responder": "r", "asked": True}
    met = [door | {"seconds": 2.0, "repeated": False}, door | {"seconds": 0.01, "repeated": True}]
    samples = metrics.as_json(CHECK | {"severity": severity, "handshakes": met}, [])["samples"]
    assert [one["number"] for one in samples if one["name"] == "ocsp_stapling_handshake_seconds"] == [longest]


def test_every_critical_verdict_is_a_critical_alert() -> None:
    """Those that are critical without a stall are listed by their causes."""
    alert = next(line for line in (FLEET / "alerts.yml").read_text().splitlines() if "cause=~" in line)
    assert alert.count("|".join(DOWN)) == 1


@WANTS_PROMTOOL
def test_without_a_check_there_is_still_something_valid() -> None:
    assert promtool("check", "metrics", text=metrics.render(None, [OFF])).returncode == 0


@WANTS_PROMTOOL
def test_the_example_alerts_fire_when_they_should() -> None:
    for argv in (("check", "rules", "alerts.yml"), ("test", "rules", "alerts-test.yml")):
        done = promtool(*argv)
        assert done.returncode == 0, done.stdout + done.stderr


def exported() -> set[str]:
    return {sample["name"] for sample in metrics.as_json(CHECK, [OFF])["samples"]}


@pytest.mark.parametrize("name", ["alerts.yml", "grafana-dashboard.json", "../watch.md"])
def test_examples_and_docs_name_only_metrics_that_there_are(name: str) -> None:
    named = set(NAME.findall((FLEET / name).read_text()))
    assert named
    assert named <= exported()


def test_the_documentation_lists_every_metric_with_its_labels() -> None:
    text = (FLEET / "../watch.md").read_text()
    for sample in metrics.as_json(CHECK, [OFF])["samples"]:
        labels = f"{{{','.join(sample['labels'])}}}" if sample["labels"] else ""
        assert f"`{sample['name']}{labels}`" in text


def test_the_dashboard_has_its_panels_side_by_side() -> None:
    dashboard = json.loads((FLEET / "grafana-dashboard.json").read_text())
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + i, place["y"] + k) for i in range(place["w"]) for k in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        assert all(target["expr"] for target in panel["targets"])
        taken |= cells
    shown = {
        name for panel in dashboard["panels"] for t in panel["targets"] for name in NAME.findall(t["expr"])
    }
    assert len(shown) >= 11


def test_a_hostile_url_stays_inside_its_label() -> None:
    lines = metrics.render(CHECK, []).splitlines()
    assert any('url="http://ocsp.example.com/\\"\\\\?~' in line for line in lines)
    assert all(re.fullmatch(r"#.*|[a-z_]+(\{.*\})? \S+", line) for line in lines)


def test_the_file_is_never_seen_half_written_and_the_collector_may_read_it(tmp_path: Path) -> None:
    target = tmp_path / "ocsp_stapling.prom"
    metrics.write(target, "a 1\n")
    metrics.write(target, "a 2\n")
    assert target.read_text() == "a 2\n"
    assert target.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [target]


def test_a_link_in_the_collectors_directory_is_replaced_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    secret.chmod(0o600)
    target = tmp_path / "ocsp_stapling.prom"
    target.symlink_to(secret)
    metrics.write(target, "a 1\n")
    assert (secret.read_text(), secret.stat().st_mode & 0o777) == ("x", 0o600)


@pytest.mark.skipif(not shutil.which("ansible-lint"), reason="needs ansible-lint")
def test_the_playbook_has_no_lint(tmp_path: Path) -> None:
    shutil.copytree(FLEET / "ansible", tmp_path / "ansible")
    argv = ["ansible-lint", "--offline", "--nocolor", "--profile", "production", "ocsp-stapling.yml"]
    own = {name: str(tmp_path / "home") for name in ("ANSIBLE_HOME", "XDG_CACHE_HOME")}
    done = subprocess.run(
        argv, capture_output=True, text=True, cwd=tmp_path / "ansible", env=os.environ | own, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_as_a_document_a_name_is_what_it_is_and_not_as_the_text_format_writes_it() -> None:
    odd = 'http://"a\\b".test/\n'
    told = {"responders": [{"url": odd, "addresses": [{"address": "192.0.2.1", "outcome": "ok"}]}]}
    (labels,) = [
        one["labels"]
        for one in metrics.as_json(told, [])["samples"]
        if one["name"] == "ocsp_stapling_responder_up"
    ]
    assert labels["url"].startswith('http://"a\\b".test/?~')
    assert r'url="http://\"a\\b\".test/?~' in metrics.render(told, [])
