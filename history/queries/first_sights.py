"""First sights: from when on a user has broadcasts."""

from datetime import datetime
from typing import Any, Final

from common.model.timestamps import unix_ms

KNOWN_MAX: Final = 100_000
"""Users that a writer remembers to have written."""

_WRITE: Final = """
    INSERT INTO sights AS known (client, user_id, seen_at, changed_ms, changed_number)
    SELECT DISTINCT ON (new.client, new.user_id)
        new.client, new.user_id, new.at, new.event_ms, new.event_number
    FROM unnest(
        $1::text[], $2::text[], $3::timestamptz[], $4::boolean[], $5::bigint[], $6::bigint[]
    ) AS new(client, user_id, at, registered, event_ms, event_number)
    WHERE NOT EXISTS (
        SELECT FROM deleted_users gone
        WHERE gone.client = new.client AND gone.digest = user_digest(new.client, new.user_id)
            AND (
                (gone.changed_ms, gone.changed_number) > (new.event_ms, new.event_number)
                OR CASE WHEN new.registered
                    THEN new.at < to_timestamp(gone.changed_ms / 1000.0)
                    ELSE new.at <= gone.at END
            )
    )
    ORDER BY new.client, new.user_id, new.at
    ON CONFLICT (client, user_id) DO UPDATE SET seen_at = excluded.seen_at
        WHERE excluded.seen_at < known.seen_at
"""


class KnownSights:
    """Users whose sight this writer wrote, by their scoped channel (`default/user:1`).

    Not knowing one costs a row that changes nothing; knowing one that the database has not would
    lose it. So it is cleared whenever somebody else may have written there, or deleted something.

    Args:
        most: how many; the first ones are forgotten.
    """

    def __init__(self, most: int = KNOWN_MAX) -> None:
        self._most = most
        self._known: dict[str, datetime] = {}

    def is_news(self, channel: str, at: datetime) -> bool:
        """Return whether a sight is earlier than all written ones; if so, count it as written."""
        known = self._known.get(channel)
        if known is not None and known <= at:
            return False
        if known is None and len(self._known) >= self._most:
            del self._known[next(iter(self._known))]
        self._known[channel] = at
        return True

    def forget(self, channel: str) -> None:
        """Forget a user, who was deleted."""
        self._known.pop(channel, None)

    def clear(self) -> None:
        """Forget all."""
        self._known.clear()


async def write_sights(connection: Any, rows: list[tuple[Any, ...]]) -> int:
    """Write sights; of each user the earliest stays. What was seen before a deletion is left out.

    Args:
        connection: of asyncpg.
        rows: client, user, when, whether they registered (by Redis's clock; else it is a server's),
            id of the event in two numbers.

    Returns:
        How many were new.
    """
    columns = [list(column) for column in zip(*rows, strict=True)]
    done: str = await connection.execute(_WRITE, *columns)
    return int(done.rpartition(" ")[2])


async def first_sight_ms(connection: Any, client: str, user: str) -> int | None:
    """Return when a user was first seen (Unix ms) according to the database; None: never.

    For users known before sights were written: 0.
    """
    seen: datetime | None = await connection.fetchval(
        "SELECT greatest(seen_at, 'epoch') FROM sights WHERE client = $1 AND user_id = $2",
        client,
        user,
    )
    return None if seen is None else unix_ms(seen)
