"""Tasks through the gateway, for each pair of eras and both transports inside."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import Raw
from tests.asking.kitchen import only_legacy
from tests.asking.test_asking import Guest, over_http

from interlock import Client, Context, RpcError, Server, ToolError
from interlock.errors import INVALID_PARAMS, TaskCancelled
from interlock.gateway.config import load
from interlock.gateway.gateway import Gateway
from interlock.protocol.call import Call, Handler
from interlock.wire.jsonrpc import encode
from interlock.wire.meta import SERVER_INFO, Result, Wire
from interlock.wire.methods import BY_NAME, LISTEN
from interlock.wire.notices import ACKNOWLEDGED, Filter, ListenParams
from interlock.wire.tasks import CHANGED, RELATED, without
from interlock.wire.tools import CallToolParams

ERAS = ("modern", "legacy")
DISH = {"type": "object", "properties": {"dish": {"type": "string"}}, "required": ["dish"]}


class Oven:
    """A server whose tools take as long as the test says."""

    def __init__(self, *, legacy: bool) -> None:
        self.open = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.began = asyncio.Event()
        self.looked_at = asyncio.Event()
        self.mute = False
        """Whether it refuses to tell of anything."""
        self.server = server = Server("oven", middleware=[only_legacy] if legacy else [])
        heard = server.handle

        async def hear(call: Call) -> Result:
            if call.method == "tasks/get":
                self.looked_at.set()
            if self.mute and call.method == LISTEN:
                raise RpcError(INVALID_PARAMS, "Nothing is told here")
            return await heard(call)

        server.handle = hear

        @server.tool(task="required")
        async def bake(ctx: Context, what: str) -> str:
            self.began.set()
            try:
                await self.open.wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
            return f"baked {what}"

        @server.tool(task="required")
        async def order(ctx: Context) -> str:
            dish = await ctx.elicit("Which dish?", DISH, key="dish")
            return f"{dish.action} {dish.content}"

        @server.tool(task="required")
        async def begs(ctx: Context) -> str:
            # What its caller did not declare, as servers of others ask it too.
            params: dict[str, Any] = {"message": "?", "requestedSchema": DISH}
            try:
                await ctx.call.outlet.ask("elicitation/create", Raw(encode(params)))
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
            return "fed"

        @server.tool(task="required")
        async def burn() -> str:
            raise ToolError("burnt")

        @server.tool(task="optional")
        async def slice_it() -> str:
            return "sliced"

        @server.tool
        async def toast() -> str:
            return "toasted"


@asynccontextmanager
async def kitchen(folder: Path, theirs: str) -> AsyncGenerator[tuple[Oven, Gateway]]:
    async with AsyncExitStack() as stack:
        oven = Oven(legacy=theirs == "legacy")
        url = await stack.enter_async_context(over_http(oven.server))
        path = folder / ".mcp.json"
        path.write_text(json.dumps({"mcpServers": {"k": {"type": "http", "url": url}}}))
        gateway = Gateway(load(path, os.environ))
        await gateway.start()
        try:
            await gateway.settled(20)
            yield oven, gateway
        finally:
            await gateway.stop()


theirs_too = pytest.mark.parametrize("theirs", ERAS)


def both(test: Any) -> Any:
    return theirs_too(pytest.mark.parametrize("era", ERAS)(test))


def a_client(gateway: Gateway, era: str) -> Client:
    return Client(gateway, revision=era, timeout=20)


@both
async def test_whoever_calls_a_tool_gets_what_its_task_comes_to(
    tmp_path: Path, era: str, theirs: str
) -> None:
    async with kitchen(tmp_path, theirs) as (oven, gateway), a_client(gateway, era) as client:
        oven.open.set()
        assert (await client.call_tool("k__bake", {"what": "bread"})).text == "baked bread"
        burnt = await client.call_tool("k__burn")
        assert (burnt.text, burnt.is_error) == ("burnt", True)
        assert (await client.call_tool("k__toast")).text == "toasted"
        assert (await client.call_tool("k__slice_it")).text == "sliced"


@both
async def test_a_task_is_looked_at_and_waited_for(tmp_path: Path, era: str, theirs: str) -> None:
    async with kitchen(tmp_path, theirs) as (oven, gateway), a_client(gateway, era) as client:
        task = await client.start_task("k__bake", {"what": "bread"})
        assert task.id
        assert await task.refresh() == "working"
        again = client.task(task.id)
        oven.open.set()
        assert (await again.result(deadline=20)).text == "baked bread"
        assert (await task.result(deadline=20)).text == "baked bread"
        assert await task.refresh() == "completed"


@both
async def test_cancelling_a_task_reaches_the_tool(tmp_path: Path, era: str, theirs: str) -> None:
    async with kitchen(tmp_path, theirs) as (oven, gateway), a_client(gateway, era) as client:
        task = await client.start_task("k__bake", {"what": "bread"})
        await asyncio.wait_for(oven.began.wait(), 20)
        await task.cancel()
        await asyncio.wait_for(oven.cancelled.wait(), 20)
        with pytest.raises(TaskCancelled):
            await task.result(deadline=20)


@both
async def test_giving_up_a_call_gives_up_its_task(tmp_path: Path, era: str, theirs: str) -> None:
    async with kitchen(tmp_path, theirs) as (oven, gateway), a_client(gateway, era) as client:
        call = asyncio.create_task(client.call_tool("k__bake", {"what": "bread"}))
        await asyncio.wait_for(oven.looked_at.wait(), 20)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.wait_for(oven.cancelled.wait(), 20)


@both
async def test_what_a_task_asks_reaches_its_caller(tmp_path: Path, era: str, theirs: str) -> None:
    guest = Guest()
    async with kitchen(tmp_path, theirs) as (_, gateway), guest.client(gateway, era) as client:
        task = await client.start_task("k__order")
        assert (await task.result(deadline=20)).text == "accept {'dish': 'soup'}"
        assert guest.asked == ["[k] Which dish?"]


@both
async def test_a_tool_that_is_none_is_refused_as_a_task_and_runs_as_a_call(
    tmp_path: Path, era: str, theirs: str
) -> None:
    async with kitchen(tmp_path, theirs) as (_, gateway), a_client(gateway, era) as client:
        task = await client.start_task("k__toast")
        assert (await task.result(deadline=20)).text == "toasted"


@theirs_too
async def test_a_tool_that_fails_fails_its_task_in_the_experiment(
    tmp_path: Path, theirs: str
) -> None:
    """2025-11-25 § Tasks: a result with isError is a task that failed, and its result all the same."""
    async with kitchen(tmp_path, theirs) as (_, gateway), a_client(gateway, "legacy") as client:
        task = await client.start_task("k__burn")
        assert (await task.result(deadline=20)).text == "burnt"
        assert await client.task(task.id).refresh() == "failed"


@both
async def test_an_id_is_of_no_use_to_anybody_who_made_it_up(
    tmp_path: Path, era: str, theirs: str
) -> None:
    async with kitchen(tmp_path, theirs) as (_, gateway), a_client(gateway, era) as client:
        task = await client.start_task("k__bake", {"what": "bread"})
        for made_up in ("", "via.", "via.il1.AAAA", task.id[:-2] + "AA", "0" * 32):
            with pytest.raises(RpcError) as caught:
                await client.task(made_up).refresh()
            assert caught.value.code == INVALID_PARAMS
        await task.cancel()


@theirs_too
async def test_whoever_listens_is_told_of_a_task(tmp_path: Path, theirs: str) -> None:
    """SEP-2663 § Notifications: `taskIds` of a subscription, wherever the task runs."""
    async with kitchen(tmp_path, theirs) as (oven, gateway), a_client(gateway, "modern") as client:
        task = await client.start_task("k__bake", {"what": "bread"})
        async with listening(client, task.id, "0" * 32) as ear:
            oven.open.set()
            await asyncio.wait_for(ear.completed.wait(), 20)
        assert {seen["taskId"] for seen in ear.heard} == {task.id}
        assert ear.heard[-1]["result"]["content"][0]["text"] == "baked bread"


@theirs_too
async def test_what_a_listener_is_told_that_a_task_asks_is_asked_in_the_servers_name(
    tmp_path: Path, theirs: str
) -> None:
    """§ Elicitation: a person is told who asks, by a notice as by an answer."""
    guest = Guest()
    async with kitchen(tmp_path, theirs) as (_, gateway), guest.client(gateway, "modern") as client:
        task = await client.start_task("k__order")
        async with listening(client, task.id) as ear:
            await asyncio.wait_for(ear.asked.wait(), 20)
        (question,) = ear.heard[-1]["inputRequests"].values()
        assert question["params"]["message"] == "[k] Which dish?"
        await task.cancel()


async def test_a_server_that_tells_of_no_tasks_leaves_them_to_be_asked_about(
    tmp_path: Path,
) -> None:
    async with (
        kitchen(tmp_path, "modern") as (oven, gateway),
        a_client(gateway, "modern") as client,
    ):
        oven.mute = True
        task = await client.start_task("k__bake", {"what": "bread"})
        async with listening(client, task.id) as ear:
            await asyncio.wait_for(ear.acknowledged.wait(), 20)
            oven.open.set()
            assert (await task.result(deadline=20)).text == "baked bread"
        assert ear.heard == []


@pytest.mark.parametrize("revision", ["2026-07-28", "2025-06-18", "2025-11-25"])
@theirs_too
async def test_the_mark_of_a_task_elsewhere_is_no_part_of_what_it_came_to(
    tmp_path: Path, theirs: str, revision: str
) -> None:
    """The id that a 2025-11-25 server ties its result to is nobody's here (TD-08)."""
    async with kitchen(tmp_path, theirs) as (oven, gateway), a_client(gateway, revision) as client:
        oven.open.set()
        params = CallToolParams(name="k__bake", arguments=Raw(b'{"what":"bread"}'))
        if revision == "2025-06-18":
            result = await client.request("tools/call", params)
            expected = None
        else:
            task = await client.start_task("k__bake", {"what": "bread"})
            result = await task.raw_result()
            expected = None if revision == "2026-07-28" else {RELATED: {"taskId": task.id}}
        fields = msgspec.json.decode(result.body)
        assert fields["content"][0]["text"] == "baked bread"
        meta = {key: value for key, value in fields.get("_meta", {}).items() if key != SERVER_INFO}
        assert (meta or None) == expected


@pytest.mark.parametrize("revision", ["2026-07-28", "2025-06-18"])
async def test_who_knows_no_tasks_gets_what_one_comes_to_all_the_same(
    tmp_path: Path, revision: str
) -> None:
    """A tool that its 2025-11-25 server runs as a task only is followed for such callers."""
    guest = Guest()
    async with kitchen(tmp_path, "legacy") as (oven, gateway):
        gateway.handle = without_tasks(gateway.handle)
        async with guest.client(gateway, revision) as client:
            oven.open.set()
            assert (await client.call_tool("k__bake", {"what": "bread"})).text == "baked bread"
            assert (await client.call_tool("k__order")).text == "accept {'dish': 'soup'}"
        assert guest.asked == ["[k] Which dish?"]


async def test_a_task_whose_question_nobody_answers_is_given_up(tmp_path: Path) -> None:
    """Whoever follows it has failed; it would wait for an answer as long as it is kept."""
    async with (
        kitchen(tmp_path, "modern") as (oven, gateway),
        a_client(gateway, "legacy") as client,
    ):
        task = await client.start_task("k__begs")
        with pytest.raises(RpcError):
            await task.result(deadline=20)
        await asyncio.wait_for(oven.cancelled.wait(), 20)


async def test_a_gateway_that_stops_gives_up_the_tasks_it_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("interlock.gateway.tasks.PARTING", 20)
    async with AsyncExitStack() as stack:
        oven, gateway = await stack.enter_async_context(kitchen(tmp_path, "legacy"))
        async with a_client(gateway, "modern") as client:
            await client.start_task("k__bake", {"what": "bread"})
            await asyncio.wait_for(oven.looked_at.wait(), 20)
        assert not oven.cancelled.is_set()
        await gateway.stop()
        assert oven.cancelled.is_set()
        await gateway.start()  # It is stopped once more below.


def without_tasks(handle: Handler) -> Handler:
    """What a client says of itself that does not know what tasks are."""

    async def forget(call: Call) -> Result:
        bare = without(call.envelope.capabilities)
        call.envelope = msgspec.structs.replace(call.envelope, capabilities=bare)
        return await handle(call)

    return forget


@asynccontextmanager
async def listening(client: Client, *tasks: str) -> AsyncGenerator[Ear]:
    ear = Ear()
    params = ListenParams(notifications=Filter(task_ids=list(tasks)))
    call = Call(BY_NAME[LISTEN], params, client.link.envelope, outlet=ear)
    listening = asyncio.create_task(client.link.handle(call))
    try:
        yield ear
    finally:
        listening.cancel()
        await asyncio.wait([listening])


class Ear:
    """Hears what a subscription tells."""

    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] = []
        self.acknowledged = asyncio.Event()
        self.asked = asyncio.Event()
        self.completed = asyncio.Event()

    def notify(self, method: str, params: Wire | Raw) -> None:
        fields = msgspec.json.decode(params if isinstance(params, Raw) else encode(params))
        if method == CHANGED:
            self.heard.append(fields)
            if fields["status"] == "completed":
                self.completed.set()
            if "inputRequests" in fields:
                self.asked.set()
        if method == ACKNOWLEDGED:
            self.acknowledged.set()

    async def drain(self) -> None:
        pass

    async def ask(self, method: str, params: Wire | Raw, *, key: str = "") -> Raw:
        raise AssertionError(method)

    def close_stream(self, retry: float) -> None:
        pass
