"""Records of clients as Redis holds them."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.auth.client_records import (
    ClientLimits,
    ClientRecord,
    KeyRecord,
    Scope,
    SecretRecord,
    decode_record,
    encode_record,
)
from tests.support import strategies
from tests.support.examples import examples

times = st.integers(0, 2**53)
keys = st.builds(
    KeyRecord,
    strategies.texts,
    st.binary(max_size=32),
    st.frozensets(st.sampled_from(Scope)),
    times,
)
secrets = st.builds(SecretRecord, strategies.texts, times)
limits = st.builds(
    ClientLimits, **dict.fromkeys(ClientLimits.__struct_fields__, st.none() | st.integers(1, 2**53))
)
records = st.builds(
    ClientRecord,
    strategies.texts,
    strategies.texts,
    st.integers(1, 2**53),
    st.booleans(),
    st.booleans(),
    st.lists(keys, max_size=2).map(tuple),
    st.lists(secrets, max_size=2).map(tuple),
    st.just(({"kty": "RSA", "kid": "1"},)),
    limits,
)


@examples(50)
@given(records)
def test_a_record_comes_back_from_its_text(record: ClientRecord) -> None:
    assert decode_record(encode_record(record)) == record


def test_what_is_as_usual_is_left_out() -> None:
    assert json.loads(encode_record(ClientRecord("c1", "Shop", 1))) == {
        "id": "c1", "name": "Shop", "version": 1,
    }  # fmt: skip


def test_what_a_later_version_adds_is_passed_over() -> None:
    assert decode_record(b'{"id":"c1","name":"n","version":1,"colour":"red"}').id == "c1"


@pytest.mark.parametrize(
    "wrong",
    [{"id": None}, {"version": "1"}, {"keys": [{"id": "k"}]}, {"limits": {"connections": 0}},
     {"limits": {"recipients": -1}}, {"keys": [{"id": "k", "digest": "", "scopes": ["root"]}]}],
)  # fmt: skip
def test_what_is_no_record_is_refused(wrong: dict[str, Any]) -> None:
    text = json.dumps({"id": "c1", "name": "n", "version": 1} | wrong).encode()
    with pytest.raises(msgspec.ValidationError):
        decode_record(text)


def test_no_secret_gets_into_a_log() -> None:
    record = ClientRecord("c1", "Shop", 1, secrets=(SecretRecord("hush"),))
    assert "hush" not in f"{record} {record!r} {record.secrets}"
    assert b"hush" in encode_record(record)
