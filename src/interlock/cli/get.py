"""`interlock get`: get a prompt."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from interlock.cli.arguments import pairs
from interlock.cli.command import Command, common, json_output
from interlock.cli.problem import USAGE, Problem, meant
from interlock.cli.reach import Reached, address, config_option, configured, reach
from interlock.cli.show import dump, messages
from interlock.gateway.config import Config
from interlock.gateway.names import SEPARATOR, prefix, public_name
from interlock.wire.prompts import GetPromptResult, Prompt


@click.command(
    "get",
    cls=Command,
    help="""Get a prompt, filled in, and print its messages.

SERVER.PROMPT is a prompt by its server's name and its own. Its arguments are text; @FILE stands for
what the file holds, @- for stdin, @@ for a plain @.""",
    examples=(
        ("interlock get tasks.weekly_review", "A prompt without arguments."),
        ("interlock get tasks.prioritize hours=3 --json", "With one, as JSON."),
    ),
)
@click.argument("prompt", metavar="SERVER.PROMPT")
@click.argument("words", metavar="[KEY=VALUE]...", nargs=-1)
@json_output
@config_option
@common
def command(prompt: str, words: tuple[str, ...], as_json: bool, path: Path) -> None:
    config = configured(path)
    server, name = address(prompt, config)
    result = asyncio.run(_get(config, server, name, pairs(words)))
    if as_json:
        dump(
            {
                "description": result.description,
                "messages": [msgspec.to_builtins(message) for message in result.messages],
            }
        )
    else:
        messages(result)


async def _get(
    config: Config, server: str, name: str, given: Sequence[tuple[str, str]]
) -> GetPromptResult:
    async with reach(config, server) as reached:
        prompt = await _find(reached, server, name)
        declared = {argument.name: argument for argument in prompt.arguments or []}
        for key, _ in given:
            if key not in declared:
                hint = meant(key, declared) if declared else "It takes none."
                raise Problem(f"{server}.{name} has no argument {key!r}.", hint, code=USAGE)
        arguments = dict(given)
        lacking = [key for key, one in declared.items() if one.required and key not in arguments]
        if lacking:
            raise Problem(
                f"{server}.{name} needs {', '.join(lacking)}.",
                *(
                    f"{key}{'' if one.required else ' (optional)'}: {one.description or ''}"
                    for key, one in declared.items()
                ),
                code=USAGE,
            )
        return await reached.client.get_prompt(prompt.name, arguments)


async def _find(reached: Reached, server: str, name: str) -> Prompt:
    prompts = {prompt.name: prompt for prompt in await reached.client.list_prompts()}
    head = prefix(server) + SEPARATOR
    for public in (public_name(server, name), head + name):
        if public in prompts:
            return prompts[public]
    reached.expect(server)
    own = [prompt.removeprefix(head) for prompt in prompts if prompt.startswith(head)]
    raise Problem(f"{server} has no prompt {name!r}.", meant(name, own), code=USAGE)
