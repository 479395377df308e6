"""What visitors meet now, as one line: the page's script asks for it every few seconds while the page is seen."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify

from ocsp_stapling.check.evidence import HandshakeEvidence
from ocsp_stapling.ocsp.door import Door
from ocsp_stapling.web.context import caller, services
from ocsp_stapling.web.identity import operators_and_viewers
from ocsp_stapling.web.live import EVERY_SECONDS, Now
from ocsp_stapling.web.pages import picture
from ocsp_stapling.web.visibility import visible_to
from ocsp_stapling.web.words import Tone, duration

blueprint = Blueprint("live", __name__)
_SLOW_SECONDS = 1.0
_SOON_SECONDS = 1.0


@blueprint.get("/live")
@operators_and_viewers
def show() -> Response:
    """Return `site`, `text`, `tone` and `again` (seconds until it is worth asking) as JSON; no site: `{}`."""
    met = _worst()
    if met is None:
        return jsonify({})
    door = Door(met.address, met.port, met.site)
    now = services().live.look(door)
    tone, text = _words(now)
    again = EVERY_SECONDS if now.last is not None and now.waiting is None else _SOON_SECONDS
    return jsonify(site=met.site, text=text, tone=tone, again=again)


def _worst() -> HandshakeEvidence | None:
    """The caller's site that causes an outage, else the one that took longest in the last check.

    Others wait only while somebody else's handshake waits before theirs.
    """
    last = picture.last_check(services().settings.state_directory)
    visible = visible_to(caller())
    own = [
        one
        for one in (last.evidence.handshakes if last else ())
        if one.asked and not one.repeated and not one.key and visible.domain(one.site)
    ]
    causing = set(last.diagnosis.causing) if last else set()
    return max(own, key=lambda one: (one.site in causing, bool(one.error), one.seconds), default=None)


def _words(now: Now) -> tuple[Tone, str]:
    if now.waiting is not None and now.waiting >= _SLOW_SECONDS:
        return "bad", f"waiting for {now.waiting:.0f} s and not answered yet"
    last = now.last
    if last is None:
        return "calm", "being tested…"
    if last.error == "timeout":
        return "bad", f"not answered within {duration(last.seconds)}"
    if last.error:
        return "bad", f"the handshake fails ({last.error})"
    tone: Tone = "bad" if last.seconds >= _SLOW_SECONDS else "good"
    return tone, f"{duration(last.seconds)}, {'with' if last.staple else 'without'} staple"
