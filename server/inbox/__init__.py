"""`/users/{id}/notifications`: inboxes, read and marked."""
