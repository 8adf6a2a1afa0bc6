"""The YAML that a skill's SKILL.md begins with, read as the JSON that its entry shows.

YAML 1.2's core schema, so that `yes` is a word and `012` is twelve, whoever reads it; and no more
of YAML than frontmatter needs: tags, anchors, aliases and keys that come twice are refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any, Final, cast

import yaml

LIMIT: Final = 64 * 1024
"""The most characters that frontmatter may have."""
DEPTH: Final = 32
"""The most levels it may be nested."""
_SHOWN: Final = 80

_BLOCK: Final = re.compile(r"\ufeff?---[ \t]*\r?\n(.*?)(?<=\n)---[ \t]*(?:\r?\n|\Z)", re.DOTALL)
_INTEGER: Final = re.compile(r"[-+]?[0-9]{1,400}")
_OTHER_BASE: Final = re.compile(r"0o[0-7]{1,400}|0x[0-9a-fA-F]{1,400}")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NO_NUMBER: Final = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_WORDS: Final[dict[str, bool | None]] = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
}


class BadFrontmatter(ValueError):
    """What should have been frontmatter is none; the message says why, in one sentence."""


def read(text: str) -> dict[str, Any]:
    """The frontmatter of a SKILL.md; everything after it is the skill's own."""
    found = _BLOCK.match(text, 0, LIMIT + 16)
    if found is None:
        raise BadFrontmatter(
            "expected YAML between two lines of '---' at the very beginning, "
            f"within {LIMIT} characters"
        )
    try:
        value = _document(found[1])
    except yaml.YAMLError as error:
        raise BadFrontmatter(f"not YAML: {_first_line(error)}") from None
    if not isinstance(value, dict):
        raise BadFrontmatter("expected fields such as 'name: …', one a line")
    return cast("dict[str, Any]", value)


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same JSON: 1 and 1.0 are, 1 and true are not."""
    match one, other:
        case dict(), dict():
            first, second = cast("dict[str, Any]", one), cast("dict[str, Any]", other)
            return first.keys() == second.keys() and all(
                same(first[key], second[key]) for key in first
            )
        case list(), list():
            left, right = cast("list[Any]", one), cast("list[Any]", other)
            return len(left) == len(right) and all(map(same, left, right))
        case (bool(), _) | (_, bool()):
            return one is other
        case _:
            return one == other


class _Open:
    """A collection whose end has not come yet."""

    __slots__ = ("into", "key")

    def __init__(self, into: dict[str, Any] | list[Any]) -> None:
        self.into = into
        self.key: str | None = None

    def take(self, value: Any, written: str | None) -> None:
        """The next value; *written* is how a scalar was written, None for a collection."""
        if isinstance(self.into, list):
            self.into.append(value)
        elif self.key is not None:
            self.into[self.key] = value
            self.key = None
        elif written is None:
            raise BadFrontmatter("a key is a word, not a list or a mapping")
        elif written in self.into:
            raise BadFrontmatter(f"the key {written[:_SHOWN]!r} comes twice")
        else:
            self.key = written


def _document(text: str) -> Any:
    top: list[Any] = []
    stack = [_Open(top)]
    documents = 0
    for event in _events(text):
        tag: str | None = getattr(event, "tag", None)
        if getattr(event, "anchor", None) is not None:
            raise BadFrontmatter("anchors and aliases are not read here; write it out")
        if tag is not None:
            raise BadFrontmatter(f"tags such as {tag[:_SHOWN]!r} are not read here")
        match event:
            case yaml.DocumentStartEvent():
                documents += 1
                if documents > 1:
                    raise BadFrontmatter("expected one document, there are more")
            case yaml.ScalarEvent():
                plain = event.style is None
                stack[-1].take(_scalar(event.value) if plain else event.value, event.value)
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                if len(stack) > DEPTH:
                    raise BadFrontmatter(f"nested more than {DEPTH} levels deep")
                inner: dict[str, Any] | list[Any]
                inner = {} if isinstance(event, yaml.MappingStartEvent) else []
                stack[-1].take(inner, None)
                stack.append(_Open(inner))
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                stack.pop()
            case _:
                pass
    return top[0] if top else None


def _events(text: str) -> Iterator[yaml.Event]:
    return yaml.parse(text, Loader=yaml.SafeLoader)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]  untyped


def _scalar(text: str) -> str | int | float | bool | None:
    """What a plain scalar is in the core schema of YAML 1.2."""
    if text in _WORDS:
        return _WORDS[text]
    number: int | float | None = None
    if _INTEGER.fullmatch(text):
        number = int(text)
    elif _OTHER_BASE.fullmatch(text):
        number = int(text, 0)
    elif _FLOAT.fullmatch(text):
        number = float(text)
    if _NO_NUMBER.fullmatch(text) or (number is not None and not _safe(number)):
        raise BadFrontmatter(
            f"{text[:_SHOWN]} is no number that everyone reads as it is written; quote it"
        )
    return text if number is None else number


def _safe(number: int | float) -> bool:
    return abs(number) < 2**53 if isinstance(number, int) else math.isfinite(number)


def _first_line(error: yaml.YAMLError) -> str:
    problem = getattr(error, "problem", None) or str(error)
    mark = getattr(error, "problem_mark", None)
    where = f", line {mark.line + 2}" if mark is not None else ""
    return f"{str(problem).splitlines()[0][:200]}{where}"
