"""`interlock` alone: what is here, and what to type next."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from interlock.cli.reach import configured, running
from interlock.cli.story import clock, noted
from interlock.cli.terminal import put, safe
from interlock.gateway.config import FILE_NAME
from interlock.version import VERSION

_EXAMPLE: Final = """\
  {"mcpServers": {
    "time":  {"command": "interlock", "args": ["run", "interlock.reference.time"]},
    "tasks": {"command": "interlock", "args": ["run", "interlock.reference.tasks"]}
  }}"""


def welcome() -> None:
    put(f"interlock {VERSION}: many Model Context Protocol servers behind one door\n")
    path = Path(FILE_NAME)
    if not path.exists():
        put(
            f"There is no {FILE_NAME} here. It names the servers of a folder; to begin, save this:\n"
        )
        put(f"{_EXAMPLE}\n")
        _next(("interlock up", "start them, and serve them at one endpoint"))
        return
    config = configured(path)
    names = ", ".join(map(safe, config.servers)) or "none that can be used"
    put(f"Servers in {FILE_NAME}: {names}")
    for line in noted(config.notes):
        put(f"  ! {line}")
    gateway = asyncio.run(running(config))
    if gateway is None:
        put("No gateway runs here.\n")
        _next(
            ("interlock up", "start them, and serve them at one endpoint"),
            ("interlock list", "only look at what they offer"),
        )
    else:
        put(f"They are served at {gateway.url} since {clock(gateway.started)}.\n")
        _next(
            ("interlock list", "how they are, and what they offer"),
            ("interlock call SERVER.TOOL key=value", "call a tool"),
            (f"claude mcp add --transport http interlock {gateway.url}", "use them in a host"),
        )


def _next(*steps: tuple[str, str]) -> None:
    put("Next:")
    for typed, effect in (*steps, ("interlock --help", "all commands")):
        put(f"  {typed:<40}  {effect}" if len(typed) <= 40 else f"  {typed}\n{'':44}{effect}")
