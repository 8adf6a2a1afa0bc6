"""Responses in one piece that answer no call: refusals, bare statuses, what browsers are told.

Also the words of ASGI that every room here speaks.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, Final, TypeAlias

from interlock.errors import INVALID_REQUEST
from interlock.protocol.ladder import Refusal
from interlock.transport.http.guards import Head

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Header: TypeAlias = tuple[bytes, bytes]

JSON: Final[Header] = (b"content-type", b"application/json")
LAST: Final[list[Header]] = [(b"connection", b"close")]
"""Of a response after which nothing more is read."""
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
    await whole(send, refusal.status, [JSON, length(body), *headers], body)


async def bare(send: Send, status: int, headers: list[Header]) -> None:
    """A response that is its status and headers alone."""
    await whole(send, status, headers, b"")


async def whole(send: Send, status: int, headers: list[Header], body: bytes) -> None:
    try:
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
    except OSError:
        pass  # The client is gone, and needs to know no more.


def length(body: bytes) -> Header:
    return b"content-length", b"%d" % len(body)


def cors(head: Head) -> list[Header]:
    """What lets a page of an allowed origin read a response; nothing for other clients."""
    if head.origin is None:
        return []
    return [
        (b"access-control-allow-origin", head.origin.encode("latin-1")),
        (b"access-control-expose-headers", _EXPOSED),
        (b"vary", b"Origin"),
    ]


def preflight(head: Head, methods: bytes) -> list[Header]:
    """What a browser asks before it lets a page of an allowed origin send anything."""
    if head.origin is None:
        return [(b"allow", methods + b", OPTIONS")]
    return [
        *cors(head),
        (b"access-control-allow-methods", methods),
        (b"access-control-allow-headers", b"*, Authorization"),
        (b"access-control-max-age", b"600"),
    ]
