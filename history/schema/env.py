"""Run by Alembic: changes go through the connection that `history.schema.migrate` hands over."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
# The transaction is the caller's: it holds the lock that lets one process in at a time.
context.run_migrations()
