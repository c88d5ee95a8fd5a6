from time import monotonic

from ws_gateway.transport.clock import Clock


def test_time_stands_until_the_next_tick() -> None:
    clock = Clock()
    began = clock.now
    assert clock.now is began
    assert began <= monotonic()
    clock.tick()
    assert clock.now > began
