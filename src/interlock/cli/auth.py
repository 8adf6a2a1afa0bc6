"""`interlock auth`: the logins that are kept, and an authorization server of one's own."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Final

import click

from interlock.cli.command import SETTINGS, common, epilog, json_output
from interlock.cli.problem import USAGE, Problem, meant
from interlock.gateway.config import FILE_NAME

COMMANDS: Final = {
    "status": "Show which logins are kept, and where.",
    "serve": "Run an authorization server on this machine.",
}


EXAMPLES: Final = (
    ("interlock auth status --json", "The logins that are kept, for a program."),
    ("interlock auth serve --resource http://127.0.0.1:8000/mcp", "Tokens for a server here."),
)


class Commands(click.Group):
    """The commands about logins, each in a module of its own."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        return importlib.import_module(f"interlock.cli.auth_{cmd_name}").command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            raise Problem(
                f"There is no command {args[0]!r} of interlock auth.",
                meant(args[0], COMMANDS),
                "Try: interlock auth --help",
                code=USAGE,
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        epilog(formatter, EXAMPLES)


@click.group(
    "auth",
    cls=Commands,
    invoke_without_command=True,
    context_settings=SETTINGS,
    help="See which logins are kept, and run an authorization server of your own. To log in to a "
    "server: interlock login SERVER. Alone it shows the status.",
)
@json_output
@common
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    if ctx.invoked_subcommand is None:
        status = importlib.import_module("interlock.cli.auth_status").command
        ctx.invoke(status, as_json=as_json, path=Path(FILE_NAME))
    elif as_json:
        raise click.UsageError(
            f"--json goes behind the command: interlock auth {ctx.invoked_subcommand} --json"
        )
