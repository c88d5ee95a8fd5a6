import itertools

from common.process.backoff import jittered


def test_waits_double_up_to_the_longest_and_each_is_drawn_from_half_to_the_whole() -> None:
    wholes = [0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0]
    for _ in range(50):
        for wait, whole in zip(jittered(0.1, 1.0), wholes, strict=False):
            assert whole / 2 <= wait <= whole


def test_waits_never_end() -> None:
    assert len(list(itertools.islice(jittered(0.001, 0.002), 1000))) == 1000


def test_two_that_lost_the_same_server_do_not_come_back_in_step() -> None:
    one, other = (list(itertools.islice(jittered(), 20)) for _ in range(2))
    assert one != other
