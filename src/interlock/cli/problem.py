"""What ends a command early: its exit code, and how it is told on stderr."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Final

from interlock.cli.terminal import say, styled

OK: Final = 0
FAILED: Final = 1
"""The call failed, or the server did."""
USAGE: Final = 2
"""The command line cannot be meant as it was typed."""
NOTHING: Final = 3
"""There is nothing to connect to, or the configuration cannot be used."""
INTERRUPTED: Final = 130

EXITS: Final = (
    "0 done · 1 the call or a server failed · 2 wrong usage · "
    "3 nothing to connect to, or a configuration problem · 130 interrupted"
)


class Problem(Exception):
    """A command cannot go on: what happened, what it means, what to type next, one line each."""

    def __init__(self, what: str, *more: str, code: int = FAILED) -> None:
        super().__init__(what)
        self.what = what
        self.more = more
        self.code = code

    def tell(self) -> None:
        first, *rest = self.what.splitlines() or ["unknown"]
        say(f"{styled('error:', 'red')} {first}")
        for line in (*rest, *self.more):
            say(f"  {line}")


def meant(typed: str, known: Iterable[str]) -> str:
    """The question whether one of *known* was meant, or what there is; never an empty string."""
    names = list(known)
    close = difflib.get_close_matches(typed, names, n=1, cutoff=0.6)
    if close:
        return f"Did you mean {close[0]!r}?"
    if not names:
        return "There are none."
    shown = ", ".join(sorted(names)[:12])
    return f"There {'is' if len(names) == 1 else 'are'}: {shown}{', …' if len(names) > 12 else ''}"
