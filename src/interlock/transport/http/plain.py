"""Responses in one piece that answer no call: refusals, bare statuses, what browsers are told.

Also the words of ASGI that every room here speaks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, Final, Protocol, TypeAlias
from urllib.parse import quote

from interlock.errors import INTERNAL_ERROR, INVALID_REQUEST
from interlock.protocol.gate import Denial
from interlock.protocol.ladder import Refusal
from interlock.transport.http.guards import Head
from interlock.transport.http.hardening import UNKEPT

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Header: TypeAlias = tuple[bytes, bytes]

JSON: Final[Header] = (b"content-type", b"application/json")
LAST: Final[list[Header]] = [(b"connection", b"close")]
"""Of a response after which nothing more is read."""


class Way(Protocol):
    """The way back to the client of one request, over whatever serves HTTP here."""

    def send(self, event: MutableMapping[str, Any], /) -> Awaitable[None]:
        """One ASGI event of a response that comes in parts. Raises `OSError` if the client left."""
        ...

    async def answer(self, headers: list[Header], body: bytes) -> None:
        """A whole answer in JSON, with *headers* besides its own. Raises as `send` does."""
        ...

    async def whole(self, status: int, headers: list[Header], body: bytes) -> None:
        """A whole response; its length is added to *headers*. Raises as `send` does."""
        ...

    def watch(self, leave: Callable[[], object]) -> None:
        """Call *leave* when the client leaves before it is answered. One watches at a time."""
        ...

    def unwatch(self) -> None: ...


class AsgiWay:
    """The way back through an ASGI server, which has handed over the whole body already."""

    __slots__ = ("_receive", "_send", "_watcher")

    def __init__(self, receive: Receive, send: Send) -> None:
        self._send = send
        self._receive = receive
        self._watcher: asyncio.Task[None] | None = None

    def send(self, event: MutableMapping[str, Any], /) -> Awaitable[None]:
        return self._send(event)

    async def answer(self, headers: list[Header], body: bytes) -> None:
        await self.whole(200, [*ANSWER, *headers], body)

    async def whole(self, status: int, headers: list[Header], body: bytes) -> None:
        headers = [*headers, length(body)] if body else headers
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})

    def watch(self, leave: Callable[[], object]) -> None:
        self._watcher = asyncio.create_task(left(self._receive, leave))

    def unwatch(self) -> None:
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            # Kept here it would lead back to the call by what it was cancelled with, and the call
            # stay for as long as nobody looks for circles.
            watcher.cancel()


async def left(receive: Receive, *leave: Callable[[], object]) -> None:
    """Wait until the client of a request, whose body was read, closes the connection; then *leave*."""
    while (await receive())["type"] != "http.disconnect":
        pass
    for callback in leave:
        callback()


ANSWER: Final[tuple[Header, ...]] = (JSON, UNKEPT)
"""What a response in one piece begins with."""
_EXPOSED: Final = b"Mcp-Session-Id, MCP-Protocol-Version, WWW-Authenticate"


async def refuse(
    send: Send,
    status: int,
    why: str,
    headers: Sequence[Header] = (),
    code: int = INVALID_REQUEST,
) -> None:
    await turn_away(send, Refusal(code, why, status=status), headers)


async def turn_away(send: Send, refusal: Refusal, headers: Sequence[Header]) -> None:
    body = refusal.encode()
    await whole(send, refusal.status, [JSON, length(body), UNKEPT, *headers], body)


async def deny(send: Send, denial: Denial, headers: Sequence[Header]) -> None:
    """Answer a request that the gate did not let in; what would be let in is in the headers."""
    code = INVALID_REQUEST if denial.status < 500 else INTERNAL_ERROR
    await refuse(send, denial.status, denial.reason, [*denial.headers, *headers], code)


async def bare(send: Send, status: int, headers: list[Header]) -> None:
    """A response that is its status and headers alone."""
    await whole(send, status, [UNKEPT, *headers], b"")


async def whole(send: Send, status: int, headers: list[Header], body: bytes) -> None:
    try:
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
    except OSError:
        pass  # The client is gone, and needs to know no more.


def length(body: bytes) -> Header:
    return b"content-length", b"%d" % len(body)


def cors(head: Head) -> list[Header]:
    """The headers of any response to a request; for a page of an allowed origin also those that let
    it read the response.
    """
    if head.origin is None:
        return head.fixed
    return [
        *head.fixed,
        (b"access-control-allow-origin", head.origin.encode("latin-1")),
        (b"access-control-expose-headers", _EXPOSED),
        (b"vary", b"Origin"),
    ]


def preflight(head: Head, methods: bytes) -> list[Header]:
    """What a browser asks before it lets a page of an allowed origin send anything."""
    if head.origin is None:
        return [*head.fixed, (b"allow", methods + b", OPTIONS")]
    return [
        *cors(head),
        (b"access-control-allow-methods", methods),
        (b"access-control-allow-headers", b"*, Authorization"),
        (b"access-control-max-age", b"600"),
    ]


def address(scope: Scope) -> str:
    """The path that was asked for, as the client wrote it: with what the app is mounted under."""
    path, root = scope["path"], scope.get("root_path", "").rstrip("/")
    if root and not path.startswith(root + "/"):
        path = root + path  # How servers of before ASGI 3.0 was clear about it hand it over.
    return quote(path)
