"""From evidence to cause, severity, confidence and what to do. Pure: no input, no output, no clock."""

from ocsp_stapling.diagnosis.advice import Action
from ocsp_stapling.diagnosis.causes import Cause, Confidence
from ocsp_stapling.diagnosis.conclude import diagnose
from ocsp_stapling.diagnosis.verdict import Diagnosis, ResponderDiagnosis, Severity

__all__ = ["Action", "Cause", "Confidence", "Diagnosis", "ResponderDiagnosis", "Severity", "diagnose"]
