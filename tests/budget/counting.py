"""How many calls of this package's functions something takes, and of builtins by them."""

from __future__ import annotations

import cProfile
import gc
import pstats
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias, cast

import interlock

Where: TypeAlias = tuple[str, int, str]
Entry: TypeAlias = tuple[int, int, float, float, dict[Where, tuple[int, int, float, float]]]

HERE = str(Path(interlock.__file__).parent)


async def own_calls(once: Callable[[], Awaitable[Any]]) -> int:
    """Of *once*, which was done before: what happens only the first time has happened.

    The event loop's own are left out: they differ between Python versions, and between loops.
    """
    profile = cProfile.Profile()
    gc.disable()  # A collection in between would call what others registered with it.
    try:
        profile.enable()
        await once()
        profile.disable()
    finally:
        gc.enable()
    # By function, where it stands first: primitive calls, calls, own time, time, callers.
    entries = cast("dict[Where, Entry]", vars(pstats.Stats(profile))["stats"])
    total = 0
    for (file, _, _), (_, calls, _, _, callers) in entries.items():
        if file.startswith(HERE):
            total += calls
        elif file == "~":
            total += sum(callers[where][0] for where in callers if where[0].startswith(HERE))
    return total
