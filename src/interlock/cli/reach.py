"""The way from a command to the servers: by the gateway that runs here, or straight to them."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Final, TypeVar

import click
import msgspec
from msgspec import Struct

from interlock.cli.command import Body
from interlock.cli.problem import NOTHING, USAGE, Problem, meant
from interlock.cli.terminal import safe, say, styled
from interlock.client.client import Client
from interlock.errors import ConfigError, PeerError, RpcError
from interlock.gateway.config import FILE_NAME, Config, load
from interlock.gateway.gateway import Gateway, OnEvent
from interlock.gateway.names import SEPARATOR, prefix
from interlock.gateway.run import Running, find_running
from interlock.gateway.upstream import Status

T = TypeVar("T")

START_SECONDS: Final = 60.0
"""How long servers may take to start: some are downloaded first."""
KNOCK_SECONDS: Final = 2.0


class Reached(Struct):
    """Servers under their public names, behind one client."""

    client: Client
    statuses: list[Status]

    def expect(self, server: str) -> None:
        """Nothing if *server* runs, else the `Problem` that it does not."""
        for one in self.statuses:
            if one.name == server and one.state != "running":
                raise not_running(one)


def config_option(function: Body) -> Body:
    return click.option(
        "--config",
        "path",
        type=click.Path(path_type=Path),
        default=Path(FILE_NAME),
        help=f"The file that names the servers.  [{FILE_NAME}]",
    )(function)


def configured(path: Path) -> Config:
    """What the file says; a `Problem` if it cannot be used."""
    try:
        return load(path, os.environ)
    except ConfigError as error:
        raise Problem(str(error), code=NOTHING) from None


def known(config: Config, name: str) -> None:
    """Nothing if *name* is a server that can be used, else the `Problem` that it is none."""
    if name in config.servers:
        return
    for note in config.notes:
        if note.server == name:
            raise Problem(f"The server {name!r} is not in use.", str(note), code=NOTHING)
    raise Problem(
        f"There is no server {name!r} in {config.path}.", meant(name, config.servers), code=USAGE
    )


def address(typed: str, config: Config) -> tuple[str, str]:
    """Server and name in `SERVER.NAME`, or in the `server__name` that hosts show."""
    for joint, heads in (
        (".", {name: name for name in config.servers}),
        (SEPARATOR, {prefix(name): name for name in config.servers}),
    ):
        # The longest first: names of servers may hold dots.
        for head in sorted(heads, key=len, reverse=True):
            if typed.startswith(head + joint) and len(typed) > len(head + joint):
                return heads[head], typed.removeprefix(head + joint)
    server, dot, name = typed.partition(".")
    if dot and name:
        known(config, server)
    if typed in config.servers:
        raise Problem(
            f"{typed!r} is a server; what of it is meant? SERVER.NAME is expected.",
            f"Try: interlock list {typed}",
            code=USAGE,
        )
    raise Problem(
        f"{typed!r} is not of the form SERVER.NAME.",
        f"Servers in {config.path}: {', '.join(config.servers) or 'none'}",
        code=USAGE,
    )


async def running(config: Config) -> Running | None:
    """The gateway that serves this configuration, if it runs and answers."""
    found = find_running(config.path.resolve().parent)
    if found is None or found.config != str(config.path.resolve()):
        return None
    # Its file names a process; only an answer says that it is still that gateway.
    try:
        async with Client(found.control, connect_timeout=KNOCK_SECONDS):
            return found
    except (PeerError, RpcError):
        return None


@contextlib.asynccontextmanager
async def reach(config: Config, *servers: str) -> AsyncGenerator[Reached]:
    """A client to *servers*: through the gateway if one runs, else to just these, started now.

    Without *servers* it is all that are configured. A server that was started here and does not run
    is a `Problem` if it was asked for by name; one behind a gateway may yet come back.
    """
    some(config)
    gateway = await running(config)
    if gateway is not None:
        statuses = await status(gateway)
        async with Client(gateway.commands or gateway.url) as client:
            yield Reached(client, statuses)
        return
    direct = directly(config, *servers)
    async with Client(direct) as client:
        await direct.settled(START_SECONDS)
        reached = Reached(client, direct.status())
        for server in servers:
            reached.expect(server)
        yield reached


def some(config: Config) -> None:
    """Nothing if there is a server to use, else the `Problem` that there is none."""
    if not config.servers:
        raise Problem(
            f"{config.path} names no server that can be used.",
            *(map(str, config.notes) if config.notes else ["Its mcpServers are empty."]),
            code=NOTHING,
        )


def directly(config: Config, *servers: str) -> Gateway:
    """A gateway in this process to just *servers*, or to all; not started yet."""
    chosen = {name: config.servers[name] for name in servers} or config.servers
    return Gateway(msgspec.structs.replace(config, servers=chosen), on_event=_progress())


async def status(gateway: Running) -> list[Status]:
    """How the servers of a running gateway are."""
    async with Client(gateway.control) as client:
        result = await client.call_tool("status")
        if result.is_error:
            raise Problem(result.text)
        return msgspec.convert(result.structured["result"], list[Status])


async def restarted(config: Config | None, server: str, person: str = "") -> bool:
    """Have the gateway that runs here, if one does, begin with a *person*'s *server* anew; whether one
    does.
    """
    gateway = await running(config) if config is not None else None
    if gateway is None:
        return False
    async with Client(gateway.control) as client:
        # That it does not come up is told by `interlock list`, and may be what was wanted.
        await client.call_tool("restart", {"server_name": server, "person": person})
    return True


def not_running(one: Status) -> Problem:
    """That a server does not run, why, and its last words."""
    told = one.error or "It has not said why."
    state = "did not start" if one.revision is None else f"does not run ({one.state})"
    return Problem(
        f"The server {one.name!r} {state}.",
        *told.removeprefix(f"server {one.name!r} ").splitlines(),
        # The error of a program that exited ends with these lines already.
        *(f"stderr: {line}" for line in one.stderr[-3:] if line not in told),
        f"It is started as: {one.where}",
    )


def _progress() -> OnEvent | None:
    """Says on a terminal what is waited for: each server once when it starts, once when it runs."""
    if not sys.stderr.isatty():
        return None
    heard: set[str] = set()

    def happened(server: str, what: str, detail: str) -> None:
        words = {"starting": f"starting {server} …", "running": f"{server} runs"}
        line = words.get(what)
        if line is not None and line not in heard:
            heard.add(line)
            say(styled(safe(line), "dim"))

    return happened
