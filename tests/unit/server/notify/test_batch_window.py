"""When requests are let come together, and when not."""

import asyncio

from server.notify.batch_window import GATHER_S, GATHERED, Gathering

PAST_S = 20 * GATHER_S


class Calls:
    """Requests and calls as the acceptor makes them: one call at a time takes all that waits."""

    def __init__(self) -> None:
        self.ended = 0
        self.waiting = 0
        self.gathering = Gathering(asyncio.get_running_loop(), self._end)

    def _end(self) -> None:
        self.ended += 1

    def waits(self) -> bool:
        return self.gathering.is_on

    def come(self, count: int) -> None:
        for _ in range(count):
            self.waiting += 1
            self.gathering.came(self.waiting)

    def call(self, *, meanwhile: int = 0) -> None:
        """One call from its start to its reply, while so many more requests come."""
        taken, self.waiting = self.waiting, 0
        self.come(meanwhile)
        self.gathering.answered(taken)
        self.gathering.begin(self.waiting)


async def test_one_request_after_the_other_never_waits() -> None:
    calls = Calls()
    for _ in range(5):
        calls.come(1)
        calls.call()
        assert not calls.waits()


async def test_after_a_crowd_the_next_call_waits_for_its_time() -> None:
    calls = Calls()
    calls.come(2)
    calls.call(meanwhile=3)
    assert calls.waits()
    assert calls.ended == 0
    await asyncio.sleep(PAST_S)
    assert (calls.waits(), calls.ended) == (False, 1)


async def test_when_all_clients_wait_for_their_answers_nobody_is_waited_for() -> None:
    calls = Calls()
    calls.come(6)
    for _ in range(5):
        calls.call()
        assert calls.waits()
        calls.come(5)
        assert calls.waits()
        calls.come(1)
        assert not calls.waits()
    assert calls.ended == 0


async def test_many_requests_do_not_wait_for_more() -> None:
    calls = Calls()
    calls.come(10 * GATHERED)
    calls.call()
    calls.come(GATHERED - 1)
    assert calls.waits()
    calls.come(1)
    assert not calls.waits()
    calls.call(meanwhile=GATHERED)
    assert not calls.waits()


async def test_a_crowd_is_soon_forgotten() -> None:
    calls = Calls()
    calls.come(8)
    calls.call()
    for _ in range(2):
        calls.gathering.stop()
        calls.come(1)
        calls.call()
    assert not calls.waits()
    await asyncio.sleep(PAST_S)
    assert calls.ended == 0
