"""What is asked of tasks: how they are, what they ask, what they came to.

One task, two ways to speak of it. In the extension (2026-07-28) the server decides, and everything
is said by `tasks/get`; in the experiment (2025-11-25) the caller asks for a task, and `tasks/result`
waits for its end and asks the task's questions meanwhile. `ledger` keeps tasks, a `worker` runs them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

from msgspec import Raw

from interlock.errors import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    InsufficientScope,
    RpcError,
    StoreError,
)
from interlock.protocol.call import LOCAL, Call, Handler
from interlock.server.ledger import Answer, Ledger, Record, key_of, owner_of
from interlock.server.parking import fits
from interlock.server.subscriptions import Tell
from interlock.server.worker import undeclared
from interlock.wire.decoding import pattern
from interlock.wire.meta import EmptyResult, PagedParams, RawResult, Result
from interlock.wire.tasks import (
    CANCEL,
    CHANGED,
    GET,
    LIST,
    RESULT,
    UPDATE,
    CancelTaskResult,
    GetTaskResult,
    ListTasksResult,
    TaskParams,
    UpdateTaskParams,
    declared,
    related,
)

log: Final = logging.getLogger("interlock.tasks")

PAGE: Final = 100
"""How many tasks `tasks/list` gives at once."""
WATCHED: Final = 1_000
ALL_WATCHED: Final = 10_000
"""How many tasks one subscription may follow, and all together."""

_ID: Final = pattern(r"[0-9a-f]{32}")


class Tasks:
    """The handlers for `tasks/*` of one service, over the *ledger* of its tasks.

    *offered* says whether any tool may become one.
    """

    def __init__(self, ledger: Ledger, offered: Callable[[], bool]) -> None:
        self._ledger = ledger
        self._offered = offered
        self._claimed: set[tuple[str, str]] = set()
        self._following: set[asyncio.Task[None]] = set()
        self.routes: dict[str, Handler] = {
            GET: self.get,
            UPDATE: self.update,
            CANCEL: self.cancel,
            RESULT: self.result,
            LIST: self.list,
        }

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
                        await asyncio.wait_for(changed.wait(), self._ledger.limits.lease)
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
        seen = [each for each in records if not call.principal.lacks(each.scopes)]
        return ListTasksResult(
            tasks=[self._ledger.legacy(record) for record in seen], next_cursor=more
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

    async def follow(
        self, call: Call, ids: Sequence[str], tell: Tell
    ) -> tuple[list[str], Callable[[], None]]:
        """Let a listener hear of its tasks: how each of them is, and every change.

        Of more than there is room for it has to ask itself (SEP-2663 § Task Status Notifications).
        """
        if not declared(call.envelope.capabilities):
            raise undeclared("taskIds")
        owner = owner_of(call.principal)
        found = [
            each
            for each in dict.fromkeys(ids[:WATCHED])
            if (record := await self._ledger.find(key_of(owner, each))) is not None
            and not call.principal.lacks(record.scopes)
        ]
        agreed = found[: max(0, ALL_WATCHED - len(self._following))]
        following = [
            asyncio.create_task(self._follow(key_of(owner, each), tell)) for each in agreed
        ]
        for each in following:
            self._following.add(each)
            each.add_done_callback(self._following.discard)

        def leave() -> None:
            for each in following:
                each.cancel()

        return agreed, leave

    async def _named(self, call: Call) -> tuple[str, Record]:
        """The caller's task that *call* is about."""
        params = call.params
        assert isinstance(params, TaskParams)
        if not self._offered():
            raise RpcError(METHOD_NOT_FOUND, f"Method not found: {call.method}")
        if call.envelope.revision.modern and not declared(call.envelope.capabilities):
            raise undeclared(call.method)
        if _ID.fullmatch(params.task_id) is None:
            raise _unknown()
        key = key_of(owner_of(call.principal), params.task_id)
        record = await self._ledger.find(key)
        if record is None:
            raise _unknown()
        if call.principal.lacks(record.scopes):
            # Its caller may have tokens that allow less; what they may not call they do not get.
            raise InsufficientScope(record.scopes)
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
        # What was relayed from elsewhere may have stamps of another era.
        return RawResult(body=related(await self._ledger.result(key), record.id), relayed=True)

    async def _ask(self, call: Call, key: str, record: Record) -> bool:
        """Ask the client one question of its task that nobody else is asking; whether there was one."""
        for name, question in record.questions.items():
            claim = (key, name)
            if claim in self._claimed:
                continue
            self._claimed.add(claim)
            try:
                params = related(question.params, record.id)
                try:
                    answer = Answer(await call.outlet.ask(question.method, params))
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
                    await asyncio.wait_for(changed.wait(), self._ledger.limits.lease)
        except (StoreError, RpcError) as error:
            log.warning("a listener hears no more of its task: %s", error)
        finally:
            await unsubscribe()


def _cancelled(record: Record) -> bool:
    record.settle("cancelled", "Cancelled by the client")
    return True


def _unknown() -> RpcError:
    return RpcError(INVALID_PARAMS, "Unknown task: there is none with this id, or not any more")
