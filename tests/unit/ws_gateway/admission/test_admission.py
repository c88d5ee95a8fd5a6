"""Who may connect, as whom, and into which rooms."""

import pytest

from common.auth.principal import OPEN, Principal, Rooms
from common.auth.tickets import Grant
from common.model.problem_codes import ProblemCode
from tests.unit.ws_gateway.gateway_at_work import gateway_at_work
from ws_gateway.admission.admission import check_rooms
from ws_gateway.protocol.messages import MessageError, Register


class Applicant:
    """A connection that wants to be let in."""

    def __init__(self, principal: Principal | None = None) -> None:
        self.address, self.seat, self.principal = "::1", "", principal


async def test_without_credentials_everybody_is_let_in_while_the_mode_is_open() -> None:
    async with gateway_at_work(auth_mode="open") as work:
        applicant = Applicant()
        work.admission.admit(applicant, Register("ann", ("1",)))
        assert applicant.principal is OPEN


async def test_where_tokens_are_required_nobody_registers_without_one() -> None:
    async with gateway_at_work(auth_mode="required") as work:
        with pytest.raises(MessageError, match="credentials are missing") as caught:
            work.admission.admit(Applicant(), Register("ann", ()))
        assert caught.value.code is ProblemCode.UNAUTHORIZED


async def test_an_address_that_failed_too_often_is_not_looked_at() -> None:
    limits = {"auth_mode": "required", "failed_attempts_per_minute": 1}
    async with gateway_at_work(**limits) as work:
        assert work.admission.counts_addresses
        for address, text in (("::1", "missing"), ("::1", "too many"), ("::2", "missing")):
            with pytest.raises(MessageError, match=text):
                work.admission.principal_of(None, address)


async def test_a_token_s_user_may_register_as_nobody_else() -> None:
    async with gateway_at_work() as work:
        applicant = Applicant(Principal("shop", user="ann"))
        with pytest.raises(MessageError) as caught:
            work.admission.admit(applicant, Register("bob", ()))
        assert caught.value.code is ProblemCode.FORBIDDEN
        assert applicant.seat == ""
        work.admission.admit(applicant, Register("ann", ()))
        assert applicant.seat == "shop"


async def test_a_seat_is_taken_once_and_given_back_once() -> None:
    async with gateway_at_work(client_max_connections=1) as work:
        first, second = (Applicant(Principal("shop", user="ann")) for _ in range(2))
        work.admission.admit(first, Register("ann", ()))
        work.admission.admit(first, Register("ann", ()))
        with pytest.raises(MessageError) as caught:
            work.admission.admit(second, Register("ann", ()))
        assert caught.value.code is ProblemCode.TOO_MANY_CONNECTIONS
        work.admission.leave(first)
        work.admission.leave(first)
        work.admission.admit(second, Register("ann", ()))


async def test_rooms_are_bounded_for_a_registration_too() -> None:
    async with gateway_at_work(auth_mode="open", max_rooms=1) as work:
        with pytest.raises(MessageError) as caught:
            work.admission.admit(Applicant(), Register("ann", ("1", "2")))
        assert caught.value.code is ProblemCode.TOO_MANY_ROOMS


def test_rooms_are_those_that_the_token_names() -> None:
    principal = Principal("shop", rooms=Rooms(frozenset({"1"}), ("team-",)))
    check_rooms(principal, ["1", "team-a"])
    with pytest.raises(MessageError, match="room 2"):
        check_rooms(principal, ["1", "2"])


async def test_a_ticket_that_is_not_accepted_counts_as_a_failure() -> None:
    async with gateway_at_work(auth_mode="required", failed_attempts_per_minute=1) as work:
        refused = MessageError(ProblemCode.TICKET_NOT_ACCEPTED, "used")
        away = MessageError(ProblemCode.UNAVAILABLE, "away")
        for error, counts in ((away, False), (refused, True)):
            with pytest.raises(MessageError) as caught:
                work.admission.principal_of_ticket(error, "::1")
            assert caught.value.code is error.code
            assert bool(work.admission.failed) is counts


async def test_what_is_no_ticket_is_not_asked_of_redis() -> None:
    async with gateway_at_work() as work:
        found: list[Grant | MessageError] = []
        work.admission.redeem("rubbish", found.append)
        (error,) = found
        assert isinstance(error, MessageError)
        assert error.code is ProblemCode.TICKET_NOT_ACCEPTED
