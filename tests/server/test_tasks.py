"""Calls that outlive their request: one task, spoken of in two ways.

The extension is SEP-2663, the experiment 2025-11-25 § Tasks; checklist TX-01…17 and TD-01…14.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from msgspec import Raw
from tests.peers import Json, soon
from tests.server.task_callers import ABLE, EXPERIMENT, Bench, Caller, Heard
from tests.store.slow import SlowStore

from interlock import Context, RpcError, Server
from interlock.errors import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    MISSING_CAPABILITY,
    RegistrationError,
)
from interlock.protocol.call import Principal
from interlock.server.ledger import TaskLimits
from interlock.server.worker import Mode
from interlock.store.memory import MemoryStore
from interlock.store.ports import Store
from interlock.wire.inputs import InputRequired
from interlock.wire.tasks import EXTENSION, RELATED

OLDER = ("2024-11-05", "2025-03-26", "2025-06-18")
YES: Json = {"action": "accept", "content": {}}


# In both.


async def test_a_task_comes_to_what_the_call_would_have_come_to(bench: Bench, caller: Caller):
    task = await caller.start("wait", text="later")
    assert (await caller.get(task))["status"] == "working"
    bench.go.set()
    assert (await caller.end(task))["status"] == "completed"
    outcome = await caller.outcome(task)
    assert outcome["content"] == [{"type": "text", "text": "later"}]
    # The extension has the id beside the result, the experiment within it (TD-08).
    related = None if caller.modern else {RELATED: {"taskId": task}}
    assert outcome.get("_meta") == related


async def test_structured_content_comes_with_it(bench: Bench, caller: Caller):
    outcome = await caller.outcome(await caller.start("must", text="x"))
    assert outcome["structuredContent"] == {"text": "x"}


async def test_a_sync_function_runs_as_a_task_too(bench: Bench, caller: Caller):
    task = await caller.start("blocks")
    await soon(bench.reached.wait())
    assert (await caller.get(task))["status"] == "working"
    bench.released.set()
    assert (await caller.outcome(task))["content"][0]["text"] == "done"


async def test_its_times_are_said_as_iso_8601_and_in_milliseconds(bench: Bench, caller: Caller):
    seen = await caller.get(await caller.start("wait"))
    assert seen["createdAt"] == seen["lastUpdatedAt"]
    assert seen["createdAt"].endswith("Z")
    ttl, poll = ("ttlMs", "pollIntervalMs") if caller.modern else ("ttl", "pollInterval")
    assert seen[ttl] == 3_600_000
    assert seen[poll] == 200


async def test_a_tool_that_fails_completed_in_the_extension_and_failed_in_the_experiment(
    bench: Bench, caller: Caller
):
    task = await caller.start("fails")
    bench.go.set()
    assert (await caller.end(task))["status"] == ("completed" if caller.modern else "failed")
    outcome = await caller.outcome(task)
    assert outcome["isError"] is True
    assert outcome["content"][0]["text"] == "not this time"


async def test_a_call_that_is_refused_failed_with_its_error(bench: Bench, caller: Caller):
    task = await caller.start("refuses")
    bench.go.set()
    seen = await caller.end(task)
    assert (seen["status"], seen["statusMessage"]) == ("failed", "no such thing")
    error = {"code": 42, "message": "no such thing", "data": {"why": 1}}
    if caller.modern:
        assert seen["error"] == error
        assert "result" not in seen
    else:
        assert await caller.error("tasks/result", taskId=task) == error


@pytest.mark.parametrize(("code", "sent"), [(-32000, INTERNAL_ERROR), (-32042, -32600)])
async def test_a_code_that_a_revision_does_not_send_is_none_of_a_task_either(
    bench: Bench, caller: Caller, code: int, sent: int
):
    """TX-06: the error is the one that the call itself would have been answered with."""
    bench.refusal = code
    task = await caller.start("refuses")
    bench.go.set()
    seen = await caller.end(task)
    if caller.modern:
        assert seen["error"]["code"] == sent
    else:
        assert (await caller.error("tasks/result", taskId=task))["code"] == code


async def test_cancelling_reaches_the_handler_and_stays(bench: Bench, caller: Caller):
    task = await caller.start("wait")
    await soon(bench.reached.wait())
    acknowledged = await caller.result("tasks/cancel", taskId=task)
    if caller.modern:
        assert set(acknowledged) == {"resultType", "_meta"}
    else:
        assert acknowledged["status"] == "cancelled"
    await soon(bench.left.wait())
    bench.go.set()
    assert (await caller.get(task))["status"] == "cancelled"


async def test_cancelling_reaches_a_thread(bench: Bench, caller: Caller):
    task = await caller.start("blocks")
    await soon(bench.reached.wait())
    await caller.result("tasks/cancel", taskId=task)
    await soon(bench.left.wait())
    assert (await caller.get(task))["status"] == "cancelled"


async def test_cancelling_what_is_over_changes_nothing(bench: Bench, caller: Caller):
    """Acknowledged again in the extension (TX-08), an error in the experiment (TD-10)."""
    task = await caller.start("must")
    await caller.end(task)
    if caller.modern:
        await caller.result("tasks/cancel", taskId=task)
    else:
        assert (await caller.error("tasks/cancel", taskId=task))["code"] == INVALID_PARAMS
    assert (await caller.get(task))["status"] == "completed"


@pytest.mark.parametrize("id", ["f" * 32, "", "../x", "no such task"])
async def test_an_unknown_task_is_invalid_params(bench: Bench, caller: Caller, id: str):
    methods: dict[str, Json] = {"tasks/get": {}, "tasks/cancel": {}}
    methods |= {"tasks/update": {"inputResponses": {}}} if caller.modern else {"tasks/result": {}}
    for method, params in methods.items():
        assert (await caller.error(method, taskId=id, **params))["code"] == INVALID_PARAMS


async def test_a_task_is_its_caller_s_alone(bench: Bench, caller: Caller):
    """Not who holds an id but who asks decides (TD-13, TX-15, SEC-06)."""
    revision = caller.revision.name
    owners = [
        Principal(),
        Principal("ann", "https://one"),
        Principal("ann", "https://two"),
        Principal("ann", "https://one", "another app"),
        Principal("bob", "https://one"),
    ]
    callers = [bench.caller(revision, principal=owner) for owner in owners]
    tasks = [await each.start("wait") for each in callers]
    assert len(set(tasks)) == len(tasks)
    for each, own in zip(callers, tasks, strict=True):
        for task in tasks:
            answer = await each("tasks/get", taskId=task)
            assert ("result" in answer) == (task == own)
        for task in tasks:
            if task != own:
                assert (await each.error("tasks/cancel", taskId=task))["code"] == INVALID_PARAMS
    for each, own in zip(callers, tasks, strict=True):
        assert (await each.get(own))["status"] == "working"


async def test_a_task_is_kept_for_its_time_after_its_end(bench: Bench, caller: Caller):
    task = await caller.start("must")
    await caller.end(task)
    bench.clock.turn(3599)
    await caller.get(task)
    bench.clock.turn(10)
    assert (await caller.error("tasks/get", taskId=task))["code"] == INVALID_PARAMS


async def test_a_task_that_takes_too_long_fails(caller: Caller):
    bench = Bench(TaskLimits(grace=0, ttl=0.01))
    await bench.server.start()
    caller = bench.caller(caller.revision.name)
    task = await caller.start("wait")
    seen = await caller.end(task)
    assert seen["status"] == "failed"
    assert "longer than" in seen["statusMessage"]
    assert bench.left.is_set()
    await bench.server.stop()


async def test_a_result_that_is_too_long_fails_its_task(caller: Caller):
    bench = Bench(TaskLimits(grace=0, result_bytes=100))
    await bench.server.start()
    caller = bench.caller(caller.revision.name)
    seen = await caller.end(await caller.start("must", text="x" * 100))
    assert seen["status"] == "failed"
    assert "too long" in seen["statusMessage"]
    await bench.server.stop()


@pytest.mark.parametrize("limits", [TaskLimits(grace=0, total=1), TaskLimits(grace=0, each=1)])
async def test_beyond_the_limit_a_task_that_must_be_is_refused(caller: Caller, limits: TaskLimits):
    bench = Bench(limits)
    await bench.server.start()
    caller = bench.caller(caller.revision.name)
    await caller.start("wait")
    params: Json = {} if caller.modern else {"task": {}}
    error = await caller.error("tools/call", name="must", **params)
    assert (error["code"], "Too many tasks" in error["message"]) == (INTERNAL_ERROR, True)
    await bench.server.stop()


async def test_one_caller_s_tasks_leave_room_for_another_s(caller: Caller):
    bench = Bench(TaskLimits(grace=0, each=1))
    await bench.server.start()
    for name in ("ann", "bob"):
        await bench.caller(caller.revision.name, principal=Principal(name)).start("wait")
    await bench.server.stop()


@pytest.mark.parametrize("token", ["p", ""])
async def test_progress_becomes_the_task_s_message(bench: Bench, caller: Caller, token: str):
    """Whether or not its caller asked for progress notifications too, which are another thing."""
    task = await caller.start("reports", progress=token)
    await soon(bench.reached.wait())
    seen = await caller.until(task, lambda seen: "statusMessage" in seen)
    assert (seen["status"], seen["statusMessage"]) == ("working", "1 of 4")
    bench.go.set()
    assert "statusMessage" not in await caller.end(task)
    notices = caller.heard.of("notifications/progress")
    assert all(notice["progressToken"] == token for notice in notices)
    assert token or not notices


async def test_a_server_that_stops_says_so_of_its_tasks(bench: Bench, caller: Caller):
    task = await caller.start("wait")
    await bench.server.start()
    await bench.server.stop()
    assert (await caller.get(task))["status"] == "working"
    await bench.server.stop()
    assert bench.left.is_set()
    seen = await caller.get(task)
    assert seen["status"] == "failed"
    assert "stopped" in seen["statusMessage"]
    await bench.server.start()


async def test_a_task_whose_worker_is_gone_has_failed(bench: Bench, caller: Caller):
    """It would never end; its lease tells that nobody renews it."""
    task = await caller.start("wait")
    other = Caller(bench.worker(), bench.store, caller.revision.name)
    bench.clock.turn(29)
    assert (await other.get(task))["status"] == "working"
    bench.clock.turn(2)
    seen = await other.get(task)
    assert seen["status"] == "failed"
    assert seen["statusMessage"] == "The server ended while this task ran"
    # Who was taken for dead finds out, and does not say otherwise.
    bench.go.set()
    await soon(bench.left.wait())
    assert (await caller.get(task))["status"] == "failed"


async def test_another_worker_answers_for_a_task_and_cancels_it(bench: Bench, caller: Caller):
    other = Caller(bench.worker(), bench.store, caller.revision.name)
    task = await caller.start("wait")
    await soon(bench.reached.wait())
    assert (await other.get(task))["status"] == "working"
    await other.result("tasks/cancel", taskId=task)
    await soon(bench.left.wait())
    assert (await caller.get(task))["status"] == "cancelled"


# The extension.


@pytest.mark.parametrize("capabilities", [{}, ABLE])
async def test_who_did_not_declare_the_extension_gets_no_task(bench: Bench, capabilities: Json):
    caller = bench.caller(capabilities=capabilities)
    bench.go.set()
    result = await caller.result("tools/call", name="wait", arguments={"text": "now"})
    assert (result["resultType"], result["content"][0]["text"]) == ("complete", "now")


async def test_a_tool_that_is_always_a_task_refuses_who_cannot_have_one(bench: Bench):
    error = await bench.caller(capabilities=ABLE).error("tools/call", name="must")
    assert error["code"] == MISSING_CAPABILITY
    assert error["data"] == {"requiredCapabilities": {"extensions": {EXTENSION: {}}}}


async def test_tasks_are_asked_about_by_those_who_declared_them(bench: Bench):
    caller = bench.caller(capabilities=ABLE)
    for method in ("tasks/get", "tasks/cancel", "tasks/update"):
        extra: Json = {"inputResponses": {}} if method == "tasks/update" else {}
        error = await caller.error(method, taskId="f" * 32, **extra)
        assert error["code"] == MISSING_CAPABILITY
        assert EXTENSION in error["data"]["requiredCapabilities"]["extensions"]


async def test_what_is_over_in_a_moment_needs_no_task():
    bench = Bench(TaskLimits(grace=30))
    await bench.server.start()
    bench.go.set()
    result = await bench.caller().result("tools/call", name="wait")
    assert (result["resultType"], result["content"][0]["text"]) == ("complete", "done")
    error = await bench.caller().error("tools/call", name="refuses")
    assert error == {"code": 42, "message": "no such thing", "data": {"why": 1}}
    assert await bench.store.table("tasks").count() == 0
    await bench.server.stop()


async def test_what_asks_becomes_a_task_at_once():
    bench = Bench(TaskLimits(grace=30))
    await bench.server.start()
    caller = bench.caller()
    task = await caller.start("confirms")
    assert (await caller.until(task, "input_required"))["inputRequests"].keys() == {"sure"}
    await bench.server.stop()


async def test_a_caller_who_leaves_before_there_is_a_task_ends_the_handler():
    bench = Bench(TaskLimits(grace=30))
    await bench.server.start()
    caller = bench.caller()
    answering = asyncio.create_task(caller.answer(caller.call("tools/call", name="wait")))
    await soon(bench.reached.wait())
    answering.cancel()
    await asyncio.wait([answering])
    assert bench.left.is_set()
    assert await bench.store.table("tasks").count() == 0
    await bench.server.stop()


@pytest.mark.parametrize("tool", ["wait", "must", "later"])
@pytest.mark.parametrize("make", [MemoryStore, SlowStore])
async def test_a_caller_who_leaves_in_between_leaves_a_whole_task_or_none(
    tool: str, make: Callable[[], Store]
):
    for steps in range(30):
        bench = Bench(store=make())
        await bench.server.start()
        caller = bench.caller(capabilities={"extensions": {EXTENSION: {}}})
        answering = asyncio.create_task(caller.answer(caller.call("tools/call", name=tool)))
        for _ in range(steps):
            await asyncio.sleep(0)
        answering.cancel()
        await asyncio.wait([answering])
        if answering.cancelled():
            await bench.server.worker.end()
            assert await bench.store.table("tasks").count() == 0
            assert len(bench.server.worker) == 0
            assert bench.left.is_set() == bench.reached.is_set()
        await bench.server.stop()


async def test_beyond_the_limit_a_call_is_answered_as_a_call(caplog: pytest.LogCaptureFixture):
    bench = Bench(TaskLimits(grace=0, total=0))
    await bench.server.start()
    caller = bench.caller()
    with caplog.at_level(logging.WARNING, "interlock.tasks"):
        answering = asyncio.create_task(caller.result("tools/call", name="wait"))
        await soon(bench.reached.wait())
        bench.go.set()
        result = await answering
    assert (result["resultType"], result["content"][0]["text"]) == ("complete", "done")
    # And cannot ask, since there is no task to ask in.
    error = await caller.error("tools/call", name="confirms")
    assert "too many tasks" in error["message"]
    await bench.server.stop()


async def test_the_experiment_s_ways_are_not_the_extension_s(bench: Bench):
    """TX-09: its methods are gone, and its parameter is ignored whatever it is."""
    caller = bench.caller(proper=False)
    for method in ("tasks/result", "tasks/list"):
        with pytest.raises(AssertionError, match="Method not found"):
            caller.call(method, taskId="f" * 32)
    for task in ({"ttl": 6e4, "pollInterval": 1}, "?", None):
        result = await caller.result("tools/call", name="plain", task=task)
        assert result["resultType"] == "complete"


async def test_a_question_is_published_in_the_task_and_answered_through_it(bench: Bench):
    caller = bench.caller(proper=False)
    task = await caller.start("confirms")
    seen = await caller.until(task, "input_required")
    asked = seen["inputRequests"]["sure"]
    assert asked["method"] == "elicitation/create"
    assert asked["params"]["message"] == "Really?"
    assert (await caller.get(task))["inputRequests"] == seen["inputRequests"]
    await caller.result("tasks/update", taskId=task, inputResponses={"sure": YES})
    # A key is never used again, though the same is asked under it (TX-07).
    await caller.asks(task, "sure-2")
    await caller.result(
        "tasks/update",
        taskId=task,
        inputResponses={"sure": YES, "sure-2": {"action": "decline"}, "none": {"x": 1}},
    )
    assert (await caller.outcome(task))["content"][0]["text"] == "True False"


async def test_of_several_questions_some_may_be_answered(bench: Bench):
    caller = bench.caller()
    task = await caller.start("both")
    await caller.asks(task, "one", "two")
    await caller.result("tasks/update", taskId=task, inputResponses={"two": YES})
    seen = await caller.get(task)
    assert (seen["status"], set(seen["inputRequests"])) == ("input_required", {"one"})
    await caller.result("tasks/update", taskId=task, inputResponses={"one": {"action": "cancel"}})
    assert (await caller.outcome(task))["content"][0]["text"] == "[False, True]"


async def test_of_two_answers_to_one_question_the_first_counts(bench: Bench):
    caller = bench.caller()
    task = await caller.start("confirms")
    await caller.until(task, "input_required")
    await asyncio.gather(
        caller.result("tasks/update", taskId=task, inputResponses={"sure": YES}),
        caller.result("tasks/update", taskId=task, inputResponses={"sure": {"action": "decline"}}),
    )
    await caller.asks(task, "sure-2")
    await caller.result("tasks/update", taskId=task, inputResponses={"sure-2": YES})
    assert (await caller.outcome(task))["content"][0]["text"] == "True True"


async def test_an_answer_that_is_none_is_refused_and_the_question_stays(bench: Bench):
    caller = bench.caller(proper=False)
    task = await caller.start("confirms")
    await caller.until(task, "input_required")
    error = await caller.error(
        "tasks/update", taskId=task, inputResponses={"sure": {"action": "perhaps"}}
    )
    assert error["code"] == INVALID_PARAMS
    assert "'sure'" in error["message"]
    assert (await caller.get(task))["status"] == "input_required"


async def test_another_worker_takes_the_answer(bench: Bench):
    caller = bench.caller()
    other = Caller(bench.worker(), bench.store)
    task = await caller.start("confirms")
    await other.until(task, "input_required")
    await other.result("tasks/update", taskId=task, inputResponses={"sure": YES})
    await other.asks(task, "sure-2")
    await other.result("tasks/update", taskId=task, inputResponses={"sure-2": YES})
    assert (await other.outcome(task))["content"][0]["text"] == "True True"


async def test_a_question_that_is_given_up_is_withdrawn(bench: Bench):
    @bench.server.tool(task="optional")
    async def impatient(ctx: Context) -> str:
        asking = asyncio.create_task(ctx.confirm("Now?", key="now"))
        await bench.go.wait()
        asking.cancel()
        await asyncio.wait([asking])
        await ctx.confirm("Then?", key="then")
        return "done"

    caller = bench.caller()
    task = await caller.start("impatient")
    await caller.asks(task, "now")
    bench.go.set()
    await caller.asks(task, "then")
    await caller.result("tasks/update", taskId=task, inputResponses={"then": YES})
    assert (await caller.outcome(task))["content"][0]["text"] == "done"


async def test_what_has_to_be_asked_before_there_is_a_task_is_asked_first(bench: Bench):
    """TX-13: the round trips end before the task begins, and leave nothing in it."""
    caller = bench.caller()
    first = await caller.result("tools/call", name="later")
    assert first["resultType"] == "input_required"
    assert "taskId" not in first
    created = await caller.result(
        "tools/call",
        name="later",
        requestState=first["requestState"],
        inputResponses={"sure": YES},
    )
    assert created["resultType"] == "task"
    assert not {"requestState", "inputRequests"} & created.keys()
    bench.go.set()
    assert (await caller.outcome(created["taskId"]))["content"][0]["text"] == "True True True"


async def test_who_can_have_no_task_waits_for_what_would_have_become_one(bench: Bench):
    caller = bench.caller(capabilities=ABLE)
    bench.go.set()
    first = await caller.result("tools/call", name="later")
    last = await caller.result(
        "tools/call",
        name="later",
        requestState=first["requestState"],
        inputResponses={"sure": YES},
    )
    assert last["content"][0]["text"] == "True False False"


async def test_only_a_tool_that_said_so_becomes_a_task_on_the_way(bench: Bench):
    """And nothing but tools (SEP-2663 § Supported Methods): the answer would be no answer."""

    @bench.server.tool
    async def never(ctx: Context) -> str:
        return str(await ctx.become_task())

    @bench.server.prompt
    async def prompt(ctx: Context) -> str:
        return str(await ctx.become_task())

    @bench.server.resource("note://it")
    async def note(ctx: Context) -> str:
        return str(await ctx.become_task())

    caller = bench.caller()
    called = await caller.result("tools/call", name="never")
    assert called["content"][0]["text"] == "False"
    got = await caller.result("prompts/get", name="prompt")
    assert got["messages"][0]["content"]["text"] == "False"
    read = await caller.result("resources/read", uri="note://it")
    assert read["contents"][0]["text"] == "False"


async def test_what_nothing_can_be_asked_of_can_still_have_a_task(bench: Bench):
    @bench.server.tool(task="later")
    async def silent(ctx: Context) -> str:
        return str(await ctx.become_task())

    caller = bench.caller(capabilities={"extensions": {EXTENSION: {}}})
    created = await caller.result("tools/call", name="silent")
    assert (await caller.outcome(created["taskId"]))["content"][0]["text"] == "True"


async def test_what_asks_by_its_result_does_so_before_there_is_a_task(bench: Bench):
    @bench.server.tool(task="required")
    async def by_hand(ctx: Context) -> str | InputRequired:
        if not ctx.input_responses:
            params: Json = {"message": "?", "requestedSchema": {"type": "object", "properties": {}}}
            asked: Json = {"q": {"method": "elicitation/create", "params": params}}
            return InputRequired(input_requests=asked, request_state="mine")
        await bench.go.wait()
        return "done"

    bench.server.worker.limits = TaskLimits(grace=30)
    caller = bench.caller()
    first = await caller.result("tools/call", name="by_hand")
    assert first["resultType"] == "input_required"
    bench.server.worker.limits = TaskLimits(grace=0)
    created = await caller.result(
        "tools/call", name="by_hand", requestState="mine", inputResponses={"q": YES}
    )
    assert created["resultType"] == "task"
    bench.go.set()
    assert (await caller.outcome(created["taskId"]))["content"][0]["text"] == "done"


async def test_a_task_may_ask_by_its_result_too(bench: Bench, caller: Caller):
    """The low-level way: what it returns is asked in the task, and then it runs again."""

    @bench.server.tool(task="optional")
    async def by_hand(ctx: Context) -> str | InputRequired:
        await bench.go.wait()
        if ctx.request_state == "mine":
            return ", ".join(f"{key}: {answer!r}" for key, answer in answers(ctx).items())
        params: Json = {"message": "?", "requestedSchema": {"type": "object", "properties": {}}}
        asked: Json = {"method": "elicitation/create", "params": params}
        return InputRequired(input_requests={"q": asked, "r": asked}, request_state="mine")

    def answers(ctx: Context) -> Json:
        return {key: json.loads(bytes(raw))["action"] for key, raw in ctx.input_responses.items()}

    task = await caller.start("by_hand")
    bench.go.set()
    if caller.modern:
        for key in ("q", "r"):
            await caller.asks(task, key)
            await caller.result("tasks/update", taskId=task, inputResponses={key: YES})
    outcome = await caller.outcome(task)
    assert outcome["content"][0]["text"] == "q: 'accept', r: 'accept'"


async def test_what_became_a_task_on_the_way_asks_by_its_result_no_more(
    bench: Bench, caplog: pytest.LogCaptureFixture
):
    @bench.server.tool(task="later")
    async def wrong(ctx: Context) -> InputRequired:
        await ctx.become_task()
        return InputRequired(request_state="x")

    caller = bench.caller()
    created = await caller.result("tools/call", name="wrong")
    with caplog.at_level(logging.CRITICAL, "interlock.tasks"):
        seen = await caller.end(created["taskId"])
    assert seen["error"]["code"] == INTERNAL_ERROR
    assert "incident" in seen["error"]["message"]


def listening(caller: Caller, ids: list[str]) -> tuple[asyncio.Task[Json], Heard]:
    call = caller.call("subscriptions/listen", notifications={"taskIds": ids})
    heard = Heard(lambda data: caller.tap.hear("server", data))
    call.outlet = heard
    return asyncio.create_task(caller.answer(call)), heard


async def test_who_listens_hears_how_its_tasks_are(bench: Bench):
    """TX-11: all of the task each time, under the subscription's id."""
    caller = bench.caller()
    stranger = bench.caller(principal=Principal("bob"))
    task, theirs = await caller.start("confirms"), await stranger.start("wait")
    await caller.until(task, "input_required")
    serving, heard = listening(caller, [task, theirs, "f" * 32, task])

    first = await heard.told("notifications/tasks", status="input_required")
    (acknowledged,) = heard.of("notifications/subscriptions/acknowledged")
    assert acknowledged["notifications"]["taskIds"] == [task]
    assert heard.notices[0][0] == "notifications/subscriptions/acknowledged"
    assert first["inputRequests"].keys() == {"sure"}
    assert first["_meta"] == acknowledged["_meta"]
    for key in ("sure", "sure-2"):
        await caller.asks(task, key)
        await caller.result("tasks/update", taskId=task, inputResponses={key: YES})
    last = await heard.told("notifications/tasks", status="completed")
    assert last["result"]["content"][0]["text"] == "True True"
    assert all(notice["taskId"] == task for notice in heard.of("notifications/tasks"))
    serving.cancel()
    await asyncio.wait([serving])


@pytest.mark.parametrize("mode", ["optional", "required", "later"])
async def test_a_task_is_for_tokens_that_allow_its_call(bench: Bench, mode: Mode):
    """Its caller may have tokens that allow less, for a program that is to do less."""

    @bench.server.tool(task=mode, scopes=["admin"])
    async def secret(ctx: Context) -> str:
        if mode == "later":
            await ctx.become_task()
        await bench.go.wait()
        return "secret"

    able = bench.caller(principal=Principal("ann", scopes=frozenset(["admin"])))
    less = bench.caller(principal=Principal("ann", scopes=frozenset(["read"])))
    task, other = await able.start("secret"), await less.start("wait")
    asked: list[tuple[str, Json]] = [
        ("tasks/get", {}),
        ("tasks/cancel", {}),
        ("tasks/update", {"inputResponses": {}}),
    ]
    for method, more in asked:
        error = await less.error(method, taskId=task, **more)
        assert error["data"] == {"error": "insufficient_scope", "scope": "admin"}
    serving, heard = listening(less, [task, other])
    acknowledged = await heard.told("notifications/subscriptions/acknowledged")
    assert acknowledged["notifications"]["taskIds"] == [other]
    serving.cancel()
    await asyncio.wait([serving])
    bench.go.set()
    assert (await able.outcome(task))["content"][0]["text"] == "secret"


async def test_a_task_of_the_experiment_is_for_tokens_that_allow_its_call_too(bench: Bench):
    bench.server.tool(name="secret", task="required", scopes=["admin"])(lambda: "secret")
    able, less = (
        bench.caller(EXPERIMENT, principal=Principal("ann", scopes=frozenset([scope])))
        for scope in ("admin", "read")
    )
    task = await able.start("secret")
    await able.end(task)
    error = await less.error("tasks/result", taskId=task)
    assert error["data"]["scope"] == "admin"
    assert [each["taskId"] for each in (await able.result("tasks/list"))["tasks"]] == [task]
    assert (await less.result("tasks/list"))["tasks"] == []


async def test_who_did_not_declare_tasks_cannot_listen_to_them(bench: Bench):
    error = await bench.caller(capabilities=ABLE).error(
        "subscriptions/listen", notifications={"taskIds": [], "toolsListChanged": True}
    )
    assert error["code"] == MISSING_CAPABILITY


async def test_a_server_declares_what_it_has(bench: Bench):
    modern = await bench.caller().result("server/discover")
    assert modern["capabilities"]["extensions"] == {EXTENSION: {}}
    assert "tasks" not in modern["capabilities"]
    bare = Server("bare")

    @bare.tool
    async def plain() -> str:
        return ""

    none = await Caller(bare, bench.store).result("server/discover")
    assert not {"extensions", "tasks"} & none["capabilities"].keys()
    error = await Caller(bare, bench.store).error("tasks/get", taskId="f" * 32)
    assert error["code"] == METHOD_NOT_FOUND


# The experiment.


async def test_a_task_is_made_of_a_call_that_asks_for_one(bench: Bench):
    caller = bench.caller(EXPERIMENT)
    bench.go.set()
    result = await caller.result("tools/call", name="wait")
    assert result["content"][0]["text"] == "done"
    assert await bench.store.table("tasks").count() == 0


async def test_a_tool_that_cannot_be_a_task_refuses_to(bench: Bench):
    error = await bench.caller(EXPERIMENT).error("tools/call", name="plain", task={})
    assert error["code"] == METHOD_NOT_FOUND


async def test_a_tool_that_must_be_a_task_refuses_not_to(bench: Bench):
    error = await bench.caller(EXPERIMENT).error("tools/call", name="must")
    assert error["code"] == METHOD_NOT_FOUND
    assert "task" in error["message"]


@pytest.mark.parametrize("revision", OLDER)
async def test_older_revisions_know_of_no_tasks(bench: Bench, revision: str):
    caller = bench.caller(revision, proper=False)
    for name, task in (("must", {}), ("plain", {"ttl": 1}), ("plain", "?")):
        result = await caller.result("tools/call", name=name, task=task)
        assert result["content"]
    listed = await caller.result("tools/list")
    assert not any("execution" in tool for tool in listed["tools"])
    with pytest.raises(AssertionError, match="Method not found"):
        caller.call("tasks/get", taskId="x")


async def test_a_server_without_tasks_ignores_that_one_is_wanted(bench: Bench):
    bare = Server("bare")

    @bare.tool
    async def plain() -> str:
        return "plain"

    caller = Caller(bare, bench.store, EXPERIMENT)
    result = await caller.result("tools/call", name="plain", task={"ttl": 1})
    assert result["content"][0]["text"] == "plain"
    for method in ("tasks/get", "tasks/result", "tasks/cancel"):
        assert (await caller.error(method, taskId="f" * 32))["code"] == METHOD_NOT_FOUND
    assert (await caller.error("tasks/list"))["code"] == METHOD_NOT_FOUND


async def test_whether_a_tool_can_be_a_task_is_listed_to_those_who_ask_for_it(bench: Bench):
    listed = await bench.caller(EXPERIMENT).result("tools/list")
    support = {
        tool["name"]: tool.get("execution", {}).get("taskSupport") for tool in listed["tools"]
    }
    assert support["plain"] is None
    assert support["must"] == "required"
    assert support["wait"] == support["later"] == "optional"
    modern = await bench.caller().result("tools/list")
    assert not any("execution" in tool for tool in modern["tools"])


async def test_malformed_wishes_are_refused(bench: Bench):
    caller = bench.caller(EXPERIMENT)
    for task in ('"?"', "[]", '{"ttl":"long"}'):
        call = caller.call("tools/call", name="wait", task={})
        params: Any = call.params
        params.task = Raw(task.encode())
        assert (await caller.answer(call))["error"]["code"] == INVALID_PARAMS


@pytest.mark.parametrize(
    ("asked", "got"), [(120_000, 120_000), (1, 60_000), (10**9, 3_600_000), (-5, 60_000)]
)
async def test_the_caller_says_how_long_a_task_is_kept_within_bounds(
    bench: Bench, asked: int, got: int
):
    caller = bench.caller(EXPERIMENT)
    task = await caller.start("wait", task={"ttl": asked})
    assert (await caller.get(task))["ttl"] == got


async def test_the_result_is_waited_for(bench: Bench):
    caller = bench.caller(EXPERIMENT)
    task = await caller.start("wait")
    waiting = asyncio.create_task(caller.result("tasks/result", taskId=task))
    await soon(bench.reached.wait())
    assert (await caller.get(task))["status"] == "working"
    assert not waiting.done()
    bench.go.set()
    assert (await soon(waiting))["content"][0]["text"] == "done"


async def test_a_cancelled_task_has_no_result(bench: Bench):
    caller = bench.caller(EXPERIMENT)
    task = await caller.start("wait")
    waiting = asyncio.create_task(caller.error("tasks/result", taskId=task))
    await caller.result("tasks/cancel", taskId=task)
    assert "cancelled" in (await soon(waiting))["message"]


async def test_who_waits_for_the_result_is_asked(bench: Bench):
    caller = bench.caller(EXPERIMENT)
    task = await caller.start("confirms")
    await caller.until(task, "input_required")
    assert caller.heard.questions == []
    outcome = await caller.result("tasks/result", taskId=task)
    assert outcome["content"][0]["text"] == "True True"
    assert [params["_meta"] for _, params in caller.heard.questions] == [
        {RELATED: {"taskId": task}}
    ] * 2


async def test_what_a_client_refuses_is_the_tool_s_to_hear(bench: Bench):
    caller = bench.caller(EXPERIMENT)

    def refuse(method: str, params: Json) -> Any:
        raise RpcError(-1, "The person said no")

    caller.heard.replies = refuse
    task = await caller.start("confirms")
    error = await caller.error("tasks/result", taskId=task)
    assert (error["code"], error["message"]) == (-1, "The person said no")
    assert (await caller.get(task))["status"] == "failed"


async def test_a_question_is_asked_once_though_two_wait_and_again_if_its_asker_left(bench: Bench):
    caller = bench.caller(EXPERIMENT)
    never: asyncio.Future[Json] = asyncio.get_running_loop().create_future()
    caller.heard.replies = lambda method, params: never
    task = await caller.start("confirms")
    await caller.until(task, "input_required")
    first = asyncio.create_task(caller.result("tasks/result", taskId=task))
    await soon(caller.heard.asked.wait())
    caller.heard.asked.clear()
    second = asyncio.create_task(caller.result("tasks/result", taskId=task))
    await asyncio.sleep(0)
    assert len(caller.heard.questions) == 1
    first.cancel()
    await asyncio.wait([first])
    caller.heard.replies = lambda method, params: YES
    third = asyncio.create_task(caller.result("tasks/result", taskId=task))
    assert (await soon(third))["content"][0]["text"] == "True True"
    assert (await soon(second))["content"][0]["text"] == "True True"


async def test_status_notifications_tell_each_change(bench: Bench):
    caller = bench.caller(EXPERIMENT)
    task = await caller.start("confirms")
    await caller.result("tasks/result", taskId=task)
    await caller.heard.told("notifications/tasks/status", status="completed")
    told = caller.heard.of("notifications/tasks/status")
    assert "input_required" in [notice["status"] for notice in told]
    assert all(notice["taskId"] == task and "_meta" not in notice for notice in told)


async def test_what_a_task_says_goes_to_the_session_and_names_the_task(bench: Bench):
    """TD-08, TD-12: the progress token lives as long as the task does."""
    caller = bench.caller(EXPERIMENT)
    result = await caller.result(
        "tools/call", name="reports", task={}, _meta={"progressToken": "p"}
    )
    task = result["task"]["taskId"]
    await soon(bench.reached.wait())
    related = {RELATED: {"taskId": task}}
    (progress,) = caller.heard.of("notifications/progress")
    assert (progress["progressToken"], progress["progress"], progress["_meta"]) == ("p", 1, related)
    (line,) = caller.heard.of("notifications/message")
    assert (line["data"], line["_meta"]) == ("a line", related)


async def test_what_a_task_of_the_extension_says_is_said_nowhere(bench: Bench):
    """TX-11: neither progress nor log lines are sent for tasks."""
    caller = bench.caller()
    call = caller.call("tools/call", name="reports")
    answer = await caller.answer(call)
    assert answer["result"]["resultType"] == "task"
    await soon(bench.reached.wait())
    assert caller.heard.notices == []


async def test_tasks_are_listed_page_by_page_and_only_one_s_own(bench: Bench):
    ann, bob = (bench.caller(EXPERIMENT, principal=Principal(name)) for name in ("ann", "bob"))
    own = {await ann.start("must") for _ in range(103)}
    await bob.start("must")
    first = await ann.result("tasks/list")
    assert len(first["tasks"]) == 100
    second = await ann.result("tasks/list", cursor=first["nextCursor"])
    assert "nextCursor" not in second
    assert {task["taskId"] for task in [*first["tasks"], *second["tasks"]]} == own
    for cursor in ("", "?", "f" * 31):
        assert (await ann.error("tasks/list", cursor=cursor))["code"] == INVALID_PARAMS


async def test_tasks_are_not_listed_to_whoever_comes_without_a_name(bench: Bench):
    """TD-09: over HTTP without authentication, everybody is the same caller."""
    nobody = bench.caller(EXPERIMENT, session="s1")
    somebody = bench.caller(EXPERIMENT, session="s2", principal=Principal("ann"))
    pipe = bench.caller(EXPERIMENT)
    assert (await nobody.error("tasks/list"))["code"] == METHOD_NOT_FOUND
    assert "list" not in bench.server.tasks.capability(nobody.call("tasks/list"))
    for caller in (somebody, pipe):
        assert await caller.result("tasks/list") == {"tasks": []}
        assert "list" in bench.server.tasks.capability(caller.call("tasks/list"))


# Registering.


async def test_a_tool_says_whether_it_can_be_a_task_in_known_words():
    server = Server("s")

    async def mute() -> str:
        return ""

    with pytest.raises(RegistrationError, match="never, optional, required, later"):
        server.tool(task="sometimes")(mute)  # pyright: ignore[reportArgumentType, reportCallIssue]

    with pytest.raises(RegistrationError, match="become_task"):
        server.tool(task="later")(mute)


async def test_all_listeners_together_follow_no_more_tasks_than_there_is_room_for(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("interlock.server.tasks.ALL_WATCHED", 5)
    caller = bench.caller()
    tasks = [await caller.start("wait") for _ in range(3)]
    agreed: list[int] = []
    serving: list[asyncio.Task[Json]] = []
    for _ in range(3):
        listener, heard = listening(caller, tasks)
        serving.append(listener)
        told = await heard.told("notifications/subscriptions/acknowledged")
        agreed.append(len(told["notifications"]["taskIds"]))
    assert agreed == [3, 2, 0]
    serving[0].cancel()
    await asyncio.wait(serving[:1])
    await asyncio.sleep(0)
    again, heard = listening(caller, tasks)
    told = await heard.told("notifications/subscriptions/acknowledged")
    assert told["notifications"]["taskIds"] == tasks
    for each in (*serving[1:], again):
        each.cancel()
    await asyncio.wait([*serving[1:], again])


async def test_a_listener_survives_a_result_that_is_lost(
    bench: Bench, caplog: pytest.LogCaptureFixture
):
    caller = bench.caller()
    task = await caller.start("must")
    await caller.end(task)
    for key in await bench.store.table("task-results").keys():
        await bench.store.table("task-results").take(key)
    serving, heard = listening(caller, [task])
    await heard.told("notifications/subscriptions/acknowledged")
    with caplog.at_level(logging.WARNING, "interlock.tasks"):
        for _ in range(10):
            await asyncio.sleep(0)
    assert "lost" in caplog.text
    assert not heard.of("notifications/tasks")
    serving.cancel()
    await asyncio.wait([serving])
