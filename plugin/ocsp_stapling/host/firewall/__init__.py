"""What this server's own firewall does to a packet, read from its rules."""
