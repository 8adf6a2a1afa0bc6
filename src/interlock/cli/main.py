"""Which commands there are, and what becomes of an exception that leaves one."""

from __future__ import annotations

import importlib
import logging
import sys
import traceback
from typing import Any, Final

import click

from interlock.cli.command import SETTINGS, Commands, common, log_to_stderr
from interlock.cli.problem import FAILED, INTERRUPTED, NOTHING, OK, USAGE, Problem
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


@click.group(
    cls=Commands,
    members=COMMANDS,
    modules="interlock.cli.",
    examples=(
        ("interlock up", "Start the servers of this folder, and serve them at one endpoint."),
        ("interlock call time.get_current_time timezone=Europe/Rome", "Call a tool of one."),
    ),
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
