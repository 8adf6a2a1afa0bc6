"""What a person types as `key=value`, read as the tool's schema wants it."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from interlock.cli.problem import USAGE, Problem, meant

_SCALARS: Final = ("null", "boolean", "integer", "number")
_SAID: Final = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "object": "an object",
}
_DEEP: Final = 8
"""References and alternatives followed one inside the other; a schema may lead back to itself."""
_NO_JSON: Final = (json.JSONDecodeError, RecursionError)
_TRUTHS: Final = {"true": True, "yes": True, "false": False, "no": False}


def pairs(words: Sequence[str]) -> list[tuple[str, str]]:
    """The keys and values in *words*, `@file` replaced by what the file holds."""
    found: list[tuple[str, str]] = []
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise Problem(
                f"{word!r} is no argument: key=value is expected.",
                "A value with spaces needs quotes around all of it: 'title=Write home'",
                code=USAGE,
            )
        found.append((key, _from_file(value)))
    return found


def whole(text: str) -> dict[str, Any]:
    """All arguments at once, as JSON or `@file`."""
    text = _from_file(text)
    try:
        value = json.loads(text)
    except RecursionError:
        raise Problem("--json: what was given is nested too deeply.", code=USAGE) from None
    except json.JSONDecodeError as error:
        raise Problem(
            f"--json: what was given is no JSON: {error.msg} at character {error.pos + 1}.",
            """In a shell, put single quotes around it: --json '{"key": "value"}'""",
            code=USAGE,
        ) from None
    if not isinstance(value, dict):
        raise Problem(f"--json: an object is expected, not {text[:40]!r}.", code=USAGE)
    return value  # type: ignore[reportUnknownVariableType]


def by_schema(given: Sequence[tuple[str, str]], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments for a tool with this input schema.

    Strings are taken as they are, numbers and booleans are read, arrays and objects are JSON. A
    key that comes several times makes an array. A key that the schema does not name is refused: it
    is a slip far more often than it is meant, and `--json` sends it all the same.
    """
    known = _fields(schema.get("properties"))
    open_ended = bool(schema.get("additionalProperties", not known))
    texts: dict[str, list[str]] = {}
    for key, value in given:
        if key not in known and not open_ended:
            raise Problem(
                f"There is no argument {key!r}.",
                meant(key, known) if known else "It takes none.",
                code=USAGE,
            )
        texts.setdefault(key, []).append(value)
    reader = _Reader(schema)
    return {key: reader.read(key, values, known.get(key, {})) for key, values in texts.items()}


def missing(arguments: Mapping[str, Any], schema: Mapping[str, Any]) -> list[str]:
    """The required arguments that are not there."""
    return [name for name in _required(schema) if name not in arguments]


def described(schema: Mapping[str, Any]) -> list[str]:
    """A line an argument: its name, its type, whether it is needed, what it is."""
    reader = _Reader(schema)
    required = _required(schema)
    lines: list[str] = []
    for name, value in _fields(schema.get("properties")).items():
        kind = reader.called(value)
        need = "" if name in required else ", optional"
        about = str(_fields(value).get("description") or "")
        first = about.strip().partition("\n")[0]
        lines.append(f"{name} ({kind}{need}){f': {first}' if first else ''}")
    return lines


class _Reader:
    """Reads values by a schema, following references within it."""

    def __init__(self, root: Any) -> None:
        self._root = root

    def read(self, key: str, texts: list[str], schema: Any) -> Any:
        types = self._types(schema)
        if len(texts) == 1 and not (types == {"array"} and not texts[0].lstrip().startswith("[")):
            return self._one(key, texts[0], schema)
        if types and "array" not in types:
            raise Problem(f"{key} takes one value, and {len(texts)} were given.", code=USAGE)
        items = self._part(schema, "items")
        return [self._one(key, text, items) for text in texts]

    def called(self, schema: Any) -> str:
        values = self._part(schema, "enum")
        if isinstance(values, list):
            return " | ".join(json.dumps(value) for value in values)  # type: ignore[reportUnknownVariableType]
        return " | ".join(sorted(self._types(schema) - {"null"})) or "any"

    def _one(self, key: str, text: str, schema: Any) -> Any:
        types = self._types(schema)
        if types == {"string"}:
            return text
        if not types:
            return _guess(text)
        for kind in _SCALARS:
            if kind in types and (read := _scalar(kind, text)) is not _NONE:
                return read
        if types & {"array", "object"} or "string" in types:
            try:
                value = json.loads(text)
            except _NO_JSON:
                value = _NONE
            if _kind(value) in types:
                return value
        if "string" in types:
            return text
        expected = " or ".join(_SAID.get(kind, kind) for kind in sorted(types - {"null"}))
        hint = ""
        if types & {"array", "object"}:
            form = "[1, 2]" if "array" in types else '{"a": 1}'
            hint = f"Write it as JSON: '{key}={form}'"
        raise Problem(
            f"{key} must be {expected}; got {text!r}.", *([hint] if hint else []), code=USAGE
        )

    def _types(self, schema: Any, depth: int = 0) -> set[str]:
        """Which JSON types *schema* allows; empty where it does not say."""
        fields = self._followed(schema)
        if depth > _DEEP:
            return set()
        if isinstance(fields.get("type"), str):
            return {fields["type"]}
        if isinstance(fields.get("type"), list):
            return {kind for kind in fields["type"] if isinstance(kind, str)}
        if "const" in fields:
            return {_kind(fields["const"])}
        if isinstance(fields.get("enum"), list):
            return {_kind(value) for value in fields["enum"]}
        for word in ("anyOf", "oneOf", "allOf"):
            if isinstance(fields.get(word), list):
                return {t for part in fields[word] for t in self._types(part, depth + 1)}
        return set()

    def _part(self, schema: Any, name: str) -> Any:
        """A member of *schema*, or of the first of its alternatives that has it."""
        fields = self._followed(schema)
        if name in fields:
            return fields[name]
        for word in ("anyOf", "oneOf"):
            for part in _items(fields.get(word)):
                if name in (followed := self._followed(part)):
                    return followed[name]
        return {}

    def _followed(self, schema: Any) -> dict[str, Any]:
        for _ in range(_DEEP):
            fields = _fields(schema)
            if "$ref" not in fields:
                return fields
            schema = self._root
            for step in str(fields["$ref"]).removeprefix("#/").split("/"):
                schema = _fields(schema).get(step, {})
        return {}


_NONE: Final = object()


def _fields(schema: Any) -> dict[str, Any]:
    """A schema's members; `true` and what is no schema have none."""
    return schema if isinstance(schema, dict) else {}  # type: ignore[reportUnknownVariableType]


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []  # type: ignore[reportUnknownVariableType]


def _required(schema: Mapping[str, Any]) -> list[str]:
    return [name for name in _items(schema.get("required")) if isinstance(name, str)]


def _scalar(kind: str, text: str) -> Any:
    """*text* as a value of *kind*, or `_NONE`."""
    if kind == "null":
        return None if text == "null" else _NONE
    if kind == "boolean":
        return _TRUTHS.get(text.lower(), _NONE)
    try:
        value = json.loads(text)
    except _NO_JSON:
        return _NONE
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _NONE
    if kind == "integer" and isinstance(value, float):
        return int(value) if value.is_integer() else _NONE
    return value


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case dict():
            return "object"
        case _:
            return ""


def _guess(text: str) -> Any:
    """Where nothing says what is wanted: JSON if it is JSON, else the text."""
    try:
        return json.loads(text)
    except _NO_JSON:
        return text


def _from_file(value: str) -> str:
    """What `@file` or `@-` (stdin) holds; `@@` stands for a single @ that is meant as one."""
    if not value.startswith("@"):
        return value
    if value.startswith("@@"):
        return value[1:]
    try:
        return sys.stdin.read() if value == "@-" else Path(value[1:]).read_text("utf-8")
    except OSError as error:
        raise Problem(
            f"{value[1:]} cannot be read: {error.strerror}.",
            f"If the value is meant to begin with @, double it: @{value}",
            code=USAGE,
        ) from None
    except UnicodeDecodeError:
        raise Problem(f"{value[1:]} is no text in UTF-8.", code=USAGE) from None
    except ValueError as error:
        raise Problem(f"{value[1:]!a} is no name of a file: {error}.", code=USAGE) from None
