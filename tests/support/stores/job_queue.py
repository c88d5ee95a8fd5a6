"""Calls of every script with the arguments that the processes give them."""

import json
import secrets
from collections.abc import Sequence
from typing import Any, TypeVar

from redis.asyncio import Redis

from common.events.group_reader import EventReader
from common.jobs.acceptance import Acceptance
from common.jobs.planning import plan_one
from common.model.channels import PARTITIONS
from common.model.publication import Position, Publication, parse_publication
from common.redis.scripts import Script
from common.redis.shards import Shards
from worker.publish_arguments import RUN_CHARACTERS
from worker.publish_batch import BatchBuilder, entry_at_once

SHARDS = Shards()
KEYS = SHARDS.only
GLOBAL_KEYS = SHARDS.global_keys
LANE = "high"
Job = tuple[str, int, bytes]
Reader = TypeVar("Reader", bound=EventReader)


def request(*jobs: Job, key: str = "", fingerprint: str = "f", answer: str = "a") -> Acceptance:
    return Acceptance(key, fingerprint if key else "", answer, jobs)


def notification(room: Any = 1, **fields: Any) -> Acceptance:
    body = {"type": "room", "userId": 1, "target": room, "message": "x"} | fields
    return plan_one(json.dumps(body).encode())


class Queue:
    """The scripts on one Redis; replies are bytes."""

    def __init__(self, redis: Redis) -> None:
        # redis-py's types leave open whether replies are text.
        self.redis: Any = redis
        where = redis.connection_pool.connection_kwargs
        self.url = f"redis://{where['host']}:{where['port']}/0"
        self._readers: list[EventReader] = []

    def reader(self, batch: int = 100, group: str = "history") -> EventReader:
        return self.closed_at_the_end(
            EventReader(self.redis, self.url, KEYS, group, batch=batch, block_s=0.05)
        )

    def closed_at_the_end(self, reader: Reader) -> Reader:
        self._readers.append(reader)
        return reader

    async def close(self) -> None:
        for reader in self._readers:
            await reader.close()

    async def add(self, count: int) -> None:
        """Add small events."""
        for n in range(count):
            fields = {"k": "published", "c": f"default/room:{n % 3}", "w": "w", "p": "{}"}
            await self.redis.xadd(KEYS.events, fields)

    async def accept(
        self,
        *requests: Acceptance,
        lane_max: int = 1000,
        remember_s: int = 100,
        room: int | str = "",
    ) -> list[list[bytes]]:
        args: list[Any] = [
            KEYS.jobs_prefix, KEYS.ready_prefix, KEYS.active_prefix, KEYS.accepted_prefix,
            lane_max, remember_s, KEYS.backlog, room,
        ]  # fmt: skip
        for one in requests:
            args += one.arguments()
        found: list[list[bytes]] = await Script("accept")(self.redis, [KEYS.waiting], args)
        return found

    async def take(
        self,
        holder: str,
        *,
        turns: int = 16,
        jobs: int = 100,
        size: int = 1 << 20,
        lease_ms: int = 60_000,
    ) -> dict[bytes, list[bytes]]:
        reply = await Script("take")(
            self.redis,
            [KEYS.ready(LANE), KEYS.held(holder), KEYS.workers],
            [holder, lease_ms, turns, f"{KEYS.jobs_prefix}{LANE}:", jobs, size],
        )
        return dict(zip(reply[::2], reply[1::2], strict=True))

    async def publish(
        self,
        holder: str,
        taken: dict[bytes, list[bytes]],
        *,
        log_max: int = 1000,
        channel_s: int = 1000,
        candidate: str | None = None,
        now_ms: int = 0,
        events_max: int | str = 100_000,
    ) -> list[int]:
        builder = BatchBuilder(1000, 1 << 20)
        for partition, jobs in taken.items():
            builder.add_turn(partition, jobs, now_ms)
        found: list[int] = await Script("publish")(
            self.redis,
            [
                KEYS.epoch, KEYS.held(holder), KEYS.ready(LANE), KEYS.active(LANE), KEYS.waiting,
                KEYS.returns, KEYS.events, KEYS.dead, KEYS.contents,
                KEYS.backlog,
            ],
            [
                LANE, f"{KEYS.jobs_prefix}{LANE}:", 100_000,
                *await self._publisher(holder, log_max, channel_s, candidate, events_max),
                KEYS.content_prefix, *builder.batch.content_args(), *builder.batch.args,
            ],
        )  # fmt: skip
        return found

    async def send(self, *requests: Acceptance, holder: str = "w:high.0.1", **how: Any) -> None:
        """Accept, take and publish."""
        await self.accept(*requests)
        taken = await self.take(holder)
        assert (await self.publish(holder, taken, **how))[1] == 0

    async def lease(
        self,
        *renewed: str,
        given_up: Sequence[str] = (),
        lease_ms: int = 60_000,
        watched_ms: int = 60_000,
        condemned: int = 5,
    ) -> tuple[int, int, list[int]]:
        back, died, valid, _ = await Script("lease")(
            self.redis,
            [
                KEYS.workers, KEYS.returns, KEYS.waiting, KEYS.dead, KEYS.events, KEYS.backlog,
                KEYS.dead_clients,
            ],
            [
                lease_ms, watched_ms, KEYS.held_prefix, KEYS.ready_prefix, KEYS.active_prefix,
                KEYS.jobs_prefix, condemned, 100_000, len(renewed), *renewed, *given_up,
            ],
        )  # fmt: skip
        return back, died, valid

    async def audit(self, *before: bytes) -> tuple[list[bytes], int]:
        found, healed = await Script("audit")(
            self.redis,
            [KEYS.workers, KEYS.ready(LANE), KEYS.active(LANE), KEYS.waiting, KEYS.backlog],
            [LANE, f"{KEYS.jobs_prefix}{LANE}:", KEYS.held_prefix, PARTITIONS, *before],
        )
        return found, healed

    async def positions(
        self, *names: str, candidate: str | None = None, to_begin: bool = True
    ) -> list[Position]:
        reply = await Script("positions")(
            self.redis,
            [KEYS.epoch],
            [
                KEYS.channel_prefix, KEYS.log_prefix, candidate or secrets.token_hex(4),
                int(to_begin), *names,
            ],
        )  # fmt: skip
        return [Position(e.decode(), o) for e, o in zip(reply[::3], reply[1::3], strict=True)]

    async def replay(
        self, name: str, after: Position, *, entries: int = 500, size: int = 1 << 20
    ) -> tuple[Position, bool, list[Publication]]:
        epoch, offset, exact, found = await Script("replay")(
            self.redis,
            [KEYS.epoch],
            [
                KEYS.channel_prefix, KEYS.log_prefix, secrets.token_hex(4), name, after.epoch,
                after.offset, entries, size, KEYS.content_prefix,
            ],
        )  # fmt: skip
        return (
            Position(epoch.decode(), offset),
            bool(exact),
            [parse_publication(entry) for entry in found],
        )

    async def admit(
        self,
        *items: tuple[bytes, str, Acceptance | None],
        lane_max: int = 1000,
        at_once: bool = False,
    ) -> list[list[bytes]]:
        args: list[Any] = [
            KEYS.jobs_prefix, KEYS.ready_prefix, KEYS.active_prefix, KEYS.accepted_prefix,
            lane_max, 100, KEYS.backlog, "",
            LANE, 100_000, *await self._publisher("w:door", 1000, 1000), len(items),
        ]  # fmt: skip
        for text, reason, one in items:
            args += [text, reason]
            if one:
                entry = entry_at_once(one.jobs[0][2]) if at_once else None
                args += [*(entry or ("", "", "", "")), *one.arguments()]
        found: list[list[bytes]] = await Script("admit")(
            self.redis,
            [KEYS.waiting, KEYS.door(LANE), KEYS.dead, KEYS.epoch, KEYS.events],
            args,
        )
        return found

    async def _publisher(
        self,
        holder: str,
        log_max: int,
        channel_s: int,
        candidate: str | None = None,
        events_max: int | str = 100_000,
    ) -> list[Any]:
        """Arguments of publish.lib.lua."""
        info = await self.redis.info("server")
        return [
            info["run_id"][:RUN_CHARACTERS], KEYS.channel_prefix, KEYS.log_prefix, KEYS.pub_prefix,
            candidate or secrets.token_hex(4), log_max, 100, channel_s, events_max,
            holder.partition(":")[0],
        ]  # fmt: skip

    async def requeue(self, entry: bytes, one: Acceptance, lane_max: int = 1000) -> list[bytes]:
        found: list[bytes] = await Script("requeue")(
            self.redis,
            [KEYS.waiting, KEYS.dead],
            [
                KEYS.jobs_prefix, KEYS.ready_prefix, KEYS.active_prefix, KEYS.accepted_prefix,
                lane_max, 100, KEYS.backlog, "", entry, *one.arguments(),
            ],
        )  # fmt: skip
        return found

    async def new_run(self) -> None:
        """What a restart of the server leaves: an epoch and channels of another run."""
        await self.redis.hset(KEYS.epoch, "r", "0" * 12)
        async for key in self.redis.scan_iter(f"{KEYS.channel_prefix}*"):
            await self.redis.hset(key, "r", "0" * 12)

    async def waiting(self, partition: int | bytes) -> list[bytes]:
        """Jobs of a partition, oldest first."""
        number = int(partition)
        return list(await self.redis.lrange(KEYS.jobs(LANE, number), 0, -1))[::-1]

    async def waiting_count(self, lane: str = LANE) -> int:
        return int(await self.redis.hget(KEYS.waiting, lane) or 0)

    async def ready(self) -> list[bytes]:
        return list(await self.redis.lrange(KEYS.ready(LANE), 0, -1))

    async def active(self) -> set[bytes]:
        return set(await self.redis.smembers(KEYS.active(LANE)))

    async def held(self, holder: str) -> list[bytes]:
        return list(await self.redis.lrange(KEYS.held(holder), 0, -1))

    async def events(self) -> list[dict[bytes, bytes]]:
        return [fields for _, fields in await self.redis.xrange(KEYS.events)]

    async def dead(self) -> list[dict[bytes, bytes]]:
        return [fields for _, fields in await self.redis.xrange(KEYS.dead)]

    async def log(self, name: str) -> list[Publication]:
        entries = await self.redis.lrange(KEYS.log_prefix + name, 0, -1)
        return [parse_publication(entry) for entry in entries]

    async def snapshot(self) -> dict[bytes, bytes | None]:
        """Everything there is, to tell whether anything was written."""
        keys = [key async for key in self.redis.scan_iter("*")]
        return {key: await self.redis.dump(key) for key in sorted(keys)}
