"""`/tickets`: stand-ins for tokens, for pages to put into a URL."""

import time
from http import HTTPStatus
from typing import Annotated, Final

from aiohttp import web
from pydantic import Field

from common.auth.principal import Principal
from common.auth.tickets import Grant
from common.auth.tokens import ROOMS_MAX
from common.model.notification import Id
from common.model.problem_codes import ProblemCode
from common.model.problems import Problem
from common.model.timestamps import format_time
from server.access.route_access import Access, principal_of
from server.clients.context import NO_STORE, WHOLE, Body, Context, bad
from server.clients.token_routes import mint
from server.web.answers import JsonModel, Time, json_answer
from server.web.bodies import read_json
from server.web.guard import OF_STORES
from server.web.route import Route, RouteAnswer


class NewTicket(Body):
    """Body of `POST /tickets`: with an API key the user it is for, with a user token nothing."""

    userId: Id | None = None  # noqa: N815 - as it is on the wire
    rooms: Annotated[list[Id], Field(max_length=ROOMS_MAX)] | None = None
    ttl: Annotated[int, Field(ge=1), WHOLE] | None = None


class CreateTicketResponse(JsonModel):
    """Ticket for a URL."""

    ticket: str
    expires_at: Time


async def _ticket(request: web.Request, context: Context) -> web.Response:
    body = await read_json(request, NewTicket) if request.can_read_body else NewTicket()
    principal = principal_of(request)
    if principal.user is not None:
        user, grant = principal.user, _own(request, principal, body)
    else:
        if body.userId is None:
            raise bad("/userId", "is required: whom the ticket is for")
        user = str(body.userId)
        token, _ = mint(context, principal.client, user, body.rooms, body.ttl)
        grant = Grant(token, principal.key)
    ticket = await context.tickets.issue(grant, principal.client, user)
    expires_ms = int(time.time() * 1000) + context.tickets.ttl_s * 1000
    return json_answer(
        CreateTicketResponse(ticket=ticket, expires_at=format_time(expires_ms)),
        HTTPStatus.CREATED,
        **NO_STORE,
    )


def _own(request: web.Request, principal: Principal, body: NewTicket) -> Grant:
    if body.userId is not None and str(body.userId) != principal.user:
        raise Problem(ProblemCode.FORBIDDEN, "the token is another user's")
    for name in ("rooms", "ttl"):
        if getattr(body, name) is not None:
            raise bad(f"/{name}", "is only for API keys: a token says this itself")
    # A token can only have come in this header.
    return Grant(request.headers["Authorization"].partition(" ")[2].strip(" "))


ROUTES: Final[tuple[Route[Context], ...]] = (
    Route(
        method="POST",
        path="/tickets",
        access=Access.TICKET,
        handler=_ticket,
        name="createTicket",
        tag="clients",
        summary="Make a ticket that opens one event stream or socket, for a page that can send no "
        "headers",
        description="A user shows their token and sends no body, or an empty object. An API key "
        "names the user and their rooms, as for `POST /tokens`. What the ticket opens ends with "
        "the token, or after `ttl` seconds.",
        body=NewTicket,
        body_optional=True,
        examples={"by an API key": {"userId": 1, "rooms": ["1"], "ttl": 60}},
        answers=(
            RouteAnswer(HTTPStatus.CREATED, "The ticket, shown this once.", CreateTicketResponse),
        ),
        errors=(
            *OF_STORES,
            ProblemCode.NO_CLIENT,
            ProblemCode.TOO_MANY_TICKETS,
            ProblemCode.REDIS_NEARLY_FULL,
        ),
    ),
)
