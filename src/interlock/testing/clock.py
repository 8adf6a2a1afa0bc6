"""A clock that only moves when it is told to."""

from __future__ import annotations


class Clock:
    """Give it to whatever takes a *clock*; `turn` lets time pass."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def turn(self, seconds: float) -> None:
        self.now += seconds
