"""What a message of the requests topic asks for, where nobody waits for an answer."""

import json
from typing import Any

import pytest

from kafka_bridge.requests import Request, RubbishError, plan

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
    with pytest.raises(RubbishError) as refused:
        plan(request(body))
    assert str(refused.value) == reason
