"""A gateway: its connections, and what their messages lead to."""

import asyncio

from common.auth.client_records import ClientRecord
from common.auth.principal import Principal
from common.config.settings import Settings
from common.model.problem_codes import ProblemCode
from common.web.slices import Slices
from ws_gateway.admission.admission import Admission, check_rooms
from ws_gateway.admission.pacer import Pacer
from ws_gateway.channels.catch_up import CatchUp
from ws_gateway.channels.hub import Hub
from ws_gateway.protocol.close_codes import CloseCode
from ws_gateway.protocol.messages import (
    PONG_TEXT,
    Join,
    Leave,
    MessageError,
    PingAction,
    Receipt,
    Refresh,
    Register,
    parse_message,
    refreshed_text,
)
from ws_gateway.reports.first_sights import Sights
from ws_gateway.reports.receipts import ReceiptWriter
from ws_gateway.reports.sent_ids import SentIds
from ws_gateway.sessions.channel_membership import ChannelMembership
from ws_gateway.sessions.connection_tasks import ConnectionTasks
from ws_gateway.sessions.receipt_desk import ReceiptDesk
from ws_gateway.sessions.registration import Registrations
from ws_gateway.sessions.rooms import JoinedRooms
from ws_gateway.transport.clock import Clock
from ws_gateway.transport.connection import Connection


class Gateway:
    """Connections and what they may do.

    Args:
        hub: the channels.
        catch_up: brings connections up from the channels' logs.
        receipts: where receipts go.
        sent: knows what may have receipts.
        sights: where it is noted who registered.
        pacer: lets connections in.
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
        self.pacer = pacer
        self.admission = admission
        self.slices = Slices(asyncio.get_running_loop())
        """Gives loop turns to connections that sent more than fits into one."""
        self.limits = limits
        self.clock = clock
        self.id = gateway_id
        self.connections: set[Connection] = set()
        self._by_key: set[Connection] = set()
        """Those that an API key's ticket let in."""
        self.draining = False
        """Take no new connections."""
        self._tasks = ConnectionTasks()
        membership = ChannelMembership(hub, clock, self.connections)
        self.registrations = Registrations(membership, hub, catch_up, sights, pacer, self._tasks)
        self._rooms = JoinedRooms(membership, admission)
        self._receipts = ReceiptDesk(
            receipts, sent, self._tasks, limits, limits_clients=admission.required
        )

    def handle(self, connection: Connection, text: str) -> None:
        """Do what a connection's message says; every message is answered."""
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
                    self._rooms.join(connection, message)
                case Leave():
                    self._rooms.leave(connection, message)
                case Refresh():
                    self._refresh(connection, message)
                case Receipt():
                    self._receipts.take(connection, message)
        except MessageError as error:
            connection.refuse(error)
            if error.code is ProblemCode.TOO_MANY_CONNECTIONS:
                connection.close(CloseCode.TOO_MANY_CONNECTIONS)
                return
            if connection.busy:
                connection.resume()

    def register(self, connection: Connection, message: Register) -> None:
        """Register a connection that is admitted, as soon as its channels are open."""
        self.registrations.begin(connection, message)

    def forget(self, connection: Connection) -> None:
        """Take a connection out of everything that it hears."""
        self.admission.leave(connection)
        self._by_key.discard(connection)
        self.registrations.end(connection)

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
            raise MessageError(ProblemCode.FORBIDDEN, "the token is another user's")
        check_rooms(principal, connection.rooms)
        connection.principal = principal
        assert principal.expires_s is not None
        connection.send(refreshed_text(principal.expires_s))

    async def close(self) -> None:
        """End what is under way for connections."""
        await self._tasks.close()
        await self.catch_up.close()
