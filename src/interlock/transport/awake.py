"""An event loop that stays awake for a moment after a short wait: the next may well be as short.

Between one call over pipes and the next, most time goes by while sleeping processes are woken, more
than the call takes. `docs/decisions/awake.md` has what it gains and costs.
"""

from __future__ import annotations

import asyncio
import os
import selectors
from collections.abc import Callable
from time import monotonic
from typing import Final

MOMENT: Final = 100e-6
"""Seconds: a shorter wait is short, and for so long it looks again before it sleeps. A program that
takes an answer and asks on is back in half of it; one that asks a model first, in ten thousand times."""

# To whoever could use this core: with only one it is the very peer that is waited for.
_step_aside: Final[Callable[[], object]] = getattr(os, "sched_yield", lambda: None)


class AwakeSelector(selectors.DefaultSelector):
    """The system's own selector, which looks more than once before it sleeps, while waits are short.

    A moment in vain is the last one until a wait was short again. *clock* counts seconds.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._brisk = False

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout <= 0:
            return super().select(timeout)
        began = now = self._clock()
        if self._brisk:
            until = began + (MOMENT if timeout is None else min(MOMENT, timeout))
            while now < until:
                if ready := super().select(0):
                    return ready
                _step_aside()
                now = self._clock()
        ready = super().select(timeout)
        self._brisk = self._clock() - began < MOMENT
        return ready


def awake_loop() -> asyncio.AbstractEventLoop:
    """A new event loop that does so, unless this program has chosen another than asyncio's own."""
    usual = asyncio.new_event_loop()
    if type(usual) is not asyncio.SelectorEventLoop:
        return usual
    usual.close()
    return asyncio.SelectorEventLoop(AwakeSelector())
