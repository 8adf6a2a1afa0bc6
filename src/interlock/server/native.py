"""Parameters and results of plain types, dataclasses, TypedDicts and Structs, read by msgspec."""

from __future__ import annotations

import contextlib
import copy
import inspect
import types
import typing
from collections import abc
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, time
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, Union, cast, get_args, get_origin

import msgspec
from msgspec import Meta, Raw

from interlock.errors import RegistrationError
from interlock.server.shape import DEFINED, BadArguments, Header, rooted
from interlock.wire.jsonrpc import UNREADABLE, encode
from interlock.wire.parameters import ANNOTATION

UNIONS: Final = (Union, types.UnionType)
_PRINTED: Final = 300
"""Characters of a complaint: it may quote what came."""

_NUMERIC: Final = ("gt", "ge", "lt", "le", "multiple_of")
_SIZED: Final = ("min_length", "max_length")
_CONSTRAINTS: Final[dict[type, tuple[str, ...]]] = {
    int: _NUMERIC,
    float: _NUMERIC,
    Decimal: _NUMERIC,
    str: (*_SIZED, "pattern"),
    bytes: _SIZED,
    list: _SIZED,
    tuple: _SIZED,
    set: _SIZED,
    frozenset: _SIZED,
    dict: _SIZED,
    datetime: ("tz",),
    time: ("tz",),
}
_ALL_CONSTRAINTS: Final = (*_NUMERIC, *_SIZED, "pattern", "tz")
_DESCRIPTIONS: Final = ("title", "description", "examples", "extra_json_schema", "extra")


class NativeArguments:
    """A parameter list as a Struct, decoded straight into the function's own types."""

    def __init__(self, name: str, parameters: Sequence[inspect.Parameter]) -> None:
        self.names = tuple(p.name for p in parameters)
        self.required = frozenset(p.name for p in parameters if p.default is p.empty)
        hints = {p.name: _parameter_hint(p) for p in parameters}
        fields: list[Any] = []
        defaults: dict[str, Any] = {}
        for p in parameters:
            if p.default is p.empty:
                fields.append((p.name, hints[p.name]))
                continue
            # A default that is no JSON works all the same; the schema cannot show it.
            with contextlib.suppress(TypeError, ValueError):
                defaults[p.name] = msgspec.to_builtins(p.default)
            fields.append((p.name, hints[p.name], _field(p.default, shown=p.name in defaults)))
        try:
            self._type = msgspec.defstruct(
                "Arguments",
                fields,
                kw_only=True,
                forbid_unknown_fields=True,
                namespace={"__doc__": None},
            )
            self._decode = msgspec.json.Decoder(self._type).decode
            self.schema = schema_of(self._type, hints.values())
        except (TypeError, ValueError) as error:
            raise _undescribed(name, hints, error) from error
        for parameter, default in defaults.items():
            self.schema["properties"][parameter]["default"] = default
        if not self.schema["required"]:
            del self.schema["required"]
        self._astuple = msgspec.structs.astuple

    def from_json(self, raw: Raw) -> tuple[Any, ...]:
        try:
            return self._astuple(self._decode(raw or b"{}"))
        except UNREADABLE as error:
            if bytes(raw) == b"null":
                return self.from_json(Raw())
            with contextlib.suppress(*UNREADABLE):
                # 5.0 is an integer to JSON Schema, and so by what is listed; to msgspec it is none.
                whole = _integral(msgspec.json.decode(raw))
                return self._astuple(msgspec.convert(whole, self._type))
            raise BadArguments(str(error)[:_PRINTED]) from None

    def from_strings(self, values: Mapping[str, str | Raw]) -> tuple[Any, ...]:
        try:
            return self._astuple(msgspec.convert(dict(values), self._type, strict=False))
        except msgspec.ValidationError as error:
            try:
                return self._astuple(msgspec.convert(_parsed(values), self._type, strict=False))
            except msgspec.ValidationError:
                raise BadArguments(str(error)[:_PRINTED]) from None


class NativeOutput:
    """A return type whose values msgspec encodes and checks."""

    def __init__(self, name: str, annotation: Any) -> None:
        self._name = name
        self._type = hint(annotation)
        try:
            self.schema = schema_of(self._type, [self._type])
            self._check = msgspec.json.Decoder(self._type).decode
        except (TypeError, ValueError) as error:
            raise RegistrationError(
                f"{name}: the return type {_shown(annotation)} cannot be described as JSON Schema "
                f"({_first_line(error)}); structured=False sends it as text only"
            ) from error

    def encode(self, value: Any) -> bytes:
        # Encoded first and checked as it will be read: most values need nothing else, and what
        # Python lets pass (a str in an int's place, NaN) does not get out.
        try:
            body = encode(value)
            self._check(body)
        except (TypeError, ValueError, *UNREADABLE):
            pass
        else:
            return body
        try:
            body = encode(msgspec.convert(value, self._type, from_attributes=True))
            self._check(body)
        except (TypeError, ValueError, *UNREADABLE) as error:
            raise TypeError(
                f"{self._name} returned what does not fit its return type: {error}"
            ) from error
        return body


def schema_of(type_: Any, hints: typing.Iterable[Any]) -> dict[str, Any]:
    """The JSON Schema (2020-12) of a type; *hints* are where field descriptions are looked for."""
    (schema,), components = msgspec.json.schema_components([type_], ref_template=DEFINED + "{name}")
    described: dict[str, Any] = {}
    for each in hints:
        _describe_fields(each, components, described)
    root = rooted(schema, components)
    root.pop("title", None)
    _type_enums(root)
    return root


def hint(annotation: Any) -> Any:
    """*annotation* as msgspec reads it.

    Plain strings in `Annotated` become descriptions and annotated_types become constraints; those
    on a union go to the members that can have them.
    """
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *extras = get_args(annotation)
        inner = hint(inner)
        metas = [meta for extra in extras for meta in _metas(extra)]
        for meta in metas:
            inner = _constrained(inner, meta)
        for meta in metas:
            if described := _fields_of(meta, _DESCRIPTIONS):
                inner = Annotated[inner, Meta(**described)]
        return inner
    if origin in UNIONS:
        return Union[tuple(hint(part) for part in get_args(annotation))]  # noqa: UP007  made here
    if origin in _CONTAINERS:
        return origin[tuple(hint(part) for part in get_args(annotation))]
    return annotation


_CONTAINERS: Final[tuple[Any, ...]] = (
    *(list, tuple, set, frozenset, dict),
    *(abc.Sequence, abc.Mapping, abc.Iterable, abc.Set),
)


def _parameter_hint(parameter: inspect.Parameter) -> Any:
    annotation = parameter.annotation
    if parameter.default is None and not _takes_none(annotation):
        # `x: int = None` is an old way to write `int | None`; a model that reads the default in
        # the schema may send it.
        if get_origin(annotation) is Annotated:
            inner, *extras = get_args(annotation)
            annotation = Union[inner, None]  # noqa: UP007  made here
            for extra in extras:
                annotation = Annotated[annotation, extra]
        else:
            annotation = Union[annotation, None]  # noqa: UP007  made here
    return hint(annotation)


def _takes_none(annotation: Any) -> bool:
    if annotation in (Any, None, type(None), object):
        return True
    origin = get_origin(annotation)
    if origin is Annotated:
        return _takes_none(get_args(annotation)[0])
    if origin is Literal:
        return None in get_args(annotation)
    return origin in UNIONS and any(_takes_none(part) for part in get_args(annotation))


def _metas(extra: Any) -> Iterator[Meta]:
    if isinstance(extra, Meta):
        yield extra
    elif isinstance(extra, Header):
        yield Meta(extra_json_schema={ANNOTATION: extra.name})
    elif text := _documented(extra):
        yield Meta(description=text)
    elif type(extra).__module__.partition(".")[0] == "annotated_types":
        if hasattr(extra, "__iter__"):
            for part in extra:
                yield from _metas(part)
        elif found := _fields_of(extra, _ALL_CONSTRAINTS):
            yield Meta(**found)


def _documented(extra: Any) -> str | None:
    """A description: a plain string, or the `Doc` of typing_extensions."""
    text = extra if isinstance(extra, str) else getattr(extra, "documentation", None)
    return text if isinstance(text, str) else None


def _constrained(inner: Any, meta: Meta) -> Any:
    """*inner* under the constraints of *meta*: in a union each where it can be."""
    constraints = _fields_of(meta, _ALL_CONSTRAINTS)
    if not constraints:
        return inner
    if get_origin(inner) not in UNIONS:
        return Annotated[inner, Meta(**constraints)]
    members: list[Any] = []
    for member in get_args(inner):
        plain = get_args(member)[0] if get_origin(member) is Annotated else member
        can = _CONSTRAINTS.get(get_origin(plain) or plain, ())
        fitting = {name: value for name, value in constraints.items() if name in can}
        members.append(Annotated[member, Meta(**fitting)] if fitting else member)
    return Union[tuple(members)]  # noqa: UP007  made here


def _fields_of(source: Any, names: Sequence[str]) -> dict[str, Any]:
    found = {name: getattr(source, name, None) for name in names}
    return {name: value for name, value in found.items() if value is not None}


def _field(default: Any, *, shown: bool) -> Any:
    # A mutable default is copied for each call: a handler that changes it changes nobody else's.
    if isinstance(default, (list, dict, set, bytearray)):
        return msgspec.field(default_factory=lambda: copy.deepcopy(cast("Any", default)))
    return default if shown else msgspec.field(default_factory=lambda: default)


def _integral(value: Any) -> Any:
    """*value* with whole numbers as integers, however they were written."""
    match value:
        case float() if value.is_integer():
            return int(value)
        case dict():
            return {key: _integral(each) for key, each in cast("dict[str, Any]", value).items()}
        case list():
            return [_integral(each) for each in cast("list[Any]", value)]
        case _:
            return value


def _parsed(values: Mapping[str, Any]) -> dict[str, Any]:
    """*values* with those that are JSON objects or arrays read as such."""
    found = dict(values)
    for name, value in values.items():
        if isinstance(value, str) and value.startswith(("{", "[")):
            with contextlib.suppress(*UNREADABLE):
                found[name] = msgspec.json.decode(value)
    return found


def _undescribed(name: str, hints: Mapping[str, Any], error: Exception) -> RegistrationError:
    """What to say when msgspec cannot describe a function: which parameter it is."""
    for parameter, annotation in hints.items():
        try:
            msgspec.json.schema_components([annotation])
        except (TypeError, ValueError) as fault:
            return RegistrationError(
                f"{name}: the parameter {parameter!r} has the type {_shown(annotation)}, which "
                f"cannot be described as JSON Schema ({_first_line(fault)})"
            )
    return RegistrationError(f"{name}: its parameters cannot be described: {_first_line(error)}")


def _shown(annotation: Any) -> str:
    return inspect.formatannotation(annotation).replace("typing.", "")


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # msgspec ends its advice on custom types with the line that names the type.
    return lines[-1] if lines and lines[0].endswith(":") else (lines or [type(error).__name__])[0]


def _describe_fields(annotation: Any, components: dict[str, Any], seen: dict[str, Any]) -> None:
    """Give described fields of classes their descriptions, which msgspec takes from Meta only."""
    for part in get_args(annotation):
        _describe_fields(part, components, seen)
    if not isinstance(annotation, type) or annotation.__name__ in seen:
        return
    name = annotation.__name__
    component = components.get(name)
    if component is None or "properties" not in component:
        return
    seen[name] = annotation
    names: dict[str, str] = {}
    owner: Any = annotation
    if issubclass(annotation, msgspec.Struct):
        names = {field.name: field.encode_name for field in msgspec.structs.fields(annotation)}
    for field, field_hint in typing.get_type_hints(owner, include_extras=True).items():
        _describe_fields(field_hint, components, seen)
        described = component["properties"].get(names.get(field, field))
        if described is not None:
            for extra in _extras(field_hint):
                if text := _documented(extra):
                    described.setdefault("description", text)


def _extras(annotation: Any) -> Sequence[Any]:
    if get_origin(annotation) is Annotated:
        return get_args(annotation)[1:]
    if get_origin(annotation) in (typing.Required, typing.NotRequired, typing.Final):
        return _extras(get_args(annotation)[0])
    return ()


def _type_enums(schema: Any) -> None:
    """Say the type of every enumeration: some hosts refuse one without."""
    if not isinstance(schema, dict):
        return
    node = cast("dict[str, Any]", schema)
    if "enum" in node and "type" not in node:
        for kind, name in _JSON_TYPES.items():
            if all(type(value) is kind for value in node["enum"]):
                node["type"] = name
    for key in ("properties", "$defs"):
        for child in node.get(key, {}).values():
            _type_enums(child)
    for key in ("anyOf", "prefixItems"):
        for child in node.get(key, ()):
            _type_enums(child)
    for key in ("items", "additionalProperties"):
        _type_enums(node.get(key))


_JSON_TYPES: Final[dict[type, str]] = {str: "string", int: "integer"}
