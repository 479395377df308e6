"""OCSP Stapling for WHM: why HTTPS hangs, and one switch that ends it safely."""

__version__ = "1.0.0"
