"""§17 Tasks: the experiment of 2025-11-25, and the extension that replaced it."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import datetime
from itertools import pairwise
from typing import Any

import pytest
from tests.peers import Json, ask, hello, modern, soon
from tests.spec.asking import call, listed, offered
from tests.spec.marking import HTTP, STDIO, requirement
from tests.spec.scripts import LISTED, SAID, Asked, Script, meet
from tests.spec.ways import Answer, Open, Peer, Way

from interlock import Context, RpcError, Server, ToolError
from interlock.errors import (
    HEADER_MISMATCH,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    MISSING_CAPABILITY,
    InvalidMessage,
)
from interlock.protocol.call import Call, Principal
from interlock.protocol.dispatch import Dispatch, admit
from interlock.protocol.session import Session
from interlock.server.ledger import TaskLimits
from interlock.wire.inputs import ElicitParams
from interlock.wire.jsonrpc import Message, read
from interlock.wire.meta import CLIENT_CAPABILITIES, SUBSCRIPTION_ID
from interlock.wire.methods import TO_SERVER
from interlock.wire.notices import MESSAGE, PROGRESS
from interlock.wire.tasks import EXTENSION, RELATED

CAN: Json = {"extensions": {EXTENSION: {}}, "elicitation": {}}
FORM: Json = {"type": "object", "properties": {"name": {"type": "string"}}}
ADA: Json = {"action": "accept", "content": {"name": "Ada"}}
ID = re.compile(r"[0-9a-f]{32,}")


class Workshop(Server):
    """A server whose tools run as tasks; *build* waits for `go`."""

    def __init__(self, ttl: float = 3600) -> None:
        super().__init__("workshop", tasks=TaskLimits(grace=0.01, ttl=ttl))
        self.go = asyncio.Event()
        self.reached = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.tool(task="required")(self.build)
        self.tool(task="optional")(self.quick)
        self.tool(task="required")(self.fail)
        self.tool(task="required")(self.crash)
        self.tool(task="required")(self.ask)
        self.tool(task="later")(self.later)
        self.tool(self.never)

    async def build(self, ctx: Context) -> str:
        await ctx.report_progress(1, 2, "half")
        self.reached.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return "built"

    async def quick(self, seconds: float = 0) -> str:
        await asyncio.sleep(seconds)
        return "quick"

    async def fail(self) -> str:
        raise ToolError("not today")

    async def crash(self) -> str:
        raise RpcError(50, "out of paper", {"tray": 1})

    async def ask(self, ctx: Context) -> str:
        one, two = await asyncio.gather(
            ctx.elicit("One?", FORM, key="one"), ctx.elicit("Two?", FORM, key="two")
        )
        return f"{one.content} {two.content}"

    async def later(self, ctx: Context) -> str:
        answer = await ctx.elicit("Who?", FORM)
        await ctx.become_task()
        await self.go.wait()
        return f"hello {(answer.content or {}).get('name')}"

    async def never(self) -> str:
        return "never"


async def begin(peer: Peer, name: str, **arguments: Any) -> Json:
    """The task that a call became."""
    params: Json = {"name": name, "arguments": arguments}
    if peer.revision == "2025-11-25":
        params["task"] = {"ttl": 60_000}
        return (await peer.ask("tools/call", params)).result["task"]
    result = (await peer.ask("tools/call", params)).result
    assert result["resultType"] == "task"
    return result


async def about(peer: Peer, method: str, id: str, **params: Any) -> Answer:
    return await peer.ask(f"tasks/{method}", {"taskId": id, **params})


async def until(peer: Peer, id: str, *statuses: str) -> Json:
    """The task once its status is one of these."""

    async with asyncio.timeout(10):
        while (task := (await about(peer, "get", id)).result)["status"] not in statuses:
            pass
    return task


# The experiment.


@requirement("TD-01")
async def test_tasks_are_declared_by_kind_of_request(way: Way):
    """Tasks are declared by kind of request, and used only as declared.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-11-25/basic/utilities/tasks.mdx
    """
    async with way.join(Workshop()) as peer:
        declared = (await offered(peer))["tasks"]
        assert declared["requests"] == {"tools": {"call": {}}}
        assert declared["cancel"] == {}
    async with way.join(Server("none")) as peer:
        assert "tasks" not in await offered(peer)


@requirement("TD-02", "TC-14")
async def test_a_tool_says_whether_it_runs_as_a_task_and_does_no_other(way: Way):
    """A tool that cannot run as a task does not, one that must does, else -32601.
    A tool says whether it can, cannot or must run as a task.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-11-25/basic/utilities/tasks.mdx
    """
    async with way.join(Workshop()) as peer:
        support = {
            tool["name"]: tool.get("execution", {}).get("taskSupport", "forbidden")
            for tool in await listed(peer)
        }
        assert support["never"] == "forbidden"
        assert support["quick"] == "optional"
        assert support["build"] == "required"
        task: Json = {"task": {}}
        for params in ({"name": "never", **task}, {"name": "build"}):
            assert (await peer.ask("tools/call", params)).code == METHOD_NOT_FOUND
        assert (await call(peer, "quick"))["content"][0]["text"] == "quick"
        assert "task" in (await peer.ask("tools/call", {"name": "quick", **task})).result


@requirement("TD-03")
async def test_a_task_that_is_asked_for_is_returned_at_once_and_ignored_where_there_are_none(
    way: Way,
):
    """`task` in the params asks for a task, which is returned at once; who has no tasks ignores it.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-11-25/basic/utilities/tasks.mdx
    """
    workshop = Workshop()
    async with way.join(workshop) as peer:
        task = await begin(peer, "build")
        assert task["status"] == "working"
        assert not workshop.go.is_set()
    server = Server("none")
    server.tool(name="never")(workshop.never)
    async with way.join(server) as peer:
        result = (await peer.ask("tools/call", {"name": "never", "task": {"ttl": 1}})).result
        assert result["content"][0]["text"] == "never"


@requirement("TD-04")
async def test_ids_of_tasks_are_made_by_the_server_and_cannot_be_guessed(way: Way):
    """Task ids are made by the receiver and cannot be guessed.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-11-25/basic/utilities/tasks.mdx
    """
    async with way.join(Workshop()) as peer:
        ids = [(await begin(peer, "fail"))["taskId"] for _ in range(20)]
    assert len(set(ids)) == 20
    assert all(ID.fullmatch(handle) for handle in ids)


@requirement("TD-05")
async def test_a_task_works_may_need_input_and_ends_for_good(way: Way):
    """A task works, may need input, and ends completed, failed or cancelled, for good.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-11-25/basic/utilities/tasks.mdx
    """
    workshop = Workshop()
    async with way.join(workshop, capabilities=CAN) as peer:
        handle = (await begin(peer, "ask"))["taskId"]
        assert (await until(peer, handle, "input_required"))["taskId"] == handle
        waiting = await peer.open("tasks/result", {"taskId": handle})
        for _ in range(2):
            asked = await waiting.until(lambda said: said.get("method") == "elicitation/create")
            await peer.reply(asked, ADA)
        await waiting.answer()
        assert (await about(peer, "get", handle)).result["status"] == "completed"
        for name, end in (("fail", "failed"), ("crash", "failed"), ("quick", "completed")):
            handle = (await begin(peer, name))["taskId"]
            await until(peer, handle, end)
            await about(peer, "cancel", handle)
            assert (await about(peer, "get", handle)).result["status"] == end
        handle = (await begin(peer, "build"))["taskId"]
        await about(peer, "cancel", handle)
        workshop.go.set()
        await soon(workshop.cancelled.wait())
        assert (await about(peer, "get", handle)).result["status"] == "cancelled"


@requirement("TD-06")
async def test_a_result_that_is_an_error_is_a_failed_task(way: Way):
    """A result with `isError` is a failed task.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-11-25/basic/utilities/tasks.mdx
    """
    async with way.join(Workshop()) as peer:
        handle = (await begin(peer, "fail"))["taskId"]
        await until(peer, handle, "failed")
        result = (await about(peer, "result", handle)).result
        assert result["isError"] is True
        assert result["content"][0]["text"] == "not today"


@requirement("TD-07")
async def test_looking_at_a_task_does_not_wait_and_its_result_does(way: Way):
    """tasks/get does not wait; tasks/result does, and gives what the request would have given.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-11-25/basic/utilities/tasks.mdx
    """
    workshop = Workshop()
    async with way.join(workshop) as peer:
        handle = (await begin(peer, "build"))["taskId"]
        waiting = await peer.open("tasks/result", {"taskId": handle})
        assert (await about(peer, "get", handle)).result["status"] == "working"
        assert not [said for said in waiting.heard if said.get("id") == waiting.id]
        workshop.go.set()
        result = (await waiting.answer()).result
        assert result.pop("_meta")[RELATED] == {"taskId": handle}
        assert result == {"content": [{"type": "text", "text": "built"}]}
        handle = (await begin(peer, "crash"))["taskId"]
        error = (await about(peer, "result", handle)).error
        assert error == {"code": 50, "message": "out of paper", "data": {"tray": 1}}


@requirement("TD-08", "META-10", over=[STDIO])
async def test_what_belongs_to_a_task_names_it(way: Way):
    """Messages of a task name it in `_meta`.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-11-25/basic/utilities/tasks.mdx
    """
    workshop = Workshop()
    async with way.join(workshop, capabilities=CAN) as peer:
        standing = await peer.listen()
        token = {"_meta": {"progressToken": 7}}
        asked = await peer.ask("tools/call", {"name": "build", "task": {}, **token})
        handle = asked.result["task"]["taskId"]
        told = await standing.until(lambda said: said.get("method") == PROGRESS)
        assert told["params"]["_meta"][RELATED] == {"taskId": handle}
        assert RELATED not in (await about(peer, "get", handle)).result.get("_meta", {})
        handle = (await begin(peer, "ask"))["taskId"]
        waiting = await peer.open("tasks/result", {"taskId": handle})
        question = await waiting.until(lambda said: said.get("method") == "elicitation/create")
        assert question["params"]["_meta"][RELATED] == {"taskId": handle}


@requirement("TD-09")
async def test_tasks_are_listed_where_their_owner_can_be_told(way: Way):
    """tasks/list gives, in pages, what tasks/get can reach.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-11-25/basic/utilities/tasks.mdx
    """
    async with way.join(Workshop()) as peer:
        mine = {(await begin(peer, "fail"))["taskId"] for _ in range(3)}
        declared = "list" in (await offered(peer))["tasks"]
        assert declared == (way.transport == STDIO)
        answer = await peer.ask("tasks/list", {})
        if declared:
            assert {task["taskId"] for task in answer.result["tasks"]} == mine
        else:
            assert answer.code == METHOD_NOT_FOUND


@requirement("TD-09", "TD-14", over=[STDIO])
async def test_the_list_of_tasks_comes_in_pages(way: Way):
    """tasks/list gives, in pages, what tasks/get can reach.
    Unknown ids and cursors are -32602.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-11-25/basic/utilities/tasks.mdx
    """
    async with way.join(Workshop()) as peer:
        mine = [(await begin(peer, "fail"))["taskId"] for _ in range(120)]
        found: list[str] = []
        page: Json | None = {}
        while page is not None:
            result = (await peer.ask("tasks/list", page)).result
            found += [task["taskId"] for task in result["tasks"]]
            page = {"cursor": result["nextCursor"]} if "nextCursor" in result else None
        assert sorted(found) == sorted(mine)
        assert (await peer.ask("tasks/list", {"cursor": "made up"})).code == INVALID_PARAMS


@requirement("TD-10")
async def test_a_task_that_runs_is_cancelled_and_one_that_ended_is_not(way: Way):
    """tasks/cancel cancels a task that runs, and refuses one that ended with -32602.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-11-25/basic/utilities/tasks.mdx
    """
    workshop = Workshop()
    async with way.join(workshop) as peer:
        handle = (await begin(peer, "build"))["taskId"]
        await soon(workshop.reached.wait())
        assert (await about(peer, "cancel", handle)).result["status"] == "cancelled"
        await soon(workshop.cancelled.wait())
        assert (await about(peer, "cancel", handle)).code == INVALID_PARAMS
        assert (await about(peer, "get", handle)).result["status"] == "cancelled"


@requirement("TD-11")
async def test_a_task_says_when_it_was_made_how_long_it_is_kept_and_how_often_to_ask(way: Way):
    """A task says when it was made and changed, how long it is kept and how often to ask.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-11-25/basic/utilities/tasks.mdx
    """
    async with way.join(Workshop()) as peer:
        made = await begin(peer, "build")
        seen = (await about(peer, "get", made["taskId"])).result
    for task in (made, seen):
        created, updated = (
            datetime.fromisoformat(task[name]) for name in ("createdAt", "lastUpdatedAt")
        )
        assert created.tzinfo is not None
        assert created <= updated
        assert task["ttl"] == 60_000
        assert task["pollInterval"] > 0


@requirement("TD-12")
async def test_progress_goes_on_after_the_task_was_returned(way: Way):
    """A progress token lives as long as its task; status notifications are optional.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-11-25/basic/utilities/tasks.mdx
    """
    workshop = Workshop()

    @workshop.tool(task="required")
    async def steps(ctx: Context) -> str:
        await workshop.go.wait()
        await ctx.report_progress(1)
        return "done"

    async with way.join(workshop) as peer:
        standing = await peer.listen()
        token = {"_meta": {"progressToken": "mine"}}
        await peer.ask("tools/call", {"name": "steps", "task": {}, **token})
        workshop.go.set()
        told = await standing.until(lambda said: said.get("method") == PROGRESS)
        assert told["params"]["progressToken"] == "mine"


@requirement("TD-13")
async def test_a_task_of_the_experiment_belongs_to_who_made_it():
    """A task belongs to who made it.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-11-25/basic/utilities/tasks.mdx
    """
    dispatch = Dispatch(Workshop())
    users = {name: await _session(dispatch, name) for name in ("ada", "eve")}

    async def asks(who: str, method: str, params: Json) -> Json:
        return await _answered(dispatch, ask(method, 1, params), who, users[who])

    made = await asks("ada", "tools/call", {"name": "fail", "task": {}})
    handle = made["result"]["task"]["taskId"]
    for method in ("tasks/get", "tasks/result", "tasks/cancel"):
        assert (await asks("eve", method, {"taskId": handle}))["error"]["code"] == INVALID_PARAMS
    assert (await asks("eve", "tasks/list", {}))["result"]["tasks"] == []
    assert len((await asks("ada", "tasks/list", {}))["result"]["tasks"]) == 1
    assert (await asks("ada", "tasks/get", {"taskId": handle}))["result"]["taskId"] == handle
    await dispatch.service.stop()


async def _session(dispatch: Dispatch, who: str) -> Session:
    session = Session()
    await _answered(dispatch, hello(), who, session)
    session.initialized()
    return session


async def _answered(
    dispatch: Dispatch, data: bytes, who: str, session: Session | None = None
) -> Json:
    """What *who* is answered."""
    message = read(data)
    assert isinstance(message, Message)
    admitted = admit(message, TO_SERVER, None, session, Principal(subject=who))
    assert isinstance(admitted, Call)
    return json.loads((await dispatch.respond(admitted))[0])


@requirement("TD-14")
async def test_an_unknown_task_of_the_experiment_is_invalid(way: Way):
    """Unknown ids and cursors are -32602.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-11-25/basic/utilities/tasks.mdx
    """
    async with way.join(Workshop()) as peer:
        for method in ("get", "result", "cancel"):
            for handle in ("", "none", "0" * 32, "../x"):
                assert (await about(peer, method, handle)).code == INVALID_PARAMS


# The extension.


@requirement("TX-01")
async def test_tasks_are_an_extension_and_no_capability(way: Way):
    """Both sides declare the extension; there is no core capability for tasks.

    https://github.com/modelcontextprotocol/ext-tasks/blob/main/specification/draft/tasks.md
    """
    async with way.join(Workshop()) as peer:
        declared = await offered(peer)
        assert declared["extensions"][EXTENSION] == {}
        assert "tasks" not in declared
        assert not [tool for tool in await listed(peer) if "execution" in tool]


@requirement("TX-02")
async def test_only_who_declared_the_extension_gets_a_task(way: Way):
    """The server decides, and makes a task only where the request declared the extension; clients
    take both answers.

    https://github.com/modelcontextprotocol/ext-tasks/blob/main/specification/draft/tasks.md
    """
    async with way.join(Workshop()) as peer:
        assert (await call(peer, "quick", seconds=0.03))["resultType"] == "complete"
        error = (await peer.ask("tools/call", {"name": "build"})).error
        assert error["code"] == MISSING_CAPABILITY
        assert EXTENSION in str(error["data"])
    async with way.join(Workshop(), capabilities=CAN) as peer:
        assert (await call(peer, "quick"))["resultType"] == "complete"
        assert (await begin(peer, "build"))["status"] == "working"


@requirement("TX-03")
async def test_a_created_task_is_flat(way: Way):
    """A created task is flat, and holds neither result nor questions.

    https://github.com/modelcontextprotocol/ext-tasks/blob/main/specification/draft/tasks.md
    """
    async with way.join(Workshop(), capabilities=CAN) as peer:
        task = await begin(peer, "build")
    assert set(task) <= {
        *("resultType", "taskId", "status", "statusMessage", "createdAt", "lastUpdatedAt"),
        *("ttlMs", "pollIntervalMs", "_meta"),
    }
    assert task["ttlMs"] is None or task["ttlMs"] > 0


@requirement("TX-04", "TX-05")
async def test_a_task_can_be_fetched_from_the_moment_it_is_known(way: Way):
    """A task is not returned before it can be fetched.
    tasks/get gives the task with its questions, its result or its error.

    https://github.com/modelcontextprotocol/ext-tasks/blob/main/specification/draft/tasks.md
    """
    workshop = Workshop()
    async with way.join(workshop, capabilities=CAN) as peer:
        made = await begin(peer, "build")
        seen = (await about(peer, "get", made["taskId"])).result
        assert seen["resultType"] == "complete"
        assert (seen["taskId"], seen["status"]) == (made["taskId"], "working")
        workshop.go.set()
        done = await until(peer, made["taskId"], "completed")
        assert done["result"]["content"][0]["text"] == "built"
        handle = (await begin(peer, "crash"))["taskId"]
        failed = await until(peer, handle, "failed")
        assert failed["error"] == {"code": 50, "message": "out of paper", "data": {"tray": 1}}
        assert "result" not in failed
        handle = (await begin(peer, "ask"))["taskId"]
        asks = await until(peer, handle, "input_required")
        assert asks["inputRequests"]["one"]["method"] == "elicitation/create"


@requirement("TX-06")
async def test_a_result_that_is_an_error_is_a_completed_task_and_the_same_as_a_calls(way: Way):
    """A result with `isError` is a completed task; the result is what the call would have given.

    https://github.com/modelcontextprotocol/ext-tasks/blob/main/specification/draft/tasks.md
    """
    workshop = Workshop()
    workshop.tool(name="plain")(workshop.fail)
    async with way.join(workshop, capabilities=CAN) as peer:
        plain = await call(peer, "plain")
        handle = (await begin(peer, "fail"))["taskId"]
        done = await until(peer, handle, "completed")
    for stamp in ("resultType", "_meta"):
        plain.pop(stamp)
        done["result"].pop(stamp, None)
    assert done["result"] == plain
    assert plain["isError"] is True


@requirement("TX-07")
async def test_a_task_takes_its_answers_together_or_one_by_one_and_ignores_others(way: Way):
    """tasks/update takes some or all answers; keys are unique for the task's life.

    https://github.com/modelcontextprotocol/ext-tasks/blob/main/specification/draft/tasks.md
    """
    async with way.join(Workshop(), capabilities=CAN) as peer:
        handle = (await begin(peer, "ask"))["taskId"]

        async with asyncio.timeout(10):
            open_now: set[str] = set()
            while open_now != {"one", "two"}:
                task = await until(peer, handle, "input_required")
                open_now = set(task["inputRequests"])
        ack = (await about(peer, "update", handle, inputResponses={"none": ADA, "one": ADA})).result
        ack.pop("_meta")
        assert ack == {"resultType": "complete"}
        asks = await until(peer, handle, "input_required")
        assert set(asks["inputRequests"]) == {"two"}
        again = {"one": {"action": "decline"}, "two": {"action": "decline"}}
        assert "result" in (await about(peer, "update", handle, inputResponses=again)).message
        done = await until(peer, handle, "completed")
    assert done["result"]["content"][0]["text"] == "{'name': 'Ada'} None"


@requirement("TX-08")
async def test_a_task_is_asked_to_end_by_its_own_method_only(way: Way):
    """tasks/cancel asks a task to end; notifications/cancelled does not.

    https://github.com/modelcontextprotocol/ext-tasks/blob/main/specification/draft/tasks.md
    """
    workshop = Workshop()
    async with way.join(workshop, capabilities=CAN) as peer:
        asked: Open = await peer.open("tools/call", {"name": "build", "arguments": {}})
        handle = (await asked.answer()).result["taskId"]
        await peer.tell("notifications/cancelled", {"requestId": asked.id})
        await peer.tell("notifications/cancelled", {"requestId": handle})
        assert (await about(peer, "get", handle)).result["status"] == "working"
        for _ in range(2):
            ack = (await about(peer, "cancel", handle)).result
            ack.pop("_meta")
            assert ack == {"resultType": "complete"}
        await soon(workshop.cancelled.wait())
        assert (await until(peer, handle, "cancelled"))["taskId"] == handle


@requirement("TX-09")
async def test_what_the_experiment_had_is_gone(way: Way):
    """tasks/result and tasks/list do not exist, and `task` in params is ignored.

    https://github.com/modelcontextprotocol/ext-tasks/blob/main/specification/draft/tasks.md
    """
    async with way.join(Workshop(), capabilities=CAN) as peer:
        handle = (await begin(peer, "build"))["taskId"]
        for method in ("result", "list"):
            answer = await about(peer, method, handle)
            assert answer.code == METHOD_NOT_FOUND
            assert answer.status in (None, 404)
        result = (await peer.ask("tools/call", {"name": "never", "task": {"ttl": 1}})).result
        assert result["resultType"] == "complete"


@requirement("TX-10")
async def test_an_unknown_task_is_invalid_and_an_undeclared_extension_is_said_to_be(way: Way):
    """An unknown task is -32602, an undeclared extension -32021.

    https://github.com/modelcontextprotocol/ext-tasks/blob/main/specification/draft/tasks.md
    """
    workshop = Workshop()
    requests: list[tuple[str, Json]] = [
        ("get", {}),
        ("update", {"inputResponses": {}}),
        ("cancel", {}),
    ]
    async with way.serve(workshop) as join, join(capabilities=CAN) as peer, join() as other:
        handle = (await begin(peer, "build"))["taskId"]
        for method, params in requests:
            for unknown in ("none", "0" * 32):
                assert (await about(peer, method, unknown, **params)).code == INVALID_PARAMS
            answer = await about(other, method, handle, **params)
            assert answer.code == MISSING_CAPABILITY
            assert EXTENSION in str(answer.error["data"])
        listening = await other.ask(
            "subscriptions/listen", {"notifications": {"taskIds": [handle]}}
        )
        assert listening.code == MISSING_CAPABILITY


@requirement("TX-11", "TX-07")
async def test_a_subscription_tells_whole_tasks_and_nothing_else(way: Way):
    """A subscription to tasks tells whole tasks, and never progress or logs.
    tasks/update takes some or all answers; keys are unique for the task's life.

    https://github.com/modelcontextprotocol/ext-tasks/blob/main/specification/draft/tasks.md
    """
    workshop = Workshop()
    async with way.join(workshop, capabilities=CAN) as peer:
        handle = (await begin(peer, "build"))["taskId"]
        wanted = {"notifications": {"taskIds": [handle, "0" * 32]}}
        listening = await peer.open("subscriptions/listen", wanted)
        said = await listening.until(lambda said: "method" in said)
        assert said["method"] == "notifications/subscriptions/acknowledged"
        assert said["params"]["notifications"]["taskIds"] == [handle]
        workshop.go.set()
        told = await listening.until(
            lambda said: said.get("params", {}).get("status") == "completed"
        )
        assert told["method"] == "notifications/tasks"
        assert told["params"]["taskId"] == handle
        assert told["params"]["result"]["content"][0]["text"] == "built"
        assert told["params"]["_meta"][SUBSCRIPTION_ID] == listening.id
        assert not {PROGRESS, MESSAGE} & {said.get("method") for said in listening.heard}


@requirement("TX-12", over=[HTTP])
async def test_requests_about_a_task_name_it_in_a_header(way: Way):
    """Over HTTP `Mcp-Name` is the id of the task.

    https://github.com/modelcontextprotocol/ext-tasks/blob/main/specification/draft/tasks.md
    """
    async with way.join(Workshop(), capabilities=CAN) as peer:
        handle = (await begin(peer, "build"))["taskId"]
        assert (await about(peer, "get", handle)).result["taskId"] == handle
        for name in (None, "0" * 32):
            answer = await peer.ask("tasks/get", {"taskId": handle}, headers={"mcp-name": name})
            assert answer.code == HEADER_MISMATCH
            assert answer.status == 400


@requirement("TX-13")
async def test_input_before_a_task_is_asked_for_as_usual_and_then_there_is_none_in_it(way: Way):
    """Input before a task is asked for as usual; during one through the task.

    https://github.com/modelcontextprotocol/ext-tasks/blob/main/specification/draft/tasks.md
    """
    workshop = Workshop()
    async with way.join(workshop, capabilities=CAN) as peer:
        asked = await call(peer, "later")
        assert asked["resultType"] == "input_required"
        (key,) = asked["inputRequests"]
        again = {
            "name": "later",
            "arguments": {},
            "inputResponses": {key: ADA},
            "requestState": asked["requestState"],
        }
        task = (await peer.ask("tools/call", again)).result
        assert task["resultType"] == "task"
        assert not {"requestState", "inputRequests"} & set(task)
        workshop.go.set()
        done = await until(peer, task["taskId"], "completed")
    assert done["result"]["content"][0]["text"] == "hello Ada"


@requirement("TX-14")
async def test_a_task_ends_with_its_time_to_live(way: Way):
    """A task may end with its time to live, and is not asked for more often than it says.

    https://github.com/modelcontextprotocol/ext-tasks/blob/main/specification/draft/tasks.md
    """
    async with way.join(Workshop(ttl=0.05), capabilities=CAN) as peer:
        task = await begin(peer, "build")
        assert task["ttlMs"] == 50
        assert task["pollIntervalMs"] > 0
        failed = await until(peer, task["taskId"], "failed")
        assert "longer than" in failed["statusMessage"]


@requirement("TX-15")
async def test_a_task_belongs_to_who_made_it_and_is_not_found_by_guessing():
    """Task ids cannot be guessed, and each use is checked.

    https://github.com/modelcontextprotocol/ext-tasks/blob/main/specification/draft/tasks.md
    """
    dispatch = Dispatch(Workshop())

    async def asks(who: str, method: str, params: Json) -> Json:
        data = modern(method, 1, params, **{CLIENT_CAPABILITIES: CAN})
        return await _answered(dispatch, data, who)

    made = [await asks("ada", "tools/call", {"name": "fail"}) for _ in range(20)]
    ids = [each["result"]["taskId"] for each in made]
    assert len(set(ids)) == 20
    assert all(ID.fullmatch(handle) for handle in ids)
    about: list[tuple[str, Json]] = [
        ("tasks/get", {}),
        ("tasks/update", {"inputResponses": {}}),
        ("tasks/cancel", {}),
    ]
    for method, more in about:
        params = {"taskId": ids[0], **more}
        assert (await asks("eve", method, params))["error"]["code"] == INVALID_PARAMS
        assert "result" in await asks("ada", method, params)
    await dispatch.service.stop()


# Our client.

NOW = "2026-07-28T12:00:00Z"
TIMES = {"createdAt": NOW, "lastUpdatedAt": NOW}
OWN = "786512e2-9e0d-44bd-8f29-789f320fe840"


def modern_task(status: str, **more: Any) -> Json:
    return {"taskId": OWN, "status": status, **TIMES, "ttlMs": None, "pollIntervalMs": 1, **more}


def legacy_task(status: str) -> Json:
    return {"taskId": OWN, "status": status, **TIMES, "ttl": None, "pollInterval": 1}


@requirement("TD-01", "TD-02")
async def test_a_client_asks_for_a_task_only_where_that_was_declared(way: Way):
    """Tasks are declared by kind of request, and used only as declared.
    A tool that cannot run as a task does not, one that must does, else -32601.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-11-25/basic/utilities/tasks.mdx
    """
    tool = {**LISTED, "execution": {"taskSupport": "optional"}}
    for declared in (False, True):
        capabilities: Json = {"tools": {}}
        if declared:
            capabilities["tasks"] = {"requests": {"tools": {"call": {}}}}
        script = Script(way.revision, {"tools/list": {"tools": [tool]}}, capabilities=capabilities)

        async def answer(asked: Asked) -> None:
            is_task = "task" in asked.params
            await asked.result({"task": legacy_task("working")} if is_task else SAID)

        script.answers |= {
            "tools/call": answer,
            "tasks/get": legacy_task("completed"),
            "tasks/result": {**SAID, "_meta": {RELATED: {"taskId": OWN}}},
        }
        async with meet(way, script) as client:
            task = await client.start_task("tool")
            assert (await task.result()).text == "said"
        assert ("task" in script.of("tools/call")[0].params) == declared
        assert ("tasks/result" in script.methods) == declared


@requirement("TX-01", "TX-02", "TX-17")
async def test_a_client_declares_the_extension_and_takes_a_result_or_a_task(way: Way):
    """Both sides declare the extension; there is no core capability for tasks.
    The server decides, and makes a task only where the request declared the extension; clients
    take both answers.
    A call that became a task can be awaited like any other.

    https://github.com/modelcontextprotocol/ext-tasks/blob/main/specification/draft/tasks.md
    """
    looks = [modern_task("working"), modern_task("completed", result=SAID)]

    async def look(asked: Asked) -> None:
        assert asked.params["taskId"] == OWN
        await asked.result(looks.pop(0))

    script = Script(way.revision, {"tasks/get": look})
    async with meet(way, script) as client:
        assert (await client.call_tool("tool")).text == "said"
        script.answers["tools/call"] = {"resultType": "task", **modern_task("working")}
        assert (await client.call_tool("tool")).text == "said"
    declared = script.of("tools/call")[0].meta[CLIENT_CAPABILITIES]
    assert declared["extensions"][EXTENSION] == {}
    assert "tasks" not in declared
    assert looks == []


@requirement("TX-02")
async def test_a_client_takes_no_task_for_an_answer_to_anything_else(way: Way):
    """The server decides, and makes a task only where the request declared the extension; clients
    take both answers.

    https://github.com/modelcontextprotocol/ext-tasks/blob/main/specification/draft/tasks.md
    """
    task: Json = {"resultType": "task", **modern_task("working")}
    script = Script(way.revision, {"prompts/get": task, "resources/read": task})
    async with meet(way, script) as client:
        with pytest.raises(InvalidMessage):
            await client.get_prompt("prompt")
        with pytest.raises(InvalidMessage):
            await client.read_resource("a://b")


@requirement("TX-12", over=[HTTP])
async def test_a_client_names_a_task_in_the_header_of_what_it_asks_about_it(way: Way):
    """Over HTTP `Mcp-Name` is the id of the task.

    https://github.com/modelcontextprotocol/ext-tasks/blob/main/specification/draft/tasks.md
    """
    script = Script(
        way.revision,
        {
            "tools/call": {"resultType": "task", **modern_task("working")},
            "tasks/get": modern_task("completed", result=SAID),
        },
    )
    async with meet(way, script) as client:
        await client.call_tool("tool")
    assert script.of("tasks/get")[0].headers["mcp-name"] == OWN


@requirement("TX-15", "TX-17")
async def test_a_client_answers_each_question_of_a_task_once_and_ends_with_its_error(way: Way):
    """Task ids cannot be guessed, and each use is checked.
    A call that became a task can be awaited like any other.

    https://github.com/modelcontextprotocol/ext-tasks/blob/main/specification/draft/tasks.md
    """
    question = {"method": "elicitation/create", "params": {"message": "?", "requestedSchema": FORM}}
    asks = modern_task("input_required", inputRequests={"q": question})
    error = {"code": 50, "message": "out of paper"}
    looks = [asks, asks, modern_task("failed", error=error)]

    async def look(asked: Asked) -> None:
        await asked.result(looks.pop(0))
        if not looks:
            return
        # The next look may still see what was answered already: acknowledging is not taking.
        await script.hears("tasks/update")

    shown = 0

    async def show(asked: ElicitParams) -> Json:
        nonlocal shown
        shown += 1
        return {"name": "Ada"}

    script = Script(
        way.revision,
        {
            "tools/call": {"resultType": "task", **modern_task("working")},
            "tasks/get": look,
            "tasks/update": {},
        },
    )
    async with meet(way, script, on_elicit=show) as client:
        with pytest.raises(RpcError, match="out of paper"):
            await client.call_tool("tool")
    assert shown == 1
    (update,) = script.of("tasks/update")
    assert update.params["inputResponses"] == {
        "q": {"action": "accept", "content": {"name": "Ada"}}
    }


@requirement("TX-08")
async def test_a_client_that_gives_up_a_task_asks_for_its_end_by_its_own_method(way: Way):
    """tasks/cancel asks a task to end; notifications/cancelled does not.

    https://github.com/modelcontextprotocol/ext-tasks/blob/main/specification/draft/tasks.md
    """
    script = Script(
        way.revision,
        {
            "tools/call": {"resultType": "task", **modern_task("working")},
            "tasks/get": modern_task("working"),
            "tasks/cancel": {},
        },
    )
    async with meet(way, script) as client:
        calling = asyncio.create_task(client.call_tool("tool"))
        await script.hears("tasks/get")
        calling.cancel()
        await asyncio.wait([calling])
        assert (await script.hears("tasks/cancel")).params["taskId"] == OWN
    cancelled = [each.params["requestId"] for each in script.of("notifications/cancelled")]
    assert script.of("tools/call")[0].id not in cancelled


@requirement("TX-14")
async def test_a_client_asks_no_more_often_than_the_task_says(way: Way):
    """A task may end with its time to live, and is not asked for more often than it says.

    https://github.com/modelcontextprotocol/ext-tasks/blob/main/specification/draft/tasks.md
    """
    moments: list[float] = []

    async def look(asked: Asked) -> None:
        moments.append(asyncio.get_running_loop().time())
        last = len(moments) == 3
        more = {"result": SAID} if last else {}
        await asked.result(
            modern_task("completed" if last else "working", **{**more, "pollIntervalMs": 60})
        )

    script = Script(
        way.revision,
        {"tools/call": {"resultType": "task", **modern_task("working")}, "tasks/get": look},
    )
    async with meet(way, script) as client:
        await client.call_tool("tool")
    assert all(later - earlier > 0.055 for earlier, later in pairwise(moments))
