"""OpenAPI document of the HTTP API, made from the declarations of its routes."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from common.config.version import VERSION
from common.model.problem_codes import ProblemCode
from common.model.problems import PROBLEM_TYPE, ProblemJson
from server.access.route_access import SCOPES, Access
from server.openapi.schemas import Json, Schemas
from server.web.parameters import Parameter
from server.web.route import RATE_LIMIT_HEADERS, Route, RouteAnswer

_TAGS: Final = ("notifications", "inbox", "users", "rooms", "clients", "operations")
_SECURITY_SCHEMES: Final[Json] = {
    "bearerKey": {"type": "http", "scheme": "bearer", "description": "An API key, `rk_…`."},
    "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
    "userToken": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
}


def openapi_document(routes: Iterable[Route[Any]]) -> Json:
    """Make the document (OpenAPI 3.1) of the routes that have a name, as JSON types."""
    routes = [route for route in routes if route.name]
    schemas = Schemas(
        [route.body for route in routes if route.body is not None],
        [
            ProblemJson,
            *(one.model for route in routes for one in route.answers if one.model is not None),
        ],
    )
    paths: Json = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Roomcast",
            "version": VERSION,
            "description": "Real-time notifications: to one user, to a room, to everybody.",
        },
        "paths": paths,
        "tags": [{"name": name} for name in _TAGS],
        "components": {"schemas": schemas.named, "securitySchemes": _SECURITY_SCHEMES},
    }


def _operation(route: Route[Any], schemas: Schemas) -> Json:
    operation: Json = {
        "operationId": route.name,
        "tags": [route.tag],
        "summary": route.summary,
    }
    description = f"{route.description}\n\n{_needs(route.access)}".strip()
    if description:
        operation["description"] = description
    if route.parameters:
        operation["parameters"] = [_parameter(one) for one in route.parameters]
    if route.body is not None:
        content: Json = {"schema": schemas.of(route.body)}
        if route.examples:
            content["examples"] = {name: {"value": one} for name, one in route.examples.items()}
        operation["requestBody"] = {
            "required": not route.body_optional,
            "content": {"application/json": content},
        }
    answers = {str(one.status.value): _answer(one, schemas) for one in route.answers}
    operation["responses"] = _refusals(route.refusals, schemas) | answers
    operation["security"] = _security(route.access)
    return operation


def _parameter(one: Parameter) -> Json:
    return {
        "name": one.name,
        "in": one.place,
        "required": one.place == "path",
        "description": one.description,
        "schema": dict(one.schema),
    }


def _answer(one: RouteAnswer, schemas: Schemas) -> Json:
    answer: Json = {"description": one.description}
    if one.model is not None:
        answer["content"] = {one.media_type: {"schema": schemas.of(one.model)}}
    if one.headers:
        answer["headers"] = _numbers(one.headers)
    return answer


def _refusals(codes: Iterable[ProblemCode], schemas: Schemas) -> Json:
    by_status: dict[int, list[ProblemCode]] = {}
    for code in codes:
        by_status.setdefault(code.status.value, []).append(code)
    return {
        str(status): _refusal(status, by_status[status], schemas) for status in sorted(by_status)
    }


def _refusal(status: int, codes: list[ProblemCode], schemas: Schemas) -> Json:
    headers: Json = {}
    if status == 401:
        headers["WWW-Authenticate"] = {"schema": {"type": "string"}}
    if any(code.retry for code in codes):
        headers |= _numbers({"Retry-After": "Seconds."})
    if ProblemCode.RATE_LIMITED in codes:
        headers |= _numbers(RATE_LIMIT_HEADERS)
    refusal: Json = {
        "description": " ".join(f"`{code}`: {code.meaning}" for code in codes),
        "content": {PROBLEM_TYPE: {"schema": schemas.of(ProblemJson)}},
    }
    return {**refusal, "headers": headers} if headers else refusal


def _numbers(headers: Mapping[str, str]) -> Json:
    return {
        name: {"schema": {"type": "integer"}, "description": text} for name, text in headers.items()
    }


def _needs(access: Access) -> str:
    if access is Access.ANYONE:
        return ""
    scopes = " and ".join(f"`{scope}`" for scope in sorted(SCOPES[access]))
    operators = access in (Access.OPERATOR, Access.REGISTRATION)
    return f"An API key needs the scope {scopes}" + (
        ", and an operator's client." if operators else "."
    )


def _security(access: Access) -> list[dict[str, list[Any]]]:
    if access is Access.ANYONE:
        return []
    found: list[dict[str, list[Any]]] = [{"bearerKey": []}, {"apiKey": []}]
    if access in (Access.INBOX, Access.TICKET):
        found.append({"userToken": []})
    return found
