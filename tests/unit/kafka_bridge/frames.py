"""Publications as the worker writes them."""

import json

from common.events.event import Event
from common.jobs.planning import plan_one
from worker.publish_batch import entry_at_once


def publication(
    room: str,
    an_id: str,
    message: str,
    offset: int,
    epoch: str = "abcd",
    entry: str = "1795250081600-1",
) -> Event:
    """An event of the room's channel, accepted at 2026-11-21T08:34:41.598Z."""
    body = {"type": "room", "userId": 1, "target": "1", "message": message or "m"}
    job = json.loads(plan_one(json.dumps(body).encode(), notification_id=an_id).jobs[0][2])
    job |= {"targets": [room], "createdAt": "2026-11-21T08:34:41.598Z"}
    planned = entry_at_once(json.dumps(job, ensure_ascii=False).encode())
    assert planned is not None
    channel, _, head, _ = planned
    text = head + f'{epoch}","offset":{offset}}}'.encode()
    return Event(entry, "published", channel, "w1", text, b"")
