"""A client and tasks: unseen by whoever calls a tool, and in the hand of whoever wants them."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import math
import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.doors import over_http
from tests.joined import IN_PROCESS, WIRED, Joined
from tests.peers import Json, soon
from tests.scripted import Peer, discovery
from tests.store.slow import SlowStore

from interlock import Client, Context, RpcError, Server, ToolError
from interlock.client.answers import OnElicit
from interlock.errors import InvalidMessage, TaskCancelled, TimedOut, UsageError
from interlock.protocol.call import Call, Handler
from interlock.server.ledger import TaskLimits
from interlock.wire.inputs import ElicitParams
from interlock.wire.meta import Result
from interlock.wire.tasks import TERMINAL

LIMITS = TaskLimits(grace=0, poll=0.05)
Join = Callable[..., Client]


class Bench:
    """A server whose tools wait to be let go."""

    def __init__(self) -> None:
        self.looked = asyncio.Event()
        self.server = Server("bench", tasks=LIMITS, middleware=[self.watching])
        self.go = asyncio.Event()
        self.reached = asyncio.Event()
        self.left = asyncio.Event()
        server = self.server

        @server.tool(task="optional")
        async def wait(text: str = "done") -> str:
            self.reached.set()
            try:
                await self.go.wait()
            finally:
                self.left.set()
            return text

        @server.tool(task="required")
        async def must(text: str = "done") -> str:
            return text

        @server.tool
        async def plain() -> str:
            return "plain"

        @server.tool(task="required")
        async def fails() -> str:
            raise ToolError("not this time")

        @server.tool(task="required")
        async def refuses() -> str:
            raise RpcError(42, "no such thing", {"why": 1})

        @server.tool(task="required")
        async def asks(ctx: Context) -> str:
            answers = await asyncio.gather(
                *[ctx.confirm(f"{n}?", key=str(n)) for n in range(3)], ctx.confirm("3?")
            )
            return f"{answers} {await ctx.confirm('last?')}"

        @server.tool(task="later")
        async def later(ctx: Context) -> str:
            sure = await ctx.confirm("Sure?")
            await ctx.become_task()
            return f"{sure} {await ctx.confirm('Still?')}"

    def watching(self, handle: Handler) -> Handler:
        """Tells when a client asks how its task is: then it knows that it has one."""

        async def watch(call: Call) -> Result:
            if call.method == "tasks/get":
                self.looked.set()
            return await handle(call)

        return watch


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture(params=["pipe", "http"])
async def join(
    bench: Bench, request: pytest.FixtureRequest, joined: Joined
) -> AsyncGenerator[Join]:
    """Makes clients of the bench, over either transport."""
    if request.param == "pipe":
        yield functools.partial(joined, bench.server)
        return
    async with over_http(bench.server) as url:

        def over(revision: str, **options: Any) -> Client:
            era = "modern" if revision == IN_PROCESS else revision
            return Client(url, revision=era, timeout=10, **options)

        yield over


def person(asked: list[str]) -> OnElicit:
    async def answer(question: ElicitParams) -> Mapping[str, Any]:
        asked.append(question.message)
        return {}

    return answer


async def test_whoever_calls_a_tool_does_not_see_that_it_was_a_task(
    bench: Bench, join: Join, era: str
):
    bench.go.set()
    async with join(era) as client:
        for name, text in (("wait", "a"), ("must", "b")):
            result = await soon(client.call_tool(name, {"text": text}))
            assert (result.text, result.is_error, result.meta) == (text, False, None)
        assert (await client.call_tool("plain")).text == "plain"


async def test_what_a_task_comes_to_is_what_the_call_comes_to(bench: Bench, join: Join, era: str):
    async with join(era) as client:
        result = await soon(client.call_tool("fails"))
        assert (result.is_error, result.text) == (True, "not this time")
        with pytest.raises(RpcError) as caught:
            await soon(client.call_tool("refuses"))
        assert (caught.value.code, caught.value.message) == (42, "no such thing")
        assert caught.value.data == {"why": 1}


async def test_what_a_task_asks_is_answered_once_each(bench: Bench, join: Join, era: str):
    asked: list[str] = []
    async with join(era, on_elicit=person(asked)) as client:
        result = await soon(client.call_tool("asks"))
    assert result.text == "[True, True, True, True] True"
    assert sorted(asked) == ["0?", "1?", "2?", "3?", "last?"]


async def test_what_asks_before_and_within_its_task_is_answered(bench: Bench, join: Join, era: str):
    asked: list[str] = []
    async with join(era, on_elicit=person(asked)) as client:
        assert (await soon(client.call_tool("later"))).text == "True True"
    assert asked == ["Sure?", "Still?"]


async def test_a_callback_that_fails_ends_the_call_and_its_task(bench: Bench, joined: Joined):
    async def answer(question: ElicitParams) -> None:
        raise RpcError(-1, "The person said no")

    async with joined(bench.server, "modern", on_elicit=answer) as client:
        with pytest.raises(RpcError, match="The person said no"):
            await soon(client.call_tool("asks"))
    assert any(b"tasks/cancel" in message for message in joined.sent)


async def test_whoever_gives_up_the_call_cancels_the_task(bench: Bench, join: Join):
    async with join("modern") as client:
        calling = asyncio.create_task(client.call_tool("wait"))
        await soon(bench.looked.wait())
        calling.cancel()
        await asyncio.wait([calling])
        assert calling.cancelled()
        await soon(bench.left.wait())


@pytest.mark.parametrize("revision", ["2026-07-28", "2025-11-25"])
@pytest.mark.parametrize("door", ["pipe", "http"])
async def test_a_call_given_up_before_its_answer_is_out_leaves_no_task(
    joined: Joined, door: str, revision: str
):
    """A task is kept before it is known, and forgotten if nobody will ever know of it."""
    store, ended = SlowStore(), asyncio.Event()

    def watching(handle: Handler) -> Handler:
        async def watch(call: Call) -> Result:
            try:
                return await handle(call)
            finally:
                if call.method == "tools/call":
                    ended.set()

        return watch

    server = Server("s", store=store, tasks=LIMITS, middleware=[watching])

    @server.tool(task="required")
    async def must() -> str:
        return "done"

    async with contextlib.AsyncExitStack() as stack:
        if door == "pipe":
            client = joined(server, revision)
        else:
            client = Client(await stack.enter_async_context(over_http(server)), revision=revision)
        await stack.enter_async_context(client)
        store.holding = "tasks"
        calling = asyncio.create_task(client.call_tool("must"))
        await soon(store.held.wait())
        calling.cancel()
        await asyncio.wait([calling])
        await soon(ended.wait())
        assert await store.table("tasks").count() == 0
        assert len(server.worker) == 0


async def test_a_deadline_counts_for_the_task_too(bench: Bench, join: Join):
    async with join("modern") as client:
        with pytest.raises(TimedOut, match="longer than"):
            await soon(client.call_tool("wait", deadline=0.3))
        await soon(bench.left.wait())


async def test_a_handle_is_followed_cancelled_and_found_again(bench: Bench, join: Join, era: str):
    async with join(era) as client, join(era) as other:
        task = await soon(client.start_task("wait", {"text": "x"}, ttl=120))
        assert task.status == "working"
        assert task.id in repr(task)
        again = other.task(task.id)
        assert (again.status, again.message) == (None, None)
        assert await again.refresh() == "working"
        waiting = asyncio.create_task(again.result())
        bench.go.set()
        assert (await soon(waiting)).text == "x"
        assert (await soon(task.result())).text == "x"
        assert (await task.result()).text == "x"
        assert task.status == "completed"
        await task.cancel()
        await again.cancel()


async def test_a_cancelled_task_says_so(bench: Bench, join: Join, era: str):
    async with join(era) as client:
        task = await soon(client.start_task("wait"))
        await soon(bench.reached.wait())
        waiting = asyncio.create_task(task.result())
        await client.task(task.id).cancel()
        with pytest.raises(TaskCancelled, match="Cancelled by the client"):
            await soon(waiting)
        await client.task(task.id).cancel()
        assert await task.refresh() == "cancelled"
        await soon(bench.left.wait())


async def test_giving_up_the_wait_leaves_a_task_that_was_started(bench: Bench, join: Join):
    async with join("modern") as client:
        task = await soon(client.start_task("wait"))
        with pytest.raises(TimedOut):
            await task.result(deadline=0.01)
        waiting = asyncio.create_task(task.result())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        bench.go.set()
        assert (await soon(task.result())).text == "done"


async def test_what_is_answered_at_once_is_a_task_that_is_over(bench: Bench, join: Join, era: str):
    async with join(era) as client:
        task = await soon(client.start_task("plain"))
        assert (task.id, task.status, await task.refresh()) == ("", "completed", "completed")
        assert (await task.result()).text == "plain"
        await task.cancel()


@pytest.mark.parametrize("revision", ["2024-11-05", "2025-06-18"])
async def test_servers_that_know_no_tasks_answer_as_ever(
    bench: Bench, joined: Joined, revision: str
):
    bench.go.set()
    async with joined(bench.server, revision) as client:
        assert (await client.call_tool("must")).text == "done"
        assert (await (await client.start_task("wait")).result()).text == "done"


async def test_what_a_tool_supports_is_learnt_from_one_list(bench: Bench, joined: Joined):
    """Only there does a 2025-11-25 server say it: some refuse a wrong guess in their own words."""

    async def lists() -> int:
        return sum(b'"tools/list"' in message for message in joined.sent)

    changed = asyncio.Event()
    told = joined(bench.server, "legacy", on_change=lambda kind: changed.set())
    async with told as client:
        for name in ("must", "plain", "must"):
            await soon(client.call_tool(name))
        assert await lists() == 1
        calls = [message for message in joined.sent if b'"tools/call"' in message]
        assert [b'"task":{}' in message for message in calls] == [True, False, True]

        bench.server.remove_tool("fails")
        await soon(changed.wait())
        await soon(client.call_tool("must"))
        assert await lists() == 2
    async with joined(bench.server, "modern") as client:
        await soon(client.call_tool("must"))
    assert await lists() == 2


async def test_a_task_may_be_answered_by_hand(bench: Bench, joined: Joined):
    async def never(question: ElicitParams) -> None:
        raise AssertionError("answered by hand already")

    async with joined(bench.server, "modern", on_elicit=never) as client:
        task = await client.start_task("asks")
        assert task.questions == {}
        for expected in (4, 1):
            while len(task.questions) != expected:
                await task.refresh()
            assert all(asked["method"] == "elicitation/create" for asked in task.questions.values())
            await task.update({key: {"action": "accept"} for key in task.questions})
        assert (await soon(task.result())).text == "[True, True, True, True] True"
    async with joined(bench.server, "legacy") as client:
        with pytest.raises(UsageError):
            await client.task("x").update({})


async def test_an_unknown_task_is_said_to_be(bench: Bench, join: Join, era: str):
    async with join(era) as client:
        for waiting in (client.task("f" * 32).result(), client.task("f" * 32).refresh()):
            with pytest.raises(RpcError, match="Unknown task"):
                await soon(waiting)


# Servers of others.


def strange(**tasks: Any) -> Json:
    """A task as a sloppy server writes it."""
    created = {"createdAt": "", "lastUpdatedAt": "", "ttlMs": None, "pollIntervalMs": 0}
    return {"taskId": "t", "status": "working", **created, **tasks}


def server_of(*looks: Json) -> Peer:
    """Answers a call with a task, and how it is with each of these in turn, the last for ever."""
    left = list(looks)

    async def look(peer: Peer, message: Json) -> None:
        seen = left.pop(0) if len(left) > 1 else left[0]
        peer.reply(message, strange(**seen, resultType="complete"))

    created = strange(resultType="task")
    return Peer(
        server_discover=discovery(),
        tools_call=created,
        prompts_get=created,
        tasks_get=look,
        tasks_update={"resultType": "complete"},
        tasks_cancel={"resultType": "complete"},
    )


DONE: Json = {"status": "completed", "result": {"content": [{"type": "text", "text": "done"}]}}


async def test_odd_things_said_of_a_task_are_read_as_far_as_they_go():
    odd: Json = {"status": "working", "statusMessage": None, "pollIntervalMs": -5, "new": 1}
    server = server_of(odd, DONE)
    async with Client(server.open, revision="modern") as client:
        assert (await soon(client.call_tool("it"))).text == "done"


@pytest.mark.parametrize(
    ("look", "error", "text"),
    [
        ({"status": "failed"}, RpcError, "does not say why"),
        ({"status": "failed", "statusMessage": "because"}, RpcError, "because"),
        ({"status": "failed", "error": {"code": 7, "message": "seven"}}, RpcError, "seven"),
        ({"status": "completed"}, InvalidMessage, "without a result"),
        ({"status": "cancelled"}, TaskCancelled, "cancelled"),
        ({"status": "unheard of"}, InvalidMessage, "status"),
        (
            {"status": "input_required", "inputRequests": {"a": {"method": "tools/call"}}},
            InvalidMessage,
            "cannot be read",
        ),
        ({"status": "input_required", "inputRequests": {"a": 5}}, InvalidMessage, "cannot be read"),
        (
            {
                "status": "input_required",
                "inputRequests": {str(n): {"method": "roots/list"} for n in range(1001)},
            },
            InvalidMessage,
            "more than",
        ),
    ],
)
async def test_a_task_that_goes_wrong_ends_the_call(look: Json, error: type[Exception], text: str):
    async with Client(server_of(look).open, revision="modern", roots=[]) as client:
        with pytest.raises(error, match=text):
            await soon(client.call_tool("it"))


async def test_a_question_that_is_still_there_is_not_answered_twice():
    asks: Json = {"status": "input_required", "inputRequests": {"a": {"method": "roots/list"}}}
    server = server_of(asks, asks, asks, DONE)
    async with Client(server.open, revision="modern", roots=[]) as client:
        assert (await soon(client.call_tool("it"))).text == "done"
    assert server.heard.count("tasks/update") == 1


async def test_a_question_whose_answer_was_given_up_is_asked_again():
    """Giving up the wait for a task answers nothing: whoever waits again is asked again."""
    question: Json = {"method": "elicitation/create", "params": {"message": "?"}}
    server = server_of({"status": "input_required", "inputRequests": {"a": question}})
    asked, updated = asyncio.Event(), asyncio.Event()
    answers: list[asyncio.Future[Json]] = []

    async def update(peer: Peer, message: Json) -> None:
        updated.set()
        peer.reply(message, {"resultType": "complete"})

    async def answer(question: ElicitParams) -> Mapping[str, Any]:
        answers.append(asyncio.get_running_loop().create_future())
        asked.set()
        return await answers[-1]

    server.answers["tasks/update"] = update
    async with Client(server.open, revision="modern", on_elicit=answer) as client:
        task = await client.start_task("it")
        for number in range(3):
            waiting = asyncio.create_task(task.result())
            await soon(asked.wait())
            asked.clear()
            if number == 0:
                waiting.cancel()
                await asyncio.wait([waiting])
                continue
            assert not updated.is_set()
            if number == 1:
                answers[-1].set_exception(RpcError(-1, "not now"))
                with pytest.raises(RpcError, match="not now"):
                    await soon(waiting)
                continue
            answers[-1].set_result({})
            await soon(updated.wait())
            waiting.cancel()
            await asyncio.wait([waiting])
    assert len(answers) == 3


async def test_an_answer_by_hand_that_was_refused_leaves_the_question_open():
    asks: Json = {"status": "input_required", "inputRequests": {"a": {"method": "roots/list"}}}
    server = server_of(asks)
    server.answers["tasks/update"] = -32603
    async with Client(server.open, revision="modern", roots=[]) as client:
        task = await client.start_task("it")
        for answering in (task.update({"a": {"roots": []}}), task.result()):
            with pytest.raises(RpcError, match="no"):
                await soon(answering)
    assert server.heard.count("tasks/update") == 2


async def test_only_tools_become_tasks():
    async with Client(server_of(DONE).open, revision="modern") as client:
        with pytest.raises(InvalidMessage, match="only tools"):
            await client.get_prompt("it")


# What survives.

SURVIVOR = """
import asyncio, os, sys, time
from interlock import Server, run
from interlock.protocol.call import Call, Handler
from interlock.server.ledger import TaskLimits
from interlock.store.sqlite import SqliteStore

shift = float(sys.argv[2])
server = Server(
    "survivor",
    store=SqliteStore(sys.argv[1], clock=lambda: time.time() + shift),
    tasks=TaskLimits(poll=0.05),
)

@server.tool(task="required")
async def quick() -> str:
    return "still here"

@server.tool(task="required")
async def slow() -> str:
    await asyncio.Event().wait()
    return ""

@server.tool
async def pid() -> int:
    return os.getpid()

run(server)
"""


@pytest.mark.parametrize("era", WIRED)
async def test_results_survive_a_server_that_is_killed(tmp_path: Path, era: str):
    """And what it was at work on has failed, and says why: nobody runs it any more."""

    def survivor(shift: float = 0) -> Client:
        command = [sys.executable, "-c", SURVIVOR, str(tmp_path / "tasks.db"), str(shift)]
        return Client(command, revision=era, timeout=30)

    async with survivor() as client:
        done, lost = await client.start_task("quick"), await client.start_task("slow")
        assert (await soon(done.result(), 30)).text == "still here"
        assert await lost.refresh() == "working"
        process = int((await client.call_tool("pid")).text)
        os.kill(process, signal.SIGKILL)
    async with survivor(shift=60) as client:
        assert (await soon(client.task(done.id).result(), 30)).text == "still here"
        with pytest.raises(RpcError, match="The server ended while this task ran"):
            await soon(client.task(lost.id).result(), 30)
        assert client.task(lost.id).status is None
        assert await client.task(lost.id).refresh() in TERMINAL


async def test_infinite_patience_is_patience(bench: Bench, joined: Joined):
    bench.go.set()
    async with joined(bench.server, "legacy", timeout=None) as client:
        assert (await client.call_tool("must", timeout=math.inf)).text == "done"
