"""What is kept of tasks, and for how long, and how much of it."""

from __future__ import annotations

import asyncio

import pytest
from tests.server.task_callers import AT_ONCE, EXPERIMENT, Bench, Caller
from tests.store.slow import SlowStore

from interlock.server.ledger import TaskLimits


async def test_a_result_is_kept_no_longer_than_its_task_by_much(bench: Bench):
    """A caller who asks for short tasks would leave their results behind, one after another."""
    caller = bench.caller(EXPERIMENT)
    await caller.end(await caller.start("must", task={"ttl": 60_000}))
    bench.clock.turn(61 + 60)
    assert await bench.store.table("tasks").count() == 0
    bench.clock.turn(60)
    assert await bench.store.table("task-results").count() == 0


@pytest.mark.parametrize("limits", [TaskLimits(grace=0, total=5), TaskLimits(grace=0, each=5)])
async def test_many_calls_at_once_find_no_more_room_than_there_is(limits: TaskLimits):
    store = SlowStore()
    bench = Bench(limits, store)
    await bench.server.start()
    callers = [bench.caller() for _ in range(20)]
    await asyncio.gather(*[each("tools/call", name="must") for each in callers])
    assert await store.table("tasks").count() <= 5
    await bench.server.stop()


async def test_what_ends_while_it_is_cancelled_is_not_said_to_be_cancelled():
    """2025-11-25 § Tasks, Task Cancellation: a terminal task cannot be cancelled (TD-10)."""
    store = SlowStore()
    bench = Bench(AT_ONCE, store)
    await bench.server.start()
    seen: set[str] = set()
    for steps in range(12):
        bench.go.clear()
        caller: Caller = bench.caller(EXPERIMENT)
        task = await caller.start("wait")
        bench.go.set()
        for _ in range(steps):
            await asyncio.sleep(0)
        answer = await caller("tasks/cancel", taskId=task)
        status = (await caller.end(task))["status"]
        seen.add(status)
        assert ("result" in answer) == (status == "cancelled")
        assert answer.get("result", {}).get("status", "cancelled") == "cancelled"
    assert seen == {"completed", "cancelled"}
    await bench.server.stop()
