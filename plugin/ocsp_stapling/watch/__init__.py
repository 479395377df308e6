"""The watch: one pass of a timer that sees outages early and does not forget that stapling is off."""
