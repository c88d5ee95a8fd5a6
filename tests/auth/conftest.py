"""One stack that requires credentials, with an operator and two clients, for all tests here."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest

from tests.inbox.api import Api
from tests.stack import Stack


@dataclass(frozen=True, slots=True)
class Made:
    """A client as it was answered once."""

    id: str
    key: str

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}


class AuthStack(Stack):
    """A stack with `AUTH_MODE=required`, and the key of an operator."""

    operator = ""

    def __enter__(self) -> "AuthStack":
        self.valkey.start()
        self.operator = self.run("server", "create-client", "--admin", "operator", "o@example.com")
        super().__enter__()
        return self


@pytest.fixture(scope="session")
def auth_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AuthStack]:
    folder = tmp_path_factory.mktemp("auth")
    with AuthStack(folder, servers=2, history=1, AUTH_MODE="required") as shared:
        yield shared


@pytest.fixture
async def api(auth_stack: AuthStack) -> AsyncIterator[Api]:
    async with Api(auth_stack) as api:
        yield api


async def make_client(api: Api, stack: AuthStack, name: str = "shop") -> Made:
    answer = await api(
        "POST",
        "/clients",
        json={"name": name, "email": f"{name}@example.com"},
        headers={"x-api-key": stack.operator},
    )
    assert answer.status == 201, answer
    return Made(answer.body["clientId"], answer.body["apiKey"])


@pytest.fixture
async def shop(api: Api, auth_stack: AuthStack) -> Made:
    return await make_client(api, auth_stack, "shop")


@pytest.fixture
async def bank(api: Api, auth_stack: AuthStack) -> Made:
    return await make_client(api, auth_stack, "bank")
