"""Server-Sent Events: as a browser's EventSource or `curl -N` hears them."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote, urlencode
from uuid import uuid4

import aiohttp
import pytest
from yarl import URL

from common.model.problems import Problem
from tests.support.clients.sender import Sender, post
from tests.support.clients.socket_client import Client
from tests.support.processes.stack import Stack
from tests.support.waiting import WAIT_TIMEOUT_S
from ws_gateway.protocol.event_ids import longest_id
from ws_gateway.protocol.event_stream_format import check_size


class Listener:
    """Parses the stream: (event, id, data)."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response
        self.last_id = ""

    async def next(self) -> tuple[str, Any]:
        """The next event and its data."""
        name, data = "message", list[str]()
        async with asyncio.timeout(WAIT_TIMEOUT_S):
            while True:
                line = (await self.response.content.readline()).decode()
                assert line, "the stream ended"
                line = line.rstrip("\n")
                if not line and data:
                    return name, json.loads("\n".join(data))
                field, _, value = line.partition(": ")
                match field:
                    case "event":
                        name = value
                    case "data":
                        data.append(value)
                    case "id":
                        self.last_id = value


@asynccontextmanager
async def listen(url: str, last_id: str = "", **query: Any) -> AsyncIterator[Listener]:
    headers = {"Last-Event-ID": last_id} if last_id else {}
    address = url.replace("ws://", "http://") + "events?" + urlencode(query, doseq=True)
    async with aiohttp.ClientSession() as session, session.get(address, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        assert answer.content_type == "text/event-stream"
        yield Listener(answer)


async def test_a_stream_hears_what_a_socket_hears_and_resumes_elsewhere(stack: Stack) -> None:
    user = f"ü/{uuid4()}"
    async with Sender(stack.http_urls[0]) as send:

        async def to_room(n: int) -> str:
            body = {"type": "room", "userId": 1, "target": user, "data": {"n": n}}
            return (await send(body)).id

        async with listen(stack.ws_urls[0], userId=user, room=[user, "other"]) as stream:
            name, registered = await stream.next()
            assert (name, registered["userId"]) == ("registered", user)
            first = await to_room(1)
            private = (
                await send({"type": "private", "userId": 1, "target": user, "message": "p"})
            ).id
            heard = [await stream.next(), await stream.next()]
            assert {(n, body["id"]) for n, body in heard} == {
                ("message", first), ("message", private),
            }  # fmt: skip
            last_id = stream.last_id
        missed = [await to_room(n) for n in range(2, 7)]
        for resume in ({"last_id": last_id}, {"lastEventId": last_id}):
            async with listen(stack.ws_urls[1], userId=user, room=user, **resume) as again:
                _, registered = await again.next()
                assert {c["recovered"] for c in registered["channels"].values()} == {True}
                assert [(await again.next())[1]["id"] for _ in missed] == missed
                live = await to_room(7)
                assert (await again.next())[1]["id"] == live
            missed.append(live)


async def test_line_breaks_that_a_sender_left_in_its_json_do_not_break_the_stream(
    stack: Stack,
) -> None:
    user = str(uuid4())
    async with listen(stack.ws_urls[0], userId=user) as stream:
        await stream.next()
        body = b'{"type":"private","userId":1,"target":"%b","data":{\r\n"a":\n\n1,\r"b":"\\n"}}'
        await post(stack, body % user.encode())
        _, notification = await stream.next()
        assert notification["data"] == {"a": 1, "b": "\n"}


async def test_reading_is_told_to_streams_too(stack: Stack) -> None:
    user = str(uuid4())
    async with (
        listen(stack.ws_urls[0], userId=user) as stream,
        Client(stack.ws_urls[1], user=user) as phone,
    ):
        await stream.next()
        sent = await post(stack, {"type": "private", "userId": 1, "target": user, "message": "x"})
        assert (await stream.next())[1]["id"] == sent.id
        answer = await phone.ask({"action": "read", "id": sent.id})
        assert answer["type"] == "read"
        assert await stream.next() == ("read", answer)


@pytest.mark.parametrize(
    "query",
    [
        "", "userId=", "userId=1&userId=2", "userId=1&x=1", "userId=%ff", "userId=1&room=",
        "&&&", "userId", "userId=" + "x" * 129,
    ],
)  # fmt: skip
async def test_a_query_that_is_not_understood_is_a_problem(stack: Stack, query: str) -> None:
    url = stack.ws_urls[0].replace("ws://", "http://") + "events?" + query
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        assert answer.status == 400
        assert answer.content_type == "application/problem+json"
        assert (await answer.json())["detail"]


async def test_a_stream_is_told_when_its_gateway_stops(make_stack: Any) -> None:
    stack = make_stack(gateways=1)
    async with listen(stack.ws_urls[0], userId=1) as stream:
        await stream.next()
        await asyncio.to_thread(stack.processes["gateway-1"].stop)
        name, reason = await stream.next()
        assert (name, reason["code"], reason["comeBack"]) == ("close", 1012, True)


async def test_an_id_that_is_not_understood_opens_the_stream_and_recovers_nothing(
    stack: Stack,
) -> None:
    user = str(uuid4())
    rubbish = ["rubbish", "broadcast~a~-1", "é", "A" * 5_000, "", "%00", "AYZk", ";;;"]
    async with listen(stack.ws_urls[0], userId=user, room=user) as stream:
        await stream.next()
        own = stream.last_id
    rubbish += [own[:-1], own[1:], own[:10] + "x" + own[11:], own + own]
    for an_id in rubbish:
        for way in ({"last_id": quote(an_id)}, {"lastEventId": an_id}):
            async with listen(stack.ws_urls[1], userId=user, room=user, **way) as stream:
                name, registered = await stream.next()
                assert name == "registered"
                told = {channel.get("recovered") for channel in registered["channels"].values()}
                assert told == ({False} if an_id else {None}), an_id


@pytest.mark.parametrize(
    "rooms",
    [
        [f"{n:032x}" for n in range(100)],
        [f"{n:0120}" for n in range(100)],
        [f"{n:0128}" for n in range(64)],
        ["\N{GRINNING FACE}" * 39 + f"{n:02}" for n in range(20)],
        ["\N{CYRILLIC SMALL LETTER KA}" * 28 + f"{n:02}" for n in range(40)],
    ],
)
async def test_what_was_let_in_can_come_back_however_many_and_long_its_rooms_are(
    stack: Stack, rooms: list[str]
) -> None:
    user = str(uuid4())
    async with listen(stack.ws_urls[0], userId=user, room=rooms) as stream:
        await stream.next()
        last_id = stream.last_id
    missed = await post(
        stack, {"type": "room", "userId": 1, "target": rooms[-1], "message": "while away"}
    )
    async with listen(stack.ws_urls[1], last_id, userId=user, room=rooms) as again:
        _, registered = await again.next()
        channels = registered["channels"]
        assert {channel["recovered"] for channel in channels.values()} == {True}
        assert len(channels) == len(rooms) + 2
        assert (await again.next())[1]["id"] == missed.id
        assert len(again.last_id) <= longest_id(len(channels)) < 8_192


async def test_a_head_that_could_not_come_back_is_refused_at_first(stack: Stack) -> None:
    query = urlencode({"userId": 1, "room": [f"{n:0128}" for n in range(100)]}, doseq=True)
    url = URL(stack.ws_urls[0].replace("ws://", "http://") + "events?" + query, encoded=True)
    async with aiohttp.ClientSession() as session:
        # Until here there is room for the id of an event, too.
        for padding, status in ((0, 200), (2_000, 431)):
            headers = {"X-Padding": "x" * padding}
            async with session.get(url, headers=headers) as answer:
                assert answer.status == status
                if status == 431:
                    assert (await answer.json())["code"] == "head-too-large"


def test_a_request_that_brings_an_id_is_no_larger_than_one_without() -> None:
    for head_bytes in (14_000, 14_900, 15_500):
        outcomes = set()
        for an_id in (None, "x" * 100, "x" * 1_000):
            extra = 0 if an_id is None else len(f"Last-Event-ID: {an_id}\r\n")
            try:
                check_size(head_bytes + extra, an_id, 100)
                outcomes.add("taken")
            except Problem:
                outcomes.add("refused")
        assert len(outcomes) == 1
