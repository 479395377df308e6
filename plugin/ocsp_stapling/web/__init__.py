"""The face in WHM: a Flask application that only cPanel's front (index.cgi) can reach, over a unix socket."""
