"""Looking after a running gateway: limits of time, readiness, its end."""
