"""Client applications: the SQL beside this."""

from pathlib import Path
from typing import Any

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make them possible."""
    schema = Path(__file__).with_suffix(".sql").read_text("utf-8")
    # Many statements at once are only taken by asyncpg itself.
    connection: Any = op.get_bind().connection.dbapi_connection
    connection.run_async(lambda driver: driver.execute(schema))


def downgrade() -> None:
    """Go no further back: nobody would have a key."""
    raise RuntimeError("clients and their keys are kept only here; restore a backup")
