"""Receipts are counted by id, per user and per client application."""

from ws_gateway.reports.receipt_limits import USERS_MAX, Buckets, ReceiptLimits


def test_a_bucket_takes_its_burst_and_then_empties_steadily() -> None:
    buckets = Buckets(10.0, 1_000)
    assert buckets.fits("a", 1_000, 0.0)
    buckets.take("a", 1_000, 0.0)
    assert not buckets.fits("a", 1, 0.0)
    assert buckets.fits("b", 1_000, 0.0)
    assert buckets.fits("a", 50, 5.0)
    assert not buckets.fits("a", 51, 5.0)
    assert buckets.fits("a", 1_000, 100.0)


def test_a_clients_users_share_its_bound_and_none_pays_for_a_refusal() -> None:
    limits = ReceiptLimits(Buckets(1.0, 1_000), Buckets(1.0, 1_500))
    assert limits.take("shop", "1", 1_000, 0.0)
    assert not limits.take("shop", "1", 1, 0.0)
    assert not limits.take("shop", "2", 501, 0.0)
    assert limits.take("shop", "2", 500, 0.0)
    assert limits.take("other", "2", 1_000, 0.0)


def test_users_are_forgotten_in_the_end() -> None:
    buckets = Buckets(1.0, 1_000)
    for n in range(2 * USERS_MAX):
        buckets.take(str(n), 1, 0.0)
    assert len(buckets) == USERS_MAX
