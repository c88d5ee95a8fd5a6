"""Where in Kafka a notification is, as its story tells, and as Kafka has it."""

import asyncio
import json

from tests.conftest import MakeStack
from tests.kafka.checks import cloud_event
from tests.support.clients.api import Api
from tests.support.stores.kafka import EVENTS, Broker
from tests.support.waiting import until


async def test_the_story_names_the_messages_that_are_in_kafka(
    tansu: Broker, make_stack: MakeStack
) -> None:
    stack = make_stack(history=1, bridges=1, **tansu.settings("history,kafka"))
    async with Api(stack) as api:
        rooms = [f"r{number}" for number in range(8)]
        sent = [await api.send("room", rooms) for _ in range(3)]
        sent.append(await api.send("private", "ann"))
        expired = stack.push_expired("room", "r1")

        async def mirrored() -> bool:
            stories = [await api.story(one) for one in sent]
            return all(
                len(story["channels"]) == len(wanted)
                and all(c["mirrors"] for c in story["channels"])
                for story, wanted in zip(stories, [rooms, rooms, rooms, ["ann"]], strict=True)
            )

        await until(mirrored, "the stories tell where in Kafka it is")
        records = await asyncio.to_thread(tansu.consume, EVENTS, 3 * len(rooms) + 2)
        where = {(record.partition, record.offset): cloud_event(record) for record in records}
        told = set()
        for one in sent:
            story = await api.story(one)
            for channel in story["channels"]:
                (mirror,) = channel["mirrors"]
                assert mirror["topic"] == EVENTS
                assert mirror["mirroredAt"] >= channel["publishedAt"]
                place = (mirror["partition"], mirror["offset"])
                told.add(place)
                frame = where[place]["data"]
                assert frame["id"] == one
                assert frame["channel"] == channel["channel"]
                assert (frame["epoch"], frame["offset"]) == (channel["epoch"], channel["offset"])
        assert len(told) == 3 * len(rooms) + 1
        assert expired in json.dumps([where[place] for place in where.keys() - told])
        # What nobody was sent has no place in a channel, and so none in the story.
        (channel,) = (await api.story(expired))["channels"]
        assert channel["status"] == "expired"
        assert "mirrors" not in channel
