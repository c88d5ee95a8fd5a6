"""Tools for the clone: audit, lock, environment, table of settings."""
