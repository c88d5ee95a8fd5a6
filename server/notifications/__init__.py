"""`/notifications`: sent notifications and their status."""
