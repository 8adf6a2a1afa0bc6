"""Legacy HTTP sessions: an id, what runs and what was asked in one, and its streams."""

from __future__ import annotations

import asyncio
import os
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import UNSET, Raw

from interlock.errors import INVALID_REQUEST, METHOD_NOT_FOUND, ConnectionLost, RpcError
from interlock.protocol.exchange import RUNNING_LIMIT, Running
from interlock.protocol.ladder import Refusal
from interlock.protocol.session import Session
from interlock.transport.http.streams import STANDING, Keep, Stream, Streams
from interlock.wire.jsonrpc import UNREADABLE, Message, encode, notification
from interlock.wire.meta import Id, Wire
from interlock.wire.notices import CANCELLED, INITIALIZED, CancelledNotice

LIMIT: Final = 10_000
"""How many sessions one endpoint keeps."""
IDLE: Final = 30 * 60.0
"""For how many seconds it keeps one without a request, a running call or a standing stream."""


_cancelled: Final = msgspec.json.Decoder(CancelledNotice)


class Standing:
    """The outlet of a session: its GET stream, from when its client first opened one.

    What comes while that is broken off waits for it to be resumed, as long as a stream waits.
    """

    __slots__ = ("stream",)

    def __init__(self) -> None:
        self.stream: Stream | None = None

    def notify(self, method: str, params: Wire | Raw) -> None:
        stream = self.stream
        if stream is not None and not stream.full:
            data = params if isinstance(params, Raw) else encode(params)
            stream.add(notification(method, data))

    async def drain(self) -> None:
        pass

    async def ask(self, method: str, params: Wire | Raw, *, key: str = "") -> Raw:
        # A question belongs on the stream of the call that asks it (SEP-2260).
        raise RpcError(METHOD_NOT_FOUND, f"{method} can only be asked during a call")

    def close_stream(self, retry: float) -> None:
        pass


class HttpSession:
    """One legacy client over HTTP. Most are idle: what only a busy one needs is made for it."""

    __slots__ = (
        "_keep",
        "_last_ask",
        "_streams",
        "asked",
        "running",
        "session",
        "standing",
        "touched",
    )

    def __init__(self, id: str, keep: Keep) -> None:
        self.standing = Standing()
        self.session = Session(id, self.standing)
        self.running: dict[Id, Running] = {}
        self.asked: dict[Id, asyncio.Future[Message]] = {}
        self.touched = 0.0
        self._keep = keep
        self._streams: Streams | None = None
        self._last_ask = 0

    @property
    def busy(self) -> bool:
        """Whether something of this session is going on at this moment."""
        standing = self.standing.stream
        return bool(self.running) or (standing is not None and standing.reader is not None)

    @property
    def streams(self) -> Streams:
        if self._streams is None:
            self._streams = Streams(self._keep)
        return self._streams

    @property
    def primes(self) -> bool:
        """Whether its streams open with an event that is only an id (SEP-1699).

        Clients of older revisions would read JSON in it.
        """
        return self.session.envelope.revision.primed_streams

    def stand(self) -> tuple[Stream, int]:
        """The standing stream, and where a client begins that resumes none: at its end."""
        stream = self._stand(self.streams.standing())
        return stream, stream.last

    def resume(self, last_event: str) -> tuple[Stream, int] | None:
        """The stream that *last_event* was on, and its number there; None if it is not kept."""
        found = self.streams.find(last_event)
        if found is not None and found[0].number == STANDING:
            self._stand(found[0])
        return found

    def room_for(self, id: Id) -> Session | Refusal:
        """The session for one more call under *id*, or why there is none."""
        if id in self.running:
            return Refusal(INVALID_REQUEST, f"The id {id!r} is in use by a call that still runs")
        if len(self.running) >= RUNNING_LIMIT:
            why = f"More than {RUNNING_LIMIT} calls at once; wait for answers"
            return Refusal(INVALID_REQUEST, why, status=429)
        return self.session

    def take(self, message: Message) -> None:
        """Act on a notification or a response of the client's."""
        if message.method is UNSET:
            future = self.asked.get(message.id) if isinstance(message.id, str) else None
            if future is not None and not future.done():
                future.set_result(message)
        elif message.method == INITIALIZED:
            self.session.initialized()
        elif message.method == CANCELLED:
            self._cancel(message.params)

    def next_id(self) -> str:
        # Of another kind than clients' own ids usually are: logs stay readable.
        self._last_ask += 1
        return f"s{self._last_ask}"

    def close(self) -> None:
        for run in list(self.running.values()):
            run.cancel()
        for future in self.asked.values():
            if not future.done():
                future.set_exception(ConnectionLost("the session ended before its client answered"))
        if self._streams is not None:
            self._streams.close()
        self.session.close()

    def _stand(self, stream: Stream) -> Stream:
        self.standing.stream = stream
        stream.on_forsaken = self._sit
        return stream

    def _sit(self) -> None:
        self.standing.stream = None

    def _cancel(self, params: Raw) -> None:
        try:
            run = self.running.get(_cancelled.decode(params).request_id)
        except UNREADABLE:
            return  # A malformed cancellation is ignored (§ Cancellation).
        if run is not None:
            run.cancel()


class Sessions:
    """The sessions of one endpoint, bounded in number and by idleness, the longest idle first.

    *idle* is in seconds of *clock*. *keep* is how much of their streams is kept, and how long.
    """

    def __init__(
        self,
        limit: int = LIMIT,
        idle: float = IDLE,
        clock: Callable[[], float] = time.monotonic,
        keep: Keep | None = None,
    ) -> None:
        self._limit = limit
        self._idle = idle
        self._clock = clock
        self._keep = keep if keep is not None else Keep()
        self._sessions: OrderedDict[str, HttpSession] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sessions)

    def prepare(self) -> HttpSession:
        """A session that nobody can find yet; `keep` it once its handshake was taken."""
        return HttpSession(os.urandom(24).hex(), self._keep)

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
