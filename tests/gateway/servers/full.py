"""An upstream that does to its callers whatever a server may, a tool each; run or imported.

`full.py [legacy]` serves over stdio. Tests wait for what happened in it by `until`, and let go what
waits in it by `let`: everything has a name.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import defaultdict
from collections.abc import Awaitable
from typing import Annotated, Any

import msgspec
from msgspec import Raw
from tests.doors import only_legacy

from interlock import Context, RpcError, Server, run
from interlock.protocol.call import Call, Handler
from interlock.wire.content import Text, ToolOutcome, ToolUse
from interlock.wire.inputs import InputRequired, SamplingMessage
from interlock.wire.jsonrpc import encode
from interlock.wire.meta import RawResult, Result, members
from interlock.wire.notices import Kind
from interlock.wire.tools import CallToolParams, CallToolResult, Tool

FORM = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name"],
}
WEATHER = Tool(name="weather", input_schema={"type": "object"})


def intruding(handle: Handler) -> Handler:
    """The tool `intrude` asks its caller whatever it likes, declared or not."""

    async def intrude(call: Call) -> Result:
        params = call.params
        assert isinstance(params, CallToolParams)
        if params.name != "intrude":
            return await handle(call)
        asked = members(members(params.arguments)["question"])
        if call.session is None:
            return RawResult(
                body=encode({"resultType": "input_required", "inputRequests": {"q": asked}}),
                relayed=True,
            )
        try:
            await call.outlet.ask(msgspec.json.decode(asked["method"]), asked["params"])
        except RpcError as error:
            return CallToolResult(content=[Text(text=f"{error.code} {error.message}")])
        return CallToolResult(content=[Text(text="it was answered")])

    def route(call: Call) -> Awaitable[Result]:
        return intrude(call) if call.method == "tools/call" else handle(call)

    return route


def a_full_server(*, legacy: bool = False) -> Server:
    server = Server("full", middleware=[intruding, *([only_legacy] if legacy else [])])
    happened: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
    watches: defaultdict[str, list[bool]] = defaultdict(list)

    def on_watch(uri: str, watched: bool) -> None:
        watches[uri].append(watched)
        now, before = ("watched", "left") if watched else ("left", "watched")
        happened[f"{before} {uri}"].clear()
        happened[f"{now} {uri}"].set()

    server.subscriptions.on_watch = on_watch

    # What tests hold on to.

    @server.tool
    async def until(what: str) -> None:
        await happened[what].wait()

    @server.tool
    async def let(what: str) -> None:
        happened[what].set()

    @server.tool
    async def watched(uri: str) -> list[bool]:
        """Each time that watching the resource began (true) or ended."""
        return watches[uri]

    @server.tool
    async def die() -> None:
        os._exit(3)

    # Questions.

    @server.tool
    async def form(ctx: Context, message: str = "Who?") -> dict[str, Any]:
        try:
            answer = await ctx.elicit(message, FORM)
        finally:
            happened[f"over {message}"].set()
        return {"action": answer.action, "content": answer.content}

    @server.tool
    async def visit(ctx: Context, url: str) -> bool:
        agreed = await ctx.elicit_url("Log in", url)
        ctx.visited()
        return agreed

    @server.tool
    async def visit_first(ctx: Context, name: str) -> str:
        """Refuses with the error of 2025-11-25, until `let` says that the visit took place."""
        if not happened[name].is_set():
            happened[name].set()
            where = {
                "mode": "url",
                "message": "Log in",
                "url": f"https://login.example/{name}",
                "elicitationId": name,
            }
            raise RpcError(-32042, "A visit comes first", {"elicitations": [where]})
        return "welcome"

    @server.tool
    async def think(ctx: Context, question: str) -> str:
        """A model that may use a tool, whose result it is given."""
        asked = SamplingMessage(role="user", content=Text(text=question))
        first = await ctx.sample([asked], max_tokens=100, tools=[WEATHER], tool_choice="auto")
        use = first.content
        assert isinstance(use, ToolUse)
        outcome = ToolOutcome(tool_use_id=use.id, content=[{"type": "text", "text": "sunny"}])
        messages = [
            asked,
            SamplingMessage(role="assistant", content=use),
            SamplingMessage(role="user", content=[outcome]),
        ]
        last = await ctx.sample(messages, max_tokens=100, tools=[WEATHER])
        assert isinstance(last.content, Text)
        return f"{use.name} {use.input} {last.content.text}"

    @server.tool
    async def places(ctx: Context) -> list[str]:
        return [root.uri for root in await ctx.roots()]

    @server.tool
    async def everything(ctx: Context) -> list[str]:
        """Several questions at once."""
        first, second, roots = await asyncio.gather(
            ctx.elicit("First?", FORM), ctx.elicit("Second?", FORM), ctx.roots()
        )
        return [(answer.content or {})["name"] for answer in (first, second)] + [
            root.uri for root in roots
        ]

    @server.tool
    async def impatient(ctx: Context, name: str) -> str:
        """Asks, and takes its question back when `let` says its name."""
        asking = asyncio.ensure_future(ctx.elicit(name, FORM))
        await happened[name].wait()
        asking.cancel()
        await asyncio.wait([asking])
        return "taken back"

    @server.tool
    async def keep(ctx: Context, state: str) -> str | InputRequired:
        """Asks by an answer of its own, and says which state came back."""
        if not ctx.input_responses:
            question = {
                "method": "elicitation/create",
                "params": {"message": "Go on?", "requestedSchema": FORM},
            }
            return InputRequired(input_requests={"go on": question}, request_state=state)
        assert ctx.request_state is not None
        return ctx.request_state

    @server.tool
    async def intrude(question: dict[str, Any]) -> str:
        raise AssertionError("its middleware answers")

    # What is said beside an answer.

    @server.tool
    async def steps(ctx: Context, count: int) -> str:
        for step in range(1, count + 1):
            await ctx.report_progress(step, count, f"step {step}")
        return "done"

    @server.tool
    async def talk(ctx: Context, name: str, company: Annotated[list[str], "Who talks too"]) -> None:
        """Log at three levels, while everyone in *company* has begun to and not ended."""
        happened[f"here {name}"].set()
        for other in company:
            await happened[f"here {other}"].wait()
        await ctx.debug({"by": name, "level": "debug"})
        await ctx.info({"by": name, "level": "info"})
        await ctx.warning({"by": name, "level": "warning"})
        happened[f"said {name}"].set()
        for other in company:
            await happened[f"said {other}"].wait()

    # Time.

    @server.tool
    async def hang(ctx: Context, name: str) -> str:
        """Waits until `let` says its name; reports progress once it does."""
        happened[f"waits {name}"].set()
        await ctx.report_progress(1)
        try:
            await happened[name].wait()
        except asyncio.CancelledError:
            happened[f"cancelled {name}"].set()
            raise
        return f"let {name}"

    # Changes.

    @server.tool
    async def grow(kind: Kind, name: str) -> None:
        async def fresh() -> str:
            return name

        (server.tool if kind == "tools" else server.prompt)(name=name)(fresh)

    @server.tool
    async def shrink(kind: Kind, name: str) -> None:
        (server.remove_tool if kind == "tools" else server.remove_prompt)(name)

    @server.tool
    async def touch(uri: str) -> None:
        server.updated(uri)

    @server.prompt
    async def review() -> str:
        # Of what a server has nothing at first it may not say that it changes.
        return "Review."

    @server.resource("note://{+path}")
    async def note(path: str) -> str:
        return f"note {path}"

    # Errors, `_meta`, and what the caller can do.

    @server.tool
    async def fail(code: int, message: str, data: dict[str, Any]) -> None:
        raise RpcError(code, message, data)

    @server.tool
    async def meta(ctx: Context) -> CallToolResult:
        """What came in `_meta`, and something of its own in that of the result."""
        came = members(ctx.call.raw).get("_meta", Raw(b"{}"))
        return CallToolResult(
            content=[Text(text=bytes(came).decode())], meta={"example.com/back": [1, {"a": None}]}
        )

    return server


if __name__ == "__main__":
    run(a_full_server(legacy="legacy" in sys.argv))
