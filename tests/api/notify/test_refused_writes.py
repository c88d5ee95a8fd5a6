"""A Redis that answers and takes no notifications: the server is not ready, and says why."""

import pytest

from tests.conftest import MakeStack
from tests.support.clients.sender import post
from tests.support.clients.socket_client import Client
from tests.support.waiting import until

Words = tuple[str | int, ...]


def config(name: str, value: str | int) -> Words:
    return ("CONFIG", "SET", name, value)


def acl(*rules: str) -> Words:
    return ("ACL", "SETUSER", "default", *rules)


TROUBLES: dict[str, tuple[Words, Words, str, str]] = {
    "too few replicas": (
        config("min-replicas-to-write", 1), config("min-replicas-to-write", 0),
        "replicas", "redis-refused",
    ),
    "a read-only replica": (
        ("REPLICAOF", "127.0.0.1", 1), ("REPLICAOF", "NO", "ONE"), "replica", "redis-refused",
    ),
    "no permission for scripts": (acl("-evalsha"), acl("+evalsha"), "evalsha", "redis-refused"),
    "no permission for lists": (acl("-lpush"), acl("+lpush"), "ermission", "redis-refused"),
    "no permission for keys": (
        acl("resetkeys", "~other"), acl("allkeys"), "ermission", "redis-refused",
    ),
    "eviction": (
        config("maxmemory-policy", "allkeys-lru"), config("maxmemory-policy", "noeviction"),
        "maxmemory-policy is allkeys-lru", "redis-unfit",
    ),
    **{
        f"{key} of another type": (
            ("SET", f"rc:{{0}}:{key}", "x"), ("DEL", f"rc:{{0}}:{key}"),
            f"rc:{{0}}:{key} is of another type", "redis-refused",
        )
        for key in ("waiting", "backlog", "ready:high", "active:high")
    },
    "no memory": (config("maxmemory", 1), config("maxmemory", 0), "full", "redis-nearly-full"),
}  # fmt: skip


@pytest.mark.parametrize("what", TROUBLES)
async def test_the_server_is_not_ready_until_it_can_queue_again(
    make_stack: MakeStack, what: str
) -> None:
    stack = make_stack()
    begin, end, reason, code = TROUBLES[what]
    processes = stack.processes.values()
    pids = [process.pid for process in processes]
    body = {"type": "private", "userId": 1, "target": 1, "message": "x"}
    async with Client(stack.ws_urls[0], user=1) as client:
        stack.valkey.command(*begin)
        await until(lambda: not stack.is_ready("server-1"), "it is not ready")
        assert reason in stack.get("server-1", "/readyz")[1]
        refused = await post(stack, body)
        assert (refused.status, refused.body["code"]) == (503, code)
        stack.valkey.command(*end)
        await until(lambda: stack.is_ready("server-1"), "it is ready again")
        sent = await post(stack, body)
        await until(lambda: client.ids == [sent.id])
    assert [process.pid for process in processes if process.is_alive] == pids


async def test_a_start_with_an_unfit_redis_waits_until_it_is_mended(make_stack: MakeStack) -> None:
    stack = make_stack(history=1)
    body = {"type": "private", "userId": 1, "target": 1, "message": "x"}
    stack.valkey.command(*config("maxmemory-policy", "allkeys-lru"))
    for process in stack.processes.values():
        process.stop()
        process.start()
    server, worker = stack.processes["server-1"], stack.processes["worker-1"]
    reason = "maxmemory-policy is allkeys-lru"
    for name in ("server-1", "worker-1"):
        await until(lambda name=name: reason in stack.get(name, "/readyz")[1], name)  # type: ignore[misc]
        assert not stack.is_ready(name)
    # They deliver what there is.
    for name in ("gateway-1", "history-1"):
        await until(lambda name=name: stack.is_ready(name), name)  # type: ignore[misc]
    refused = await post(stack, body)
    assert (refused.status, refused.body["code"]) == (503, "redis-unfit")
    for process in (server, worker):
        lines = process.log_lines()
        begins = max(at for at, line in enumerate(lines) if line["message"] == "stopped")
        levels = [line["level"] for line in lines[begins:] if reason in line.get("reason", "")]
        assert levels.count("WARNING") == (process is server), "it is said once"
    pids = [server.pid, worker.pid]
    stack.valkey.command(*config("maxmemory-policy", "noeviction"))
    async with Client(stack.ws_urls[0], user=1) as client:
        for name in ("server-1", "worker-1"):
            await until(lambda name=name: stack.is_ready(name), name)  # type: ignore[misc]
        sent = await post(stack, body)
        await until(lambda: client.ids == [sent.id])
    assert [one.pid for one in (server, worker) if one.is_alive] == pids


async def test_a_key_of_another_type_is_said_once_and_as_an_error(make_stack: MakeStack) -> None:
    stack = make_stack(workers=0, gateways=0)
    server = stack.processes["server-1"]
    # The others of its lane may go on: it is not ready, for it can't queue what may come.
    stack.valkey.command("SET", "rc:{0}:active:low", "x")
    await until(lambda: not stack.is_ready("server-1"), "it is not ready")
    body = {"type": "private", "userId": 1, "target": 1, "message": "x"}
    assert (await post(stack, body)).status == 202
    assert (await post(stack, {**body, "priority": "low"})).status == 503
    stack.valkey.command("DEL", "rc:{0}:active:low")
    await until(lambda: stack.is_ready("server-1"), "it is ready again")
    assert (await post(stack, {**body, "priority": "low"})).status == 202
    errors = [line for line in server.log_lines() if line["level"] == "ERROR"]
    assert [line["message"] for line in errors] == ["nothing can be queued"]
    assert "rc:{0}:active:low" in errors[0]["reason"]
