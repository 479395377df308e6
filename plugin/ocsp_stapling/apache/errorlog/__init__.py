"""Apache's error log: finding, reading and attributing the lines about stapling."""
