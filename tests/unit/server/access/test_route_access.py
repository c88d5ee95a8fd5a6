"""The table of routes, and who gets past it."""

import pytest

from common.auth.client_records import ALL_SCOPES, Scope
from common.auth.principal import OPEN, Principal
from common.model.problems import Problem
from server.access.route_access import SCOPES, Access, allow
from server.app import ROUTES
from server.openapi.document import openapi_document
from server.web.route import access_rules

USER = Principal("c1", user="ann")
ACCESS = access_rules(ROUTES)


def passes(access: Access, principal: Principal, user: str | None = None) -> bool:
    try:
        allow(access, principal, user)
    except Problem:
        return False
    return True


def test_a_refusal_is_403() -> None:
    with pytest.raises(Problem) as refused:
        allow(Access.READ, Principal("c1"))
    assert refused.value.status == 403


@pytest.mark.parametrize("access", list(Access))
def test_a_key_needs_every_scope_of_the_route(access: Access) -> None:
    needed = SCOPES.get(access, frozenset())
    operator = access in (Access.OPERATOR, Access.REGISTRATION)
    for scopes in (frozenset[Scope](), *(frozenset({scope}) for scope in Scope), ALL_SCOPES):
        good = needed <= scopes
        assert passes(access, Principal("c1", scopes, operator=True)) == good
        assert passes(access, Principal("c1", scopes)) == (good and not operator)


def least(method: str, path: str) -> set[Scope]:
    """Scopes without which no such route may be used: declarations are not their own witness."""
    if path.startswith(("/clients", "/audit", "/metrics")) and (method, path) != (
        "GET",
        "/clients/me",
    ):
        return {Scope.ADMIN}
    if method == "GET" or path.startswith("/users/{id}/notifications"):
        return {Scope.READ}
    return {Scope.NOTIFY}


@pytest.mark.parametrize("route", sorted(ACCESS), ids=" ".join)
def test_a_route_needs_at_least_what_its_path_and_method_say(route: tuple[str, str]) -> None:
    method, path = route
    access = ACCESS[route]
    if access is Access.ANYONE:
        assert path in {"/healthz", "/readyz", "/openapi.json", "/docs", "/docs/{name}"}
        return
    assert SCOPES[access] >= least(method, path)
    of_all_clients = path.startswith(("/clients", "/audit", "/metrics"))
    is_own = path.startswith("/clients/me")
    assert (access in (Access.OPERATOR, Access.REGISTRATION)) == (of_all_clients and not is_own)
    assert (access is Access.INBOX) == path.startswith("/users/{id}/notifications")


def test_what_makes_tokens_needs_what_tokens_give() -> None:
    everything = {Scope.ADMIN, Scope.NOTIFY, Scope.READ}
    for route in (("POST", "/tokens"), ("POST", "/tickets")):
        assert SCOPES[ACCESS[route]] == {Scope.NOTIFY, Scope.READ}
    for route in (("POST", "/clients/me/token-secret/rotate"), ("PUT", "/clients/me/token-keys")):
        assert SCOPES[ACCESS[route]] == everything


@pytest.mark.parametrize("access", list(Access))
def test_a_user_has_their_own_inbox_and_tickets_and_nothing_else(access: Access) -> None:
    own = access in (Access.ANYONE, Access.TICKET)
    assert passes(access, USER, "ann") == (own or access is Access.INBOX)
    assert passes(access, USER, "bob") == own
    assert passes(access, USER) == own


def test_open_mode_lets_everybody_do_everything() -> None:
    assert all(passes(access, OPEN, "ann") for access in Access)


def test_the_document_tells_of_every_route_and_of_what_it_needs() -> None:
    told = {
        (method.upper(), path): operation
        for path, operations in openapi_document(ROUTES)["paths"].items()
        for method, operation in operations.items()
    }
    undocumented = {("GET", path) for path in ("/openapi.json", "/docs", "/docs/{name}")}
    assert set(told) == set(ACCESS) - undocumented
    for route, operation in told.items():
        access = ACCESS[route]
        security = operation["security"]
        if access is Access.ANYONE:
            assert security == []
            continue
        schemes = {name for one in security for name in one}
        assert schemes == {"apiKey", "bearerKey"} | (
            {"userToken"} if access in (Access.INBOX, Access.TICKET) else set()
        )
        for name in ("401", "403"):
            assert name in operation["responses"], (route, name)
