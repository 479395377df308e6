"""Off, on and undo: one transaction that leaves the server changed as wanted or exactly as it was."""
