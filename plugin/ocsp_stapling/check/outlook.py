"""What the last check says about a change before it is made: turning on into a failure that is known."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from ocsp_stapling.change.plan import Outlook, Plan
from ocsp_stapling.check import result
from ocsp_stapling.text import duration, listed


def outlook(directory: Path, plan: Plan) -> Outlook:
    """Return what the last check of this server says about a plan; nothing if there was none."""
    found = result.load_document(directory)
    try:
        return Outlook() if found is None else foretold(found, plan, time.time())
    except (AttributeError, KeyError, TypeError, ValueError):
        return Outlook()  # written by another version: it must not keep anybody from a change


def foretold(found: Mapping[str, Any], plan: Plan, now: float) -> Outlook:
    """Return what a check's document says about a plan. Pure; `now` in seconds since the epoch."""
    failing = [one for one in found["responders"] if not one["ok"] and not one["expired_only"]]
    if plan.site:  # a line of its own may have kept Apache from asking its responder
        failing += [one for one in found.get("responders_turned_off", ()) if not one["ok"]]
        failing = [
            one for one in failing if not set(plan.concerned).isdisjoint(map(_name, one["site_names"]))
        ]
    hosts = tuple(dict.fromkeys(str(one["host"]) for one in failing))
    when = datetime.fromisoformat(str(found["checked_at"])).astimezone()
    ago = f"{when:%H:%M}, {duration(max(now - when.timestamp(), 0))} ago"
    warnings = tuple(_warning(one, ago) for one in failing) if plan.asks_again else ()
    healthy = not hosts and found["severity"] in ("none", "noise")
    return Outlook(hosts, warnings, healthy)


def _warning(one: Mapping[str, Any], ago: str) -> str:
    sites = listed([str(name) for name in one["site_names"]])
    means = "all visitors wait again" if one["holds_up"] else "these sites get no staple"
    whose = f" Certificates of {sites} name it." if sites else ""
    return (
        f"{one['host']} was failing when it was asked last ({ago}): {one['sentence']}{whose} "
        f"If it still fails, {means} once stapling is on. `ocsp-stapling check` asks it now."
    )


def _name(label: str) -> str:
    return label.partition(":")[0]
