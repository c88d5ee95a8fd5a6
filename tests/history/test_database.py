"""The server's connections to PostgreSQL: away, back, and what a slow statement does."""

import asyncio
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError

from history import database
from history.database import Database, DatabaseAwayError, original
from history.schema.migrate import migrate
from tests.support.processes.process import free_port
from tests.support.stores.postgres import Postgres, session_postgres


@pytest.fixture(scope="module")
def url() -> str:
    found = session_postgres(free_port()).make_database()
    asyncio.run(migrate(found))
    return found


async def ask(one: Database, query: str = "SELECT 1") -> Any:
    async with one.connection() as connection:
        return await connection.fetchval(query)


async def test_many_share_the_connections_and_each_gets_one(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "POOL_MAX", 2)
    one = Database(url)
    pids = await asyncio.gather(*(ask(one, "SELECT pg_backend_pid()") for _ in range(20)))
    assert len(pids) == 20
    assert len(set(pids)) <= 2
    await one.close()


async def test_who_waits_too_long_for_a_connection_is_told_that_it_is_away(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "POOL_MAX", 1)
    monkeypatch.setattr(database, "ACQUIRE_TIMEOUT_S", 1.0)
    one = Database(url)
    async with one.connection():
        with pytest.raises(DatabaseAwayError):
            await ask(one)
    assert await ask(one) == 1
    await one.close()


async def test_a_database_that_comes_back_is_used_again(tmp_path: Path) -> None:
    with Postgres(tmp_path, free_port()) as postgres:
        url = postgres.make_database()
        await migrate(url)
        one = Database(url)
        assert await ask(one) == 1
        await asyncio.to_thread(postgres.kill)
        for _ in range(2):
            with pytest.raises(DatabaseAwayError):
                await ask(one)
        await asyncio.to_thread(postgres.start)
        assert await ask(one) == 1
        await one.close()


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1:1/x", f"{'x' * 70}.example/x", "name.invalid/x"],
)
async def test_a_database_that_is_not_there_is_away(address: str) -> None:
    one = Database(f"postgresql://me@{address}")
    with pytest.raises(DatabaseAwayError):
        await ask(one)
    await one.close()


async def test_a_database_without_tables_is_away_until_the_writer_made_them() -> None:
    empty = session_postgres(free_port()).make_database()
    one = Database(empty)
    with pytest.raises(DatabaseAwayError, match="has not made the tables yet"):
        await ask(one)
    await migrate(empty)
    assert await ask(one, "SELECT count(*) FROM clients") == 0
    await one.close()


async def test_a_statement_that_takes_too_long_is_given_up_on_both_sides(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "STATEMENT_TIMEOUT_S", 1.0)
    one = Database(url)
    with pytest.raises(DatabaseAwayError):
        await ask(one, "SELECT pg_sleep(60)")
    running = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND state = 'active' AND query LIKE '%pg_sleep(60)' AND pid <> pg_backend_pid()"
    )
    async with asyncio.timeout(20):
        while await ask(one, running):
            await asyncio.sleep(0.05)
    await one.close()


async def test_an_error_of_the_query_is_no_outage(url: str) -> None:
    one = Database(url)
    with pytest.raises(asyncpg.DivisionByZeroError):
        await ask(one, "SELECT 1/0")
    assert not database.database_outage
    assert await ask(one) == 1
    await one.close()


async def test_all_reads_of_a_snapshot_see_one_moment_and_write_nothing(url: str) -> None:
    one = Database(url)
    count = "SELECT count(*) FROM users"
    async with one.snapshot() as connection:
        before = await connection.fetchval(count)
        await ask(one, "INSERT INTO users (client, id) VALUES ('c', gen_random_uuid()::text)")
        assert await connection.fetchval(count) == before
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await connection.execute("DELETE FROM users")
    assert await ask(one, count) == before + 1
    await one.close()


def test_the_driver_s_error_is_found_in_sqlalchemy_s() -> None:
    error = asyncpg.PostgresError("disk full")
    inner = DBAPIError("INSERT", {}, error)
    inner.__cause__ = error
    outer = DBAPIError("INSERT", {}, inner)
    outer.__cause__ = inner
    assert original(outer) is error
    assert original(error) is error
    alone = DBAPIError("INSERT", {}, error)
    assert original(alone) is alone
