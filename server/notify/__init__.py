"""`POST /notify`: from the first byte to the acceptance in Redis."""
