"""Calls that outlive their request: when one becomes a task, and what is asked of it then.

One task, two ways to speak of it. In the extension (2026-07-28) the server decides, and everything
is said by `tasks/get`; in the experiment (2025-11-25) the caller asks for a task, and `tasks/result`
waits for its end and asks the task's questions meanwhile. `ledger` keeps tasks, an `errand` runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, Protocol, TypeAlias, get_args

import msgspec
from msgspec import Raw

from interlock.errors import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    MissingCapability,
    RpcError,
    StoreError,
)
from interlock.protocol.call import LOCAL, Call, Handler
from interlock.server.errand import Errand, Run
from interlock.server.ledger import (
    Answer,
    Ledger,
    Record,
    TaskLimits,
    key_of,
    owner_of,
)
from interlock.server.parking import TICKET, Held, fits
from interlock.server.subscriptions import Tell
from interlock.store.ports import Store
from interlock.wire.inputs import InputRequired
from interlock.wire.jsonrpc import UNREADABLE, encode
from interlock.wire.meta import EmptyResult, PagedParams, RawResult, Result, members
from interlock.wire.tasks import (
    CANCEL,
    CHANGED,
    EXTENSION,
    GET,
    LIST,
    RELATED,
    RESULT,
    UPDATE,
    Augmentation,
    CancelTaskResult,
    CreateTaskResult,
    GetTaskResult,
    ListTasksResult,
    NestedTaskResult,
    TaskParams,
    UpdateTaskParams,
    declared,
)
from interlock.wire.versions import V2025_11_25

log: Final = logging.getLogger("interlock.tasks")

Mode: TypeAlias = Literal["never", "optional", "required", "later"]
MODES: Final = get_args(Mode)
"""Whether a tool runs as a task: not, where the client can have one, always, or from the moment on
at which it says `await ctx.become_task()`."""

PAGE: Final = 100
"""How many tasks `tasks/list` gives at once."""
LEAST: Final = 60.0
"""The fewest seconds a task is kept, whatever its caller asked for; unless a server's limit is less."""
STOPPING: Final = 5.0
"""Seconds that tasks get to end when their server does."""
WATCHED: Final = 1000
"""How many tasks one subscription may follow."""

_NULL: Final = Raw(b"null")
_ID: Final = re.compile(r"[0-9a-f]{32}")
_augmentation: Final = msgspec.json.Decoder(Augmentation)


class Returns(Protocol):
    """What is known of a tool's results before it runs: a `Signature` says it."""

    returns: Any

    def may_return(self, kind: type) -> bool: ...


class Tasks:
    """The tasks of one service: its handlers for `tasks/*`, and the way of a call to become one.

    *offered* says whether any tool may.
    """

    def __init__(self, store: Store, limits: TaskLimits, offered: Callable[[], bool]) -> None:
        self.limits = limits
        self._offered = offered
        self._errands: dict[str, Errand] = {}
        self._ledger = Ledger(store, limits, lambda key: key in self._errands)
        self._vouching: asyncio.Task[None] | None = None
        self._claimed: set[tuple[str, str]] = set()
        self.routes: dict[str, Handler] = {
            GET: self.get,
            UPDATE: self.update,
            CANCEL: self.cancel,
            RESULT: self.result,
            LIST: self.list,
        }

    def __len__(self) -> int:
        return len(self._errands)

    # How a call becomes one.

    async def take(
        self, call: Call, mode: Mode | None, signature: Returns, run: Run
    ) -> Result | None:
        """Run *call* as a task, if it is to be one: the task, or what it came to at once.

        None for a call that is to be answered as any other. *run* is given the call that the
        handler is to see.
        """
        params: Any = call.params
        if call.envelope.revision.modern:
            if mode not in ("optional", "required") or not _fresh(params, signature):
                return None
            if declared(call.envelope.capabilities):
                # What may ask by its result does so before there is a task.
                at_once = mode == "required" and not _says(signature.returns)
                return await (self._created if at_once else self._grown)(call, run)
            if mode == "required":
                raise _undeclared("This tool always runs as a task")
            return None
        if call.envelope.revision < V2025_11_25 or not self._offered():
            return None
        if not params.task or params.task == _NULL:
            if mode == "required":
                raise RpcError(
                    METHOD_NOT_FOUND, "This tool runs as a task only: call it with params.task"
                )
            return None
        if mode is None or mode == "never":
            raise RpcError(METHOD_NOT_FOUND, "This tool cannot run as a task: call it without task")
        return await self._augmented(call, params.task, run)

    async def become(self, call: Call) -> bool:
        """Let a call that runs go on as a task, if its client can have one; whether it is one."""
        outlet = call.outlet
        if isinstance(outlet, Errand):
            return True
        if not isinstance(outlet, Held) or not declared(call.envelope.capabilities):
            return False
        # In its very first step, begun eagerly, nobody has the handler's task yet but itself.
        errand = Errand(self._ledger, call, outlet.task or asyncio.current_task())
        record = await self._begin(errand, self.limits.ttl)
        if record is None:
            return False
        outlet.part(self._answer(record), errand)
        errand.attend()
        return True

    async def _created(self, call: Call, run: Run) -> Result:
        errand = Errand(self._ledger, call)
        record = await self._begin(errand, self.limits.ttl)
        if record is None:
            raise _crowded()
        errand.start(run)
        errand.attend()
        return self._answer(record)

    async def _grown(self, call: Call, run: Run) -> Result:
        """The same, unless it is over before it needs to be a task."""
        errand = Errand(self._ledger, call)
        errand.start(run)
        record = None
        try:
            await errand.settled(self.limits.grace)
            if not errand.task.done():
                record = await self._begin(errand, self.limits.ttl)
                if record is None:
                    log.warning("there are too many tasks: %s goes on as a call", call.method)
                    errand.refuse()
                    await asyncio.wait([errand.task])
        except BaseException:
            await errand.end()
            raise
        if record is None:
            return errand.task.result()
        errand.attend()
        return self._answer(record)

    def _answer(self, record: Record) -> RawResult:
        view = self._ledger.modern(record)
        fields = {name: getattr(view, name) for name in view.__struct_fields__}
        return RawResult(body=encode(CreateTaskResult(**fields)), relayed=True, kind="task")

    async def _augmented(self, call: Call, raw: Raw, run: Run) -> Result:
        try:
            wanted = _augmentation.decode(raw).ttl
        except UNREADABLE as error:
            raise RpcError(INVALID_PARAMS, f"Invalid params of {call.method}: {error}") from None
        ttl = self.limits.ttl
        if wanted is not None:
            ttl = min(ttl, max(wanted / 1000, LEAST))
        errand = Errand(self._ledger, call)
        record = await self._begin(errand, ttl)
        if record is None:
            raise _crowded()
        errand.start(run)
        errand.attend()
        return NestedTaskResult(task=self._ledger.legacy(record))

    async def _begin(self, errand: Errand, ttl: float) -> Record | None:
        """Put a task on record for *errand*; None if there is no room for another."""
        errand.becomes = True
        await self._vouch()
        record = self._ledger.draft(ttl)
        key = key_of(owner_of(errand.call.principal), record.id)
        self._errands[key] = errand
        try:
            kept = await errand.begin(key, record)
        except BaseException:
            # Its caller left before it was told: nobody will ever ask for it.
            del self._errands[key]
            await self._ledger.forget(key)
            raise
        if not kept:
            del self._errands[key]
            return None
        errand.ended.add_done_callback(lambda _: self._errands.pop(key, None))
        return record

    # What is asked of one.

    async def get(self, call: Call) -> GetTaskResult:
        """Answer `tasks/get`, at once."""
        key, record = await self._named(call)
        if call.envelope.revision.modern:
            return await self._view(key, record)
        view = self._ledger.legacy(record, GetTaskResult)
        assert isinstance(view, GetTaskResult)
        return view

    async def update(self, call: Call) -> EmptyResult:
        """Answer `tasks/update`: what fits no open question is ignored (SEP-2663 § Update)."""
        key, record = await self._named(call)
        params = call.params
        assert isinstance(params, UpdateTaskParams)
        answers: dict[str, Answer] = {}
        for name, raw in params.input_responses.items():
            question = record.questions.get(name)
            if question is None:
                continue
            if not fits(question.method, question.params, raw):
                raise RpcError(
                    INVALID_PARAMS, f"inputResponses: {name!r} is no result of {question.method}"
                )
            answers[name] = Answer(Raw(bytes(raw)))
        if answers:
            await self._ledger.answered(key, answers)
        return EmptyResult()

    async def cancel(self, call: Call) -> Result:
        """Answer `tasks/cancel`; what is over stays what it came to."""
        key, record = await self._named(call)
        was_over = record.over
        if not was_over:
            changed = await self._ledger.change(key, _cancelled)
            if changed is None:
                raise _unknown()
            record = changed
        if call.envelope.revision.modern:
            return EmptyResult()
        if was_over or record.status != "cancelled":
            raise RpcError(INVALID_PARAMS, f"Cannot cancel a task that is {record.status}")
        return self._ledger.legacy(record, CancelTaskResult)

    async def result(self, call: Call) -> RawResult:
        """Answer `tasks/result`: wait for the end, and ask the task's questions meanwhile."""
        key, _ = await self._named(call)
        changed = asyncio.Event()
        unsubscribe = await self._ledger.watch(key, changed.set)
        try:
            while True:
                changed.clear()
                record = await self._ledger.find(key)
                if record is None:
                    raise _unknown()
                if record.over:
                    return await self._payload(key, record)
                if not await self._ask(call, key, record):
                    with contextlib.suppress(TimeoutError):
                        # Looked at now and then, too: a worker that died says nothing.
                        await asyncio.wait_for(changed.wait(), self.limits.lease)
        finally:
            await unsubscribe()

    async def list(self, call: Call) -> ListTasksResult:
        """Answer `tasks/list`, with the caller's own tasks."""
        if not self._offered() or not self.listable(call):
            raise RpcError(METHOD_NOT_FOUND, "Tasks are listed for callers who say who they are")
        params = call.params
        cursor = params.cursor if isinstance(params, PagedParams) else None
        if cursor is not None and _ID.fullmatch(cursor) is None:
            raise RpcError(INVALID_PARAMS, "Invalid cursor: use the nextCursor of the page before")
        records, more = await self._ledger.page(owner_of(call.principal), cursor or "", PAGE)
        return ListTasksResult(
            tasks=[self._ledger.legacy(record) for record in records], next_cursor=more
        )

    def listable(self, call: Call) -> bool:
        """Whether all who share this caller's name are this caller (2025-11-25 § Tasks, Security).

        Over HTTP nobody has a name without authentication, and who holds an id holds the task.
        """
        return call.principal != LOCAL or call.session is None or not call.session.id

    def capability(self, call: Call) -> dict[str, Any]:
        """What a client of the experiment is told."""
        return {
            **({"list": {}} if self.listable(call) else {}),
            "cancel": {},
            "requests": {"tools": {"call": {}}},
        }

    def wanted(self, call: Call) -> bool:
        """Whether this call's client can have a task for an answer, though it asked for none."""
        return call.envelope.revision.modern and declared(call.envelope.capabilities)

    async def follow(
        self, call: Call, ids: Sequence[str], tell: Tell
    ) -> tuple[list[str], Callable[[], None]]:
        """Let a listener hear of its tasks: how each of them is, and every change."""
        if not declared(call.envelope.capabilities):
            raise _undeclared("taskIds")
        owner = owner_of(call.principal)
        agreed = [
            each
            for each in dict.fromkeys(ids[:WATCHED])
            if await self._ledger.find(key_of(owner, each)) is not None
        ]
        following = [
            asyncio.create_task(self._follow(key_of(owner, each), tell)) for each in agreed
        ]

        def leave() -> None:
            for each in following:
                each.cancel()

        return agreed, leave

    async def end(self) -> None:
        """End every task that runs here; each fails, and says why."""
        errands = list(self._errands.values())
        for errand in errands:
            errand.stop("The server stopped while this task ran")
        if errands:
            await asyncio.wait([errand.ended for errand in errands], timeout=STOPPING)
        vouching, self._vouching = self._vouching, None
        if vouching is not None:
            vouching.cancel()
            await asyncio.wait([vouching])
            await self._ledger.leave()

    async def _named(self, call: Call) -> tuple[str, Record]:
        """The caller's task that *call* is about."""
        params = call.params
        assert isinstance(params, TaskParams)
        if not self._offered():
            raise RpcError(METHOD_NOT_FOUND, f"Method not found: {call.method}")
        if call.envelope.revision.modern and not declared(call.envelope.capabilities):
            raise _undeclared(call.method)
        if _ID.fullmatch(params.task_id) is None:
            raise _unknown()
        key = key_of(owner_of(call.principal), params.task_id)
        record = await self._ledger.find(key)
        if record is None:
            raise _unknown()
        return key, record

    async def _view(self, key: str, record: Record) -> GetTaskResult:
        result = await self._ledger.result(key) if record.status == "completed" else None
        return self._ledger.modern(record, result)

    async def _payload(self, key: str, record: Record) -> RawResult:
        """What the call itself would have been answered with; raises if that is an error."""
        if record.error is not None:
            error = record.error
            raise RpcError(error["code"], error["message"], error.get("data"))
        if record.status == "cancelled":
            raise RpcError(INVALID_REQUEST, "This task was cancelled")
        fields = members(await self._ledger.result(key))
        meta = members(fields.get("_meta", Raw()))
        meta[RELATED] = Raw(encode({"taskId": record.id}))
        fields["_meta"] = Raw(encode(meta))
        # What was relayed from elsewhere may have stamps of another era.
        return RawResult(body=encode(fields), relayed=True)

    async def _ask(self, call: Call, key: str, record: Record) -> bool:
        """Ask the client one question of its task that nobody else is asking; whether there was one."""
        for name, question in record.questions.items():
            claim = (key, name)
            if claim in self._claimed:
                continue
            self._claimed.add(claim)
            try:
                params = members(question.params)
                meta = members(params.get("_meta", Raw()))
                meta[RELATED] = Raw(encode({"taskId": record.id}))
                params["_meta"] = Raw(encode(meta))
                try:
                    answer = Answer(await call.outlet.ask(question.method, Raw(encode(params))))
                except RpcError as error:
                    answer = Answer(error={"code": error.code, "message": error.message})
                await self._ledger.answered(key, {name: answer})
            finally:
                self._claimed.discard(claim)
            return True
        return False

    async def _follow(self, key: str, tell: Tell) -> None:
        changed = asyncio.Event()
        unsubscribe = await self._ledger.watch(key, changed.set)
        try:
            while True:
                changed.clear()
                record = await self._ledger.find(key)
                if record is None:
                    return
                tell(CHANGED, record.id, await self._view(key, record))
                if record.over:
                    return
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), self.limits.lease)
        except StoreError as error:
            log.warning("a listener hears no more of its task: %s", error)
        finally:
            await unsubscribe()

    async def _vouch(self) -> None:
        """Say that this worker lives, from the first task on, for as long as it serves."""
        if self._vouching is None:
            await self._ledger.vouch()
            if self._vouching is None:
                self._vouching = asyncio.create_task(self._keep_vouching())

    async def _keep_vouching(self) -> None:
        while True:
            await asyncio.sleep(self.limits.lease / 3)
            try:
                await self._ledger.vouch()
            except StoreError as error:
                log.warning("this worker cannot say that it lives: %s", error)
            for errand in list(self._errands.values()):
                errand.look()  # Should the bus have lost a word.


def _fresh(params: Any, signature: Returns) -> bool:
    """Whether this is no retry of a call that is parked, or of one that asked nothing."""
    state: str | None = params.request_state
    return state is None or (not state.startswith(TICKET) and signature.may_return(InputRequired))


def _says(returns: Any) -> bool:
    return InputRequired in (returns, *get_args(returns))


def _cancelled(record: Record) -> bool:
    record.settle("cancelled", "Cancelled by the client")
    return True


def _undeclared(what: str) -> MissingCapability:
    return MissingCapability(
        {"extensions": {EXTENSION: {}}},
        f"{what}: the client must declare the extension {EXTENSION}",
    )


def _crowded() -> RpcError:
    return RpcError(INTERNAL_ERROR, "Too many tasks are kept here; try again later")


def _unknown() -> RpcError:
    return RpcError(INVALID_PARAMS, "Unknown task: there is none with this id, or not any more")
