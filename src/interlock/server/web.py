"""Serve over HTTP, under uvloop: by a server of our own, or by uvicorn where that is asked for.

Either way streams end before anybody waits for connections to.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import importlib.util
import os
import signal
import socket
import ssl
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Protocol, TypeAlias

from msgspec import structs

from interlock.errors import ConfigError
from interlock.protocol.call import Service
from interlock.server.seat import Seat
from interlock.transport.http.asgi import App
from interlock.transport.http.guards import BODY_LIMIT, LOOPBACK
from interlock.transport.http.h1 import H1, Connection, Limits
from interlock.transport.http.plain import Receive, Scope, Send
from interlock.transport.http.sessions import Sessions

if sys.platform != "win32":
    import resource

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
    server: HttpServer = "h1",
    at: At | None = None,
    seat: Seat | None = None,
) -> None:
    """Serve *service* until SIGINT or SIGTERM: what `run` does over HTTP; see `serve_http`.

    With a *seat* it is one worker of those that `lead` started.
    """
    app = App(
        service,
        path=path,
        hosts=allowed_hosts(host, hosts),
        origins=origins,
        sessions=shared_sessions(seat),
        sse_path=sse_path,
        websocket=websocket,
    )
    serving = partial(serve_http, app, host, port, websocket=websocket, server=server)
    if seat is None:
        run_in_fast_loop(serving(ready, at=at))
        return
    name = service.info.name
    run_in_fast_loop(seated(seat, lambda at: serving(lambda _: seat.serves(name), at=at), at))


def shared_sessions(seat: Seat | None) -> Sessions | None:
    """Where the workers of a crew find one another's legacy sessions; None for one by itself."""
    if seat is None:
        return None
    return Sessions(table=seat.store.table("sessions"), bus=seat.store.bus)


async def seated(
    seat: Seat, serving: Callable[[At], Coroutine[Any, Any, None]], at: At | None
) -> None:
    """Serve as one of a crew, until it ends or is told to."""
    seat.watch()
    await seat.store.open()
    try:
        await serving((at or At())._replace(listener=seat.listener()))
    finally:
        await seat.store.close()
        seat.leave()


def lead(
    workers: int,
    host: str,
    port: int,
    at: At | None = None,
    ready: Callable[[int, str], None] | None = None,
) -> None:
    """Run this program once more as each of so many workers, until SIGINT or SIGTERM.

    Every worker comes to where this was called, and there has a seat. *ready* is called with the
    port, 0 at a Unix socket, and the name of what is served, once the first serves. Raises
    `ConfigError` if the address cannot be listened on, or if no worker can start.
    """
    if sys.platform == "win32":
        raise ConfigError(
            "Windows has no way to share a port as workers must: workers=1 is expected"
        )
    if threading.current_thread() is not threading.main_thread():
        raise ConfigError("workers= hears of signals, and has to be run in the main thread")
    from interlock.server.crew import Crew, again  # for crews alone

    again()
    at = at or At()
    at.context()  # What is wrong with a certificate is said once.
    listeners = _listen_shared(host, port, at, workers)
    try:
        port = 0 if at.unix is not None else listeners[0].getsockname()[1]
        Crew(listeners, lambda name: ready(port, name) if ready is not None else None).run()
    finally:
        for listener in listeners:
            listener.close()
        if at.unix is not None:
            at.unix.unlink(missing_ok=True)


class HttpApp(Protocol):
    """An ASGI application that `serve_http` can run: `transport.http.asgi.App` is one."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...

    async def start(self) -> None: ...

    def close(self) -> None:
        """End what is open, so that connections come to an end."""
        ...

    async def stop(self) -> None: ...


HttpServer: TypeAlias = Literal["h1", "uvicorn"]
"""What speaks HTTP: a server of our own, or uvicorn."""


class At(NamedTuple):
    """Where else than at a plain TCP port to listen: with TLS, or at a Unix socket.

    *certificate* and *key* are PEM files, the first with its whole chain; *key* may be in it too.
    *listener* is a socket that listens already, for somebody else as well.
    """

    certificate: Path | None = None
    key: Path | None = None
    unix: Path | None = None
    listener: socket.socket | None = None

    def context(self) -> ssl.SSLContext | None:
        if self.certificate is None:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(self.certificate, self.key)
        except OSError as error:  # `ssl.SSLError` is one.
            raise ConfigError(
                f"{self.certificate} is no certificate to serve with: {error.strerror or error}"
            ) from None
        return context


def placed(
    certificate: str | os.PathLike[str] | None,
    key: str | os.PathLike[str] | None,
    unix: str | os.PathLike[str] | None,
) -> At:
    """Where paths say that are written as users write them."""
    return At(
        Path(certificate) if certificate is not None else None,
        Path(key) if key is not None else None,
        Path(unix) if unix is not None else None,
    )


async def serve_http(
    app: HttpApp,
    host: str,
    port: int,
    ready: Callable[[int], None] | None = None,
    *,
    websocket: bool = False,
    server: HttpServer = "h1",
    at: At | None = None,
    limits: Limits | None = None,
) -> None:
    """Serve *app* until SIGINT or SIGTERM; *ready* is called with the port, 0 at a Unix socket.

    Streams end before connections are waited for, so that no open one delays the end. Port 0 takes
    a free one. With *websocket* the app is handed WebSockets too, and uvicorn serves it. An app that
    is an `App`, or has one as its `endpoint`, gets POSTs to that by a shorter way. Raises
    `ConfigError` if the address cannot be listened on.
    """
    at = at or At()
    context = at.context()
    shared = at.listener is not None
    listener = at.listener or _listening(host, port, at)
    leaving = asyncio.Event()

    def leave() -> None:
        app.close()
        leaving.set()

    def listening() -> None:
        gc.collect()
        gc.freeze()
        if ready is not None:
            ready(0 if at.unix is not None else listener.getsockname()[1])

    try:
        with _signals(leave):
            await app.start()
            if server == "uvicorn" or websocket:
                await _by_uvicorn(app, listener, listening, leaving, at, websocket=websocket)
            else:
                await _by_ourselves(app, listener, listening, leaving, context, limits)
    finally:
        listener.close()
        if at.unix is not None and not shared:
            at.unix.unlink(missing_ok=True)
        await app.stop()


@contextlib.asynccontextmanager
async def served_nearby(app: HttpApp) -> AsyncGenerator[int]:
    """Serve *app* without TLS at a loopback port of its own while inside; the port.

    Whoever has it starts and stops it.
    """
    listener = _listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    leaving, listening = asyncio.Event(), asyncio.Event()
    serving = asyncio.create_task(_by_ourselves(app, listener, listening.set, leaving, None, None))
    try:
        await listening.wait()
        yield port
    finally:
        leaving.set()
        await serving


def fitting(limits: Limits) -> Limits:
    """*limits* with no more connections than three in four of the files this process may have open.

    The others are for whatever it serves with. So the idle give way before none can be accepted.
    """
    if sys.platform == "win32":
        return limits
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return limits
    return structs.replace(limits, connections=min(limits.connections, max(1, files * 3 // 4)))


async def _by_ourselves(
    app: HttpApp,
    listener: socket.socket,
    listening: Callable[[], None],
    leaving: asyncio.Event,
    context: ssl.SSLContext | None,
    limits: Limits | None,
) -> None:
    endpoint = app if isinstance(app, App) else getattr(app, "endpoint", None)
    h1 = H1(app, endpoint, fitting(limits or Limits()), secure=context is not None)
    loop = asyncio.get_running_loop()
    unix = listener.family not in (socket.AF_INET, socket.AF_INET6)
    create = loop.create_unix_server if unix else loop.create_server
    served = await create(
        lambda: Connection(h1),
        sock=listener,
        ssl=context,
        # Until its end a handshake is no connection yet, and bounded by nothing else.
        ssl_handshake_timeout=h1.limits.head_seconds if context is not None else None,
        backlog=_BACKLOG,
    )
    try:
        h1.start()
        listening()
        await leaving.wait()
    finally:
        served.close()
        h1.close()
        # Who is cancelled does not wait: what is open ends now.
        cancelled = not leaving.is_set()
        await h1.drain(0 if cancelled else LEAVE_SECONDS)


async def _by_uvicorn(
    app: HttpApp,
    listener: socket.socket,
    listening: Callable[[], None],
    leaving: asyncio.Event,
    at: At,
    *,
    websocket: bool,
) -> None:
    import uvicorn  # kept out of programs that only look at this one's parts

    if websocket and importlib.util.find_spec("websockets") is None:
        raise ConfigError(
            "WebSockets are served with a library of their own: pip install 'interlock[websocket]'"
        )

    class Server(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Generator[None, None, None]:
            yield  # Signals are taken before, where streams can be ended first.

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            listening()

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
            ssl_certfile=at.certificate,
            ssl_keyfile=at.key,
        )
    )

    async def told() -> None:
        await leaving.wait()
        server.should_exit = True

    telling = asyncio.create_task(told())
    try:
        await server.serve(sockets=[listener])
    finally:
        telling.cancel()
        # If this was cancelled they are still served; the loop would go on to look at a descriptor
        # that is somebody else's soon.
        for served in getattr(server, "servers", ()):
            served.close()


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


def _listening(host: str, port: int, at: At) -> socket.socket:
    return _listen_at(at.unix) if at.unix is not None else _listen(host, port)


def _listen_shared(host: str, port: int, at: At, count: int) -> list[socket.socket]:
    """Sockets for so many processes: each its own, between which Linux divides connections, or one
    that all take from.
    """
    if at.unix is not None or sys.platform != "linux":
        return [_listening(host, port, at)] * count
    # Only this way of listening is refused where another crew listens already.
    with _listen(host, port) as first:
        port = first.getsockname()[1]
    return [_listen(host, port, shared=True) for _ in range(count)]


def _listen(host: str, port: int, *, shared: bool = False) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Said to be TCP, or asyncio's own loop leaves Nagle's algorithm on: 40 ms an answer.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
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


def _listen_at(path: Path) -> socket.socket:
    """A Unix socket that its owner alone may connect to. One whose server is gone is replaced."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with contextlib.suppress(ConnectionRefusedError, FileNotFoundError):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
                other.connect(str(path))
            raise ConfigError(f"Something else listens at {path}; choose another, or stop it")
        if path.is_socket():
            path.unlink()
        mask = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(mask)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigError(f"Cannot listen at {path}: {error.strerror or error}") from None
    except ConfigError:
        listener.close()
        raise
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
