"""A service's life under an HTTP server, whether that runs lifespans or not."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final, Protocol

from interlock.transport.http.plain import Receive, Send

log: Final = logging.getLogger("interlock.http")


class Startable(Protocol):
    """What is started and stopped: a service, perhaps with what stands before it."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


class Lifespan:
    """Starts *service* once, for whoever comes first, and stops it. *ends* is called at each close."""

    def __init__(self, service: Startable, ends: Callable[[], None]) -> None:
        self.ready = False
        self._service = service
        self._ends = ends
        self._starting: asyncio.Task[None] | None = None
        self._closed = False

    async def start(self) -> None:
        """Start the service, once. Raises what starting it raised; the next try starts anew."""
        self._closed = False
        if self._starting is None:
            # In a task of its own: whoever asked first may leave before it is done.
            self._starting = asyncio.create_task(self._start(), name="interlock service start")
        await asyncio.shield(self._starting)
        self.ready = not self._closed

    def close(self) -> None:
        """Serve nothing from here on."""
        self._closed = True
        self.ready = False
        self._ends()

    async def stop(self) -> None:
        """Close, and stop the service if it was started."""
        self.close()
        starting, self._starting = self._starting, None
        if starting is not None:
            await asyncio.wait([starting])
            if not starting.cancelled() and starting.exception() is None:
                await self._service.stop()

    async def begin(self) -> str | None:
        """Start the service if nobody has; why it cannot serve, if it cannot."""
        if not self._closed:
            try:
                await self.start()
            except Exception:
                # The boundary: why it did not start is for its operator, who reads the log.
                log.exception("the service did not start")
                return "The server could not start"
        return "The server is stopping" if self._closed else None

    async def serve(self, receive: Receive, send: Send) -> None:
        """Start and stop when the HTTP server says so."""
        while True:
            event = await receive()
            starting = event["type"] == "lifespan.startup"
            name = "startup" if starting else "shutdown"
            try:
                await (self.start() if starting else self.stop())
            except Exception as error:
                # The boundary: an HTTP server wants to be told, not raised at.
                log.exception("the service failed at %s", name)
                await send({"type": f"lifespan.{name}.failed", "message": str(error)})
                return
            await send({"type": f"lifespan.{name}.complete"})
            if not starting:
                return

    async def _start(self) -> None:
        try:
            await self._service.start()
        except BaseException:
            self._starting = None
            raise
