"""`serve`: the HTTP server; it has no privilege, and reads only the report file and its certificate."""
