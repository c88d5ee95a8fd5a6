"""What readers of the event stream hold in memory when events are large."""

from pathlib import Path

from tests.conftest import MakeStack
from tests.history.stream import add, frame, published
from tests.support.clients.sender import Sender
from tests.support.processes.stack import KEYS, Stack
from tests.support.stores.kafka import Broker
from tests.support.waiting import until

SMALL = 6_000
REQUESTS, TARGETS, SIZE = 3, 1_000, 60_000
GROWTH_MAX = REQUESTS * TARGETS * SIZE // 2
"""It was 135 MB (history) and 122 MB (bridge) of 180 when a batch ended by its count."""


def memory(stack: Stack, name: str, field: str) -> int:
    """Bytes of a process: `VmRSS` now, `VmHWM` at most."""
    text = Path(f"/proc/{stack.processes[name].pid}/status").read_text()
    (line,) = (line for line in text.splitlines() if line.startswith(field))
    return 1024 * int(line.split()[1])


async def test_readers_grow_by_a_part_of_what_large_events_are(
    make_stack: MakeStack, tansu: Broker
) -> None:
    stack = make_stack(history=1, bridges=1, **tansu.settings("history,kafka"))
    readers = ["history-1", "bridge-1"]

    async def all_read() -> bool:
        async with stack.valkey.client() as redis:
            waiting = await redis.hvals(KEYS.waiting)
            groups = await redis.xinfo_groups(KEYS.events)
            return not any(map(int, waiting)) and all(group["lag"] == 0 for group in groups)

    # Small ones, after which a reader takes many at once.
    await add(stack, *(published(frame(n)) for n in range(1, SMALL + 1)))
    await until(all_read)
    before = {name: memory(stack, name, "VmRSS") for name in readers}
    async with Sender(stack.http_urls[0]) as send:
        for first in range(REQUESTS):
            targets = list(range(first * TARGETS, (first + 1) * TARGETS))
            message = f"{first}" * SIZE
            body = {"type": "private", "userId": 1, "target": targets, "message": message}
            assert (await send(body)).status == 202
    await until(all_read)
    grown = {name: memory(stack, name, "VmHWM") - before[name] for name in readers}
    assert all(size < GROWTH_MAX for size in grown.values()), grown
