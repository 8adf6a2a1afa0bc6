"""`interlock auth serve`: an authorization server for one box."""

from __future__ import annotations

import json
import os

import click

from interlock.auth.box import boxed
from interlock.auth.issuer.settings import Resource
from interlock.auth.metadata import canonical
from interlock.cli.command import Command, common, json_output
from interlock.cli.terminal import put, safe
from interlock.server.web import run_in_fast_loop, serve_http

PORT = 4779


@click.command(
    "serve",
    cls=Command,
    help="""Run an authorization server on this machine: it has you sign in, asks whether a client
may use a server on your behalf, and gives that client tokens for it, until Ctrl-C.

The sign-in code that is printed is what you type into its page; whoever has it is you. Its keys and
what it has given out are kept, encrypted, in this user's state folder, so that a restart ends no
login.

It is for one person on one machine, and for tests. Servers take its tokens with
AuthSettings(issuer_url="http://127.0.0.1:4779", resource_server_url=…).""",
    examples=(
        (
            "interlock auth serve --resource http://127.0.0.1:8000/mcp",
            "Tokens for a server at port 8000.",
        ),
        (
            "interlock auth serve --resource URL --scope notes:read --scope notes:write",
            "With scopes that clients may ask for.",
        ),
    ),
)
@click.option(
    "--resource",
    "resources",
    multiple=True,
    required=True,
    metavar="URL",
    help="A server that tokens are made for; repeatable.",
)
@click.option(
    "--scope", "scopes", multiple=True, help="A scope that clients may ask for; repeatable."
)
@click.option("--host", default="127.0.0.1", help="The address to listen on.  [127.0.0.1]")
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=PORT,
    metavar="PORT",
    help=f"The port to listen on.  [{PORT}]",
)
@click.option(
    "--url",
    help="What it calls itself, if clients reach it by another address than it listens on.",
)
@json_output
@common
def command(
    resources: tuple[str, ...],
    scopes: tuple[str, ...],
    host: str,
    port: int,
    url: str | None,
    as_json: bool,
) -> None:
    url = url or f"http://{f'[{host}]' if ':' in host else host}:{port}"
    for each in resources:
        canonical(each)  # Raises for what is no server's URL, before anything is kept or served.
    served = [Resource(each, dict.fromkeys(scopes, "")) for each in resources]
    run_in_fast_loop(_serve(url, served, host, port, as_json=as_json))


async def _serve(
    url: str, resources: list[Resource], host: str, port: int, *, as_json: bool
) -> None:
    issuer = await boxed(url, resources, os.environ)

    def ready(port: int) -> None:
        person = issuer.people[0]
        if as_json:
            told = {"issuer": issuer.url, "resources": [each.url for each in resources]}
            put(json.dumps({**told, "code": person.code}))
            return
        put(f"Authorization server: {safe(issuer.url)}")
        put(f"Sign-in code:         {person.code}")
        for each in resources:
            put(f"Makes tokens for:     {safe(each.url)}")
        put("Ctrl-C ends it.")

    await serve_http(issuer, host, port, ready)
