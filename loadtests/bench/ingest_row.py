"""The server row: POST /notify at 64 connections beside Express and Fastify."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import redis

from loadtests.bench.fanout_peers import PEERS, node
from loadtests.bench.fanout_rows import ROOMCAST
from loadtests.bench.load import CLIENT_CORE
from loadtests.bench.rows import Bar, Row, count
from loadtests.bench.session import SERVER_CORE, Session, median, median_ratio
from loadtests.bench.wrk import post_notify
from loadtests.processes import free_port, printed, wait_until
from loadtests.stack import Cores, Stack, roomcast

WARM_S: Final = 3
"""Node compiles what is hot while it is loaded."""
CORES: Final = Cores(server=SERVER_CORE, valkey=CLIENT_CORE)
NO_BOUND: Final = {"LANE_MAX_JOBS": "100000000"}
"""No worker takes jobs in this row, so the lane must not fill up."""


def server(session: Session) -> Row:
    """Measure accepted requests/s of one server process."""
    with roomcast(session.processes, CORES, ("server",), NO_BOUND) as stack:

        def ours() -> float:
            return _wrk(session, stack.client, stack.ports["server"])

        def peer(framework: str) -> float:
            with _node_server(session, stack, framework) as port:
                return _wrk(session, stack.client, port)

        rates = session.rounds(
            {
                ROOMCAST: ours,
                "Express 5": lambda: peer("express"),
                "Fastify 5 with autopipelining": lambda: peer("fastify"),
            }
        )
    own = rates.get(ROOMCAST, [])
    fastify = rates.get("Fastify 5 with autopipelining", [])
    return Row(
        "server",
        "one server process, POST /notify at 64 connections, one job each",
        {name: f"{count(median(values))} requests/s" for name, values in rates.items()},
        [
            Bar(3).of("Express 5", median_ratio(own, rates.get("Express 5", []))),
            Bar(0.7, 1.0).of("Fastify 5 with autopipelining", median_ratio(own, fastify)),
        ],
        session.notes,
        rates,
    )


@contextlib.contextmanager
def _node_server(session: Session, stack: Stack, framework: str) -> Iterator[int]:
    port = free_port()
    argv: list[str | Path] = [
        node(framework),
        PEERS / "ingest.js",
        str(port),
        str(stack.redis_port),
        framework,
    ]
    env = {"NODE_ENV": "production"}
    with session.processes.running(framework, argv, SERVER_CORE, env) as process:
        wait_until(printed(process, "ready"), process)
        yield port


def _wrk(session: Session, client: "redis.Redis", port: int) -> float:
    """Return requests/s; every one must have been answered with 2xx."""
    client.flushall()
    try:
        for secs in (1 if session.quick else WARM_S, max(1, round(session.secs))):
            rate = post_notify(port, secs)[1]
    finally:
        client.flushall()
    return rate
