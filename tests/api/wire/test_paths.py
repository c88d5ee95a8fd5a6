"""A path is there or it is not: 404, or 405 with what may be done, on every port."""

import pytest

from tests.support.clients.http_wire import Reply, Wire, request
from tests.support.processes.stack import Stack

METHODS = ["GET", "POST", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]
NOWHERE = [
    "/", "/notify/", "//notify", "/notify//", "/./notify", "/notify/.", "/notify;a", "/NOTIFY",
    "/healthz/", "//healthz", "/readyz/", "/metrics/", "/docs/", "/users/", "/users/1/",
    "/users//notifications", "/users/1/notifications/", "/users/1/notifications/unread-count/",
    "//users/1", "/rooms/1/members/", "/rooms/1/members/1/", "/notifications/", "/clients/",
    "/clients/me/", "/tokens/", "/events/", "/*",
]  # fmt: skip
THERE = {
    "/notify": {"POST"},
    "/notify?x=1": {"POST"},
    "/%6eotify": {"POST"},
    "/healthz": {"GET", "HEAD"},
    "/healthz?x=1": {"GET", "HEAD"},
    "/users/1": {"GET", "HEAD", "DELETE"},
    "/users/1/notifications": {"GET", "HEAD"},
    "/users/1/notifications/read-all": {"POST"},
    "/rooms/1/members/1": {"PUT", "DELETE"},
    "/tokens": {"POST"},
    "/tickets": {"POST"},
}


async def ask(port: int, method: str, path: str) -> Reply:
    async with Wire(port) as wire:
        await wire.send(request(b"{}", "Connection: close", method=method, path=path))
        if method == "HEAD":
            head = (await wire.reader.readuntil(b"\r\n\r\n")).decode()
            fields = [line.partition(": ") for line in head.split("\r\n")[1:-2]]
            return Reply(int(head.split()[1]), {name.lower(): is_ for name, _, is_ in fields}, b"")
        return await wire.reply()


@pytest.mark.parametrize("path", NOWHERE)
async def test_a_path_that_is_not_there_is_404_whatever_is_done(stack: Stack, path: str) -> None:
    for name in ("server-1", "gateway-1", "worker-1"):
        if (name, path) == ("gateway-1", "/"):
            # Sockets are there; see below.
            continue
        for method in METHODS:
            reply = await ask(stack.ports[name], method, path)
            assert reply.status == 404, (name, method)
            assert reply.headers["content-type"] == "application/problem+json"
            assert not reply.body or reply.json["code"] == "not-found"


@pytest.mark.parametrize("path", THERE)
async def test_a_path_that_is_there_says_what_may_be_done(stack: Stack, path: str) -> None:
    for method in METHODS:
        reply = await ask(stack.ports["server-1"], method, path)
        if method in THERE[path]:
            assert reply.status not in (404, 405), method
            continue
        assert reply.status == 405, method
        assert set(reply.headers["allow"].split(", ")) == THERE[path], method
        assert not reply.body or reply.json["code"] == "method-not-allowed"


async def test_the_gateway_says_what_may_be_done_with_events(stack: Stack) -> None:
    for method in ("POST", "PUT", "HEAD", "DELETE"):
        reply = await ask(stack.ports["gateway-1"], method, "/events?userId=1")
        assert (reply.status, reply.headers["allow"]) == (405, "GET"), method


async def test_the_gateway_says_that_sockets_are_at_its_root(stack: Stack) -> None:
    for method in METHODS:
        reply = await ask(stack.ports["gateway-1"], method, "/")
        if method in ("GET", "HEAD"):
            assert (reply.status, reply.headers["upgrade"]) == (426, "websocket"), method
        else:
            assert reply.status == 405, method
            assert set(reply.headers["allow"].split(", ")) == {"GET", "HEAD"}, method
