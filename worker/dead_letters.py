"""Dead letters on the command line: `python -m worker.dead_letters list|requeue|drop`."""

from worker.arguments import read_dead_letters_arguments

if __name__ == "__main__":
    # Ahead of the imports below, which take a second.
    read_dead_letters_arguments()

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from typing import Any, Final

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from common.config.loading import load_settings
from common.config.settings import Settings
from common.jobs.accept_script import AcceptScript, Verdict, read_decision
from common.jobs.acceptance import Acceptance
from common.model.channels import DEFAULT_CLIENT, Lane, channel_of, partition_of, scoped
from common.model.job import decode_job, weight_of
from common.model.problems import Problem
from common.redis.client import connect
from common.redis.keys import ShardKeys
from common.redis.shards import Shards
from worker.open_door import read_by_hand

_PAGE: Final = 100
_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One entry: its name, why it is there, its lane, the text of the job, and whose it is.

    The name is the id in the stream; for a client with a stream of its own, behind the client's id
    and a colon.
    """

    entry: str
    reason: str
    lane: str
    job: str
    client: str = DEFAULT_CLIENT

    @property
    def entry_id(self) -> str:
        """Id in its stream."""
        return self.entry.rpartition(":")[2]


def plan_again(letter: DeadLetter) -> Acceptance:
    """Plan to queue a letter's job again, with no check for its id: it was never published.

    Raises:
        Problem: what is in it is still no notification.
    """
    text = letter.job.encode()
    try:
        job = decode_job(text)
    except msgspec.MsgspecError:
        plan = read_by_hand(text, Lane(letter.lane))
        return Acceptance("", "", plan.answer, plan.jobs, weights=plan.weights)
    target = None if job.targets is None else job.targets[0]
    partition = partition_of(scoped(channel_of(job.type, target), job.client))
    return Acceptance(
        *("", "", job.id, [(letter.lane, partition, text)]),
        weights=[weight_of(job)],
        client=job.client,
    )


class DeadLetters:
    """The dead letters of one Redis."""

    def __init__(self, redis: Redis, keys: ShardKeys, settings: Settings) -> None:
        self._redis = redis
        self._keys = keys
        self._requeue = AcceptScript("requeue", keys, settings)

    async def all(self) -> AsyncIterator[DeadLetter]:
        """Every letter, of each client oldest first.

        Raises:
            redis.exceptions.RedisError: Redis does not answer.
        """
        redis: Any = self._redis
        clients = [client.decode() for client in await redis.smembers(self._keys.dead_clients)]
        for client in (DEFAULT_CLIENT, *sorted(clients)):
            async for letter in self._of(client):
                yield letter

    def _stream(self, client: str) -> str:
        return self._keys.dead if client == DEFAULT_CLIENT else self._keys.dead_of(client)

    async def _of(self, client: str) -> AsyncIterator[DeadLetter]:
        start = "-"
        prefix = "" if client == DEFAULT_CLIENT else f"{client}:"
        while True:
            page: Any = await self._redis.xrange(self._stream(client), start, "+", count=_PAGE)
            for entry, fields in page:
                texts = {k.decode(): v.decode(errors="replace") for k, v in fields.items()}
                yield DeadLetter(
                    *(prefix + entry.decode(), texts["reason"], texts["lane"], texts["job"], client)
                )
                start = f"({entry.decode()}"
            if len(page) < _PAGE:
                return

    async def requeue(self, letter: DeadLetter) -> Verdict:
        """Put one letter back into its lane; it is no dead letter any more.

        Returns:
            `OK`, `GONE` (somebody else took it) or `FULL` (its lane has no room).

        Raises:
            Problem: what is in it is still no notification.
            redis.exceptions.RedisError: Redis does not answer.
        """
        reply = await self._requeue.script(
            self._redis,
            [*self._requeue.keys, self._stream(letter.client)],
            [*self._requeue.head(), letter.entry_id, *plan_again(letter).arguments()],
        )
        return read_decision(reply).verdict

    async def drop(self, letter: DeadLetter) -> None:
        """Delete one letter for good.

        Raises:
            redis.exceptions.RedisError: Redis does not answer.
        """
        await self._redis.xdel(self._stream(letter.client), letter.entry_id)


async def _run(command: str, entries: list[str], *, every: bool, settings: Settings) -> int:
    redis = connect(settings.redis_url, timeout_s=_TIMEOUT_S)
    failed = 0
    try:
        letters = DeadLetters(redis, Shards().only, settings)
        found = [letter async for letter in letters.all()]
        if command == "list":
            for letter in found:
                print(json.dumps(asdict(letter)))
            return 0
        chosen = [letter for letter in found if every or letter.entry in entries]
        for entry in sorted(set(entries) - {letter.entry for letter in chosen}):
            print(f"{entry}: there is no such dead letter", file=sys.stderr)
            failed += 1
        for letter in chosen:
            if command == "drop":
                await letters.drop(letter)
                print(f"{letter.entry}: dropped")
                continue
            try:
                outcome = str(await letters.requeue(letter))
            except Problem as problem:
                outcome = f"still no notification: {problem.detail}"
            print(f"{letter.entry}: {'queued' if outcome == Verdict.OK else outcome}")
            failed += outcome != Verdict.OK
    finally:
        await redis.aclose()
    return 1 if failed else 0


def main() -> None:
    """List dead letters (one JSON object per line), put them back, or drop them."""
    options = read_dead_letters_arguments()
    settings = load_settings()
    try:
        status = asyncio.run(
            _run(options.command, options.entry, every=options.all, settings=settings)
        )
    except (RedisError, OSError) as error:
        sys.stderr.write(f"redis does not answer: {error}\n")
        status = 1
    sys.exit(status)


if __name__ == "__main__":
    main()
