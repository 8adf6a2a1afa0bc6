"""The heads that a client of the endpoint says again and again on one connection.

It says the same, to the byte, but for the length of its body: what was read of it once is known by
the bytes before and behind that number. They have the same meaning whenever they come.
"""

from __future__ import annotations

import re
from typing import Final

from interlock.transport.http.heads import Asked

REMEMBERED: Final = 16
"""How many heads a connection remembers: one a tool that its client uses, as a head names it."""
SHORT: Final = 2048
"""The longest head that is remembered, in bytes."""
ROOM: Final = 64 * 1024 * 1024
"""Bytes that all heads at a server may take together: one for each of so many connections as it
takes, and a dozen for those that need them."""

STRANGERS: Final = 2 * REMEMBERED
"""After so many heads in a row of which none was known, nothing is remembered for a while: some
clients say something else each time, as the id of a trace."""
PAUSE: Final = 256
"""How many heads that while is."""

_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]+)[ \t]*\r\n", re.IGNORECASE)
_READ: Final = 8
"""What a head takes once it is read, measured, to what it takes as bytes."""


class Room:
    """What is left of the memory that all connections of a server share."""

    __slots__ = ("left",)

    def __init__(self, size: int = ROOM) -> None:
        self.left = size


class Familiar:
    """Heads that were read on one connection. Bodies have up to *longest* bytes: of others none is.

    Let it `forget` them when the connection ends: *room* is shared with others.
    """

    __slots__ = ("_digits", "_longest", "_room", "_unknown", "heads")

    def __init__(self, longest: int, room: Room) -> None:
        self.heads: list[tuple[bytes, bytes, Asked, int]] = []
        """What stands before and behind the length, what is asked, and what all of it takes; the one
        used last comes first."""
        self._longest = longest
        self._digits = len(str(longest))
        self._room = room
        self._unknown = 0
        """How many heads were not known since the last that was, or since it was tried again."""

    def recall(self, data: bytes, at: int) -> tuple[Asked, int, int] | None:
        """What the head at *at* asks if it is known, where its body begins, and how long that is.

        Everything but the length is the same to the byte; that is a number as the parser takes it.
        """
        for known in self.heads:
            before, behind, asked, _ = known
            if data.startswith(before, at):
                start = at + len(before)
                stop = data.find(b"\r", start, start + self._digits + 1)
                if data.startswith(behind, stop) and (digits := data[start:stop]).isdigit():
                    length = int(digits)
                    if length <= self._longest:
                        self._unknown = 0
                        if known is not self.heads[0]:
                            self.heads.remove(known)
                            self.heads.insert(0, known)
                        return asked, stop + len(behind), length
        return None

    def learn(self, head: bytes, asked: Asked) -> None:
        """Remember *head*, if it is that of a call which a client that stays will make again.

        It was fed to the parser alone, which found it to end where it was cut and its length to be
        that of a body: it ends there for every body.
        """
        if asked.head is None or not asked.length or asked.length > self._longest:
            return  # What is longer is never asked for here, and would be learnt again and again.
        self._unknown += 1
        if self._unknown > STRANGERS:
            self.forget()
            if self._unknown < STRANGERS + PAUSE:
                return
            self._unknown = REMEMBERED
        size = len(head)
        if size > SHORT or asked.expects or not asked.http11:
            return
        length = _LENGTH.search(head)
        if length is None:
            return
        size *= _READ
        while self.heads and (len(self.heads) >= REMEMBERED or self._room.left < size):
            self._drop()
        if self._room.left >= size:
            self._room.left -= size
            self.heads.insert(0, (head[: length.start(1)], head[length.end(1) :], asked, size))

    def forget(self) -> None:
        """Give back what the heads took."""
        while self.heads:
            self._drop()

    def _drop(self) -> None:
        self._room.left += self.heads.pop()[3]
