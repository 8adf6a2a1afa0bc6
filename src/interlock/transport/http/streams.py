"""The event streams of a legacy session: numbered, and kept a while for a client that comes back.

An event's id is `ENDPOINT-STREAM-EVENT`: which process numbered it, on which stream of the session,
and where on that. Stream 0 is the standing one, every other the response to a POST. A stream has one
reader at a time, the connection that its events go out on; a client that comes back takes the
place of the one it lost. What is kept is bounded in number, bytes and time: the oldest goes first,
and what was sent to a reader before what never was.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Final

from interlock.transport.channel import HIGH_WATER
from interlock.wire import sse

PATIENCE: Final = 300.0
"""For how many seconds a stream waits for a client that has left to come back."""
LINGER: Final = 30.0
"""For how many a stream is kept that went out whole: its last bytes may have been lost."""
STREAMS: Final = 64
"""How many finished streams of one session are kept."""
EVENTS: Final = 1000
"""How many events of one stream are kept, of those that no reader took."""
TAIL: Final = 16
"""How many of those that one did."""
SESSION_BYTES: Final = 16 * 1024 * 1024
ENDPOINT_BYTES: Final = 64 * 1024 * 1024
"""How many bytes of one session are kept, and of all. Its newest event a session keeps longest: it
may be an answer. What a connection is about to take makes room for no other session."""
COST: Final = 200
"""What keeping an event takes besides its bytes."""

STANDING: Final = 0
_ID: Final = re.compile(r"([0-9a-f]{6})-([0-9]{1,9})-([0-9]{1,15})", re.ASCII)


class Keep:
    """What one endpoint keeps of its streams: its name in their ids, how long, how much.

    Another process that serves the same sessions has another name, so that no id is given twice.
    """

    __slots__ = ("_enough", "holders", "limit", "linger", "name", "patience", "size")

    def __init__(
        self, patience: float = PATIENCE, linger: float = LINGER, limit: int = ENDPOINT_BYTES
    ) -> None:
        self.name = os.urandom(3).hex()
        self.patience = patience
        self.linger = linger
        self.limit = limit
        self.size = 0
        self.holders: dict[Streams, None] = {}
        """The sessions of which something is kept."""
        self._enough = limit

    def make_room(self) -> None:
        """Keep to the limit at the cost of the sessions of which most is kept, and of those alone."""
        if self.size <= self._enough:
            return
        # Some more than has to be, or the next event has to do it again.
        goal = self.limit - self.limit // 8
        for newest in (False, True):
            for streams in sorted(self.holders, key=_size, reverse=True):
                streams.give_way(goal, newest=newest)
                if self.size <= goal:
                    break
        # What is left beyond is on its way out; it need not be looked through with each event.
        self._enough = max(self.limit, self.size + self.limit // 8)

    def taken(self, size: int) -> None:
        """So much went out, and may make room from here on."""
        self._enough = max(self.limit, self._enough - size)


class Reader:
    """One connection's place on a stream."""

    __slots__ = ("_stream", "position", "wake")

    def __init__(self, stream: Stream, position: int, wake: Callable[[], None]) -> None:
        self.position = position
        self.wake = wake
        self._stream = stream

    @property
    def over(self) -> bool:
        """Nothing more will come here: another reader took the place, or the stream has ended."""
        stream = self._stream
        return stream.reader is not self or (stream.ended and self.position >= stream.last)

    def pull(self) -> bytes:
        """What has come since the last time, ready to send; empty if nothing has."""
        return self._stream.after(self) if self._stream.reader is self else b""

    @property
    def replaced(self) -> bool:
        """Another connection reads the stream now."""
        return self._stream.reader not in (self, None)

    def leave(self) -> None:
        """This connection has sent what it could. If that was not all, the stream waits for more."""
        keep = self._stream.keep
        whole = self._stream.ended and self.position >= self._stream.last
        self._stream.release(self, keep.linger if whole else keep.patience)

    def lose(self) -> None:
        """This connection broke off, whatever it was given; the stream waits for another."""
        self._stream.release(self, self._stream.keep.patience)
        self.wake()


class Stream:
    """Events on their way to one client, over one connection after another."""

    __slots__ = (
        "_events",
        "_room",
        "_streams",
        "_timer",
        "_unseen",
        "ended",
        "forsaken",
        "last",
        "number",
        "on_forsaken",
        "reader",
        "seen",
        "size",
    )

    def __init__(self, streams: Streams, number: int, last: int = 0) -> None:
        self.number = number
        self.reader: Reader | None = None
        self.ended = False
        self.forsaken = False
        """Its client has been away for too long, and is expected no more."""
        self.on_forsaken: Callable[[], None] | None = None
        self.last = last
        """The number of the newest event."""
        self.size = 0
        self._streams = streams
        self._events: deque[bytes] = deque()
        self.seen = last
        """Up to which number some reader took events."""
        self._unseen = 0  # the bytes behind it
        self._timer: asyncio.TimerHandle | None = None
        self._room: asyncio.Event | None = None

    @property
    def keep(self) -> Keep:
        return self._streams.keep

    @property
    def full(self) -> bool:
        """A reader is there and lets too much pile up: what can be dropped should be."""
        return self.reader is not None and self._unseen > HIGH_WATER

    def add(self, data: bytes, retry: int | None = None) -> None:
        """One more event; empty *data* gives its reader an id to come back with and no more."""
        if self.ended:
            return
        self.last += 1
        name = f"{self._streams.keep.name}-{self.number}-{self.last}"
        event = sse.event(data, id=name, retry=retry)
        self._events.append(event)
        self._grow(len(event) + COST)
        self._unseen += len(event)
        self._streams.make_room(self)
        self.keep.make_room()
        if self.reader is not None:
            self.reader.wake()

    async def drain(self) -> None:
        """Wait until it is no more full."""
        while self.full:
            if self._room is None:
                self._room = asyncio.Event()
            await self._room.wait()

    def end(self) -> None:
        """No more events come; what is there can be read until it is let go."""
        if not self.ended:
            self.ended = True
            self._streams.finished(self)
            if self.reader is not None:
                self.reader.wake()
            else:
                self._wait(self.keep.patience)

    def read(self, after: int, wake: Callable[[], None]) -> Reader:
        """Go on behind event *after*, in place of whoever read before.

        *wake* is called when there is something to pull, or nothing more to wait for.
        """
        self._disarm()
        self.forsaken = False
        before, self.reader = self.reader, Reader(self, after, wake)
        if before is not None:
            before.wake()
        return self.reader

    # For readers, and for the streams that this one is one of.

    def after(self, reader: Reader) -> bytes:
        first = self.last - len(self._events) + 1
        skipped = max(reader.position + 1 - first, 0)
        reader.position = self.last
        if self.seen < self.last:
            self.seen = self.last
            self._unseen = 0
            self._make_room()
        chunk = b"".join(islice(self._events, skipped, None))
        self.keep.taken(len(chunk))
        if not self.ended:
            self.trim()
        return chunk

    def release(self, reader: Reader, seconds: float) -> None:
        if self.reader is not reader:
            return
        self.reader = None
        self._make_room()
        self._wait(seconds)

    def drop_oldest(self) -> None:
        self._grow(-len(self._events.popleft()) - COST)

    def trim(self) -> None:
        """Keep to the number of events that one stream may have."""
        unseen = min(self.last - self.seen, len(self._events))
        seen = len(self._events) - unseen
        for _ in range(max(seen - TAIL, unseen - EVENTS)):
            self.drop_oldest()

    @property
    def kept(self) -> int:
        """How many events are kept."""
        return len(self._events)

    @property
    def spare(self) -> bool:
        """Whether the oldest of these is not just waiting to be taken."""
        return self.reader is None or self.last - len(self._events) < self.seen

    def close(self) -> None:
        """Let everything go."""
        self.ended = True
        self._disarm()
        self._grow(-self.size)
        self._events.clear()
        reader, self.reader = self.reader, None
        self._make_room()
        if reader is not None:
            reader.wake()

    def _make_room(self) -> None:
        if self._room is not None:
            self._room.set()
            self._room = None

    def _wait(self, seconds: float) -> None:
        """Wait for a client to come back."""
        self._disarm()
        if self._streams.closed:
            self._streams.drop(self)
        else:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._forsake)

    def _forsake(self) -> None:
        self.forsaken = True
        if self.ended or self.number == STANDING:
            self._streams.drop(self)
        if self.on_forsaken is not None:
            self.on_forsaken()

    def _grow(self, size: int) -> None:
        self.size += size
        self._streams.grow(size)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Streams:
    """The streams of one session."""

    __slots__ = ("_done", "_last", "_newest", "_open", "_stood", "closed", "keep", "size")

    def __init__(self, keep: Keep) -> None:
        self.keep = keep
        self.size = 0
        self.closed = False
        self._last = STANDING
        self._newest: Stream | None = None
        self._stood = 0
        self._open: dict[int, Stream] = {}
        self._done: dict[int, Stream] = {}

    def __len__(self) -> int:
        return len(self._open) + len(self._done)

    def open(self) -> Stream:
        """A new stream, for the response to a POST."""
        self._last += 1
        stream = self._open[self._last] = Stream(self, self._last)
        return stream

    def standing(self) -> Stream:
        """The standing stream, begun if there is none."""
        stream = self._open.get(STANDING)
        if stream is None:
            stream = self._open[STANDING] = Stream(self, STANDING, self._stood)
        return stream

    def find(self, id: str) -> tuple[Stream, int] | None:
        """The stream that *id* is an event's of, and the event's number on it."""
        match = _ID.fullmatch(id)
        if match is None:
            return None
        ours = match[1] == self.keep.name
        number, event = int(match[2]), int(match[3])
        if number == STANDING:
            # It goes on whatever was kept of it, and in whichever process it is served now.
            stream = self.standing()
            return stream, event if ours and event <= stream.last else 0
        stream = self._open.get(number, self._done.get(number))
        if stream is None or not ours or event > stream.last:
            return None
        return stream, event

    def close(self) -> None:
        """Keep nothing any more. Responses to POSTs that still go out end with their calls."""
        self.closed = True
        for stream in [*self._open.values(), *self._done.values()]:
            if stream.reader is None or stream.number == STANDING:
                self.drop(stream)

    # For the streams.

    def finished(self, stream: Stream) -> None:
        if self._open.pop(stream.number, None) is None:
            return
        self._done[stream.number] = stream
        if len(self._done) > STREAMS:
            self.drop(next(iter(self._done.values())))

    def drop(self, stream: Stream) -> None:
        if stream.number == STANDING:
            self._stood = stream.last  # Its numbers go on, should it be begun again.
        self._open.pop(stream.number, None)
        self._done.pop(stream.number, None)
        stream.close()

    def grow(self, size: int) -> None:
        self.size += size
        self.keep.size += size
        if self.size:
            self.keep.holders[self] = None
        else:
            holders = self.keep.holders
            holders.pop(self, None)
            if not holders:
                holders.clear()  # A dictionary keeps the room of all that it ever held.

    def make_room(self, newest: Stream) -> None:
        self._newest = newest
        newest.trim()
        while self.size > SESSION_BYTES:
            done = next((each for each in self._done.values() if each.reader is None), None)
            if done is not None:
                self.drop(done)
                continue
            fattest = max(self._open.values(), key=_size)
            if fattest.size == 0 or (fattest is newest and newest.kept == 1):
                break  # The newest event is kept, whatever its size: it may be an answer.
            fattest.drop_oldest()

    def give_way(self, goal: int, *, newest: bool) -> None:
        """Let go for others until no more than *goal* is kept of all; *newest* even that event."""
        done = list(self._done.values())
        for stream in (*done, *sorted(self._open.values(), key=_size, reverse=True)):
            least = 0 if newest or stream is not self._newest else 1
            while self.keep.size > goal and stream.kept > least and stream.spare:
                stream.drop_oldest()
            if stream in done and not stream.kept and stream.reader is None:
                self.drop(stream)


def is_event(id: str) -> bool:
    """Whether *id* looks like an event's, of whichever process."""
    return _ID.fullmatch(id) is not None


def _size(of: Stream | Streams) -> int:
    return of.size
