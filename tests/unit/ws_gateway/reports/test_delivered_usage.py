from common.accounting.usage import Outcome
from common.model.publication import Position
from ws_gateway.channels.channel import Channel
from ws_gateway.channels.pending import Pending
from ws_gateway.channels.run import Run
from ws_gateway.reports.delivered_usage import DeliveredUsage

SHOP, OPEN = Channel("shop/room:1", "room:1"), Channel("default/room:1", "room:1")


def pending(*accepted_ms: int) -> list[Pending]:
    return [Pending(b"", Position("e", n), ms) for n, ms in enumerate(accepted_ms, 1)]


def test_each_socket_counts_for_each_publication_but_not_for_a_reset() -> None:
    usage = DeliveredUsage()
    usage.note(SHOP, pending(1, 0, 1), 3)
    assert list(usage.counted()) == [("shop", Outcome.DELIVERED, 6)]


def test_a_count_is_given_once() -> None:
    usage = DeliveredUsage()
    usage.note(SHOP, pending(1), 1)
    assert list(usage.counted())
    assert not list(usage.counted())


def test_nothing_is_counted_for_nobody_or_without_credentials() -> None:
    usage = DeliveredUsage()
    usage.note(SHOP, pending(1), 0)
    usage.note(OPEN, pending(1), 5)
    assert not list(usage.counted())


def test_a_replay_counts_for_the_one_who_got_it() -> None:
    usage = DeliveredUsage()
    usage.note(SHOP, pending(1), 2)
    usage.note_replayed(SHOP, [Run("e", 3, 5), Run("f", 1, 1)])
    assert list(usage.counted()) == [("shop", Outcome.DELIVERED, 6)]
