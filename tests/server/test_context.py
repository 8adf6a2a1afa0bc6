"""What a handler may do while it runs, in each era."""

from __future__ import annotations

import asyncio
import json
import math
import threading
import warnings
from typing import Any

import pytest
from tests.joined import Joined
from tests.peers import Json, hello, reply, soon
from tests.peers import ask as request

from interlock import Context, RpcError, Server
from interlock.errors import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    MISSING_CAPABILITY,
    MissingCapability,
    UsageError,
)
from interlock.transport.duplex import serve
from interlock.transport.memory import pair
from interlock.wire.content import Text
from interlock.wire.inputs import (
    CreateMessageParams,
    CreateMessageResult,
    ElicitParams,
    ElicitResult,
    SamplingMessage,
)
from interlock.wire.lifecycle import SetLevelParams
from interlock.wire.meta import LOG_LEVELS, LogLevel
from interlock.wire.notices import LogNotice, ProgressNotice

FORM: Json = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "default": 30}},
    "required": ["name"],
}


def a_logger() -> Server:
    server = Server("s")

    @server.tool
    async def speak(ctx: Context) -> None:
        for level in LOG_LEVELS:
            await ctx.log(level, {"it is": level}, logger="tests")

    return server


async def test_progress_reaches_the_caller_in_order(joined: Joined, era: str):
    server = Server("s")

    @server.tool
    async def work(ctx: Context) -> str:
        await ctx.report_progress(1, 3, "one")
        await ctx.report_progress(2.5)
        await ctx.report_progress(3, 3)
        return "done"

    heard: list[ProgressNotice] = []
    async with joined(server, era) as client:
        assert (await client.call_tool("work", on_progress=heard.append)).text == "done"
    assert [(n.progress, n.total, n.message) for n in heard] == [
        (1, 3, "one"),
        (2.5, None, None),
        (3, 3, None),
    ]


async def test_progress_only_ever_grows(joined: Joined, era: str):
    """§ Progress: the value MUST increase; what does not is not sent."""
    server = Server("s")

    @server.tool
    async def work(ctx: Context) -> None:
        for value in (2, 1, 2, math.nan, math.inf, 3):
            await ctx.report_progress(value)

    heard: list[float] = []
    async with joined(server, era) as client:
        await client.call_tool("work", on_progress=lambda notice: heard.append(notice.progress))
    assert heard == [2, 3]


async def test_progress_of_two_calls_is_kept_apart(joined: Joined, era: str):
    server = Server("s")
    both = asyncio.Barrier(2)

    @server.tool
    async def work(by: int, ctx: Context) -> None:
        for step in (1, 2):
            await both.wait()
            await ctx.report_progress(step * by)

    heard: dict[int, list[float]] = {1: [], 10: []}
    async with joined(server, era) as client:
        await asyncio.gather(
            *(
                client.call_tool(
                    "work", {"by": by}, on_progress=lambda n, by=by: heard[by].append(n.progress)
                )
                for by in heard
            )
        )
    assert heard == {1: [1, 2], 10: [10, 20]}


async def test_a_client_that_cannot_come_back_just_waits_for_its_answer(joined: Joined, era: str):
    server = Server("s")

    @server.tool
    async def work(seconds: float, ctx: Context) -> str:
        ctx.close_stream(seconds)
        return "done"

    async with joined(server, era) as client:
        assert (await client.call_tool("work", {"seconds": 0.5})).text == "done"
        assert (await client.call_tool("work", {"seconds": -1})).is_error


@pytest.mark.parametrize("level", LOG_LEVELS)
async def test_logs_come_from_the_level_on_that_was_asked_for(
    joined: Joined, era: str, level: LogLevel
):
    """`logging/setLevel` before 2026-07-28, `_meta` of each request since."""
    heard: list[LogNotice] = []
    async with joined(a_logger(), era, on_log=heard.append, log_level=level) as client:
        await client.call_tool("speak")
    assert [notice.level for notice in heard] == list(LOG_LEVELS[LOG_LEVELS.index(level) :])
    assert (heard[-1].data, heard[-1].logger) == ({"it is": "emergency"}, "tests")


async def test_a_modern_client_that_does_not_ask_for_logs_gets_none(joined: Joined):
    """2026-07-28 § Logging: MUST NOT without a level in the request."""
    async with joined(a_logger(), "modern") as client:
        await client.call_tool("speak")
    assert not [message for message in joined.received if b"notifications/message" in message]


async def test_a_legacy_client_that_never_said_gets_info_and_above(joined: Joined):
    heard: list[LogNotice] = []
    async with joined(a_logger(), "legacy", on_log=heard.append) as client:
        await client.call_tool("speak")
    assert [notice.level for notice in heard] == list(LOG_LEVELS[1:])


async def test_a_legacy_client_may_change_its_level_while_a_call_runs(joined: Joined):
    server = Server("s")
    reached, go = asyncio.Event(), asyncio.Event()

    @server.tool
    async def speak(ctx: Context) -> None:
        await ctx.info("first")
        reached.set()
        await go.wait()
        await ctx.info("second")
        await ctx.warning("third")

    heard: list[Any] = []
    async with joined(server, "legacy", on_log=lambda notice: heard.append(notice.data)) as client:
        call = asyncio.create_task(client.call_tool("speak"))
        await soon(reached.wait())
        await client.request("logging/setLevel", SetLevelParams(level="warning"))
        go.set()
        await call
    assert heard == ["first", "third"]


async def test_short_names_for_levels(joined: Joined, era: str):
    server = Server("s")

    @server.tool
    async def speak(ctx: Context) -> None:
        await ctx.debug(1)
        await ctx.info([2])
        await ctx.warning({"three": 3})
        await ctx.error(None)

    heard: list[Any] = []
    async with joined(
        server, era, on_log=lambda n: heard.append((n.level, n.data)), log_level="debug"
    ) as client:
        await client.call_tool("speak")
    assert heard == [("debug", 1), ("info", [2]), ("warning", {"three": 3}), ("error", None)]


def an_asker() -> Server:
    server = Server("s")

    @server.tool
    async def ask(ctx: Context) -> Any:
        answer = await ctx.elicit("Who are you?", FORM)
        return {"action": answer.action, "content": answer.content}

    @server.tool
    async def think(ctx: Context) -> str:
        answer = await ctx.sample("Say hi", max_tokens=9, system_prompt="Be brief")
        assert isinstance(answer.content, Text)
        return f"{answer.model}: {answer.content.text}"

    @server.tool
    async def where(ctx: Context) -> list[str]:
        return [root.uri for root in await ctx.roots()]

    return server


@pytest.mark.parametrize("revision", ["2025-06-18", "2025-11-25"])
async def test_a_legacy_client_is_asked_in_the_middle_of_a_call(joined: Joined, revision: str):
    asked: list[Any] = []

    async def on_elicit(params: ElicitParams) -> ElicitResult:
        asked.append((params.message, params.requested_schema))
        return ElicitResult(action="accept", content={"name": "Ada"})

    async def on_sample(params: CreateMessageParams) -> CreateMessageResult:
        asked.append((params.messages, params.max_tokens, params.system_prompt))
        return CreateMessageResult(role="assistant", content=Text(text="hi"), model="m")

    client = joined(
        an_asker(), revision, on_elicit=on_elicit, on_sample=on_sample, roots=["file:///work"]
    )
    async with client:
        answer = json.loads((await client.call_tool("ask")).text)
        assert (await client.call_tool("think")).text == "m: hi"
        assert (await client.call_tool("where")).structured == {"result": ["file:///work"]}
    # The default of what was left out is filled in (SEP-1034).
    assert answer == {"action": "accept", "content": {"name": "Ada", "age": 30}}
    message = SamplingMessage(role="user", content=Text(text="Say hi"))
    assert asked == [("Who are you?", FORM), ([message], 9, "Be brief")]


@pytest.mark.parametrize("answer", ["decline", "cancel"])
async def test_a_person_may_say_no(joined: Joined, answer: Any):
    async def on_elicit(params: ElicitParams) -> ElicitResult:
        return ElicitResult(action=answer)

    async with joined(an_asker(), "legacy", on_elicit=on_elicit) as client:
        found = json.loads((await client.call_tool("ask")).text)
    assert found == {"action": answer, "content": None}


@pytest.mark.parametrize(
    ("tool", "capability"), [("ask", "elicitation"), ("think", "sampling"), ("where", "roots")]
)
async def test_what_a_client_did_not_declare_it_is_not_asked(
    joined: Joined, tool: str, capability: str
):
    """-32021 with what is missing, for modern clients; a plain refusal before."""
    for era, code in [("modern", MISSING_CAPABILITY), ("legacy", INVALID_REQUEST)]:
        async with joined(an_asker(), era) as client:
            with pytest.raises(RpcError, match=capability) as caught:
                await client.call_tool(tool)
            assert caught.value.code == code
            part: dict[str, Any] = {"form": {}} if capability == "elicitation" else {}
            assert caught.value.data == {"requiredCapabilities": {capability: part}}


@pytest.mark.parametrize("revision", ["2024-11-05", "2025-03-26"])
async def test_nobody_is_asked_in_words_that_their_revision_does_not_have(
    joined: Joined, revision: str
):
    """Elicitation came with 2025-06-18; a client that declares it earlier knows no such request."""

    async def on_elicit(params: ElicitParams) -> ElicitResult:
        raise AssertionError

    async with joined(an_asker(), revision, on_elicit=on_elicit) as client:
        with pytest.raises(RpcError, match="elicitation"):
            await client.call_tool("ask")


@pytest.mark.parametrize("tool", ["ask", "think", "where"])
async def test_an_answer_that_cannot_be_read_is_an_error_that_a_handler_may_expect(
    tool: str, caplog: pytest.LogCaptureFixture
):
    ours, theirs = pair()
    serving = asyncio.create_task(serve(an_asker(), theirs))
    able: dict[str, Any] = {"elicitation": {}, "sampling": {}, "roots": {}}
    ours.send(hello(capabilities=able))
    await soon(ours.receive())
    ours.send(request("tools/call", 1, {"name": tool}))
    (question,) = await soon(ours.receive())
    ours.send(reply(json.loads(question)["id"], {"action": 7, "roots": 7}))
    (answer,) = await soon(ours.receive())
    assert json.loads(answer)["error"]["code"] == INVALID_PARAMS
    assert "cannot be read" in json.loads(answer)["error"]["message"]
    assert not caplog.records
    await ours.close()
    await soon(serving)


async def test_a_handler_may_require_a_capability_before_it_starts(joined: Joined, era: str):
    server = Server("s")

    @server.tool
    async def careful(ctx: Context) -> str:
        ctx.require(roots={})
        return "fine"

    async with joined(server, era, roots=[]) as client:
        assert (await client.call_tool("careful")).text == "fine"
    async with joined(server, era) as client:
        with pytest.raises(RpcError, match="declares: roots"):
            await client.call_tool("careful")


async def test_a_client_whose_callback_fails_answers_with_an_error(joined: Joined):
    async def on_elicit(params: ElicitParams) -> ElicitResult:
        raise RpcError(-1, "User rejected")

    server = Server("s")

    @server.tool
    async def ask(ctx: Context) -> str:
        try:
            await ctx.elicit("?", FORM)
        except RpcError as error:
            return f"{error.code} {error.message}"
        return "unreachable"

    async with joined(server, "legacy", on_elicit=on_elicit) as client:
        assert (await client.call_tool("ask")).text == "-1 User rejected"


async def test_a_thread_sees_that_its_caller_left(joined: Joined, era: str):
    server = Server("s")
    reached, left, looked = threading.Event(), threading.Event(), threading.Event()
    seen: list[bool] = []

    @server.tool
    def work(ctx: Context) -> None:
        seen.append(ctx.cancelled)
        reached.set()
        left.wait()
        seen.append(ctx.cancelled)
        looked.set()

    @server.tool
    async def fine() -> str:
        return "fine"

    async with joined(server, era) as client:
        call = asyncio.create_task(client.call_tool("work"))
        await asyncio.to_thread(reached.wait)
        call.cancel()
        await asyncio.wait([call])
        # Its cancellation has been read once a later call is answered.
        assert (await client.call_tool("fine")).text == "fine"
        left.set()
        await asyncio.to_thread(looked.wait)
    assert seen == [False, True]


async def test_cancelling_reaches_an_async_handler(joined: Joined, era: str):
    server = Server("s")
    reached, ended = asyncio.Event(), asyncio.Event()

    @server.tool
    async def work() -> None:
        reached.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with joined(server, era) as client:
        call = asyncio.create_task(client.call_tool("work"))
        await soon(reached.wait())
        call.cancel()
        await soon(ended.wait())
        with pytest.raises(asyncio.CancelledError):
            await call


async def test_blocked_sync_tools_delay_no_async_one(joined: Joined, era: str):
    """Issue 2, 7: 45 of them, and stdin, stdout and async tools never wait."""
    server = Server("s")
    go = threading.Event()
    running = threading.Semaphore(0)

    @server.tool
    def block(number: int) -> int:
        running.release()
        go.wait()
        return number

    @server.tool
    async def quick() -> str:
        return "quick"

    async with joined(server, era) as client:
        blocked = [asyncio.create_task(client.call_tool("block", {"number": n})) for n in range(45)]
        for _ in blocked:
            await asyncio.to_thread(running.acquire)
        assert (await client.call_tool("quick")).text == "quick"
        assert not any(task.done() for task in blocked)
        go.set()
        results = await asyncio.gather(*blocked)
    assert [result.structured for result in results] == [{"result": n} for n in range(45)]


async def test_a_client_is_not_asked_in_a_way_that_its_revision_has_no_words_for(joined: Joined):
    """Whatever it declares: hosts that speak newer revisions too declare all they can do."""
    server = Server("s")

    @server.tool
    async def ask(ctx: Context) -> None:
        with pytest.raises(MissingCapability):
            await ctx.elicit_url("Go", "https://example.com")

    async def never(asked: Any) -> Any:
        raise AssertionError("it was asked")

    async with joined(server, "2025-06-18", on_elicit_url=never) as client:
        assert not (await client.call_tool("ask")).is_error


async def test_nobody_is_sent_to_a_page_by_a_url_that_holds_a_name(joined: Joined):
    """2025-11-25 § Elicitation: no pre-authenticated URL."""
    server = Server("s")

    @server.tool
    async def ask(ctx: Context) -> None:
        with pytest.raises(UsageError, match="name"):
            await ctx.elicit_url("Go", "https://ada:hunter2@example.com")

    async with joined(server, "2025-11-25") as client:
        assert not (await client.call_tool("ask")).is_error


async def test_what_is_deprecated_says_so_to_its_user_and_never_for_a_legacy_client(
    joined: Joined, era: str
):
    """2026-07-28 § Deprecated: sampling, roots and logging work on, and new code does without."""
    server = Server("s")

    @server.tool
    async def use(ctx: Context) -> None:
        await ctx.error("x")
        await ctx.roots()
        await ctx.sample("hi", max_tokens=1)

    async def sample(asked: CreateMessageParams) -> CreateMessageResult:
        return CreateMessageResult(role="assistant", content=Text(text="ho"), model="m")

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        async with joined(
            server, era, on_sample=sample, roots=["file:///x"], on_log=print, log_level="debug"
        ) as client:
            assert not (await client.call_tool("use")).is_error
    said = [str(each.message) for each in caught if each.category is DeprecationWarning]
    starts = [] if era == "legacy" else ["Logs to clients are", "Roots are", "Sampling is"]
    assert [text.partition(" deprecated since MCP")[0] for text in said] == starts
    assert {each.filename for each in caught} <= {__file__}
