"""The installation itself: is everything that install.sh put on this server in place and does it work?"""

from ocsp_stapling.installation.check import FAILED, OK, WARNING, DoctorCheck
from ocsp_stapling.installation.examine import examine

__all__ = ["FAILED", "OK", "WARNING", "DoctorCheck", "examine"]
