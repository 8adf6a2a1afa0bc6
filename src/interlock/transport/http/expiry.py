"""What was opened with a token ends with it: when that is, as the event loop counts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from interlock.protocol.call import Principal

FAR: Final = 30 * 24 * 3600.0
"""No timer is set further ahead; who has a token for longer comes back once a month."""


def left_to(principal: Principal) -> float | None:
    """For how many seconds *principal* may stay; None for as long as it likes."""
    until = principal.expires_at
    return None if until is None else min(max(0.0, until - time.time()), FAR)


def at_expiry(principal: Principal, end: Callable[[], object]) -> asyncio.TimerHandle | None:
    """Call *end* when *principal*'s time is over; cancel what is returned if it left before."""
    seconds = left_to(principal)
    return None if seconds is None else asyncio.get_running_loop().call_later(seconds, end)
