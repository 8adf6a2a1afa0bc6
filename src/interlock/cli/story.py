"""What happened to a server, told in lines: its restarts, its failure, its last words."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Final

from interlock.cli.terminal import safe
from interlock.gateway.config import Note
from interlock.gateway.upstream import Status

_TAIL: Final = "; its last lines on stderr:"
_QUIET: Final = ("starting", "stopped")
"""Events that say nothing a person waits for."""
_WHOLE: Final = ("ended", "needs login")
"""Events whose details are a sentence by themselves."""
_SHORT: Final = 1.0
"""Pauses before a restart that are over before they are read, in seconds."""


def told(one: Status) -> list[str]:
    """Nothing for a server that runs and always has."""
    lines: list[str] = []
    if one.state != "running" and one.error:
        lines += _words(one.error.removeprefix(f"server {one.name!r} "), one.stderr)
    ends = [event for event in one.events if event.what == "ended"]
    if one.restarts and ends:
        times = "once" if one.restarts == 1 else f"{one.restarts} times"
        first, *rest = _words(ends[-1].detail, ())
        lines += [f"was restarted {times}; at {clock(ends[-1].time)} it {first}", *rest]
    return [safe(line) for line in lines]


def event(server: str, what: str, detail: str) -> str | None:
    """A line for something that happened just now; None for what is not worth one."""
    if what in _QUIET:
        return None
    if what == "backing off":
        seconds = detail.removesuffix(" s")
        try:
            if float(seconds) < _SHORT:
                return None
        except ValueError:
            pass
        return safe(f"{server} is tried again in {detail}")
    if what == "running":
        return safe(f"{server} runs")
    if what == "failed":
        # Why has just been told, by the last of the ends it speaks of.
        detail = detail.partition(", the last time: ")[0]
    first, *rest = _words(detail.removeprefix(f"server {server!r} "), ())
    shown = first if what in _WHOLE else f"{_VERBS.get(what, what)}{f': {first}' if first else ''}"
    return safe("; ".join([f"{server} {shown}", *rest]))


def noted(notes: Iterable[Note]) -> list[str]:
    """What is to be known of the configuration, a line each."""
    return [safe(str(note)) for note in notes]


def clock(moment: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(moment))


_VERBS: Final = {
    "not started": "did not start",
    "failed": "is given up",
    "changed": "changed its",
    "not listed": "could not be listed",
    "cut": "lists too much",
}


def _words(detail: str, stderr: Iterable[str]) -> list[str]:
    """The cause in a line, and the last line of stderr where there is one."""
    first, *rest = detail.splitlines() or [""]
    last = [line.strip() for line in (*stderr, *rest) if line.strip()]
    first = first.removesuffix(_TAIL)
    return [first, f"stderr: {last[-1]}"] if last else [first]
