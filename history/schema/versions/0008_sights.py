"""First sights of users: the SQL beside this."""

from pathlib import Path
from typing import Any

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table, with all who left anything so far."""
    schema = Path(__file__).with_suffix(".sql").read_text("utf-8")
    # Many statements at once are only taken by asyncpg itself.
    connection: Any = op.get_bind().connection.dbapi_connection
    connection.run_async(lambda driver: driver.execute(schema))


def downgrade() -> None:
    """Go no further back: before, everybody had all broadcasts, which may be read by now."""
    raise RuntimeError("who was seen when is kept only here; restore a backup")
