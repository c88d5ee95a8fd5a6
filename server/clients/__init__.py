"""Routes of client applications, their keys and tokens, and the audit log."""
