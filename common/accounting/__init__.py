"""Counts by client application: usage and open connections."""
