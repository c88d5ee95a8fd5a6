"""Handling of client messages by a gateway."""
