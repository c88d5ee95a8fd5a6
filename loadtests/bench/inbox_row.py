"""The inbox row: unread count and first page from the cache and from the database."""

import asyncio
import contextlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import asyncpg

from common.config.settings import Settings
from common.events.receipts import Receipts
from common.model.channels import DEFAULT_CLIENT, scoped
from common.redis.client import connect
from common.redis.shards import Shards
from deploy.local.stores import postgres as wheel
from history.database import Database
from history.queries import inbox as queries
from history.queries.inbox import Filters, Reader
from history.schema.migrate import migrate
from loadtests.bench.rows import Bar, Row, millis
from loadtests.bench.session import OTHER_CORE, Session, median, median_ratio
from loadtests.processes import ROOT, StartError, free_port
from loadtests.stack import valkey
from server.inbox.reader import PAGE_DEFAULT, Inbox
from server.members.member_changes import Changes

USERS: Final = 50
ROOMS_PER_USER: Final = 20
ROOMS: Final = 100
PER_ROOM: Final = 450
"""15 a day, for the 30 days that history is kept by default."""
PER_USER: Final = 100
BROADCASTS: Final = 200
READ_SHARE: Final = 0.95
"""Share of every inbox, the oldest part, that is read."""
_DAYS: Final = 30
_CREATED: Final = timedelta(days=_DAYS)
_FRAME_DATA: Final = "x" * 200


def inbox(session: Session) -> Row:
    """Measure both in one process, with the same queries to the same servers, side by side."""
    with (
        valkey(session.processes, OTHER_CORE) as redis_port,
        _postgres(session.processes.scratch) as url,
        asyncio.Runner() as runner,
    ):
        runner.run(_fill(url))
        bench = runner.run(_open(url, redis_port))

        def subject(measure: Callable[[], Coroutine[Any, Any, float]]) -> Callable[[], float]:
            return lambda: runner.run(measure())

        seconds = session.secs / 4
        times = session.rounds(
            {
                "count, cached": subject(lambda: bench.per_call(bench.count, seconds)),
                "count, database": subject(lambda: bench.per_call(bench.count_asked, seconds)),
                "first page, cached": subject(lambda: bench.per_call(bench.page, seconds)),
                "first page, database": subject(lambda: bench.per_call(bench.page_asked, seconds)),
            }
        )
        runner.run(bench.close())
    count = median_ratio(times.get("count, cached", []), times.get("count, database", []))
    page = median_ratio(times.get("first page, cached", []), times.get("first page, database", []))
    return Row(
        "inbox",
        f"unread count and first page of a user with {ROOMS_PER_USER} rooms, per question",
        {name: millis(median(values) * 1e6) for name, values in times.items()},
        [
            Bar(0.1, at_most=True).of("the unread count from the database", count),
            Bar(0.1, at_most=True).of("the first page from the database", page),
        ],
        session.notes,
        times,
    )


class _Bench:
    """The server's inbox, with and without what is cached."""

    def __init__(self, url: str, redis_port: int) -> None:
        shards = Shards()
        self._keys = shards.only
        self._redis: Any = connect(f"redis://127.0.0.1:{redis_port}/0", timeout_s=5)
        self._database = Database(url)
        settings = Settings(_env_file=None)
        receipts = Receipts(self._redis, shards, settings, "bench")
        changes = Changes(self._redis, shards, settings, "bench")
        self._inbox = Inbox(self._database, self._redis, shards, receipts, changes)

    async def place(self) -> None:
        """Let Redis know the positions that the workers would have left there."""
        for kind, target, count in _channels():
            key = self._keys.channel_prefix + scoped(_name(kind, target))
            await self._redis.hset(key, mapping={"e": "e", "o": count})

    async def count(self, user: str) -> int:
        return await self._inbox.unread_count(user)

    async def page(self, user: str) -> int:
        items, _ = await self._inbox.page(user, Filters(), None, PAGE_DEFAULT)
        return len(items)

    async def count_asked(self, user: str) -> int:
        async with self._database.connection() as connection:
            return await queries.unread_count(connection, Reader(DEFAULT_CLIENT, user, {}))

    async def page_asked(self, user: str) -> int:
        async with self._database.connection() as connection:
            reader = Reader(DEFAULT_CLIENT, user, {})
            items = await queries.page(
                connection, reader, filters=Filters(), before=None, limit=PAGE_DEFAULT + 1
            )
        return len(items)

    async def per_call(self, ask: Callable[[str], Awaitable[int]], seconds: float) -> float:
        """Seconds that a question takes, one after another, over all users in turn."""
        for number in range(USERS):
            await self.page(str(number))
            await ask(str(number))
        cached = await self._redis.exists(self._keys.inbox(scoped("0", DEFAULT_CLIENT)))
        if not cached:
            raise StartError("the inbox was not cached")
        asked = 0
        started = time.perf_counter()
        while time.perf_counter() - started < seconds:
            await ask(str(asked % USERS))
            asked += 1
        return (time.perf_counter() - started) / asked

    async def close(self) -> None:
        await self._database.close()
        await self._redis.aclose()


async def _open(url: str, redis_port: int) -> _Bench:
    bench = _Bench(url, redis_port)
    await bench.place()
    return bench


def _name(kind: str, target: str | None) -> str:
    return kind if target is None else f"{kind}:{target}"


@contextlib.contextmanager
def _postgres(folder: Path) -> Iterator[str]:
    port = free_port()
    data = Path(tempfile.mkdtemp(prefix="roomcast-bench-", dir="/var/tmp"))
    log = folder / f"postgres-{port}.log"
    with log.open("ab") as out:
        argv = ["taskset", "-c", str(OTHER_CORE), *map(str, wheel.command(data, port))]
        process = subprocess.Popen(argv, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT)
    url = wheel.url(port, "postgres")
    try:
        asyncio.run(_wait(url, log))
        yield url
    finally:
        process.terminate()
        process.wait(20)
        shutil.rmtree(data, ignore_errors=True)


async def _wait(url: str, log: Path) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            connection = await asyncpg.connect(url, timeout=2)
        except (OSError, asyncpg.PostgresError, TimeoutError) as error:
            if time.monotonic() > deadline:
                raise StartError(f"PostgreSQL does not answer; its log is {log}") from error
            await asyncio.sleep(0.1)
        else:
            await connection.close()
            return


def _channels() -> list[tuple[str, str | None, int]]:
    """Type, target and number of publications of every channel."""
    channels: list[tuple[str, str | None, int]] = [("broadcast", None, BROADCASTS)]
    channels += [("room", str(room), PER_ROOM) for room in range(ROOMS)]
    channels += [("user", str(user), PER_USER) for user in range(USERS)]
    return channels


async def _fill(url: str) -> None:
    """Write what the history writer would have written."""
    await migrate(url)
    now = datetime.now(UTC).replace(microsecond=0)
    rows = []
    for kind, target, count in _channels():
        channel = _name(kind, target)
        for offset in range(1, count + 1):
            created = now - _CREATED * (1 - offset / count)
            an_id = f"{channel}-{offset}"
            frame = f'{{"id":"{an_id}","message":"{_FRAME_DATA}"}}'
            rows.append(
                (
                    DEFAULT_CLIENT, an_id, channel, "e", offset, "published",
                    "private" if kind == "user" else kind, "1", target, "high", frame, "worker",
                    created, created,
                )
            )  # fmt: skip
    through = now - _CREATED * (1 - READ_SHARE)
    connection = await asyncpg.connect(url)
    try:
        for day in range(-_DAYS - 1, 2):
            first = (now + timedelta(days=day)).date()
            for table in ("publications", "receipts"):
                await connection.execute(
                    f"CREATE TABLE IF NOT EXISTS bench_{table}_{first:%Y%m%d} PARTITION OF {table}"
                    f" FOR VALUES FROM ('{first}') TO ('{first + timedelta(days=1)}')"
                )
        await connection.copy_records_to_table(
            "publications",
            records=rows,
            columns=[
                "client", "notification", "channel", "epoch", "offset", "status", "type", "sender",
                "target", "priority", "frame", "worker", "created_at", "published_at",
            ],
        )  # fmt: skip
        await connection.copy_records_to_table(
            "users",
            records=[(DEFAULT_CLIENT, str(user), through) for user in range(USERS)],
            columns=["client", "id", "read_through"],
        )
        await connection.copy_records_to_table(
            "room_members",
            records=[
                (DEFAULT_CLIENT, str((user + number) % ROOMS), str(user), now - 2 * _CREATED)
                for user in range(USERS)
                for number in range(ROOMS_PER_USER)
            ],
            columns=["client", "room", "user_id", "joined_at"],
        )
        # All of them were there before any broadcast.
        await connection.execute(
            "INSERT INTO sights SELECT client, id, '-infinity', 0, 0 FROM users"
        )
        await connection.execute("ANALYZE")
    finally:
        await connection.close()
