"""A stream that another process keeps, followed from here: over the bus that both share.

Whoever keeps it reads it as a connection would, and says what it reads to the process that has the
connection. Ids stay those of the process that numbered the events.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine
from typing import Final, TypeAlias

import msgspec
from msgspec import Struct

from interlock.errors import NotConnected, StoreError
from interlock.store.ports import Bus, Unsubscribe
from interlock.transport.http.streams import Reader, Stream
from interlock.wire.jsonrpc import UNREADABLE, encode

log: Final = logging.getLogger("interlock.http")

TOPIC: Final = "interlock/streams/"
"""Followed by the name of the process that is spoken to, as it stands in the ids of its events."""
ANSWERING: Final = 1.0
"""Seconds in which whoever keeps a stream has to say so."""
ALIVE: Final = 5.0
"""Seconds of silence after which it says that it lives."""
GONE: Final = 20.0
"""Seconds of silence after which it is taken for gone, and the connection ends."""
HELD: Final = 4 * 1024 * 1024
"""How many bytes may wait for a connection that is slow, until it is let go to come back."""
SERVED: Final = 1000
"""How many streams one process reads for others at once."""


class _Wanted(Struct, tag="wanted"):
    to: str
    ticket: str
    session: str
    event: str


class _Piece(Struct, tag="piece", omit_defaults=True):
    """What came; nothing, as a sign that it goes on."""

    ticket: str
    data: bytes = b""
    over: bool = False


class _Refused(Struct, tag="refused"):
    ticket: str


class _Left(Struct, tag="left"):
    ticket: str


_Word: TypeAlias = _Wanted | _Piece | _Refused | _Left
_word: Final[msgspec.json.Decoder[_Word]] = msgspec.json.Decoder(_Word)

Find: TypeAlias = Callable[[str, str], tuple[Stream, int] | None]
"""The stream of a session that an event's id belongs to, and the event's number, if it is here."""


class Distant:
    """A stream of another process, and the one reader that it has here."""

    def __init__(self, left: Callable[[], None]) -> None:
        self.begun: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        """Whether it is kept there."""
        self._left = left
        self._wake: Callable[[], None] = _nothing
        self._pieces: list[bytes] = []
        self._size = 0
        self._ended = False
        self._gone: asyncio.TimerHandle | None = None

    # As a stream, and as its reader.

    def read(self, after: int, wake: Callable[[], None]) -> Distant:
        self._wake = wake
        return self

    def add(self, data: bytes, retry: int | None = None) -> None:
        """Only whoever keeps the stream adds to it."""

    @property
    def over(self) -> bool:
        return self._ended and not self._pieces

    def pull(self) -> bytes:
        data = b"".join(self._pieces)
        self._pieces.clear()
        self._size = 0
        return data

    def lose(self) -> None:
        self._pieces.clear()
        self.leave()
        self._wake()

    def leave(self) -> None:
        if self._gone is not None:
            self._gone.cancel()
            self._gone = None
        if not self._ended:
            self._ended = True
            self._left()

    # As what is heard of.

    def hear(self, data: bytes, *, over: bool) -> None:
        if not self.begun.done():
            self.begun.set_result(True)
        if self._ended:
            return
        if data:
            self._pieces.append(data)
            self._size += len(data)
        if self._gone is not None:
            self._gone.cancel()
            self._gone = None
        if over:
            self._ended = True
        elif self._size > HELD:
            self.lose()
        else:
            self._gone = asyncio.get_running_loop().call_later(GONE, self.lose)
        self._wake()


class Relay:
    """Both sides of it, for one process: *name* is what it is called in the ids of its events."""

    def __init__(self, bus: Bus, name: str, find: Find) -> None:
        self._bus = bus
        self._name = name
        self._find = find
        self._followed: dict[str, Distant] = {}
        self._read: dict[str, Reader] = {}
        self._doing: set[asyncio.Task[None]] = set()

    async def listen(self) -> Unsubscribe:
        return await self._bus.subscribe(TOPIC + self._name, self._hear)

    async def follow(self, session: str, event: str) -> Distant | None:
        """The stream that *event* was on, if another process keeps it and answers."""
        name = event.partition("-")[0]
        if name == self._name:
            return None
        ticket = os.urandom(8).hex()

        def left() -> None:
            self._followed.pop(ticket, None)
            self._do(self._say(name, _Left(ticket)))

        distant = self._followed[ticket] = Distant(left)
        try:
            await self._say(name, _Wanted(self._name, ticket, session, event))
            if await asyncio.wait_for(distant.begun, ANSWERING):
                return distant
        except TimeoutError:
            pass
        except asyncio.CancelledError:
            distant.leave()
            raise
        distant.leave()
        return None

    def close(self) -> None:
        for task in list(self._doing):
            task.cancel()
        for distant in list(self._followed.values()):
            distant.lose()

    def _hear(self, message: bytes) -> None:
        try:
            word = _word.decode(message)
        except UNREADABLE as error:
            log.warning("a process said of a stream what cannot be read: %s", error)
            return
        match word:
            case _Wanted():
                self._do(self._serve(word))
            case _Left():
                reader = self._read.get(word.ticket)
                if reader is not None:
                    reader.lose()
            case _Refused():
                distant = self._followed.get(word.ticket)
                if distant is not None and not distant.begun.done():
                    distant.begun.set_result(False)
            case _Piece():
                distant = self._followed.get(word.ticket)
                if distant is not None:
                    distant.hear(word.data, over=word.over)
                    if word.over:
                        self._followed.pop(word.ticket, None)

    async def _serve(self, wanted: _Wanted) -> None:
        """Read a stream of ours for a connection of another process."""
        to, ticket = wanted.to, wanted.ticket
        found = self._find(wanted.session, wanted.event) if len(self._read) < SERVED else None
        if found is None:
            await self._say(to, _Refused(ticket))
            return
        stream, after = found
        arrived = asyncio.Event()
        reader = self._read[ticket] = stream.read(after, arrived.set)
        try:
            await self._say(to, _Piece(ticket))
            while not reader.over:
                if data := reader.pull():
                    await self._say(to, _Piece(ticket, data))
                    continue
                arrived.clear()
                try:
                    await asyncio.wait_for(arrived.wait(), ALIVE)
                except TimeoutError:
                    await self._say(to, _Piece(ticket))
            await self._say(to, _Piece(ticket, over=True))
        finally:
            del self._read[ticket]
            reader.leave()

    async def _say(self, name: str, word: Struct) -> None:
        try:
            await self._bus.publish(TOPIC + name, encode(word))
        except (StoreError, NotConnected) as error:  # The latter once the store was closed.
            log.warning("another process does not hear of a stream: %s", error)

    def _do(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._doing.add(task)
        task.add_done_callback(self._doing.discard)


def _nothing() -> None:
    pass
