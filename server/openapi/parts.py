"""Pieces of the OpenAPI document that its parts share."""

from typing import Any, Final

from common.model.ids import ID_MAX_CHARACTERS, ID_PATTERN
from server.web.parameters import CURSOR_PATTERN, LIMIT_DEFAULT, LIMIT_MAX

Json = dict[str, Any]
STRING: Final[Json] = {"type": "string"}
INTEGER: Final[Json] = {"type": "integer"}
TIME: Final[Json] = {"type": "string", "format": "date-time"}
ID: Final[Json] = {"type": "string", "pattern": ID_PATTERN, "maxLength": ID_MAX_CHARACTERS}
RETRY: Final[Json] = {"Retry-After": {"schema": INTEGER, "description": "Seconds."}}

RATE_LIMIT: Final[Json] = {
    name: {"schema": INTEGER, "description": text}
    for name, text in (
        ("RateLimit-Limit", "What the client may do in a window, if credentials were shown."),
        ("RateLimit-Remaining", "How much of it is left, as far as this server knows."),
        ("RateLimit-Reset", "Seconds until the next window."),
    )
}
"""Headers of draft-ietf-httpapi-ratelimit-headers-06."""


def or_null(schema: Json) -> Json:
    """Make a schema that also takes null."""
    return {**schema, "type": [schema["type"], "null"]}


def an_object(properties: Json, optional: tuple[str, ...] = ()) -> Json:
    """Make an object schema whose properties are all required except `optional`."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "required": required, "properties": properties}


def array(items: Json) -> Json:
    """Make the schema of a list."""
    return {"type": "array", "items": items}


def ref(name: str) -> Json:
    """Make a reference to a named schema."""
    return {"$ref": f"#/components/schemas/{name}"}


def text_of(*values: str) -> Json:
    """Make the schema of a string that is one of these."""
    return {"type": "string", "enum": list(values)}


def name_schemas(document: Json) -> None:
    """Give every object of a document its own name below `components/schemas`.

    Client generators make a class of each. They make up names for unnamed ones, and lose one of two
    with the same name. An object is named for its place: `ListInboxResponse`, `StoryReceipts`.

    Raises:
        ValueError: two would have the same name, or an object that is one of several has none.
    """
    schemas: Json = document["components"]["schemas"]
    for name in list(schemas):
        _name_within(schemas[name], name, schemas)
    for operations in document["paths"].values():
        for one in operations.values():
            name = _capital(one["operationId"])
            contents = [(one.get("requestBody", {}), f"{name}Request")]
            contents += [(response, f"{name}Response") for response in one["responses"].values()]
            for holder, called in contents:
                media = holder.get("content", {}).get("application/json")
                if media:
                    media["schema"] = _named(media["schema"], called, schemas)


def _capital(name: str) -> str:
    return name[0].upper() + name[1:]


def _named(schema: Json, name: str, schemas: Json) -> Json:
    if "$ref" in schema:
        return schema
    if schema.get("type") == "array":
        schema["items"] = _named(schema["items"], f"{name}Item", schemas)
        return schema
    if "properties" not in schema:
        _name_within(schema, name, schemas)
        return schema
    _name_within(schema, name, schemas)
    if schemas.setdefault(name, schema) != schema:
        raise ValueError(f"two schemas would be called {name}")
    return ref(name)


def _name_within(schema: Json, name: str, schemas: Json) -> None:
    for key in ("oneOf", "anyOf"):
        for one in schema.get(key, ()):
            if "properties" in one:
                raise ValueError(f"one of {name} has no name")
    properties = schema.get("properties", {})
    for key, value in properties.items():
        properties[key] = _named(value, name + _capital(key), schemas)


NEXT: Final[Json] = {
    **or_null(STRING),
    "description": "`cursor` of the next page; null: there is none.",
}


def path_parameter(name: str, text: str) -> Json:
    """Make the parameter of an id in the path."""
    return {"name": name, "in": "path", "required": True, "description": text, "schema": ID}


def query_parameter(name: str, schema: Json, text: str) -> Json:
    """Make a parameter of the query."""
    return {
        "name": name,
        "in": "query",
        "required": False,
        "description": text,
        "schema": schema,
    }


LIMIT: Final = query_parameter(
    "limit",
    {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT},
    "Items of a page.",
)
CURSOR: Final = query_parameter(
    "cursor",
    {"type": "string", "pattern": CURSOR_PATTERN},
    "`nextCursor` of the page before.",
)


def answer(text: str, schema: Json) -> Json:
    """Make an answer with JSON."""
    return {"description": text, "content": {"application/json": {"schema": schema}}}


def problem(text: str, *, retry: bool = False) -> Json:
    """Make a refusal."""
    content = {"application/problem+json": {"schema": ref("Problem")}}
    response: Json = {"description": text, "content": content}
    return {**response, "headers": RETRY} if retry else response


def operation(
    name: str,
    summary: str,
    parameters: list[Json],
    answers: Json,
    *,
    tag: str,
    more: Json | None = None,
) -> Json:
    """Make the operation of a method on a path that needs the database."""
    return {
        "operationId": name,
        "tags": [tag],
        "summary": summary,
        "parameters": parameters,
        **(more or {}),
        "responses": {
            **answers,
            "400": problem("The request is not HTTP."),
            "422": problem("Invalid: `errors` points at every bad parameter."),
            "503": problem(
                "`history-off`: there is no database here. `database-away`, `redis-away`: repeat.",
                retry=True,
            ),
        },
    }
