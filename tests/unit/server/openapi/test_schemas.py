from typing import Annotated, Any, Literal

import pytest
from msgspec import UNSET, Meta, UnsetType
from pydantic import BaseModel, Field

from server.openapi.schemas import Schemas
from server.web.answers import JsonModel, Time

REF = "#/components/schemas/"


class Inner(BaseModel):
    """Part of a body."""

    size: int | None = 3


class Outer(BaseModel):
    inner: Inner
    names: list[str] = Field(default_factory=list, max_length=2)


class ThingJson(JsonModel):
    """Thing.

    It has more to say.
    """

    made_at: Time | None
    note: Annotated[str | None, Meta(description="Why.")]
    left: int | UnsetType = UNSET


class Good(JsonModel, tag_field="state", tag="good"):
    """Good one."""

    things: list[ThingJson]


class Bad(JsonModel, tag_field="state", tag="bad"):
    """Bad one."""

    kind: Literal["a", "b"]


State = Annotated[Good | Bad, Meta(title="State", description="How it is.")]


class Page(JsonModel):
    """Page."""

    states: list[State]


def test_bodies_are_named_and_have_no_defaults_or_other_titles() -> None:
    schemas = Schemas([Outer], [])
    assert schemas.of(Outer) == {"$ref": f"{REF}Outer"}
    assert schemas.named["Inner"] == {
        "type": "object",
        "description": "Part of a body.",
        "properties": {"size": {"anyOf": [{"type": "integer"}, {"type": "null"}]}},
    }
    assert schemas.named["Outer"] == {
        "type": "object",
        "properties": {
            "inner": {"$ref": f"{REF}Inner"},
            "names": {"type": "array", "items": {"type": "string"}, "maxItems": 2},
        },
        "required": ["inner"],
    }


def test_answers_are_named_for_their_classes() -> None:
    schemas = Schemas([], [ThingJson])
    assert schemas.of(ThingJson) == {"$ref": f"{REF}Thing"}
    assert schemas.named == {
        "Thing": {
            "type": "object",
            "description": "Thing.\n\nIt has more to say.",
            "properties": {
                "madeAt": {"type": ["string", "null"], "format": "date-time"},
                "note": {"type": ["string", "null"], "description": "Why."},
                "left": {"type": "integer"},
            },
            "required": ["madeAt", "note"],
        }
    }


def test_one_of_several_is_named_and_told_apart_by_a_constant() -> None:
    named = Schemas([], [Page]).named
    assert set(named) == {"Page", "State", "Good", "Bad", "Thing"}
    assert named["Page"]["properties"]["states"] == {
        "type": "array", "items": {"$ref": f"{REF}State"},
    }  # fmt: skip
    assert named["State"] == {
        "description": "How it is.",
        "oneOf": [{"$ref": f"{REF}Good"}, {"$ref": f"{REF}Bad"}],
    }
    assert named["Good"]["properties"]["state"] == {"type": "string", "const": "good"}
    assert named["Bad"]["properties"]["kind"] == {"type": "string", "enum": ["a", "b"]}


def test_two_different_models_of_one_name_are_not_mixed_up() -> None:
    def another() -> Any:
        class Inner(JsonModel):
            """Something else."""

            a: str

        return Inner

    with pytest.raises(ValueError, match="called Inner"):
        Schemas([Inner], [another()])
