"""What comes over one connection, as llhttp reads it: a head, and a body in chunks (RFC 9112).

A body of known length is counted off by whoever feeds this, and never comes here.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Final

import httptools

from interlock.transport.http.guards import Guards
from interlock.transport.http.heads import FIELDS, TARGET_LIMIT, Asked, BadRequest, judge
from interlock.transport.http.plain import Header

log: Final = logging.getLogger("interlock.http")

HEAD_END: Final = b"\r\n\r\n"

_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_BLANKS: Final = (b" ", b"\t")
_CHUNKS_FOLLOW: Final = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"


class Rules:
    """What every head at a server is held against.

    *path* is that of the endpoint, *guards* those that stand before it. A head may have up to
    *limit* bytes. *secure* is whether it comes over TLS.
    """

    __slots__ = ("guards", "limit", "path", "secure")

    def __init__(self, path: str, guards: Guards | None, limit: int, *, secure: bool) -> None:
        self.path = path
        self.guards = guards
        self.limit = limit
        self.secure = secure


class Reader:
    """Reads one request after another. *take* gets the pieces of a body that comes in chunks.

    Feed it up to `boundary` and look at what it has found; after each request `renew` it.
    """

    __slots__ = (
        "_fields",
        "_headed",
        "_parser",
        "_rules",
        "_tail",
        "_take",
        "_target",
        "asked",
        "fresh",
        "keeps",
        "over",
        "wrong",
    )

    def __init__(self, rules: Rules, take: Callable[[bytes], None]) -> None:
        self._rules = rules
        self._take = take
        self._parser = httptools.HttpRequestParser(self)
        self.keeps = True
        """Whether every client so far wanted the connection to be kept (RFC 9112 § 9.3)."""
        self.wrong: BadRequest | None = None
        """Why nothing more can be read."""
        self.fresh = True
        """Nothing of a request has come yet."""
        self.asked: Asked | None = None
        """What its head asks, once all of that has come."""
        self.over = False
        """All of it has come."""
        self._headed = 0
        self._tail = b""
        self._target = b""
        self._fields: list[Header] = []

    def renew(self) -> None:
        """Be ready for another request."""
        self.fresh = True
        self.asked = None
        self.over = False
        self._headed = 0
        self._tail = b""
        self._target = b""
        self._fields = []

    def recognise(self, asked: Asked) -> None:
        """Have read a head that was not fed."""
        self.fresh = False
        self.asked = asked

    def skip_body(self) -> None:
        """Let the body that the head told the length of be counted off elsewhere."""
        self._parser = httptools.HttpRequestParser(self)

    @property
    def only_head_wanted(self) -> bool:
        """Whether the answer has no body (RFC 9110 § 9.3.2), as far as can be told by now."""
        if self.asked is not None:
            return self.asked.method == "HEAD"
        return self._target != b"" and self._parser.get_method() == b"HEAD"

    def boundary(self, data: bytes, at: int) -> int:
        """Where what is fed next ends: behind the next empty line, as every message does.

        Nothing of a second one is fed with the first, however their bytes come.
        """
        tail = self._tail
        if tail:
            found = (tail + data[at : at + 3]).find(HEAD_END)
            if found >= 0:
                return at + found + 4 - len(tail)
        found = data.find(HEAD_END, at)
        return found + 4 if found >= 0 else len(data)

    def feed(self, piece: bytes) -> None:
        limit = self._rules.limit
        self.fresh = False
        # In a body it counts what is none of it since its last byte: chunk extensions, trailers.
        self._headed += len(piece)
        over = self._headed - limit
        whole = self.asked is not None or over <= 0
        self._tail = (self._tail + piece)[-3:]
        try:
            # What is too long is read as far as it may go: it may be wrong in a way that goes before.
            self._parser.feed_data(piece if whole else piece[:-over])
        except httptools.HttpParserUpgrade:
            self._leave_be()
        except httptools.HttpParserError as error:
            if self.wrong is None:
                self.wrong = _verdict(error, piece)
        if self.wrong is None and self._headed > limit and not self.over:
            what = "trailer or chunk's extension" if self.asked is not None else "head"
            self.wrong = BadRequest(431, f"A {what} of more than the {limit} bytes that are taken")

    def _leave_be(self) -> None:
        """Stay with HTTP/1.1 (RFC 9110 § 7.8), where the parser thinks that it ended with the head."""
        self._parser = httptools.HttpRequestParser(self)
        asked = self.asked
        if asked is not None and asked.length != 0:
            self.over = False
            if asked.length is None:
                self._parser.feed_data(_CHUNKS_FOLLOW)

    # What the parser tells.

    def on_url(self, url: bytes) -> None:
        if self.asked is not None:
            return
        self._target += url
        if len(self._target) > TARGET_LIMIT:
            self.wrong = BadRequest(414, f"The target has more than {TARGET_LIMIT} bytes")
            raise self.wrong

    def on_header(self, name: bytes, value: bytes | None) -> None:
        if self.asked is not None:
            return  # A trailer, of which none is asked for.
        if len(self._fields) >= FIELDS:
            self.wrong = BadRequest(431, f"More than {FIELDS} header fields")
            raise self.wrong
        if value is None:
            value = b""
        elif value[-1:] in _BLANKS:
            value = value.strip(b" \t")  # The parser has left out what stands before it only.
        self._fields.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if self.asked is not None:
            return
        parser, rules = self._parser, self._rules
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
                secure=rules.secure,
                ours=rules.path,
                guards=rules.guards,
            )
        except BadRequest as wrong:
            self.wrong = wrong
            raise
        self.keeps = self.keeps and keeps
        self.asked = asked
        self._headed = 0

    def on_body(self, data: bytes) -> None:
        self._headed = 0
        self._take(data)

    def on_message_complete(self) -> None:
        self.over = True


def _verdict(error: httptools.HttpParserError, piece: bytes) -> BadRequest:
    """What the parser's *error* is called over HTTP."""
    if isinstance(error, httptools.HttpParserCallbackError):
        log.error("a head could not be judged", exc_info=error)
        return BadRequest(500, "The head of the request could not be read")
    strange = isinstance(error, httptools.HttpParserInvalidMethodError)
    if strange and _TOKEN.match(piece.lstrip(b"\r\n")):
        return BadRequest(501, "The method is not known here (RFC 9110 § 9.1)")
    return BadRequest(400, f"Not HTTP/1.1: {error or type(error).__name__}")
