"""Inboxes of any size: the SQL beside this."""

from pathlib import Path
from typing import Any

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_BACK = """
DROP TRIGGER unsettle_inbox ON room_members;
DROP TRIGGER settle_readers ON receipts;
DROP FUNCTION unsettle_inbox, settle_readers, settle_inbox, inbox_channels;
DROP FUNCTION scan_channels, scan_late, count_stretch;
DROP TABLE inbox_unread, inboxes;
DROP INDEX publications_late;
"""


def upgrade() -> None:
    """Make the tables that tell up to where an inbox is settled."""
    _execute(Path(__file__).with_suffix(".sql").read_text("utf-8"))


def downgrade() -> None:
    """Look through whole inboxes again."""
    _execute(_BACK)


def _execute(statements: str) -> None:
    # Many statements at once are only taken by asyncpg itself.
    connection: Any = op.get_bind().connection.dbapi_connection
    connection.run_async(lambda driver: driver.execute(statements))
