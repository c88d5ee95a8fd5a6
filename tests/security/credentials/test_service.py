"""`server/clients/service.py`: a change is in the database first, and in Redis sooner or later."""

from tests.support.clients.api import Api
from tests.support.credentials import AuthStack, Made, accepts
from tests.support.processes.stack import GLOBAL_KEYS
from tests.support.waiting import until


async def test_a_change_that_redis_missed_comes_from_the_database(
    api: Api, auth_stack: AuthStack, shop: Made
) -> None:
    auth_stack.valkey.command(
        "DEL", GLOBAL_KEYS.clients, GLOBAL_KEYS.clients_order, GLOBAL_KEYS.clients_head
    )

    def back() -> bool:
        return bool(auth_stack.valkey.command("HEXISTS", GLOBAL_KEYS.clients, shop.id))

    await until(back)
    assert await accepts(auth_stack, 1, shop.key)
