import json
from typing import Any

import msgspec
import pytest

from ws_gateway.protocol.notification_id import notification_id


def text(**fields: Any) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode()


@pytest.mark.parametrize("an_id", ["01a1fc9e-6e77-73d7-a6d8-1314a86077c4", "ü", 'a"b', "a\\b"])
def test_the_id_is_found_as_it_was_written(an_id: str) -> None:
    whole = text(type="private", id=an_id, message='"id":"another"')
    assert notification_id(whole) == an_id
    assert notification_id(json.dumps({"type": "room", "id": an_id}).encode()) == an_id


def test_an_id_far_behind_is_found_too() -> None:
    assert notification_id(text(type="room", message="x" * 500, id="here")) == "here"


def test_an_id_within_the_data_is_not_taken_for_the_notification_s() -> None:
    assert (
        notification_id(text(type="room", message="x" * 80, data={"id": "no"}, id="yes")) == "yes"
    )


@pytest.mark.parametrize("whole", [b"", b"{}", b"[]", b'{"type":"room"}', b'{"id":1}', b"rubbish"])
def test_a_text_without_an_id_is_refused(whole: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        notification_id(whole)
