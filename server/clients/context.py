"""Context and helpers that all routes of clients share."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final

from aiohttp import web
from pydantic import BaseModel, BeforeValidator, ConfigDict, StringConstraints
from pydantic_core import PydanticKnownError

from common.auth.client_directory import Directory
from common.model.problem_codes import ProblemCode
from common.model.problems import FieldError, Problem
from common.model.timestamps import format_time, unix_ms
from history.queries import clients as queries
from history.queries.clients import Actor, Client
from server.access.route_access import PRINCIPAL, principal_of
from server.clients.service import Clients
from server.clients.ticket_issuer import TicketIssuer
from server.clients.usage_report import UsageReport
from server.web.answers import history_off

NO_STORE: Final = {"Cache-Control": "no-store"}
"""Headers of answers with a secret."""
WARNING: Final = "This key is shown once. Keep it secret; whoever has it can send in your name."


class Body(BaseModel):
    """A body in which no unknown field is allowed."""

    model_config = ConfigDict(extra="forbid")


def _no_number(value: Any) -> Any:
    if isinstance(value, bool | str):
        raise PydanticKnownError("int_type")
    return value


WHOLE: Final = BeforeValidator(_no_number)
"""Validator of an `int` with bounds: takes 60 and 60.0, but neither "60" nor true."""


@dataclass(frozen=True, slots=True)
class Context:
    """Context of the routes of clients.

    Attributes:
        kept: the clients; None while there is no database.
        directory: all clients as this process knows them.
        token_max_ttl_s: longest life of a token.
        usage: reports a client's usage.
        tickets: issues tickets.
    """

    kept: Clients | None
    directory: Directory
    token_max_ttl_s: int
    usage: UsageReport
    tickets: TicketIssuer

    @property
    def clients(self) -> Clients:
        """The clients.

        Raises:
            Problem: 503; there is no database.
        """
        if self.kept is None:
            raise history_off()
        return self.kept

    async def client(self, an_id: str) -> Client:
        """Find a client by its id.

        Raises:
            Problem: 404, or 503 without a database.
            DatabaseAwayError: it does not answer.
        """
        async with self.clients.database.connection() as connection:
            found = await queries.find_client(connection, an_id)
        if found is None:
            raise no_client()
        return found


def actor_of(request: web.Request) -> Actor:
    """Return the actor for the audit log; an empty one where everybody may make a client."""
    principal = request.get(PRINCIPAL)
    return Actor(principal.client, principal.key) if principal else Actor("", "")


def own(request: web.Request) -> str:
    """Return the id of the client that sent a request."""
    return principal_of(request).client


def no_client() -> Problem:
    """Make the refusal of an unknown client id."""
    return Problem(ProblemCode.CLIENT_NOT_FOUND, "there is no such client")


def bad(at: str, detail: str) -> Problem:
    """Make the refusal of a field, by its JSON pointer."""
    return Problem(ProblemCode.INVALID, f"{at}: {detail}", [FieldError(at, detail)])


def time_text(moment: datetime) -> str:
    """Format a time as answers have it."""
    return format_time(unix_ms(moment))


def time_or_null(moment: datetime | None) -> str | None:
    """Format a time as answers have it, where there may be none."""
    return None if moment is None else time_text(moment)


NAME_MAX_CHARACTERS: Final = 100

Name = Annotated[
    str,
    StringConstraints(min_length=1, max_length=NAME_MAX_CHARACTERS, pattern=r"^[^\x00-\x1f\x7f]*$"),
]
