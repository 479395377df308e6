"""The survey: gathers Evidence, all parts side by side, within one deadline."""

from ocsp_stapling.survey.gather import Request, survey

__all__ = ["Request", "survey"]
