"""Which commands there are, and what becomes of an exception that leaves one."""

from __future__ import annotations

import importlib
import logging
import sys
import traceback
from typing import Any, Final

import click

from interlock.cli.command import SETTINGS, common, log_to_stderr
from interlock.cli.problem import EXITS, FAILED, INTERRUPTED, NOTHING, OK, USAGE, Problem, meant
from interlock.cli.terminal import say, styled
from interlock.errors import ConfigError, InterlockError, RpcError, UsageError
from interlock.version import VERSION

COMMANDS: Final = {
    "up": "Serve every server configured here behind one endpoint.",
    "list": "Show the servers, whether they run, and what they offer.",
    "call": "Call a tool.",
    "read": "Read a resource.",
    "get": "Get a prompt.",
    "run": "Serve a Python file over stdio or HTTP.",
    "login": "Log in to a server that wants to know who you are.",
    "logout": "Forget a login.",
    "auth": "Show the logins that are kept; run an authorization server.",
}
"""Each in a module of its own, imported when it is asked for: `run` starts without the gateway."""


class Commands(click.Group):
    """The group of all commands, loaded one by one."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        return importlib.import_module(f"interlock.cli.{cmd_name}").command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            raise Problem(
                f"There is no command {args[0]!r}.",
                meant(args[0], COMMANDS),
                "Try: interlock --help",
                code=USAGE,
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Exit codes"):
            formatter.write_text(EXITS)


@click.group(
    cls=Commands,
    invoke_without_command=True,
    context_settings=SETTINGS,
    help="Run the Model Context Protocol servers of this folder behind one door, "
    "use them from the command line, and serve your own.",
)
@click.version_option(VERSION, "--version", "-V", message="interlock %(version)s")
@common
@click.pass_context
def commands(ctx: click.Context) -> None:
    if ctx.invoked_subcommand is None:
        importlib.import_module("interlock.cli.welcome").welcome()


def main(args: list[str] | None = None) -> None:
    """Run the command line and exit. Whatever goes wrong ends in one of the exit codes."""
    sys.exit(outcome(args))


def outcome(args: list[str] | None = None) -> int:
    """The exit code of a command line, its error already told."""
    log_to_stderr(logging.WARNING)
    try:
        code: Any = commands.main(args, prog_name="interlock", standalone_mode=False)
    except Problem as problem:
        problem.tell()
        return problem.code
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx is not None else "interlock"
        Problem(error.format_message(), f"Try: {where} --help").tell()
        return USAGE
    except click.ClickException as error:
        Problem(error.format_message()).tell()
        return USAGE
    except (click.Abort, KeyboardInterrupt):
        say("Interrupted.")
        return INTERRUPTED
    except RpcError as error:
        Problem(error.message, f"This came as JSON-RPC error {error.code}.").tell()
        return FAILED
    except InterlockError as error:
        Problem(str(error)).tell()
        if isinstance(error, ConfigError):
            return NOTHING
        return USAGE if isinstance(error, UsageError) else FAILED
    except Exception as error:  # The top of the program: what arrives here is a bug of ours.
        Problem(
            f"Interlock itself failed: {type(error).__name__}: {error}",
            "This is a bug. Run the command again with --debug to see where.",
        ).tell()
        if logging.getLogger().isEnabledFor(logging.DEBUG):
            say(styled(traceback.format_exc(), "dim"))
        return FAILED
    return code if isinstance(code, int) else OK
