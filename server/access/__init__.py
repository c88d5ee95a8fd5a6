"""Access control: the permissions and rate limits of routes."""
