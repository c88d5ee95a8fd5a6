"""Brings a database to the schema of this version: Alembic, once, however many ask at a time."""

from pathlib import Path
from typing import Any, Final

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from history.database import original

_FOLDER: Final = Path(__file__).parent
_LOCK: Final = 0x726F6F6D63617374  # "roomcast"
CONNECT_TIMEOUT_S: Final = 5.0
DATABASE_ERRORS: Final = (
    OSError,
    UnicodeError,  # of a host's name that is too long to be one
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    SQLAlchemyError,
    CommandError,
)
"""Errors of `migrate` if the database is offline, refuses, or has a newer version."""


async def migrate(database_url: str) -> None:
    """Make or change the tables as far as needed, all or nothing.

    Of several processes that do this at once, one does it and the others wait for it. Repeating is
    harmless.

    Args:
        database_url: `postgresql://…`, as asyncpg takes it.

    Raises:
        Exception: one of `DATABASE_ERRORS`; the database does not answer, or refuses.
    """

    async def connect() -> Any:
        return await asyncpg.connect(database_url, timeout=CONNECT_TIMEOUT_S)

    # SQLAlchemy would read the URL otherwise, and differently.
    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            await connection.run_sync(_upgrade)
    finally:
        await engine.dispose()


def _upgrade(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def describe(error: Exception) -> str:
    """Say in one line what went wrong; a timeout has no text of its own."""
    error = original(error)
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
