"""What the server asks PostgreSQL, by subject."""
