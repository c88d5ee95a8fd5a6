"""Who may do what: client applications, their API keys, and their users' tokens."""
