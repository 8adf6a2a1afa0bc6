"""A JSON Schema compiled once; its complaints in plain words.

A schema is somebody else's text: nothing it refers to is fetched, and one that could make
validating take long is refused before it is used (`effort`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol, cast

import msgspec

from interlock.protocol.effort import VALUE_DEPTH, Effort
from interlock.wire.jsonrpc import encode

SIZE_LIMIT: Final = 1024 * 1024
"""Bytes that a schema may have."""
WORK_LIMIT: Final = 50_000_000
"""Looks that one check may take: half a second."""
BACKTRACK_LIMIT: Final = 20_000
"""Steps back that a pattern may take with one text."""

_SHOWN: Final = 60
_STEM: Final = 16
"""Letters of a text that take as long as one look."""

_DIALECTS: Final = {
    "json-schema.org/draft/2020-12/schema": ("2020-12", "$id"),
    "json-schema.org/draft/2019-09/schema": ("2019-09", "$id"),
    "json-schema.org/draft-07/schema": ("draft-07", "$id"),
    "json-schema.org/draft-06/schema": ("draft-06", "$id"),
    "json-schema.org/draft-04/schema": ("draft-04", "id"),
}


class BadSchema(ValueError):
    """A schema that nothing can be checked against; the message says why, in one sentence."""


class _Kind(Protocol):
    """What our words are made of; the library's errors have it."""

    @property
    def name(self) -> str: ...

    @property
    def value(self) -> Any: ...


class _Validator(Protocol):
    def is_valid(self, instance: Any) -> bool: ...

    def validate(self, instance: Any) -> None: ...


class Check:
    """A compiled schema. Safe to use from several threads."""

    def __init__(self, validator: _Validator, effort: Effort | None) -> None:
        self._validator = validator
        self._effort = effort

    def complaint(self, value: Any) -> str | None:
        """What is wrong with a value of JSON, the first thing found; None if it fits.

        It names the place, what was expected and what is there, the latter shortened. A value that
        could not be looked at within bounds does not fit.
        """
        size, depth = _measure(value)
        if depth > VALUE_DEPTH:
            return f"the value: expected at most {VALUE_DEPTH} levels, it is nested deeper"
        if self._effort is not None and self._effort.of(size, depth) > WORK_LIMIT:
            return "the value: holding this much against this schema would take too long"
        try:
            if self._validator.is_valid(value):
                return None
            self._validator.validate(value)
        except (ValueError, TypeError) as error:
            # The library's own error is a ValueError too, and has a kind; others say that the value
            # is no JSON: a lone surrogate, a key that is no text.
            if not hasattr(error, "kind"):
                return f"the value: expected JSON, got what cannot be read as such ({error})"
            return _in_words(error)
        return None


def compile(schema: Mapping[str, Any] | bool) -> Check:  # noqa: A001  the word for it
    """The check that *schema* describes, in the dialect its `$schema` names, or in 2020-12.

    `format` is an annotation and checks nothing. Raises `BadSchema` for what is no schema, for a
    dialect that is not known, for references that lead out of it (nothing is ever fetched), and
    for one too large, too deep or too entangled to be bounded.
    """
    import jsonschema_rs  # kept out of programs that check nothing

    data = _encoded(schema)
    if isinstance(schema, bool):
        return Check(jsonschema_rs.Draft202012Validator(schema), None)
    if not isinstance(schema, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]  others' JSON
        raise BadSchema(f"A schema is an object, true or false, not {_shown(schema)}")
    dialect, id_key = _dialect(schema)
    # A copy of our own: what is measured is what is compiled, whatever is done to the original.
    plain: dict[str, Any] = msgspec.json.decode(data)
    try:
        effort = Effort(plain, id_key=id_key)
    except ValueError as error:
        raise BadSchema(f"The schema cannot be used: {error}") from None
    classes = {
        "2020-12": jsonschema_rs.Draft202012Validator,
        "2019-09": jsonschema_rs.Draft201909Validator,
        "draft-07": jsonschema_rs.Draft7Validator,
        "draft-06": jsonschema_rs.Draft6Validator,
        "draft-04": jsonschema_rs.Draft4Validator,
    }
    options = jsonschema_rs.FancyRegexOptions(backtrack_limit=BACKTRACK_LIMIT)
    try:
        validator = classes[dialect](
            plain, validate_formats=False, retriever=_fetch_nothing, pattern_options=options
        )
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        said = getattr(error, "message", None) or str(error)
        raise BadSchema(f"The schema is not valid: {_cut(str(said))}") from None
    return Check(validator, effort)


def _encoded(schema: Mapping[str, Any] | bool) -> bytes:
    try:
        data = encode(schema)
    except (TypeError, ValueError, RecursionError) as error:
        raise BadSchema(f"The schema is no JSON: {error}") from None
    if len(data) > SIZE_LIMIT:
        raise BadSchema(f"The schema has {len(data)} bytes; at most {SIZE_LIMIT} are taken")
    return data


def _dialect(schema: Mapping[str, Any]) -> tuple[str, str]:
    named = schema.get("$schema")
    if named is None:
        return _DIALECTS["json-schema.org/draft/2020-12/schema"]
    bare = named.rstrip("#").partition("://")[2] if isinstance(named, str) else ""
    if bare not in _DIALECTS:
        known = ", ".join(name for name, _ in _DIALECTS.values())
        raise BadSchema(
            f"The schema's dialect {_shown(named)} is not known here: {known} are; without "
            "$schema it is taken for 2020-12"
        )
    return _DIALECTS[bare]


def _fetch_nothing(uri: str) -> Any:
    raise ValueError(f"{uri[:200]} is not fetched")


def _measure(value: Any) -> tuple[int, int]:
    """How many places a value has, long texts counting for several, and how deep it is nested."""
    size = 0
    depth = 0
    level: list[Any] = [value]
    while level and depth <= VALUE_DEPTH and size <= WORK_LIMIT:
        depth += 1
        size += len(level)
        below: list[Any] = []
        for each in level:
            if isinstance(each, str):
                size += len(each) // _STEM
            elif isinstance(each, dict):
                below += cast("dict[Any, Any]", each).values()
            elif isinstance(each, (list, tuple)):
                below += cast("list[Any]", each)
        level = below
    return size, depth + bool(level)


# Complaints.

_BOUNDS: Final = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "exclusiveMinimum": "more than {}",
    "exclusiveMaximum": "less than {}",
    "multipleOf": "a multiple of {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "minProperties": "at least {} members",
    "maxProperties": "at most {} members",
    "pattern": "text that matches {}",
    "const": "{}",
}
_PLAINLY: Final = {
    "uniqueItems": "items that all differ",
    "contains": "items of which the right number fit `contains`",
    "falseSchema": "nothing at all",
    "not": "something that does not fit `not`",
    "anyOf": "something that fits one of the schemas of `anyOf`",
    "propertyNames": "members with other names",
}


def _in_words(error: Any) -> str:
    while (nearer := _nearer(error)) is not None:
        error = nearer
    where = _path(error.instance_path)
    kind: _Kind = error.kind
    name, value = kind.name, kind.value
    if type(kind).__name__ in ("BacktrackLimitExceeded", "RegexEngineFailure"):
        return f"{where}: the pattern {_shown(value)} takes too long with this text"
    match name:
        case "required":
            return f"{where}: expected a member {_shown(value)}, there is none"
        case "additionalProperties" | "unevaluatedProperties":
            names = ", ".join(_shown(each) for each in list(value)[:3])
            return f"{where}: expected no other members, got {names}"
        case "type":
            expected = " or ".join(sorted(value))
        case "enum":
            options = list(value)
            expected = "one of " + ", ".join(_shown(each) for each in options[:10])
            expected += ", …" if len(options) > 10 else ""
        case "oneOf":
            branches = cast("list[list[Any]]", value)
            one = "one" if all(branches) else "exactly one"
            expected = f"something that fits {one} of the schemas of `oneOf`"
        case _ if name in _BOUNDS:
            expected = _BOUNDS[name].format(_shown(value))
        case _ if name in _PLAINLY:
            expected = _PLAINLY[name]
        case _:
            return f"{where}: {_cut(error.message)}"
    return f"{where}: expected {expected}, got {_shown(error.instance)}"


def _nearer(error: Any) -> Any:
    """Of the branches of a union the error of the one that fits best, if one goes deeper."""
    kind: _Kind = error.kind
    if kind.name not in ("anyOf", "oneOf"):
        return None
    branches = cast("list[list[Any]]", kind.value)
    inner = [branch[0] for branch in branches[:20] if branch]
    deepest = max(inner, key=lambda each: len(each.instance_path), default=None)
    if deepest is None or len(deepest.instance_path) <= len(error.instance_path):
        return None
    return deepest


def _path(path: list[str | int]) -> str:
    text = ""
    for step in path[:20]:
        if isinstance(step, int):
            text += f"[{step}]"
        elif step.isidentifier():
            text += f".{step[:_SHOWN]}" if text else step[:_SHOWN]
        else:
            text += f"[{_shown(step)}]"
    return text + ("…" if len(path) > 20 else "") or "the value"


def _shown(value: Any) -> str:
    """A value as a person needs it: what it is, not all of it."""
    match value:
        case str():
            return _cut(encode(value[: _SHOWN + 1].encode(errors="replace").decode()).decode())
        case dict():
            members = cast("dict[str, Any]", value)
            return f"an object with {len(members)} members" if members else "{}"
        case list() | tuple():
            items = cast("list[Any]", value)
            return f"an array of {len(items)} items" if items else "[]"
        case int() if not isinstance(value, bool) and abs(value) >= 2**64:
            return "a very large number"
        case _:
            return _cut(encode(value).decode())


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 3 * _SHOWN else text[: 3 * _SHOWN] + "…"
