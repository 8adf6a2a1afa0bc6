"""§15 Progress and cancellation: how far a request is, and that nobody waits for it any more."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest
from tests.peers import LEGACY, Json, soon
from tests.spec.asking import call
from tests.spec.kitchen import Kitchen
from tests.spec.marking import HTTP, STDIO, requirement
from tests.spec.scripts import SAID, Asked, Script, meet
from tests.spec.ways import Answer, Open, Peer, Way

from interlock import Client, Context, Server
from interlock.errors import TimedOut
from interlock.wire.inputs import ElicitParams
from interlock.wire.notices import CANCELLED, PROGRESS, ProgressNotice

TOKEN = "progressToken"


def under(token: object, **params: object) -> Json:
    """Params that want progress under *token*."""
    return {**params, "_meta": {TOKEN: token}}


def steps(answer: Answer) -> list[Json]:
    return [said["params"] for said in answer.before if said["method"] == PROGRESS]


@requirement("PGS-01")
async def test_progress_only_rises_and_goes_under_the_requests_token(way: Way):
    """Progress only rises, under the token of a request that runs, and ends with it.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/patterns/progress.mdx
    """
    server = Server("s")

    @server.tool
    async def work(ctx: Context) -> None:
        for value in (0.5, 0.5, 0.25, math.nan, math.inf, 2):
            await ctx.report_progress(value, 3, "on it")

    async with way.join(server) as peer:
        for token in ("a token", 0, "", 7):
            heard = steps(await peer.ask("tools/call", under(token, name="work")))
            assert heard == [
                {"progressToken": token, "progress": value, "total": 3, "message": "on it"}
                for value in (0.5, 2)
            ]
        assert steps(await peer.ask("tools/call", {"name": "work"})) == []


@requirement("PGS-01")
async def test_progress_ends_with_its_request(way: Way):
    """Progress only rises, under the token of a request that runs, and ends with it.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/patterns/progress.mdx
    """
    server = Server("s")
    kept: list[Context] = []

    @server.tool
    async def work(ctx: Context) -> None:
        kept.append(ctx)

    async with way.join(server) as peer:
        begun = await peer.open("tools/call", under(1, name="work"))
        await begun.answer()
        await kept[0].report_progress(1)
        await call(peer, "work")
    assert not [said for said in begun.heard if "method" in said]


@requirement("PGS-01")
async def test_a_client_names_each_of_its_requests_otherwise(way: Way):
    """Progress only rises, under the token of a request that runs, and ends with it.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/patterns/progress.mdx
    """
    both = asyncio.Barrier(2)

    async def work(asked: Asked) -> None:
        await both.wait()
        await asked.say(
            PROGRESS, {TOKEN: asked.meta[TOKEN], "progress": asked.params["arguments"]["n"]}
        )
        await both.wait()
        await asked.result(SAID)

    heard: dict[int, list[float]] = {1: [], 2: []}
    async with meet(way, Script(way.revision, {"tools/call": work})) as client:
        await asyncio.gather(
            *(
                client.call_tool(
                    "tool",
                    {"n": n},
                    on_progress=lambda notice, n=n: heard[n].append(notice.progress),
                )
                for n in heard
            )
        )
    assert heard == {1: [1], 2: [2]}


@requirement("PGS-02", revisions=LEGACY)
async def test_a_legacy_client_may_report_progress_too(way: Way):
    """Both sides report progress in legacy revisions, only the server in the modern era.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/patterns/progress.mdx
    """
    async with way.join(Kitchen()) as peer:
        status = await peer.tell(PROGRESS, {"progressToken": 1, "progress": 1})
        assert status in (None, 202)
        assert (await call(peer, "echo", text="still here"))["content"]


@requirement("PGS-02", over=[HTTP], revisions=["2026-07-28"])
async def test_progress_goes_on_the_stream_of_its_request(way: Way):
    """Both sides report progress in legacy revisions, only the server in the modern era.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/patterns/progress.mdx
    """
    async with way.join(Kitchen()) as peer:
        one = await peer.open("tools/call", under("one", name="steps"))
        two = await peer.open("tools/call", under("two", name="steps"))
        for begun, name in ((one, "one"), (two, "two")):
            assert [step[TOKEN] for step in steps(await begun.answer())] == [name] * 3


# Cancellation.


async def give_up(way: Way, peer: Peer, begun: Open) -> None:
    """Cancel a request, as a client of this revision does over this transport."""
    if way.modern:
        await begun.cancel()
    else:
        await peer.tell(CANCELLED, {"requestId": begun.id, "reason": "no matter"})


@requirement("CX-01", "CX-02")
async def test_what_is_cancelled_stops_and_is_not_answered(way: Way):
    """Either side cancels its own legacy requests; modern clients on stdio, or by closing the
    stream.
    What is cancelled stops and is not answered; unknown and malformed cancellations are ignored.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/patterns/cancellation.mdx
    """
    kitchen = Kitchen()
    async with way.serve(kitchen) as join, join() as peer:
        begun = await peer.open("tools/call", {"name": "hold"})
        await soon(kitchen.reached.wait())
        await give_up(way, peer, begun)
        await soon(kitchen.cancelled.wait())
        assert (await call(peer, "echo", text="a"))["content"][0]["text"] == "a"
        assert not [said for said in begun.heard if said.get("id") == begun.id]


@requirement("CX-01", revisions=LEGACY)
async def test_nobody_cancels_what_another_asked(way: Way):
    """Either side cancels its own legacy requests; modern clients on stdio, or by closing the
    stream.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/patterns/cancellation.mdx
    """
    kitchen = Kitchen()
    async with way.serve(kitchen) as join, join() as one, join() as two:
        begun = await one.open("tools/call", {"name": "hold"}, id=77)
        await soon(kitchen.reached.wait())
        await two.tell(CANCELLED, {"requestId": 77})
        await call(two, "echo")
        kitchen.go.set()
        assert "let go" in str((await begun.answer()).result)
    assert not kitchen.cancelled.is_set()


@requirement("CX-01")
async def test_a_client_that_gives_up_says_so_in_the_way_of_its_era(way: Way):
    """Either side cancels its own legacy requests; modern clients on stdio, or by closing the
    stream.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/patterns/cancellation.mdx
    """

    async def never(asked: Asked) -> None:
        await asyncio.Event().wait()

    script = Script(way.revision, {"tools/call": never})
    async with meet(way, script) as client:
        calling = asyncio.create_task(client.call_tool("tool"))
        asked = await script.hears("tools/call")
        calling.cancel()
        await asyncio.wait([calling])
        if way.modern and way.transport == HTTP:
            await soon(script.left.wait())
            assert CANCELLED not in script.methods
        else:
            assert (await script.hears(CANCELLED)).params["requestId"] == asked.id


@requirement("CX-01", revisions=LEGACY, over=[STDIO])
async def test_a_client_does_not_cancel_initialize(way: Way):
    """Either side cancels its own legacy requests; modern clients on stdio, or by closing the
    stream.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/patterns/cancellation.mdx
    """

    async def never(asked: Asked) -> None:
        await asyncio.Event().wait()

    script = Script(way.revision, {"initialize": never})
    client = Client(script.open, revision=way.revision)
    connecting = asyncio.create_task(client.connect())
    await script.hears("initialize")
    connecting.cancel()
    await asyncio.wait([connecting])
    await script.stop()
    assert script.methods == ["initialize"]


@requirement("CX-02")
async def test_cancellations_of_nothing_and_malformed_ones_are_ignored(way: Way):
    """What is cancelled stops and is not answered; unknown and malformed cancellations are ignored.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/patterns/cancellation.mdx
    """
    kitchen = Kitchen()
    async with way.join(kitchen) as peer:
        begun = await peer.open("tools/call", {"name": "hold"}, id=1)
        await soon(kitchen.reached.wait())
        others: list[object] = [999, "1", None, {}]
        for params in (*({"requestId": other} for other in others), {}, {"id": 1}):
            await peer.tell(CANCELLED, params)
        assert (await call(peer, "echo", text="a"))["content"][0]["text"] == "a"
        kitchen.go.set()
        assert "let go" in str((await begun.answer()).result)


@requirement("CX-02", over=[STDIO])
async def test_a_client_ignores_an_answer_that_comes_too_late(way: Way):
    """What is cancelled stops and is not answered; unknown and malformed cancellations are ignored.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/patterns/cancellation.mdx
    """
    late: list[Asked] = []

    async def answer(asked: Asked) -> None:
        if asked.params["name"] == "slow":
            late.append(asked)
            return
        await late[0].result(SAID)
        await asked.result({"content": [{"type": "text", "text": "mine"}]})

    script = Script(way.revision, {"tools/call": answer})
    async with meet(way, script) as client:
        calling = asyncio.create_task(client.call_tool("slow"))
        await script.hears("tools/call")
        calling.cancel()
        await asyncio.wait([calling])
        assert (await client.call_tool("quick")).text == "mine"


@requirement("CX-03", over=[HTTP])
async def test_the_stream_of_a_cancelled_request_ends_without_an_answer(way: Way):
    """A cancelled legacy request over HTTP ends its stream without an answer.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-11-25/basic/utilities/cancellation.mdx
    """
    kitchen = Kitchen()
    async with way.join(kitchen) as peer:
        begun: Any = await peer.open("tools/call", {"name": "hold"})
        await soon(kitchen.reached.wait())
        await peer.tell(CANCELLED, {"requestId": begun.id})
        await soon(begun.asked.task)
        assert begun.asked.finished
        assert begun.heard == []


@requirement("CX-04")
async def test_a_timeout_is_set_by_the_request_and_cancels_it(way: Way):
    """Timeouts are settable per request and cancel it; progress may extend them up to a cap.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/patterns/cancellation.mdx
    """

    async def never(asked: Asked) -> None:
        await asyncio.Event().wait()

    script = Script(way.revision, {"tools/call": never})
    async with meet(way, script) as client:
        with pytest.raises(TimedOut):
            await client.call_tool("tool", timeout=0.02)
        if way.modern and way.transport == HTTP:
            await soon(script.left.wait())
        else:
            await script.hears(CANCELLED)


@requirement("CX-04")
async def test_progress_does_not_extend_a_deadline(way: Way):
    """Timeouts are settable per request and cancel it; progress may extend them up to a cap.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/patterns/cancellation.mdx
    """

    async def busy(asked: Asked) -> None:
        for step in range(10_000):
            await asked.say(PROGRESS, {TOKEN: asked.meta[TOKEN], "progress": step})
            await asyncio.sleep(0.005)

    heard: list[ProgressNotice] = []
    async with meet(way, Script(way.revision, {"tools/call": busy})) as client:
        with pytest.raises(TimedOut, match="deadline"):
            await client.call_tool("tool", timeout=10, deadline=0.05, on_progress=heard.append)


@requirement("CX-04", revisions=["2025-06-18", "2025-11-25"])
async def test_the_time_a_person_takes_to_answer_is_not_the_servers(way: Way):
    """Patience does not run while the server waits for us.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/patterns/cancellation.mdx
    """
    loop = asyncio.get_running_loop()
    thought = asyncio.Event()

    async def call(asked: Asked) -> None:
        form: Json = {"type": "object", "properties": {}}
        name = f"question {asked.id}"
        await asked.ask(name, "elicitation/create", {"message": "?", "requestedSchema": form})
        await script.hears(lambda heard: heard.id == name)
        await asked.result(SAID)

    async def think(asked: ElicitParams) -> None:
        loop.call_later(0.15, thought.set)
        await thought.wait()

    script = Script(way.revision, {"tools/call": call})
    async with meet(way, script, on_elicit=think) as client:
        assert (await client.call_tool("tool", timeout=0.05)).text == "said"
        never = asyncio.create_task(client.call_tool("tool", timeout=10, deadline=0.05))
        thought.clear()
        with pytest.raises(TimedOut, match="deadline"):
            await never
