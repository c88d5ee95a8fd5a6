"""Scripts that queue jobs: the head of their arguments, and the verdicts that they return.

All of them have `common/redis/lua/queue/accept.lib.lua` in front.
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from common.config.settings import Settings
from common.errors import RoomcastError
from common.redis.keys import ShardKeys
from common.redis.scripts import Argument, Script


class UnknownVerdictError(RoomcastError):
    """A script returned something else than a verdict: it is of another release, or has a bug."""


class Verdict(StrEnum):
    """Outcome of one request, as a script names it."""

    OK = "ok"
    """Its jobs are queued."""
    PUBLISHED = "published"
    """Its one job did not have to wait; only `admit.lua` does this."""
    REPLAY = "replay"
    """It was accepted before; the detail is the answer of then."""
    CONFLICT = "conflict"
    """Another request was accepted under its idempotency key."""
    LATE = "late"
    """It came too late, and was not accepted in time either."""
    FULL = "full"
    """A lane has no room; the detail is which."""
    CLIENT_FULL = "client-full"
    """Too many jobs of its client wait in a lane; the detail is in which."""
    NO_ROOM = "no-room"
    """Redis has no memory for what all waiting jobs will take."""
    DEAD = "dead"
    """It is in the dead letters; only `admit.lua` does this."""
    FAILED = "failed"
    """Keys that it needs can't be used; the detail is why. Only `admit.lua` says so."""
    GONE = "gone"
    """Somebody else took the dead letter; only `requeue.lua` says so."""


class Decision(NamedTuple):
    """A verdict, with the detail that some have."""

    verdict: Verdict
    detail: str = ""


_PLAIN: Final = {str(verdict).encode(): Decision(verdict) for verdict in Verdict}
ACCEPTED: Final = _PLAIN[b"ok"]
"""The decision about every request whose jobs are queued; this very object."""


def read_decision(reply: Sequence[bytes]) -> Decision:
    """Read the reply about one request.

    Raises:
        UnknownVerdictError: it has no verdict that we know.
    """
    plain = _PLAIN.get(reply[0]) if reply else None
    if plain is None:
        raise UnknownVerdictError(f"redis answered {reply!r:.200}")
    if len(reply) == 1:
        return plain
    return Decision(plain.verdict, reply[1].decode(errors="replace"))


def read_decisions(replies: Iterable[Sequence[bytes]]) -> list[Decision]:
    """Read the replies about several requests.

    Raises:
        UnknownVerdictError: one has no verdict that we know.
    """
    return [read_decision(reply) for reply in replies]


class AcceptScript:
    """A script that queues jobs.

    Args:
        name: `accept`, `admit` or `requeue`.
        keys: of the shard.
        settings: bounds.
    """

    def __init__(self, name: str, keys: ShardKeys, settings: Settings) -> None:
        self.script: Final = Script(name)
        self.keys: Final = (keys.waiting,)
        """The first of its keys."""
        self._head: tuple[Argument, ...] = (
            keys.jobs_prefix,
            keys.ready_prefix,
            keys.active_prefix,
            keys.accepted_prefix,
            settings.lane_max_jobs,
            settings.idempotency_ttl_s,
            keys.backlog,
        )

    def head(self, room: int | str = "") -> list[Argument]:
        """Return the first of its arguments.

        Args:
            room: bytes that all waiting jobs may grow to when they are published; empty: any
                number, as for texts that are in Redis anyway.
        """
        return [*self._head, room]
