"""Jobs: planned from requests, and accepted into Redis."""
