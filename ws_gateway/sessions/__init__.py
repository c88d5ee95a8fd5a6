"""Handling of messages from connections by a gateway."""
