"""What commands have in common: what their help ends with, how they come in groups, and the options
that several of them take.
"""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import click

from interlock.cli.problem import EXITS, USAGE, Problem, meant

SETTINGS: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 80}
FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)

_HANDLER: Final = "interlock"

Body: TypeAlias = Callable[..., int | None]
"""What a command does; the number it returns, if any, is the exit code."""


class Command(click.Command):
    """A command that shows *examples* in its help: pairs of what to type and what it does."""

    def __init__(
        self, *args: Any, examples: tuple[tuple[str, str], ...] = (), **options: Any
    ) -> None:
        super().__init__(*args, **options)
        self.examples = examples
        self.context_settings = {**SETTINGS, **self.context_settings}

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        epilog(formatter, self.examples)


class Commands(click.Group):
    """Commands of a module each, which is imported when it is asked for: `run` starts without the
    gateway.

    *members* says what each does, *modules* what the names of their modules begin with.
    """

    def __init__(
        self,
        *args: Any,
        members: Mapping[str, str],
        modules: str,
        examples: tuple[tuple[str, str], ...] = (),
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        self.members = members
        self.modules = modules
        self.examples = examples

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.members)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.members:
            return None
        return importlib.import_module(f"{self.modules}{cmd_name}").command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.members and not args[0].startswith("-"):
            within = "" if ctx.parent is None else f" of {ctx.command_path}"
            raise Problem(
                f"There is no command {args[0]!r}{within}.",
                meant(args[0], self.members),
                f"Try: {ctx.command_path} --help",
                code=USAGE,
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(self.members.items()))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        epilog(formatter, self.examples)


def epilog(formatter: click.HelpFormatter, examples: tuple[tuple[str, str], ...]) -> None:
    """What every help ends with: *examples* and the exit codes."""
    if examples:
        with formatter.section("Examples"):
            for typed, effect in examples:
                formatter.write(f"{'':>{formatter.current_indent}}{typed}\n")
                formatter.indent()
                formatter.write_text(effect)
                formatter.dedent()
    with formatter.section("Exit codes"):
        formatter.write_text(EXITS)


def common(function: Body) -> Body:
    """`--debug`, on every command."""
    return click.option(
        "--debug",
        is_flag=True,
        expose_value=False,
        callback=_debug,
        help="Log what happens to stderr, and show tracebacks.",
    )(function)


def json_output(function: Body) -> Body:
    """`--json`, on every command that does not read arguments by the same name."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print JSON for programs instead of text."
    )(function)


def serving(*, only: str = "") -> Callable[[Body], Body]:
    """The options of what serves over HTTP, None where they are not given.

    *only* says in their help when they can be.
    """
    said = f"{only}, " if only else ""

    def help_of(text: str) -> str:
        return said + text if said else text[0].upper() + text[1:]

    options = (
        click.option(
            "--server",
            type=click.Choice(["h1", "uvicorn"]),
            help=help_of("what speaks HTTP: our own server, or uvicorn.  [h1]"),
        ),
        click.option(
            "--certificate",
            type=FILE,
            metavar="FILE",
            help=help_of("serve TLS with this certificate and its chain (PEM)."),
        ),
        click.option(
            "--key",
            type=FILE,
            metavar="FILE",
            help="The certificate's key, if it is not in the same file.",
        ),
        click.option(
            "--workers",
            type=click.IntRange(1),
            metavar="N",
            help=help_of("how many processes serve.  [1]"),
        ),
    )

    def decorate(function: Body) -> Body:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def _debug(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        log_to_stderr(logging.DEBUG)


def log_to_stderr(level: int) -> None:
    """The library configures no logging; the command line does, here."""
    if all(handler.name != _HANDLER for handler in logging.root.handlers):
        handler = logging.StreamHandler(sys.stderr)
        handler.name = _HANDLER
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        logging.root.addHandler(handler)
    logging.root.setLevel(level)
    # asyncio says at this level which selector it uses, and nothing else of use.
    logging.getLogger("asyncio").setLevel(max(level, logging.INFO))
