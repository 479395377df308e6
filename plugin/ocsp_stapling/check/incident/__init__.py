"""The incident: one record of an outage from its first sign to its end, from which every face tells."""

from ocsp_stapling.check.incident.model import Incident, Note, Trouble, Wait
from ocsp_stapling.check.incident.record import brought_up_to_date, known, latest, look_taken, present

__all__ = [
    "Incident",
    "Note",
    "Trouble",
    "Wait",
    "brought_up_to_date",
    "known",
    "latest",
    "look_taken",
    "present",
]
