"""What must not happen while messages fly: an error in the log, a broken revision, something left."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.fuzz.kitchen import ALLOWED, is_deliberate
from tests.official import complaint

from interlock.testing.listening import Ear
from interlock.testing.wiretap import Side, Wiretap
from interlock.wire.versions import LATEST_LEGACY

GROWTH: Final = 48 * 1024 * 1024
"""Bytes that a process may grow by between its first fifth of a run and its end."""
SHOWN: Final = 40


class Wrong(AssertionError):
    """Something happened that must not; the text has all that is needed to look into it."""


class Watch(logging.Handler):
    """Keeps what went wrong; `judge` raises it."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.wrong: list[str] = []
        self.incidents = 0

    def emit(self, record: logging.LogRecord) -> None:
        if is_deliberate(record):
            self.incidents += 1
        else:
            self.wrong.append(
                logging.Formatter("%(levelname)s %(name)s: %(message)s").format(record)
            )

    def ear(self, side: Side) -> Ear:
        """Listens to one conversation, *side* of which is ours."""
        tap = Wiretap(complaint, LATEST_LEGACY, judged=(side,))
        return Ear(tap, lambda violation: self.wrong.append(str(violation)))

    def hear_stderr(self, line: str) -> None:
        if line == ALLOWED:
            self.incidents += 1
        else:
            self.wrong.append(f"on stderr: {line}")

    def judge(self, where: str) -> None:
        if self.wrong:
            first = "\n".join(self.wrong[:SHOWN])
            raise Wrong(
                f"{where}: {len(self.wrong)} lines tell what went wrong, the first:\n{first}"
            )


@contextmanager
def watching(where: str) -> Generator[Watch]:
    """Watch the log while something runs; raises `Wrong` when it is over."""
    watch = Watch()
    logging.getLogger().addHandler(watch)
    try:
        yield watch
    finally:
        logging.getLogger().removeHandler(watch)
    watch.judge(where)


async def nothing_left(where: str, patience: int = 200) -> None:
    """Raise `Wrong` unless every task but our own has ended, or soon will."""
    left: set[asyncio.Task[object]] = set()
    for _ in range(patience):
        gc.collect()
        left = asyncio.all_tasks() - {asyncio.current_task()}  # pyright: ignore[reportAssignmentType]
        if not left:
            return
        await asyncio.wait(left, timeout=0.05)
    raise Wrong(f"{where}: {len(left)} tasks are left, among them {list(left)[:3]}")


class Weight:
    """The memory of a process, from when a run is warm to its end."""

    def __init__(self, pid: int | None = None) -> None:
        self._pid = pid if pid is not None else os.getpid()
        self._warm: int | None = None

    def warm(self) -> None:
        if self._warm is None:
            self._warm = self.now()

    def now(self) -> int:
        for line in Path(f"/proc/{self._pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        return 0

    def judge(self, where: str) -> int:
        """How much it grew; raises `Wrong` if that is too much."""
        grown = self.now() - (self._warm or 0)
        if grown > GROWTH:
            raise Wrong(f"{where}: the process grew by {grown // 2**20} MiB once it was warm")
        return grown
