"""From the event stream to rows in PostgreSQL."""
