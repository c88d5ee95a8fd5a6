"""Admission of connections: identity, quotas and rates."""
