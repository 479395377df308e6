"""Stand-ins for cPanel's programs, written from its public documentation. Standard library only."""
