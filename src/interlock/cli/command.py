"""What every command has: examples and exit codes in its help, `--json`, `--debug`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import click

from interlock.cli.problem import EXITS

SETTINGS: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 80}


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


def epilog(formatter: click.HelpFormatter, examples: tuple[tuple[str, str], ...]) -> None:
    """What every help ends with: *examples* and the exit codes."""
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
