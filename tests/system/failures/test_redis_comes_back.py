"""Clients that come, go and wait while Redis is away or has begun a new run."""

import asyncio
import shutil

from tests.conftest import MakeStack
from tests.support.clients.sender import Sender, post
from tests.support.clients.socket_client import Client
from tests.support.processes.stack import Stack
from tests.support.stores.valkey import Valkey
from tests.support.waiting import until


async def say(stack: Stack, target: str, kind: str = "private") -> str:
    body = {"type": kind, "userId": 0, "target": target, "message": "m"}
    return (await post(stack, body)).id


async def test_registration_during_a_stall_hears_channels_that_were_closed_meanwhile(
    make_stack: MakeStack,
) -> None:
    """Its user's channel was still open from before, and closes while its new room waits."""
    stack = make_stack()
    async with Client(stack.ws_urls[0], user="u"):
        pass
    stack.valkey.freeze()
    client = Client(stack.ws_urls[0], user="u", room="new")
    registering = asyncio.create_task(client.__aenter__())
    await until(
        lambda: stack.metric("gateway-1", "roomcast_subscribed_channels") == 1,
        "the empty channels are closed, the new room waits",
    )
    stack.valkey.thaw()
    await registering
    sent = [await say(stack, "u")]
    await until(lambda: client.ids, "a private notification arrives")
    sent.append(await say(stack, "new", "room"))
    await until(lambda: len(client.ids) == 2)
    broadcast = {"type": "broadcast", "userId": 0, "message": "m"}
    sent.append((await post(stack, broadcast)).id)
    await until(lambda: len(client.ids) == 3, "a broadcast arrives")
    assert client.ids == sent
    await client.close()


async def test_a_client_may_register_while_redis_is_away(make_stack: MakeStack) -> None:
    stack = make_stack()
    stack.valkey.kill()
    client = Client(stack.ws_urls[0], user="u", room=["a", "b"])
    registering = asyncio.create_task(client.__aenter__())
    await until(lambda: stack.metric("gateway-1", "roomcast_connections") == 1)
    assert not registering.done()
    stack.valkey.start()
    await registering
    for name in stack.processes:
        await asyncio.to_thread(stack.wait_ready, name)
    sent = [await say(stack, "b", "room")]
    await until(lambda: client.ids == sent)
    await client.close()


async def test_first_publication_of_a_channel_right_after_a_restart_of_redis(
    make_stack: MakeStack,
) -> None:
    """A silent channel's epoch ends with the run of Redis; what comes next must not be lost."""
    stack = make_stack()
    async with Sender(stack.http_urls[0]) as send:
        clients = [Client(stack.ws_urls[0], user=f"u{n}") for n in range(20)]
        for client in clients:
            await client.__aenter__()
        for _ in range(3):
            stack.valkey.kill()
            stack.valkey.start()
            sent: dict[int, str] = {}

            async def all_accepted(sent: dict[int, str] = sent) -> bool:
                for number in range(len(clients)):
                    if number not in sent:
                        body = {"type": "private", "userId": 0, "target": f"u{number}"}
                        key = {"Idempotency_Key": f"{id(sent)}-{number}"}
                        answer = await send({**body, "message": "m"}, **key)
                        if answer.status == 202:
                            sent[number] = answer.id
                return len(sent) == len(clients)

            await until(all_accepted)
            for number, client in enumerate(clients):
                await until(lambda c=client, i=sent[number]: i in c.ids)  # type: ignore[misc]
        for client in clients:
            assert [body["offset"] for body in client.notifications] == [1, 2, 3]
            assert len({body["epoch"] for body in client.notifications}) == 3
            await client.close()


async def test_after_redis_lost_publications_clients_get_all_that_comes_after(
    make_stack: MakeStack,
) -> None:
    """Redis comes back with an older state: offsets are handed out again, in another epoch."""
    stack = make_stack()
    valkey: Valkey = stack.valkey
    kept = valkey.data.with_name("kept")
    async with Client(stack.ws_urls[0], user="u") as client:
        sent = [await say(stack, "u") for _ in range(3)]
        await until(lambda: client.ids == sent)
        valkey.stop()
        shutil.copytree(valkey.data, kept)
        valkey.start()
        for name in stack.processes:
            await asyncio.to_thread(stack.wait_ready, name)
        sent += [await say(stack, "u") for _ in range(5)]
        await until(lambda: client.ids == sent)
        valkey.kill()
        shutil.rmtree(valkey.data)
        shutil.copytree(kept, valkey.data)
        valkey.start()
        for name in stack.processes:
            await asyncio.to_thread(stack.wait_ready, name)
        after = [await say(stack, "u") for _ in range(5)]
        await until(lambda: len(client.ids) >= len(sent) + len(after), "all that came after", 10)
        assert client.ids == sent + after
        last = client.notifications[-5:]
        assert [body["offset"] for body in last] == [4, 5, 6, 7, 8]
        assert {body["epoch"] for body in last}.isdisjoint(
            {body["epoch"] for body in client.notifications[:-5]}
        )
