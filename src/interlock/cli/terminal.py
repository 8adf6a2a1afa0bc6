"""What a person sees: text of others made harmless, colour only where it can be seen."""

from __future__ import annotations

import os
import sys
from typing import Final, TextIO

from interlock.transport.harmless import harmless

_STYLES: Final = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}


def say(text: str = "") -> None:
    """A line for the person, on stderr: errors, progress, notes."""
    print(text, file=sys.stderr, flush=True)


def put(text: str = "") -> None:
    """A line of the answer, on stdout."""
    print(text, flush=True)


def safe(text: str) -> str:
    """Text of a server over several lines, with nothing in it that acts on a terminal.

    Where stdout is no terminal the answer goes on as it came; a program reads it.
    """
    return "\n".join(harmless(line) for line in text.split("\n"))


def colourful(stream: TextIO) -> bool:
    """Whether colours are seen and wanted there (https://no-color.org)."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb" and stream.isatty()


def styled(text: str, style: str, stream: TextIO | None = None) -> str:
    """*text* in a colour, or as it is where there are none; *stream* is stderr unless given."""
    if not colourful(stream or sys.stderr):
        return text
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m"
