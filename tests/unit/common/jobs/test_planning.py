import json
import re
import time
import uuid
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from common.jobs.planning import TARGETS_PER_JOB, fingerprint, is_batch, plan_batch, plan_one
from common.model.channels import channel_of, partition_of, scoped
from common.model.ids import new_id
from common.model.job import Job, decode_job, encode_job
from common.model.notification import batch_adapter
from common.model.problems import Problem
from common.model.timestamps import format_time
from tests.support import strategies
from tests.support.examples import examples

BROADCAST = b'{"type":"broadcast","userId":1,"message":"hello"}'

jobs = st.builds(
    Job,
    id=strategies.texts,
    type=st.sampled_from(["private", "room", "broadcast"]),
    user_id=strategies.texts,
    targets=st.none() | st.lists(strategies.texts, max_size=3),
    message=strategies.texts.map(lambda text: msgspec.Raw(json.dumps(text).encode())),
    data=strategies.objects.map(lambda value: msgspec.Raw(json.dumps(value).encode())),
    priority=st.sampled_from(["critical", "high", "low"]),
    created_at=strategies.dates,
    created_ms=st.integers(0, 2**53),
    expires_ms=st.none() | st.integers(-(2**53), 2**53),
    email=st.just("") | strategies.emails,
)


def _fields(job: Job) -> dict[str, object]:
    return {
        name: bytes(value) if isinstance(value, msgspec.Raw) else value
        for name, value in msgspec.structs.asdict(job).items()
    }


@examples(150)
@given(jobs)
def test_a_job_comes_back_as_it_was(job: Job) -> None:
    assert _fields(decode_job(encode_job(job))) == _fields(job)


@examples(300)
@given(st.binary(max_size=100) | strategies.values.map(lambda value: json.dumps(value).encode()))
def test_what_is_no_job_raises_one_kind_of_error(text: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        decode_job(text)


@pytest.mark.parametrize(
    "text", [b'{"\xff":1}', b'{"id":"\xff"}', b'{"data":' + b"[" * 100_000, b'{"a":' * 100_000]
)
def test_bytes_that_are_no_text_and_depth_without_end_are_that_kind_too(text: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        decode_job(text)


def test_ids_are_uuids_of_version_7_and_sort_by_time() -> None:
    made = [new_id() for _ in range(1_000)]
    assert {uuid.UUID(an_id).version for an_id in made} == {7}
    assert len(set(made)) == len(made)
    assert made == sorted(made)


def test_times_are_utc_with_milliseconds() -> None:
    assert format_time(0) == "1970-01-01T00:00:00.000Z"
    assert format_time(1_795_233_600_123) == "2026-11-21T04:00:00.123Z"


@examples(200)
@given(st.integers(0, 4_000_000_000_000))
def test_times_have_one_form(unix_ms: int) -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", format_time(unix_ms))


def test_a_fingerprint_tells_bodies_apart() -> None:
    assert fingerprint(BROADCAST) == fingerprint(bytes(BROADCAST))
    assert fingerprint(BROADCAST) != fingerprint(BROADCAST + b" ")
    # The script separates it from the answer by a space.
    assert " " not in fingerprint(BROADCAST)


@pytest.mark.parametrize(
    ("body", "batch"),
    [(b"[]", True), (b" \t\r\n[", True), (b"{}", False), (b"", False), (b"5[", False),
     (b'{"a":[]}', False), (b"\x0b[", False)],
)  # fmt: skip
def test_a_bracket_says_that_it_is_a_batch(body: bytes, batch: bool) -> None:
    assert is_batch(body) is batch


def test_one_body_becomes_one_job_and_its_id_is_the_answer() -> None:
    plan = plan_one(BROADCAST)
    ((lane, partition, text),) = plan.jobs
    assert (lane, partition) == ("high", partition_of("default/broadcast"))
    assert decode_job(text).id == plan.answer
    assert (plan.key, plan.fingerprint) == ("", "")
    assert plan.size == len(text)


def test_a_given_id_and_a_key_are_kept() -> None:
    plan = plan_one(BROADCAST, key="default/key:k", notification_id="mine")
    assert (plan.key, plan.answer) == ("default/key:k", "mine")
    assert plan.fingerprint == fingerprint(BROADCAST)
    assert decode_job(plan.jobs[0][2]).id == "mine"


def test_arguments_are_those_that_the_script_reads() -> None:
    plan = plan_batch(b"[%b,%b]" % (BROADCAST, BROADCAST), key="k")
    (one, other) = plan.jobs
    assert plan.arguments() == [
        *("k", plan.fingerprint, plan.answer, "default", 0, 2),
        *(*one, plan.weights[0], *other, plan.weights[1]),
    ]
    ids = plan.answer.split(",")
    assert [decode_job(text).id for _, _, text in plan.jobs] == ids
    assert len(set(ids)) == 2


@examples(60)
@given(
    st.sampled_from(["private", "room"]),
    st.lists(strategies.ids, min_size=1, max_size=300, unique_by=str),
)
def test_every_target_is_in_one_job_of_its_channels_partition(
    kind: str, targets: list[int | str]
) -> None:
    body = json.dumps({"type": kind, "userId": 1, "message": "x", "target": targets}).encode()
    plan = plan_one(body)
    found = []
    for _, partition, text in plan.jobs:
        job = decode_job(text)
        assert job.targets
        assert len(job.targets) <= TARGETS_PER_JOB
        assert {partition_of(scoped(channel_of(kind, t))) for t in job.targets} == {partition}
        assert job.id == plan.answer
        found += job.targets
    assert sorted(found) == sorted(map(str, targets))


def test_a_thousand_targets_of_one_partition_are_several_jobs() -> None:
    same = [n for n in range(20_000) if partition_of(f"default/user:{n}") == 7][:120]
    body = json.dumps({"type": "private", "userId": 1, "message": "x", "target": same}).encode()
    sizes = [len(decode_job(text).targets or ()) for _, _, text in plan_one(body).jobs]
    assert sizes == [50, 50, 20]


def test_text_goes_through_as_the_bytes_that_it_was() -> None:
    message = rb'"\u0041\/ \ud83d\ude00"'
    data = b'{ "n" : 123456789012345678901234567890, "e":1e400, "n":-0, "a":[ ]}'
    body = b'{"type":"broadcast","userId":1,"message":%b,"data":%b}' % (message, data)
    job = decode_job(plan_one(body).jobs[0][2])
    assert bytes(job.message) == message
    assert bytes(job.data) == data


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        (rb'{"type":"broadcast","userId":1,"message":"a","message":"b"}', ["/message"]),
        (rb'{"type":"broadcast","userId":1,"message":5,"mess\u0061ge":"last"}', ["/message"]),
        (rb'{"type":"broadcast","userId":1,"message" : "a", "message"	:"a"}', ["/message"]),
        (rb'{"type":"private","target":1,"userId":1,"target":2,"data":{}}', ["/target"]),
        (rb'{"type":"room","type":"broadcast","userId":1,"data":{}}', ["/type"]),
        (rb'{"type":"broadcast","userId":1,"data":{"a":1,"type":2},"data":{}}', ["/data"]),
        (rb'{"type":"broadcast","userId":1,"data":{},"data":{"a":1,"type":2}}', ["/data"]),
        (rb'{"type":"broadcast","userId":1,"userId":1,"data":{"type":2}}', ["/userId"]),
        (
            rb' [ {"type":"broadcast","userId":1,"data":{}},'
            rb'{"type":"broadcast","userId":1,"email":"a@b","data":{},"email":"c@d"} ]',
            ["/1/email"],
        ),
    ],
)
def test_a_notification_that_has_a_name_twice_is_refused(body: bytes, pointers: list[str]) -> None:
    with pytest.raises(Problem) as refused:
        (plan_batch if is_batch(body) else plan_one)(body)
    assert refused.value.status == 422
    assert [error.pointer for error in refused.value.errors] == pointers
    assert refused.value.errors[0].detail == "is there more than once"


@pytest.mark.parametrize(
    "data",
    [
        rb'{"a":1,"a":2}',
        rb'{"type":1,"type":2,"userId":[{"target":1}]}',
        rb'{"\u0074ype":1,"type":2}',
        rb'{"a":"\"type\":","message":"\\"}',
    ],
)
def test_names_within_data_are_the_client_s_own(data: bytes) -> None:
    one = b'{"type":"broadcast","userId":1,"message":"\\"type\\":","data":%b}' % data
    assert bytes(decode_job(plan_one(one).jobs[0][2]).data) == data
    assert len(plan_batch(b"[%b , %b]" % (one, one)).jobs) == 2


@examples(100)
@given(st.data(), strategies.notifications(), st.booleans())
def test_a_name_is_seen_twice_wherever_and_however_it_is_written(
    data: st.DataObject, body: dict[str, object], in_batch: bool
) -> None:
    text = data.draw(strategies.encodings(body)).strip()
    name = data.draw(st.sampled_from(sorted(body)))
    more = json.dumps(body[name]).encode()
    written = data.draw(st.sampled_from([name, f"\\u{ord(name[0]):04x}{name[1:]}"])).encode()
    assert plan_one(text)
    twice = text[:-1] + b',"%b" :%b}' % (written, more)
    plan, sent = (plan_batch, b"[%b,%b]" % (text, twice)) if in_batch else (plan_one, twice)
    with pytest.raises(Problem) as refused:
        plan(sent)
    assert [e.pointer for e in refused.value.errors] == [f"/1/{name}" if in_batch else f"/{name}"]


@pytest.mark.parametrize("plan", [plan_one, plan_batch])
def test_what_has_expired_has_no_jobs_where_somebody_waits_for_an_answer(plan: Any) -> None:
    text = b'{"type":"broadcast","userId":1,"message":"x","expiresAt":"2020-01-01T00:00:00Z"}'
    place = "/expiresAt"
    if plan is plan_batch:
        text, place = b"[%b,%b]" % (BROADCAST, text), "/1/expiresAt"
    assert plan(text).jobs
    late = plan(text, key="k", refuse_expired=True)
    assert (late.jobs, late.fingerprint) == ([], fingerprint(text))
    assert late.refusal.status == 422
    assert [error.pointer for error in late.refusal.errors] == [place]
    soon = text.replace(b"2020", b"2999")
    assert plan(soon, refuse_expired=True).jobs
    assert plan(soon, refuse_expired=True).refusal is None


def test_a_batch_of_too_many_is_refused_at_a_fraction_of_what_it_costs_to_validate() -> None:
    body = b"[" + b",".join([b'{"a":1}'] * 100_000) + b"]"

    def seconds(refuse: Callable[[bytes], object], refusal: type[Exception]) -> float:
        took = []
        for _ in range(3):
            began = time.process_time()
            with pytest.raises(refusal):
                refuse(body)
            took.append(time.process_time() - began)
        return min(took)

    counted = seconds(plan_batch, Problem)
    validated = seconds(batch_adapter.validate_json, ValidationError)
    assert counted < validated / 2
