"""The installation itself: is everything that install.sh put on this server in place and does it work?"""

from __future__ import annotations

from ocsp_stapling.installation import on_disk, running
from ocsp_stapling.installation.check import FAILED, OK, WARNING, DoctorCheck, Places
from ocsp_stapling.problem import Problem
from ocsp_stapling.settings import Settings, load

__all__ = ["FAILED", "OK", "WARNING", "DoctorCheck", "examine"]


def examine(places: Places | None = None) -> tuple[DoctorCheck, ...]:
    """Return what every check of this server's installation found. Only looks; needs root.

    They stand in the order in which a fault of one explains faults of the next.
    """
    places = places or Places()
    found = [on_disk.release(places)]
    if (places.release / "manifest").exists():
        found += [on_disk.python(places), on_disk.files(places), running.registration(places)]
    found += [on_disk.configuration(places), on_disk.state(_settings())]
    if places.units:
        found += [running.units(places), running.service(places)]
    directory = _settings().state_directory
    found += [running.mails(directory), *running.shield(directory)]
    return (*found, running.whm(), running.apache(), running.clock(places))


def _settings() -> Settings:
    """The settings; defaults if they cannot be read, of which a check of its own tells."""
    try:
        return load()
    except Problem:
        return Settings()
