"""`interlock logout`: forget a login, here and where it was made."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import click

from interlock.auth.credentials import open_credentials
from interlock.cli.command import Command, common, json_output
from interlock.cli.problem import Problem
from interlock.cli.reach import config_option, restarted
from interlock.cli.remote import Remote, remote
from interlock.cli.terminal import put, safe
from interlock.errors import PeerError


@click.command(
    "logout",
    cls=Command,
    help="""Forget the login to a server: what is kept of it here, and, where the server's side
offers that, there too. A gateway that runs here lets go of it at once.

SERVER is the name of a server in the configuration, or a URL. That there was no login is no
failure.""",
    examples=(
        ("interlock logout notion", "Forget the login to the server notion of .mcp.json."),
        ("interlock logout https://mcp.example.com/mcp", "The same by its URL."),
    ),
)
@click.argument("server")
@click.option(
    "--for",
    "principal",
    default="",
    metavar="PERSON",
    help="That of a caller of a gateway, as `interlock auth status` names them.",
)
@json_output
@config_option
@common
def command(server: str, principal: str, as_json: bool, path: Path) -> None:
    asyncio.run(_log_out(remote(server, path), principal, as_json=as_json))


async def _log_out(found: Remote, principal: str, *, as_json: bool) -> None:
    untold: PeerError | None = None
    async with open_credentials(environ=os.environ) as credentials:
        oauth = found.oauth(credentials, principal=principal)
        try:
            was = await oauth.log_out(found.url)
        except PeerError as error:
            was, untold = True, error
    gateway = was and await restarted(found.config, found.name, principal)
    if as_json:
        revoked = was and untold is None
        told = {"server": found.name, "url": found.url, "was": was, "revoked": revoked}
        put(json.dumps(told, ensure_ascii=False))
    elif not was:
        put(f"There was no login to {safe(found.name)}.")
    else:
        put(f"Logged out of {safe(found.name)}{'' if untold is None else ', here only'}.")
        if gateway:
            put("The gateway that runs here has let go of it.")
    if untold is not None:
        raise Problem(
            f"The login to {found.name} is forgotten here, but its issuer could not be told.",
            str(untold),
            "What was given out stays good there until it ends; take it back in your account there.",
        )
