"""Which publications are found by their id's time."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.jobs.planning import plan_one
from common.model.ids import made_at_ms
from common.model.job import decode_job
from history.queries.id_time import is_dated, span_of

BODY = b'{"type":"broadcast","userId":1,"message":"hi"}'
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def test_what_the_server_accepts_is_dated() -> None:
    job = decode_job(plan_one(BODY).jobs[0][2])
    created_at = EPOCH + timedelta(milliseconds=job.created_ms)
    assert is_dated(job.id, created_at)
    assert not is_dated(job.id, created_at - timedelta(milliseconds=11))
    assert not is_dated(job.id, created_at + timedelta(seconds=1))


@given(st.integers(0, 2**48 - 1), st.integers(-20, 20))
def test_an_id_is_dated_where_the_search_for_it_looks(made_ms: int, apart_ms: int) -> None:
    text = f"{made_ms:012x}"
    notification = f"{text[:8]}-{text[8:]}-7b41-8c1e-2f5d3b6a9c10"
    assert made_at_ms(notification) == made_ms
    first, last = span_of(notification)
    try:
        created_at = EPOCH + timedelta(milliseconds=made_ms - apart_ms)
    except OverflowError:
        assert first > last
        return
    assert is_dated(notification, created_at) == (first <= created_at <= last)
    if first <= last:
        assert is_dated(notification, created_at) == (0 <= apart_ms <= 10)


@pytest.mark.parametrize(
    "notification",
    [
        "",
        "n1",
        "95c4d08d-1e21-4638-b22a-6211589b27a9",
        "x" * 36,
        "zzzzzzzz-zzzz-7zzz-8zzz-zzzzzzzzzzzz",
    ],
)
def test_other_ids_are_found_by_the_index(notification: str) -> None:
    assert made_at_ms(notification) is None
    first, last = span_of(notification)
    assert first > last
    assert not is_dated(notification, datetime.now(UTC))
