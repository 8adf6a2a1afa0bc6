"""Open 20,000 legacy sessions, 5,000 listeners and 5,000 parked calls, and abandon them all.

    python tests/soak/run.py

Memory must come back to within a tenth of where it began, once the process is warm: what it has of
the system (resident), and what its Python objects take (python). The two are measured in processes
of their own, because to watch the second takes memory itself.

Warm means for the first that it went through all of it once before: an allocator gives back only
what lies together, so that the first crowd leaves holes, which the second must fit into.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import gc
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.soak.crowd import Place, TurningLoop, come, leave, listen, open_session, park, place

SESSIONS: Final = 20_000
LISTENERS: Final = 5_000
PARKED: Final = 5_000
WARM: Final = {"resident": 1.0, "python": 0.1}
"""How much of the whole is gone through before anything counts."""
TOLERANCE: Final = 1.1
SETTINGS: Final = {
    # Python's own allocator gives memory back by the mebibyte, if nothing at all is left in one.
    "resident": {"PYTHONMALLOC": "malloc"},
    # Watched from the first import on: where it began is all that it has.
    "python": {"PYTHONTRACEMALLOC": "1"},
}
"""How Python is started for each of the two."""


class Kind(NamedTuple):
    """One way to be abandoned: how many, how it begins, and how it ends if not by time alone."""

    name: str
    number: int
    begin: Callable[[Place, int], Awaitable[None]]
    end: Callable[[], Awaitable[None]] | None = None


KINDS: Final = (
    Kind("legacy sessions abandoned", SESSIONS, open_session),
    Kind("listeners dropped", LISTENERS, listen, leave),
    Kind("parked calls abandoned", PARKED, park),
)


class Figures(NamedTuple):
    before: int
    peak: int
    after: int

    def came_back(self, began: int) -> bool:
        """Whether no more is left than there was before, or when the process was warm."""
        return self.after <= max(self.before, began) * TOLERANCE

    def __str__(self) -> str:
        grown = (self.after - self.before) * 100 / self.before
        sizes = " → ".join(f"{size / 2**20:.1f}" for size in self)
        return f"{sizes} MiB ({grown:+.1f} %)"


def resident() -> int:
    """Bytes that the process has, once what it does not need is given back."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("/proc/self/status has no VmRSS: this needs Linux")


def python_level() -> int:
    """Bytes that Python's own objects take."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


async def go_through(kind: Kind, share: float, weigh: Callable[[], int] | None = None) -> Figures:
    """Have a share of *kind* come and be forgotten, weighing before, amid and after."""
    number = max(1, int(kind.number * share))
    async with place(number + 1) as here:
        # One of them first: what is made for the first is not given back.
        await come(here, kind.begin, 1)
        await _end(here, kind)
        before = weigh() if weigh is not None else 0
        await come(here, kind.begin, number)
        peak = weigh() if weigh is not None else 0
        held = here.held
        await _end(here, kind)
        after = weigh() if weigh is not None else 0
    if held < number:
        raise SystemExit(f"{kind.name}: only {held} of {number} were there at once")
    return Figures(before, peak, after)


async def _end(here: Place, kind: Kind) -> None:
    if kind.end is not None:
        await kind.end()
    await here.forget()


async def soak(weigh: Callable[[], int], what: str, share: float) -> bool:
    """All kinds after one another; whether memory came back from each, and from all of it."""
    print(f"{what}, when nobody has come yet: {weigh() / 2**20:.1f} MiB", flush=True)
    for kind in KINDS:
        await go_through(kind, share * WARM[what])
    began = weigh()
    fine = True
    most = 0
    for kind in KINDS:
        found = await go_through(kind, share, weigh)
        most = max(most, found.peak)
        fine = fine and found.came_back(began)
        print(f"{what}, {int(kind.number * share)} {kind.name}: {found}", flush=True)
    whole = Figures(began, most, weigh())
    print(f"{what}, all of it: {whole}", flush=True)
    return fine and whole.came_back(began)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="of all the numbers")
    parser.add_argument("--measure", choices=("resident", "python"), help="only this, in here")
    given = parser.parse_args()
    if given.measure is None:
        codes = [
            subprocess.call(
                [sys.executable, __file__, "--share", str(given.share), "--measure", each],
                env={**os.environ, **settings},
            )
            for each, settings in SETTINGS.items()
        ]
        print("memory came back" if not any(codes) else "memory did not come back")
        return max(codes)
    weigh = resident if given.measure == "resident" else python_level
    with asyncio.Runner(loop_factory=TurningLoop) as runner:
        return 0 if runner.run(soak(weigh, given.measure, given.share)) else 1


if __name__ == "__main__":
    sys.exit(main())
