import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.jobs.planning import plan_one
from common.model.channels import Lane
from common.model.job import decode_job
from common.model.problems import Problem
from tests.support import strategies
from tests.support.examples import examples
from worker.open_door import read_by_hand

BODY = {"userId": 1, "type": "broadcast", "message": "hi"}


def by_hand(text: bytes | dict[str, Any], lane: Lane = Lane.HIGH) -> Any:
    return read_by_hand(text if isinstance(text, bytes) else json.dumps(text).encode(), lane)


def test_a_body_of_notify_is_taken() -> None:
    plan = by_hand(b'{"userId":1,"type":"broadcast","message":"hi"}')
    assert (plan.key, plan.jobs[0][0]) == ("", "high")


@pytest.mark.parametrize("lane", list(Lane))
def test_the_lane_is_the_one_it_was_pushed_to(lane: Lane) -> None:
    assert by_hand(BODY, lane).jobs[0][0] == lane
    assert by_hand(BODY | {"id": "x"}, lane).jobs[0][0] == lane


@pytest.mark.parametrize("lane", list(Lane))
def test_unless_it_says_otherwise(lane: Lane) -> None:
    plan = by_hand(BODY | {"priority": "low"}, lane)
    assert plan.jobs[0][0] == decode_job(plan.jobs[0][2]).priority == "low"


def test_an_id_is_the_notifications_and_is_remembered() -> None:
    plan = by_hand(BODY | {"id": "order 5/é"})
    assert plan.answer == decode_job(plan.jobs[0][2]).id == "order 5/é"
    assert plan.key == "default/id:order 5/é"
    assert plan.fingerprint


def test_the_same_text_twice_is_the_same_request() -> None:
    one, other = by_hand(BODY | {"id": "x"}), by_hand(BODY | {"id": "x"})
    assert (one.key, one.fingerprint, one.answer) == (other.key, other.fingerprint, other.answer)


@pytest.mark.parametrize("an_id", ["", "x" * 129, 5, [], "a,b", "a\nb", "\u200b\x00"])
def test_an_id_that_is_none_is_refused(an_id: object) -> None:
    with pytest.raises(Problem) as caught:
        by_hand(BODY | {"id": an_id})
    assert caught.value.detail.startswith("/id: ")


@pytest.mark.parametrize("lane", list(Lane))
def test_what_is_null_is_as_good_as_left_out(lane: Lane) -> None:
    nothing = dict.fromkeys(("id", "priority", "data", "email", "expiresAt", "target"))
    plan = by_hand(BODY | nothing, lane)
    assert (plan.key, plan.jobs[0][0]) == ("", lane)


@pytest.mark.parametrize("lane", list(Lane))
@pytest.mark.parametrize("name", ["id", "userId", "priority"])
def test_a_name_that_is_there_twice_is_refused(lane: Lane, name: str) -> None:
    text = json.dumps({"id": "x", "priority": str(lane), **BODY}).encode()
    twice = text[:-1] + b',"%b":"low"}' % name.encode()
    with pytest.raises(Problem) as refused:
        by_hand(twice, lane)
    assert refused.value.detail == f"/{name}: is there more than once"


def test_one_that_has_expired_is_a_job_of_which_is_noted_that_it_expired() -> None:
    assert by_hand(BODY | {"expiresAt": "2020-01-01T00:00:00Z"}).jobs


@examples(100)
@given(st.data(), st.sampled_from(list(Lane)), st.booleans())
def test_any_notification_is_taken_with_its_texts_untouched(
    data: st.DataObject, lane: Lane, has_id: bool
) -> None:
    body = data.draw(strategies.notifications())
    if has_id:
        body["id"] = "mine"
    text = data.draw(strategies.encodings(body))
    plan = read_by_hand(text, lane)
    for chosen, _, waiting in plan.jobs:
        job = decode_job(waiting)
        assert chosen == body.get("priority", str(lane))
        assert strategies.same(json.loads(bytes(job.message)), body.get("message"))
        assert strategies.same(json.loads(bytes(job.data)), body.get("data"))
        if has_id:
            assert job.id == "mine"


@examples(300)
@given(
    st.one_of(
        st.binary(max_size=60),
        strategies.values.map(lambda value: json.dumps(value).encode()),
        st.builds(lambda rest: b'{"id":' + rest, st.binary(max_size=30)),
    ),
    st.sampled_from(list(Lane)),
)
def test_rubbish_is_a_problem_and_nothing_else(text: bytes, lane: Lane) -> None:
    with pytest.raises(Problem):
        read_by_hand(text, lane)


@pytest.mark.parametrize("lane", list(Lane))
@pytest.mark.parametrize(
    "text",
    [
        b"",
        b'{"\xff":1}',
        b'{"id":"\xff","type":"broadcast","userId":1,"message":"x"}',
        b'{"id":"\\ud800","type":"broadcast","userId":1,"message":"x"}',
        b'{"type":"broadcast","userId":1,"message":"\\ud800"}',
        b'{"type":"broadcast","userId":1,"data":{"a":NaN}}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'[{"type":"broadcast","userId":1,"message":"x"}]',
    ],
)
def test_what_once_ended_the_worker_is_a_problem(text: bytes, lane: Lane) -> None:
    with pytest.raises(Problem) as caught:
        read_by_hand(text, lane)
    # The reason goes into Redis with the text.
    assert caught.value.detail.encode()


def test_it_is_planned_as_the_server_plans_it() -> None:
    text = json.dumps(BODY | {"type": "room", "target": [1, 2, 3]}).encode()
    assert [job[:2] for job in by_hand(text).jobs] == [job[:2] for job in plan_one(text).jobs]
