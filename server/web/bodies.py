"""JSON bodies of requests, read in time and validated."""

import asyncio
from typing import Final, TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from common.model.json_bodies import (
    malformed,
    no_number,
    refuse_fields,
    refuse_invalid,
    repeated_names,
)
from common.model.problem_codes import ProblemCode
from common.model.problems import Problem

BODY_TIMEOUT_S: Final = 30.0
LOOKED_WITHIN_BYTES: Final = 64 * 1024
"""Largest body in which repeated names are looked for in all objects: reading a megabyte of them in
Python would block the event loop."""
Model = TypeVar("Model", bound=BaseModel)


async def read_body(request: web.Request) -> bytes:
    """Read the body of a request.

    Raises:
        Problem: 408; it did not come in time.
    """
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            return await request.read()
    except TimeoutError:
        raise Problem(ProblemCode.REQUEST_TIMEOUT, "the body did not come in time") from None


async def read_json(request: web.Request, model: type[Model]) -> Model:
    """Read the body of a request into a model.

    Raises:
        Problem: 400, 408, 415, or 422 with a pointer to every bad field.
    """
    check_type(request.headers.get("Content-Type", ""))
    body = await read_body(request)
    try:
        found = model.model_validate_json(body)
    except ValidationError as error:
        raise refuse_invalid(body, error) from None
    try:
        repeated = repeated_names(body, within=len(body) <= LOOKED_WITHIN_BYTES)
    except ValueError:
        # pydantic's parser accepts them.
        raise no_number(body) from None
    except RecursionError:
        raise malformed("it is nested too deep") from None
    if repeated:
        raise refuse_fields(repeated)
    return found


BODY_MAX_BYTES: Final = 1024 * 1024


def check_type(content_type: str) -> None:
    """Check that a body is JSON, by its type.

    Raises:
        Problem: 415.
    """
    media, _, parameters = content_type.partition(";")
    if media.strip().lower() != "application/json":
        raise Problem(
            ProblemCode.UNSUPPORTED_MEDIA_TYPE,
            "Content-Type must be application/json",
            headers={"Accept": "application/json"},
        )
    charset = parameters.lower().replace(" ", "").replace('"', "")
    if charset and charset not in ("charset=utf-8", "charset=utf8"):
        raise Problem(
            ProblemCode.UNSUPPORTED_MEDIA_TYPE,
            "JSON is UTF-8; leave the charset out",
        )


def too_large() -> Problem:
    """Make the refusal of a body over `BODY_MAX_BYTES`."""
    return Problem(
        ProblemCode.TOO_LARGE,
        f"a body may have {BODY_MAX_BYTES} bytes",
    )
