"""Schemas of the API document, made from the types of bodies and answers.

Client generators make a class of each named schema. They make up names for unnamed objects, and
lose one of two with the same name; so every model is named, and whatever else has a title.
"""

import re
from collections.abc import Iterable
from inspect import cleandoc
from typing import Any, Final

import msgspec
from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

Json = dict[str, Any]
_ROOT: Final = "#/components/schemas/"
_SUFFIX: Final = re.compile(r"(?<=.)Json$")
_NULL: Final = {"type": "null"}


class _UntitledFields(GenerateJsonSchema):
    """Generator that gives titles to models only."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Answer no: a title is a name here."""
        return False


class Schemas:
    """Named schemas of models, and references to them.

    Args:
        bodies: types that pydantic validates.
        answers: types that msgspec encodes.
    """

    def __init__(self, bodies: Iterable[Any], answers: Iterable[Any]) -> None:
        self.named: Json = {}
        """Schemas by name."""
        self._of: dict[int, Json] = {}
        bodies, answers = _each_once(bodies), _each_once(answers)
        read, definitions = TypeAdapter.json_schemas(
            [(number, "validation", TypeAdapter(model)) for number, model in enumerate(bodies)],
            ref_template=_ROOT + "{model}",
            schema_generator=_UntitledFields,
        )
        written, structs = msgspec.json.schema_components(answers, ref_template=_ROOT + "{name}")
        for one in [*definitions.get("$defs", {}).values(), *map(_plain, structs.values())]:
            self._name(one)
        for number, model in enumerate(bodies):
            self._of[id(model)] = self._name(read[number, "validation"])
        for model, schema in zip(answers, written, strict=True):
            self._of[id(model)] = self._name(_plain(schema))

    def of(self, model: Any) -> Json:
        """Return the schema of one of the models: a reference, if it has a name."""
        return self._of[id(model)]

    def _name(self, schema: Any) -> Any:
        """Move what has a title to the named schemas, and leave references in its place.

        Raises:
            ValueError: two different schemas would have the same name.
        """
        if isinstance(schema, list):
            return [self._name(one) for one in schema]
        if not isinstance(schema, dict):
            return schema
        found = {key: self._name(value) for key, value in schema.items()}
        if "$ref" in found:
            return {**found, "$ref": _SUFFIX.sub("", found["$ref"])}
        # A default would make a field count as always there.
        if not isinstance(found.get("default"), dict):
            found.pop("default", None)
        title = found.get("title")
        if not isinstance(title, str):
            return found
        del found["title"]
        if "description" in found:
            found["description"] = cleandoc(found["description"])
        if "discriminator" not in found and "anyOf" in found:
            found["oneOf"] = found.pop("anyOf")
        name = _SUFFIX.sub("", title)
        if self.named.setdefault(name, found) != found:
            raise ValueError(f"two schemas would be called {name}")
        return {"$ref": _ROOT + name}


def _each_once(models: Iterable[Any]) -> list[Any]:
    return list({id(model): model for model in models}.values())


def _plain(schema: Any) -> Any:
    """Write what msgspec made of a type in the words that generators understand best."""
    if isinstance(schema, list):
        return [_plain(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: _plain(value) for key, value in schema.items()}
    if len(found.get("enum", ())) == 1:
        (value,) = found.pop("enum")
        return {**found, "type": "string", "const": value}
    if "enum" in found:
        return {"type": "string", **found}
    branches = found.get("anyOf", [])
    if len(branches) == 2 and _NULL in branches:
        (other,) = [one for one in branches if one != _NULL]
        if "type" in other:
            del found["anyOf"]
            return {**other, **found, "type": [other["type"], "null"]}
    # Each model's own constant tells them apart.
    found.pop("discriminator", None)
    return found
