"""A flow of notifications that is counted: what was answered, published, kept and received.

Several lines send side by side; each sends its next notification when the one before was answered,
so the order of its answers is the order of acceptance. A line either repeats what failed under the
same Idempotency-Key until it is accepted, or goes on and remembers that the outcome is unknown.
"""

import asyncio
import itertools
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Self

import aiohttp

from common.model.channels import DEFAULT_CLIENT, scoped
from sdk.python.roomcast_client import RoomcastClient
from tests.support.clients.api import Api
from tests.support.clients.event_stream import Event, events
from tests.support.clients.sender import Sender
from tests.support.clients.socket_client import Client
from tests.support.credentials import token_of
from tests.support.processes.stack import KEYS, Stack
from tests.support.processes.whole_stack import Whole, in_postgres, mirrored, until_read
from tests.support.stores.kafka import Record
from tests.support.waiting import until

RETRY_PAUSE_S: Final = 0.05


@dataclass(slots=True)
class Line:
    """One sequence of notifications, all to the same channels.

    `answered` maps the number of each notification that was answered 202 to its id; `unknown` are
    the numbers whose outcome is not known, `refused` those that were surely not queued.
    """

    name: str
    body: dict[str, Any]
    channels: list[str]
    insists: bool
    answered: dict[int, str] = field(default_factory=dict)
    unknown: set[int] = field(default_factory=set)
    refused: set[int] = field(default_factory=set)
    repeats: int = 0
    waits: bool = False
    """For an answer."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What a flow came to; every count of a wrong is 0, or `Flow.check` has failed."""

    accepted: int
    repeated: int
    unknown: int
    published: int
    in_kafka: int
    repeats_in_kafka: int
    in_postgres: int
    delivered: int


class Returning:
    """A client that comes back at another gateway whenever its own goes away, and resumes there."""

    close_code = closed_at = None

    def __init__(
        self,
        urls: Sequence[str],
        user: str,
        rooms: Sequence[str],
        token: Callable[[], Awaitable[str]] | None,
    ) -> None:
        self.url = " or ".join(urls)
        self.client = RoomcastClient(urls, user, rooms, token=token)
        self.notifications: list[dict[str, Any]] = []
        self.lost: list[dict[str, Any]] = []
        self._listening: asyncio.Task[None] | None = None

    @property
    def frames(self) -> list[dict[str, Any]]:
        return self.notifications

    async def start(self) -> Self:
        """Connect and listen."""
        await self.client.__aenter__()
        self._listening = asyncio.create_task(self._listen())
        return self

    async def close(self) -> None:
        """Hang up."""
        assert self._listening
        self._listening.cancel()
        await self.client.close()

    async def _listen(self) -> None:
        async for message in self.client:
            (self.lost if message["type"] == "reset" else self.notifications).append(message)


class Flow:
    """Notifications to rooms, users, lists and everybody, at a bounded rate; a context manager.

    Args:
        stack: that takes them.
        rate: notifications per second, about; less if the answers take longer.
        padding: more characters in each message.
    """

    def __init__(self, stack: Stack, *, rate: float = 300, padding: int = 0) -> None:
        self.stack = stack
        self._padding = "x" * padding
        tag = uuid.uuid4().hex[:8]
        self.user = f"user-{tag}"
        self.rooms = [f"{tag}-{number}" for number in range(5)]
        to_room = {"type": "room", "userId": 1}
        self.lines = [
            *(
                Line(room, {**to_room, "target": room}, [f"room:{room}"], insists=bool(number % 2))
                for number, room in enumerate(self.rooms[:3])
            ),
            Line(
                "list",
                {**to_room, "target": self.rooms[3:]},
                [f"room:{room}" for room in self.rooms[3:]],
                insists=False,
            ),
            Line(
                "private",
                {"type": "private", "userId": 1, "target": self.user},
                [f"user:{self.user}"],
                insists=True,
            ),
            Line("broadcast", {"type": "broadcast", "userId": 1}, ["broadcast"], insists=False),
        ]
        self._pause_s = len(self.lines) / rate
        self._tag = tag
        self._stop = False
        self._tasks: list[asyncio.Task[None]] = []
        self._clients: list[Client | Returning] = []
        self._client = stack.made.id if stack.made else DEFAULT_CLIENT

    async def __aenter__(self) -> Self:
        async with self.stack.valkey.client() as client:
            last = "-"
            if await client.exists(KEYS.events):
                last = f"({(await client.xinfo_stream(KEYS.events))['last-generated-id']}"
        self._start = last
        self._tasks = [asyncio.create_task(self._send(line)) for line in self.lines]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
        for client in self._clients:
            await client.close()

    async def client(self, url: str) -> Client:
        """Connect a client that hears all channels of the flow; before the flow starts."""
        client = await (await self.listener(url)).__aenter__()
        self._clients.append(client)
        return client

    async def listener(self, url: str) -> Client:
        """A client that hears all channels of the flow, to be connected and counted by the test."""
        return Client(url, user=self.user, room=self.rooms, token=await self.token(self.user))

    async def token(self, user: str) -> str | None:
        """Of a user, for all rooms; None if none is needed."""
        return await self._new_token(user) if self.stack.made else None

    async def _new_token(self, user: str) -> str:
        assert self.stack.made
        async with Api(self.stack) as api:
            return await token_of(api, self.stack.made, user, ttl=3_600, rooms=["*"])

    def sender(self) -> Sender:
        """For the flow's client application."""
        made = self.stack.made
        return Sender(self.stack.http_urls[0], headers=made.bearer if made else None)

    def scoped(self, channel: str) -> str:
        """A channel of the flow's client application."""
        return scoped(channel, self._client)

    async def returning(self, *urls: str) -> Returning:
        """Connect a client that hears all channels of the flow through any of these gateways."""
        token = partial(self._new_token, self.user) if self.stack.made else None
        client = await Returning(urls, self.user, self.rooms, token).start()
        self._clients.append(client)
        return client

    async def stop(self) -> None:
        """Send no more; what is under way is answered first.

        Raises:
            Exception: what a line died of.
        """
        self._stop = True
        await asyncio.gather(*self._tasks)

    @property
    def accepted(self) -> int:
        """How many were answered 202 so far."""
        return sum(len(line.answered) for line in self.lines)

    async def more(self, count: int) -> None:
        """Wait until so many more were accepted than now."""
        wanted = self.accepted + count

        def enough() -> bool:
            for task in self._tasks:
                if task.done():
                    task.result()
            return self.accepted >= wanted

        await until(enough, f"{count} more are accepted", 60)

    async def _send(self, line: Line) -> None:
        async with self.sender() as send:
            for number in itertools.count():
                if self._stop:
                    return
                body = {**line.body, "message": f"{self._tag}/{line.name}/{number}/{self._padding}"}
                key = {"Idempotency_Key": f"{self._tag}/{line.name}/{number}"}
                line.waits = True
                while not await self._try(send, line, number, body, key if line.insists else {}):
                    line.repeats += 1
                    await asyncio.sleep(RETRY_PAUSE_S)
                line.waits = False
                await asyncio.sleep(self._pause_s)

    @staticmethod
    async def _try(
        send: Sender, line: Line, number: int, body: dict[str, Any], key: dict[str, str]
    ) -> bool:
        try:
            answer = await send(body, **key)
        except (aiohttp.ClientError, TimeoutError):
            if not line.insists:
                line.unknown.add(number)
                await asyncio.sleep(RETRY_PAUSE_S)
            return not line.insists
        if answer.status == 202:
            line.answered[number] = answer.id
            return True
        assert answer.status == 503 or (line.insists and answer.status == 409), answer
        assert "Retry-After" in answer.headers
        if line.insists:
            return False
        unknown = answer.body["type"].endswith("outcome-unknown")
        (line.unknown if unknown else line.refused).add(number)
        await asyncio.sleep(RETRY_PAUSE_S)
        return True

    async def check(self, *clients: Client | Returning) -> Tally:
        """Stop, wait until everything is published, kept and received, compare all of it, count.

        Args:
            *clients: who were connected all the time.
        """
        stack = self.stack
        assert isinstance(stack, Whole)
        await self.stop()
        wanted = {
            (self.scoped(channel), an_id)
            for line in self.lines
            for channel in line.channels
            for an_id in line.answered.values()
        }
        published: list[Event] = []

        async def all_published() -> bool:
            published[:] = await self._published()
            return wanted <= {(e.channel, e.body["id"]) for e in published}

        try:
            await until(all_published, "every accepted notification is published")
        except AssertionError:
            lost = wanted - {(e.channel, e.body["id"]) for e in published}
            raise AssertionError(f"lost {len(lost)} of {len(wanted)}: {sorted(lost)[:5]}") from None
        # Requests whose outcome is unknown may still be executed; the fence comes behind them.
        fences = await self._fence()
        await until(lambda: self._arrived(fences, clients), "the fences arrive at every client")
        published = await self._published()

        for line in self.lines:
            self._check_line(line, published)
        await until_read(stack)
        in_kafka, repeats = await self._check_kafka(stack, published)
        rows = await self._check_postgres(stack, published)
        delivered = sum(self._check_client(client, published) for client in clients)
        return Tally(
            accepted=self.accepted,
            repeated=sum(line.repeats for line in self.lines),
            unknown=sum(len(line.unknown) for line in self.lines),
            published=len(published) - len(fences),
            in_kafka=in_kafka - len(fences),
            repeats_in_kafka=repeats,
            in_postgres=rows - len(fences),
            delivered=delivered - len(fences) * len(clients),
        )

    @property
    def _channels(self) -> list[str]:
        return [channel for line in self.lines for channel in line.channels]

    def _by_channel(self, published: list[Event]) -> dict[str, list[dict[str, Any]]]:
        return {
            channel: [e.body for e in published if e.channel == self.scoped(channel)]
            for channel in self._channels
        }

    async def _published(self) -> list[Event]:
        ours = {self.scoped(channel) for channel in self._channels}
        found = await events(self.stack, self._start)
        return [e for e in found if e.kind == "published" and e.channel in ours]

    async def _fence(self) -> set[tuple[str, str]]:
        fences = set()
        async with self.sender() as send:
            for line in self.lines:
                for target, channel in zip(
                    line.body.get("target", [None])
                    if line.name == "list"
                    else [line.body.get("target")],
                    line.channels,
                    strict=True,
                ):
                    body = {**line.body, "message": f"{self._tag}/fence"}
                    if target is not None:
                        body["target"] = target
                    fences.add((channel, (await send(body)).id))
        return fences

    @staticmethod
    def _arrived(fences: set[tuple[str, str]], clients: "tuple[Client | Returning, ...]") -> bool:
        for client in clients:
            assert client.closed_at is None, (
                f"{client.url} closed with {client.close_code} after {len(client.frames)} frames"
            )
        return all(
            fences <= {(n["channel"], n["id"]) for n in client.notifications[-500:]}
            for client in clients
        )

    def _check_line(self, line: Line, published: list[Event]) -> None:
        for channel in line.channels:
            here = [e.body for e in published if e.channel == self.scoped(channel)]
            assert all(body["channel"] == channel for body in here)
            offsets = [body["offset"] for body in here]
            assert offsets == list(range(offsets[0], offsets[0] + len(offsets))), (
                f"{channel}: offsets have holes or repeat"
            )
            numbers = [
                int(body["message"].split("/")[2])
                for body in here
                if body["message"].startswith(f"{self._tag}/{line.name}/")
            ]
            times = Counter(numbers)
            twice = [number for number, count in times.items() if count > 1]
            assert not twice, f"{channel}: published more than once: {twice[:5]}"
            assert not line.refused & set(numbers), f"{channel}: published though refused"
            assert set(numbers) <= line.unknown | set(line.answered), f"{channel}: never accepted"
            ids = {
                int(b["message"].split("/")[2]): b["id"]
                for b in here
                if "fence" not in b["message"]
            }
            wrong = [n for n, an_id in line.answered.items() if ids[n] != an_id]
            assert not wrong, f"{channel}: published under another id than answered: {wrong[:5]}"
            in_order = [number for number in numbers if number in line.answered]
            assert in_order == sorted(in_order), f"{channel}: not in the order of acceptance"

    async def _check_kafka(self, stack: Whole, published: list[Event]) -> tuple[int, int]:
        """How many there are, and how many repeats of them."""

        def all_there(records: list[Record]) -> bool:
            found = mirrored(records, self._client, self._channels).bodies
            return all(bodies[-1] in found[channel] for channel, bodies in wanted.items())

        wanted = self._by_channel(published)
        records = await asyncio.to_thread(stack.mirror.until, all_there)
        found = mirrored(records, self._client, self._channels)
        count = 0
        for channel, bodies in wanted.items():
            # There may be broadcasts of others before, as in PostgreSQL.
            ours = [body for body in found.bodies[channel] if body["offset"] >= bodies[0]["offset"]]
            compare("Kafka", channel, ours, bodies)
            count += len(ours)
        return count, found.repeats

    async def _check_postgres(self, stack: Whole, published: list[Event]) -> int:
        """How many there are."""
        count = 0
        rows = await in_postgres(stack, self._client, self._channels)
        for channel, bodies in self._by_channel(published).items():
            # There may be broadcasts of others before.
            ours = [row for row in rows[channel] if row["offset"] >= bodies[0]["offset"]]
            compare("PostgreSQL", channel, ours, bodies)
            count += len(ours)
        return count

    def _check_client(self, client: Client | Returning, published: list[Event]) -> int:
        count = 0
        for channel, expected in self._by_channel(published).items():
            first = expected[0]["offset"]
            received = [
                body
                for body in client.notifications
                if body["channel"] == channel and body["offset"] >= first
            ]
            compare(client.url, channel, received, expected)
            count += len(received)
        return count


def compare(
    where: str, channel: str, found: list[dict[str, Any]], wanted: list[dict[str, Any]]
) -> None:
    """See that these are the same bodies in the same order.

    Args:
        where: they were found, for the message.
        channel: of all of them.
        found: there.
        wanted: as they were published.

    Raises:
        AssertionError: with the first difference.
    """
    for number, (one, other) in enumerate(itertools.zip_longest(found, wanted)):
        assert one == other, (
            f"{where} has {len(found)} of {len(wanted)} on {channel};"
            f" number {number} is {one}, and was published as {other}"
        )
