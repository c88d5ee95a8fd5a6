"""What Alembic runs (see `history.migrate`)."""
