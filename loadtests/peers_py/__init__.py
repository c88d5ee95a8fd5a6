"""Peers in Python: what one would write by hand in an afternoon."""
