"""Serve over stdio or HTTP, until the client leaves or Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Sequence
from typing import Final, Literal

from interlock.errors import ConfigError
from interlock.protocol.call import Service
from interlock.transport.duplex import serve
from interlock.transport.stdio import Claimed, StdioChannel, claim

PORT: Final = 8000
PATH: Final = "/mcp"
SSE_PATH: Final = "/sse"
"""Where clients of 2024 are served, if they are."""

SETTLED: Final = 1.0
"""Seconds after which start-up is over."""


def run(
    service: Service,
    transport: Literal["stdio", "http"] = "stdio",
    *,
    host: str = "127.0.0.1",
    port: int = PORT,
    path: str = PATH,
    hosts: Sequence[str] = (),
    origins: Sequence[str] = (),
    sse: bool = False,
    websocket: bool = False,
) -> None:
    """Serve until the client closes stdin, or over HTTP until SIGINT or SIGTERM.

    Over HTTP it listens on loopback unless told otherwise; *hosts* are further names that `Host`
    may have, *origins* web origins that may call. With *sse* clients that know only the transport
    of 2024 are served too, at `/sse`; with *websocket* WebSockets at *path*, which are outside the
    specification and need the extra `interlock[websocket]`. Stray prints go to stderr while it
    serves over stdio. Raises `ConfigError` if the address cannot be listened on.
    """
    if transport == "stdio":
        claimed = claim()
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(serve_stdio(service, claimed))
        return
    if transport != "http":
        raise ConfigError(f"{transport!r} is no transport: 'stdio' or 'http' is expected")
    # Kept out of programs that serve over stdio or not at all, with the web server beneath.
    from interlock.server.web import run_http

    run_http(
        service,
        host=host,
        port=port,
        path=path,
        hosts=hosts,
        origins=origins,
        sse_path=SSE_PATH if sse else None,
        websocket=websocket,
    )


async def serve_stdio(service: Service, claimed: Claimed) -> None:
    """Serve the program that started this one over its pipes, until it closes them."""
    await service.start()
    try:
        channel = await StdioChannel.open(claimed)
        gc.freeze()  # as it is: to look for garbage first would delay the first answer
        settling = asyncio.get_running_loop().call_later(SETTLED, _settle)
        try:
            await serve(service, channel)
        finally:
            settling.cancel()
    finally:
        await service.stop()


def _settle() -> None:
    """Let what start-up left be garbage, and what remains never be looked through again."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
