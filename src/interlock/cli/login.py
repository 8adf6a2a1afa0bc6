"""`interlock login`: log in to a server, once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shlex
import sys
import threading
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, TextIO, cast

import click

from interlock.auth.credentials import Grant, open_credentials
from interlock.auth.oauth import Visitor, Visitors
from interlock.auth.opening import host_of
from interlock.auth.visitors import by_hand, in_browser
from interlock.cli.command import Command, common, json_output
from interlock.cli.problem import USAGE, Problem
from interlock.cli.reach import config_option, restarted
from interlock.cli.remote import Remote, remote
from interlock.cli.terminal import put, safe, say
from interlock.client.client import Client


@click.command(
    "login",
    cls=Command,
    help="""Log in to a server at a URL, in a browser. It is kept, encrypted, and renewed by itself
until you log out or the server's side takes it back: no other command asks for it again.

SERVER is the name of a server in the configuration, or a URL. A server that wants no login is told
so. A gateway that runs here goes on with the server at once.

Without a browser on this machine, --no-browser prints the address to open on any other, and reads
the one it ends at.""",
    examples=(
        ("interlock login notion", "Log in to the server notion of .mcp.json."),
        ("interlock login https://mcp.example.com/mcp", "Log in to a server by its URL."),
        ("interlock login notion --no-browser", "Over SSH: open the page elsewhere."),
    ),
)
@click.argument("server")
@click.option(
    "--no-browser", is_flag=True, help="Print the page's address, and read the one it ends at."
)
@click.option("--again", is_flag=True, help="Log in anew, though you are logged in.")
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    help="The port the browser comes back to, where the server's side knows only one.",
)
@click.option("--scope", "scopes", multiple=True, help="A scope to ask for besides; repeatable.")
@click.option(
    "--for",
    "principal",
    default="",
    metavar="PERSON",
    help="For a caller of a gateway, as its message names them, rather than for yourself.",
)
@json_output
@config_option
@common
def command(
    server: str,
    no_browser: bool,
    again: bool,
    port: int | None,
    scopes: tuple[str, ...],
    principal: str,
    as_json: bool,
    path: Path,
) -> None:
    found = remote(server, path)
    # None is what Python makes of a descriptor that was closed before it began.
    if no_browser and (cast("TextIO | None", sys.stdin) is None or sys.stdin.closed):
        raise Problem("--no-browser reads an address from stdin, which is closed.", code=USAGE)
    port = port or found.port
    visitors = by_hand(_ask, say, port=port) if no_browser else in_browser(say, port=port)
    asyncio.run(_log_in(found, visitors, scopes, principal, again=again, as_json=as_json))


async def _log_in(
    found: Remote,
    visitors: Visitors,
    scopes: tuple[str, ...],
    principal: str,
    *,
    again: bool,
    as_json: bool,
) -> None:
    asked = False

    def asking(last: int | None) -> AbstractAsyncContextManager[Visitor]:
        nonlocal asked
        asked = True
        return visitors(last)

    async with open_credentials(environ=os.environ) as credentials:
        oauth = found.oauth(credentials, asking, principal, scopes)
        try:
            if again:
                await oauth.log_in(found.url)
            # The login is of use only if the server takes what it came to.
            async with Client(found.target(oauth), label=found.name) as client:
                tools = len(await client.list_tools())
        finally:
            await oauth.close()
        grant = await credentials.find(found.url, principal)
        # What others than this user are to a server, a gateway learns with their next call.
        gateway = asked and not principal and await restarted(found.config, found.name)
        _tell(found, grant, tools, asked=asked, gateway=gateway, as_json=as_json)


def _tell(
    found: Remote,
    grant: Grant | None,
    tools: int,
    *,
    asked: bool,
    gateway: bool,
    as_json: bool,
) -> None:
    if as_json:
        told: dict[str, Any] = {"server": found.name, "url": found.url, "login": grant is not None}
        if grant is not None:
            told |= {
                "already": not asked,
                "issuer": grant.issuer,
                "scopes": list(grant.scopes),
                "expires": grant.expires_at,
                "renewed": grant.refresh_token is not None,
            }
        put(json.dumps({**told, "tools": tools}, ensure_ascii=False))
        return
    name, offered = safe(found.name), "1 tool" if tools == 1 else f"{tools} tools"
    if grant is None:
        put(f"{name} wants no login: it answered without one, with {offered}.")
        return
    done = "Logged in" if asked else "You are logged in already"
    put(f"{done} to {name} by {safe(host_of(grant.issuer))}; it offers {offered}.")
    if grant.refresh_token is None and grant.expires_at is not None:
        put("It cannot be renewed by itself: log in again when it has ended.")
    if gateway:
        put("The gateway that runs here uses it from now on.")
    put(f"To end it: interlock logout {safe(shlex.quote(found.name))}")


async def _ask(question: str) -> str:
    """A line of stdin, read beside the loop; Ctrl-C is not held up by it."""
    sys.stderr.write(question)
    sys.stderr.flush()
    loop = asyncio.get_running_loop()
    line: asyncio.Future[str] = loop.create_future()

    def read() -> None:
        try:
            text = sys.stdin.readline()
        except (OSError, ValueError):  # It was closed, or what came is no text.
            text = ""
        with contextlib.suppress(RuntimeError):  # Nobody waits any more, and the loop is closed.
            loop.call_soon_threadsafe(lambda: line.done() or line.set_result(text))

    # A daemon: a thread of the pool would be waited for at the end, with nobody typing.
    threading.Thread(target=read, daemon=True, name="interlock reads a line").start()
    text = await line
    if not text:
        raise Problem("Nothing more can be read: the login was not finished.")
    return text
