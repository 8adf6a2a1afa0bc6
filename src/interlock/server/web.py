"""Serve over HTTP: uvicorn under uvloop, with streams that end before it waits for connections."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import importlib.util
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Generator, Sequence
from typing import Any, Final, Protocol

from interlock.errors import ConfigError
from interlock.protocol.call import Service
from interlock.transport.http.asgi import App
from interlock.transport.http.guards import BODY_LIMIT, LOOPBACK
from interlock.transport.http.plain import Receive, Scope, Send

LEAVE_SECONDS: Final = 1
"""How long open HTTP requests get once the server is told to stop."""
_BACKLOG: Final = 2048
_EVERYWHERE: Final = ("0.0.0.0", "::")  # noqa: S104  recognised, never chosen


def run_http(
    service: Service,
    *,
    host: str,
    port: int,
    path: str,
    hosts: Sequence[str],
    origins: Sequence[str],
    sse_path: str | None,
    websocket: bool,
    ready: Callable[[int], None] | None = None,
) -> None:
    """Serve *service* until SIGINT or SIGTERM: what `run` does over HTTP; see `serve_http`."""
    app = App(
        service,
        path=path,
        hosts=allowed_hosts(host, hosts),
        origins=origins,
        sse_path=sse_path,
        websocket=websocket,
    )
    run_in_fast_loop(serve_http(app, host, port, ready, websocket=websocket))


class HttpApp(Protocol):
    """An ASGI application that `serve_http` can run: `transport.http.asgi.App` is one."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...

    async def start(self) -> None: ...

    def close(self) -> None:
        """End what is open, so that connections come to an end."""
        ...

    async def stop(self) -> None: ...


async def serve_http(
    app: HttpApp,
    host: str,
    port: int,
    ready: Callable[[int], None] | None = None,
    *,
    websocket: bool = False,
) -> None:
    """Serve *app* with uvicorn until SIGINT or SIGTERM; *ready* is called with the port.

    Streams end before uvicorn waits for connections to, so that no open one delays the end. Port
    0 takes a free one. With *websocket* the app is handed WebSockets too. Raises `ConfigError` if
    the address cannot be listened on.
    """
    import uvicorn  # kept out of programs that only look at this one's parts

    if websocket and importlib.util.find_spec("websockets") is None:
        raise ConfigError(
            "WebSockets are served with a library of their own: pip install 'interlock[websocket]'"
        )

    class Server(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Generator[None, None, None]:
            yield  # Signals are taken below, where streams can be ended first.

    listener = _listen(host, port)
    server = Server(
        uvicorn.Config(
            app,  # type: ignore[arg-type]  ASGI by structure
            http="httptools",
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="websockets-sansio" if websocket else "none",
            ws_max_size=BODY_LIMIT,
            ws_per_message_deflate=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=LEAVE_SECONDS,
        )
    )

    def leave() -> None:
        app.close()
        server.should_exit = True

    try:
        with _signals(leave):
            await app.start()
            gc.collect()
            gc.freeze()
            if ready is not None:
                ready(listener.getsockname()[1])
            await server.serve(sockets=[listener])
    finally:
        # If this was cancelled they are still served; the loop would go on to look at a descriptor
        # that is somebody else's soon.
        for served in getattr(server, "servers", ()):
            served.close()
        listener.close()
        await app.stop()


def run_in_fast_loop(main: Coroutine[Any, Any, None]) -> None:
    """Run *main* under uvloop where there is one; Ctrl-C is an end, not an error."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if sys.platform != "win32":
        import uvloop  # for HTTP only; pipes are as fast without it

        factory = uvloop.new_event_loop
    with contextlib.suppress(KeyboardInterrupt), asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main)


def allowed_hosts(host: str, hosts: Sequence[str]) -> Sequence[str]:
    """The names `Host` may have when listening on *host*: loopback's, its own, and *hosts*."""
    own = () if host in (*_EVERYWHERE, "127.0.0.1", "::1", "localhost") else (host,)
    return (*LOOPBACK, *own, *hosts)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Said to be TCP, or asyncio's own loop leaves Nagle's algorithm on: 40 ms an answer.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"Something else listens on {host}:{port}; choose another with --port, or stop it"
            ) from None
        raise ConfigError(f"Cannot listen on {host}:{port}: {error.strerror or error}") from None
    listener.setblocking(False)
    return listener


@contextlib.contextmanager
def _signals(leave: Callable[[], None]) -> Generator[None, None, None]:
    """Call *leave* on SIGINT and SIGTERM while inside."""
    loop = asyncio.get_running_loop()
    taken = (signal.SIGINT, signal.SIGTERM)
    try:
        for number in taken:
            loop.add_signal_handler(number, leave)
    except (NotImplementedError, RuntimeError, ValueError):
        # Windows has none, and a thread that is not the main one may not; Ctrl-C raises there.
        yield
        return
    try:
        yield
    finally:
        for number in taken:
            loop.remove_signal_handler(number)
