"""`interlock auth`: the logins that are kept, and an authorization server of one's own."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Final

import click

from interlock.cli.command import SETTINGS, Commands, common, json_output
from interlock.gateway.config import FILE_NAME

COMMANDS: Final = {
    "status": "Show which logins are kept, and where.",
    "serve": "Run an authorization server on this machine.",
}
EXAMPLES: Final = (
    ("interlock auth status --json", "The logins that are kept, for a program."),
    ("interlock auth serve --resource http://127.0.0.1:8000/mcp", "Tokens for a server here."),
)


@click.group(
    "auth",
    cls=Commands,
    members=COMMANDS,
    modules="interlock.cli.auth_",
    examples=EXAMPLES,
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
