"""Answers that routes share: JSON, and refusals while a part is away."""

from typing import Annotated, Final

import msgspec
from aiohttp import web
from msgspec import Meta

from common.model.channels import Kind
from common.model.problem_codes import ProblemCode
from common.model.problems import Problem

RETRY_AFTER_S: Final = 1
_encode: Final = msgspec.json.Encoder().encode

Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
"""RFC 3339 date and time."""
KindName = Annotated[str, Meta(extra_json_schema={"enum": [*Kind]})]
"""Kind of a notification."""
NextCursor = Annotated[
    str | None, Meta(description="`cursor` of the next page; null: there is none.")
]


class JsonModel(msgspec.Struct, rename="camel"):
    """JSON object of an answer.

    The API document describes it under the name of its class; `Json` behind that is left out, which
    is for names that other classes have, too.
    """


def history_off() -> Problem:
    """Make the refusal while there is no database."""
    return Problem(ProblemCode.HISTORY_OFF, "DATABASE_URL is not set here")


def away(code: ProblemCode, detail: str) -> Problem:
    """Make the refusal while a part does not answer."""
    return Problem(code, detail, retry_after_s=RETRY_AFTER_S)


def json_answer(body: JsonModel, status: int = 200, **headers: str) -> web.Response:
    """Answer with JSON; `Location="…"` becomes that header."""
    return web.Response(
        status=status, body=_encode(body), content_type="application/json", headers=headers
    )
