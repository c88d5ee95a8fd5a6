"""Every request of the API document, made in another's name and in nobody's."""

import asyncio
import json
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from server.access.route_access import Access
from server.app import ROUTES
from server.openapi.document import openapi_document
from server.web.route import access_rules
from tests.support.clients.api import Api
from tests.support.credentials import AuthStack, Made, make_client
from tests.support.examples import count
from tests.support.waiting import until

pytestmark = pytest.mark.unmeasured

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
ACCESS = access_rules(ROUTES)
SENT = ("private", "room", "broadcast")
schema = schemathesis.openapi.from_dict(openapi_document(ROUTES))


@dataclass(frozen=True, slots=True)
class Victim:
    """A client with a little of everything, under names that nobody else uses."""

    client: Made
    mark: str
    ids: tuple[str, ...]
    """Of users, rooms, notifications, keys and the client: what may stand in a path."""
    url: str

    def get(self, path: str) -> Any:
        request = urllib.request.Request(self.url + path, headers=self.client.bearer)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def snapshot(self) -> list[Any]:
        """All that it can see of its own."""
        stories = [self.get(f"/notifications/{an_id}") for an_id in self.ids[:3]]
        for story in stories:
            # Reports of gateways may still come.
            story.pop("channels")
        return [
            *stories,
            self.get("/notifications?limit=100"),
            self.get(f"/users/{self.mark}/notifications"),
            self.get(f"/rooms/{self.mark}/members"),
            self.get("/clients/me/keys"),
            self.get("/clients/me/token-keys"),
            self.get("/clients/me/audit"),
        ]


async def _fill(stack: AuthStack) -> tuple[Victim, Made]:
    async with Api(stack) as api:
        shop, bank = await make_client(api, stack, "shop"), await make_client(api, stack, "bank")
        mark = f"mark{uuid.uuid4().hex}"
        for path in (f"/rooms/{mark}/members/{mark}",):
            assert (await api("PUT", path, headers=shop.bearer)).status == 204
        ids = []
        for kind in SENT:
            body = {"type": kind, "userId": mark, "message": mark}
            if kind != "broadcast":
                body["target"] = mark
            answer = await api("POST", "/notify", json=body, headers=shop.bearer)
            ids.append(answer.body["id"])
        key = (await api("GET", "/clients/me/keys", headers=shop.bearer)).body["keys"][0]["id"]
        victim = Victim(shop, mark, (*ids, mark, key, shop.id), api.root)

        async def written() -> bool:
            page = await api("GET", f"/users/{mark}/notifications", headers=shop.bearer)
            return len(page.body["notifications"]) == len(SENT)

        await until(written)
        return victim, bank


@pytest.fixture(scope="module")
def parties(auth_stack: AuthStack) -> tuple[Victim, Made]:
    """A victim and an attacker."""
    return asyncio.run(_fill(auth_stack))


@pytest.fixture
def unharmed(parties: tuple[Victim, Made]) -> Iterator[None]:
    """Look before a test and after all of its examples."""
    before = parties[0].snapshot()
    yield
    assert parties[0].snapshot() == before


def _as_user(victim: Victim, bank: Made) -> dict[str, str]:
    """Credentials of the attacker's user who has the name of the victim's."""
    request = urllib.request.Request(
        f"{victim.url}/tokens",
        json.dumps({"userId": victim.mark, "rooms": ["*"]}).encode(),
        {**bank.bearer, "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return {"Authorization": f"Bearer {json.load(answer)['token']}"}


def test_every_route_says_who_may_use_it() -> None:
    operations = {
        (method.upper(), path)
        for path, found in openapi_document(ROUTES)["paths"].items()
        for method in found
    }
    assert operations <= set(ACCESS)
    assert {route for route, access in ACCESS.items() if access is Access.ANYONE} == {
        ("GET", "/healthz"),
        ("GET", "/readyz"),
        ("GET", "/openapi.json"),
        ("GET", "/docs"),
        ("GET", "/docs/{name}"),
    }


@schema.parametrize()
@settings(
    max_examples=count(1),
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_without_credentials_no_request_gets_past_the_table(
    case: Any, parties: tuple[Victim, Made]
) -> None:
    victim, _ = parties
    for name in ("Authorization", "x-api-key"):
        (case.headers or {}).pop(name, None)
    access = ACCESS[case.operation.method.upper(), case.operation.path]
    for credentials in ({}, {"x-api-key": "rk_invented"}, {"Authorization": "Bearer e30.e30."}):
        response = case.call(base_url=victim.url, headers=credentials)
        if access is Access.ANYONE:
            # Of a method that is not there, too, credentials must be right if they are shown.
            other = case.method.upper() != case.operation.method.upper()
            good = (401,) if credentials and other else (200, 404, 503)
            assert response.status_code in (*good, 405)
        elif response.status_code != 401:
            # What is no HTTP, or has a path that is none, is refused before anybody asks who it is.
            assert response.status_code in (400, 404, 405), response.text
        assert victim.mark not in response.text


@schema.parametrize()
@settings(
    max_examples=count(1),
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@pytest.mark.parametrize("by", ["key", "token"])
def test_no_request_of_one_client_reaches_what_is_another_s(
    case: Any, by: str, parties: tuple[Victim, Made], unharmed: None
) -> None:
    victim, bank = parties
    path_of_attacker = case.operation.path.startswith("/clients/me")
    for an_id in victim.ids if case.path_parameters else victim.ids[:1]:
        for name in case.path_parameters or {}:
            case.path_parameters[name] = an_id
        for name in ("target", "room", "userId"):
            if name in (case.query or {}):
                case.query[name] = victim.mark
        credentials = bank.bearer if by == "key" else _as_user(victim, bank)
        (case.headers or {}).pop("x-api-key", None)
        response = case.call_and_validate(base_url=victim.url, headers=credentials, checks=CHECKS)
        text = response.text
        for own in victim.ids:
            # It may hear what it said itself.
            if own != an_id and own != victim.mark:
                assert own not in text
        if not path_of_attacker and response.status_code == 200:
            assert f'"message":"{victim.mark}"' not in text.replace(" ", "")
