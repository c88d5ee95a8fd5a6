"""Publications found by their ids' time: the SQL beside this."""

from pathlib import Path
from typing import Any

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Tell those rows from others."""
    _execute(Path(__file__).with_suffix(".sql").read_text("utf-8"))


def downgrade() -> None:
    """Find every row by an index on its id again."""
    _execute(
        "DROP INDEX publications_undated;"
        "ALTER TABLE publications DROP COLUMN dated;"
        "CREATE INDEX publications_by_notification ON publications (client, notification);"
    )


def _execute(statements: str) -> None:
    # Many statements at once are only taken by asyncpg itself.
    connection: Any = op.get_bind().connection.dbapi_connection
    connection.run_async(lambda driver: driver.execute(statements))
