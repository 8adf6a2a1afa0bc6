"""The MCP endpoint straight on an asyncio protocol: HTTP/1.1 (RFC 9112), one server.

A POST to the endpoint goes from its bytes to `App.post` with nothing in between. Everything else,
and every request whose body is long or does not come at once, is handed to the app as ASGI. What
comes is read in `reader.py`, unless `familiar.py` knows it; what goes is written in `turn.py`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Final, Protocol, cast

from msgspec import Struct

from interlock.errors import INTERNAL_ERROR, INVALID_REQUEST
from interlock.protocol.ladder import Refusal
from interlock.transport.eager import eagerly
from interlock.transport.http.asgi import App
from interlock.transport.http.familiar import Familiar, Room
from interlock.transport.http.hardening import SAFE
from interlock.transport.http.heads import Asked, BadRequest
from interlock.transport.http.plain import JSON, Receive, Scope, Send
from interlock.transport.http.reader import HEAD_END, Reader, Rules
from interlock.transport.http.turn import AHEAD, Stationery, Turn, opening

log: Final = logging.getLogger("interlock.http")

AT_ONCE: Final = 64 * 1024
"""Up to this size a body is collected here, before anything begins with its request."""
IN_A_ROW: Final = 32
"""How many requests one connection is answered before others get their turn."""
LINGER: Final = 1.0
"""For how many seconds, and how many bytes, a client is still read from that was refused: it would
lose the refusal if the connection were gone before it had sent all it had to say."""
LINGER_BYTES: Final = 1024 * 1024

_GO_ON: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class Limits(Struct, frozen=True):
    """What one client may ask of us, and for how long it may take over it: bytes and seconds.

    *connections* is how many may be open at once. A head must be there *head_seconds* after its
    first byte, a short body *body_seconds* after its head; in between a connection may be silent
    for *idle_seconds*. One that does not read what it is sent is closed after *stall_seconds*
    in which nothing of it went.
    """

    connections: int = 16_384
    head_size: int = 32 * 1024
    head_seconds: float = 20.0
    body_seconds: float = 60.0
    idle_seconds: float = 30.0
    stall_seconds: float = 60.0


class AsgiApp(Protocol):
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


class H1:
    """What the connections of one server share.

    It serves *app*, and POSTs to *endpoint*, which is it or a part of it, by the short way. Call
    `start` once the loop runs, `Connection(h1)` for each connection, `close` and `drain` at the end.
    """

    def __init__(
        self,
        app: AsgiApp,
        endpoint: App | None,
        limits: Limits | None = None,
        *,
        secure: bool = False,
    ) -> None:
        self.app = app
        self.endpoint = endpoint
        self.limits = limits or Limits()
        self.secure = secure
        self.connections: set[Connection] = set()
        self.rules = Rules(
            endpoint.path if endpoint is not None else "",
            endpoint.guards if endpoint is not None else None,
            self.limits.head_size,
            secure=secure,
        )
        self.at_once = min(AT_ONCE, endpoint.guards.body_limit) if endpoint is not None else 0
        """Up to this length a body is taken whose head was read before."""
        self.room = Room()
        """What all its connections may remember."""
        self.stationery = Stationery(endpoint.guards.fixed if endpoint is not None else SAFE)
        self.now = 0.0
        """The loop's time, as of the last tick: read often, and needed no better."""
        said = self.limits
        self.tick = min(
            1.0, said.head_seconds, said.body_seconds, said.idle_seconds, said.stall_seconds
        )
        self.closing = False
        self._cleared = -1.0
        self._timer: asyncio.TimerHandle | None = None
        self._empty: asyncio.Future[None] | None = None

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        self.now = loop.time()
        self.stationery.renew()
        self._timer = loop.call_later(self.tick, self._tick, loop)

    def close(self) -> None:
        """Take no further requests; those that run are answered, and their connections end."""
        self.closing = True
        for connection in list(self.connections):
            connection.wind_up()

    async def drain(self, seconds: float) -> None:
        """Wait until all connections have ended, for at most *seconds*; then end them."""
        if self.connections:
            self._empty = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._empty], timeout=seconds)
        for connection in list(self.connections):
            connection.abort()
        if self._timer is not None:
            self._timer.cancel()

    def gone(self, connection: Connection) -> None:
        self.connections.discard(connection)
        if not self.connections and self._empty is not None and not self._empty.done():
            self._empty.set_result(None)

    def make_room(self) -> bool:
        """Whether there is room for one more connection; the idle give way to it."""
        if len(self.connections) < self.limits.connections or self._cleared == self.now:
            return len(self.connections) < self.limits.connections
        self._cleared = self.now
        for connection in list(self.connections):
            connection.give_way(self.now)
        return len(self.connections) < self.limits.connections

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self.now = now = loop.time()
        self.stationery.renew()
        # A deadline counts from the tick before it was set: nobody's is over before its time.
        due = now - self.tick
        for connection in [each for each in self.connections if 0.0 < each.deadline < due]:
            connection.expire()
        self._timer = loop.call_later(self.tick, self._tick, loop)


class Connection(asyncio.Protocol):
    """One connection: what comes is cut into requests, which are answered one after another."""

    __slots__ = (
        "_ahead",
        "_backlog",
        "_body",
        "_came",
        "_drained",
        "_familiar",
        "_held",
        "_lingers",
        "_loop",
        "_owed",
        "_reader",
        "_served",
        "_server",
        "_task",
        "_transport",
        "_turn",
        "deadline",
        "lost",
        "paused",
        "stationery",
        "stays",
    )

    _transport: asyncio.Transport

    def __init__(self, server: H1) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._reader = Reader(server.rules, self._receive)
        self._familiar = Familiar(server.at_once, server.room)
        self.stationery = server.stationery
        self.deadline = 0.0
        """When it is closed unless something happens, as the loop counts; 0 for never."""
        self.lost = False
        self.paused = False
        self.stays = True
        self._turn: Turn | None = None
        self._task: asyncio.Task[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._backlog = 0
        self._body = bytearray()
        self._owed = 0
        self._came = 0
        self._held = False
        # What came while a request was being answered.
        self._ahead = bytearray()
        self._served = 0
        self._lingers = 0

    # What asyncio tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        server = self._server
        room = not server.closing and server.make_room()
        server.connections.add(self)
        self.deadline = server.now + server.limits.idle_seconds
        if not room:
            self._refuse(503, "Too many connections are open; try again later", INTERNAL_ERROR)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self._server.gone(self)
        self._ahead.clear()
        self._familiar.forget()
        if self._turn is not None:
            self._turn.leave()
        self.resume_writing()

    def eof_received(self) -> bool:
        return False  # A client that closes wants no answer any more: HTTP knows no half of it.

    def pause_writing(self) -> None:
        self.paused = True
        self._backlog = self._transport.get_write_buffer_size()
        self.deadline = self._server.now + self._server.limits.stall_seconds

    def resume_writing(self) -> None:
        self.paused = False
        server = self._server
        if self._turn is not None:
            self._await_body()
        elif self.stays:
            self.deadline = server.now + server.limits.idle_seconds
        elif not self._lingers:
            # What is left of the last answer must still go out, and the connection with it.
            self.deadline = server.now + server.limits.stall_seconds
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def data_received(self, data: bytes) -> None:
        turn = self._turn
        if turn.more if turn is not None else not self._ahead:
            self._served = 0
            self._read(data)
        else:
            self._keep(data)

    # As a turn's line.

    def write(self, *pieces: bytes) -> None:
        if self.lost:
            return
        # Not by `writelines`, after which asyncio before 3.12.10 and 3.13.3 tells nobody to pause.
        for piece in pieces:
            self._transport.write(piece)

    async def drained(self) -> None:
        if self.paused and not self.lost:
            if self._drained is None or self._drained.done():
                self._drained = self._loop.create_future()
            await asyncio.shield(self._drained)
        if self.lost:
            raise BrokenPipeError("The client has left")

    def read_on(self, *, expected: bool) -> None:
        if expected:
            self.write(_GO_ON)
        held = self._held
        if held and len(self._ahead) <= AHEAD:
            self._release()
        if expected or held or not self.deadline:
            self._await_body()

    # As one of the server's connections.

    def wind_up(self) -> None:
        """Take no further request."""
        self.stays = False
        if self._turn is None:
            self._close()

    def give_way(self, now: float) -> None:
        """Close it if nothing has happened on it for a while."""
        idle = self._turn is None and self._reader.fresh and not self._owed
        if idle and self.deadline and self.deadline - now < self._server.limits.idle_seconds - 1:
            self.abort()
            self._server.gone(self)  # Its place is free now, not once the loop has closed it.

    def expire(self) -> None:
        """Close it: its time is over, unless what it is sent does go, if slowly."""
        if self.paused:
            backlog = self._transport.get_write_buffer_size()
            if backlog < self._backlog:
                self._backlog = backlog
                self.deadline = self._server.now + self._server.limits.stall_seconds
                return
            self.abort()
        elif self._turn is None and not self._lingers and (self._owed or not self._reader.fresh):
            self._refuse(408, "The request took too long to come")
        elif self._turn is not None and self._turn.more and not self._lingers:
            self._fail(BadRequest(408, "The body took too long to come"))
        else:
            self.abort()

    def abort(self) -> None:
        self.lost = True
        self._transport.abort()

    # Reading.

    def _keep(self, data: bytes | bytearray) -> None:
        """Keep what came too early; a client that goes on is not read from for a while."""
        self._ahead += data
        if len(self._ahead) > AHEAD:
            self._hold()

    def _hold(self) -> None:
        """Read nothing more for now."""
        if not (self._held or self.lost or self._transport.is_closing()):
            self._held = True
            self._transport.pause_reading()

    def _release(self) -> None:
        if self._held:
            self._held = False
            if not (self.lost or self._transport.is_closing()):
                self._transport.resume_reading()

    def _await_body(self) -> None:
        """What comes of a body that a turn is owed has as long as a short one has to be there."""
        self._came = 0
        turn = self._turn
        if turn is None or self.paused or self._lingers:
            return
        waits = turn.more and not self._held
        self.deadline = self._server.now + self._server.limits.body_seconds if waits else 0.0

    def _hand(self, turn: Turn, piece: bytes) -> None:
        """A piece of a body that is read by who wants it."""
        self._came += len(piece)
        if not turn.take(piece):
            self._hold()
            self._await_body()
        elif self._came >= AT_ONCE:
            self._await_body()

    def _read(self, data: bytes) -> None:
        """Take requests out of *data*, until one of them is not answered at once."""
        at, end = 0, len(data)
        reader = self._reader
        while at < end:
            turn = self._turn
            if self._lingers:
                self._lingers -= end - at
                if self._lingers <= 0:
                    self.abort()
                return
            if self.lost or self._transport.is_closing():
                return
            if turn is not None and not turn.more:
                self._keep(data[at:])
                return
            if self._owed:
                piece = data[at : at + self._owed]
                at += len(piece)
                self._owed -= len(piece)
                self._take(piece)
                continue
            if reader.fresh:
                if self._served >= IN_A_ROW:
                    self._keep(data[at:])
                    self._loop.call_soon(self._next)
                    return
                recalled = self._familiar.recall(data, at)
                if recalled is not None:
                    asked, at, length = recalled
                    if end - at >= length:
                        body = data[at : at + length]
                        at += length
                        self._start(asked, body)
                    else:
                        reader.recognise(asked)
                        self._await(length)
                    continue
                self.deadline = self._server.now + self._server.limits.head_seconds
                cut = data.find(HEAD_END, at)
                if cut >= 0:
                    cut += 4
                    head = data[at:cut]
                    at = cut
                    reader.feed(head)
                    self.stays = self.stays and reader.keeps
                    asked = reader.asked
                    if asked is not None and not reader.over and reader.wrong is None:
                        if self.stays and not self._body:
                            self._familiar.learn(head, asked)
                        length = asked.length
                        if (
                            length is not None
                            and end - at >= length
                            and length <= AT_ONCE
                            and not asked.expects
                        ):
                            # It is all here, as it mostly is.
                            reader.skip_body()
                            reader.renew()
                            body = data[at : at + length]
                            at += length
                            self._start(asked, body)
                            continue
                    self._advance()
                    continue
            piece = data[at : reader.boundary(data, at)]
            at += len(piece)
            reader.feed(piece)
            self.stays = self.stays and reader.keeps
            self._advance()

    def _advance(self) -> None:
        """Go on with what the reader has found."""
        reader, turn = self._reader, self._turn
        asked = reader.asked
        if reader.wrong is not None:
            self._fail(reader.wrong)
        elif turn is not None:
            if reader.over:
                reader.renew()
                self._end(turn)
        elif asked is None:
            if reader.over:
                reader.renew()
        elif reader.over:
            reader.renew()
            self._start(asked, self._whole_body())
        elif asked.length is not None:
            # As many bytes as it has said: those are not the parser's.
            reader.skip_body()
            self._expect(asked)
        else:
            self._start(asked, self._whole_body(), more=True)

    def _whole_body(self) -> bytes:
        """What was collected of a body."""
        body = bytes(self._body)
        self._body.clear()
        return body

    def _expect(self, asked: Asked) -> None:
        """Wait for a body of known length; long ones are read by who wants them."""
        length = asked.length or 0
        if length > AT_ONCE or asked.expects:
            self._owed = length
            self._start(asked, b"", more=True)
        else:
            self._await(length)

    def _await(self, length: int) -> None:
        """Wait for a short body, before anything begins."""
        self._owed = length
        self.deadline = self._server.now + self._server.limits.body_seconds

    def _end(self, turn: Turn) -> None:
        """The body is all there."""
        turn.end()
        self._await_body()

    def _take(self, piece: bytes) -> None:
        """A piece of a body of known length; nothing is owed any more with the last."""
        turn = self._turn
        if turn is None:
            self._body += piece
            asked = self._reader.asked
            if not self._owed and asked is not None:
                self._reader.renew()
                self._start(asked, self._whole_body())
            return
        self._hand(turn, piece)
        if not self._owed:
            self._reader.renew()
            self._end(turn)

    def _receive(self, piece: bytes) -> None:
        """A piece of a body that comes in chunks."""
        turn = self._turn
        if turn is None:
            self._body += piece
        else:
            self._hand(turn, piece)

    # Answering.

    def _start(self, asked: Asked, body: bytes, *, more: bool = False) -> None:
        """Answer a request; it may be over when this returns."""
        server = self._server
        turn = self._turn = Turn(self, asked, body, more=more)
        self.deadline = 0.0
        if more and not asked.expects:
            self._await_body()  # Who expects to be told to go on is not late before it was.
        self._served += 1
        work: Coroutine[Any, Any, None]
        if asked.head is not None and not more and server.endpoint is not None:
            work = server.endpoint.post(asked.head, asked.headers, asked.query, body, turn)
        else:
            name = self._transport.get_extra_info
            scope = asked.scope(server.secure, name("peername"), name("sockname"))
            work = server.app(scope, turn.receive, turn.send)
        task = eagerly(work, self._loop)
        if task.done():
            self._finish(turn, task)
            return
        self._task = task
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        turn, self._task = self._turn, None
        if turn is not None:
            self._finish(turn, task)
            self._next()

    def _finish(self, turn: Turn, task: asyncio.Task[None]) -> None:
        """*turn* is over: see to it that it was answered, and to what becomes of the connection."""
        error = None if task.cancelled() else task.exception()
        if error is not None and not (self.lost and isinstance(error, OSError)):
            log.error("%s %s failed", turn.asked.method, turn.asked.path, exc_info=error)
        self._turn = None
        if self.lost or turn.gone:
            return
        if not turn.begun:
            why = "The request was not answered"
            self._refuse(500, why, INTERNAL_ERROR, asked=turn.asked)
        elif not turn.done:
            self.abort()  # Half an answer, which must not be taken for a whole one.
        elif turn.more:
            self._linger()
        elif not self.stays:
            if self._ahead:
                self._linger()
            else:
                self._close()
        elif not self.paused:
            self.deadline = self._server.now + self._server.limits.idle_seconds

    def _next(self) -> None:
        """Go on with what came meanwhile."""
        self._served = 0
        if self.lost or self._turn is not None:
            return
        data = bytes(self._ahead)
        self._ahead.clear()
        if self._held:
            self._release()
        if data:
            self._read(data)

    def _fail(self, wrong: BadRequest) -> None:
        turn = self._turn
        if turn is not None:
            # Its body broke off in the middle: who waits for the rest is told that there is none.
            turn.leave()
            if turn.begun:
                if turn.done:
                    self._linger()
                else:
                    self.abort()
                return
        self._refuse(wrong.status, str(wrong), asked=turn.asked if turn is not None else None)

    def _refuse(
        self, status: int, why: str, code: int = INVALID_REQUEST, *, asked: Asked | None = None
    ) -> None:
        """Say what was wrong, and read nothing more."""
        body = Refusal(code, why, status=status).encode()
        headers = [JSON, (b"connection", b"close"), *self.stationery.fixed]
        length = b"content-length: %d\r\n\r\n" % len(body)
        wanted = asked.method != "HEAD" if asked is not None else not self._reader.only_head_wanted
        if not wanted:
            body = b""  # RFC 9110 § 9.3.2
        self.write(opening(status, headers) + self.stationery.date + length + body)
        self._linger()

    def _linger(self) -> None:
        """Close, once the client has had time to hear what it was told last."""
        self.stays = False
        self._lingers = LINGER_BYTES
        self._ahead.clear()
        self.deadline = self._server.now + LINGER
        if self.lost or self._transport.is_closing():
            return
        self._release()
        if self._transport.can_write_eof():
            try:
                self._transport.write_eof()
            except OSError:  # The client left in this moment.
                self.abort()
        else:
            self._close()

    def _close(self) -> None:
        self.stays = False
        self.deadline = self._server.now + self._server.limits.stall_seconds
        self._transport.close()
