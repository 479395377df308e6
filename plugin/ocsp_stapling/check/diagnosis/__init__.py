"""From evidence to cause, severity, confidence and what to do. Pure: no input, no output, no clock."""

from ocsp_stapling.check.diagnosis.advice import Action
from ocsp_stapling.check.diagnosis.conclude import diagnose
from ocsp_stapling.check.diagnosis.explanation import Cause, Confidence
from ocsp_stapling.check.diagnosis.model import Diagnosis, ResponderDiagnosis, Severity

__all__ = ["Action", "Cause", "Confidence", "Diagnosis", "ResponderDiagnosis", "Severity", "diagnose"]
