"""Starts a change in a process of its own, which outlives the request, the page and the service, and follows it."""
