"""`interlock read`: read a resource."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click
import msgspec

from interlock.cli.command import Command, common, json_output
from interlock.cli.problem import USAGE, Problem, meant
from interlock.cli.reach import Reached, config_option, configured, reach
from interlock.cli.show import contents, dump
from interlock.errors import RegistrationError, ResourceNotFound
from interlock.gateway.config import Config
from interlock.gateway.names import public_uri, scheme
from interlock.wire.resources import ReadResourceResult
from interlock.wire.uri import Template


@click.command(
    "read",
    cls=Command,
    help="""Read a resource and print what it holds.

URI is the server's own, as task://all, or the one that hosts see, as tasks+task://all. With the
latter only that server is started where no gateway runs; with the former, all are asked who has it.
Bytes are written as they are where stdout is no terminal.""",
    examples=(
        ("interlock read tasks+task://all", "A resource of the server tasks."),
        ("interlock read task://1 --json", "Whoever has it, as JSON."),
    ),
)
@click.argument("uri")
@json_output
@config_option
@common
def command(uri: str, as_json: bool, path: Path) -> None:
    config = configured(path)
    result = asyncio.run(_read(config, uri))
    if as_json:
        dump({"contents": [msgspec.to_builtins(item) for item in result.contents]})
    else:
        contents(result.contents)


async def _read(config: Config, uri: str) -> ReadResourceResult:
    head, plus, _ = uri.partition("+")
    owner = [name for name in config.servers if plus and scheme(name) == head.lower()]
    async with reach(config, *owner) as reached:
        if not owner:
            uri = await _public(reached, uri)
        try:
            return await reached.client.read_resource(uri)
        except ResourceNotFound:
            for name in owner:
                reached.expect(name)
            listed = [resource.uri for resource in await reached.client.list_resources()]
            raise Problem(f"There is no resource {uri}.", meant(uri, listed), code=USAGE) from None


async def _public(reached: Reached, uri: str) -> str:
    """What the one server that has *uri* calls it at the door."""
    listed = {resource.uri for resource in await reached.client.list_resources()}
    templates = [one.uri_template for one in await reached.client.list_resource_templates()]
    names = [public_uri(one.name, uri) for one in reached.statuses]
    found = [name for name in names if name in listed] or [
        name for name in names if any(_fits(template, name) for template in templates)
    ]
    if len(found) == 1:
        return found[0]
    if found:
        raise Problem(
            f"Several servers have {uri}: say which.",
            *(f"Try: interlock read {name}" for name in found),
            code=USAGE,
        )
    raise Problem(
        f"No server has a resource {uri}.",
        meant(uri, [name.partition("+")[2] for name in listed]),
        *(
            f"{one.name} does not run ({one.state})."
            for one in reached.statuses
            if one.state != "running"
        ),
        code=USAGE,
    )


def _fits(template: str, uri: str) -> bool:
    try:
        return Template(template).match(uri) is not None
    except RegistrationError:
        return False  # A template of others that cannot be read matches nothing.
