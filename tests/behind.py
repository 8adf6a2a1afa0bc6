"""An endpoint behind each of the HTTP servers that it is tried on: our own and two of others.

python -m tests.behind uvicorn tests/conformance/server.py:server --port 8000
"""

from __future__ import annotations

import argparse
import asyncio
import signal

import hypercorn.asyncio
import hypercorn.config

from interlock.cli.load import load
from interlock.server.web import HttpApp, run_in_fast_loop, serve_http
from interlock.transport.http.asgi import App

SERVERS = ("h1", "uvicorn", "hypercorn")


async def serve(app: HttpApp, by: str, port: int, leave: asyncio.Event | None = None) -> None:
    """Serve *app* at a port of the loopback until SIGINT or SIGTERM, or until *leave* is set."""
    if by == "hypercorn":
        await _by_hypercorn(app, port, leave)
    else:
        await serve_http(app, "127.0.0.1", port, server="uvicorn" if by == "uvicorn" else "h1")


async def _by_hypercorn(app: HttpApp, port: int, leave: asyncio.Event | None) -> None:
    leave = leave or asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, leave.set)
    config = hypercorn.config.Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.graceful_timeout = 1.0
    config.errorlog = None

    async def left() -> None:
        await leave.wait()
        app.close()  # Streams end only with it.

    try:
        await hypercorn.asyncio.serve(app, config, shutdown_trigger=left)  # type: ignore[arg-type]
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve a server of ours behind an HTTP server.")
    parser.add_argument("by", choices=SERVERS)
    parser.add_argument("target", help="FILE:OBJECT")
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    run_in_fast_loop(serve(App(load(options.target)), options.by, options.port))


if __name__ == "__main__":
    main()
