"""From a configuration to a running gateway, and how others on this machine find it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from interlock.gateway.control import control
from interlock.gateway.gateway import Gateway
from interlock.server.web import allowed_hosts, serve_http
from interlock.transport.http.asgi import App
from interlock.transport.http.plain import Receive, Scope, Send

PORT: Final = 4777
PATH: Final = "/mcp"
STATE: Final = Path(".interlock") / "gateway.json"
"""Where a running gateway leaves its address, below the folder it serves."""


class Running(Struct, frozen=True):
    """A gateway that runs. *control* is a secret: its URL is what gives the right to use it."""

    pid: int
    url: str
    control: str
    config: str
    started: float

    def __repr__(self) -> str:
        return f"Running(pid={self.pid}, url={self.url!r})"


class Doors:
    """The gateway's HTTP face: the endpoint for everyone, and the operator's beside it."""

    def __init__(self, endpoint: App, operator: App) -> None:
        self._endpoint = endpoint
        self._operator = operator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._endpoint
        if scope["type"] == "http" and scope["path"] == self._operator.path:
            app = self._operator
        await app(scope, receive, send)

    async def start(self) -> None:
        await self._endpoint.start()
        await self._operator.start()

    def close(self) -> None:
        self._endpoint.close()
        self._operator.close()

    async def stop(self) -> None:
        await asyncio.gather(self._endpoint.stop(), self._operator.stop())


async def serve_gateway(
    gateway: Gateway,
    folder: Path,
    *,
    host: str = "127.0.0.1",
    port: int = PORT,
    hosts: Sequence[str] = (),
    origins: Sequence[str] = (),
    config: str = "",
    ready: Callable[[Running], None] | None = None,
) -> None:
    """Serve *gateway* until SIGINT or SIGTERM; *ready* hears where once it listens.

    While it runs its address stands in `.interlock/gateway.json` below *folder*, readable by this
    user alone. Raises `ConfigError` if the address cannot be listened on.
    """
    names = allowed_hosts(host, hosts)
    operator_path = f"/control/{secrets.token_urlsafe(24)}"
    doors = Doors(
        App(gateway, path=PATH, hosts=names, origins=origins),
        App(control(gateway), path=operator_path),
    )
    state = folder / STATE
    shown = f"[{host}]" if ":" in host else host
    written: list[Running] = []

    def listening(port: int) -> None:
        running = Running(
            pid=os.getpid(),
            url=f"http://{shown}:{port}{PATH}",
            control=f"http://127.0.0.1:{port}{operator_path}",
            config=config,
            started=time.time(),
        )
        _write(state, running)
        written.append(running)
        if ready is not None:
            ready(running)

    try:
        await serve_http(doors, host, port, listening)
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


def _write(path: Path, running: Running) -> None:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    new = path.with_suffix(f".{os.getpid()}")
    new.unlink(missing_ok=True)
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(msgspec.json.encode(running))
    new.replace(path)
