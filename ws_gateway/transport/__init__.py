"""Connections: from their first bytes to the kernel's buffer."""
