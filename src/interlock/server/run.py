"""Serve over stdio or HTTP, until the client leaves or Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
from collections.abc import Sequence
from typing import Final, Literal

from interlock.errors import ConfigError
from interlock.protocol.call import Service
from interlock.server.seat import seat
from interlock.transport.awake import awake_loop
from interlock.transport.duplex import serve
from interlock.transport.stdio import Claimed, StdioChannel, claim

PORT: Final = 8000
PATH: Final = "/mcp"
SSE_PATH: Final = "/sse"
"""Where clients of 2024 are served, if they are."""
NO_SSE: Final = (
    "Clients of 2024 speak to the one process that has their stream: serve them with one worker"
)

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
    server: Literal["h1", "uvicorn"] = "h1",
    certificate: str | os.PathLike[str] | None = None,
    key: str | os.PathLike[str] | None = None,
    unix: str | os.PathLike[str] | None = None,
    workers: int = 1,
) -> None:
    """Serve until the client closes stdin, or over HTTP until SIGINT or SIGTERM.

    Over HTTP it listens on loopback unless told otherwise; *hosts* are further names that `Host`
    may have, *origins* web origins that may call. With *sse* clients that know only the transport
    of 2024 are served too, at `/sse`; with *websocket* WebSockets at *path*, which are outside the
    specification and need the extra `interlock[websocket]`. Stray prints go to stderr while it
    serves over stdio. Raises `ConfigError` if the address cannot be listened on.

    *server* is what speaks HTTP: our own, or uvicorn, which serves WebSockets in any case. With a
    *certificate*, a PEM file with its whole chain and perhaps its *key*, it serves TLS. *unix* is the
    path of a socket to listen at instead of a port, for this user alone.

    With *workers* this program is run again as each of so many processes, which share the port:
    all that it does before it comes here is done in each, and this process only watches them. A
    `Server` without a store of its own keeps its tasks where all of them find them.
    """
    if workers < 1:
        raise ConfigError(f"{workers} workers cannot serve: workers=1 or more is expected")
    if transport == "stdio":
        if workers > 1:
            raise ConfigError("Over stdio one process serves one client: workers= is for HTTP")
        claimed = claim()
        with (
            contextlib.suppress(KeyboardInterrupt),
            asyncio.Runner(loop_factory=awake_loop) as runner,
        ):
            runner.run(serve_stdio(service, claimed))
        return
    if transport != "http":
        raise ConfigError(f"{transport!r} is no transport: 'stdio' or 'http' is expected")
    # Kept out of programs that serve over stdio or not at all, with the web server beneath.
    from interlock.server.web import lead, placed, run_http

    if sse and workers > 1:
        raise ConfigError(NO_SSE)
    at = placed(certificate, key, unix)
    mine = seat() if workers > 1 else None
    if workers > 1 and mine is None:
        lead(workers, host, port, at)
        return
    run_http(
        service,
        host=host,
        port=port,
        path=path,
        hosts=hosts,
        origins=origins,
        sse_path=SSE_PATH if sse else None,
        websocket=websocket,
        server=server,
        at=at,
        seat=mine,
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
