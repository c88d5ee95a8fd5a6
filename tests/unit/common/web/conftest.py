"""A small application on a port, served as all of ours are."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web

from common.web.aiohttp_connection import PlainSite
from tests.support.processes.process import LOOPBACK, free_port

Serve = Callable[[web.Application], Awaitable[int]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Serve an application until the test ends; returns its port."""
    runners = []

    async def begin(app: web.Application) -> int:
        runner = web.AppRunner(app, access_log=None, handle_signals=False)
        runners.append(runner)
        await runner.setup()
        port = free_port()
        await PlainSite(runner, LOOPBACK, port, reuse_port=False).start()
        return port

    yield begin
    for runner in runners:
        await runner.cleanup()
