"""`interlock run`: serve the server in a Python file."""

from __future__ import annotations

import json
import os

import click

from interlock.cli.command import Command, common, json_output
from interlock.cli.load import load
from interlock.cli.terminal import put, say
from interlock.server.run import PATH, PORT, SSE_PATH, run
from interlock.transport.stdio import Claimed, claim


@click.command(
    "run",
    cls=Command,
    help="""Serve the server in a Python file, over stdio unless --http is given.

FILE is a path or a dotted module. OBJECT is the name of the server in it, needed only if it has
several. What the file prints goes to stderr, where it cannot disturb the protocol.

--json prints one line of JSON on stdout when an HTTP server is ready; over stdio, where stdout
belongs to the protocol, it changes nothing.""",
    examples=(
        ("interlock run server.py", "Serve over stdio, as a host starts it."),
        ("interlock run server.py:app --http --port 8000", "Serve http://127.0.0.1:8000/mcp."),
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
@json_output
@common
def command(
    target: str, http: bool, host: str | None, port: int | None, sse: bool, as_json: bool
) -> None:
    if http:
        _over_http(target, host or "127.0.0.1", PORT if port is None else port, sse, as_json)
        return
    if host is not None or port is not None or sse:
        raise click.UsageError(
            "--host, --port and --sse are for HTTP; add --http to serve over it."
        )
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


def _over_http(target: str, host: str, port: int, sse: bool, as_json: bool) -> None:
    # Kept out of servers over stdio, which start faster without.
    from interlock.server.web import run_http

    service = load(target)
    name = service.info.name

    def ready(port: int) -> None:
        root = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        if as_json:
            more = {"sse": root + SSE_PATH} if sse else {}
            put(json.dumps({"name": name, "url": root + PATH, **more}))
        else:
            beside = f", and for clients of 2024 at {root}{SSE_PATH}" if sse else ""
            say(f"{name} is served at {root}{PATH}{beside}   (Ctrl-C ends it)")

    run_http(
        service,
        host=host,
        port=port,
        path=PATH,
        hosts=(),
        origins=(),
        sse_path=SSE_PATH if sse else None,
        websocket=False,
        ready=ready,
    )
