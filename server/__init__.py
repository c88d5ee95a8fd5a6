"""The HTTP API: accepts notifications, and answers once Redis has them."""
