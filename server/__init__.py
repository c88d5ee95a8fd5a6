"""The HTTP API: takes notifications, answers once Redis has them."""
