"""Two channels joined in one process."""

from __future__ import annotations

import asyncio
from collections import deque

from interlock.errors import ConnectionLost
from interlock.transport.channel import HIGH_WATER


class MemoryChannel:
    """One end of a pair; make both with `pair()`."""

    def __init__(self, other: MemoryChannel | None = None) -> None:
        self._inbox: deque[bytes] = deque()
        self._inbox_size = 0
        self._arrived = asyncio.Event()
        self._taken = asyncio.Event()
        self._taken.set()
        self._closed = False
        self._other = other if other is not None else self
        self._other._other = self

    async def receive(self) -> list[bytes]:
        while not self._inbox:
            if self._closed or self._other._closed:
                return []
            self._arrived.clear()
            await self._arrived.wait()
        batch = list(self._inbox)
        self._inbox.clear()
        self._inbox_size = 0
        self._taken.set()
        return batch

    def send(self, message: bytes) -> None:
        other = self._other
        if self._closed or other._closed:
            return
        other._inbox.append(message)
        other._inbox_size += len(message)
        if other._inbox_size > HIGH_WATER:
            other._taken.clear()
        other._arrived.set()

    @property
    def backlog(self) -> int:
        return self._other._inbox_size

    async def drain(self) -> None:
        if not self._closed:
            await self._other._taken.wait()

    async def close(self) -> None:
        self._closed = True
        for end in (self, self._other):
            end._arrived.set()
            end._taken.set()

    def failure(self) -> Exception | None:
        if self._closed or not self._other._closed:
            return None
        return ConnectionLost("the other end was closed")


def pair() -> tuple[MemoryChannel, MemoryChannel]:
    """Two ends: what one sends the other receives."""
    one = MemoryChannel()
    return one, MemoryChannel(one)
