"""`interlock auth status`: which logins are kept, where, and until when."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.table import Table
from rich.text import Text

from interlock.auth.credentials import Login, open_credentials
from interlock.auth.metadata import canonical
from interlock.auth.opening import host_of
from interlock.cli.command import Command, common, json_output
from interlock.cli.reach import config_option
from interlock.cli.remote import configured_somewhere
from interlock.cli.show import dump
from interlock.cli.table import console
from interlock.cli.terminal import put, safe
from interlock.errors import ConfigError
from interlock.gateway.config import Config, HttpServer


@click.command(
    "status",
    cls=Command,
    help="""Show which logins are kept: to which server, by whom, for what, until when. Nothing
secret is shown. Also where they are kept, and where the key is that they are encrypted with.""",
    examples=(
        ("interlock auth status", "All logins."),
        ("interlock auth status --json", "The same for a program."),
    ),
)
@json_output
@config_option
@common
def command(as_json: bool, path: Path) -> None:
    asyncio.run(_status(configured_somewhere(path), as_json=as_json))


async def _status(config: Config | None, *, as_json: bool) -> None:
    async with open_credentials(environ=os.environ) as credentials:
        where = await credentials.describe()
        logins = await credentials.list()
    names = _names(config)
    if as_json:
        shown: list[dict[str, Any]] = [
            {"server": names.get(one.url), **msgspec.to_builtins(one)} for one in logins
        ]
        dump({"kept": where, "logins": shown})
        return
    if logins:
        console().print(_table(logins, names))
        put()
    else:
        put("No logins are kept. To log in to a server: interlock login SERVER\n")
    put(f"Kept: {where}.")


def _table(logins: list[Login], names: dict[str, str]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("server", "by", "scopes", "access"):
        table.add_column(heading, overflow="fold")
    several = any(one.principal for one in logins)
    if several:
        table.add_column("for", overflow="fold")
    for one in logins:
        cells = [
            names.get(one.url, one.url),
            host_of(one.issuer),
            " ".join(one.scopes) or "–",
            _until(one),
            *([one.principal or "you"] if several else ()),
        ]
        table.add_row(*(Text(safe(cell)) for cell in cells))
    return table


def _until(one: Login) -> str:
    if not one.current:
        return "not used any more"
    if one.expires_at is None:
        return "until it is taken back"
    left = one.expires_at - time.time()
    if one.refreshable:
        return "renewed by itself"
    if left <= 0:
        return "has ended: log in again"
    minutes = int(left // 60)
    return f"ends in {minutes} min" if minutes < 120 else f"ends in {minutes // 60} h"


def _names(config: Config | None) -> dict[str, str]:
    """What the servers of the configuration are called, by their URLs."""
    names: dict[str, str] = {}
    for name, entry in config.servers.items() if config is not None else ():
        if isinstance(entry, HttpServer):
            with contextlib.suppress(ConfigError):  # Nothing can be kept for such a URL.
                names[canonical(entry.url)] = name
    return names
