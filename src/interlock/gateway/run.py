"""From a configuration to a running gateway, and how others on this machine find it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from interlock.gateway.control import control
from interlock.gateway.gateway import Gateway
from interlock.protocol.gate import Gate
from interlock.server.seat import Seat
from interlock.server.web import (
    At,
    HttpApp,
    HttpServer,
    allowed_hosts,
    seated,
    serve_http,
    served_nearby,
    shared_sessions,
)
from interlock.transport.http.asgi import App
from interlock.transport.http.plain import Receive, Scope, Send

PORT: Final = 4777
PATH: Final = "/mcp"
STATE: Final = Path(".interlock") / "gateway.json"
"""Where a running gateway leaves its address, below the folder it serves."""
_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104  recognised, never chosen
"""How what listens at every address is reached from this machine."""


class Running(Struct, frozen=True):
    """A gateway that runs. *control* is a secret: its URL is what gives the right to use it.

    So is *commands*, where this user's own commands reach what it serves.
    """

    pid: int
    url: str
    control: str
    config: str
    started: float
    commands: str = ""

    def __repr__(self) -> str:
        return f"Running(pid={self.pid}, url={self.url!r})"


class Doors:
    """The gateway's HTTP face: the endpoint for everyone, the operator's, and what stands beside.

    *beside* are further apps by what their paths begin with; the longest that fits decides, and the
    endpoint's own paths are never theirs. The operator's door is found by its secret address alone.
    """

    def __init__(
        self, endpoint: App, operator: App, beside: Mapping[str, HttpApp] | None = None
    ) -> None:
        self.endpoint = endpoint
        self._operator = operator
        longest_first = sorted((beside or {}).items(), key=lambda each: -len(each[0]))
        self._beside = [(prefix.rstrip("/"), app) for prefix, app in longest_first]
        # One may stand at several paths.
        self._all: list[HttpApp] = [endpoint, operator]
        self._all += {id(app): app for _, app in longest_first}.values()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app: HttpApp = self.endpoint
        if scope["type"] == "http" and scope["path"] != self.endpoint.path:
            app = self._at(scope["path"])
        await app(scope, receive, send)

    async def start(self) -> None:
        for app in self._all:
            await app.start()

    def close(self) -> None:
        for app in self._all:
            app.close()

    async def stop(self) -> None:
        await asyncio.gather(*(app.stop() for app in self._all))

    def _at(self, path: str) -> HttpApp:
        if path == self._operator.path:
            return self._operator
        gate = self.endpoint.gate
        if _lies_in(path, self.endpoint.path) or (gate is not None and path in gate.documents):
            return self.endpoint
        found = (app for prefix, app in self._beside if _lies_in(path, prefix))
        return next(found, self.endpoint)


async def serve_gateway(
    gateway: Gateway,
    folder: Path,
    *,
    host: str = "127.0.0.1",
    port: int = PORT,
    hosts: Sequence[str] = (),
    origins: Sequence[str] = (),
    gate: Gate | None = None,
    beside: Mapping[str, HttpApp] | None = None,
    config: str = "",
    ready: Callable[[Running], None] | None = None,
    server: HttpServer = "h1",
    at: At | None = None,
    seat: Seat | None = None,
) -> None:
    """Serve *gateway* until SIGINT or SIGTERM; *ready* hears where once it listens.

    *gate* says who may come in; without one everybody may who reaches the port. *beside* are other
    apps served at the same port, by what their paths begin with: an authorization server of one's
    own stands at its own path and at that of its metadata.
    With a certificate in *at*, or a *seat*, this user's own commands have a port to themselves on this
    machine. With a *seat* it is one of several processes that serve the endpoint: each has a gateway
    of its own, whose servers are its own too. The first is the one that commands reach.

    While it runs its address stands in `.interlock/gateway.json` below *folder*, readable by this
    user alone. Raises `ConfigError` if the address cannot be listened on.
    """
    at = at or At()
    names = allowed_hosts(host, hosts)
    nearby = at.certificate is not None or seat is not None
    operator_path = f"/control/{secrets.token_urlsafe(24)}"
    commands_path = PATH
    doors_beside = dict(beside or {})
    operator = App(control(gateway), path=operator_path, hosts=names)
    endpoint = App(
        gateway,
        path=PATH,
        hosts=names,
        origins=origins,
        gate=gate,
        sessions=shared_sessions(seat),
    )
    commands = endpoint
    if gate is not None or nearby:
        # Whoever runs the gateway need not log in to it: its commands have a door as secret.
        commands_path = f"{operator_path}{PATH}"
        commands = App(gateway, path=commands_path, hosts=names)
        doors_beside[commands_path] = commands
    doors = Doors(endpoint, operator, doors_beside)
    state = folder / STATE
    shown = f"[{host}]" if ":" in host else host
    scheme = "https" if at.certificate is not None else "http"
    near = f"http://{_EVERYWHERE.get(host, shown)}"
    written: list[Running] = []

    async def serve(at: At) -> None:
        async with contextlib.AsyncExitStack() as stack:
            own: int | None = None
            if nearby:
                own = await stack.enter_async_context(served_nearby(Doors(commands, operator)))

            def listening(port: int) -> None:
                by_commands = f"{near}:{port}" if own is None else f"http://127.0.0.1:{own}"
                running = Running(
                    pid=os.getpid() if seat is None else seat.crew,
                    url=f"{scheme}://{shown}:{port}{PATH}",
                    control=f"{by_commands}{operator_path}",
                    config=config,
                    started=time.time(),
                    commands=f"{by_commands}{commands_path}",
                )
                if seat is not None:
                    seat.serves(gateway.info.name)
                if seat is None or seat.number == 0:
                    _write(state, running)
                    written.append(running)
                    if ready is not None:
                        ready(running)

            await serve_http(doors, host, port, listening, server=server, at=at)

    try:
        await (serve(at) if seat is None else seated(seat, serve, at))
    finally:
        if written and find_running(folder) == written[0]:
            with contextlib.suppress(OSError):
                state.unlink()


def find_running(folder: Path) -> Running | None:
    """The gateway that runs for *folder*, if one does.

    One that was killed leaves its file behind; it is told by its process, and may be overwritten.
    """
    try:
        running = msgspec.json.decode((folder / STATE).read_bytes(), type=Running)
        os.kill(running.pid, 0)
    except (OSError, msgspec.DecodeError, ValueError):
        return None
    return running


def _lies_in(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith(prefix + "/")


def _write(path: Path, running: Running) -> None:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    new = path.with_suffix(f".{os.getpid()}")
    new.unlink(missing_ok=True)
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(msgspec.json.encode(running))
    new.replace(path)
