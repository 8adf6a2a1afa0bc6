"""A Python type as the form of an elicitation, and what was filled in as a value of that type.

A form is flat: an object whose members are text, numbers, yes or no, or a choice (2025-11-25
§ Elicitation, Requested Schema). What a type says beyond that is left out of it.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Final, Generic, Literal, TypeVar, cast

import msgspec
from msgspec import Struct

from interlock.errors import RegistrationError, UsageError
from interlock.server.native import NativeOutput
from interlock.server.shape import DEFINED

T = TypeVar("T")

_KEPT: Final = frozenset(
    {
        "type",
        "title",
        "description",
        "default",
        "minLength",
        "maxLength",
        "format",
        "minimum",
        "maximum",
        "enum",
        "enumNames",
        "oneOf",
        "items",
        "minItems",
        "maxItems",
    }
)
"""The keywords that a form's members may have."""
_PRIMITIVE: Final = frozenset({"string", "number", "integer", "boolean"})
_FORMATS: Final = frozenset({"email", "uri", "date", "date-time"})
_SECRET: Final = "password"
"""What pydantic calls the format of a secret, which is none of a form's."""


class Elicited(Struct, Generic[T], frozen=True):
    """What became of a form: *content* is what was filled in, None unless it was accepted."""

    action: Literal["accept", "decline", "cancel"]
    content: T | None = None

    @property
    def accepted(self) -> bool:
        return self.action == "accept"


@functools.lru_cache(maxsize=256)
def form_of(type_: Any) -> dict[str, Any]:
    """The form that a dataclass, TypedDict, msgspec Struct or pydantic model is.

    Raises `UsageError` for a type whose members do not fit a flat form.
    """
    name = getattr(type_, "__name__", str(type_))
    if hasattr(type_, "model_json_schema"):
        schema: dict[str, Any] = type_.model_json_schema()
    else:
        try:
            schema = NativeOutput(name, type_).schema
        except RegistrationError as error:
            raise UsageError(f"{name} is no form: {error.__cause__ or error}") from error
    definitions: dict[str, Any] = schema.get("$defs", {})
    properties = {
        member: _flat(inner, definitions) for member, inner in schema.get("properties", {}).items()
    }
    form: dict[str, Any] = {"type": schema.get("type"), "properties": properties}
    if required := schema.get("required"):
        form["required"] = list(required)
    check(form, name)
    return form


def check(form: Mapping[str, Any], name: str = "the schema of an elicitation") -> None:
    """Raise `UsageError` unless *form* is a flat object, as clients can show one."""
    properties = form.get("properties")
    if form.get("type") != "object" or not isinstance(properties, Mapping):
        raise UsageError(f"{name} is no form: an object with properties is expected")
    for member, inner in cast("Mapping[str, Any]", properties).items():
        said: Mapping[str, Any] = (
            cast("Mapping[str, Any]", inner) if isinstance(inner, Mapping) else {}
        )
        kind = said.get("type")
        if kind not in _PRIMITIVE and not (kind == "array" and "items" in said):
            raise UsageError(
                f"{name} is no form: {member!r} must be a string, a number, an integer, a boolean "
                f"or a choice of several, not {kind or 'something without a type'}"
            )
        if said.get("format", "uri") not in _FORMATS:
            raise UsageError(
                f"{name} is no form: {member!r} must have one of the formats "
                f"{', '.join(sorted(_FORMATS))}, not {said['format']!r}; secrets are asked for by "
                "elicit_url"
            )


def has_several(form: Mapping[str, Any]) -> bool:
    """Whether a member is a choice of several, which came with 2025-11-25."""
    return any(inner.get("type") == "array" for inner in form["properties"].values())


def complaint(form: Mapping[str, Any], content: Mapping[str, Any] | None) -> str | None:
    """What is wrong with what was filled in; None if it fits the form."""
    # Kept out of programs that ask nothing, with the validator beneath.
    from interlock.protocol.schema import BadSchema
    from interlock.protocol.schema import compile as compiled

    try:
        return compiled(form).complaint(dict(content or {}))
    except BadSchema:
        return None  # Ours to know, not the client's to suffer.


def filled_in(type_: type[T], content: Mapping[str, Any]) -> T:
    """What was filled in, as a *type_*. Raises `ValueError` if it does not fit."""
    validate = getattr(type_, "model_validate", None)
    if validate is not None:
        return validate(dict(content))
    return msgspec.convert(content, type_)


def _flat(inner: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    schema = dict(inner)
    reference = schema.pop("$ref", None)
    if isinstance(reference, str):
        schema = {**definitions.get(reference.removeprefix(DEFINED), {}), **schema}
    alternatives: Any = schema.pop("anyOf", None)
    if alternatives is not None:
        # What may be left empty is said by not being required; forms have no null.
        given = [each for each in alternatives if each.get("type") != "null"]
        if len(given) == 1:
            schema = {**_flat(given[0], definitions), **schema}
    if schema.get("default", ...) is None:
        del schema["default"]
    if "enum" in schema:
        schema["enum"] = [choice for choice in schema["enum"] if choice is not None]
        schema.setdefault("type", "string")
    if "const" in schema:
        schema |= {"type": "string", "enum": [schema["const"]]}
    if schema.get("format") not in (*_FORMATS, _SECRET):
        schema.pop("format", None)
    return {key: value for key, value in schema.items() if key in _KEPT}
