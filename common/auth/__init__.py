"""Authentication: client applications, their API keys, and their users' tokens."""
