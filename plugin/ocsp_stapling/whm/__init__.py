"""cPanel & WHM: its API and its notifications."""
