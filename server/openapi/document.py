"""OpenAPI document of the HTTP API, generated from the models that validate."""

import copy
from functools import cache
from typing import Any, Final

from pydantic.json_schema import models_json_schema

from common.model.notification import (
    BATCH_MAX,
    BroadcastNotification,
    PrivateNotification,
    RoomNotification,
)
from common.version import VERSION
from server.clients.client_routes import ClientChange, NewClient
from server.clients.key_routes import NewApiKey, Rotation
from server.clients.ticket_routes import NewTicket
from server.clients.token_routes import NewToken, TokenKeys
from server.members.user_routes import NewUser
from server.notify.handler import IDEMPOTENCY_KEY_MAX
from server.openapi.client_paths import SCHEMAS as CLIENT_SCHEMAS
from server.openapi.client_paths import SECURITY_SCHEMES, client_paths, say_who
from server.openapi.history_paths import SCHEMAS, history_paths
from server.openapi.parts import array, name_schemas, ref
from server.web.bodies import BODY_MAX_BYTES

_BODIES: Final = (
    NewUser, NewClient, NewApiKey, NewToken, NewTicket, Rotation, TokenKeys, ClientChange,
)  # fmt: skip
_REF: Final = "#/components/schemas/{model}"

_PROBLEM: Final[dict[str, Any]] = {
    "type": "object",
    "description": "RFC 9457 problem details.",
    "required": ["type", "title", "status", "code", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "description": "Stable name of the problem."},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "detail"],
                "properties": {
                    "pointer": {"type": "string", "description": "JSON pointer (RFC 6901)."},
                    "detail": {"type": "string"},
                },
            },
        },
    },
}

_QUEUED: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["id", "status"],
    "properties": {
        "id": {"type": "string", "format": "uuid", "description": "UUIDv7."},
        "status": {"type": "string", "const": "queued"},
    },
}

_RETRY_AFTER: Final[dict[str, Any]] = {
    "Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}
}

_EXAMPLES: Final[dict[str, Any]] = {
    "private": {
        "value": {
            "userId": 2,
            "message": "Private message for userId 1",
            "email": "abc@gmail.com",
            "target": 1,
            "type": "private",
        }
    },
    "room": {
        "value": {
            "userId": 1,
            "message": "broadcast message for roomId 1",
            "email": "abc@gmail.com",
            "target": 1,
            "type": "room",
        }
    },
    "broadcast": {
        "value": {
            "userId": 1,
            "message": "broadcast message for all",
            "email": "abc@gmail.com",
            "type": "broadcast",
        }
    },
}


def _refusal(text: str, *, retry: bool = False) -> dict[str, Any]:
    response: dict[str, Any] = {
        "description": text,
        "content": {"application/problem+json": {"schema": {"$ref": _REF.format(model="Problem")}}},
    }
    if retry:
        response["headers"] = _RETRY_AFTER
    return response


def _notify() -> dict[str, Any]:
    return {
        "operationId": "notify",
        "tags": ["notifications"],
        "summary": "Send a notification, or up to 1,000 of them",
        "description": "Answered once Redis has the jobs. An array is accepted or refused as a "
        f"whole. A body may have {BODY_MAX_BYTES} bytes.",
        "parameters": [
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": False,
                "description": "Remembered 24 h: the same key and body answer with the first id "
                "and queue nothing.",
                "schema": {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": IDEMPOTENCY_KEY_MAX,
                    "pattern": "^[!-~]([ -~]*[!-~])?$",
                },
            }
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"$ref": _REF.format(model="NotificationOrBatch")},
                    "examples": _EXAMPLES,
                }
            },
        },
        "responses": {
            "202": {
                "description": "Queued. An array is answered with an array, in order.",
                "content": {
                    "application/json": {"schema": {"$ref": _REF.format(model="QueuedOrBatch")}}
                },
            },
            "400": _refusal("The body is not JSON, or the request is not HTTP."),
            "409": _refusal("A request with this Idempotency-Key is under way.", retry=True),
            "413": _refusal("The body is too large."),
            "415": _refusal("The Content-Type is not application/json."),
            "422": _refusal("Invalid: `errors` points at every bad field. Or the Idempotency-Key "
                            "was used with another body."),
            "503": _refusal("Redis is away or nearly full, or the lane is full; the code says "
                            "which. After `outcome-unknown`, repeat with the same "
                            "Idempotency-Key.", retry=True),
        },
    }  # fmt: skip


def _operation(name: str, summary: str, responses: dict[str, Any]) -> dict[str, Any]:
    operation = {"operationId": name, "tags": ["operations"], "summary": summary}
    return {"get": {**operation, "responses": responses}}


def _state(text: str) -> dict[str, Any]:
    schema = {
        "type": "object",
        "required": ["status"],
        "properties": {"status": {"type": "string"}},
    }
    return {"description": text, "content": {"application/json": {"schema": schema}}}


@cache
def openapi_document() -> dict[str, Any]:
    """Return the document (OpenAPI 3.1) as JSON types. Do not modify it."""
    models = (PrivateNotification, RoomNotification, BroadcastNotification)
    _, schema = models_json_schema(
        [(model, "validation") for model in (*models, *_BODIES)], ref_template=_REF
    )
    schemas: dict[str, Any] = schema["$defs"]
    schemas["Notification"] = {
        "oneOf": [{"$ref": _REF.format(model=model.__name__)} for model in models],
        "discriminator": {
            "propertyName": "type",
            "mapping": {
                "private": _REF.format(model="PrivateNotification"),
                "room": _REF.format(model="RoomNotification"),
                "broadcast": _REF.format(model="BroadcastNotification"),
            },
        },
    }
    schemas["Problem"] = _PROBLEM
    schemas["Queued"] = _QUEUED
    one, queued = ref("Notification"), ref("Queued")
    batch = {**array(one), "minItems": 1, "maxItems": BATCH_MAX}
    schemas["NotificationBatch"] = {**batch, "description": "Accepted or refused as a whole."}
    schemas["NotificationOrBatch"] = {"oneOf": [one, ref("NotificationBatch")]}
    schemas["QueuedBatch"] = {**array(queued), "description": "In the order of the batch."}
    schemas["QueuedOrBatch"] = {"oneOf": [queued, ref("QueuedBatch")]}
    schemas |= SCHEMAS | CLIENT_SCHEMAS
    paths = {
        "/notify": {"post": _notify()},
        **history_paths(),
        **client_paths(),
        "/healthz": _operation("getHealth", "Is the process alive?", {"200": _state("Alive.")}),
        "/readyz": _operation(
            "getReadiness",
            "Can it queue notifications?",
            {"200": _state("Ready."), "503": _state("Not ready; the reason is there.")},
        ),
        "/metrics": _operation(
            "getMetrics",
            "Prometheus metrics",
            {
                "200": {
                    "description": "Text exposition.",
                    "content": {"text/plain": {"schema": {"type": "string"}}},
                }
            },
        ),
    }
    say_who(paths)
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "Roomcast",
            "version": VERSION,
            "description": "Real-time notifications: to one user, to a room, to everybody.",
        },
        "paths": paths,
        "tags": [
            {"name": name}
            for name in ("notifications", "inbox", "users", "rooms", "clients", "operations")
        ],
        "components": {"schemas": schemas, "securitySchemes": SECURITY_SCHEMES},
    }
    # Parts of it are shared, and are modified in place below.
    document = copy.deepcopy(document)
    _say_no_defaults(document["components"]["schemas"])
    name_schemas(document)
    return document


def _say_no_defaults(schemas: Any) -> None:
    """Remove defaults that pydantic adds: they would make a field count as always there."""
    if isinstance(schemas, list):
        for one in schemas:
            _say_no_defaults(one)
    elif isinstance(schemas, dict):
        for name in ("default", "title"):
            if not isinstance(schemas.get(name), dict):
                schemas.pop(name, None)
        for one in schemas.values():
            _say_no_defaults(one)
