"""Metrics in Prometheus' text format, for node_exporter's textfile collector.

Source: Prometheus' documentation, "Exposition formats" and "Metric and label naming".
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import math
import stat
from collections.abc import Iterable, Mapping, Sized
from datetime import datetime
from pathlib import Path
from typing import Any

from ocsp_stapling import files
from ocsp_stapling.change.journal import Operation

_PREFIX = "ocsp_stapling_"
_LABEL_LENGTH = 200
Labels = Mapping[str, str]
Sample = tuple[Labels, float]


def render(check: Mapping[str, Any] | None, operations: Iterable[Operation]) -> str:
    """Return the metrics of the last check's document (None: there was none) and of the operations."""
    return "".join(_family(*family) for family in _families(check, operations))


def write(path: Path, text: str) -> None:
    """Write a metrics file in one step, readable for node_exporter. Raises OSError.

    What lies there and is no file stays: a device such as /dev/null, put aside by a rename, is gone for all programs.
    """
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(path.stat().st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
    files.write_own(path, text.encode(), mode=0o644)


def as_json(check: Mapping[str, Any] | None, operations: Iterable[Operation]) -> dict[str, Any]:
    """Return the same as a document: under `samples` one object each with name, labels and number."""
    found = [
        {
            "name": name,
            "labels": {label: _printable(text) for label, text in labels.items()},
            "number": None if math.isnan(value) else round(value, 6),
        }
        for name, _, _, samples in _families(check, operations)
        for labels, value in samples
    ]
    return {"samples": found}


Family = tuple[str, str, str, list[Sample]]


def _families(check: Mapping[str, Any] | None, operations: Iterable[Operation]) -> list[Family]:
    """Those of which there is anything to tell."""
    found = [*(_of_check(check) if check else ()), _last_operation(operations)]
    return [family for family in found if family[3]]


def _of_shield(shield: Mapping[str, Any]) -> list[Family]:
    """Nothing while the shield is off."""
    held, wanted = shield.get("held_count"), shield.get("certificate_count")
    missing = wanted - held if isinstance(held, int) and isinstance(wanted, int) else None
    up = float(shield["answering"]) if "answering" in shield else None
    return [
        _gauge("shield_relay_up", "Whether the shield's relay answers.", _known(up)),
        _gauge("shield_answers_held", "Certificates with a valid answer.", _known(held)),
        _gauge("shield_answers_missing", "Certificates without one.", _known(missing)),
        _gauge(
            "shield_earliest_end_timestamp_seconds",
            "When the first of the answers ends.",
            _known(_timestamp(shield.get("earliest_end"))),
        ),
        _gauge(
            "shield_refresh_failing",
            "Certificates for which the last question failed, by responder.",
            [
                ({"responder": str(one.get("host"))}, float(one.get("failing_count") or 0))
                for one in _list(shield, "held_by_responder")
            ],
        ),
        (
            _PREFIX + "shield_questions_total",
            "counter",
            "Questions that the relay has answered since its start.",
            _known(shield.get("question_count")),
        ),
    ]


def _of_check(check: Mapping[str, Any]) -> list[Family]:
    configuration, log = _part(check, "configuration"), _part(check, "log")
    off_since = _timestamp(configuration.get("off_since"))
    stapling = {"on": 1.0, "off": 0.0}.get(str(configuration.get("stapling")), math.nan)
    return [
        _gauge("enabled", "Whether stapling is on at server level.", [({}, stapling)]),
        _gauge(
            "off_since_timestamp_seconds", "Since when stapling is off by this plugin.", _known(off_since)
        ),
        *_of_shield(_part(check, "shield")),
        _gauge("check_status", "0 ok, 1 warning, 2 critical, 3 unknown.", _known(check.get("exit_status"))),
        _gauge(
            "check_timestamp_seconds", "When the last check was.", _known(_timestamp(check.get("checked_at")))
        ),
        _gauge("check_duration_seconds", "How long the last check took.", _known(check.get("seconds"))),
        _gauge(
            "cause_info", "What the last check found.", [(_words(check, "cause", "severity", "advice"), 1.0)]
        ),
        *_of_sites(check),
        *_of_responders(check),
        _gauge("handshake_seconds", "Longest handshake of the last check.", _handshakes(check)),
        _gauge("log_failures", "Stapling failures in the error log.", _log(log)),
    ]


def _of_sites(check: Mapping[str, Any]) -> list[Family]:
    lists = (
        ("sites_affected", "Sites that the cause concerns.", "sites_affected"),
        ("sites_waiting", "Sites whose visitors wait: all that share the queue.", "sites_waiting"),
        ("sites_causing", "Sites whose certificates name what is at fault.", "sites_causing"),
        (
            "must_staple_sites_affected",
            "Sites with Must-Staple that the cause concerns.",
            "must_staple_sites",
        ),
    )
    strict = "Sites whose certificate demands a staple (Must-Staple)."
    return [
        _gauge("sites", "TLS sites served.", _known(check.get("site_count"))),
        *(_count(name, text, _list(check, key)) for name, text, key in lists),
        _count("must_staple_sites", strict, _must_staple(check)),
    ]


def _of_responders(check: Mapping[str, Any]) -> list[Family]:
    ends = list(_addresses(check, lambda found: _timestamp(found.get("next_update"))))
    return [
        _gauge(
            "responder_up", "Whether the address gave a verified answer.", list(_addresses(check, _is_up))
        ),
        _gauge("answer_expires_timestamp_seconds", "Until when the address' last answer is valid.", ends),
    ]


def _count(name: str, text: str, items: Sized) -> Family:
    return _gauge(name, text, [({}, float(len(items)))])


def _gauge(name: str, text: str, samples: list[Sample]) -> Family:
    return _PREFIX + name, "gauge", text, samples


def _addresses(check: Mapping[str, Any], value: Any) -> Iterable[Sample]:
    seen: set[tuple[str, str]] = set()
    for responder in _list(check, "responders"):
        for found in _list(responder, "addresses"):
            key = str(responder.get("url")), str(found.get("address"))
            number = value(found)
            if key not in seen and number is not None:
                seen.add(key)
                yield {"url": key[0], "address": key[1], "family": str(found.get("family"))}, number


def _must_staple(check: Mapping[str, Any]) -> set[str]:
    return {
        str(name)
        for responder in _list(check, "responders")
        for name in _list(responder, "must_staple_sites")
    }


def _is_up(found: Mapping[str, Any]) -> float:
    # A revoked certificate is its own fault, and an expired one is not asked about.
    return float(found.get("outcome") in ("ok", "reachable", "revoked"))


def _handshakes(check: Mapping[str, Any]) -> list[Sample]:
    """As in the verdict: who was the first to be waited for counts in a stall only, else the second try does."""
    met = _list(check, "handshakes")
    stalls = check.get("severity") == "stalling"
    again = {_place(one) for one in met if one.get("repeated") and not stalls}
    longest: dict[tuple[str, str], float] = {}
    for found in met:
        if _place(found) in again and found.get("asked") and not found.get("repeated"):
            continue
        key = str(found.get("responder") or "none"), "yes" if found.get("asked") else "no"
        longest[key] = max(longest.get(key, 0.0), float(found.get("seconds") or 0.0))
    return [({"url": name, "status_request": asked}, value) for (name, asked), value in longest.items()]


def _place(found: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(found.get(name) for name in ("site", "address", "port", "key"))


def _log(log: Mapping[str, Any]) -> list[Sample]:
    windows = (("1h", log.get("last_hour_count")), ("24h", log.get("last_day_count")))
    return [({"window": name}, float(count)) for name, count in windows if isinstance(count, int)]


def _last_operation(operations: Iterable[Operation]) -> Family:
    newest: dict[tuple[str, str], float] = {}
    for each in operations:
        if each.finished is not None:
            key = each.action, each.state
            newest[key] = max(newest.get(key, 0.0), each.finished)
    samples = [({"action": action, "state": state}, at) for (action, state), at in sorted(newest.items())]
    return _gauge(
        "last_operation_timestamp_seconds", "When the last operation of its kind ended.", list(samples)
    )


def _family(name: str, kind: str, text: str, samples: list[Sample]) -> str:
    lines = [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
    return (
        "\n".join([*lines, *(f"{name}{_labels(labels)} {_number(value)}" for labels, value in samples)])
        + "\n"
    )


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _printable(value: str) -> str:
    """Names come from certificates: nothing unprintable may pass, and nothing long.

    What is changed keeps a mark of what it was: two samples with the same labels make a collector drop all of them.
    """
    text = "".join(c if c.isprintable() else "?" for c in value[:_LABEL_LENGTH])
    if text == value:
        return text
    mark = hashlib.sha256(value.encode(errors="surrogatepass")).hexdigest()[:12]
    return f"{text[: _LABEL_LENGTH - len(mark) - 1]}~{mark}"


def _escaped(value: str) -> str:
    return _printable(value).replace("\\", "\\\\").replace('"', '\\"')


def _number(value: float) -> str:
    return "NaN" if math.isnan(value) else repr(round(value, 6)) if value % 1 else str(int(value))


def _known(value: Any) -> list[Sample]:
    return [({}, float(value))] if isinstance(value, int | float) else []


def _timestamp(value: Any) -> float | None:
    try:
        return datetime.fromisoformat(value).timestamp()
    except (TypeError, ValueError):
        return None


def _part(found: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = found.get(name)
    return value if isinstance(value, dict) else {}


def _list(found: Mapping[str, Any], name: str) -> list[Any]:
    value = found.get(name)
    return value if isinstance(value, list) else []


def _words(check: Mapping[str, Any], *names: str) -> Labels:
    return {name: str(check.get(name)) for name in names}
