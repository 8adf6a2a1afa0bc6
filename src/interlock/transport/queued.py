"""A Channel out of a line that carries one message at a time: queues between, and two tasks."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import Final, Protocol

from interlock.errors import ConnectionLost, PeerError
from interlock.transport.channel import HIGH_WATER

FLUSH_SECONDS: Final = 2.0
"""How long closing waits for a peer to take what was sent to it."""


class Line(Protocol):
    """A connection with a message as its unit. One task reads, one writes."""

    async def read(self) -> bytes | None:
        """The next message; None once the peer has ended the connection.

        Raises a `PeerError` that says how it failed. Cancelling it loses nothing that is not lost
        with the connection.
        """
        ...

    async def write(self, message: bytes) -> None:
        """Hand one message over; returns when the connection takes more.

        Raises a `PeerError` if nothing can be sent any more.
        """
        ...

    async def end(self) -> None:
        """Let go of the connection, politely where that takes no time."""
        ...


class QueuedChannel:
    """A `Channel` over *line*, which it owns from here on. *name* is what errors call the peer."""

    def __init__(self, line: Line, name: str) -> None:
        self._line = line
        self._name = name
        self._inbox: deque[bytes] = deque()
        self._inbox_size = 0
        self._arrived = asyncio.Event()
        self._taken = asyncio.Event()
        self._outbox: deque[bytes] = deque()
        self._outbox_size = 0
        self._queued = asyncio.Event()
        self._sent = asyncio.Event()
        self._sent.set()
        self._lost = asyncio.Event()
        self._deaf = False
        self._over = False
        self._closing: asyncio.Task[None] | None = None
        self._failure: Exception | None = None
        self._reading = asyncio.create_task(self._read(), name=f"interlock reads {name}")
        self._writing = asyncio.create_task(self._write(), name=f"interlock writes {name}")

    async def receive(self) -> list[bytes]:
        while not self._inbox:
            if self._deaf:
                return []
            self._arrived.clear()
            await self._arrived.wait()
        batch = list(self._inbox)
        self._inbox.clear()
        self._inbox_size = 0
        self._taken.set()
        return batch

    def send(self, message: bytes) -> None:
        if self._over:
            return
        self._outbox.append(message)
        self._outbox_size += len(message)
        if self._outbox_size > HIGH_WATER:
            self._sent.clear()
        self._queued.set()

    @property
    def backlog(self) -> int:
        return self._outbox_size

    async def drain(self) -> None:
        await self._sent.wait()

    def hang_up(self) -> None:
        """Receive no more, as if the peer had ended it; what is sent until `close` still goes out."""
        self._deaf = True
        self._arrived.set()

    async def close(self) -> None:
        # In a task of its own: two may close, and one of them be cancelled.
        if self._closing is None:
            self._end()
            self._closing = asyncio.create_task(self._close(), name=f"interlock ends {self._name}")
        await asyncio.shield(self._closing)

    async def wait_lost(self) -> None:
        """Wait until the peer has ended the connection, whether or not anybody receives."""
        await self._lost.wait()

    def failure(self) -> Exception | None:
        return self._failure

    async def _read(self) -> None:
        try:
            while (message := await self._line.read()) is not None:
                self._inbox.append(message)
                self._inbox_size += len(message)
                self._arrived.set()
                if self._inbox_size > HIGH_WATER:
                    # Whoever does not receive lets the peer feel it.
                    self._taken.clear()
                    await self._taken.wait()
            self._fail(ConnectionLost(f"{self._name} ended the connection"))
        except PeerError as error:
            self._fail(error)

    async def _write(self) -> None:
        try:
            while True:
                while self._outbox:
                    message = self._outbox.popleft()
                    await self._line.write(message)
                    self._outbox_size -= len(message)
                    if self._outbox_size <= HIGH_WATER:
                        self._sent.set()
                if self._over:
                    return
                self._queued.clear()
                await self._queued.wait()
        except PeerError as error:
            self._fail(error)

    def _fail(self, why: Exception) -> None:
        """The peer ended it; what came before is still to be received."""
        if not self._over:
            self._failure = why
        self._lost.set()
        self._end()
        if asyncio.current_task() is not self._writing:
            self._writing.cancel()
        self._outbox.clear()
        self._outbox_size = 0

    def _end(self) -> None:
        self._over = True
        self.hang_up()
        self._sent.set()
        self._queued.set()

    async def _close(self) -> None:
        await asyncio.wait([self._writing], timeout=FLUSH_SECONDS)
        for task in (self._reading, self._writing):
            task.cancel()
        await asyncio.gather(self._reading, self._writing, return_exceptions=True)
        with contextlib.suppress(PeerError, TimeoutError):
            async with asyncio.timeout(FLUSH_SECONDS):
                await self._line.end()
