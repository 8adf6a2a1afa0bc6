"""Servers as a table of at most 80 columns, and what is to be told of them beneath it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from interlock.cli.story import noted, told
from interlock.cli.terminal import safe
from interlock.gateway.config import Config, Note
from interlock.gateway.upstream import Status

_COLOURS: Final = {
    "running": "green",
    "starting": "yellow",
    "backing off": "yellow",
    "needs login": "yellow",
    "failed": "red",
}
_UNBROKEN: Final = 100_000
_COUNTS: Final = ("tools", "resources", "templates", "prompts", "tokens")


def console() -> Console:
    """Stdout, with colours where they can be seen, and no line broken where a program reads."""
    width = None if sys.stdout.isatty() else _UNBROKEN
    return Console(file=sys.stdout, width=width, highlight=False, markup=False, emoji=False)


def servers(statuses: Sequence[Status], config: Config) -> RenderableType:
    """The table, then a story for each server that has one, then notes on the configuration."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("server", overflow="fold", max_width=24)
    table.add_column("state", no_wrap=True)
    for count in _COUNTS:
        table.add_column(count, justify="right", no_wrap=True)
    for one in statuses:
        counts = [f"{getattr(one, count):,}" for count in _COUNTS]
        state = Text(safe(one.state), style=_COLOURS.get(one.state, ""))
        # What a server offered before it ended is still listed: it may come back.
        known = one.revision is not None
        table.add_row(Text(safe(one.name)), state, *(counts if known else ["–"] * len(_COUNTS)))
    left_out = [note for note in config.notes if note.server and note.kind != "warning"]
    for note in left_out:
        table.add_row(Text(safe(note.server or "")), note.kind, *["–"] * len(_COUNTS))
    if len(statuses) > 1:
        sums = [f"{sum(getattr(one, count) for one in statuses):,}" for count in _COUNTS]
        table.add_row("", "", *(Text(total, style="bold") for total in sums))
    return Group(table, *_beneath(statuses, config.notes))


def _beneath(statuses: Iterable[Status], notes: Iterable[Note]) -> list[RenderableType]:
    lines: list[RenderableType] = []
    for one in statuses:
        story = told(one)
        if story:
            lines.append(Text(f"\n{safe(one.name)} {story[0]}", style=_COLOURS.get(one.state, "")))
            lines += [Text(f"  {line}") for line in story[1:]]
    found = noted(notes)
    if found:
        lines.append(Text(""))
        lines += [Text(f"! {line}", style="yellow") for line in found]
    return lines
