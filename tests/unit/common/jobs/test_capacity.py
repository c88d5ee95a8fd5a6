import pytest

from common.config.settings import Settings
from common.jobs.capacity import Capacity

BOUND = 100


def make() -> Capacity:
    return Capacity(Settings(events_bound=BOUND, redis_memory_max_ratio=0.8))


@pytest.mark.parametrize(
    ("used", "room", "full"),
    [(0, 800, False), (799, 1, False), (800, 0, True), (1200, 0, True)],
)
def test_jobs_may_take_a_share_of_the_memory(used: int, room: int, full: bool) -> None:
    memory = make().memory({"used_memory": used, "maxmemory": 1000})
    assert (memory.room, memory.share, memory.is_nearly_full) == (room, 800, full)


@pytest.mark.parametrize("info", [{"used_memory": 5}, {"used_memory": 5, "maxmemory": 0}])
def test_a_redis_without_a_limit_has_room_for_any_number(info: dict[str, int]) -> None:
    memory = make().memory(info)
    assert (memory.room, memory.share, memory.is_nearly_full) == ("", 0, False)


def test_the_event_stream_is_full_at_its_bound() -> None:
    capacity = make()
    assert capacity.events_bound == BOUND
    assert [capacity.events_full(entries) for entries in (99, 100, 101)] == [False, True, True]


@pytest.mark.parametrize(
    ("events", "own", "crowds"),
    [(60, 39, False), (60, 40, True), (100, 0, False), (100, 1, True), (120, 1, True)],
)
def test_a_client_crowds_with_as_much_as_is_left_for_everybody(
    events: int, own: int, crowds: bool
) -> None:
    assert make().crowds(events, own) is crowds


def test_below_half_of_the_bound_nobody_can_crowd() -> None:
    capacity = make()
    for events in range(2 * BOUND):
        possible = any(capacity.crowds(events, own) for own in range(events + 1))
        assert possible is capacity.may_crowd(events)
