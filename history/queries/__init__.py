"""Queries of the server to PostgreSQL, by subject."""
