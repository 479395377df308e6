"""The incident: one record of an outage from its first sign to its end, from which every face tells."""

from ocsp_stapling.check.incident.follow import found_off
from ocsp_stapling.check.incident.model import Incident, Note, Trouble, Wait
from ocsp_stapling.check.incident.record import (
    OPERATIONS,
    brought_up_to_date,
    known,
    latest,
    look_taken,
    one_of,
    present,
)

__all__ = [
    "OPERATIONS",
    "Incident",
    "Note",
    "Trouble",
    "Wait",
    "brought_up_to_date",
    "found_off",
    "known",
    "latest",
    "look_taken",
    "one_of",
    "present",
]
