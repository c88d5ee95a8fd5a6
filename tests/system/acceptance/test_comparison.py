"""What the kill matrix compares with does find what would be wrong."""

import json
from typing import Any

import pytest

from common.model.channels import DEFAULT_CLIENT
from tests.support.flow import compare
from tests.support.processes.whole_stack import mirrored
from tests.support.stores.kafka import Record

CHANNELS = ["room:1", "room:2"]


def body(offset: int, room: int = 1) -> dict[str, Any]:
    return {"id": f"n{room}-{offset}", "channel": f"room:{room}", "epoch": "e", "offset": offset}


def record(data: dict[str, Any], at: int = 0, **changed: Any) -> Record:
    event = {
        "type": "roomcast.notification.published",
        "id": f"default/{data['channel']}/e/{data['offset']}",
        "data": data,
    }
    found: dict[str, Any] = {
        "partition": 0,
        "offset": at,
        "key": f"default/{data['channel']}".encode(),
        "value": json.dumps(event).encode(),
        "headers": {"id": data["id"].encode()},
    }
    return Record(**found | changed)


def test_repeats_are_dropped_and_counted_and_other_channels_left_out() -> None:
    records = [record(body(n, room)) for n, room in ((1, 1), (1, 2), (2, 1), (1, 1), (2, 1))]
    found = mirrored([*records, record(body(1, room=3))], DEFAULT_CLIENT, CHANNELS)
    assert found.bodies == {"room:1": [body(1), body(2)], "room:2": [body(1, room=2)]}
    assert found.repeats == 2


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(record(body(1) | {"id": "other"}), id="another body under the same id"),
        pytest.param(record(body(1), partition=1), id="a repeat in another partition"),
        pytest.param(record(body(2), key=b"default/room:2"), id="the key of another channel"),
        pytest.param(record(body(2), headers={"id": b"other"}), id="a header that lies"),
    ],
)
def test_what_contradicts_itself_in_kafka_is_found(wrong: Record) -> None:
    with pytest.raises(AssertionError):
        mirrored([record(body(1)), wrong], DEFAULT_CLIENT, CHANNELS)


@pytest.mark.parametrize(
    "found",
    [
        pytest.param([1, 2], id="the last is lost"),
        pytest.param([2, 3], id="the first is lost"),
        pytest.param([1, 2, 2, 3], id="twice"),
        pytest.param([1, 3, 2], id="out of order"),
        pytest.param([1, 2, 3, 4], id="never published"),
        pytest.param([], id="nothing"),
    ],
)
def test_what_differs_is_found(found: list[int]) -> None:
    wanted = [body(n) for n in (1, 2, 3)]
    compare("Kafka", "room:1", wanted, wanted)
    with pytest.raises(AssertionError, match="Kafka has"):
        compare("Kafka", "room:1", [body(n) for n in found], wanted)
