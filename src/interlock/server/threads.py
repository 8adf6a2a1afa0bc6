"""The server's own bounded pool for sync handlers: nothing else runs in it or waits for it."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from interlock.errors import INTERNAL_ERROR, RpcError
from interlock.protocol.call import Call

WORKERS: Final = 64
QUEUE: Final = 1000


class Threads:
    """Runs sync functions in at most *workers* threads, started when first needed.

    Calls beyond *queue* that wait for a thread are refused rather than kept. A thread cannot be
    interrupted: when its caller leaves, `call.cancelled` turns true and the result is dropped.
    """

    def __init__(self, workers: int = WORKERS, queue: int = QUEUE) -> None:
        self._workers = workers
        self._room = workers + queue
        self._busy = 0
        self._pool: ThreadPoolExecutor | None = None

    async def run(self, call: Call, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if self._busy >= self._room:
            raise RpcError(
                INTERNAL_ERROR, f"Busy: {self._busy} sync calls run or wait; try again later"
            )
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._workers, "interlock-handler")
        context = contextvars.copy_context()
        future = self._pool.submit(context.run, lambda: function(*args, **kwargs))
        self._busy += 1
        future.add_done_callback(self._done)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            call.cancelled = True
            raise

    def stop(self) -> None:
        """Start nothing more. Threads that still run are left to end by themselves."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None

    def _done(self, _: object) -> None:
        self._busy -= 1
