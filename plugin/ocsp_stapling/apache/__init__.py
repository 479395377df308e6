"""This server's Apache: its files, its directives, its processes, its log."""
