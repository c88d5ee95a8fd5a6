"""Route: one declaration from which serving, access rule and documentation follow."""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, Generic, TypeVar

from aiohttp import web

from common.model.problem_codes import ProblemCode
from server.access.route_access import Access
from server.web.parameters import Parameter

_ID: Final = re.compile(r"\{(\w+)\}")
C = TypeVar("C")
Handler = Callable[[web.Request, C], Awaitable[web.StreamResponse]]
"""Handler of a route: a request and the context of its subject in, an answer out."""

RATE_LIMIT_HEADERS: Final = {
    "RateLimit-Limit": "What the client may do in a window, if credentials were shown.",
    "RateLimit-Remaining": "How much of it is left, as far as this server knows.",
    "RateLimit-Reset": "Seconds until the next window.",
}
"""Headers of draft-ietf-httpapi-ratelimit-headers-06."""

OF_EVERY_REQUEST: Final = (ProblemCode.NOT_HTTP, ProblemCode.REPEATED_HEADER)
"""Refusals of every route; what else any request may get is in docs/reference/problems.md."""
OF_CREDENTIALS: Final = (
    ProblemCode.UNAUTHORIZED,
    ProblemCode.FORBIDDEN,
    ProblemCode.RATE_LIMITED,
    ProblemCode.TOO_MANY_FAILURES,
    ProblemCode.CREDENTIALS_UNKNOWN,
    ProblemCode.OVERLOADED,
)
"""Refusals of every route that needs credentials."""
OF_BODIES: Final = (
    ProblemCode.MALFORMED_JSON,
    ProblemCode.TOO_LARGE,
    ProblemCode.UNSUPPORTED_MEDIA_TYPE,
    ProblemCode.UNSUPPORTED_CONTENT_ENCODING,
    ProblemCode.INVALID,
)
"""Refusals of every route that takes a body."""


@dataclass(frozen=True, slots=True)
class RouteAnswer:
    """One answer of a route that is no refusal.

    Attributes:
        status: of the answer.
        description: what it says, in a sentence.
        model: type of its JSON body, for msgspec; None: it has no body.
        media_type: of a body that is no JSON.
        headers: descriptions of headers that hold a number, by name.
    """

    status: HTTPStatus
    description: str
    model: Any = None
    media_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


def page_of(model: Any) -> tuple[RouteAnswer, ...]:
    """Declare the only answer of a route that lists something in pages."""
    return (RouteAnswer(HTTPStatus.OK, "A page.", model),)


def done(description: str) -> tuple[RouteAnswer, ...]:
    """Declare the only answer of a route that does something and has nothing to say."""
    return (RouteAnswer(HTTPStatus.NO_CONTENT, description),)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Route(Generic[C]):
    """One method of one path.

    Attributes:
        method: of the request.
        path: with ids as `{name}`.
        access: who may use it.
        handler: answers it.
        name: of the operation, such as a client's method has; empty: the API document lacks it.
        tag: group in the API document.
        summary: what it does, in a line.
        description: more of that, if there is more to say.
        parameters: in path, query and headers.
        body: type of the request's JSON body, for pydantic; None: it takes none.
        body_optional: whether the body may be left out.
        examples: good bodies, by name; a route with a body has at least one.
        answers: what it answers unless it refuses.
        errors: refusals of its own; `refusals` has those of all such routes, too.
    """

    method: str
    path: str
    access: Access
    handler: Handler[C]
    name: str = ""
    tag: str = ""
    summary: str = ""
    description: str = ""
    parameters: Sequence[Parameter] = ()
    body: Any = None
    body_optional: bool = False
    examples: Mapping[str, Any] = field(default_factory=dict)
    answers: Sequence[RouteAnswer] = ()
    errors: Sequence[ProblemCode] = ()

    def __post_init__(self) -> None:
        declared = [one.name for one in self.parameters if one.place == "path"]
        if _ID.findall(self.path) != declared:
            raise ValueError(f"{self.path} has other parameters than {declared}")
        if (self.body is not None) != bool(self.examples):
            raise ValueError(f"{self.method} {self.path} needs an example of its body")

    @property
    def refusals(self) -> tuple[ProblemCode, ...]:
        """Codes of all refusals, each once."""
        found = [
            *OF_EVERY_REQUEST,
            *(() if self.access is Access.ANYONE else OF_CREDENTIALS),
            *(OF_BODIES if self.body is not None else ()),
            *self.errors,
        ]
        return tuple(dict.fromkeys(found))

    @property
    def query(self) -> frozenset[str]:
        """Names of the query parameters that it knows."""
        return frozenset(one.name for one in self.parameters if one.place == "query")

    def served(
        self, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.RouteDef:
        """Make the route of aiohttp, in which ids may have any character but a slash."""
        # aiohttp's own pattern leaves out braces.
        return web.route(self.method, _ID.sub(r"{\1:[^/]+}", self.path), handler)


def served(routes: Iterable[Route[C]], context: C) -> list[web.RouteDef]:
    """Serve routes whose handlers all get the same context."""

    def bound(route: Route[C]) -> web.RouteDef:
        async def answer(request: web.Request) -> web.StreamResponse:
            return await route.handler(request, context)

        return route.served(answer)

    return [bound(route) for route in routes]


def access_rules(routes: Iterable[Route[Any]]) -> dict[tuple[str, str], Access]:
    """Return the access rule of each route, by method and path.

    Raises:
        ValueError: two routes have the same method and path.
    """
    rules: dict[tuple[str, str], Access] = {}
    for route in routes:
        if (route.method, route.path) in rules:
            raise ValueError(f"{route.method} {route.path} is declared twice")
        rules[route.method, route.path] = route.access
    return rules


def exact_first(routes: Iterable[web.RouteDef]) -> list[web.RouteDef]:
    """Sort routes such that `/clients/me` is looked at before `/clients/{id}`."""
    return sorted(routes, key=lambda route: [part[:1] == "{" for part in route.path.split("/")])
