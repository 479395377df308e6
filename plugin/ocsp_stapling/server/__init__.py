"""What this server is now, worked out once: configuration, endpoints, certificates, who decides on stapling."""
