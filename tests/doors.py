"""What tests put before a service: a real HTTP server, a gateway; and a door for old clients only."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from interlock.errors import METHOD_NOT_FOUND, RpcError
from interlock.gateway.config import load
from interlock.gateway.gateway import Gateway
from interlock.protocol.call import Call, Handler, Service
from interlock.server.web import serve_http
from interlock.transport.http.asgi import App
from interlock.wire.meta import Result

ERAS = ("modern", "legacy")
ROOT = str(Path(__file__).parent.parent)
"""What a program of the tests needs in PYTHONPATH to import from them."""


def only_legacy(handle: Handler) -> Handler:
    """A server that knows no `server/discover`, as those before 2026-07-28 do not."""

    def refuse(call: Call) -> Awaitable[Result]:
        if call.envelope.revision.modern:
            raise RpcError(METHOD_NOT_FOUND, f"Method not found: {call.method}")
        return handle(call)

    return refuse


@asynccontextmanager
async def over_http(service: Service, **options: Any) -> AsyncGenerator[str]:
    """*service* behind a real HTTP server, with the options of an `App`; its URL."""
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    app = App(service, **options)
    serving = asyncio.create_task(
        serve_http(app, "127.0.0.1", 0, port.set_result, websocket=options.get("websocket", False))
    )
    await asyncio.wait([serving, port], return_when=asyncio.FIRST_COMPLETED)
    try:
        yield f"http://127.0.0.1:{port.result()}/mcp"
    finally:
        app.close()
        serving.cancel()
        await asyncio.wait([serving])


@asynccontextmanager
async def gateway_over(
    folder: Path, servers: dict[str, Any], heard: Callable[[str, str, str], None] | None = None
) -> AsyncGenerator[Gateway]:
    """A gateway before *servers*, each of which runs or has failed to."""
    path = folder / ".mcp.json"
    path.write_text(json.dumps({"mcpServers": servers}))
    gateway = Gateway(load(path, os.environ), on_event=heard)
    await gateway.start()
    try:
        await gateway.settled(20)
        yield gateway
    finally:
        await gateway.stop()
