"""`interlock list`: the servers, or what one of them offers."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from interlock.cli.command import Command, common, json_output
from interlock.cli.reach import (
    START_SECONDS,
    Reached,
    config_option,
    configured,
    directly,
    known,
    reach,
    running,
    some,
    status,
)
from interlock.cli.show import dump
from interlock.cli.story import clock
from interlock.cli.table import console, servers
from interlock.cli.terminal import put, safe
from interlock.gateway.config import Config
from interlock.gateway.names import SEPARATOR, prefix, public_uri
from interlock.gateway.run import Running
from interlock.gateway.upstream import Status

_NAMED_BY: Final = {"resources": "uri", "templates": "uriTemplate"}
"""What names an entry of a list, where it is not its `name`."""
_COLUMNS: Final = 80
_NAME_WIDTH: Final = 28
_WORTH_IT: Final = 16
"""Characters below which a description that was cut says nothing."""


@click.command(
    "list",
    cls=Command,
    help="""Show the servers: whether they run, how much they offer, and what happened to them.

Tokens are what the definitions of a server's tools take of a model's context, roughly. With SERVER,
show its tools, resources and prompts by name.

A gateway that runs for this folder is asked; without one, the servers are started, looked at and
ended. That a server does not run is shown, and is no failure of this command.""",
    examples=(
        ("interlock list", "All servers of .mcp.json."),
        ("interlock list git", "What the server git offers."),
        ("interlock list --json", "The same for a program."),
    ),
)
@click.argument("server", required=False)
@json_output
@config_option
@common
def command(server: str | None, as_json: bool, path: Path) -> None:
    config = configured(path)
    some(config)
    if server is None:
        asyncio.run(_all(config, as_json))
    else:
        known(config, server)
        asyncio.run(_one(config, server, as_json))


async def _all(config: Config, as_json: bool) -> None:
    gateway = await running(config)
    if gateway is not None:
        statuses = await status(gateway)
    else:
        direct = directly(config)
        try:
            await direct.start()
            await direct.settled(START_SECONDS)
            statuses = [_once(one) for one in direct.status()]
        finally:
            await direct.stop()
    if as_json:
        dump(
            {
                "gateway": {"url": gateway.url, "pid": gateway.pid} if gateway else None,
                "servers": msgspec.to_builtins(statuses),
                "notes": [str(note) for note in config.notes],
            }
        )
        return
    console().print(servers(statuses, config))
    put()
    put(_where(gateway))


def _once(one: Status) -> Status:
    """A server that was started to be looked at is not waited for when it failed."""
    failed = one.state not in {"running", "needs login"} and one.error is not None
    return msgspec.structs.replace(one, state="failed") if failed else one


def _where(gateway: Running | None) -> str:
    if gateway is None:
        return "No gateway runs here; they were started to be looked at. Start one: interlock up"
    return f"Served at {gateway.url} since {clock(gateway.started)} (process {gateway.pid})."


async def _one(config: Config, server: str, as_json: bool) -> None:
    async with reach(config, server) as reached:
        [one] = [status for status in reached.statuses if status.name == server]
        offered = await _offered(reached, server)
    if as_json:
        dump({"server": msgspec.to_builtins(one), **offered})
        return
    put(f"{safe(one.where)}   {one.state}{f', speaks {one.revision}' if one.revision else ''}")
    for kind, items in offered.items():
        if items:
            put(f"\n{kind}")
            names = [safe(item[_NAMED_BY.get(kind, "name")]) for item in items]
            width = min(max(map(len, names)), _NAME_WIDTH)
            for name, item in zip(names, items, strict=True):
                put(f"  {_line(name, item, width)}".rstrip())
    put(f"\n{_hint(one, offered)}")


async def _offered(reached: Reached, server: str) -> dict[str, list[dict[str, Any]]]:
    """What *server* lists, under its own names."""
    client = reached.client
    head, uri_head = prefix(server) + SEPARATOR, public_uri(server, "")
    lists: dict[str, list[Any]] = {
        "tools": await client.list_tools(),
        "resources": await client.list_resources(),
        "templates": await client.list_resource_templates(),
        "prompts": await client.list_prompts(),
    }
    offered: dict[str, list[dict[str, Any]]] = {}
    for kind, items in lists.items():
        key = _NAMED_BY.get(kind, "name")
        start = uri_head if kind in _NAMED_BY else head
        plain: list[dict[str, Any]] = [msgspec.to_builtins(item) for item in items]
        offered[kind] = [
            {**item, key: item[key].removeprefix(start)}
            for item in plain
            if item[key].startswith(start)
        ]
    return offered


def _line(name: str, item: dict[str, Any], width: int) -> str:
    about = safe((item.get("description") or item.get("title") or "").strip().partition("\n")[0])
    room = _COLUMNS - 4 - max(len(name), width)
    if room < len(about):
        about = f"{about[: room - 1]}…" if room > _WORTH_IT else ""
    return f"{name:<{width}}  {about}"


def _hint(one: Status, offered: dict[str, list[dict[str, Any]]]) -> str:
    if offered["tools"]:
        return f"Call one: interlock call {one.name}.{offered['tools'][0]['name']} key=value"
    if offered["prompts"]:
        return f"Get one: interlock get {one.name}.{offered['prompts'][0]['name']}"
    if offered["resources"]:
        return f"Read one: interlock read {public_uri(one.name, offered['resources'][0]['uri'])}"
    return "It offers nothing."
