"""What can happen to a message on its way: cut, repeated, spliced, retyped, nested, renamed.

All of it is decided by the source of chance that is passed in, so that a seed says everything.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any, Final, TypeAlias, cast

Path: TypeAlias = tuple[str | int, ...]

NASTY_BYTES: Final = (
    b"",
    b"\x00",
    b"\xff",
    b"\xc0\xaf",
    b"\xed\xa0\x80",
    b"\xf0\x9f\x98",
    b"\xef\xbb\xbf",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b"\n\n",
    b" ",
    b'"',
    b"\\",
    b"\\u",
    b"\\ud83d",
    b"\\u0000",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"{}",
    b"[]",
    b"null",
    b"true",
    b"-",
    b"1e400",
    b"-0",
    b"01",
    b"NaN",
    b"9" * 400,
    b"[" * 1500,
    b'{"a":' * 700,
    b"data:",
    b"id:",
    b"event: ping",
    b"retry: 9",
    b"=?base64?",
    b"%",
    b"%2F",
    b"%c3",
    b"..",
    b"{+x*}",
    b"{?x:3}",
    b"io.modelcontextprotocol/",
    b"_meta",
)
"""What parsers trip over."""


def _nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": [value]}
    return value


DEEP: Final = "as deep as some can still read"
"""Written as an array so deep that whoever reads it first may not be the one who cannot."""

NASTY_VALUES: Final[tuple[Any, ...]] = (
    DEEP,
    None,
    True,
    False,
    0,
    -1,
    1.5,
    1e308,
    10**19,
    -(10**30),
    "",
    "\x00",
    "x" * 5000,
    "日本" * 40,
    "\u202e\U0001f600",
    [],
    {},
    [[]],
    [None],
    {"": None},
    {"type": "text"},
    {"type": "nothing of the kind"},
    {"$ref": "#"},
    {"resultType": "input_required"},
    _nested(150),
    "2099-01-01",
    "2025-06-18",
    "../../etc/passwd",
    "=?base64?4pyT?=",
)
KEYS: Final = ("", "id", "method", "params", "result", "error", "_meta", "name", "uri", "type", "é")


def bytewise(chance: random.Random, data: bytes, others: Sequence[bytes] = ()) -> bytes:
    """*data* with one thing wrong, without a thought for what it means."""
    at, to = sorted((chance.randint(0, len(data)), chance.randint(0, len(data))))
    match chance.randrange(9):
        case 0:
            return data[:at]
        case 1:
            return data[at:]
        case 2:
            return data[:at] + data[to:]
        case 3:
            return data[:to] + data[at:]  # repeats what is between
        case 4:
            flipped = (data[at] ^ (1 << chance.randrange(8))) if at < len(data) else 0
            return data[:at] + bytes([flipped]) + data[at + 1 :]
        case 5:
            return data[:at] + chance.choice(NASTY_BYTES) + data[to:]
        case 6 if others:
            other = chance.choice(others)
            return data[:at] + other[chance.randint(0, len(other)) :]
        case 7:
            return data[to:] + data[:to]
        case _:
            return data[:at] + chance.choice(NASTY_BYTES) + data[at:]


def structured(chance: random.Random, value: Any) -> Any:
    """A value of JSON with one member other than it was, at any depth."""
    where = chance.choice(paths(value))
    if not where:
        return chance.choice((value, [value], {"params": value}, chance.choice(NASTY_VALUES)))
    copy = json.loads(json.dumps(value))
    parent: Any = copy
    for step in where[:-1]:
        parent = parent[step]
    last = where[-1]
    match chance.randrange(6):
        case 0:
            del parent[last]
        case 1:
            parent[last] = [parent[last]]
        case 2 if isinstance(parent, dict):
            members = cast("dict[str, Any]", parent)
            members[chance.choice(KEYS)] = members.pop(cast("str", last))
        case 3:
            parent[last] = _like(chance, parent[last])
        case 4 if isinstance(parent, dict):
            cast("dict[str, Any]", parent)[chance.choice(KEYS)] = chance.choice(NASTY_VALUES)
        case _:
            parent[last] = chance.choice(NASTY_VALUES)
    return copy


def written(chance: random.Random, value: Any) -> bytes:
    """A value as JSON, as one of the ways to write it."""
    text = json.dumps(value, separators=(",", ":"))
    if DEEP in text:
        levels = chance.choice((200, chance.randint(700, 1000)))
        text = text.replace(f'"{DEEP}"', "[" * levels + "]" * levels)
    match chance.randrange(8):
        case 0 if "[[[[[[" not in text:
            return json.dumps(value, indent=chance.choice((1, "\t")), ensure_ascii=False).encode()
        case 1 if isinstance(value, dict) and value:
            # With a member twice: what counts is the last.
            twice = json.dumps({chance.choice(list(cast("dict[str, Any]", value))): 0})
            return (twice[:-1] + "," + text[1:]).encode()
        case 2:
            return b" " * chance.randint(1, 9) + text.encode() + b"\t"
        case _:
            return text.encode()


def mangled(chance: random.Random, data: bytes, others: Sequence[bytes] = ()) -> bytes:
    """A message after a bad journey: some members other than they were, then some bytes."""
    with_structure = chance.random() < 0.7
    if with_structure:
        try:
            value = json.loads(data)
        except (ValueError, RecursionError):
            with_structure = False
        else:
            for _ in range(chance.randint(1, 3)):
                value = structured(chance, value)
            data = written(chance, value)
    if not with_structure or chance.random() < 0.2:
        for _ in range(chance.randint(1, 3)):
            data = bytewise(chance, data, others)
    return data


def cut(chance: random.Random, data: bytes) -> list[bytes]:
    """*data* in pieces, some of them perhaps empty."""
    at = sorted(chance.randint(0, len(data)) for _ in range(chance.randint(0, 5)))
    return [data[a:b] for a, b in zip([0, *at], [*at, len(data)], strict=True)]


def paths(value: Any, prefix: Path = ()) -> list[Path]:
    """The way to every value inside *value*, itself first."""
    found: list[Path] = [prefix]
    if len(prefix) < 20:
        if isinstance(value, dict):
            for key, member in cast("dict[str, Any]", value).items():
                found += paths(member, (*prefix, key))
        elif isinstance(value, list):
            for index, item in enumerate(cast("list[Any]", value)):
                found += paths(item, (*prefix, index))
    return found


def _like(chance: random.Random, value: Any) -> Any:
    """Another value of the same kind, or nearly."""
    match value:
        case bool():
            return not value
        case int():
            return chance.choice((value + 1, -value, float(value), value + 0.5, str(value)))
        case float():
            return chance.choice((int(value), -value, str(value)))
        case str():
            return chance.choice((value + "\n", value.upper(), value[:-1], value * 3, [value]))
        case list():
            items = cast("list[Any]", value)
            return chance.choice((items * 2, items[::-1], items[:1]))
        case dict():
            members = cast("dict[str, Any]", value)
            return chance.choice((list(members), list(members.values()), {**members, "": members}))
        case _:
            return {}
