"""Clients that cost more than they should: the server goes on for everybody else."""

import asyncio
import contextlib
import json
from collections.abc import Callable
from pathlib import Path

from tests.support.clients.http_wire import Wire, request
from tests.support.processes.stack import Stack

GOOD = json.dumps({"type": "room", "userId": 1, "target": "nobody", "message": "x"}).encode()


def rss_kib(stack: Stack, name: str) -> int:
    status = Path(f"/proc/{stack.processes[name].pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


async def accepted(port: int) -> bool:
    async with Wire(port) as wire:
        await wire.send(request(GOOD))
        return (await wire.reply()).status == 202


async def test_who_does_not_read_its_answers_gets_no_more_of_them(
    make_stack: Callable[..., Stack],
) -> None:
    stack = make_stack(gateways=0, workers=0)
    port = stack.ports["server-1"]
    assert await accepted(port)
    before = rss_kib(stack, "server-1")
    async with Wire(port) as wire:
        # 40 MB of requests, whose refusals would be 100 MB.
        run = request(b"{") * 1_000
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(4):
                for _ in range(40_000_000 // len(run)):
                    wire.writer.write(run)
                    await wire.writer.drain()
        assert await accepted(port)
        assert rss_kib(stack, "server-1") < before + 30_000


async def test_a_body_of_nothing_but_faults_does_not_hold_up_others(
    make_stack: Callable[..., Stack],
) -> None:
    stack = make_stack(gateways=0, workers=0)
    port = stack.ports["server-1"]
    ids = b",".join([b"{}"] * 1_000)
    item = b'{"type":"room","userId":1,"message":"a","target":[%b]}' % ids
    body = b"[" + b",".join([item] * 340) + b"]"
    before = rss_kib(stack, "server-1")
    async with Wire(port) as wire:
        await wire.send(request(body))
        reply = await wire.reply()
        assert reply.status == 422
        assert len(reply.json["errors"]) == 340
    assert rss_kib(stack, "server-1") < before + 150_000
    assert await accepted(port)


async def test_a_head_that_never_ends_is_not_waited_for_on_any_port(stack: Stack) -> None:
    server, gateway = stack.ports["server-1"], stack.ports["gateway-1"]
    many = b"".join(b"X%d: %b\r\n" % (n, b"a" * 900) for n in range(10))
    starts = [
        (server, b"\r\n\r\n"),
        (server, b"\r\n\r\nGET / HTTP/1.1\r\n"),
        (server, b"GET / HTTP/1.1\r\n" + many),
        (server, b"POST /not"),
        (gateway, b"\r\n\r\n"),
        (gateway, b"GET / HTTP/1.1\r\n" + many),
    ]

    async def is_ended(port: int, start: bytes) -> bool:
        async with Wire(port) as wire:
            await wire.send(start)
            async with asyncio.timeout(60):
                while await wire.reader.read(65_536):
                    pass
            return True

    assert all(await asyncio.gather(*(is_ended(*start) for start in starts)))
