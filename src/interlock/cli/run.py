"""`interlock run`: serve the server in a Python file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import click

from interlock.cli.command import Command, common, json_output, serving
from interlock.cli.load import load
from interlock.cli.terminal import put, say
from interlock.server.run import NO_SSE, PATH, PORT, SSE_PATH, run
from interlock.server.seat import seat
from interlock.transport.stdio import Claimed, claim

HttpServer: TypeAlias = Literal["h1", "uvicorn"]


@click.command(
    "run",
    cls=Command,
    help="""Serve the server in a Python file, over stdio unless --http is given.

FILE is a path or a dotted module. OBJECT is the name of the server in it, needed only if it has
several. What the file prints goes to stderr, where it cannot disturb the protocol.

With --workers N the file is served by so many processes over one port, each of which imports it; one
that dies is replaced, and what clients have begun is found by the others. --server uvicorn has
uvicorn speak HTTP instead of our own server. With --certificate it is served over TLS, with --unix
at a socket that only you may connect to.

--json prints one line of JSON on stdout when an HTTP server is ready; over stdio, where stdout
belongs to the protocol, it changes nothing.""",
    examples=(
        ("interlock run server.py", "Serve over stdio, as a host starts it."),
        ("interlock run server.py:app --http --port 8000", "Serve http://127.0.0.1:8000/mcp."),
        ("interlock run server.py --http --workers 4", "The same by four processes."),
        ("interlock run interlock.reference.time", "Serve a module by its name."),
    ),
)
@click.argument("target", metavar="FILE[:OBJECT]")
@click.option("--http", is_flag=True, help="Serve over Streamable HTTP at /mcp.")
@click.option("--host", help="The address to listen on.  [127.0.0.1]")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help=f"The port to listen on; 0 takes a free one.  [{PORT}]",
)
@click.option("--sse", is_flag=True, help=f"With --http, serve clients of 2024 too, at {SSE_PATH}.")
@serving(only="With --http")
@click.option(
    "--unix",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="With --http, listen at a Unix socket instead of a port.",
)
@json_output
@common
def command(
    target: str,
    http: bool,
    host: str | None,
    port: int | None,
    sse: bool,
    server: HttpServer | None,
    certificate: Path | None,
    key: Path | None,
    unix: Path | None,
    workers: int | None,
    as_json: bool,
) -> None:
    if http:
        if unix is not None and (host is not None or port is not None):
            raise click.UsageError("--unix is instead of --host and --port: give either.")
        if key is not None and certificate is None:
            raise click.UsageError("--key is a certificate's: give --certificate too.")
        if sse and (workers or 1) > 1:
            raise click.UsageError(f"{NO_SSE}: leave --sse or --workers out.")
        place = _Place(
            host or "127.0.0.1", PORT if port is None else port, sse, certificate, key, unix
        )
        _over_http(target, place, server or "h1", workers or 1, as_json)
        return
    given = {
        "--host": host,
        "--port": port,
        "--sse": sse or None,
        "--server": server,
        "--certificate": certificate,
        "--key": key,
        "--unix": unix,
        "--workers": workers,
    }
    if found := [name for name, value in given.items() if value is not None]:
        what = f"{' and '.join(found)} {'is' if len(found) == 1 else 'are'}"
        raise click.UsageError(f"{what} for HTTP; add --http to serve over it.")
    claimed = claim()  # Before the file is imported: it may print.
    service = load(target)
    if not _served_already(claimed):
        run(service)


def _served_already(claimed: Claimed) -> bool:
    """Whether the file ran its server itself when it was imported, until its client left."""
    try:
        os.fstat(claimed.stdin)
    except OSError:
        return True
    return False


class _Place(NamedTuple):
    """Where it is served, and how that is told."""

    host: str
    port: int
    sse: bool
    certificate: Path | None
    key: Path | None
    unix: Path | None

    def tell(self, port: int, name: str, as_json: bool) -> None:
        host = f"[{self.host}]" if ":" in self.host else self.host
        secure = "s" if self.certificate is not None else ""
        root = f"http{secure}://{host}:{port}"
        unix = str(self.unix) if self.unix is not None else None
        if unix is not None:
            root = f"http{secure}://localhost"
        if as_json:
            more = {"sse": root + SSE_PATH} if self.sse else {}
            more |= {"unix": unix} if unix is not None else {}
            put(json.dumps({"name": name, "url": root + PATH, **more}))
            return
        where = f"{root}{PATH}" if unix is None else f"{PATH} on the Unix socket {unix}"
        beside = f", and for clients of 2024 at {root}{SSE_PATH}" if self.sse else ""
        say(f"{name} is served at {where}{beside}   (Ctrl-C ends it)")


def _over_http(target: str, place: _Place, server: HttpServer, workers: int, as_json: bool) -> None:
    # Kept out of servers over stdio, which start faster without.
    from interlock.server.web import At, lead, run_http

    at = At(place.certificate, place.key, place.unix)
    mine = seat() if workers > 1 else None
    if workers > 1 and mine is None:
        lead(
            workers,
            place.host,
            place.port,
            at,
            lambda port, name: place.tell(port, name, as_json),
        )
        return
    service = load(target)
    run_http(
        service,
        host=place.host,
        port=place.port,
        path=PATH,
        hosts=(),
        origins=(),
        sse_path=SSE_PATH if place.sse else None,
        websocket=False,
        ready=lambda port: place.tell(port, service.info.name, as_json),
        server=server,
        at=at,
        seat=mine,
    )
