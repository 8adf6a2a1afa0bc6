"""MCP over WebSocket, a client's side; outside the specification, as `websocket` says."""

from __future__ import annotations

from collections.abc import Mapping

from interlock.transport.channel import MESSAGE_LIMIT
from interlock.transport.http.engine import AiohttpEngine, Request
from interlock.transport.queued import Line, QueuedChannel
from interlock.transport.websocket import SUBPROTOCOL


async def open_websocket(url: str, headers: Mapping[str, str] | None = None) -> QueuedChannel:
    """Connect to a `ws://` or `wss://` URL.

    Raises `ConnectFailed` if nothing is there, `HttpError` if it opens no WebSocket.
    """
    engine = AiohttpEngine()
    request = Request("GET", url, headers or {})
    try:
        line = await engine.open_socket(request, SUBPROTOCOL, MESSAGE_LIMIT)
    except BaseException:
        await engine.close()
        raise
    return QueuedChannel(_OwnLine(line, engine), url)


class _OwnLine:
    """A line that takes its engine with it."""

    def __init__(self, line: Line, engine: AiohttpEngine) -> None:
        self.read = line.read
        self.write = line.write
        self._line = line
        self._engine = engine

    async def end(self) -> None:
        try:
            await self._line.end()
        finally:
            await self._engine.close()
