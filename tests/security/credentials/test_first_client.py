"""The server's readiness while no client is known: what to do, or what is missing to do it."""

import json

from tests.conftest import MakeStack
from tests.support.processes.stack import Stack
from tests.support.waiting import until


async def until_waiting_for(stack: Stack, name: str, reason: str) -> None:
    async def says() -> bool:
        status, body = stack.get(name, "/readyz")
        return status == 503 and reason in json.loads(body)["reason"]

    await until(says, reason)


async def test_a_missing_redis_is_named_and_no_command(make_stack: MakeStack) -> None:
    stack = make_stack(servers=0, workers=0, gateways=0, database=True)
    server = stack.add(
        "server", AUTH_MODE="required", REDIS_CLIENT="redis://127.0.0.1:1/0", DATABASE_URL=""
    )
    stack.processes[server].start()
    await until_waiting_for(stack, server, "redis does not answer")


async def test_a_missing_database_is_named(make_stack: MakeStack) -> None:
    stack = make_stack(servers=0, workers=0, gateways=0)
    reasons = {
        stack.add("server", AUTH_MODE="required", DATABASE_URL=url): reason
        for url, reason in (
            ("", "none can be made: DATABASE_URL is empty"),
            ("postgresql://x@127.0.0.1:1/x", "none can be made: the database does not answer"),
        )
    }
    for name in reasons:
        stack.processes[name].start()
    for name, reason in reasons.items():
        await until_waiting_for(stack, name, reason)


async def test_a_client_that_can_be_made_is_asked_for(make_stack: MakeStack) -> None:
    stack = make_stack(servers=0, workers=0, gateways=0, history=1)
    server = stack.add("server", AUTH_MODE="required")
    stack.processes[server].start()
    await until_waiting_for(stack, server, "no client is known: python -m server create-client")
