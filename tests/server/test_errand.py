"""A call that goes on without its request: what becomes of it, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import gc
import json
from typing import Any

import pytest
from msgspec import Raw
from tests.peers import Json, soon
from tests.server.task_callers import AT_ONCE, EXPERIMENT, Bench, Caller
from tests.store.slow import SlowStore

from interlock import Context, RpcError
from interlock.protocol.call import LOCAL, Call
from interlock.server import errand
from interlock.server.ledger import TaskLimits, key_of, owner_of
from interlock.wire.jsonrpc import encode
from interlock.wire.meta import RawResult, Result
from interlock.wire.notices import MESSAGE
from interlock.wire.tasks import RELATED


@pytest.fixture
async def unheard() -> list[Json]:
    """What the event loop has to say about failures that nobody looked at."""
    said: list[Json] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: said.append(context))
    return said


async def collected() -> None:
    """A failure that nobody looked at is told when it is thrown away."""
    for _ in range(3):
        await asyncio.sleep(0)
        gc.collect()


async def test_the_last_progress_is_told_though_nothing_follows_it(
    bench: Bench, caller: Caller, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(errand, "PACE", 0.01)

    @bench.server.tool(task="optional")
    async def counts(ctx: Context) -> str:
        for step in range(1, 4):
            await ctx.report_progress(step, 4)
        await bench.go.wait()
        return "done"

    task = await caller.start("counts")
    await caller.until(task, lambda seen: seen.get("statusMessage") == "3 of 4")
    bench.go.set()
    await caller.end(task)


async def test_what_is_cancelled_may_take_its_time_to_end(bench: Bench, caller: Caller):
    """However often its worker looks meanwhile, it is cancelled once."""
    cleaned = asyncio.Event()
    ended = asyncio.Event()

    @bench.server.tool(task="optional")
    async def careful() -> str:
        try:
            bench.reached.set()
            await bench.go.wait()
        finally:
            bench.left.set()
            await cleaned.wait()
            ended.set()
        return "done"

    task = await caller.start("careful")
    await soon(bench.reached.wait())
    await caller.result("tasks/cancel", taskId=task)
    await soon(bench.left.wait())
    for _ in range(5):
        await bench.store.bus.publish(topic(task), b"")
        await asyncio.sleep(0)
    cleaned.set()
    await soon(ended.wait())


async def test_a_handler_that_fails_as_it_is_given_up_is_nobody_s_concern(unheard: list[Json]):
    bench = Bench(TaskLimits(grace=30))
    await bench.server.start()

    @bench.server.tool(task="optional")
    async def cross() -> str:
        try:
            bench.reached.set()
            await bench.go.wait()
        except asyncio.CancelledError:
            raise RpcError(42, "not like this") from None
        return "done"

    caller = bench.caller()
    answering = asyncio.create_task(caller.answer(caller.call("tools/call", name="cross")))
    await soon(bench.reached.wait())
    answering.cancel()
    await asyncio.wait([answering])
    del answering
    await collected()
    assert not unheard
    await bench.server.stop()


async def test_a_question_that_nobody_waits_for_any_more_ends_with_its_task(
    bench: Bench, caller: Caller
):
    asking: list[asyncio.Task[bool]] = []

    @bench.server.tool(task="optional")
    async def hasty(ctx: Context) -> str:
        asking.append(asyncio.create_task(ctx.confirm("Now?", key="now")))
        bench.reached.set()
        await bench.go.wait()
        return "done"

    task = await caller.start("hasty")
    await caller.until(task, "input_required")
    bench.go.set()
    await caller.end(task)
    await soon(asyncio.wait(asking))
    assert asking[0].cancelled()


@pytest.mark.parametrize("body", [b'{"isError":"perhaps"}', b'{"isError":[{}],"content":7}'])
async def test_what_is_relayed_ends_its_task_however_it_is_written(
    bench: Bench, caller: Caller, body: bytes
):
    """A server behind a gateway may send anything for a result."""

    async def relayed(call: Call) -> Result:
        await bench.go.wait()
        return RawResult(body=Raw(body), relayed=True)

    params: Json = {} if caller.modern else {"task": {}}
    call = caller.call("tools/call", name="wait", **params)
    result: Any = await bench.server.worker.take(call, "optional", Silent(), relayed)
    created = json.loads(bytes(result.body)) if caller.modern else None
    task = created["taskId"] if created is not None else result.task.task_id
    (errand,) = bench.server.worker._errands.values()  # pyright: ignore[reportPrivateUsage]
    bench.go.set()
    assert (await caller.end(task))["status"] == "completed"
    await soon(errand.ended)
    await asyncio.sleep(0)  # What is told of an end is told in the step after.
    assert len(bench.server.worker) == 0


class Silent:
    """A signature that says nothing of what is returned."""

    returns: Any = None

    def may_return(self, kind: type) -> bool:
        return False


@pytest.mark.parametrize("failing", [1, 2, 3])
async def test_the_end_of_a_task_is_written_again_where_the_store_could_not(
    monkeypatch: pytest.MonkeyPatch, failing: int
):
    monkeypatch.setattr(errand, "PAUSES", (0.001,) * 3)
    store = SlowStore()
    bench = Bench(AT_ONCE, store)
    await bench.server.start()

    @bench.server.tool(task="optional")
    async def last() -> str:
        await bench.go.wait()
        store.failing = failing
        return "kept"

    caller = bench.caller()
    task = await caller.start("last")
    ended = asyncio.Event()
    await store.bus.subscribe(topic(task), lambda _: ended.set())
    bench.go.set()
    await soon(ended.wait())
    assert (await caller.outcome(task))["content"][0]["text"] == "kept"
    await bench.server.stop()


async def test_what_is_relayed_in_a_task_names_the_task_too(bench: Bench):
    """TD-08: a log line that came from elsewhere is one of the task's, as our own are."""

    @bench.server.tool(task="optional")
    async def relays(ctx: Context) -> str:
        await bench.go.wait()
        line: Json = {"level": "info", "data": "a line", "_meta": {"their/key": 1}}
        ctx.call.outlet.notify(MESSAGE, Raw(encode(line)))
        return "done"

    caller = bench.caller(EXPERIMENT)
    task = await caller.start("relays")
    bench.go.set()
    told = await caller.heard.told(MESSAGE, data="a line")
    assert told["_meta"] == {"their/key": 1, RELATED: {"taskId": task}}


def topic(task: str) -> str:
    """What is said of a task that is nobody's in particular."""
    return f"task/{key_of(owner_of(LOCAL), task)}"
