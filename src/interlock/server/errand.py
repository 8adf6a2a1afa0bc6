"""A call that goes on without its request: what it says and asks, and how it ends.

The handler sees an outlet like any other's. Until the call has become a task that is the request's
own; from then on a question is published in the task and answered through it, progress becomes the
task's message, and what else is said goes to a 2025-11-25 client's session, or nowhere.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

import msgspec
from msgspec import Raw

from interlock.errors import INTERNAL_ERROR, INVALID_REQUEST, RpcError, StoreError
from interlock.protocol.call import Call
from interlock.protocol.outlet import SILENT, Outlet
from interlock.protocol.rounds import asks, rounds
from interlock.protocol.sealing import digest
from interlock.server.ledger import Answer, Change, Ledger, Question, Record
from interlock.store.ports import Unsubscribe
from interlock.transport.eager import eagerly
from interlock.wire.decoding import Decoder
from interlock.wire.jsonrpc import UNREADABLE, encode
from interlock.wire.meta import RawResult, RequestMeta, Result, Wire
from interlock.wire.notices import PROGRESS, ProgressNotice
from interlock.wire.tasks import STATUS, Status, related

log: Final = logging.getLogger("interlock.tasks")

QUESTIONS: Final = 64
"""How many questions one task may have open at once."""
ASKED: Final = 1000
"""How many it may ask in all: each has a key of its own for as long as the task is kept."""
PACE: Final = 0.5
"""Seconds between two writes of a task's progress."""
MESSAGE: Final = 500
"""How long a task's message may be, in characters."""
PAUSES: Final = (0.2, 1.0, 5.0)
"""Seconds before the end of a task is written again, where the store could not."""


class _Relayed(Wire):
    """What matters of a result that is relayed."""

    is_error: bool = False


_relayed: Final = Decoder(_Relayed)

Run = Callable[[Call], Awaitable[Result]]


class Errand:
    """One handler that runs apart from its request, and the outlet of its call."""

    def __init__(
        self, ledger: Ledger, call: Call, task: asyncio.Task[Result] | None = None
    ) -> None:
        """*task* is the handler's where it runs already, with *call* its own."""
        loop = asyncio.get_running_loop()
        self.key = ""
        self.id = ""
        self.call = call if task is not None else msgspec.structs.replace(call, outlet=self)
        self.wants: asyncio.Future[None] = loop.create_future()
        """Done once it asks: from then on it must be a task."""
        self.becomes = False
        """Whether a task is being made of it, if there is room for one."""
        self.ended: asyncio.Future[None] = loop.create_future()
        """Done once it is over, and that is on record."""
        self._ledger = ledger
        self._task = task
        self._outlet: Outlet = call.outlet if task is None else SILENT
        self._begun: asyncio.Future[bool] = loop.create_future()
        self._asking: dict[str, asyncio.Future[Answer]] = {}
        self._used: set[str] = set()
        self._message: str | None = None
        self._reason: str | None = None
        self._told: tuple[str, str | None] = ("", None)
        self._unheard = task is None and _wants_progress(self.call)
        self._seconds = 0.0
        self._looks: int = 0
        self._timer: asyncio.TimerHandle | None = None
        self._pacing: asyncio.TimerHandle | None = None
        self._unsubscribe: Unsubscribe | None = None
        self._chores: set[asyncio.Task[None]] = set()

    # As a handler that runs.

    @property
    def task(self) -> asyncio.Task[Result]:
        assert self._task is not None
        return self._task

    def start(self, run: Run) -> None:
        self._task = eagerly(self._run(run), asyncio.get_running_loop())
        if self.call.cancelled:
            self._task.cancel()

    async def _run(self, run: Run) -> Result:
        result = await run(self.call)
        # Before there is a task its caller is asked, by its result; from then on the task asks.
        if asks(result) and self.becomes and await asyncio.shield(self._begun):
            result = await rounds(run, self.call, result, self._ask)
        return result

    async def settled(self, seconds: float) -> None:
        """Wait until it is done or asks, but no longer than that."""
        await asyncio.wait(
            [self.task, self.wants], timeout=seconds, return_when=asyncio.FIRST_COMPLETED
        )

    async def end(self) -> None:
        """End the handler, and wait until it has."""
        self._cancel()
        await asyncio.wait([self.task])
        if not self.task.cancelled():
            self.task.exception()  # Read: nobody else will.

    async def begin(self, key: str, record: Record) -> bool:
        """Be the task of *record* from now on; False if there is no room for one more."""
        unsubscribe = await self._ledger.watch(key, self.look)
        try:
            kept = await self._ledger.create(key, record)
        except BaseException:
            # However it ends, cancellation included: who listens for what is not kept would for ever.
            await unsubscribe()
            raise
        if not kept:
            await unsubscribe()
            return False
        self.key, self.id, self._seconds = key, record.id, record.ttl / 1000
        self._unheard = self._unheard or _wants_progress(self.call)
        self._unsubscribe = unsubscribe
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._overdue)
        self._begun.set_result(True)
        if self._message is not None:
            self._pace()
        return True

    def attend(self) -> None:
        """See to its end, once it runs."""
        self.task.add_done_callback(lambda task: self._do(self._finish(task)))

    def refuse(self) -> None:
        """It cannot become a task: it goes on as the call it was, and cannot ask."""
        self._begun.set_result(False)

    def stop(self, reason: str) -> None:
        """End it for a *reason* of the server's."""
        self._reason = reason
        self._cancel()

    def _cancel(self) -> None:
        self.call.cancelled = True
        if self._task is not None:
            self._task.cancel()

    # As the outlet of the handler's call.

    def notify(self, method: str, params: Wire | Raw) -> None:
        if method == PROGRESS and isinstance(params, ProgressNotice):
            total = f" of {params.total:g}" if params.total is not None else ""
            self._message = (params.message or f"{params.progress:g}{total}")[:MESSAGE]
            if self.key and self._pacing is None:
                self._pace()
            if self._unheard:
                return
        if not self.key:
            self._outlet.notify(method, params)
            return
        session = self.call.session
        if session is not None:
            data = params if isinstance(params, Raw) else encode(params)
            session.standing.notify(method, related(data, self.id))

    async def drain(self) -> None:
        if not self.key:
            await self._outlet.drain()

    def close_stream(self, retry: float) -> None:
        if not self.key:
            self._outlet.close_stream(retry)

    async def ask(self, method: str, params: Wire | Raw, *, key: str = "") -> Raw:
        if not self.wants.done():
            self.wants.set_result(None)
        if not await asyncio.shield(self._begun):
            raise RpcError(INVALID_REQUEST, "There are too many tasks for this one to ask")
        data = params if isinstance(params, Raw) else Raw(encode(params))
        if len(self._asking) >= QUESTIONS or len(self._used) >= ASKED:
            raise RpcError(INVALID_REQUEST, "This task asks too many questions")
        name = self._name(method, data, key)
        asking = self._asking[name] = asyncio.get_running_loop().create_future()
        question = Question(method, data)

        def publish(record: Record) -> bool:
            record.questions[name] = question
            record.status = "input_required"
            return True

        try:
            record = await self._ledger.change(self.key, publish)
            if record is None or record.over:
                raise RpcError(INVALID_REQUEST, "This task is over, and can ask nothing")
            answer = await asking
        finally:
            del self._asking[name]
            if not asking.done() or asking.cancelled():
                self._do(self._withdraw(name))
        if answer.error is not None:
            error = answer.error
            raise RpcError(error["code"], error["message"], error.get("data"))
        return answer.result

    async def _ask(self, method: str, params: Raw, key: str) -> Raw:
        return await self.ask(method, params, key=key)

    def _name(self, method: str, params: Raw, key: str) -> str:
        """A key that nothing else was asked under, nor ever will be."""
        stem = key or f"{method.partition('/')[0]}-{digest(params).hex()[:12]}"
        name, count = stem, 1
        while name in self._used:
            count += 1
            name = f"{stem}-{count}"
        self._used.add(name)
        return name

    async def _withdraw(self, name: str) -> None:
        def without(record: Record) -> bool:
            if record.questions.pop(name, None) is None:
                return False
            if not record.questions:
                record.status = "working"
            return True

        await self._ledger.change(self.key, without)

    # What others do to it, and what they are told.

    def look(self) -> None:
        """See soon what was said to its questions, and whether it was cancelled."""
        self._looks += 1
        if self._looks == 1:
            self._do(self._look())

    async def _look(self) -> None:
        try:
            while self._looks:
                seen = self._looks
                await self._see()
                self._looks -= seen
        finally:
            self._looks = 0

    async def _see(self) -> None:
        record = await self._ledger.find(self.key)
        if (record is None or record.status == "cancelled") and not self.call.cancelled:
            self._cancel()  # Once: what it does about that may take time.
        for name, asking in list(self._asking.items()):
            answer = await self._ledger.answer(self.key, name)
            if answer is not None and not asking.done():
                asking.set_result(answer)
        if record is not None:
            self._tell(record)

    def _tell(self, record: Record) -> None:
        """Tell a client of the experiment, if this is news to it."""
        session = self.call.session
        if session is None:
            return
        view = self._ledger.legacy(record)
        news = (view.status, view.status_message)
        if news != self._told:
            self._told = news
            session.standing.notify(STATUS, view)

    def _pace(self) -> None:
        self._pacing = asyncio.get_running_loop().call_later(PACE, self._paced)
        message, self._message = self._message, None
        self._do(self._report(message))

    def _paced(self) -> None:
        self._pacing = None
        if self._message is not None:
            self._pace()

    async def _report(self, message: str | None) -> None:
        def say(record: Record) -> bool:
            record.message = message
            return True

        await self._ledger.change(self.key, say)

    def _overdue(self) -> None:
        self.stop(f"This task took longer than {self._seconds:g} seconds")

    async def _finish(self, task: asyncio.Task[Result]) -> None:
        try:
            await self._write(*self._outcome(task))
        finally:
            for timer in (self._timer, self._pacing):
                if timer is not None:
                    timer.cancel()
            for asking in self._asking.values():
                asking.cancel()  # The handler left a question behind that nobody waits for.
            try:
                if self._unsubscribe is not None:
                    await self._unsubscribe()
            finally:
                self.ended.set_result(None)

    async def _write(self, body: bytes | None, settle: Change) -> None:
        """Put the end on record, if need be when the store is itself again."""
        for pause in (*PAUSES, None):
            try:
                if body is not None:
                    await self._ledger.keep(self.key, body, self._seconds)
                record = await self._ledger.change(self.key, settle)
            except StoreError as error:
                log.error("task %s: its end cannot be kept: %s", self.id, error)
                if pause is not None:
                    await asyncio.sleep(pause)
            else:
                if record is not None:
                    self._tell(record)
                return

    def _outcome(self, task: asyncio.Task[Result]) -> tuple[bytes | None, Change]:
        """What the handler came to, if there is such a thing, and what the record is to say of it."""
        if task.cancelled():
            if self._reason is None:
                return None, _settled("cancelled")
            return None, _failed(INTERNAL_ERROR, self._reason)
        try:
            result = task.result()
            if asks(result):
                raise TypeError("what became a task on the way cannot return InputRequired")
            body = bytes(result.body) if isinstance(result, RawResult) else encode(result)
        except RpcError as error:
            return None, _failed(error.code, error.message, error.data)
        except Exception as error:
            # The top of a task: what a handler did not expect is ours to report, nobody else's to read.
            incident = os.urandom(4).hex()
            log.error("task %s failed (incident %s)", self.id, incident, exc_info=error)
            return None, _failed(INTERNAL_ERROR, f"Internal error (incident {incident})")
        if len(body) > self._ledger.limits.result_bytes:
            return None, _failed(INTERNAL_ERROR, f"The result of {len(body)} bytes is too long")
        return body, _settled("completed", is_error=_is_error(result, body))

    def _do(self, chore: Coroutine[Any, Any, None]) -> None:
        """Have something done that nobody waits for."""
        doing = asyncio.get_running_loop().create_task(chore)
        self._chores.add(doing)
        doing.add_done_callback(self._done)

    def _done(self, doing: asyncio.Task[None]) -> None:
        self._chores.discard(doing)
        if not doing.cancelled() and (error := doing.exception()) is not None:
            log.error("task %s: %s", self.id, error, exc_info=error)


def _wants_progress(call: Call) -> bool:
    """Have a handler report its progress, since a task can say it; whether nothing else may."""
    meta = call.params.meta or RequestMeta()
    if meta.progress_token is not None:
        return False
    meta = msgspec.structs.replace(meta, progress_token="")
    call.params = msgspec.structs.replace(call.params, meta=meta)
    return True


def _is_error(result: Result, body: bytes) -> bool:
    """Whether a tool says that it failed; what is relayed says so in its own words, if at all."""
    if not isinstance(result, RawResult):
        return bool(getattr(result, "is_error", False))
    try:
        return _relayed.decode(body).is_error
    except UNREADABLE:
        return False


def _settled(status: Status, *, is_error: bool = False) -> Change:
    def settle(record: Record) -> bool:
        record.settle(status)
        record.is_error = is_error
        return True

    return settle


def _failed(code: int, message: str, data: Any = None) -> Change:
    def settle(record: Record) -> bool:
        record.settle("failed", message[:MESSAGE])
        record.error = {"code": code, "message": message}
        if data is not None:
            record.error["data"] = data
        return True

    return settle
