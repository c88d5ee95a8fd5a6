"""JSON bodies of requests, read in time and validated."""

import asyncio
from http import HTTPStatus
from typing import Final, TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from common.problems import Problem, field_errors
from server.intake import refuse_type

BODY_TIMEOUT_S: Final = 30.0
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
        return model.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if first["type"] == "json_invalid":
            raise Problem(HTTPStatus.BAD_REQUEST, "malformed-json", first["msg"]) from None
        errors = field_errors(error)
        detail = "; ".join(f"{e.pointer or 'body'}: {e.detail}" for e in errors[:3])
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", detail, errors) from None
