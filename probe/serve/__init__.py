"""What listens, and what speaks to the API server: it has no privilege, and reads nothing but the report file."""
