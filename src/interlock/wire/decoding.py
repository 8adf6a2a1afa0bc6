"""Decoders that are built when they first read: most programs need few of those that there are, and
building all of them takes a fair part of the time from start to first answer.
"""

from __future__ import annotations

from collections.abc import Callable
from types import UnionType
from typing import Generic, TypeVar

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
