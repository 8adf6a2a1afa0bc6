"""`interlock call`: call a tool."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from interlock.cli.arguments import by_schema, described, missing, pairs, whole
from interlock.cli.command import Command, common
from interlock.cli.problem import FAILED, OK, USAGE, Problem, meant
from interlock.cli.reach import Reached, address, config_option, configured, reach
from interlock.cli.show import answer, as_json, dump, text_of
from interlock.cli.terminal import safe, say, styled
from interlock.client.client import ToolResult
from interlock.gateway.config import Config
from interlock.gateway.names import SEPARATOR, prefix, public_name
from interlock.wire.notices import ProgressNotice
from interlock.wire.tools import Tool


class _CallCommand(Command):
    """Lets `--json` stand alone, as everywhere, or be followed by all arguments as an object."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        following = [*args[1:], ""]
        parsed = [
            "--as-json" if word == "--json" and not after.lstrip().startswith(("{", "@")) else word
            for word, after in zip(args, following, strict=True)
        ]
        return super().parse_args(ctx, parsed)


@click.command(
    "call",
    cls=_CallCommand,
    help="""Call a tool and print its answer.

SERVER.TOOL is a tool by its server's name and its own. Values are read as the tool's schema wants
them: text as it is, numbers, true or false, JSON for lists and objects. A key that comes several
times makes a list. @FILE stands for what the file holds, @- for stdin, @@ for a plain @.

--json prints the whole answer as JSON. Followed by an object, as in --json '{"a": 1}', or by @FILE,
it also gives all arguments at once.

Calls go through the gateway that runs for this folder; without one, the server is started for this
call alone.""",
    examples=(
        ("interlock call time.get_current_time timezone=Europe/Oslo", "One argument."),
        ("interlock call git.git_log repo_path=. max_count=3", "A number is read as one."),
        (
            """interlock call tasks.create_task --json '{"title": "Write home"}'""",
            "JSON both ways.",
        ),
    ),
)
@click.argument("tool", metavar="SERVER.TOOL")
@click.argument("words", metavar="[KEY=VALUE]...", nargs=-1)
@click.option(
    "--json", "given", metavar="['{…}']", help="Print JSON; with an object, that is the arguments."
)
@click.option("--as-json", is_flag=True, hidden=True)
@click.option("--text", "as_text", is_flag=True, help="Print text even if --json gave arguments.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Give up after so long without progress.",
)
@config_option
@common
def command(
    tool: str,
    words: tuple[str, ...],
    given: str | None,
    as_json: bool,
    as_text: bool,
    timeout: float | None,
    path: Path,
) -> int:
    if given is not None and words:
        raise click.UsageError("Arguments come as key=value or as --json '{…}', not as both.")
    config = configured(path)
    server, name = address(tool, config)
    typed = pairs(words)
    arguments = whole(given) if given is not None else None
    result = asyncio.run(_call(config, server, name, typed, arguments, timeout))
    return _shown(result, tool, (as_json or given is not None) and not as_text)


async def _call(
    config: Config,
    server: str,
    name: str,
    typed: Sequence[tuple[str, str]],
    arguments: dict[str, Any] | None,
    timeout: float | None,
) -> ToolResult:
    async with reach(config, server) as reached:
        tool = await _find(reached, server, name)
        if arguments is None:
            arguments = by_schema(typed, tool.input_schema)
            if lacking := missing(arguments, tool.input_schema):
                raise Problem(
                    f"{server}.{name} needs {', '.join(lacking)}.",
                    *described(tool.input_schema),
                    code=USAGE,
                )
        return await reached.client.call_tool(
            tool.name, arguments, timeout=timeout, on_progress=_progress
        )


async def _find(reached: Reached, server: str, name: str) -> Tool:
    tools = {tool.name: tool for tool in await reached.client.list_tools()}
    head = prefix(server) + SEPARATOR
    for public in (public_name(server, name), head + name):
        if public in tools:
            return tools[public]
    reached.expect(server)
    own = [tool.removeprefix(head) for tool in tools if tool.startswith(head)]
    raise Problem(
        f"{server} has no tool {name!r}.",
        meant(name, own),
        f"Try: interlock list {server}",
        code=USAGE,
    )


def _progress(notice: ProgressNotice) -> None:
    if sys.stderr.isatty():
        of = f"/{notice.total:g}" if notice.total is not None else ""
        said = f" {safe(notice.message)}" if notice.message else ""
        say(styled(f"{notice.progress:g}{of}{said}", "dim"))


def _shown(result: ToolResult, tool: str, in_json: bool) -> int:
    if in_json:
        dump(as_json(result))
        return FAILED if result.is_error else OK
    text = text_of(result.content)
    if result.is_error:
        raise Problem(f"{tool} failed:", *safe(text).splitlines())
    if result.content or not result.has_structured:
        answer(text)
    else:
        dump(result.structured)
    return OK
