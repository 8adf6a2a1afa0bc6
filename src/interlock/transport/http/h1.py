"""The MCP endpoint straight on an asyncio protocol with httptools: HTTP/1.1 (RFC 9112), one server.

A POST to the endpoint goes from its bytes to `App.post` with nothing in between. Everything else,
and every request whose body is long or does not come at once, is handed to the app as ASGI.

A connection that is kept says the same head again and again, but for the length of its body. One
that was read and let through is remembered, for as long as the connection lives; the same bytes are
then not read a second time.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Coroutine
from typing import Any, Final, Protocol, cast

import httptools
from msgspec import Struct

from interlock.errors import INTERNAL_ERROR, INVALID_REQUEST
from interlock.protocol.ladder import Refusal
from interlock.transport.eager import eagerly
from interlock.transport.http.asgi import App
from interlock.transport.http.hardening import SAFE
from interlock.transport.http.heads import FIELDS, TARGET_LIMIT, Asked, BadRequest, judge
from interlock.transport.http.plain import JSON, Header, Receive, Scope, Send
from interlock.transport.http.turn import AHEAD, Stationery, Turn, opening

log: Final = logging.getLogger("interlock.http")

AT_ONCE: Final = 64 * 1024
"""Up to this size a body is collected here, before anything begins with its request."""
REMEMBERED: Final = 4
"""How many heads a connection remembers."""
SHORT: Final = 2048
"""The longest head that is remembered, in bytes."""
IN_A_ROW: Final = 32
"""How many requests one connection is answered before others get their turn."""
LINGER: Final = 1.0
"""For how many seconds, and how many bytes, a client is still read from that was refused: it would
lose the refusal if the connection were gone before it had sent all it had to say."""
LINGER_BYTES: Final = 1024 * 1024

_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_BLANKS: Final = (b" ", b"\t")
_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]+)[ \t]*\r\n", re.IGNORECASE)
_DIGITS: Final = len(str(AT_ONCE))
_HEAD_END: Final = b"\r\n\r\n"
_CHUNKS_FOLLOW: Final = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
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
        self.at_once = min(AT_ONCE, endpoint.guards.body_limit) if endpoint is not None else 0
        """Up to this length a body is taken whose head was read before."""
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
        "_asked",
        "_backlog",
        "_body",
        "_came",
        "_drained",
        "_fields",
        "_fresh",
        "_headed",
        "_heads",
        "_held",
        "_lingers",
        "_loop",
        "_over",
        "_owed",
        "_parser",
        "_served",
        "_server",
        "_tail",
        "_target",
        "_task",
        "_transport",
        "_turn",
        "_wrong",
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
        self._parser = httptools.HttpRequestParser(self)
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
        # What is being read. Between two requests all of it is as it is here.
        self._fresh = True
        self._headed = 0
        self._tail = b""
        self._target = b""
        self._fields: list[Header] = []
        self._asked: Asked | None = None
        self._wrong: BadRequest | None = None
        self._over = False
        self._body = bytearray()
        self._owed = 0
        self._came = 0
        self._held = False
        # What came while a request was being answered.
        self._ahead = bytearray()
        self._served = 0
        self._heads: list[tuple[bytes, bytes, Asked]] = []
        """What stands before and behind the length in heads that were read, and what they ask."""
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
        idle = self._turn is None and self._fresh and not self._owed
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
        elif self._turn is None and not self._lingers and (self._owed or not self._fresh):
            self._refuse(408, "The request took too long to come", asked=self._asked)
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
            if self._fresh:
                if self._served >= IN_A_ROW:
                    self._keep(data[at:])
                    self._loop.call_soon(self._next)
                    return
                recalled = self._recall(data, at)
                if recalled is not None:
                    asked, at, length = recalled
                    if end - at >= length:
                        body = data[at : at + length]
                        at += length
                        self._start(asked, body)
                    else:
                        self._fresh = False
                        self._asked = asked
                        self._await(length)
                    continue
                cut = data.find(_HEAD_END, at)
                if cut >= 0:
                    cut += 4
                    head = data[at:cut]
                    at = cut
                    self._feed(head)
                    asked = self._asked
                    if asked is not None and not self._over and self._wrong is None:
                        self._learn(head, asked)
                        length = asked.length
                        if (
                            length is not None
                            and end - at >= length
                            and length <= AT_ONCE
                            and not asked.expects
                        ):
                            # It is all here, as it mostly is.
                            self._parser = httptools.HttpRequestParser(self)
                            self._forget()
                            body = data[at : at + length]
                            at += length
                            self._start(asked, body)
                            continue
                    self._advance()
                    continue
            piece = data[at : self._boundary(data, at)]
            at += len(piece)
            self._feed(piece)
            self._advance()

    def _boundary(self, data: bytes, at: int) -> int:
        """Where what is fed next ends: behind the next empty line, as every message does.

        Nothing of a second one is fed with the first, however their bytes come.
        """
        tail = self._tail
        if tail:
            found = (tail + data[at : at + 3]).find(_HEAD_END)
            if found >= 0:
                return at + found + 4 - len(tail)
        found = data.find(_HEAD_END, at)
        return found + 4 if found >= 0 else len(data)

    def _feed(self, piece: bytes) -> None:
        limit = self._server.limits.head_size
        if self._fresh:
            self._fresh = False
            self.deadline = self._server.now + self._server.limits.head_seconds
        # In a body it counts what is none of it since its last byte: chunk extensions, trailers.
        self._headed += len(piece)
        over = self._headed - limit
        whole = self._asked is not None or over <= 0
        self._tail = (self._tail + piece)[-3:]
        try:
            # What is too long is read as far as it may go: it may be wrong in a way that goes before.
            self._parser.feed_data(piece if whole else piece[:-over])
        except httptools.HttpParserUpgrade:
            self._leave_be()
        except httptools.HttpParserError as error:
            if self._wrong is None:
                self._wrong = self._verdict(error, piece)
        if self._wrong is None and self._headed > limit and not self._over:
            what = "trailer or chunk's extension" if self._asked is not None else "head"
            self._wrong = BadRequest(431, f"A {what} of more than the {limit} bytes that are taken")

    def _leave_be(self) -> None:
        """Stay with HTTP/1.1 (RFC 9110 § 7.8), where the parser thinks that it ended with the head."""
        self._parser = httptools.HttpRequestParser(self)
        asked = self._asked
        if asked is not None and asked.length != 0:
            self._over = False
            if asked.length is None:
                self._parser.feed_data(_CHUNKS_FOLLOW)

    def _verdict(self, error: httptools.HttpParserError, piece: bytes) -> BadRequest:
        """What the parser's *error* is called over HTTP."""
        if isinstance(error, httptools.HttpParserCallbackError):
            log.error("a head could not be judged", exc_info=error)
            return BadRequest(500, "The head of the request could not be read")
        strange = isinstance(error, httptools.HttpParserInvalidMethodError)
        if strange and _TOKEN.match(piece.lstrip(b"\r\n")):
            return BadRequest(501, "The method is not known here (RFC 9110 § 9.1)")
        return BadRequest(400, f"Not HTTP/1.1: {error or type(error).__name__}")

    def _recall(self, data: bytes, at: int) -> tuple[Asked, int, int] | None:
        """What a head asks that was read before, where its body begins, and how long that is.

        Everything but the length is the same to the byte; that is a number as the parser takes it.
        """
        for before, behind, asked in self._heads:
            if data.startswith(before, at):
                start = at + len(before)
                stop = data.find(b"\r", start, start + _DIGITS + 1)
                if data.startswith(behind, stop) and (digits := data[start:stop]).isdigit():
                    length = int(digits)
                    if length <= self._server.at_once:
                        return asked, stop + len(behind), length
        return None

    def _learn(self, head: bytes, asked: Asked) -> None:
        """Remember a head that a client of an endpoint will say again.

        It was fed to the parser alone, which found it to end where it was cut and its length to be
        that of a body: it ends there for every body.
        """
        if asked.head is None or not asked.length or asked.length > self._server.at_once:
            return  # What is longer is never asked for here, and would be learnt again and again.
        if len(head) > SHORT or asked.expects:
            return
        if self._body or not (asked.http11 and self.stays):
            return
        length = _LENGTH.search(head)
        if length is not None:
            known = self._heads
            if len(known) >= REMEMBERED:
                del known[0]
            known.append((head[: length.start(1)], head[length.end(1) :], asked))

    def _advance(self) -> None:
        """Go on with what the parser has found."""
        asked = self._asked
        if self._wrong is not None:
            self._fail(self._wrong)
        elif self._turn is not None:
            if self._over:
                self._forget()
                self._end(self._turn)
        elif asked is None:
            if self._over:
                self._forget()
        elif self._over:
            body = bytes(self._body)
            self._forget()
            self._start(asked, body)
        elif asked.length is not None:
            # From here on the parser is not needed: as many bytes as it has said.
            self._parser = httptools.HttpRequestParser(self)
            self._expect(asked)
        else:
            body = bytes(self._body)
            self._body.clear()
            self._start(asked, body, more=True)

    def _forget(self) -> None:
        """Be ready for another request."""
        self._fresh = True
        self._headed = 0
        self._tail = b""
        self._target = b""
        self._fields = []
        self._asked = None
        self._over = False
        self._body.clear()

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
            if not self._owed:
                asked, body = self._asked, bytes(self._body)
                self._forget()
                if asked is not None:
                    self._start(asked, body)
            return
        self._hand(turn, piece)
        if not self._owed:
            self._forget()
            self._end(turn)

    # What the parser tells.

    def on_url(self, url: bytes) -> None:
        if self._asked is not None:
            return
        self._target += url
        if len(self._target) > TARGET_LIMIT:
            self._wrong = BadRequest(414, f"The target has more than {TARGET_LIMIT} bytes")
            raise self._wrong

    def on_header(self, name: bytes, value: bytes | None) -> None:
        if self._asked is not None:
            return  # A trailer, of which none is asked for.
        if len(self._fields) >= FIELDS:
            self._wrong = BadRequest(431, f"More than {FIELDS} header fields")
            raise self._wrong
        if value is None:
            value = b""
        elif value[-1:] in _BLANKS:
            value = value.strip(b" \t")  # The parser has left out what stands before it only.
        self._fields.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if self._asked is not None:
            return
        parser, endpoint = self._parser, self._server.endpoint
        version = parser.get_http_version()
        keeps = bool(parser.should_keep_alive())
        try:
            if version not in ("1.0", "1.1"):
                raise BadRequest(505, f"HTTP/{version} is not spoken here; 1.1 is")
            asked = judge(
                parser.get_method().decode("latin-1"),
                self._target,
                self._fields,
                http11=version == "1.1",
                secure=self._server.secure,
                ours=endpoint.path if endpoint is not None else "",
                guards=endpoint.guards if endpoint is not None else None,
            )
        except BadRequest as wrong:
            self._wrong = wrong
            raise
        self.stays = self.stays and keeps
        self._asked = asked
        self._headed = 0

    def on_body(self, data: bytes) -> None:
        turn = self._turn
        self._headed = 0
        if turn is None:
            self._body += data
        else:
            self._hand(turn, data)

    def on_message_complete(self) -> None:
        self._over = True

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
        asked = turn.asked if turn is not None else self._asked
        self._refuse(wrong.status, str(wrong), asked=asked)

    def _refuse(
        self, status: int, why: str, code: int = INVALID_REQUEST, *, asked: Asked | None = None
    ) -> None:
        """Say what was wrong, and read nothing more."""
        body = Refusal(code, why, status=status).encode()
        headers = [JSON, (b"connection", b"close"), *self.stationery.fixed]
        length = b"content-length: %d\r\n\r\n" % len(body)
        if asked is not None:
            bare = asked.method == "HEAD"
        else:
            bare = self._target != b"" and self._parser.get_method() == b"HEAD"
        if bare:
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
