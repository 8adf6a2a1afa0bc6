"""What is kept of tasks, for whoever asks again: in a store, under the name of whose they are.

Nothing here runs a task. Every change is written over the version that was read, and told on the
store's bus, so that several workers can serve one store: one runs a task, another is asked for it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from msgspec import UNSET, Raw, Struct

from interlock.errors import INTERNAL_ERROR, RpcError, StoreError
from interlock.protocol.call import NO_SCOPES, Principal
from interlock.protocol.dispatch import modern_code
from interlock.protocol.sealing import digest
from interlock.store.ports import Store, Unsubscribe
from interlock.wire.decoding import Decoder
from interlock.wire.jsonrpc import encode
from interlock.wire.tasks import TERMINAL, GetTaskResult, Status, Task

_TRIES: Final = 50
"""How often a change is tried over a newer version, until the store counts as broken."""


class TaskLimits(Struct, frozen=True):
    """What a server spends on tasks.

    A task may run for *ttl* seconds, and is kept for as long after its end. *grace* is how long a
    tool with `task="optional"` may take to be answered as any other call: what is done by then
    needs no task. Beyond *total* tasks, or *each* of one caller, finished ones included, calls are
    answered without a task, or refused where there must be one. A result longer than
    *result_bytes* fails its task. Clients are asked to wait *poll* seconds between two looks at a
    task that is young, and up to 25 times as long later. *lease* is how many seconds after its
    server died a task counts as running.
    """

    ttl: float = 3600.0
    grace: float = 0.1
    total: int = 10_000
    each: int = 1_000
    result_bytes: int = 16 * 1024 * 1024
    poll: float = 0.2
    lease: float = 30.0


class Question(Struct):
    method: str
    params: Raw


class Record(Struct):
    """A task as it is kept. Times are in milliseconds, *created* and *updated* since 1970. *scopes*
    are what the token of whoever asks for it has to allow, as that of its call had to.
    """

    id: str
    worker: str
    created: int
    updated: int
    ttl: int
    status: Status = "working"
    message: str | None = None
    is_error: bool = False
    questions: dict[str, Question] = {}
    error: dict[str, Any] | None = None
    scopes: frozenset[str] = NO_SCOPES

    @property
    def over(self) -> bool:
        return self.status in TERMINAL

    def settle(self, status: Status, message: str | None = None) -> None:
        self.status = status
        self.message = message
        self.questions = {}


class Answer(Struct, omit_defaults=True):
    """What a client said to a question: the result, or the error that it gave instead."""

    result: Raw = Raw()
    error: dict[str, Any] | None = None


_record: Final = Decoder(Record)
_answer: Final = Decoder(Answer)

Change: TypeAlias = Callable[[Record], bool]
"""Changes a record, and says whether there is anything to write."""


class Ledger:
    """The tasks of one service in one store.

    *runs* says whether this process runs the task under a key.
    """

    def __init__(
        self,
        store: Store,
        limits: TaskLimits,
        runs: Callable[[str], bool],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.worker = os.urandom(8).hex()
        self.limits = limits
        self._runs = runs
        self._clock = clock
        self._bus = store.bus
        self._records = store.table("tasks")
        self._results = store.table("task-results")
        self._answers = store.table("task-answers")
        self._workers = store.table("task-workers")

    def now(self) -> int:
        return int(self._clock() * 1000)

    async def vouch(self) -> None:
        """Say that this worker lives, and so do the tasks it runs."""
        if not await self._workers.touch(self.worker, self.limits.lease):
            await self._workers.put(self.worker, b"", ttl=self.limits.lease)

    async def leave(self) -> None:
        """Say that it does no more."""
        await self._workers.take(self.worker)

    def draft(self, ttl: float, scopes: frozenset[str] = NO_SCOPES) -> Record:
        """A new task, not kept yet."""
        now = self.now()
        return Record(os.urandom(16).hex(), self.worker, now, now, int(ttl * 1000), scopes=scopes)

    async def create(self, key: str, record: Record) -> bool:
        """Keep a new task from now on; False where there is no room for one more."""
        # Kept beyond its time: whoever runs it has to find it then, to say that it failed.
        ttl = record.ttl / 1000 + self.limits.lease
        await self._records.put(key, encode(record), ttl=ttl, version=0)
        # Counted with it: of many that come at once, each would find the room that is left.
        if (
            await self._records.count(key.partition("/")[0] + "/") <= self.limits.each
            and await self._records.count() <= self.limits.total
        ):
            return True
        await self.forget(key)
        return False

    async def forget(self, key: str) -> None:
        await self._records.take(key)

    async def find(self, key: str) -> Record | None:
        """The task under *key*; if nobody runs it any more though it should, it has failed."""
        entry = await self._records.get(key)
        if entry is None:
            return None
        record = _record.decode(entry.value)
        if record.over or await self._lives(key, record):
            return record
        return await self.change(key, _lost)

    async def change(self, key: str, change: Change) -> Record | None:
        """The task under *key* as *change* leaves it; what is over stays as it is.

        None if there is no such task.
        """
        for _ in range(_TRIES):
            entry = await self._records.get(key)
            if entry is None:
                return None
            record = _record.decode(entry.value)
            if record.over or not change(record):
                return record
            record.updated = max(self.now(), record.updated)
            if record.over:
                # Kept as long after its end as it could run: nobody knows when its client comes.
                record.ttl += record.updated - record.created
            left = (record.created + record.ttl - record.updated) / 1000
            if not record.over:
                left += self.limits.lease
            if await self._records.put(
                key, encode(record), ttl=max(left, 1.0), version=entry.version
            ):
                await self._bus.publish(f"task/{key}", b"")
                return record
        raise StoreError(f"A task was changed {_TRIES} times while it was to be changed")

    async def keep(self, key: str, body: bytes, seconds: float) -> None:
        """Keep what a task of so many seconds came to, before it is said that it came to it."""
        # Longer than its record, and not by much: of records there are only so many.
        await self._results.put(key, body, ttl=2 * seconds + self.limits.lease)

    async def result(self, key: str) -> Raw:
        entry = await self._results.get(key)
        if entry is None:
            raise RpcError(INTERNAL_ERROR, "The result of this task is lost")
        return Raw(entry.value)

    async def answered(self, key: str, answers: dict[str, Answer]) -> None:
        """Hand the task what its client said; of two answers to one question the first counts."""
        for name, answer in answers.items():
            await self._answers.put(f"{key}/{name}", encode(answer), ttl=self.limits.ttl, version=0)

        def without(record: Record) -> bool:
            left = {n: asked for n, asked in record.questions.items() if n not in answers}
            if len(left) == len(record.questions):
                return False
            record.questions = left
            if not left:
                record.status = "working"
            return True

        await self.change(key, without)

    async def answer(self, key: str, name: str) -> Answer | None:
        """What was said to a question, once."""
        value = await self._answers.take(f"{key}/{name}")
        return _answer.decode(value) if value is not None else None

    async def watch(self, key: str, changed: Callable[[], None]) -> Unsubscribe:
        """Have *changed* called whenever the task is not what it was."""
        return await self._bus.subscribe(f"task/{key}", lambda _: changed())

    async def page(self, owner: str, after: str, limit: int) -> tuple[list[Record], str | None]:
        """So many tasks of *owner*, behind the one called *after*, and what to go on with."""
        keys = await self._records.keys(f"{owner}/", after=f"{owner}/{after}", limit=limit + 1)
        found = [await self.find(key) for key in keys[:limit]]
        more = keys[limit - 1].rpartition("/")[2] if len(keys) > limit else None
        return [record for record in found if record is not None], more

    # How either era has it.

    def modern(self, record: Record, result: Raw | None = None) -> GetTaskResult:
        """A task with all that belongs to its status."""
        asks = record.status == "input_required"
        return GetTaskResult(
            task_id=record.id,
            status=record.status,
            status_message=record.message,
            created_at=_iso(record.created),
            last_updated_at=_iso(record.updated),
            ttl_ms=record.ttl,
            poll_interval_ms=self._poll(record),
            input_requests=dict(record.questions) if asks else None,
            result=result if result is not None else UNSET,
            error=_as_answered(record.error),
        )

    def legacy(self, record: Record, type_: type[Task] = Task) -> Task:
        """The same for the experiment, where a tool that fails is a task that failed."""
        return type_(
            task_id=record.id,
            status="failed" if record.is_error else record.status,
            status_message=record.message,
            created_at=_iso(record.created),
            last_updated_at=_iso(record.updated),
            ttl=record.ttl,
            poll_interval=self._poll(record),
        )

    def _poll(self, record: Record) -> int:
        """After how many milliseconds to ask again: often at first, then less and less."""
        least = int(self.limits.poll * 1000)
        return max(1, least, min(25 * least, (self.now() - record.created) // 4))

    async def _lives(self, key: str, record: Record) -> bool:
        if record.worker == self.worker:
            return self._runs(key)
        return await self._workers.get(record.worker) is not None


def owner_of(principal: Principal) -> str:
    """Under which name tasks of this caller are kept: no other caller's keys begin with it."""
    words = (principal.issuer, principal.subject, principal.client_id)
    return digest(*(word.encode() for word in words)).hex()[:32]


def key_of(owner: str, id: str) -> str:
    return f"{owner}/{id}"


def _as_answered(error: dict[str, Any] | None) -> dict[str, Any] | None:
    """A task's error as the call itself would have been answered with it (SEP-2663 § Results)."""
    return {**error, "code": modern_code(error["code"])} if error is not None else None


def _lost(record: Record) -> bool:
    why = "The server ended while this task ran"
    record.settle("failed", why)
    record.error = {"code": INTERNAL_ERROR, "message": why}
    return True


def _iso(milliseconds: int) -> str:
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
