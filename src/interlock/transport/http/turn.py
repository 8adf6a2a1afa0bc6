"""One request over HTTP/1.1 and its response: the way back that `App.post` takes, and ASGI's.

A response is written at once where all of it is there, else piece by piece: framed by its length, in
chunks, or for HTTP/1.0 by the end of the connection (RFC 9112 § 6).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, MutableMapping
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Final, Protocol

from interlock.transport.http.heads import Asked
from interlock.transport.http.plain import ANSWER, Header

AHEAD: Final = 64 * 1024
"""How much of a body is kept that nobody has asked for yet; then its sender waits."""

_REASONS: Final = {status.value: status.phrase.encode() for status in HTTPStatus}
_EMPTY: Final = frozenset((204, 304))
"""Statuses that have neither a body nor a length."""
_JOINED: Final = 64 * 1024
"""Up to this size a body is joined to its head, so that both go out in one write."""


class Line(Protocol):
    """The connection that a request came by, as its turn sees it."""

    stationery: Stationery
    stays: bool
    """Whether the connection is kept for another request after this one."""
    paused: bool
    """Whether the client reads more slowly than it is written to."""

    def write(self, *pieces: bytes) -> None: ...

    async def drained(self) -> None:
        """Wait until more may be written. Raises `OSError` if the client leaves before."""
        ...

    def read_on(self, *, expected: bool) -> None:
        """More of the body is wanted; *expected* if the client waits to be told so."""
        ...


class Stationery:
    """What responses begin with, made once a second and not with each: it holds the date.

    *fixed* are the headers that an answer of the endpoint has besides its own.
    """

    def __init__(self, fixed: list[Header]) -> None:
        self.fixed = fixed
        self.date = b""
        self.answer = b""
        self.renew()

    def renew(self) -> None:
        """Tell the date anew."""
        self.date = b"date: %b\r\n" % formatdate(time.time(), usegmt=True).encode()
        answer = opening(200, [*ANSWER, *self.fixed])
        self.answer = b"%b%bcontent-length: " % (answer, self.date)


def opening(status: int, headers: list[Header]) -> bytes:
    """The status line and *headers*, without the empty line. Raises `ValueError` at a line break."""
    lines = [b"HTTP/1.1 %d %b" % (status, _REASONS.get(status, b""))]
    lines += [b"%b: %b" % header for header in headers]
    joined = b"\r\n".join(lines)
    if joined.count(b"\n") != len(headers) or joined.count(b"\r") != len(headers):
        raise ValueError(f"a header with a line break in it: {headers!r}")
    return joined + b"\r\n"


class Turn:
    """One request on *line*, and the way its response goes.

    *body* is as much of the request's as has come, *more* whether more is to.
    """

    __slots__ = (
        "_body",
        "_chunked",
        "_delivered",
        "_expects",
        "_headers",
        "_leave",
        "_line",
        "_news",
        "_owed",
        "_status",
        "asked",
        "begun",
        "done",
        "gone",
        "more",
    )

    def __init__(self, line: Line, asked: Asked, body: bytes, *, more: bool = False) -> None:
        self.asked = asked
        self.more = more
        self.begun = False
        """Whether anything of the response has gone out."""
        self.done = False
        """Whether all of it has."""
        self.gone = False
        """Whether nobody is there to be answered any more."""
        self._line = line
        self._body: bytes | bytearray = body
        self._expects = asked.expects and more
        self._delivered = False
        self._leave: Callable[[], object] | None = None
        self._news: asyncio.Future[None] | None = None

    # What comes.

    async def receive(self) -> MutableMapping[str, Any]:
        """The next part of the body; behind its end, that the client has left, once it has."""
        line = self._line
        while not self._delivered:
            if self.gone:
                return {"type": "http.disconnect"}
            if self._body or not self.more:
                piece, self._body = bytes(self._body), b""
                self._delivered = not self.more
                line.read_on(expected=False)
                return {"type": "http.request", "body": piece, "more_body": self.more}
            line.read_on(expected=self._expects)
            self._expects = False
            await self._hear()
        while not (self.gone or self.done):
            await self._hear()
        return {"type": "http.disconnect"}

    def take(self, piece: bytes) -> bool:
        """A further part of the body; false if no more should be read until it is asked for."""
        if not isinstance(self._body, bytearray):
            self._body = bytearray(self._body)
        self._body += piece
        self._wake()
        return len(self._body) < AHEAD

    def end(self) -> None:
        """The body is all there."""
        self.more = False
        self._wake()

    def leave(self) -> None:
        """The client is gone."""
        self.gone = True
        self._wake()
        if self._leave is not None:
            self._leave()

    def watch(self, leave: Callable[[], object]) -> None:
        self._leave = leave
        if self.gone:
            asyncio.get_running_loop().call_soon(leave)

    def unwatch(self) -> None:
        self._leave = None

    async def _hear(self) -> None:
        self._news = asyncio.get_running_loop().create_future()
        try:
            await self._news
        finally:
            self._news = None

    def _wake(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    # What goes.

    async def answer(self, headers: list[Header], body: bytes) -> None:
        line, stationery = self._line, self._line.stationery
        if headers is not stationery.fixed or not line.stays or not self.asked.http11:
            await self.whole(200, [*ANSWER, *headers], body)
            return
        self.begun = self.done = True
        size = len(body)
        if size <= _JOINED:
            line.write(b"%b%d\r\n\r\n%b" % (stationery.answer, size, body))
        else:
            line.write(b"%b%d\r\n\r\n" % (stationery.answer, size), body)
        if line.paused:
            await line.drained()

    async def whole(self, status: int, headers: list[Header], body: bytes) -> None:
        self.begun = self.done = True
        line = self._line
        head = self._opening(status, headers)
        if status not in _EMPTY:
            head += b"content-length: %d\r\n" % len(body)
        if self.asked.method == "HEAD":
            body = b""
        if len(body) <= _JOINED:
            line.write(head + b"\r\n" + body)
        else:
            line.write(head + b"\r\n", body)
        if line.paused:
            await line.drained()

    async def send(self, event: MutableMapping[str, Any], /) -> None:
        line = self._line
        if self.gone:
            raise BrokenPipeError("The client has left")
        if event["type"] == "http.response.start":
            self._status: int = event["status"]
            self._headers: list[Header] = [*event.get("headers", ())]
            return
        if event["type"] != "http.response.body":
            raise ValueError(f"{event['type']} is no part of a response over HTTP/1.1")
        body: bytes = event.get("body", b"")
        more: bool = event.get("more_body", False)
        if self.done:
            return
        if not self.begun:
            self._begin(body, more)
        else:
            self._go_on(body, more)
        if not more:
            self._wake()
        if line.paused:
            await line.drained()

    def _begin(self, body: bytes, more: bool) -> None:
        """The head, which waited for what comes first: what its framing is may depend on that."""
        status, line = self._status, self._line
        bodiless = self.asked.method == "HEAD" or status in _EMPTY
        # How a body is framed is said here alone.
        headers = [each for each in self._headers if each[0].lower() != b"transfer-encoding"]
        lengths = [value for name, value in headers if name.lower() == b"content-length"]
        self.begun = True
        self.done = not more
        self._chunked = False
        self._owed: int | None = None
        if lengths:
            self._owed = int(lengths[0])
        elif bodiless:
            pass  # What would be its length is not known (RFC 9110 § 8.6).
        elif not more:
            headers.append((b"content-length", b"%d" % len(body)))
        elif more and self.asked.http11:
            self._chunked = True
            headers.append((b"transfer-encoding", b"chunked"))
        elif more:
            line.stays = False  # Where it ends is all that tells HTTP/1.0 how long it was.
        head = self._opening(status, headers) + b"\r\n"
        if bodiless:
            line.write(head)
            self._chunked, self._owed = False, 0
            return
        line.write(head + self._framed(body, more))

    def _go_on(self, body: bytes, more: bool) -> None:
        self.done = not more
        piece = self._framed(body, more)
        if piece:
            self._line.write(piece)

    def _framed(self, body: bytes, more: bool) -> bytes:
        if self._chunked:
            piece = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            return piece if more else piece + b"0\r\n\r\n"
        if self._owed is not None:
            if len(body) > self._owed:
                body = body[: self._owed]
            self._owed -= len(body)
            if self._owed and not more:
                self._line.stays = False  # The next response would be taken for the rest of this.
        return body

    def _opening(self, status: int, headers: list[Header]) -> bytes:
        line = self._line
        self._expects = False  # What is answered is not told to go on.
        if self.more or (b"connection", b"close") in headers:
            line.stays = False  # A body that is still to come would have to be read first.
        headers = [header for header in headers if header[0] != b"connection"]
        if not line.stays:
            headers.append((b"connection", b"close"))
        elif not self.asked.http11:
            headers.append((b"connection", b"keep-alive"))
        return opening(status, headers) + line.stationery.date
