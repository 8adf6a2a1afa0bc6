"""`interlock up`: the gateway, in the foreground."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.live import Live

from interlock.auth.metadata import is_loopback
from interlock.cli.command import Command, common, json_output, serving
from interlock.cli.problem import NOTHING, Problem
from interlock.cli.reach import START_SECONDS, config_option, configured, running, some
from interlock.cli.story import clock, event
from interlock.cli.table import console, servers
from interlock.cli.terminal import put, safe
from interlock.errors import ConfigError
from interlock.gateway.config import Config
from interlock.gateway.gateway import Gateway
from interlock.gateway.inbound import Inbound, by_issuer, by_our_issuer
from interlock.gateway.run import PATH, PORT, Running, serve_gateway
from interlock.gateway.supervisor import State
from interlock.gateway.upstream import Status
from interlock.server.seat import Seat, seat
from interlock.server.web import At, HttpServer, lead, run_in_fast_loop


@click.command(
    "up",
    cls=Command,
    help="""Start the servers that are configured for this folder, keep them running, and serve all
that they offer behind one endpoint, until Ctrl-C.

A server that ends is started again; one that cannot start does not hurt the others. While it runs,
the other commands in this folder go through it.

With --auth local whoever uses the endpoint has to be let in by you first, in a browser, with the
sign-in code that is printed; what they have been given is kept over restarts. With --auth URL the
tokens of that authorization server are what lets in, and each person has logins of their own to the
servers behind. The other commands in this folder need neither.

With --workers N so many processes share the port, and one that dies is replaced. Each starts every
server for itself, so that what a server keeps in memory is known to one of them alone: use it for
servers that answer each call by itself, or that are reached at a URL. What is shown, and what the
other commands reach, are the first one's servers.

--json prints a line of JSON for each thing that happens, among them "listening" with the endpoint,
and "ready" with all servers once each runs or has failed.""",
    examples=(
        ("interlock up", "Serve .mcp.json at http://127.0.0.1:4777/mcp."),
        ("interlock up --config team.json --port 4778", "Another file, another port."),
        ("interlock up --auth local", "Let in only what you allow, in a browser."),
    ),
)
@config_option
@click.option("--host", default="127.0.0.1", help="The address to listen on.  [127.0.0.1]")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    default=PORT,
    help=f"The port to listen on; 0 takes a free one.  [{PORT}]",
)
@click.option(
    "--auth",
    metavar="WHO",
    help="Who may come in: `local`, or the URL of an authorization server.  [everybody]",
)
@click.option(
    "--scope", "scopes", multiple=True, help="With --auth URL, a scope tokens need; repeatable."
)
@click.option(
    "--url",
    help="The URL that clients reach it at, if that is another than it listens on.",
)
@serving()
@json_output
@common
def command(
    path: Path,
    host: str,
    port: int,
    auth: str | None,
    scopes: tuple[str, ...],
    url: str | None,
    server: HttpServer | None,
    certificate: Path | None,
    key: Path | None,
    workers: int | None,
    as_json: bool,
) -> None:
    if key is not None and certificate is None:
        raise click.UsageError("--key is a certificate's: give --certificate too.")
    if auth is not None and (workers or 1) > 1:
        raise click.UsageError("--auth needs one process that knows who came in: not --workers.")
    if auth is None and (url or scopes):
        raise click.UsageError("--url and --scope are for --auth; add it to say who may come in.")
    if auth == "local" and scopes:
        raise click.UsageError("--scope is for the tokens of others; --auth local has its own.")
    if auth is not None and port == 0 and url is None:
        raise click.UsageError("--auth needs to know the endpoint's URL: give --port, or --url.")
    config = configured(path)
    some(config)
    at = At(certificate, key)
    workers = workers or 1
    mine = seat() if workers > 1 else None
    if workers > 1 and mine is None:
        asyncio.run(alone(config))
        lead(workers, host, port, at)
        return
    run_in_fast_loop(
        up(
            config,
            host,
            port,
            auth,
            scopes,
            url,
            as_json=as_json,
            server=server or "h1",
            at=at,
            seat=mine,
        )
    )


async def alone(config: Config) -> None:
    """Raise the `Problem` that a gateway runs for this folder, if one does."""
    already = await running(config)
    if already is not None:
        raise Problem(
            f"A gateway already runs for this folder: {already.url} (process {already.pid}).",
            "Use that one, or end it first: Ctrl-C where it runs.",
            code=NOTHING,
        )


async def up(
    config: Config,
    host: str,
    port: int,
    auth: str | None = None,
    scopes: tuple[str, ...] = (),
    url: str | None = None,
    *,
    as_json: bool = False,
    server: HttpServer = "h1",
    at: At | None = None,
    seat: Seat | None = None,
) -> None:
    """Serve *config* until SIGINT or SIGTERM, and print how it goes."""
    if seat is None:
        await alone(config)
    inbound: Inbound | None = None
    if auth is not None:
        secure = "s" if at is not None and at.certificate is not None else ""
        reached = url or f"http{secure}://{f'[{host}]' if ':' in host else host}:{port}{PATH}"
        inbound = await _inbound(auth, reached, scopes, told=url is not None)
    board = _JsonBoard(inbound) if as_json else _Board(config, inbound)
    happened = board.happened if seat is None or seat.number == 0 else None
    gateway = Gateway(config, on_event=happened, owner=inbound.owner if inbound else None)
    announcing: list[asyncio.Task[None]] = []

    def ready(running: Running) -> None:
        announcing.append(asyncio.create_task(board.announce(gateway, running)))

    try:
        await serve_gateway(
            gateway,
            config.path.resolve().parent,
            host=host,
            port=port,
            gate=inbound.gate if inbound else None,
            beside=inbound.beside if inbound else None,
            config=str(config.path.resolve()),
            ready=ready,
            server=server,
            at=at,
            seat=seat,
        )
    except OSError as error:
        raise Problem(
            f"{error.filename or config.path.parent} cannot be written: {error.strerror}.",
            "A running gateway leaves its address there, for the other commands to find it.",
            code=NOTHING,
        ) from None
    finally:
        for task in announcing:
            task.cancel()
        board.close()


async def _inbound(auth: str, url: str, scopes: tuple[str, ...], *, told: bool) -> Inbound:
    """Who may come in at *url*, which is what it listens at unless somebody *told* another."""
    try:
        if auth == "local":
            return await by_our_issuer(url, os.environ)
        return by_issuer(auth, url, scopes)
    except ConfigError as error:
        hints: list[str] = []
        if not told and not is_loopback(url):  # Which is never what is wrong with it.
            hints.append("If clients reach it at another URL, say which: --url https://…")
        raise Problem(str(error), *hints, code=NOTHING) from None


class _Board:
    """For a person: a table that fills as servers start, then a line for each event."""

    def __init__(self, config: Config, inbound: Inbound | None = None) -> None:
        self._config = config
        self._inbound = inbound
        self._console = console()
        self._gateway: Gateway | None = None
        self._live: Live | None = None
        self._settled = False
        self._last: dict[str, str] = {}
        """What was last said of each server: the same again is no news."""

    async def announce(self, gateway: Gateway, running: Running) -> None:
        self._gateway = gateway
        _put(f"Listening at {running.url}")
        if self._inbound is not None:
            _put(f"Lets in whoever has a token of {safe(self._inbound.issuer)}")
            if self._inbound.person is not None:
                _put(f"Sign-in code: {self._inbound.person.code}")
        _put("")
        # Only a terminal can have its lines replaced; elsewhere the table comes once, when it is full.
        if sys.stdout.isatty():
            self._live = Live(console=self._console, auto_refresh=False)
            self._live.start()
            self._refresh()
        statuses = await _settled(gateway)
        if statuses is None:
            return
        if self._live is None:
            with self._console.capture() as printed:
                self._console.print(servers(statuses, self._config))
            _put(printed.get().removesuffix("\n"))
        self.close()
        url = safe(self._inbound.url) if self._inbound is not None else running.url
        _put(f"\nEndpoint: {url}")
        _put(f"To use it: claude mcp add --transport http interlock {url}")
        _put("Ctrl-C ends it.\n")
        self._settled = True

    def happened(self, server: str, what: str, detail: str) -> None:
        line = event(server, what, detail)
        if line is not None:
            news = self._last.get(server) != line
            self._last[server] = line
            if news and self._settled:
                _put(f"{clock(time.time())}  {line}")
        if not self._settled:
            self._refresh()

    def close(self) -> None:
        live, self._live = self._live, None
        if live is not None and self._gateway is not None:
            live.update(servers(self._gateway.status(), self._config), refresh=True)
            live.stop()

    def _refresh(self) -> None:
        if self._live is not None and self._gateway is not None:
            self._live.update(servers(self._gateway.status(), self._config), refresh=True)


class _JsonBoard:
    """For a program: a line of JSON for each thing that happens."""

    def __init__(self, inbound: Inbound | None = None) -> None:
        self._inbound = inbound

    async def announce(self, gateway: Gateway, running: Running) -> None:
        more: dict[str, Any] = {}
        if self._inbound is not None:
            more["issuer"] = self._inbound.issuer
            if self._inbound.person is not None:
                more["code"] = self._inbound.person.code
        self._tell(event="listening", url=running.url, pid=running.pid, **more)
        statuses = await _settled(gateway)
        if statuses is not None:
            self._tell(event="ready", servers=msgspec.to_builtins(statuses))

    def happened(self, server: str, what: str, detail: str) -> None:
        self._tell(event=what, server=server, detail=detail)

    def close(self) -> None:
        pass

    def _tell(self, **fields: Any) -> None:
        _put(json.dumps({"time": time.time(), **fields}, ensure_ascii=False))


async def _settled(gateway: Gateway) -> list[Status] | None:
    """How the servers are once each has started or failed; None if they were stopped before."""
    await gateway.settled(START_SECONDS)
    statuses = gateway.status()
    return None if any(one.state == State.STOPPED for one in statuses) else statuses


def _put(text: str) -> None:
    """A line on stdout; once nobody reads it any more, the gateway serves on in silence."""
    try:
        put(text)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
