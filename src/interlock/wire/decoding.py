"""Decoders and patterns that are made when they are first used: most programs need few of those that
there are, and making all of them takes a fair part of the time from start to first answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from types import UnionType
from typing import Any, AnyStr, Generic, TypeVar, cast

import msgspec
from msgspec import Raw

T = TypeVar("T")


class Decoder(Generic[T]):
    """Reads JSON into *type*, as a `msgspec.json.Decoder` does and raising what it raises."""

    __slots__ = ("_type", "decode")

    decode: Callable[[bytes | Raw | str], T]

    def __init__(self, type: type[T] | UnionType) -> None:
        self._type = type
        self.decode = self._build

    def _build(self, data: bytes | Raw | str) -> T:
        # In place of itself: whoever reads next calls msgspec directly.
        self.decode = msgspec.json.Decoder(self._type).decode
        return self.decode(data)


def pattern(text: AnyStr, flags: re.RegexFlag = re.NOFLAG) -> re.Pattern[AnyStr]:
    """What `re.compile` gives, compiled when it is first matched against something."""
    return cast("re.Pattern[AnyStr]", _Pattern(text, flags))


class _Pattern:
    def __init__(self, text: Any, flags: re.RegexFlag) -> None:
        self._said = text, flags

    def __getattr__(self, name: str) -> Any:
        compiled: re.Pattern[Any] = re.compile(*self._said)
        # From here on these are found before this is asked.
        for each in ("findall", "finditer", "fullmatch", "match", "search", "split", "sub"):
            setattr(self, each, getattr(compiled, each))
        return getattr(compiled, name)
