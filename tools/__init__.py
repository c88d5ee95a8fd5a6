"""Tools of the clone: audit, lock, environment, table of settings."""
