"""The WHM-shaped machine: real Apache, real responders, real packets; only cPanel itself is a stand-in."""

from tests.machine.machine import Machine, Shape, why_not_here

__all__ = ["Machine", "Shape", "why_not_here"]
