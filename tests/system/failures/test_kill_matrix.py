r"""The kill matrix: parts die or stall while notifications flow, and everything is counted.

After each fault: every notification answered 202 is in the event stream exactly once per channel,
in the order of acceptance, without a hole in the offsets. The topic in Kafka (without repeats, by
the CloudEvents id), the table in PostgreSQL and the clients of gateways that lived on have exactly
that, body by body. A notification with an unknown outcome is there at most once.

Redis emptied is another matter: what it held is gone. That row lists what is missing, and shows
that every client was told.

With GUARANTEES_TABLE the counts are written as Markdown between the marks of that page:

    GUARANTEES_TABLE=docs/design/guarantees.md \
        python -m pytest tests/system/failures/test_kill_matrix.py
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import asyncpg
import pytest

from tests.support.clients.api import Api
from tests.support.clients.socket_client import Client
from tests.support.credentials import AuthStack, make_client
from tests.support.flow import Flow, Tally
from tests.support.processes.severed_cable import SeverableCable
from tests.support.processes.stack import KEYS, Stack
from tests.support.processes.whole_stack import Whole, entry_order, pending, position, whole_stack
from tests.support.stores.kafka import ApacheKafka, Record, Tansu, needs_apache_kafka
from tests.support.waiting import until

pytestmark = pytest.mark.chaos

LEASE_S: Final = 1.0
ROUND: Final = 250
"""Notifications between two faults."""

_rows: dict[str, Tally] = {}
_HEAD: Final = (
    "| while notifications flow | times | accepted (202) | repeated with the same key"
    " | outcome unknown (503, or no answer) | published | in Kafka | repeats dropped there"
    " | in PostgreSQL | lost | twice | out of order | holes"
    " | deliveries checked |\n|" + " --- |" * 14 + "\n"
)


_lossy: list[str] = []
_LOSSY_HEAD: Final = (
    "| what was lost | accepted (202) | never published or not heard by somebody | clients"
    " | of them told, for every channel that lost something |\n|" + " --- |" * 5 + "\n"
)
_BEGIN: Final = "<!-- matrix:begin (written by tests/system/failures/test_kill_matrix.py) -->"
_END: Final = "<!-- matrix:end -->"


def _lossy_table() -> str:
    return _LOSSY_HEAD + "".join(_lossy)


def _table() -> str:
    return _HEAD + "".join(
        f"| {fault} | {tally.accepted:,} | {tally.repeated:,} | {tally.unknown:,}"
        f" | {tally.published:,} | {tally.in_kafka:,} | {tally.repeats_in_kafka:,}"
        f" | {tally.in_postgres:,} | 0 | 0 | 0 | 0 | {tally.delivered:,} |\n"
        for fault, tally in _rows.items()
    )


@pytest.fixture(scope="module")
def gate() -> Iterator[SeverableCable]:
    """Between Kafka and everybody."""
    with SeverableCable() as gate:
        yield gate


@pytest.fixture(scope="module")
def chaos(tmp_path_factory: pytest.TempPathFactory, gate: SeverableCable) -> Iterator[Whole]:
    """One stack for nearly all rows; each row leaves every part running."""
    folder = tmp_path_factory.mktemp("chaos")
    with whole_stack(folder, Tansu(folder, gate), LEASE_S=str(LEASE_S)) as stack:
        yield stack
    table = f"{_table()}\n{_lossy_table()}"
    sys.stdout.write(f"\n{table}")
    if path := os.environ.get("GUARANTEES_TABLE"):
        page = Path(path).read_text()
        before, _, rest = page.partition(_BEGIN)
        _, _, after = rest.partition(_END)
        Path(path).write_text(f"{before}{_BEGIN}\n{table}{_END}{after}")


@pytest.fixture
async def stack(chaos: Whole, gate: SeverableCable) -> AsyncIterator[Whole]:
    yield chaos
    # So that one failed row does not fail the next.
    gate.open()
    chaos.broker.thaw()
    if not chaos.postgres.is_alive:
        await asyncio.to_thread(chaos.postgres.start)
    chaos.valkey.thaw() if chaos.valkey.process.is_alive else chaos.valkey.start()
    for name, process in chaos.processes.items():
        if process.is_alive:
            chaos.kill(name, signal.SIGCONT)
        else:
            chaos.processes[name].start()
    for name in chaos.processes:
        await asyncio.to_thread(chaos.wait_ready, name)


async def clients_of(flow: Flow) -> list[Client]:
    """Two clients at each gateway."""
    return [await flow.client(url) for url in flow.stack.ws_urls for _ in range(2)]


async def held_by(stack: Stack, worker: str) -> int:
    """How many turns a worker holds, by Redis's own data."""
    name = next(
        line["worker"] for line in stack.processes[worker].log_lines()[::-1] if "worker" in line
    )
    async with stack.valkey.client() as redis:
        lists = [key async for key in redis.scan_iter(f"{KEYS.held_prefix}{name}:*", count=1000)]
        return sum([int(await redis.llen(key)) for key in lists])


async def stop_with_turns(flow: Flow, worker: str) -> None:
    """SIGSTOP a worker and wait until it holds turns.

    It waits in Redis for turns with the reading of their jobs right behind, so Redis goes on
    giving it turns until its wait is over.
    """
    stack = flow.stack
    for _ in range(20):
        stack.kill(worker, signal.SIGSTOP)
        try:
            await until(lambda: held_by(stack, worker), timeout_s=LEASE_S / 2)
        except AssertionError:
            # Nothing came while it waited.
            stack.kill(worker, signal.SIGCONT)
            await flow.more(ROUND // 5)
        else:
            return
    raise AssertionError(f"{worker} never held a turn")


def row(fault: str, times: int, tally: Tally) -> None:
    assert tally.accepted >= 2_000
    _rows[f"{fault} | {times}"] = tally


async def test_sigkill_of_a_worker_that_holds_turns(stack: Whole) -> None:
    flow, times = Flow(stack), 8
    clients = await clients_of(flow)
    async with flow:
        for turn in range(times):
            worker = f"worker-{1 + turn % 3}"
            await flow.more(ROUND)
            await stop_with_turns(flow, worker)
            stack.kill(worker)
            stack.processes[worker].start()
        row("SIGKILL of a worker that holds turns", times, await flow.check(*clients))


async def test_worker_stopped_past_its_lease_publishes_nothing_twice(stack: Whole) -> None:
    flow, times = Flow(stack), 6
    clients = await clients_of(flow)
    lost_before = sum(stack.metric(f"worker-{n}", "roomcast_lost_turns_total") for n in (1, 2, 3))
    async with flow:
        for turn in range(times):
            worker = f"worker-{1 + turn % 3}"
            await flow.more(ROUND * 4 // 3)
            await stop_with_turns(flow, worker)

            async def nothing_held(worker: str = worker) -> bool:
                return not await held_by(stack, worker)

            await until(nothing_held, "its turns were taken over")
            stack.kill(worker, signal.SIGCONT)
        tally = await flow.check(*clients)
    lost = sum(stack.metric(f"worker-{n}", "roomcast_lost_turns_total") for n in (1, 2, 3))
    assert lost > lost_before, "a worker that came back should have found its turns gone"
    row("a worker stopped (SIGSTOP) past its lease, then continued", times, tally)


async def test_sigkill_of_a_gateway(stack: Whole) -> None:
    flow, times = Flow(stack), 3
    surviving = [await flow.client(stack.ws_urls[1]) for _ in range(2)]
    async with flow:
        for _ in range(times):
            async with await flow.listener(stack.ws_urls[0]) as victim:
                await flow.more(ROUND)
                stack.kill("gateway-1")
                await until(partial(getattr, victim, "closed_at"), "the client sees the end")
                offsets = [b["offset"] for b in victim.notifications if b["channel"] == "broadcast"]
                assert offsets == list(range(offsets[0], offsets[0] + len(offsets)))
            await flow.more(ROUND)
            await asyncio.to_thread(stack.start, "gateway-1")
            async with await flow.listener(stack.ws_urls[0]) as back:
                await until(partial(getattr, back, "frames"), "its port is served again")
        await flow.more(max(0, 2_000 - flow.accepted))
        row("SIGKILL of a gateway (clients of the other one)", times, await flow.check(*surviving))


async def test_sigkill_of_a_gateway_whose_clients_resume_elsewhere(stack: Whole) -> None:
    flow, times = Flow(stack), 6
    one, other = stack.ws_urls
    returning = [await flow.returning(*urls) for urls in ((one, other), (other, one)) * 2]
    async with flow:
        for turn in range(times):
            gateway = f"gateway-{1 + turn % 2}"
            await flow.more(ROUND)
            stack.kill(gateway)
            await flow.more(ROUND // 2)
            await asyncio.to_thread(stack.start, gateway)
        await flow.more(max(0, 2_000 - flow.accepted))
        tally = await flow.check(*returning)
    assert min(client.client.connects for client in returning) > times // 2
    assert not any(client.lost or client.client.duplicates for client in returning)
    row("SIGKILL of a gateway (clients resume at the other one)", times, tally)


async def test_sigkill_of_the_server(stack: Whole) -> None:
    flow, times = Flow(stack), 4
    clients = await clients_of(flow)
    async with flow:
        for _ in range(times):
            await flow.more(ROUND * 2)
            # It dies when it has sent everybody's request on, and before anybody is answered.
            stack.valkey.freeze()
            await until(lambda: all(line.waits for line in flow.lines), "all lines wait")
            assert (await asyncio.to_thread(stack.get, "server-1", "/healthz"))[0] == 200
            stack.kill("server-1")
            stack.valkey.thaw()
            await asyncio.to_thread(stack.start, "server-1")
        await flow.more(ROUND)
        tally = await flow.check(*clients)
    assert tally.repeated, "no client had to repeat: nothing was tried"
    assert tally.unknown
    row(
        "SIGKILL of the server amid requests (clients repeat with the same Idempotency-Key)",
        times,
        tally,
    )


async def test_sigkill_and_restart_of_redis(stack: Whole) -> None:
    flow, times = Flow(stack), 4
    clients = await clients_of(flow)
    async with flow:
        for _ in range(times):
            await flow.more(ROUND * 2)
            stack.valkey.kill()
            await asyncio.to_thread(stack.valkey.start)
        await flow.more(ROUND)
        row(
            "SIGKILL and restart of Redis (`appendfsync always`)", times, await flow.check(*clients)
        )


async def test_redis_stalls_for_longer_than_the_lease(stack: Whole) -> None:
    flow, times = Flow(stack), 4
    clients = await clients_of(flow)
    async with flow:
        for _ in range(times):
            await flow.more(ROUND * 2)
            stack.valkey.freeze()
            await asyncio.sleep(1.5 * LEASE_S)  # the stall itself
            stack.valkey.thaw()
        await flow.more(ROUND)
        row("Redis stalled (SIGSTOP) for 1.5 leases", times, await flow.check(*clients))


async def test_redis_stalls_for_longer_than_any_reply_is_waited_for(stack: Whole) -> None:
    flow = Flow(stack)
    clients = await clients_of(flow)
    async with flow:
        await flow.more(1_000)
        stack.valkey.freeze()
        await until(lambda: any(line.unknown for line in flow.lines), "an outcome is unknown")
        stack.valkey.thaw()
        await flow.more(1_000)
        tally = await flow.check(*clients)
    assert tally.unknown
    row("Redis stalled (SIGSTOP) past every reply's time limit", 1, tally)


@pytest.mark.parametrize("kind", ["normal", "pubsub"])
async def test_client_kill_of_every_connection(stack: Whole, kind: str) -> None:
    flow, times = Flow(stack), 15
    clients = await clients_of(flow)
    killed = 0
    async with flow:
        for _ in range(times):
            await flow.more(ROUND // 2)
            async with stack.valkey.client() as redis:
                killed += int(await redis.client_kill_filter(_type=kind))
        await flow.more(ROUND)
        tally = await flow.check(*clients)
    assert killed >= times
    row(f"CLIENT KILL of every connection of TYPE {kind}", times, tally)


async def test_subscriber_dropped_for_lagging(stack: Whole) -> None:
    """A gateway stops reading until Redis drops it; a heavy room that nobody counts fills
    the way.

    Whoever hears that room may be cut off as slow when all of it comes at once.
    """
    flow, times = Flow(stack), 3
    clients = await clients_of(flow)
    limit, ballast = "client-output-buffer-limit", f"ballast-{flow.user}"
    heavy = {"type": "room", "userId": 1, "target": ballast, "message": "x" * 8_000}
    async with stack.valkey.client() as redis:

        async def dropped() -> int:
            info = await redis.info("stats")
            return int(info["client_output_buffer_limit_disconnections"])

        before = str((await redis.config_get(limit))[limit])
        # (Valkey 9 does not count strings from 16 KiB on, which it sends without copying them.)
        # More than one publishing script writes at once, or every gateway would be dropped.
        await redis.config_set(limit, "pubsub 3mb 3mb 1")
        try:
            token = await flow.token("ballast")
            async with flow, flow.sender() as send:
                for _ in range(times):
                    await flow.more(ROUND)
                    async with Client(stack.ws_urls[0], "ballast", ballast, token=token):
                        dropped_before = await dropped()
                        stack.kill("gateway-1", signal.SIGSTOP)
                        for _ in range(100):
                            assert (await send([heavy] * 120)).status == 202
                            if await dropped() > dropped_before:
                                break
                        assert await dropped() == dropped_before + 1
                        await flow.more(ROUND // 5)
                        stack.kill("gateway-1", signal.SIGCONT)
                await flow.more(ROUND)
                await flow.more(max(0, 2_000 - flow.accepted))
                tally = await flow.check(*clients)
        finally:
            await redis.config_set(limit, before)
    assert stack.metric("gateway-1", "roomcast_gaps_repaired_total") > 0
    row("a gateway stalled until Redis dropped its subscription", times, tally)


async def test_sigkill_and_restart_of_postgres(stack: Whole) -> None:
    flow, times = Flow(stack), 3
    clients = await clients_of(flow)
    retries = stack.metric("history-1", "roomcast_history_retries_total")
    async with flow:
        for _ in range(times):
            await flow.more(ROUND * 2)
            await asyncio.to_thread(stack.postgres.kill)
            await until(lambda: not stack.is_ready("history-1"), "history says that it can't write")
            await flow.more(ROUND)
            await asyncio.to_thread(stack.postgres.start)
            await until(lambda: stack.is_ready("history-1"), "history writes again")
        tally = await flow.check(*clients)
    assert stack.metric("history-1", "roomcast_history_retries_total") > retries
    row("SIGKILL and restart of PostgreSQL (every process of it)", times, tally)


@contextlib.asynccontextmanager
async def no_writes(stack: Stack) -> AsyncIterator[None]:
    """Redis executes nothing that writes; of who dies meanwhile, nothing that it had sent either.

    SIGSTOP would not do: Redis would find in its sockets what the dead had sent, and execute it.
    """
    async with stack.valkey.client() as redis:
        await redis.client_pause(60_000, all=False)
        try:
            yield
        finally:
            # Executed behind the ends of connections that came before it.
            await redis.ping()
            await redis.client_unpause()


@contextlib.asynccontextmanager
async def amid_its_transaction(stack: Whole) -> AsyncIterator[asyncpg.Connection]:
    """Lock the table and wait until the writer waits for it, with a batch in hand."""
    holding = await asyncpg.connect(stack.database_url)
    watching = await asyncpg.connect(stack.database_url)

    async def waits() -> bool:
        return bool(
            await watching.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND application_name = 'roomcast-history' AND wait_event_type = 'Lock'"
            )
        )

    try:
        await holding.execute("BEGIN; LOCK TABLE publications IN SHARE MODE")
        await until(waits, "the writer waits for the table")
        yield holding
    finally:
        await holding.close()
        await watching.close()


async def test_sigkill_of_the_history_writer_amid_a_batch(stack: Whole) -> None:
    """In turns: before its transaction is committed, and after that and before it is
    acknowledged."""
    flow, times = Flow(stack), 4
    clients = await clients_of(flow)
    async with flow:
        stopped_at = await position(stack, "history")
        for turn in range(times):
            await flow.more(ROUND)
            # What it had written and not acknowledged comes again, and adds no rows.
            await until(partial(goes_on, stack, stopped_at), "the writer acknowledges again")
            if turn % 2:
                await killed_before_it_acknowledges(stack)
            else:
                async with amid_its_transaction(stack):
                    stack.kill("history-1")
            stopped_at = await position(stack, "history")
            await asyncio.to_thread(stack.start, "history-1")
        await flow.more(max(0, 2_000 - flow.accepted))
        row("SIGKILL of the history writer amid a batch", times, await flow.check(*clients))


async def goes_on(stack: Stack, stopped_at: str) -> bool:
    return entry_order(await position(stack, "history")) > entry_order(stopped_at)


async def killed_before_it_acknowledges(stack: Whole) -> None:
    count = "SELECT count(*) FROM publications"
    async with contextlib.AsyncExitStack() as pause, amid_its_transaction(stack) as holding:
        before = await holding.fetchval(count)
        await pause.enter_async_context(no_writes(stack))
        acknowledged = await position(stack, "history")
        await holding.execute("COMMIT")

        async def committed() -> bool:
            return bool(await holding.fetchval(count) > before)

        await until(committed, "its rows are committed")
        stack.kill("history-1")
    assert await position(stack, "history") == acknowledged


async def test_sigkill_of_the_bridge_amid_a_batch(stack: Whole) -> None:
    """In turns: before Kafka has the batch, and after that and before it is acknowledged."""
    flow, times = Flow(stack), 4
    clients = await clients_of(flow)
    async with flow:
        for turn in range(times):
            await flow.more(ROUND)
            stack.broker.freeze()
            await until(lambda: pending(stack, "kafka"), "the bridge holds a batch")
            if turn % 2:
                async with no_writes(stack):
                    under_way = set(await pending(stack, "kafka"))
                    stack.broker.thaw()
                    await asyncio.to_thread(
                        stack.mirror.copy().until, partial(has_some, entries=under_way), quiet_s=0.1
                    )
                    stack.kill("bridge-1")
                assert under_way & set(await pending(stack, "kafka"))
            else:
                stack.kill("bridge-1")
                stack.broker.thaw()
            await asyncio.to_thread(stack.start, "bridge-1")
        await flow.more(max(0, 2_000 - flow.accepted))
        tally = await flow.check(*clients)
    assert tally.repeats_in_kafka, "nothing that Kafka had was sent again: nothing was tried"
    row("SIGKILL of the Kafka bridge amid a batch", times, tally)


def has_some(records: Sequence[Record], entries: set[str]) -> bool:
    """Whether Kafka has some of the event stream's entries."""
    return any(json.loads(record.value)["streamid"] in entries for record in records)


async def test_kafka_stalls(stack: Whole) -> None:
    flow, times = Flow(stack), 3
    clients = await clients_of(flow)
    async with flow:
        for _ in range(times):
            await flow.more(ROUND)
            stack.broker.freeze()
            await until(lambda: not stack.is_ready("bridge-1"), "the bridge says that it can't")
            await flow.more(ROUND)
            assert await pending(stack, "kafka")
            stack.broker.thaw()
            await until(lambda: stack.is_ready("bridge-1"), "the bridge writes again")
        await flow.more(max(0, 2_000 - flow.accepted))
        tally = await flow.check(*clients)
    row("Kafka (Tansu) stalled (SIGSTOP) until the bridge notices", times, tally)


async def test_connections_to_kafka_are_cut(stack: Whole, gate: SeverableCable) -> None:
    flow, times = Flow(stack), 6
    clients = await clients_of(flow)
    async with flow:
        for turn in range(times):
            await flow.more(ROUND)
            await until(lambda: gate.connections, "the bridge came back to Kafka")
            if turn % 2:
                # Amid a batch: what is under way is lost, or its acknowledgement.
                stack.broker.freeze()
                await until(lambda: pending(stack, "kafka"), "the bridge holds a batch")
            assert gate.cut()
            stack.broker.thaw()
            await flow.more(ROUND // 3)
            gate.open()
        await flow.more(max(0, 2_000 - flow.accepted))
        tally = await flow.check(*clients)
    row("every connection to Kafka (Tansu) cut, and refused for a while", times, tally)


@pytest.mark.apache_kafka
async def test_sigkill_and_restart_of_kafka(tmp_path: Path) -> None:
    """On Apache Kafka: Tansu has its topics in memory, so they'd be gone by nature."""
    needs_apache_kafka()
    with contextlib.ExitStack() as opened:
        stack = await asyncio.to_thread(
            lambda: opened.enter_context(whole_stack(tmp_path, ApacheKafka(tmp_path)))
        )
        flow, times = Flow(stack), 2
        clients = await clients_of(flow)
        async with flow:
            for _ in range(times):
                await flow.more(ROUND)
                mirrored = stack.metric("bridge-1", "roomcast_kafka_mirrored_total")
                await asyncio.to_thread(stack.broker.kill)
                await flow.more(ROUND)
                await asyncio.to_thread(stack.broker.start)
                await until(
                    lambda before=mirrored: (  # type: ignore[misc]  # bound at once
                        stack.metric("bridge-1", "roomcast_kafka_mirrored_total") > before
                    ),
                    "the bridge writes again",
                )
            await flow.more(max(0, 2_000 - flow.accepted))
            tally = await flow.check(*clients)
    row("SIGKILL and restart of Kafka (Apache Kafka, on disk)", times, tally)


@pytest.fixture
def own_stack(tmp_path: Path) -> Iterator[AuthStack]:
    with AuthStack(
        tmp_path,
        workers=2,
        gateways=2,
        database=True,
        AUTH_MODE="required",
        GAP_CHECK_INTERVAL_S="0.5",
    ) as stack:
        yield stack


async def test_redis_emptied_under_load_everybody_is_told(own_stack: AuthStack) -> None:
    """What waited in Redis is gone. Whoever misses something of a channel is told so."""
    stack = own_stack
    async with Api(stack) as api:
        stack.made = await make_client(api, stack)
    flow = Flow(stack)
    clients = await clients_of(flow)
    async with flow:
        await flow.more(ROUND)
        async with stack.valkey.client() as redis:
            await redis.flushall()
        await flow.more(ROUND)
        await flow.stop()
        channels = [channel for line in flow.lines for channel in line.channels]

        def all_told() -> bool:
            return all(
                {body["channel"] for body in client.told if not body["recovered"]} >= {*channels}
                for client in clients
            )

        await until(all_told, "every client is told of every channel")
        async with flow.sender() as send:
            last = (await send({"type": "broadcast", "userId": 1, "message": "the last"})).id
        await until(lambda: all(client.ids[-1:] == [last] for client in clients))
        accepted = {an_id for line in flow.lines for an_id in line.answered.values()}
        missing = set[str]()
        for client in clients:
            heard = [(body["channel"], body["id"]) for body in client.notifications]
            assert len(heard) == len(set(heard)), "something came twice"
            missing |= accepted - {an_id for _, an_id in heard}
        told = sum(
            {body["channel"] for body in client.told if not body["recovered"]} >= {*channels}
            for client in clients
        )
    _lossy.append(
        f"| Redis emptied (FLUSHALL) | {len(accepted):,} | {len(missing):,} | {len(clients)}"
        f" | {told} |\n"
    )
