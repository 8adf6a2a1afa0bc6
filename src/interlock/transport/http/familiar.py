"""The heads that a client of the endpoint says again and again on one connection.

It says the same, to the byte, but for the length of its body: what was read of it once is known by
the bytes before and behind that number. They have the same meaning whenever they come.
"""

from __future__ import annotations

import re
from typing import Final

from interlock.transport.http.heads import Asked

REMEMBERED: Final = 4
"""How many heads a connection remembers."""
SHORT: Final = 2048
"""The longest head that is remembered, in bytes."""

_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]+)[ \t]*\r\n", re.IGNORECASE)


class Familiar:
    """Heads that were read on one connection. Bodies have up to *longest* bytes: of others none is."""

    __slots__ = ("_digits", "_longest", "heads")

    def __init__(self, longest: int) -> None:
        self.heads: list[tuple[bytes, bytes, Asked]] = []
        """What stands before and behind the length, and what is asked."""
        self._longest = longest
        self._digits = len(str(longest))

    def recall(self, data: bytes, at: int) -> tuple[Asked, int, int] | None:
        """What the head at *at* asks if it is known, where its body begins, and how long that is.

        Everything but the length is the same to the byte; that is a number as the parser takes it.
        """
        for before, behind, asked in self.heads:
            if data.startswith(before, at):
                start = at + len(before)
                stop = data.find(b"\r", start, start + self._digits + 1)
                if data.startswith(behind, stop) and (digits := data[start:stop]).isdigit():
                    length = int(digits)
                    if length <= self._longest:
                        return asked, stop + len(behind), length
        return None

    def learn(self, head: bytes, asked: Asked) -> None:
        """Remember *head*, if it is that of a call which a client that stays will make again.

        It was fed to the parser alone, which found it to end where it was cut and its length to be
        that of a body: it ends there for every body.
        """
        if asked.head is None or not asked.length or asked.length > self._longest:
            return  # What is longer is never asked for here, and would be learnt again and again.
        if len(head) > SHORT or asked.expects or not asked.http11:
            return
        length = _LENGTH.search(head)
        if length is not None:
            if len(self.heads) >= REMEMBERED:
                del self.heads[0]
            self.heads.append((head[: length.start(1)], head[length.end(1) :], asked))
