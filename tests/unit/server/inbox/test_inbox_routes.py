import json

import pytest

from history.queries.inbox import Item
from server.inbox.inbox_routes import InboxItem, item_text

FRAME = (
    b'{"type":"private","id":"n1","userId":"2","target":"1","message":"hi","data":null,'
    b'"priority":"high","createdAt":"2026-11-21T05:40:03.832Z","channel":"user:1",'
    b'"epoch":"15f85959","offset":1}'
)


@pytest.mark.parametrize("archived", [False, True])
@pytest.mark.parametrize(
    ("read_ms", "read_at"), [(None, None), (1_700_000_000_000, "2023-11-14T22:13:20.000Z")]
)
def test_an_item_is_its_frame_with_marks_behind(
    read_ms: int | None, read_at: str | None, archived: bool
) -> None:
    text = item_text(Item("n1", 0, read_ms, FRAME, archived))
    assert text.startswith(FRAME[:-1] + b",")
    found = json.loads(text)
    marks = {"read": read_ms is not None, "readAt": read_at}
    assert found == json.loads(FRAME) | marks | ({"archived": True} if archived else {})


def test_an_item_has_the_fields_that_are_declared() -> None:
    found = json.loads(item_text(Item("n1", 0, None, FRAME, True)))
    assert set(found) == set(InboxItem.__struct_encode_fields__)
