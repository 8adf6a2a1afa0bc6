"""The tasks that this process runs: how a call becomes one, and that they end when it does.

Other processes that share its store, and are asked for its tasks, know by its vouching that it is
still there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final, Literal, Protocol, TypeAlias, get_args

from msgspec import Raw

from interlock.errors import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    MissingCapability,
    RpcError,
    StoreError,
)
from interlock.protocol.call import Call
from interlock.server.errand import Errand, Run
from interlock.server.ledger import Ledger, Record, TaskLimits, key_of, owner_of
from interlock.server.parking import TICKET, Held
from interlock.store.ports import Store
from interlock.wire.decoding import Decoder
from interlock.wire.inputs import InputRequired
from interlock.wire.jsonrpc import UNREADABLE, encode
from interlock.wire.meta import RawResult, Result
from interlock.wire.tasks import (
    EXTENSION,
    Augmentation,
    CreateTaskResult,
    NestedTaskResult,
    declared,
)
from interlock.wire.versions import V2025_11_25

log: Final = logging.getLogger("interlock.tasks")

Mode: TypeAlias = Literal["never", "optional", "required", "later"]
MODES: Final = get_args(Mode)
"""Whether a tool runs as a task: not, where the client can have one, always, or from the moment on
at which it says `await ctx.become_task()`."""

LEAST: Final = 60.0
"""The fewest seconds a task is kept, whatever its caller asked for; unless a server's limit is less."""
STOPPING: Final = 5.0
"""Seconds that tasks get to end when their server does."""

_NULL: Final = Raw(b"null")
_augmentation: Final = Decoder(Augmentation)


class Returns(Protocol):
    """What is known of a tool's results before it runs: a `Signature` says it."""

    returns: Any

    def may_return(self, kind: type) -> bool: ...


class Worker:
    """The tasks of one service that run in this process.

    *offered* says whether any tool may become one.
    """

    def __init__(self, store: Store, limits: TaskLimits, offered: Callable[[], bool]) -> None:
        self.limits = limits
        self.ledger = Ledger(store, limits, lambda key: key in self._errands)
        self._offered = offered
        self._errands: dict[str, Errand] = {}
        self._vouching: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._errands)

    def wanted(self, call: Call) -> bool:
        """Whether this call's client can have a task for an answer, though it asked for none."""
        return call.envelope.revision.modern and declared(call.envelope.capabilities)

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
                raise undeclared("This tool always runs as a task")
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
        if not (isinstance(outlet, Held) and outlet.may_part) or not self.wanted(call):
            return False
        # In its very first step, begun eagerly, nobody has the handler's task yet but itself.
        errand = Errand(self.ledger, call, outlet.task or asyncio.current_task())
        record = await self._begin(errand, self.limits.ttl)
        if record is None:
            return False
        outlet.part(self._answer(record), errand)
        errand.attend()
        return True

    async def _created(self, call: Call, run: Run) -> Result:
        errand = Errand(self.ledger, call)
        record = await self._begin(errand, self.limits.ttl)
        if record is None:
            raise _crowded()
        errand.start(run)
        errand.attend()
        return self._answer(record)

    async def _grown(self, call: Call, run: Run) -> Result:
        """The same, unless it is over before it needs to be a task."""
        errand = Errand(self.ledger, call)
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
            # Its caller left, above all: what it began does not go on without it.
            await errand.end()
            raise
        if record is None:
            return errand.task.result()
        errand.attend()
        return self._answer(record)

    def _answer(self, record: Record) -> RawResult:
        view = self.ledger.modern(record)
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
        errand = Errand(self.ledger, call)
        record = await self._begin(errand, ttl)
        if record is None:
            raise _crowded()
        errand.start(run)
        errand.attend()
        return NestedTaskResult(task=self.ledger.legacy(record))

    async def _begin(self, errand: Errand, ttl: float) -> Record | None:
        """Put a task on record for *errand*; None if there is no room for another."""
        errand.becomes = True
        await self._vouch()
        record = self.ledger.draft(ttl, errand.call.needed)
        key = key_of(owner_of(errand.call.principal), record.id)
        self._errands[key] = errand
        try:
            kept = await errand.begin(key, record)
        except BaseException:
            # Its caller left before it was told: nobody will ever ask for it.
            del self._errands[key]
            await self.ledger.forget(key)
            raise
        if not kept:
            del self._errands[key]
            return None
        errand.ended.add_done_callback(lambda _: self._errands.pop(key, None))
        return record

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
            try:
                await self.ledger.leave()
            except StoreError as error:
                log.warning("that this worker lives no more shows when its lease ends: %s", error)

    async def _vouch(self) -> None:
        """Say that this worker lives, from the first task on, for as long as it serves."""
        if self._vouching is None:
            await self.ledger.vouch()
            if self._vouching is None:
                self._vouching = asyncio.create_task(self._keep_vouching())

    async def _keep_vouching(self) -> None:
        while True:
            await asyncio.sleep(self.limits.lease / 3)
            try:
                await self.ledger.vouch()
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


def undeclared(what: str) -> MissingCapability:
    """What a modern client is told that cannot do what it wants without tasks."""
    return MissingCapability(
        {"extensions": {EXTENSION: {}}},
        f"{what}: the client must declare the extension {EXTENSION}",
    )


def _crowded() -> RpcError:
    return RpcError(INTERNAL_ERROR, "Too many tasks are kept here; try again later")
