"""Handling of client messages by a gateway."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, Final

from common.auth.client_records import ClientRecord
from common.auth.principal import Principal
from common.config.settings import Settings
from common.errors import REDIS_ERRORS
from common.events.receipts import IDS_MAX
from common.model.channels import BROADCAST_CHANNEL, room_channel, scoped, user_channel
from common.model.problem_codes import ProblemCode
from common.model.publication import Position
from common.telemetry.outage import redis_outage
from common.web.slices import Slices
from ws_gateway import metrics
from ws_gateway.admission.admission import Admission, refuse_rooms
from ws_gateway.admission.pacer import Pacer
from ws_gateway.channels.catch_up import CatchUp, Missed
from ws_gateway.channels.channel import Channel
from ws_gateway.channels.hub import Hub
from ws_gateway.protocol.close_codes import CloseCode
from ws_gateway.protocol.messages import (
    PONG_TEXT,
    ClientError,
    Join,
    Leave,
    PingAction,
    Receipt,
    Refresh,
    Register,
    joined_text,
    left_text,
    parse_message,
    receipt_text,
    refreshed_text,
)
from ws_gateway.reports.first_sights import Sight, Sights
from ws_gateway.reports.receipt_limits import Buckets, ReceiptLimits
from ws_gateway.reports.receipts import ReceiptWriter
from ws_gateway.reports.sent_ids import SentIds
from ws_gateway.transport.clock import Clock
from ws_gateway.transport.connection import Connection

log = logging.getLogger("roomcast.gateway")

REFUSED_MAX: Final = 100
"""Ids that an error names."""


class Gateway:
    """Connections and what they may do.

    Args:
        hub: the channels.
        catch_up: brings connections up from the channels' logs.
        receipts: where receipts go.
        sent: knows what may have receipts.
        sights: where it is noted who registered.
        pacer: lets clients in.
        admission: tells whose they are, and what they may.
        limits: bounds of one connection.
        clock: coarse time.
        gateway_id: name of this gateway.
    """

    def __init__(
        self,
        hub: Hub,
        catch_up: CatchUp,
        receipts: ReceiptWriter,
        sent: SentIds,
        sights: Sights,
        pacer: Pacer,
        admission: Admission,
        limits: Settings,
        clock: Clock,
        gateway_id: str,
    ) -> None:
        self.hub = hub
        self.catch_up = catch_up
        self._receipts = receipts
        self._sent = sent
        self._sights = sights
        self.pacer = pacer
        self.admission = admission
        self.slices = Slices(asyncio.get_running_loop())
        """Gives loop turns to connections that sent more than fits into one."""
        of_client = limits.client_receipts_per_s
        self._receipt_limits = ReceiptLimits(
            Buckets(limits.user_receipts_per_s, limits.user_receipts_burst),
            Buckets(of_client, of_client + IDS_MAX) if admission.required else None,
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self.limits = limits
        self.clock = clock
        self.id = gateway_id
        self.connections: set[Connection] = set()
        self.registered = 0
        self._by_key: set[Connection] = set()
        """Those that an API key's ticket let in."""
        self.draining = False
        """Take no new connections."""

    def handle(self, connection: Connection, text: str) -> None:
        """Do what a client's message says; every message is answered."""
        if connection.user is not None:
            self._obey(connection, text)
            return
        taken = False

        def step() -> None:
            nonlocal taken
            taken = True
            if connection.closing_since is None and connection in self.connections:
                self._obey(connection, text)

        self.pacer.do(connection, step)
        if not taken:
            connection.wait()

    def _obey(self, connection: Connection, text: str) -> None:
        try:
            message = parse_message(
                text,
                registered=connection.user is not None,
                max_rooms=self.admission.most_rooms(connection.principal),
            )
            match message:
                case PingAction():
                    connection.send(PONG_TEXT)
                case Register():
                    self.admission.admit(connection, message)
                    self.register(connection, message)
                case Join():
                    self._join(connection, message)
                case Leave():
                    self._leave(connection, message)
                case Refresh():
                    self._refresh(connection, message)
                case Receipt():
                    self._receipt(connection, message)
        except ClientError as error:
            connection.refuse(error)
            if error.code is ProblemCode.TOO_MANY_CONNECTIONS:
                connection.close(CloseCode.TOO_MANY_CONNECTIONS)
                return
            if connection.busy:
                connection.resume()

    def forget(self, connection: Connection) -> None:
        """Take a connection out of everything that it hears."""
        self.admission.leave(connection)
        self._by_key.discard(connection)
        user, connection.user = connection.user, None
        if user is None:
            return
        assert connection.principal is not None
        self.registered -= 1
        connection.behind = None
        for name in _names(connection.principal, user, connection.rooms):
            channel = self.hub.channels.get(name)
            if channel:
                channel.remove(connection)
                self.hub.release(channel, self.clock.now)
        connection.rooms = ()

    def let_in(self, connection: Connection, principal: Principal | None) -> None:
        """Take a connection whose handshake was accepted, with the credentials it showed."""
        connection.principal = principal
        if principal is not None and principal.key:
            self._by_key.add(connection)

    def client_changed(self, record: ClientRecord) -> None:
        """Close the connections of a client that was disabled, and those of its revoked keys."""
        if not record.disabled:
            self._look_at_keys(record.id)
            return
        for connection in list(self.connections):
            if connection.principal is not None and connection.principal.client == record.id:
                connection.close(CloseCode.CLIENT_DISABLED)

    def _look_at_keys(self, client: str) -> None:
        for connection in list(self._by_key):
            principal = connection.principal
            # A token that was shown since then counts for itself.
            if principal is None or principal.client != client or not principal.key:
                continue
            found = self.admission.still_good(principal)
            if found is None:
                connection.close(CloseCode.TOKEN_EXPIRED)
            else:
                connection.principal = found

    def _refresh(self, connection: Connection, message: Refresh) -> None:
        before = connection.principal
        principal = self.admission.principal_of(message.token, connection.address)
        if before is None or (principal.client, principal.user) != (before.client, connection.user):
            raise ClientError(ProblemCode.FORBIDDEN, "the token is another user's")
        refuse_rooms(principal, connection.rooms)
        connection.principal = principal
        assert principal.expires_s is not None
        connection.send(refreshed_text(principal.expires_s))

    def register(self, connection: Connection, message: Register) -> None:
        """Register a connection that is admitted, as soon as its channels are open."""
        assert connection.principal is not None
        names = _names(connection.principal, message.user, message.rooms)
        client = connection.principal.client
        sight: Sight | None = None
        if not self._is_heard(names[0]):
            sight = self._sights.note(client, message.user)

        def again() -> None:
            self.pacer.do(connection, lambda: self.hub.open(names, ready))

        def ready(channels: list[Channel]) -> None:
            nonlocal sight
            if not self._is_here(connection, channels):
                return
            if sight is None and not self._is_heard(names[0]):
                # The user may have been deleted in the meantime.
                sight = self._sights.note(client, message.user)
            if sight is not None and not sight.is_settled:
                if not connection.busy:
                    connection.wait()
                sight.when_settled(again)
                return
            behind = [
                channel
                for channel in channels
                if message.resume.get(channel.label, channel.handed) != channel.handed
            ]
            if not behind:
                self._let_in(connection, message, channels, {})
                return
            if not connection.busy:
                connection.wait()
            self._start(connection, self._resume(connection, message, names, behind))

        def in_turn(_: list[Channel]) -> None:
            # Hundreds of channels are opened at once. Those that were may have been closed again.
            again()

        self._when_open(connection, names, in_turn)

    async def _resume(
        self,
        connection: Connection,
        message: Register,
        names: tuple[str, ...],
        behind: list[Channel],
    ) -> None:
        # The subscription is there already: what the logs lack by now comes live.
        found = await asyncio.gather(
            *(self.catch_up.read(channel, message.resume[channel.label]) for channel in behind)
        )
        missed = {channel.label: one for channel, one in zip(behind, found, strict=True)}

        def ready(channels: list[Channel]) -> None:
            if self._is_here(connection, channels):
                self._let_in(connection, message, channels, missed)

        # Empty channels may have been closed in the meantime.
        self.pacer.do(connection, lambda: self.hub.open(names, ready))

    def _let_in(
        self,
        connection: Connection,
        message: Register,
        channels: list[Channel],
        missed: Mapping[str, Missed],
    ) -> None:
        """Answer a registration, send what was missed, and begin to send what is live.

        All of it in one step, so that nothing comes between.
        """
        connection.user = message.user
        connection.rooms = message.rooms
        self.registered += 1
        positions = self._enter(connection, channels)
        recovered = {
            label: label not in missed or missed[label].replay.exact for label in message.resume
        }
        connection.confirm(message, positions, recovered)
        for exact in recovered.values():
            metrics.resumed.labels("yes" if exact else "no").inc()
        for channel in channels:
            if not recovered.get(channel.label) or message.resume[channel.label] == channel.handed:
                continue
            # A channel that needed no read may have moved on while the others were read.
            connection.fall_behind(channel, message.resume[channel.label])
            if one := missed.get(channel.label):
                self.catch_up.apply(connection, channel, one)
        self.catch_up.begin(connection)
        if connection.busy:
            connection.resume()

    def _receipt(self, connection: Connection, message: Receipt) -> None:
        user, principal = connection.user, connection.principal
        assert user is not None
        assert principal is not None
        limits, count = self.limits, len(message.ids)
        if not self._receipt_limits.take(principal.client, user, count, time.monotonic()):
            raise ClientError(
                ProblemCode.TOO_MANY_RECEIPTS,
                f"at most {limits.user_receipts_per_s:g} receipts per second; try again later",
            )
        client = principal.client
        unknown = self._sent.unknown(connection, message.ids)
        if unknown and not self._sent.may_look(client, user):
            raise ClientError(
                ProblemCode.TOO_MANY_RECEIPTS,
                "too many receipts for what was sent long ago or not at all; try again later",
            )
        connection.wait()

        async def record() -> None:
            try:
                refused = await self._not_sent(connection, principal, user, unknown)
            except REDIS_ERRORS as error:
                redis_outage.noticed("checking receipts", error)
                connection.refuse(_NO_RECEIPTS)
                connection.resume()
                return
            strange = set(refused)
            ids = [one for one in message.ids if one not in strange]
            if not ids:
                connection.refuse(_not_sent(refused))
            elif await self._receipts.write(message.kind, client, user, ids, connection.id):
                metrics.receipts.labels(message.kind).inc(len(ids))
                connection.send(receipt_text(message.kind, user, ids, refused))
            else:
                connection.refuse(_NO_RECEIPTS)
            connection.resume()

        self._start(connection, record())

    async def _not_sent(
        self, connection: Connection, principal: Principal, user: str, unknown: list[str]
    ) -> list[str]:
        """Those of the ids that Redis doesn't know to have been sent to a user either."""
        if not unknown:
            return []
        names = _names(principal, user, connection.rooms)
        found = await self._sent.look(principal.client, user, unknown, names)
        return [one for one in unknown if one not in found]

    def _start(self, connection: Connection, duty: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(duty)
        self._tasks.add(task)

        def done(task: "asyncio.Task[None]") -> None:
            self._tasks.discard(task)
            if not task.cancelled() and (error := task.exception()):
                log.error("a message on a socket could not be handled", exc_info=error)
                connection.abort()

        task.add_done_callback(done)

    async def close(self) -> None:
        """End what is under way for connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.catch_up.close()

    def _join(self, connection: Connection, message: Join) -> None:
        new = [room for room in message.rooms if room not in connection.rooms]
        principal = connection.principal
        assert principal is not None
        self.admission.refuse_number(principal, len(connection.rooms) + len(new))
        refuse_rooms(principal, new)

        def ready(channels: list[Channel]) -> None:
            if not self._is_here(connection, channels) or connection.user is None:
                return
            connection.rooms += tuple(new)
            connection.send(joined_text(message.rooms, self._enter(connection, channels)))
            if connection.busy:
                connection.resume()

        names = tuple(scoped(room_channel(room), principal.client) for room in message.rooms)
        self._when_open(connection, names, ready)

    def _leave(self, connection: Connection, message: Leave) -> None:
        strangers = [room for room in message.rooms if room not in connection.rooms]
        if strangers:
            raise ClientError(ProblemCode.NOT_IN_ROOM, f"not in room {strangers[0]}")
        assert connection.principal is not None
        connection.rooms = tuple(r for r in connection.rooms if r not in message.rooms)
        for room in message.rooms:
            channel = self.hub.channels[scoped(room_channel(room), connection.principal.client)]
            channel.remove(connection)
            if connection.behind:
                connection.behind.pop(channel, None)
            self.hub.release(channel, self.clock.now)
        connection.send(left_text(message.rooms))

    def _when_open(
        self,
        connection: Connection,
        names: tuple[str, ...],
        ready: Callable[[list[Channel]], None],
    ) -> None:
        done = False

        def call(channels: list[Channel]) -> None:
            nonlocal done
            done = True
            ready(channels)

        self.hub.open(names, call)
        if not done:
            connection.wait()

    def _is_heard(self, name: str) -> bool:
        """Return whether the user of a scoped channel already has a connection here."""
        channel = self.hub.channels.get(name)
        return channel is not None and any(
            member.closing_since is None for member in channel.members
        )

    def _is_here(self, connection: Connection, channels: list[Channel]) -> bool:
        if connection.closing_since is None and connection in self.connections:
            return True
        for channel in channels:
            self.hub.release(channel, self.clock.now)
        return False

    @staticmethod
    def _enter(connection: Connection, channels: list[Channel]) -> dict[str, Position]:
        positions = {}
        for channel in channels:
            if connection not in channel.members:
                channel.add(connection)
            positions[channel.label] = channel.handed
        return positions


def _names(principal: Principal, user: str, rooms: Iterable[str]) -> tuple[str, ...]:
    """Scoped names of the channels of a registration."""
    labels = (user_channel(user), *map(room_channel, rooms), BROADCAST_CHANNEL)
    return tuple(scoped(label, principal.client) for label in labels)


_NO_RECEIPTS: Final = ClientError(ProblemCode.UNAVAILABLE, "receipts can't be taken now; try again")


def _not_sent(ids: list[str]) -> ClientError:
    return ClientError(
        ProblemCode.NOT_SENT,
        f"{len(ids)} of these were not sent to this user in the channels of this connection, or "
        "too long ago: what is only in the inbox is marked as read over HTTP",
        ids[:REFUSED_MAX],
    )
