"""A server with tasks, and callers of it in each era, without a client's conveniences."""

from __future__ import annotations

import asyncio
import inspect
import json
import threading
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw
from tests.official import complaint
from tests.peers import Json, ask, meta, soon

from interlock import Context, RpcError, Server, ToolError
from interlock.protocol.call import LOCAL, Call, Principal
from interlock.protocol.dispatch import Dispatch, admit
from interlock.protocol.ladder import Refusal
from interlock.protocol.session import Session
from interlock.server.ledger import TaskLimits, key_of, owner_of
from interlock.store.memory import MemoryStore
from interlock.store.ports import Store
from interlock.testing.clock import Clock
from interlock.testing.wiretap import BOTH, Wiretap
from interlock.wire.jsonrpc import Message, encode, notification, read
from interlock.wire.lifecycle import InitializeParams
from interlock.wire.meta import CLIENT_CAPABILITIES, ClientCapabilities, Implementation, Wire
from interlock.wire.methods import TO_SERVER
from interlock.wire.tasks import EXTENSION
from interlock.wire.versions import BY_NAME as REVISIONS

MODERN, EXPERIMENT = "2026-07-28", "2025-11-25"
AT_ONCE = TaskLimits(grace=0)
ABLE: Json = {"elicitation": {"form": {}}, "sampling": {}}
TASKS: Json = {**ABLE, "extensions": {EXTENSION: {}}}
ENDS = ("completed", "failed", "cancelled")


class Heard:
    """An outlet that keeps what is said, and answers questions as it is told to."""

    def __init__(self, say: Callable[[bytes], None] = lambda _: None) -> None:
        self.notices: list[tuple[str, Json]] = []
        self.questions: list[tuple[str, Json]] = []
        self.replies: Callable[[str, Json], Any] = lambda method, params: {"action": "accept"}
        self.asked = asyncio.Event()
        self._more = asyncio.Event()
        self._say = say

    def notify(self, method: str, params: Wire | Raw) -> None:
        data = params if isinstance(params, Raw) else encode(params)
        self._say(notification(method, data))
        self.notices.append((method, json.loads(bytes(data))))
        self._more.set()

    async def drain(self) -> None:
        pass

    async def ask(self, method: str, params: Wire | Raw, *, key: str = "") -> Raw:
        data = params if isinstance(params, Raw) else encode(params)
        self.questions.append((method, json.loads(bytes(data))))
        self.asked.set()
        answer: Any = self.replies(method, self.questions[-1][1])
        if inspect.isawaitable(answer):
            answer = await answer
        return Raw(encode(answer))

    def close_stream(self, retry: float) -> None:
        pass

    async def told(self, method: str, **members: Any) -> Json:
        """The first notice with these members, once it was heard."""
        while True:
            for params in self.of(method):
                if members.items() <= params.items():
                    return params
            self._more.clear()
            await soon(self._more.wait())

    def of(self, method: str) -> list[Json]:
        return [params for each, params in self.notices if each == method]


class Caller:
    """Sends one request after another, and looks at how its tasks are."""

    def __init__(
        self,
        server: Server,
        store: Store,
        revision: str = MODERN,
        *,
        principal: Principal = LOCAL,
        capabilities: Json = TASKS,
        session: str = "",
        proper: bool = True,
    ) -> None:
        """*proper* callers send only what their revision has."""
        judged = BOTH if proper else ("server",)
        self.tap = Wiretap(complaint, REVISIONS[revision], judged)
        self.revision = REVISIONS[revision]
        self.modern = self.revision.modern
        self.heard = Heard(lambda data: self.tap.hear("server", data))
        self._dispatch = Dispatch(server)
        self._store = store
        self._principal = principal
        self._capabilities = capabilities
        self._last = 0
        self._session: Session | None = None
        if not self.modern:
            self.tap.settle(self.revision)
            self._session = Session(session, self.heard)
            info = Implementation(name="tests", version="1")
            declared = msgspec.convert(
                {name: value for name, value in capabilities.items() if name != "extensions"},
                ClientCapabilities,
            )
            self._session.open(
                InitializeParams(protocol_version=revision, capabilities=declared, client_info=info)
            )
            self._session.initialized()

    async def __call__(self, method: str, **params: Any) -> Json:
        """The whole answer to one request."""
        call = self.call(method, **params)
        return await self.answer(call)

    def call(self, method: str, **params: Any) -> Call:
        self._last += 1
        if self.modern:
            own = meta(**{CLIENT_CAPABILITIES: self._capabilities})
            params["_meta"] = {**params.get("_meta", {}), **own}
        data = ask(method, self._last, params)
        self.tap.hear("client", data)
        message = read(data)
        assert isinstance(message, Message)
        call = admit(message, TO_SERVER, None, self._session, self._principal, self.heard)
        assert not isinstance(call, Refusal), call
        return call

    async def answer(self, call: Call) -> Json:
        body, _ = await soon(self._dispatch.respond(call))
        self.tap.hear("server", body)
        return json.loads(body)

    async def result(self, method: str, **params: Any) -> Json:
        answer = await self(method, **params)
        assert "result" in answer, answer
        return answer["result"]

    async def error(self, method: str, **params: Any) -> Json:
        answer = await self(method, **params)
        assert "error" in answer, answer
        return answer["error"]

    async def start(
        self, name: str, task: Json | None = None, progress: str = "", **arguments: Any
    ) -> str:
        """The id of the task that a call becomes; it works, and can be asked about at once."""
        params: Json = {"name": name, "arguments": arguments}
        if progress:
            params["_meta"] = {"progressToken": progress}
        if not self.modern:
            params["task"] = task or {}
        result = await self.result("tools/call", **params)
        created = result if self.modern else result["task"]
        assert created["status"] == "working"
        assert (await self.get(created["taskId"]))["taskId"] == created["taskId"]
        return created["taskId"]

    async def get(self, id: str) -> Json:
        return await self.result("tasks/get", taskId=id)

    async def until(self, id: str, so: str | Callable[[Json], bool]) -> Json:
        """The task, once it has that status, or is as it should be."""
        changed = asyncio.Event()
        topic = f"task/{key_of(owner_of(self._principal), id)}"
        leave = await self._store.bus.subscribe(topic, lambda _: changed.set())
        try:
            while True:
                seen = await self.get(id)
                if seen["status"] == so if isinstance(so, str) else so(seen):
                    return seen
                await soon(changed.wait())
                changed.clear()
        finally:
            await leave()

    async def asks(self, id: str, *keys: str) -> Json:
        """The task, once it asks just this."""
        return await self.until(id, lambda seen: set(seen.get("inputRequests", ())) == set(keys))

    async def end(self, id: str) -> Json:
        return await self.until(id, lambda seen: seen["status"] in ENDS)

    async def outcome(self, id: str) -> Json:
        """What the call itself would have been answered with."""
        if not self.modern:
            return await self.result("tasks/result", taskId=id)
        return (await self.end(id))["result"]


class Bench:
    """A server with one of each tool, and what its handlers wait for."""

    def __init__(self, limits: TaskLimits = AT_ONCE, store: Store | None = None) -> None:
        self.released = threading.Event()
        self.clock = Clock()
        self.store = store if store is not None else MemoryStore(clock=self.clock)
        self.go = asyncio.Event()
        self.reached = asyncio.Event()
        self.left = asyncio.Event()
        self.limits = limits
        self.refusal = 42
        self.server = self.worker()

    def worker(self) -> Server:
        """One more process, so to say, that serves the same."""
        server = Server("bench", store=self.store, tasks=self.limits)

        @server.tool(task="optional")
        async def wait(text: str = "done") -> str:
            self.reached.set()
            try:
                await self.go.wait()
            finally:
                self.left.set()
            return text

        @server.tool(task="required")
        async def must(text: str = "done") -> dict[str, str]:
            return {"text": text}

        @server.tool
        async def plain() -> str:
            return "plain"

        @server.tool(task="optional")
        async def fails() -> str:
            await self.go.wait()
            raise ToolError("not this time")

        @server.tool(task="optional")
        async def refuses() -> str:
            await self.go.wait()
            raise RpcError(self.refusal, "no such thing", {"why": 1})

        @server.tool(task="optional")
        async def confirms(ctx: Context) -> str:
            self.reached.set()
            first = await ctx.confirm("Really?", key="sure")
            second = await ctx.confirm("Really?", key="sure")
            return f"{first} {second}"

        @server.tool(task="optional")
        async def both(ctx: Context) -> str:
            answers = await asyncio.gather(
                ctx.confirm("One?", key="one"), ctx.confirm("Two?", key="two")
            )
            return str(answers)

        @server.tool(task="later")
        async def later(ctx: Context) -> str:
            sure = await ctx.confirm("Sure?", key="sure")
            became = await ctx.become_task()
            await self.go.wait()
            return f"{sure} {became} {await ctx.become_task()}"

        @server.tool(task="optional")
        async def reports(ctx: Context) -> str:
            await ctx.report_progress(1, 4)
            await ctx.info("a line")
            self.reached.set()
            await self.go.wait()
            return "done"

        @server.tool(task="optional")
        def blocks(ctx: Context) -> str:
            loop.call_soon_threadsafe(self.reached.set)
            while not ctx.cancelled:
                if released.wait(0.01):
                    return "done"
            loop.call_soon_threadsafe(self.left.set)
            return "cancelled"

        loop = asyncio.get_running_loop()
        released = self.released
        return server

    def caller(self, revision: str = MODERN, **options: Any) -> Caller:
        return Caller(self.server, self.store, revision, **options)
