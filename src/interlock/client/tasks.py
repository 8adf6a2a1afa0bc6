"""A server's task, as its client sees it: followed to its end, answered, cancelled.

Both kinds are followed the same way, by asking how it is. What a task of the extension asks stands
in that answer, and is answered by `tasks/update`; one of the 2025-11-25 experiment asks while
`tasks/result` waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Mapping
from typing import Any, Final, Protocol

import msgspec
from msgspec import Raw

from interlock.client.reading import ToolResult, read_result, read_tool_result
from interlock.errors import (
    INTERNAL_ERROR,
    InvalidMessage,
    PeerError,
    RpcError,
    TaskCancelled,
    TimedOut,
    UsageError,
)
from interlock.protocol.rounds import Ask
from interlock.wire.inputs import ASKED
from interlock.wire.jsonrpc import encode
from interlock.wire.meta import Params, RawResult
from interlock.wire.tasks import (
    CANCEL,
    GET,
    RELATED,
    RESULT,
    TERMINAL,
    UPDATE,
    NestedTaskResult,
    Status,
    Support,
    TaskParams,
    UpdateTaskParams,
)
from interlock.wire.tasks import Task as Wire
from interlock.wire.tools import Tool

SOONEST: Final = 0.05
LATEST: Final = 30.0
UNSAID: Final = 1.0
"""Seconds between two looks at a task: the least and the most, whatever its server wants, and what
a server that does not say gets."""
QUESTIONS: Final = 1000
"""How much one task may ask for."""
LEAVING: Final = 5.0
"""Seconds that a server gets to take note that nobody waits for a task any more."""


class Send(Protocol):
    """Sends a request, and gives its result unread."""

    async def __call__(
        self, method: str, params: Params, *, timeout: float | None = None
    ) -> RawResult: ...


class Task:
    """A call that a server goes on with by itself.

    Keep its *id*, and `client.task(id)` finds it again, in another process too, for as long as the
    server keeps it. A call that was answered at once is a task that is over and has no id.
    """

    def __init__(
        self,
        send: Send,
        ask: Ask,
        *,
        modern: bool,
        id: str = "",
        seed: Wire | None = None,
        done: ToolResult | None = None,
    ) -> None:
        self.id = seed.task_id if seed is not None else id
        self._send = send
        self._ask = ask
        self._modern = modern
        self._seen = seed
        self._done = done
        self._answered: set[str] = set()

    def __repr__(self) -> str:
        return f"<Task {self.id or '(none)'} {self.status or 'not asked about yet'}>"

    @property
    def status(self) -> Status | None:
        """How it was when it was last asked about: see `refresh`. None before that."""
        if self._done is not None:
            return "completed"
        return self._seen.status if self._seen is not None else None

    @property
    def message(self) -> str | None:
        """What it then said about that, for a person to read."""
        return self._seen.status_message if self._seen is not None else None

    @property
    def questions(self) -> dict[str, Any]:
        """What it then asked, by key: `method` and `params` each. See `update`."""
        return dict((self._seen.input_requests if self._seen is not None else None) or {})

    async def refresh(self) -> Status:
        """Ask how it is. Raises `RpcError` -32602 if the server does not know it (any more)."""
        if self._done is not None:
            return "completed"
        seen = await self._look()
        return seen.status

    async def result(self, *, deadline: float | None = None) -> ToolResult:
        """Wait for its end; what it asks meanwhile is answered by the client's callbacks.

        Raises what the call itself would have raised, `TaskCancelled`, and `TimedOut` after
        *deadline* seconds. Cancelling it only ends the wait: the task goes on, and may be waited for
        again.
        """
        if self._done is not None:
            return self._done
        limit = asyncio.timeout(deadline)
        try:
            async with limit:
                self._done = _bare(read_tool_result(await self.raw_result()))
        except TimeoutError:
            if not limit.expired():
                raise  # It is a callback's.
            raise TimedOut(f"The task {self.id} took longer than {deadline:g} s") from None
        return self._done

    async def raw_result(self) -> RawResult:
        """The same without a limit and unread, for whoever passes it on."""
        return await (self._follow() if self._modern else self._follow_legacy())

    async def update(self, responses: Mapping[str, Mapping[str, Any]]) -> None:
        """Answer what it asks, by key; for whoever does not leave that to the client's callbacks."""
        if not self._modern:
            raise UsageError("A 2025-11-25 task is answered by the client's callbacks only")
        await self._tell({key: Raw(encode(dict(answer))) for key, answer in responses.items()})

    async def cancel(self) -> None:
        """Ask the server to end it; whether it does shows in its status. Safe to call twice."""
        if self._done is not None:
            return
        try:
            await self._send(CANCEL, TaskParams(task_id=self.id))
        except RpcError:
            # In the experiment it is an error to cancel what is over; here it is none.
            if await self.refresh() not in TERMINAL:
                raise

    async def abandon(self) -> None:
        """Cancel it, if the server takes note in time, and whatever becomes of that."""
        with contextlib.suppress(PeerError, RpcError, UsageError, TimeoutError):
            async with asyncio.timeout(LEAVING):
                await self.cancel()

    async def _tell(self, answers: dict[str, Raw]) -> None:
        await self._send(UPDATE, UpdateTaskParams(task_id=self.id, input_responses=answers))
        self._answered.update(answers)  # Not before: what was not told is still to be answered.

    async def _look(self) -> Wire:
        result = await self._send(GET, TaskParams(task_id=self.id))
        self._seen = seen = read_result(result, Wire)
        return seen

    async def _follow(self) -> RawResult:
        seen = self._seen
        answering: asyncio.Task[None] | None = None
        try:
            while seen is None or seen.status not in TERMINAL:
                if seen is not None:
                    if seen.status == "input_required" and answering is None and self._open(seen):
                        answering = asyncio.create_task(self._answer(seen))
                    waits = [answering] if answering is not None else []
                    await _pause(seen, waits)
                    if answering is not None and answering.done():
                        answering.result()
                        answering = None
                seen = await self._look()
        finally:
            if answering is not None:
                answering.cancel()
                await asyncio.wait([answering])
                if not answering.cancelled():
                    answering.exception()  # Read: what ended the wait counts.
        if seen.status != "completed":
            raise _failure(seen)
        if not isinstance(seen.result, Raw):
            raise InvalidMessage(f"The task {self.id} completed without a result")
        return RawResult(body=seen.result, relayed=True)

    def _open(self, seen: Wire) -> dict[str, Any]:
        """What it asks that was not answered yet: one key is one question for as long as it lives."""
        asked = seen.input_requests or {}
        if len(self._answered) + len(asked) > QUESTIONS:
            raise InvalidMessage(f"The task {self.id} asked more than {QUESTIONS} questions")
        return {key: asked[key] for key in asked if key not in self._answered}

    async def _answer(self, seen: Wire) -> None:
        for key, question in self._open(seen).items():
            match question:
                case {"method": str(method)} if method in ASKED:
                    params: Any = question.get("params") or {}
                case _:
                    raise InvalidMessage(
                        f"The task {self.id} asks for input in a way that cannot be read: "
                        f"{str(question)[:200]}"
                    )
            await self._tell({key: await self._ask(method, Raw(encode(params)), key)})

    async def _follow_legacy(self) -> RawResult:
        seen = self._seen or await self._look()
        while seen.status == "working":
            await _pause(seen, [])
            seen = await self._look()
        if seen.status == "cancelled":
            raise _failure(seen)
        # What is asked while this waits reaches the client as any request of the server's.
        params = TaskParams(task_id=self.id)
        return await self._send(RESULT, params, timeout=math.inf)


async def _pause(seen: Wire, waits: list[asyncio.Task[None]]) -> None:
    """Wait as long as the server wants between two looks, unless what is under way ends."""
    wanted = seen.poll_interval_ms if seen.poll_interval_ms is not None else seen.poll_interval
    seconds = UNSAID if wanted is None else max(SOONEST, min(LATEST, wanted / 1000))
    if waits:
        await asyncio.wait(waits, timeout=seconds)
    else:
        await asyncio.sleep(seconds)


def _failure(seen: Wire) -> Exception:
    if seen.status == "cancelled":
        return TaskCancelled(seen.status_message or "The task was cancelled")
    match seen.error:
        case {"code": int(code), "message": str(message), **rest}:
            return RpcError(code, message, rest.get("data"))
        case _:
            why = seen.status_message or "The server does not say why"
            return RpcError(INTERNAL_ERROR, f"The task failed: {why}")


def support_of(tool: Tool) -> Support:
    """Whether a tool of the experiment may, or must, be called as a task."""
    match tool.execution:
        case {"taskSupport": "optional"}:
            return "optional"
        case {"taskSupport": "required"}:
            return "required"
        case _:
            return "forbidden"


def _bare(result: ToolResult) -> ToolResult:
    """A result without the mark that the experiment gives those of tasks."""
    meta = {key: value for key, value in (result.meta or {}).items() if key != RELATED}
    return msgspec.structs.replace(result, meta=meta or None)


def created(result: RawResult) -> Wire:
    """The task that a call was answered with, in either era."""
    if result.kind == "task":
        return read_result(result, Wire)
    return read_result(result, NestedTaskResult).task
