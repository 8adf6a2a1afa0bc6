"""The server's own bounded pool for sync handlers: nothing else runs in it or waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Final, TypeAlias

from interlock.errors import INTERNAL_ERROR, RpcError
from interlock.protocol.call import Call

WORKERS: Final = 64
"""How many sync handlers may run at once, unless told otherwise."""
WAITING: Final = 1000
"""How many more may wait for a thread."""


class _Job:
    """One function to run, and where its result goes."""

    __slots__ = ("call", "future", "loop", "run")

    def __init__(self, call: Call, run: Callable[[], Any], loop: asyncio.AbstractEventLoop) -> None:
        self.call = call
        self.run = run
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()


_Queue: TypeAlias = SimpleQueue[_Job | None]


class Threads:
    """Runs sync functions in at most *workers* threads, started when first needed.

    Calls beyond `WAITING` that wait for a thread are refused rather than kept. A thread cannot be
    interrupted: when its caller leaves, `call.cancelled` turns true and the result is dropped. The
    threads are daemons, so that one that never returns does not keep a server from ending.
    """

    def __init__(self, workers: int = WORKERS, waiting: int = WAITING) -> None:
        self._workers = workers
        self._room = workers + waiting
        self._busy = 0
        self._started = 0
        self._jobs: _Queue = SimpleQueue()
        self._idle = threading.Semaphore(0)

    async def run(
        self, call: Call, function: Callable[..., Any], /, *args: Any, **named: Any
    ) -> Any:
        """What *function* returns, or raises; run with the context variables of now."""
        if self._busy >= self._room:
            raise RpcError(
                INTERNAL_ERROR, f"Busy: {self._busy} sync calls run or wait; try again later"
            )
        context = contextvars.copy_context()
        job = _Job(call, lambda: context.run(function, *args, **named), asyncio.get_running_loop())
        self._busy += 1
        self._jobs.put(job)
        if not self._idle.acquire(blocking=False) and self._started < self._workers:
            self._started += 1
            threading.Thread(
                target=self._work,
                args=(self._jobs, self._idle),
                name="interlock-handler",
                daemon=True,
            ).start()
        try:
            return await job.future
        except asyncio.CancelledError:
            call.cancelled = True
            raise

    def stop(self) -> None:
        """Let the threads end once they are done; the next `run` starts others."""
        for _ in range(self._started):
            self._jobs.put(None)
        self._started = 0
        self._jobs = SimpleQueue()
        self._idle = threading.Semaphore(0)

    def _work(self, jobs: _Queue, idle: threading.Semaphore) -> None:
        while (job := jobs.get()) is not None:
            value: Any = None
            error: BaseException | None = None
            if not job.call.cancelled:
                try:
                    value = job.run()
                except Exception as raised:
                    # The top of a thread: what a handler raises is its call's to report.
                    error = raised
                except BaseException as raised:
                    # `sys.exit()` and the like end neither the thread nor the server.
                    error = RuntimeError(f"{type(raised).__name__} in a thread")
                    error.__cause__ = raised
            # Free before anyone can know: whoever calls again at once finds this thread.
            idle.release()
            with contextlib.suppress(RuntimeError):  # The loop was closed: nobody waits any more.
                job.loop.call_soon_threadsafe(self._done, job, value, error)
            # Nothing of a call may outlive it here, where a thread may wait for long.
            del job, value, error

    def _done(self, job: _Job, value: Any, error: BaseException | None) -> None:
        self._busy -= 1
        if job.future.done():
            return
        if error is None:
            job.future.set_result(value)
            return
        if isinstance(error, StopIteration):
            # A future refuses it, and the call would wait for ever.
            error = RuntimeError(f"StopIteration: {error.value!r}")
        job.future.set_exception(error)
