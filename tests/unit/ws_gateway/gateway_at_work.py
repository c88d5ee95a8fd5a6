"""A whole gateway with real sockets; only Redis is played by the test."""

import asyncio
import itertools
import json
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar, cast

from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side, State

from common.accounting.connection_counts import ConnectionCounts
from common.auth.authenticator import Authenticator
from common.auth.client_directory import Directory
from common.auth.principal import OPEN, Principal
from common.config.settings import Settings
from common.events.event import EventKind
from common.model.publication import Position
from common.redis.shards import Shards
from tests.support.waiting import WAIT_TIMEOUT_S
from tests.unit.ws_gateway.played_redis import PlayedRedis
from ws_gateway.admission.admission import Admission
from ws_gateway.admission.connection_quota import Seats
from ws_gateway.admission.pacer import Pacer
from ws_gateway.admission.ticket_desk import TicketDesk
from ws_gateway.channels.catch_up import CatchUp
from ws_gateway.channels.channel import Channel
from ws_gateway.channels.hub import Hub
from ws_gateway.channels.pending import Pending
from ws_gateway.reports.first_sights import Sights
from ws_gateway.reports.sent_ids import SentIds
from ws_gateway.sessions.gateway import Gateway
from ws_gateway.transport.clock import Clock
from ws_gateway.transport.connection import Connection
from ws_gateway.transport.first_bytes import Front
from ws_gateway.transport.web_socket import WebSocket

SHARDS = Shards()
KEYS = SHARDS.only
GLOBAL_KEYS = SHARDS.global_keys
C = TypeVar("C", bound=Connection)


def pub(label: str) -> bytes:
    """Name of a channel in pub/sub."""
    return KEYS.pub(f"default/{label}").encode()


class PlayedReceipts:
    """Keeps the receipts that it is given, unless Redis is `away`."""

    def __init__(self) -> None:
        self.written: list[tuple[EventKind, str, str, list[str]]] = []
        self.away = False

    async def write(
        self, kind: EventKind, client: str, user: str, ids: Sequence[str], connection: str
    ) -> bool:
        await asyncio.sleep(0)
        if not self.away:
            self.written.append((kind, client, user, list(ids)))
        return not self.away


class PlainHttp(asyncio.Protocol):
    """Stands for aiohttp: says which bytes it was handed, and closes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._transport.write(b"plain HTTP: " + data)
        self._transport.close()


class Peer:
    """The other end of a connection."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self.end = end
        self._protocol = Protocol(Side.CLIENT, state=State.OPEN, max_size=None)
        self._frames: list[Frame] = []

    async def receive(self) -> bytes:
        """What comes next; empty at the end."""
        async with asyncio.timeout(WAIT_TIMEOUT_S):
            return await asyncio.get_running_loop().sock_recv(self.end, 1 << 20)

    async def all(self) -> bytes:
        """Everything until the end."""
        found = b""
        while data := await self.receive():
            found += data
        return found

    async def until(self, end: bytes) -> bytes:
        """What comes up to an end; what is behind it is read as frames."""
        found = b""
        while end not in found:
            data = await self.receive()
            assert data, f"the connection ended: {found!r}"
            found += data
        head, _, rest = found.partition(end)
        self._protocol.receive_data(rest)
        self._frames += [e for e in self._protocol.events_received() if isinstance(e, Frame)]
        return head + end

    async def frame(self) -> Frame:
        """The next frame."""
        while not self._frames:
            data = await self.receive()
            assert data, "the connection ended"
            self._protocol.receive_data(data)
            self._frames += [e for e in self._protocol.events_received() if isinstance(e, Frame)]
        return self._frames.pop(0)

    async def next(self) -> dict[str, Any]:
        """The next text message."""
        frame = await self.frame()
        assert frame.opcode is Opcode.TEXT, frame
        message: dict[str, Any] = json.loads(bytes(frame.data))
        return message

    async def close_code(self) -> int:
        """The code that the connection is closed with, whatever comes before."""
        while (frame := await self.frame()).opcode is not Opcode.CLOSE:
            pass
        return int.from_bytes(frame.data[:2], "big")

    def send(self, message: object, opcode: Opcode = Opcode.TEXT) -> None:
        """Send a frame: JSON, unless the message is bytes."""
        data = message if isinstance(message, bytes) else json.dumps(message).encode()
        self.end.send(Frame(opcode, data).serialize(mask=True))

    async def ask(self, message: object) -> dict[str, Any]:
        """Send a message and return what comes next."""
        self.send(message)
        return await self.next()


class GatewayAtWork:
    """A gateway and the Redis that it believes in."""

    def __init__(self, **settings: Any) -> None:
        loop = asyncio.get_running_loop()
        self.redis = PlayedRedis()
        played: Any = self.redis
        nothing: Any = None
        self.settings = Settings(event_readers="", **settings)
        self.receipts = PlayedReceipts()
        self.hub = Hub(KEYS, played, loop, 1 << 20, self._written)
        self.hub.subscription = played
        self.sent = SentIds(nothing, KEYS, self.hub.channels)
        self.catch_up = CatchUp(played, lambda *_: None, self.sent.note_read)
        directory = Directory(nothing, GLOBAL_KEYS)
        self.admission = Admission(
            Authenticator(directory, self.settings.auth_mode, self.settings.token_leeway_s),
            Seats(ConnectionCounts(nothing, GLOBAL_KEYS), directory, self.settings, "gw"),
            TicketDesk(nothing, GLOBAL_KEYS),
            self.settings,
        )
        receipts: Any = self.receipts
        self.gateway = Gateway(
            self.hub,
            self.catch_up,
            receipts,
            self.sent,
            Sights(nothing, KEYS, self.settings, "gw"),
            Pacer(loop, lambda: self.hub.received),
            self.admission,
            self.settings,
            Clock(),
            "gw",
        )
        self._numbers = itertools.count(1)

    def _written(self, channel: Channel, items: list[Pending], sockets: int) -> None:
        self.sent.note(channel, items, sockets)

    @asynccontextmanager
    async def connect(
        self, transport: type[C], principal: Principal | None = OPEN
    ) -> AsyncIterator[tuple[C, Peer]]:
        """Make a connection whose handshake is done, over a pair of sockets."""
        ours, theirs = socket.socketpair()
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: transport(self.gateway, next(self._numbers), "peer"), sock=ours
        )
        self.gateway.let_in(connection, principal)
        self.gateway.connections.add(connection)
        try:
            yield connection, Peer(theirs)
        finally:
            theirs.close()
            connection.abort()
            await asyncio.sleep(0)

    @asynccontextmanager
    async def knock(self, fronts: set[Front] | None = None) -> AsyncIterator[Peer]:
        """Open the gateway's port: nothing has been said yet."""
        ours, theirs = socket.socketpair()
        front = Front(
            self.gateway, set() if fronts is None else fronts, PlainHttp, next(self._numbers)
        )
        transport, _ = await asyncio.get_running_loop().create_connection(lambda: front, sock=ours)
        try:
            yield Peer(theirs)
        finally:
            theirs.close()
            transport.abort()
            await asyncio.sleep(0)

    @asynccontextmanager
    async def registered(self, user: str = "ann", *rooms: str) -> AsyncIterator[tuple[Any, Peer]]:
        """Make a WebSocket that is registered."""
        async with self.connect(WebSocket) as (connection, peer):
            answer = await peer.ask({"userId": user, "room": rooms})
            assert answer["type"] == "registered", answer
            yield connection, peer

    def publish(self, label: str, *texts: bytes) -> None:
        """Bring publications by the subscription, with offsets that follow on the last one."""
        channel = self.hub.channels[f"default/{label}"]
        for text in texts:
            at = channel.position
            payload = b"%b %d 1700000000000 -\n%b" % (at.epoch.encode(), at.offset + 1, text)
            self.hub.on_message(KEYS.pub(channel.name).encode(), payload)
        self.hub.on_read()

    def stand_at(self, label: str, offset: int) -> None:
        """Let a channel be at an offset in Redis."""
        self.redis.now[f"default/{label}"] = Position("e", offset)


@asynccontextmanager
async def gateway_at_work(**settings: Any) -> AsyncIterator[GatewayAtWork]:
    """Run a gateway's loops for a test."""
    work = GatewayAtWork(**settings)
    opening = asyncio.create_task(work.hub.run_opening())
    try:
        yield work
    finally:
        opening.cancel()
        with suppress(asyncio.CancelledError):
            await opening
        await work.gateway.close()
        await work.hub.close()
