"""MCP over WebSocket, a server's side: one message a frame, under the subprotocol `mcp`.

No revision of the specification has this transport. Others speak it as well, and it carries both
directions where only HTTP passes; the messages are those of a pipe, in either era.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, Final, TypeAlias

from interlock.errors import ConnectionLost, InvalidMessage
from interlock.protocol.call import LOCAL, Principal, Service
from interlock.transport.channel import MESSAGE_LIMIT
from interlock.transport.duplex import serve
from interlock.transport.http.expiry import at_expiry
from interlock.transport.http.hardening import SAFE, UNKEPT
from interlock.transport.queued import QueuedChannel

SUBPROTOCOL: Final = "mcp"
CONNECTIONS: Final = 1000
"""How many WebSockets one `Sockets` serves at once; more are refused."""

Scope: TypeAlias = MutableMapping[str, Any]
Event: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Event]]
Send: TypeAlias = Callable[[Event], Awaitable[None]]


_GONE: Final = (OSError, RuntimeError)
"""What a server raises where nothing can be sent any more. The second, where it has closed the
connection by itself and we are still to hear of it."""


class Sockets:
    """Serves *service* to every WebSocket that an ASGI server hands over.

    Who may connect is decided before: Origin and Host above all, as any page in a browser can open
    a WebSocket to this machine. *limit* is for one message.
    """

    def __init__(self, service: Service, *, limit: int = MESSAGE_LIMIT) -> None:
        self._service = service
        self._limit = limit
        self._open: set[QueuedChannel] = set()
        self._count = 0
        self._closings = 0

    async def serve(
        self, scope: Scope, receive: Receive, send: Send, principal: Principal = LOCAL
    ) -> None:
        """Accept the connection of *principal* and serve it until its client is gone, its time is
        over, or `close`.
        """
        if self._count >= CONNECTIONS:
            await refuse(scope, send, 503, f"More than {CONNECTIONS} connections at once")
            return
        self._count += 1
        closings = self._closings
        try:
            channel = await accept(scope, receive, send, limit=self._limit)
            if channel is not None:
                if closings != self._closings:
                    channel.hang_up()  # All were ended while this one was accepted.
                await self._serve(channel, principal)
        finally:
            self._count -= 1

    def close(self) -> None:
        """End them all: what runs gets a moment to finish, and its answer is still sent."""
        self._closings += 1
        for channel in self._open:
            channel.hang_up()

    async def _serve(self, channel: QueuedChannel, principal: Principal) -> None:
        self._open.add(channel)
        expiry = at_expiry(principal, channel.hang_up)
        serving = asyncio.create_task(
            serve(self._service, channel, name=os.urandom(24).hex(), principal=principal),
            name="interlock websocket",
        )
        # A client that is gone can be answered nothing any more: its calls end at once.
        gone = asyncio.create_task(channel.wait_lost())
        try:
            await asyncio.wait([serving, gone], return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._open.discard(channel)
            if expiry is not None:
                expiry.cancel()
            for task in (serving, gone):
                task.cancel()
            await asyncio.wait([serving, gone])
            await channel.close()
        if not serving.cancelled():
            serving.result()


async def accept(
    scope: Scope, receive: Receive, send: Send, *, limit: int = MESSAGE_LIMIT
) -> QueuedChannel | None:
    """The channel of a connection that an ASGI server hands over, or None: it was refused."""
    offered: list[str] = scope.get("subprotocols") or []
    if offered and SUBPROTOCOL not in offered:
        await refuse(scope, send, 400, f"The subprotocol {SUBPROTOCOL!r} is expected")
        return None
    event = await receive()
    if event["type"] != "websocket.connect":
        return None
    answer: Event = {"type": "websocket.accept"}
    if offered:
        answer["subprotocol"] = SUBPROTOCOL
    try:
        await send(answer)
    except _GONE:
        return None
    return QueuedChannel(_AsgiLine(receive, send, limit), "the client")


async def refuse(
    scope: Scope,
    send: Send,
    status: int,
    why: str,
    more: Sequence[tuple[bytes, bytes]] = (),
) -> None:
    """Answer a WebSocket's opening request with an HTTP error, where the server lets us choose it."""
    try:
        if "websocket.http.response" not in scope.get("extensions", {}):
            await send({"type": "websocket.close", "code": 1008, "reason": why[:100]})
            return
        body = why.encode()
        own = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body)), UNKEPT]
        headers = [*own, *SAFE, *more]
        await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": body})
    except _GONE:
        pass  # The client is gone, and needs to know no more.


class _AsgiLine:
    def __init__(self, receive: Receive, send: Send, limit: int) -> None:
        self._receive = receive
        self._send = send
        self._limit = limit
        self._ended = False
        self._code = 1000

    async def read(self) -> bytes | None:
        event = await self._receive()
        if event["type"] == "websocket.disconnect":
            self._ended = True
            return None
        text: str | None = event.get("text")
        message: bytes = text.encode() if text is not None else event.get("bytes") or b""
        if len(message) > self._limit:
            self._code = 1009
            raise InvalidMessage(f"A message has {len(message)} bytes; {self._limit} are taken")
        return message

    async def write(self, message: bytes) -> None:
        try:
            await self._send({"type": "websocket.send", "text": message.decode()})
        except _GONE as error:
            raise ConnectionLost(f"The client is gone: {error}") from error

    async def end(self) -> None:
        if self._ended:
            return
        with contextlib.suppress(*_GONE):  # It may have gone first.
            await self._send({"type": "websocket.close", "code": self._code})
