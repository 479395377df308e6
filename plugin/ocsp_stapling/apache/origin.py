"""On whose behalf the line stands that decides whether Apache staples, and the words for it, on page and terminal."""

from __future__ import annotations

from enum import Enum


class Origin(Enum):
    """Where the line comes from that decides whether stapling is on."""

    PLUGIN = "managed-block"
    WHM = "native-switch"
    HAND = "hand-written"
    USERDATA = "userdata"
    TEMPLATE = "template"
    OWN_TEMPLATE = "local-template"
    """An administrator's own template, from which cPanel writes httpd.conf."""
    DEFAULT = "default"
    """No line decides."""
    UNKNOWN = "unknown"
    """Nobody has looked."""


ORIGINS = {
    Origin.PLUGIN: "by OCSP Stapling for WHM",
    Origin.WHM: "by WHM's own switch: Global Configuration, SSL Use Stapling",
    Origin.TEMPLATE: "by cPanel's template",
    Origin.OWN_TEMPLATE: "by an administrator's own template",
    Origin.USERDATA: "for one site, in userdata",
    Origin.HAND: "by hand",
    Origin.DEFAULT: "no line says it: Apache's default, which is off",
    Origin.UNKNOWN: "by what could not be found out",
}
"""Each goes on after "decided", but for the default: there nothing decides."""


def origin_words(code: str) -> str:
    """Return the words for an origin by its code (a document has nothing else); an unknown one is its own word."""
    return next((words for origin, words in ORIGINS.items() if origin.value == code), code)
