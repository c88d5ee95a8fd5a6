"""Writes the event stream to PostgreSQL in batches, and asks there what became of notifications."""
