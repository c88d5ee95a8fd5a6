"""Jobs as they wait in Redis."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.model.job import Job, decode_job, encode_job, weight_of
from tests.support import strategies
from tests.support.examples import examples


def job(**fields: Any) -> Job:
    """A job of one private notification; content is given as a Python value."""
    content = {
        name: msgspec.Raw(json.dumps(fields.pop(name, None)).encode())
        for name in ("message", "data")
    }
    found: dict[str, Any] = {
        "id": "n1", "type": "private", "user_id": "1", "targets": ["2"], "priority": "high",
        "created_at": "2026-11-21T04:00:00.123Z", "created_ms": 1_795_233_600_123,
    }  # fmt: skip
    return Job(**found | content | fields)


@examples(50)
@given(
    st.one_of(st.none(), st.lists(strategies.texts, max_size=3)),
    strategies.values,
    strategies.texts,
    st.booleans(),
    st.one_of(st.none(), st.integers(0, 2**53)),
)
def test_a_job_comes_back_from_its_text(
    targets: list[str] | None, data: object, email: str, shared: bool, expires_ms: int | None
) -> None:
    one = job(targets=targets, data=data, email=email, shared=shared, expires_ms=expires_ms)
    assert decode_job(encode_job(one)) == one


def test_content_keeps_its_bytes() -> None:
    data = b'{"n": 12345678901234567890,  "n":1.0}'
    one = job()
    one.data = msgspec.Raw(data)
    assert bytes(decode_job(encode_job(one)).data) == data


def test_a_person_can_read_it_and_finds_no_defaults_in_it() -> None:
    text = json.loads(encode_job(job(message="hi")))
    assert (text["userId"], text["message"], text["createdMs"]) == ("1", "hi", 1_795_233_600_123)
    assert not {"expiresMs", "email", "client", "shared"} & text.keys()


def test_what_was_written_before_a_field_existed_is_read() -> None:
    text = json.loads(encode_job(job()))
    found = decode_job(json.dumps(text | {"laterField": 1}).encode())
    assert (found.client, found.email, found.expires_ms, found.shared) == (
        "default",
        "",
        None,
        False,
    )


@pytest.mark.parametrize(
    "text",
    [b"", b"{}", b"[]", b"rubbish", b'{"id":1}', b"\xff\xfe", b'{"\xff":1}',
     encode_job(job())[:-1], encode_job(job()).replace(b'"n1"', b'"\xff"'),
     encode_job(job()).replace(b'"message":null', b'"message":' + b"[" * 100_000)],
)  # fmt: skip
def test_what_is_no_job_is_refused_with_one_kind_of_error(text: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        decode_job(text)


@examples(100)
@given(st.integers(1, 50), st.integers(0, 5_000), st.integers(0, 5_000))
def test_a_weight_grows_with_content_and_targets_and_survives_the_list(
    targets: int, size: int, more: int
) -> None:
    one = job(targets=["t"] * targets, message="x" * size)
    larger = job(targets=["t"] * targets, message="x" * (size + more))
    wider = job(targets=["t"] * (targets + 1), message="x" * size)
    assert weight_of(decode_job(encode_job(one))) == weight_of(one)
    # The content is in the log and in the event.
    assert weight_of(larger) - weight_of(one) == 2 * more * targets
    assert weight_of(wider) * targets == weight_of(one) * (targets + 1)


def test_a_broadcast_weighs_as_much_as_one_target_and_shared_content_nothing_for_each() -> None:
    assert weight_of(job(targets=None, message="x")) == weight_of(job(message="x"))
    small, large = (job(targets=["a", "b"], message="x" * n, shared=True) for n in (1, 10_000))
    assert weight_of(small) == weight_of(large)
