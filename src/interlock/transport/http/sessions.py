"""Legacy HTTP sessions: an id, what runs and what was asked in one, and its standing stream."""

from __future__ import annotations

import asyncio
import os
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final

from msgspec import Raw

from interlock.errors import METHOD_NOT_FOUND, ConnectionLost, RpcError
from interlock.protocol.exchange import Running
from interlock.protocol.session import Session
from interlock.transport.channel import HIGH_WATER
from interlock.wire import sse
from interlock.wire.jsonrpc import Message, encode, notification
from interlock.wire.meta import Id, Wire

LIMIT: Final = 10_000
"""How many sessions one endpoint keeps."""
IDLE: Final = 30 * 60.0
"""For how many seconds it keeps one without a request, a running call or a standing stream."""


class Stream:
    """Events on their way to one response: queued by anyone, taken by the task that sends them.

    What goes beyond the limit for a reader that does not read is dropped.
    """

    def __init__(self) -> None:
        self._events: deque[bytes] = deque()
        self._size = 0
        self._arrived = asyncio.Event()
        self.ended = False

    def put(self, event: bytes) -> None:
        if self.ended or self._size > HIGH_WATER:
            return
        self._events.append(event)
        self._size += len(event)
        self._arrived.set()

    def end(self) -> None:
        self.ended = True
        self._arrived.set()

    async def take(self) -> bytes:
        """Everything queued, at least something; empty once the stream has ended."""
        while not self._events and not self.ended:
            self._arrived.clear()
            await self._arrived.wait()
        chunk = b"".join(self._events)
        self._events.clear()
        self._size = 0
        return chunk


class Standing:
    """The outlet of a session: its GET stream while one is open, nothing while none is."""

    def __init__(self) -> None:
        self.stream: Stream | None = None

    def open(self) -> Stream:
        """A new stream in place of an older one: the client that comes back is the live one."""
        self.shut()
        self.stream = Stream()
        return self.stream

    def shut(self) -> None:
        if self.stream is not None:
            self.stream.end()
            self.stream = None

    def notify(self, method: str, params: Wire | Raw) -> None:
        if self.stream is not None:
            data = params if isinstance(params, Raw) else encode(params)
            self.stream.put(sse.event(notification(method, data)))

    async def drain(self) -> None:
        pass

    async def ask(self, method: str, params: Wire | Raw, *, key: str = "") -> Raw:
        # A question belongs on the stream of the call that asks it (SEP-2260).
        raise RpcError(METHOD_NOT_FOUND, f"{method} can only be asked during a call")

    def close_stream(self, retry: float) -> None:
        pass


class HttpSession:
    """One legacy client over HTTP."""

    def __init__(self, id: str) -> None:
        self.standing = Standing()
        self.session = Session(id, self.standing)
        self.running: dict[Id, Running] = {}
        self.asked: dict[Id, asyncio.Future[Message]] = {}
        self.touched = 0.0
        self._last_ask = 0

    @property
    def busy(self) -> bool:
        """Whether something of this session is going on at this moment."""
        return bool(self.running) or self.standing.stream is not None

    def next_id(self) -> str:
        # Of another kind than clients' own ids usually are: logs stay readable.
        self._last_ask += 1
        return f"s{self._last_ask}"

    def close(self) -> None:
        self.standing.shut()
        for run in list(self.running.values()):
            run.cancel()
        for future in self.asked.values():
            if not future.done():
                future.set_exception(ConnectionLost("the session ended before its client answered"))
        self.session.close()


class Sessions:
    """The sessions of one endpoint, bounded in number and by idleness, the longest idle first.

    *idle* is in seconds of *clock*.
    """

    def __init__(
        self,
        limit: int = LIMIT,
        idle: float = IDLE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = limit
        self._idle = idle
        self._clock = clock
        self._sessions: OrderedDict[str, HttpSession] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sessions)

    def prepare(self) -> HttpSession:
        """A session that nobody can find yet; `keep` it once its handshake was taken."""
        return HttpSession(os.urandom(24).hex())

    def keep(self, session: HttpSession) -> None:
        """Let *session* be found; the one that was idle longest makes room if need be."""
        self._sweep()
        if len(self._sessions) >= self._limit:
            self.drop(next(iter(self._sessions.values())))
        session.touched = self._clock()
        self._sessions[session.session.id] = session

    def find(self, id: str) -> HttpSession | None:
        session = self._sessions.get(id)
        if session is None:
            return None
        now = self._clock()
        if now - session.touched > self._idle and not session.busy:
            self.drop(session)
            return None
        session.touched = now
        self._sessions.move_to_end(id)
        return session

    def drop(self, session: HttpSession) -> None:
        """End *session*, its calls and its stream; it is found no more."""
        self._sessions.pop(session.session.id, None)
        session.close()

    def close(self) -> None:
        """End every session."""
        for session in list(self._sessions.values()):
            self.drop(session)

    def _sweep(self) -> None:
        now = self._clock()
        while self._sessions:
            session = next(iter(self._sessions.values()))
            if now - session.touched <= self._idle:
                break
            if session.busy:
                session.touched = now
                self._sessions.move_to_end(session.session.id)
            else:
                self.drop(session)
