"""Status documents in the shape of the public documentation."""

from __future__ import annotations

from typing import Any


def statusio(
    overall: int = 100,
    components: dict[str, int] | None = None,
    incidents: list[Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """A Status.io answer: components by name and code."""
    named = {"Website": 100, "OCSP / CRL": 100} if components is None else components
    return {
        "result": {
            "status_overall": {
                "updated": "2026-01-05T10:00:00.000Z",
                "status": "x",
                "status_code": overall,
            },
            "status": [
                {
                    "id": f"{code}",
                    "name": name,
                    "status": "x",
                    "status_code": code,
                    "containers": [
                        {"id": "1", "name": "Production", "updated": "x", "status": "x", "status_code": code}
                    ],
                }
                for name, code in named.items()
            ],
            "incidents": incidents or [],
            "maintenance": {"active": [], "upcoming": []},
            **more,
        }
    }


def statusio_incident(
    title: str = "Responders slow", code: int = 300, touches: tuple[str, ...] = ("OCSP / CRL",)
) -> dict[str, Any]:
    """A running Status.io incident, newest message not last."""
    return {
        "_id": "5ff43c0e2c1a9a04b8c2b0aa",
        "name": title,
        "datetime_open": "2026-01-05T09:00:00.000Z",
        "messages": [
            {
                "details": "We are <b>working</b> on it.",
                "status": code,
                "datetime": "2026-01-05T09:30:00.000Z",
            },
            {"details": "We look into it.", "status": 300, "datetime": "2026-01-05T09:01:00.000Z"},
        ],
        "components_affected": [{"name": name, "_id": "1"} for name in touches],
        "containers_affected": [],
    }


def summary(
    indicator: str = "none",
    components: dict[str, str] | None = None,
    incidents: list[Any] | None = None,
    maintenances: list[Any] | None = None,
) -> dict[str, Any]:
    """A Statuspage summary."""
    named = {"CertCentral": "operational", "OCSP": "operational"} if components is None else components
    return {
        "page": {"id": "1", "name": "Example CA", "url": "https://status.example.com"},
        "status": {"indicator": indicator, "description": "x"},
        "components": [{"id": name, "name": name, "status": status} for name, status in named.items()],
        "incidents": incidents or [],
        "scheduled_maintenances": maintenances or [],
    }


def summary_incident(
    title: str = "OCSP errors",
    impact: str = "none",
    status: str = "investigating",
    touches: tuple[str, ...] = (),
) -> dict[str, Any]:
    """A Statuspage incident."""
    return {
        "name": title,
        "status": status,
        "impact": impact,
        "shortlink": "https://stspg.io/abc",
        "started_at": "2026-01-05T09:00:00.000Z",
        "incident_updates": [{"body": "Looking into it.", "created_at": "2026-01-05T09:01:00.000Z"}],
        "components": [{"name": name} for name in touches],
    }
