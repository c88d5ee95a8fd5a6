"""JSON bodies of requests, read in time and validated."""

import asyncio
from http import HTTPStatus
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
from common.model.problems import Problem
from server.notify.handler import refuse_type

BODY_TIMEOUT_S: Final = 30.0
LOOKED_WITHIN_BYTES: Final = 64 * 1024
"""Bodies up to which names that are there twice are looked for in all objects: to read a megabyte
of them in Python holds everybody up."""
Model = TypeVar("Model", bound=BaseModel)


async def read_body(request: web.Request) -> bytes:
    """Body of a request.

    Raises:
        Problem: 408; it did not come in time.
    """
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            return await request.read()
    except TimeoutError:
        raise Problem(
            HTTPStatus.REQUEST_TIMEOUT, "request-timeout", "the body did not come in time"
        ) from None


async def read_json(request: web.Request, model: type[Model]) -> Model:
    """Body of a request, as what it has to be.

    Raises:
        Problem: 400, 408, 415, or 422 with a pointer to every bad field.
    """
    refuse_type(request.headers.get("Content-Type", ""))
    body = await read_body(request)
    try:
        found = model.model_validate_json(body)
    except ValidationError as error:
        raise refuse_invalid(body, error) from None
    try:
        repeated = repeated_names(body, within=len(body) <= LOOKED_WITHIN_BYTES)
    except ValueError:
        # pydantic's parser takes them.
        raise no_number(body) from None
    except RecursionError:
        raise malformed("it is nested too deep") from None
    if repeated:
        raise refuse_fields(repeated)
    return found
