"""Who publishes: the arguments of one connection to a real Valkey."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.exceptions import RedisError

from common.config.settings import Settings
from common.redis.pipelined_connection import Link, LinkLostError
from tests.support.stores.job_queue import KEYS, Queue
from worker.publish_arguments import RUN_CHARACTERS, Publisher

TIMEOUT_S = 20.0


@pytest.fixture
async def link(queue: Queue) -> AsyncIterator[Link]:
    opened = await Link.connect(queue.url, "test")
    yield opened
    opened.close()


async def test_a_server_is_told_by_its_run_and_each_call_proposes_an_epoch_of_its_own(
    queue: Queue, link: Link
) -> None:
    publisher = Publisher(KEYS, Settings(_env_file=None), "w1")
    await publisher.begin(link, TIMEOUT_S)
    calls = [publisher.arguments() for _ in range(50)]
    info: Any = await queue.redis.info("server")
    assert {call[0] for call in calls} == {info["run_id"][:RUN_CHARACTERS]}
    epochs = {call[4] for call in calls}
    assert len(epochs) == 50
    assert {(*call[:4], *call[5:]) for call in calls} == {(*calls[0][:4], *calls[0][5:])}


@pytest.mark.parametrize(
    ("readers", "trims"), [("", True), ("history", False), ("kafka:drop", False)]
)
async def test_a_publisher_trims_no_events_that_somebody_reads(
    link: Link, readers: str, trims: bool
) -> None:
    settings = Settings(_env_file=None, event_readers=readers, events_max_entries=77)
    publisher = Publisher(KEYS, settings, "w1")
    await publisher.begin(link, TIMEOUT_S)
    *_, most, worker = publisher.arguments()
    assert (most, worker) == (77 if trims else "", "w1")


async def test_without_a_run_nothing_can_be_published(link: Link, queue: Queue) -> None:
    publisher = Publisher(KEYS, Settings(_env_file=None), "w1")

    class Silent(Link):
        async def call(self, *_: Any, timeout_s: float) -> Any:
            return b"# Server\r\nredis_version:7.2.4\r\n"

    with pytest.raises(RedisError, match="no run_id"):
        await publisher.begin(Silent(), TIMEOUT_S)
    link.close()
    with pytest.raises(LinkLostError):
        await publisher.begin(link, TIMEOUT_S)
