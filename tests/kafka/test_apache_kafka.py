"""The core of the bridge against Apache Kafka itself, whose death Tansu can't show."""

import asyncio
import json
import re
from pathlib import Path

import pytest

from tests.conftest import MakeStack
from tests.kafka.checks import (
    check_all_acknowledged,
    check_mirror,
    cloud_event,
    room,
    send_many,
)
from tests.kafka.restore.test_command import check_restore
from tests.kafka.test_consumer import message, until_joined, until_published
from tests.support.processes.process import Process
from tests.support.stores.kafka import (
    DEAD,
    EVENTS,
    REQUESTS,
    ApacheKafka,
    Broker,
    needs_apache_kafka,
)
from tests.support.waiting import until

pytestmark = pytest.mark.apache_kafka


async def test_the_broker_is_killed_and_the_bridge_too(
    apache: Broker, make_stack: MakeStack
) -> None:
    """Under load: SIGKILL of Kafka and its restart from its log, and of the bridge mid-batch."""
    stack = make_stack(bridges=1, gateways=0, KAFKA_BATCH_MAX="300", **apache.settings())
    sending = asyncio.create_task(send_many(stack, 12_000))
    await until(lambda: stack.metric("bridge-1", "roomcast_kafka_mirrored_total") > 600)
    await asyncio.to_thread(apache.kill)
    await asyncio.sleep(2)
    await asyncio.to_thread(apache.start)
    done = stack.metric("bridge-1", "roomcast_kafka_mirrored_total")
    await until(lambda: stack.metric("bridge-1", "roomcast_kafka_mirrored_total") > done)
    stack.kill("bridge-1")
    await asyncio.to_thread(stack.start, "bridge-1")
    ids = await sending
    await check_mirror(apache, ids)
    await check_all_acknowledged(stack)


async def test_requests_and_rubbish(apache: Broker, make_stack: MakeStack) -> None:
    stack = make_stack(bridges=1, gateways=0, **apache.settings("history,kafka"))
    await until_joined(stack)
    wanted = [f"m{n}" for n in range(200)]
    await asyncio.to_thread(
        apache.produce,
        REQUESTS,
        *(message(room(1, text), id=f"id-{text}") for text in wanted),
        *(message(room(1, text), id=f"id-{text}") for text in wanted),
        (b"no json", {}),
    )
    await until_published(stack, wanted)
    (letter,) = await asyncio.to_thread(apache.consume, DEAD, 1)
    assert letter.value == b"no json"
    assert letter.headers["reason"].startswith(b"malformed-json")
    stack.kill("bridge-1")
    await asyncio.to_thread(stack.start, "bridge-1")
    await asyncio.to_thread(apache.produce, REQUESTS, (json.dumps(room(1, "last")).encode(), {}))
    await until_published(stack, [*wanted, "last"])


async def test_restore(apache: Broker, make_stack: MakeStack) -> None:
    await check_restore(apache, make_stack)


async def test_tls_and_a_password(tmp_path: Path, make_stack: MakeStack) -> None:
    """What talks to the brokers gets through with both, and says what is wrong without."""
    needs_apache_kafka()
    with ApacheKafka(tmp_path, secured=True) as broker:
        stack = make_stack(gateways=0, **(broker.settings() | broker.secured))
        bridges = {
            stack.add(
                "bridge", KAFKA_PASSWORD="another"
            ): "kafka refuses a request.*invalid username or password",
            stack.add("bridge", KAFKA_CA_FILE=""): "disconnected: connection",
        }
        for bridge, reason in bridges.items():
            process = stack.processes[bridge]
            process.start()

            def said(process: Process = process, reason: str = reason) -> bool:
                return re.search(reason, process.log_tail(), re.IGNORECASE) is not None

            await until(said, reason)
            assert not stack.is_ready(bridge)
            process.stop()
            refusals = [line for line in process.log_lines() if "librdkafka" in line["logger"]]
            assert 1 <= len(refusals) < 10
        await asyncio.to_thread(stack.start, stack.add("bridge"))
        await asyncio.to_thread(broker.produce, REQUESTS, message(room(1, "asked"), id="one"))
        await until_published(stack, ["asked"])
        await check_all_acknowledged(stack)
        (record,) = await asyncio.to_thread(broker.consume, EVENTS, 1)
        assert cloud_event(record)["data"]["message"] == "asked"
