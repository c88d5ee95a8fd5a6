"""The OpenAPI document by itself: valid, and written so that generators lose nothing of it."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from server.app import ROUTES
from server.openapi.document import openapi_document

DOCUMENT = openapi_document(ROUTES)
OPERATIONS = [
    (f"{method} {path}", operation)
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
]


def test_the_document_is_openapi_3_1() -> None:
    assert DOCUMENT["openapi"].startswith("3.1.")
    assert [str(error) for error in OpenAPIV31SpecValidator(DOCUMENT).iter_errors()] == []


def test_every_operation_has_a_name_of_its_own_that_is_a_method_s() -> None:
    names = [operation["operationId"] for _, operation in OPERATIONS]
    assert len(set(names)) == len(names)
    verb = re.compile(
        r"(notify|(add|archive|create|delete|get|list|mark|remove|restore|revoke|rotate|set|unarchive|update)"
        r"([A-Z][a-z]+)+)"
    )
    assert [name for name in names if not verb.fullmatch(name)] == []


def _objects(schema: Any) -> Iterator[Any]:
    if isinstance(schema, list):
        for one in schema:
            yield from _objects(one)
    elif isinstance(schema, dict):
        if isinstance(schema.get("properties"), dict):
            yield schema
        for one in schema.values():
            yield from _objects(one)


@pytest.mark.parametrize(("where", "operation"), OPERATIONS, ids=[name for name, _ in OPERATIONS])
def test_bodies_have_names_and_refusals_are_problems(where: str, operation: Any) -> None:
    body = operation.get("requestBody")
    if body is not None:
        assert set(body["content"]["application/json"]["schema"]) == {"$ref"}, where
    assert list(_objects(operation)) == [], where
    for status, response in operation["responses"].items():
        content = response.get("content", {})
        if int(status) >= 400 and not (where == "get /readyz" and status == "503"):
            problem = {"schema": {"$ref": "#/components/schemas/Problem"}}
            assert content == {"application/problem+json": problem}, (where, status)
        elif "application/json" in content:
            assert set(content["application/json"]["schema"]) == {"$ref"}, (where, status)


def test_no_object_is_within_another_and_nothing_has_a_default() -> None:
    for name, schema in DOCUMENT["components"]["schemas"].items():
        assert [one for one in _objects(schema) if one is not schema] == [], name
        # A field with a default is one that is always there, for generators.
        fields = schema.get("properties", {}).values()
        assert [field for field in fields if "default" in field] == [], name
