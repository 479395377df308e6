"""This server beside Apache: firewall, routes, resolver, who listens where."""
