"""The gateway's subscription stays, comes back, and stops reading when it is asked to."""

import asyncio
from typing import Any

from redis.asyncio import Redis

from tests.redis.gateway.away import running
from tests.support.stores.valkey import Valkey
from tests.support.waiting import until
from ws_gateway.channels.subscription import SUBSCRIBE_CHUNK, Subscription


class Gateway:
    """Keeps what the subscription hands on."""

    def __init__(self, server: Valkey, *wanted: bytes) -> None:
        self.heard: list[tuple[bytes, bytes]] = []
        self.reads = self.ups = 0
        self.subscription = Subscription(
            server.url,
            "gateway-test",
            lambda: list(wanted),
            lambda name, payload: self.heard.append((name, payload)),
            self._read,
            self._up,
        )

    def _read(self) -> None:
        self.reads += 1

    def _up(self) -> None:
        self.ups += 1


async def test_what_is_wanted_is_heard_in_order_from_the_time_it_is_up(
    server: Valkey, redis: Redis
) -> None:
    gateway = Gateway(server, b"a", b"b")
    async with running(gateway.subscription.run()):
        await gateway.subscription.was_up.wait()
        for number in range(50):
            assert await redis.publish("ab"[number % 2], str(number)) == 1
        await until(lambda: len(gateway.heard) == 50)
        assert gateway.heard == [("ab"[n % 2].encode(), str(n).encode()) for n in range(50)]
        assert gateway.reads >= 1
        assert gateway.ups == 1


async def test_what_is_subscribed_is_confirmed_and_what_is_forgotten_is_not_heard(
    server: Valkey, redis: Redis
) -> None:
    gateway = Gateway(server)
    names = [b"n%d" % number for number in range(SUBSCRIBE_CHUNK + 1)]
    async with running(gateway.subscription.run()):
        await gateway.subscription.was_up.wait()
        await gateway.subscription.subscribe(names)
        assert await redis.publish(names[-1].decode(), "x") == 1
        gateway.subscription.forget(names[:1])
        await gateway.subscription.barrier()
        assert gateway.heard == [(names[-1], b"x")]
        assert await redis.publish(names[0].decode(), "x") == 0


async def test_a_lost_link_comes_back_with_what_is_wanted_then(
    server: Valkey, redis: Redis
) -> None:
    gateway = Gateway(server, b"a")
    async with running(gateway.subscription.run()):
        await gateway.subscription.was_up.wait()
        anything: Any = redis
        await anything.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        await until(lambda: gateway.ups == 2)
        assert await redis.publish("a", "again") == 1
        await until(lambda: gateway.heard == [(b"a", b"again")])


async def test_a_pause_leaves_publications_in_redis_until_it_goes_on(
    server: Valkey, redis: Redis
) -> None:
    gateway = Gateway(server, b"a")
    async with running(gateway.subscription.run()):
        await gateway.subscription.was_up.wait()
        gateway.subscription.pause()
        gateway.subscription.pause()
        await redis.publish("a", "x")
        await asyncio.sleep(0.05)
        assert gateway.heard == []
        gateway.subscription.go_on()
        await until(lambda: gateway.heard == [(b"a", b"x")])
