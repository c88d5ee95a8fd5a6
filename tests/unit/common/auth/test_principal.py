"""Which rooms a user may subscribe to."""

import pytest
from hypothesis import given

from common.auth.client_records import Scope
from common.auth.principal import EVERY_ROOM, OPEN, Principal, Rooms
from common.model.channels import DEFAULT_CLIENT
from tests.support import strategies
from tests.support.examples import examples

SOME = Rooms(frozenset({"1", "lobby"}), ("team-", "ü"))


@pytest.mark.parametrize("room", ["1", "lobby", "team-", "team-a", "über"])
def test_names_and_prefixes_allow_a_room(room: str) -> None:
    assert SOME.allow(room)


@pytest.mark.parametrize("room", ["", "11", "lobby2", "Lobby", "team", "a-team-", "u"])
def test_a_room_that_only_looks_alike_is_not_allowed(room: str) -> None:
    assert not SOME.allow(room)


@examples(100)
@given(strategies.texts)
def test_no_rooms_are_none_and_every_room_is_every_one(room: str) -> None:
    assert not Rooms().allow(room)
    assert not Principal("c1", user="ann").rooms.allow(room)
    assert EVERY_ROOM.allow(room)


def test_who_is_only_known_as_a_user_may_nothing_else() -> None:
    user = Principal("c1", user="ann")
    assert (user.scopes, user.operator, user.key) == (frozenset(), False, "")


def test_without_credentials_everything_is_allowed_to_the_default_client() -> None:
    assert OPEN.client == DEFAULT_CLIENT
    assert OPEN.scopes == {Scope.NOTIFY, Scope.READ, Scope.ADMIN}
    assert OPEN.operator
    assert OPEN.user is None
