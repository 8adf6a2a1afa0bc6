"""Tables, journals and a bus in one SQLite file: the default that survives a restart.

Any number of processes on one machine may use one file at the same time (never put it on a network
drive: its locks do not hold there). All work is done in one thread of the store's own, so the
event loop never waits for a disk. What was written survives the death of the process at any point;
after a power failure the last writes may be missing, and the file is still whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from interlock.errors import ConfigError, NotConnected, StoreError
from interlock.store.memory import Ears
from interlock.store.ports import Entry, Hear, Record, Unsubscribe
from interlock.store.sqlite_file import File

T = TypeVar("T")
P = ParamSpec("P")

WAITING: Final = 10.0
"""Seconds that an operation may wait for those before it, until it is given up."""
CROWD: Final = 10_000
"""How many operations may wait."""
SOON: Final = 0.005
LATE: Final = 0.1
"""Seconds between two looks for other processes' messages: the first after one was heard, and what
that grows to while none is. So much later than in the process itself a message may come."""


class SqliteStore:
    """A store in the file *path*, which is made, for this user alone, if there is none.

    Its folder is made too. *clock* gives the time that a ttl is measured in; processes that share
    a file must agree on it.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, clock: Callable[[], float] = time.time
    ) -> None:
        self.path = Path(path)
        if str(self.path) == ":memory:":
            raise ConfigError("A SqliteStore is a file; MemoryStore() keeps things in memory")
        self._clock = clock
        self._users = 0
        self._opened: asyncio.Future[None] | None = None
        self._worker: _Worker | None = None
        self._bus = _Bus(self)

    async def open(self) -> None:
        """Raises `ConfigError` if the file cannot be used, `StoreError` if not at the moment."""
        self._users += 1
        if self._worker is None:
            self._worker = _Worker(self.path, self._clock, self._bus.deliver)
            self._opened = self._worker.submit(File.open)
            # Read, even if everybody who waited for it has left.
            self._opened.add_done_callback(lambda it: it.cancelled() or it.exception())
        assert self._opened is not None
        try:
            await asyncio.shield(self._opened)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """What was begun is finished first."""
        self._users -= 1
        if self._users == 0 and self._worker is not None:
            worker, self._worker = self._worker, None
            self._bus.end()
            await worker.end()

    def table(self, name: str) -> _Table:
        return _Table(self, name)

    def journal(self, name: str) -> _Journal:
        return _Journal(self, name)

    @property
    def bus(self) -> _Bus:
        return self._bus

    @property
    def worker(self) -> _Worker:
        if self._worker is None:
            raise NotConnected(f"The store {self.path} is not open: await its open() first")
        return self._worker

    async def run(
        self, work: Callable[Concatenate[File, P], T], *args: P.args, **named: P.kwargs
    ) -> T:
        return await self.worker.submit(lambda file: work(file, *args, **named))


class _Table:
    def __init__(self, store: SqliteStore, space: str) -> None:
        self._store = store
        self._space = space

    async def get(self, key: str) -> Entry | None:
        return await self._store.run(File.get, self._space, key)

    async def put(
        self, key: str, value: bytes, *, ttl: float | None = None, version: int | None = None
    ) -> int | None:
        return await self._store.run(File.put, self._space, key, value, ttl, version)

    async def touch(self, key: str, ttl: float | None) -> bool:
        return await self._store.run(File.touch, self._space, key, ttl)

    async def take(self, key: str) -> bytes | None:
        return await self._store.run(File.take, self._space, key)

    async def keys(self, prefix: str = "", *, after: str = "", limit: int = 100) -> list[str]:
        return await self._store.run(File.keys, self._space, prefix, after, limit)

    async def count(self, prefix: str = "") -> int:
        return await self._store.run(File.count, self._space, prefix)


class _Journal:
    def __init__(self, store: SqliteStore, space: str) -> None:
        self._store = store
        self._space = space

    async def append(self, stream: str, value: bytes, *, ttl: float | None = None) -> int:
        return await self._store.run(File.append, self._space, stream, value, ttl)

    async def read(self, stream: str, *, after: int = 0, limit: int = 1000) -> Sequence[Record]:
        return await self._store.run(File.read, self._space, stream, after, limit)

    async def trim(self, stream: str, *, before: int) -> None:
        await self._store.run(File.trim, self._space, stream, before)

    async def drop(self, stream: str) -> None:
        await self._store.run(File.drop, self._space, stream)


class _Bus:
    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self._ears = Ears()
        self._listeners = 0

    async def publish(self, topic: str, message: bytes) -> None:
        """Heard in this process at once, in others when they look next, `LATE` at the latest."""
        worker = self._store.worker
        self._ears.hear(topic, message)
        # What was heard here is said to the others, too, though whoever says it leaves.
        await asyncio.shield(worker.submit(lambda file: file.tell(topic, message)))

    async def subscribe(self, topic: str, hear: Hear) -> Unsubscribe:
        worker = self._store.worker
        ears, ear = self._ears, object()
        self._listeners += 1

        async def unsubscribe() -> None:
            if worker.ended or not ears.remove(topic, ear):
                return
            self._listeners -= 1
            if self._listeners == 0:
                await asyncio.shield(worker.submit(File.ignore))

        ears.add(topic, _deaf, ear)
        try:
            # Heard from the step on in which the answer arrives: what comes right behind it counts.
            await worker.submit(File.listen, lambda: ears.add(topic, hear, ear))
        except BaseException:
            await unsubscribe()
            raise
        return unsubscribe

    def deliver(self, messages: list[tuple[str, bytes]]) -> None:
        for topic, message in messages:
            self._ears.hear(topic, message)

    def end(self) -> None:
        self._ears = Ears()
        self._listeners = 0


def _deaf(message: bytes) -> None:
    """Stands for a listener that is about to listen."""


class _Job:
    """Something to do with the file, and where its result goes."""

    __slots__ = ("future", "latest", "then", "work")

    def __init__(
        self,
        work: Callable[[File], Any],
        then: Callable[[], None] | None,
        future: asyncio.Future[Any],
    ) -> None:
        self.work = work
        self.then = then
        self.future = future
        self.latest = time.monotonic() + WAITING


class _Worker:
    """The thread that the file is used in. A daemon: a program may end without closing."""

    def __init__(
        self,
        path: Path,
        clock: Callable[[], float],
        deliver: Callable[[list[tuple[str, bytes]]], None],
    ) -> None:
        self.ended = False
        self._path = path
        self._clock = clock
        self._deliver = deliver
        self._loop = asyncio.get_running_loop()
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._gone = self._loop.create_future()
        threading.Thread(target=self._work, name="interlock-store", daemon=True).start()

    def submit(
        self, work: Callable[[File], T], then: Callable[[], None] | None = None
    ) -> asyncio.Future[T]:
        """Have *work* done, and *then* called in the loop before anything else is heard."""
        if self._jobs.qsize() >= CROWD:
            raise StoreError(f"{self._path}: {CROWD} operations wait already; try again later")
        future: asyncio.Future[T] = self._loop.create_future()
        self._jobs.put(_Job(work, then, future))
        return future

    async def end(self) -> None:
        self.ended = True
        self._jobs.put(None)
        await asyncio.shield(self._gone)

    def _work(self) -> None:
        file = File(self._path, self._clock)
        pause, next_look = SOON, 0.0
        while True:
            left = max(0.0, next_look - time.monotonic()) if file.listening else None
            try:
                job = self._jobs.get(timeout=left)
            except Empty:
                pass
            else:
                if job is None:
                    break
                self._do(file, job)
                file.sweep()
            if not file.listening:
                pause, next_look = SOON, 0.0
            elif time.monotonic() >= next_look:
                pause = SOON if self._look(file) else min(2 * pause, LATE)
                next_look = time.monotonic() + pause
        file.close()
        self._tell(_settle, self._gone, None, None, None)

    def _do(self, file: File, job: _Job) -> None:
        value: Any = None
        error: BaseException | None = None
        if job.future.cancelled():
            return
        if time.monotonic() > job.latest:
            error = StoreError(f"{self._path} is too slow: {WAITING:g} seconds were not enough")
        else:
            try:
                value = file.do(job.work)
            except Exception as raised:
                # The top of a thread: what is wrong is its caller's to hear.
                error = raised
            # What another process said before a listener came was said before, for it.
            self._look(file)
        self._tell(_settle, job.future, value, error, job.then)

    def _look(self, file: File) -> bool:
        """Hear what other processes said; whether there was something."""
        messages = file.look()
        if messages:
            self._tell(self._deliver, messages)
        return bool(messages)

    def _tell(self, function: Callable[..., None], *args: Any) -> None:
        with contextlib.suppress(RuntimeError):  # The loop was closed: nobody waits any more.
            self._loop.call_soon_threadsafe(function, *args)


def _settle(
    future: asyncio.Future[Any],
    value: Any,
    error: BaseException | None,
    then: Callable[[], None] | None,
) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
        return
    if then is not None:
        then()
    future.set_result(value)
