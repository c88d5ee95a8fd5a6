"""Answers that routes share: JSON, and refusals while a part is away."""

from typing import Any

import msgspec
from aiohttp import web

from common.model.problem_codes import ProblemCode
from common.model.problems import Problem

RETRY_AFTER_S = 1
_encode = msgspec.json.Encoder().encode


def history_off() -> Problem:
    """Make the refusal while there is no database."""
    return Problem(ProblemCode.HISTORY_OFF, "DATABASE_URL is not set here")


def away(code: ProblemCode, detail: str) -> Problem:
    """Make the refusal while a part does not answer."""
    return Problem(code, detail, retry_after_s=RETRY_AFTER_S)


def json_answer(body: Any, status: int = 200, **headers: str) -> web.Response:
    """Answer with JSON; `Location="…"` becomes that header."""
    return web.Response(
        status=status, body=_encode(body), content_type="application/json", headers=headers
    )
