"""Tickets, apart from where they are kept."""

import pytest

from common.auth.tickets import Grant, is_ticket, new_ticket, seal, ticket_name, unseal


def test_a_ticket_is_long_and_new_each_time() -> None:
    tickets = {new_ticket() for _ in range(1_000)}
    assert len(tickets) == 1_000
    assert all(is_ticket(ticket) and len(ticket) == len("rt_") + 43 for ticket in tickets)


@pytest.mark.parametrize(
    "text", ["", "rt_", "rt_" + "a" * 42, "rt_" + "a" * 44, "rk_" + "a" * 43, "rt_" + "é" * 43,
             "rt_" + "a" * 42 + " ", "rt_" + "a" * 43 + "\n"],
)  # fmt: skip
def test_what_can_be_no_ticket_is_seen_without_asking(text: str) -> None:
    assert not is_ticket(text)


def test_what_is_kept_can_be_read_with_the_ticket_and_with_nothing_else() -> None:
    ticket, other = new_ticket(), new_ticket()
    grant = Grant("eyJ.token", "key1")
    sealed = seal(ticket, grant)
    assert unseal(ticket, sealed) == grant
    assert b"eyJ" not in sealed
    for wrong, text in ((other, sealed), (ticket, sealed[:-1]), (ticket, b""), (ticket, b"x" * 40)):
        with pytest.raises(ValueError, match="not sealed"):
            unseal(wrong, text)
    assert ticket_name(ticket) != ticket_name(other)
    assert ticket[3:] not in ticket_name(ticket)


def test_a_grant_does_not_show_its_token() -> None:
    assert "secret" not in repr(Grant("secret", "key1"))
