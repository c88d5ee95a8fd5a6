"""What a message of the requests topic asks for, where nobody waits for an answer."""

import json
from typing import Any

import pytest

from kafka_bridge.ingest.requests import InvalidRequestError, Request, letter, plan

BODY = {"type": "broadcast", "userId": 1, "message": "hi"}


def request(body: Any) -> Request:
    value = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Request("requests", 0, 7, None, value, [])


@pytest.mark.parametrize("batch", [False, True])
def test_what_is_null_is_as_good_as_left_out(batch: bool) -> None:
    body = BODY | dict.fromkeys(("data", "email", "priority", "expiresAt", "target"))
    ((lane, _, text),) = plan(request([body] if batch else body)).jobs
    assert lane == "high"
    assert json.loads(text)["message"] == "hi"


def test_one_that_has_expired_is_a_job_of_which_is_noted_that_it_expired() -> None:
    found = plan(request(BODY | {"expiresAt": "2020-01-01T00:00:00Z"}))
    assert len(found.jobs) == 1
    assert found.refusal is None


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{", "malformed-json: the body is not JSON: it ends too early (line 1, column 1)"),
        (BODY | {"type": "room"}, "invalid: /target: needed for type room"),
        (
            b'{"type":"broadcast","userId":1,"userId":2,"message":"hi"}',
            "invalid: /userId: is there more than once",
        ),
    ],
)
def test_rubbish_is_told_of_in_our_words(body: Any, reason: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        plan(request(body))
    assert str(refused.value) == reason


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        (None, "the name of a header is not UTF-8"),
        ([("id", b"a"), ("id", b"b")], "there are several headers id, which differ"),
        ([("id", None)], "the header id must have 1 to 255 printable characters"),
        ([("id", b"\xff")], "the header id is not UTF-8"),
    ],
)
def test_headers_that_tell_no_key(headers: Any, reason: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        plan(request(BODY)._replace(headers=headers))
    assert str(refused.value) == reason


def test_the_same_id_twice_is_one() -> None:
    headers: Any = [("id", b"a"), ("id", b"a"), ("x", None), ("x", b"\xff")]
    assert plan(request(BODY)._replace(headers=headers)).key == "default/kafka-id:a"


def test_more_notifications_than_a_lane_may_ever_hold() -> None:
    assert len(plan(request([BODY] * 10), jobs_max=10).jobs) == 10
    with pytest.raises(InvalidRequestError, match="may ever wait"):
        plan(request([BODY] * 11), jobs_max=10)


@pytest.mark.parametrize(
    "body",
    [
        b"\x00\x00\x00\x00\x01avro",
        b"\xff\xfe",
        b"\xef\xbb\xbf{}",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"type":"broadcast","userId":1,"message":"\\ud800"}',
        b'{"\\ud800":1}',
        b"[]",
        b"null",
        b"1e999",
        b"NaN",
        b" " * 100,
        b"\x00",
    ],
)
def test_odd_bodies_are_rubbish_or_notifications_and_nothing_else(body: bytes) -> None:
    try:
        plan(request(body))
    except InvalidRequestError as refused:
        letter(request(body), str(refused))
