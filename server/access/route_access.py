"""Access rules of routes, and the middleware that enforces them.

A route without a rule is not served: `check_routes` refuses to start.
"""

import asyncio
from collections.abc import Iterable, Mapping
from enum import Enum, auto
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from common.auth.client_records import Scope
from common.auth.principal import Principal
from common.auth.tickets import TICKET_SCOPES
from common.model.problem_codes import ProblemCode
from common.model.problems import Problem
from common.web.problem_middleware import check_encoding
from server.access.client_limits import Limiter
from server.access.credentials import CredentialCheck

PRINCIPAL: Final = web.RequestKey("principal", Principal)
"""Key of the sender in a request that showed credentials."""
_CREDENTIALS: Final = ("Authorization", "x-api-key")


class Access(Enum):
    """Group that may use a route."""

    ANYONE = auto()
    """Everybody, without credentials."""
    REGISTRATION = auto()
    """Operators; everybody, if `CLIENT_REGISTRATION` says so."""
    NOTIFY = auto()
    """API keys with the scope `notify`."""
    READ = auto()
    """API keys with the scope `read`."""
    MINT = auto()
    """API keys with `notify` and `read`: a token may do some of both."""
    TICKET = auto()
    """Users by a token, for themselves, and API keys with `notify` and `read`."""
    INBOX = auto()
    """The user themself by a token, and API keys with `read`."""
    ADMIN = auto()
    """API keys with `admin`."""
    SIGN = auto()
    """API keys with all scopes: with a signing secret, any token can be made."""
    OPERATOR = auto()
    """API keys with `admin` of an operator's client."""


SCOPES: Final[dict[Access, frozenset[Scope]]] = {
    Access.NOTIFY: frozenset({Scope.NOTIFY}),
    Access.READ: frozenset({Scope.READ}),
    Access.MINT: frozenset({Scope.NOTIFY, Scope.READ}),
    Access.TICKET: TICKET_SCOPES,
    Access.INBOX: frozenset({Scope.READ}),
    Access.ADMIN: frozenset({Scope.ADMIN}),
    # A key must have what it gives away: this, and all that `POST /tokens` needs.
    Access.SIGN: frozenset({Scope.ADMIN, Scope.NOTIFY, Scope.READ}),
    Access.OPERATOR: frozenset({Scope.ADMIN}),
    Access.REGISTRATION: frozenset({Scope.ADMIN}),
}
"""Scopes that a key must have, all of them."""

AccessRules = Mapping[tuple[str, str], Access]
"""Access rule of each route, by method and path."""


def allow(access: Access, principal: Principal, user: str | None = None) -> None:
    """Refuse a sender that may not use a route.

    Args:
        access: of the route.
        principal: the sender.
        user: owner of the inbox, if it is one.

    Raises:
        Problem: 403. It says no more than the owner of these credentials knows.
    """
    if access is Access.ANYONE:
        return
    if principal.user is not None:
        if access is Access.TICKET:
            return
        if access is not Access.INBOX or user != principal.user:
            raise _forbidden("a user token is for that user's own inbox")
        return
    missing = SCOPES[access] - principal.scopes
    if missing:
        raise _forbidden(f"this key lacks the scope {min(missing)}")
    if access in (Access.OPERATOR, Access.REGISTRATION) and not principal.operator:
        raise _forbidden("this is for operators")


def allow_to_give(principal: Principal, scopes: Iterable[Scope]) -> None:
    """Refuse a sender that would give a key scopes that it lacks itself.

    Raises:
        Problem: 403.
    """
    more = set(scopes) - principal.scopes
    if more:
        raise _forbidden(f"this key lacks the scope {min(more)}, so it can't give it away")


def _forbidden(detail: str) -> Problem:
    return Problem(ProblemCode.FORBIDDEN, detail)


def access_control(
    rules: AccessRules, credentials: CredentialCheck, limiter: Limiter, *, registration: bool
) -> Middleware:
    """Make the middleware that authenticates, authorizes and counts requests.

    Args:
        rules: of all routes.
        credentials: authenticates senders.
        limiter: has the limits of their clients.
        registration: whether everybody may make a client.
    """

    @web.middleware
    async def control(request: web.Request, handler: Handler) -> web.StreamResponse:
        match = request.match_info
        resource = match.route.resource
        access = None
        if resource is not None and match.http_exception is None:
            method = "GET" if request.method == "HEAD" else request.method
            access = rules[method, resource.canonical]
            is_free = access is Access.ANYONE or (access is Access.REGISTRATION and registration)
        else:
            # There is no such path or method: no secret, but it costs as much as any other.
            is_free = not any(name in request.headers for name in _CREDENTIALS)
        if not is_free:
            principal = credentials.principal(
                request.transport,
                _header(request, "Authorization"),
                _header(request, "x-api-key"),
                _header(request, "X-Forwarded-For"),
            )
            # Counted first: a request that is refused for any other reason costs as much.
            await _count(limiter, principal)
            if access is not None:
                allow(access, principal, match.get("id"))
            request[PRINCIPAL] = principal
        check_encoding(request)
        return await handler(request)

    return control


async def _count(limiter: Limiter, principal: Principal) -> None:
    counters = limiter.of(principal)
    if counters is None:
        return
    counted: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def then(problem: Problem | None) -> None:
        if counted.done():
            return
        if problem is None:
            counted.set_result(None)
        else:
            counted.set_exception(problem)

    counters.request(then)
    await counted


def _header(request: web.Request, name: str) -> str | None:
    values = request.headers.getall(name, [])
    # A proxy may have checked the other one: join repeated headers so that both fail.
    return ", ".join(values) if values else None


def principal_of(request: web.Request) -> Principal:
    """Return the sender of a request to a route that needs credentials."""
    return request[PRINCIPAL]


def check_routes(app: web.Application, rules: AccessRules) -> None:
    """Make sure that every route has an access rule.

    Raises:
        LookupError: one is not.
    """
    for route in app.router.routes():
        method = "GET" if route.method == "HEAD" else route.method
        resource = route.resource
        if resource is None or (method, resource.canonical) not in rules:
            raise LookupError(f"nobody says who may use {route.method} {resource}")
