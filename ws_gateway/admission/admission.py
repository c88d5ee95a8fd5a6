"""Admission of connections: tokens, rooms, seats, rates and origins.

It decides and counts; the caller handles a connection that is refused.
"""

import time
from collections.abc import Callable, Iterable
from http import HTTPStatus

from common.auth.authenticator import Authenticator
from common.auth.failed_attempts import TOO_MANY_FAILURES, FailedAttempts
from common.auth.principal import Principal
from common.auth.tickets import Grant
from common.config.settings import Settings
from common.model.problem_codes import ProblemCode
from common.model.problems import Problem
from ws_gateway import metrics
from ws_gateway.admission.applicant import Applicant
from ws_gateway.admission.connection_quota import Seats
from ws_gateway.admission.handshake_rates import HandshakeRates
from ws_gateway.admission.ticket_desk import TicketDesk
from ws_gateway.protocol.messages import MessageError, Register


class Admission:
    """Decides about connections of one gateway.

    Args:
        authenticator: tells whose they are.
        seats: bounds the connections of a client application.
        tickets: takes tickets.
        settings: the other bounds.
    """

    def __init__(
        self, authenticator: Authenticator, seats: Seats, tickets: TicketDesk, settings: Settings
    ) -> None:
        self._authenticator = authenticator
        self._tickets = tickets
        self.required = authenticator.required
        """True if every connection must authenticate."""
        self._seats = seats
        self._settings = settings
        self.proxies = settings.proxies
        """Proxies whose `X-Forwarded-For` is trusted."""
        self.rates = HandshakeRates(
            settings.address_connections_per_s if authenticator.required else 0,
            settings.handshakes_per_s,
        )
        self.failed = FailedAttempts(
            settings.failed_attempts_per_minute if authenticator.required else 0
        )

    @property
    def counts_addresses(self) -> bool:
        """True if limits need the address of a connection."""
        return self.rates.by_address or self.failed.counts

    def allows_origin(self, origin: str) -> bool:
        """Return whether pages of an origin (`https://example.com`) may connect."""
        return self._settings.allows_origin(origin)

    def principal_of(self, token: str | None, address: str) -> Principal:
        """Return the principal of a token, or the anonymous one without a token.

        Args:
            token: as it was shown.
            address: who shows it; anything if addresses don't count.

        Raises:
            MessageError: it is not accepted, or one is needed; or the address failed too often.
        """
        if self.failed.any_recent and self.failed.wait_s(address, time.monotonic()):
            raise MessageError(ProblemCode.UNAUTHORIZED, TOO_MANY_FAILURES)
        try:
            return self._authenticator.of_socket(token)
        except Problem as problem:
            known = problem.status == HTTPStatus.UNAUTHORIZED
            if known:
                self.failed.note(address, time.monotonic())
            code = ProblemCode.UNAUTHORIZED if known else ProblemCode.UNAVAILABLE
            raise MessageError(code, problem.detail) from None

    def redeem(self, ticket: str, then: Callable[[Grant | MessageError], None]) -> None:
        """Take a ticket, which is of no use to anybody afterwards.

        Args:
            ticket: as it was shown.
            then: called once, with what is to be given to `principal_of_ticket`.
        """
        self._tickets.redeem(ticket, then)

    def principal_of_ticket(self, found: Grant | MessageError, address: str) -> Principal:
        """Return the principal of a redeemed ticket.

        Args:
            found: what it stands for, or why it is not accepted.
            address: as for `principal_of`.

        Raises:
            MessageError: it is not accepted, or what it stands for isn't any more.
        """
        try:
            if isinstance(found, MessageError):
                raise found
            principal = self._authenticator.of_grant(found)
        except Problem as problem:
            refused = MessageError(ProblemCode.UNAVAILABLE, problem.detail)
            if problem.status == HTTPStatus.UNAUTHORIZED:
                refused = MessageError(
                    ProblemCode.TICKET_NOT_ACCEPTED,
                    "what this ticket was given out for is not accepted any more",
                )
        except MessageError as error:
            refused = error
        else:
            metrics.tickets.labels("accepted").inc()
            return principal
        if refused.code is ProblemCode.TICKET_NOT_ACCEPTED:
            metrics.tickets.labels("refused").inc()
            self.failed.note(address, time.monotonic())
        else:
            metrics.tickets.labels("unavailable").inc()
        raise refused

    def still_good(self, principal: Principal) -> Principal | None:
        """Recheck the API key of a user admitted by its ticket; see `Authenticator`."""
        return self._authenticator.still_good(principal)

    def admit(self, connection: Applicant, message: Register) -> None:
        """Check that a connection may register, note its principal and give it its seat.

        Raises:
            MessageError: it may not.
        """
        if message.token is not None or connection.principal is None:
            connection.principal = self.principal_of(message.token, connection.address)
        principal = connection.principal
        if principal.user not in (None, message.user):
            raise MessageError(ProblemCode.FORBIDDEN, "the token is another user's")
        check_rooms(principal, message.rooms)
        self.check_number(principal, len(message.rooms))
        self._seats.take(connection)

    def leave(self, connection: Applicant) -> None:
        """Take a connection's seat back, if it has one."""
        self._seats.leave(connection)

    def most_rooms(self, principal: Principal | None) -> int:
        """Maximum number of rooms per connection."""
        return self._seats.rooms(principal)

    def check_number(self, principal: Principal, rooms: int) -> None:
        """Check that a connection may have so many rooms.

        Raises:
            MessageError: they are.
        """
        most = self.most_rooms(principal)
        if rooms > most:
            raise MessageError(ProblemCode.TOO_MANY_ROOMS, f"at most {most} rooms per connection")


def check_rooms(principal: Principal, rooms: Iterable[str]) -> None:
    """Check that a token names these rooms, if it names any.

    Raises:
        MessageError: one is not allowed.
    """
    for room in rooms:
        if not principal.rooms.allow(room):
            raise MessageError(ProblemCode.FORBIDDEN, f"the token does not allow room {room}")
