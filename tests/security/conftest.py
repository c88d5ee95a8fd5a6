"""One stack that requires credentials, with an operator and two clients, for all tests here."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support.clients.api import Api
from tests.support.credentials import AuthStack, Made, make_client


@pytest.fixture(scope="session")
def auth_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AuthStack]:
    folder = tmp_path_factory.mktemp("auth")
    with AuthStack(
        folder,
        servers=2,
        history=1,
        AUTH_MODE="required",
        # Tests ask with a new key until it is known, which is a failure each time.
        FAILED_ATTEMPTS_PER_MINUTE="0",
        # Else a test of tokens that end would take half a minute.
        TOKEN_LEEWAY_S="1",
    ) as shared:
        yield shared


@pytest.fixture
async def api(auth_stack: AuthStack) -> AsyncIterator[Api]:
    async with Api(auth_stack) as api:
        yield api


@pytest.fixture
async def shop(api: Api, auth_stack: AuthStack) -> Made:
    return await make_client(api, auth_stack, "shop")


@pytest.fixture
async def bank(api: Api, auth_stack: AuthStack) -> Made:
    return await make_client(api, auth_stack, "bank")
