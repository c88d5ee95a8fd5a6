"""Cost of an API key per request, and of a user token per delivery."""

import itertools
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Final

from common.auth.api_keys import new_key, random_name
from common.auth.client_records import (
    ALL_SCOPES,
    ClientLimits,
    ClientRecord,
    KeyRecord,
    SecretRecord,
    encode_record,
)
from common.auth.tokens import sign
from common.model.channels import DEFAULT_CLIENT
from loadtests.bench.fanout_rows import gateway_and_worker, trusted
from loadtests.bench.ingest_row import CORES, NO_BOUND
from loadtests.bench.load import Load, run_load
from loadtests.bench.rows import Bar, Row
from loadtests.bench.session import Session, median, median_ratio
from loadtests.bench.targets import room_by_publish
from loadtests.bench.wrk import post_notify
from loadtests.stack import GLOBAL_KEYS, KEYS, Stack, roomcast

CONNS: Final = 100
WINDOW: Final = 32
ROUNDS_LEAST: Final = 7
POST_ROUNDS_LEAST: Final = 21
"""A server that answers as fast as it can settles into larger or smaller batches, for seconds, and
a POST costs a third less in the former. Many short rounds catch both, for both."""
_POST_SECS: Final = 1
CLIENT: Final = "bench"
_KNOWN_AFTER_S: Final = 1.5
OPEN: Final = "without credentials"
SHOWN: Final = "with a key and tokens"


def _client(stack: Stack) -> tuple[str, str]:
    """Make a client in Redis; its API key and a token of one of its users."""
    key = new_key()
    record = ClientRecord(
        CLIENT,
        "benchmark",
        1,
        keys=(KeyRecord(key.id, key.digest, ALL_SCOPES),),
        secrets=(SecretRecord(random_name(43)),),
        limits=ClientLimits(requests_per_s=1_000_000, notifications_per_day=2**40),
    )
    stack.redis("HSET", GLOBAL_KEYS.clients_head, "g", "bench")
    stack.redis("HSET", GLOBAL_KEYS.clients, CLIENT, f"1 {encode_record(record).decode()}")
    stack.redis("ZADD", GLOBAL_KEYS.clients_order, 1, CLIENT)
    time.sleep(_KNOWN_AFTER_S)
    return key.text, sign(record, "member", ["*"], 3_600)[0]


def _per_post(session: Session) -> Mapping[str, list[float]]:
    """CPU time (µs) of the server per POST, with a key and without."""
    with roomcast(session.processes, CORES, ("server",), NO_BOUND) as stack:
        key, _ = _client(stack)
        server = stack.processes["server"]

        def cpu_us(header: str | None) -> float:
            before = server.cpu_s()
            answered, _ = post_notify(stack.ports["server"], _POST_SECS, header)
            used_s = server.cpu_s() - before
            # No worker takes them. They go, the client stays.
            waiting: list[str] = stack.redis("KEYS", f"{KEYS.jobs_prefix}*")
            stack.redis("UNLINK", KEYS.waiting, *waiting)
            return used_s * 1e6 / answered

        cpu_us(None)
        return _in_turn(
            session,
            POST_ROUNDS_LEAST,
            {OPEN: partial(cpu_us, None), SHOWN: partial(cpu_us, f"x-api-key: {key}")},
        )


def _per_delivery(session: Session) -> Mapping[str, list[float]]:
    """CPU time (µs) of the gateway per delivery, to users with tokens and without."""
    with gateway_and_worker(session) as stack:
        _, token = _client(stack)
        load = Load(CONNS, session.secs, window=WINDOW, settle=0.2)
        pids = stack.processes["ws_gateway"].pids
        rooms = map(str, itertools.count(1))

        def cpu_us(client: str, token: str) -> float:
            target = room_by_publish(session.processes, stack, next(rooms), client, token)
            report = trusted(run_load(replace(target, pids=pids), load))
            return report.server_cpu * 1e6 / report.frames_per_s

        return _in_turn(
            session,
            ROUNDS_LEAST,
            {
                OPEN: partial(cpu_us, DEFAULT_CLIENT, ""),
                SHOWN: partial(cpu_us, CLIENT, token),
            },
        )


def _in_turn(
    session: Session, least: int, subjects: Mapping[str, Callable[[], float]]
) -> Mapping[str, list[float]]:
    """So many rounds at least, but for a quick session."""
    several = [
        session.rounds(subjects) for _ in range(1 if session.quick else -(-least // session.runs))
    ]
    return {name: [value for one in several for value in one.get(name, [])] for name in subjects}


def cost_of_credentials(session: Session) -> Row:
    """Measure CPU time per request and per delivery, with credentials and without, in turn."""
    requests, deliveries = _per_post(session), _per_delivery(session)
    return Row(
        "cost-of-credentials",
        "CPU time of the server per POST and of the gateway per delivery, with an API key and user"
        " tokens shown",
        {
            name: f"{median(requests[name]):.0f} µs per POST, "
            f"{median(deliveries[name]):.2f} µs per delivery"
            for name in (OPEN, SHOWN)
        },
        [
            Bar(1.1, at_most=True).of(
                "a POST without", median_ratio(requests[SHOWN], requests[OPEN])
            ),
            Bar(1.1, at_most=True).of(
                "a delivery without", median_ratio(deliveries[SHOWN], deliveries[OPEN])
            ),
        ],
        session.notes,
        {
            **{f"{name}, POST": values for name, values in requests.items()},
            **{f"{name}, delivery": values for name, values in deliveries.items()},
        },
    )
