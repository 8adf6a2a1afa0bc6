"""Which arguments of a tool HTTP repeats in headers of their own (`x-mcp-header`), and what those say.

A schema's annotations are read once, by whoever lists or offers the tool; a call then needs only
what was found.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias, cast

import msgspec
from msgspec import Raw, Struct

from interlock.wire.decoding import pattern
from interlock.wire.headers import PARAM_PREFIX, BadHeader, decode_value, encode_value
from interlock.wire.jsonrpc import UNREADABLE
from interlock.wire.meta import members

ANNOTATION: Final = "x-mcp-header"
"""The schema keyword that names the header of a property."""

Kind: TypeAlias = Literal["string", "integer", "boolean"]

_TOKEN: Final = pattern(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NUMBER: Final = pattern(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_SAFE: Final = 2**53 - 1
"""The largest integer that every JSON reader reads as written."""

# What stands under these is named by whoever wrote the schema, each a schema of its own …
_NAMED: Final = frozenset(
    {"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"}
)
# … and what stands under these is an instance, in which nothing is an annotation.
_DATA: Final = frozenset({"default", "const", "enum", "examples", "example"})


class BadAnnotation(ValueError):
    """A schema asks for headers in a way that makes the tool invalid; the message says how."""


class Mirrored(Struct, frozen=True):
    """One argument that is sent as a header as well.

    *header* is the whole name, as in `Mcp-Param-Region`; *path* are the names of the properties
    that lead to the argument.
    """

    header: str
    path: tuple[str, ...]
    kind: Kind

    @property
    def argument(self) -> str:
        return ".".join(self.path)


def mirrored(schema: Mapping[str, Any]) -> tuple[Mirrored, ...]:
    """What an input schema wants mirrored, outermost properties first; mostly nothing.

    Raises `BadAnnotation` (2026-07-28 § Streamable HTTP, Schema Extension): a client leaves such a
    tool out of its list, a server does not offer it.
    """
    found: dict[str, Mirrored] = {}
    # Whether a node is a schema or a map of named ones, and the properties that lead to it; None
    # for a place that no chain of properties reaches. No recursion: schemas are other people's.
    queue: list[tuple[Any, bool, tuple[str, ...] | None]] = [(schema, False, ())]
    for node, named, path in queue:
        if isinstance(node, list):
            queue.extend((each, False, None) for each in cast("list[Any]", node))
        if not isinstance(node, Mapping):
            continue
        fields = cast("Mapping[str, Any]", node)
        if named:
            queue.extend(
                (value, False, None if path is None else (*path, name))
                for name, value in fields.items()
            )
            continue
        if ANNOTATION in fields:
            one = _annotated(fields, path)
            earlier = found.setdefault(one.header.lower(), one)
            if earlier is not one:
                raise BadAnnotation(
                    f"{one.argument} and {earlier.argument} are both mirrored in {one.header}; "
                    "names must differ, whatever their case"
                )
        queue.extend(
            (value, name in _NAMED, path if name == "properties" else None)
            for name, value in fields.items()
            if name not in _DATA
        )
    return tuple(found.values())


def values(parameters: Iterable[Mirrored], arguments: Raw | bytes) -> dict[str, str]:
    """The headers to send with a call, encoded; none for what is absent or null.

    What no header can say (an object, an unreadable string) is left out: it fits no annotated
    parameter, and the server will tell so.
    """
    sent: dict[str, str] = {}
    for parameter in parameters:
        value = _read(_at(parameter.path, arguments), parameter.kind)
        if value is not None:
            sent[parameter.header] = encode_value(value)
    return sent


def disagreement(
    parameters: Sequence[Mirrored],
    arguments: Raw | bytes,
    received: Iterable[tuple[bytes, bytes]],
) -> str | None:
    """What the headers of a call say differently from its arguments; None if they agree.

    *received* are all headers of the request, names in lower case. A header for an argument that
    is absent or null disagrees as well: somebody on the way may have relied on it.
    """
    headers: dict[bytes, bytes] = {}
    for name, value in received:
        if name.startswith(PARAM_PREFIX):
            if name in headers:
                return f"The header {name.decode('latin-1')} came twice"
            headers[name] = value
    for parameter in parameters:
        raw = headers.get(parameter.header.lower().encode())
        said = _compare(parameter, raw, _at(parameter.path, arguments))
        if said is not None:
            return said
    return None


def _compare(parameter: Mirrored, raw: bytes | None, body: Raw) -> str | None:
    header, argument = parameter.header, parameter.argument
    value = _read(body, parameter.kind)
    if raw is None:
        if value is None:
            return None
        return f"The header {header} is missing; the argument {argument} says {_shown(value)}"
    try:
        said = decode_value(raw.decode("latin-1"))
    except BadHeader as error:
        return f"{header}: {error}"
    if value is None:
        there = "fits no header" if body and bytes(body) != b"null" else "is absent"
        return f"The header {header} says {_shown(said)}, the argument {argument} {there}"
    if said == value or (parameter.kind == "integer" and _same_number(said, value)):
        return None
    return f"The header {header} says {_shown(said)}, the argument {argument} {_shown(value)}"


def _annotated(fields: Mapping[str, Any], path: tuple[str, ...] | None) -> Mirrored:
    name, kind = fields[ANNOTATION], fields.get("type")
    if not path:
        raise BadAnnotation(
            f"{ANNOTATION} {_shown(name)} stands where no chain of `properties` leads, so no "
            "argument can be found for it"
        )
    where = ".".join(path)
    if not isinstance(name, str):
        raise BadAnnotation(f"{where}: {ANNOTATION} must be a string, got {_shown(name)}")
    if not name:
        raise BadAnnotation(f"{where}: {ANNOTATION} is empty; a header needs a name")
    if not _TOKEN.fullmatch(name):
        raise BadAnnotation(
            f"{where}: {ANNOTATION} {_shown(name)} is no header's name: letters, digits and "
            "!#$%&'*+-.^_`|~ are expected, no spaces, colons or control characters (RFC 9110)"
        )
    if kind in ("string", "integer", "boolean"):
        return Mirrored(f"Mcp-Param-{name}", path, kind)
    got = _shown(kind) if "type" in fields else "no type"
    raise BadAnnotation(
        f"{where}: {ANNOTATION} needs the type string, integer or boolean by itself, got {got}"
    )


def _at(path: tuple[str, ...], arguments: Raw | bytes) -> Raw:
    """What stands in *arguments* at the end of *path*; empty if nothing does."""
    found = arguments
    try:
        for name in path:
            found = members(found).get(name, Raw())
    except UNREADABLE:
        return Raw()  # No object has no members.
    return found if isinstance(found, Raw) else Raw(found)


def _read(raw: Raw, kind: Kind) -> str | None:
    """A value as a header says it; None where there is none, or none that a header can say."""
    text = bytes(raw)
    match text[:1]:
        case b'"':
            try:
                return msgspec.json.decode(text, type=str)
            except UNREADABLE:
                return None  # No UTF-8: nothing that a header could say.
        case b"t" | b"f":
            return text.decode()
        case b"" | b"n" | b"{" | b"[":
            return None
        case _:
            number = text.decode()
            whole = _whole(number) if kind == "integer" else None
            return number if whole is None else str(whole)


def _whole(text: str) -> int | None:
    """The integer that a number in JSON is (42.0 is 42); None if it is none that all can read."""
    if not _NUMBER.fullmatch(text):
        return None
    number = float(text)
    return int(number) if number.is_integer() and abs(number) <= _SAFE else None


def _same_number(said: str, value: str) -> bool:
    whole = _whole(said)
    return whole is not None and whole == _whole(value)


def _shown(value: object) -> str:
    # Of another type than text only its name: the value may be deep, or a number of many digits.
    return ascii(value[:80]) if isinstance(value, str) else f"a {type(value).__name__}"
