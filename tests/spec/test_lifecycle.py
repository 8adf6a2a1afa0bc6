"""§2 Statelessness in the modern era, and the handshake of the legacy one."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.peers import LATEST, LEGACY, MODERN, Json, hello, soon
from tests.spec.asking import watch
from tests.spec.kitchen import Kitchen, answered
from tests.spec.marking import HTTP, STDIO, requirement
from tests.spec.scripts import SAID, Asked, Refusal, Script, greeting, meet
from tests.spec.ways import Way

from interlock import Client, Server
from interlock.errors import ConnectFailed, TimedOut
from interlock.gateway.config import load
from interlock.gateway.gateway import Gateway
from interlock.wire.meta import CLIENT_CAPABILITIES, CLIENT_INFO, LOG_LEVEL

WHERE = {"name": "where"}
ROOTS: Json = {CLIENT_CAPABILITIES: {"roots": {}}}
BUSY = Path(__file__).parent.parent / "gateway" / "servers" / "busy.py"


# Without state.


@requirement("ST-01")
async def test_what_one_request_says_counts_for_it_alone(way: Way):
    """A modern server concludes nothing from earlier requests: no version, capability, identity or
    log level.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/index.mdx
    """
    async with way.join(Kitchen()) as peer:
        for _ in range(2):
            assert (await peer.ask("tools/call", WHERE)).code == -32021
            asked = await peer.ask("tools/call", WHERE, meta=ROOTS)
            assert asked.result["resultType"] == "input_required"
            loud = await peer.ask("tools/call", {"name": "logs"}, meta={LOG_LEVEL: "debug"})
            assert [said["params"]["level"] for said in loud.before] == ["debug", "error"]
            assert (await peer.ask("tools/call", {"name": "logs"})).before == []


@requirement("ST-01", over=[STDIO])
async def test_a_handshake_on_the_same_pipe_says_nothing_of_modern_requests(way: Way):
    """A modern server concludes nothing from earlier requests: no version, capability, identity or
    log level.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/index.mdx
    """
    async with way.join(Kitchen()) as peer:
        await peer.send(hello(LATEST, capabilities={"roots": {}}))
        level = {"jsonrpc": "2.0", "id": 5, "method": "logging/setLevel"}
        await peer.send(json.dumps({**level, "params": {"level": "debug"}}).encode())
        assert (await peer.ask("tools/call", WHERE)).code == -32021
        assert (await peer.ask("tools/call", {"name": "logs"})).before == []


@requirement("ST-02")
async def test_conversations_of_different_clients_mix_on_one_connection(way: Way):
    """Conversations of different clients may mix on one connection.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/index.mdx
    """
    kitchen = Kitchen()
    async with way.join(kitchen) as peer:
        held = await peer.open("tools/call", {"name": "hold"}, meta={CLIENT_INFO: ...})
        await soon(kitchen.reached.wait())
        other: Json = {**ROOTS, CLIENT_INFO: {"name": "other", "version": "2"}}
        asked = await peer.ask("tools/call", WHERE, meta=other)
        assert asked.result["resultType"] == "input_required"
        assert (await peer.ask("tools/call", WHERE)).code == -32021
        kitchen.go.set()
        assert (await held.answer()).result["content"][0]["text"] == "let go"


@requirement("ST-03")
async def test_what_goes_on_across_requests_is_named_in_them_and_so_works_from_any_connection(
    way: Way,
):
    """State across requests is named in parameters: handles, requestState, task ids.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/index.mdx
    """
    server = Kitchen(page_size=2)
    async with way.serve(server) as join:
        async with join() as first:
            page = (await first.ask("tools/list")).result
            second = (await first.ask("tools/list", {"cursor": page["nextCursor"]})).result
        async with join() as elsewhere:
            same = await elsewhere.ask("tools/list", {"cursor": page["nextCursor"]})
        assert same.result == second


@requirement("ST-04")
async def test_a_program_outlives_a_conversation(tmp_path: Path):
    """A program is not tied to one conversation.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/index.mdx
    """
    config = {"mcpServers": {"busy": {"command": sys.executable, "args": [str(BUSY)]}}}
    (tmp_path / ".mcp.json").write_text(json.dumps(config))
    gateway = Gateway(load(tmp_path / ".mcp.json", {}))
    await gateway.start()
    try:
        await gateway.settled(20)
        numbers: list[str | None] = []
        for _ in range(2):
            async with Client(gateway, revision=MODERN) as client:
                numbers.append((await client.call_tool("busy__pid")).text)
        assert numbers[0] == numbers[1]
    finally:
        await gateway.stop()


@requirement("ST-05")
async def test_lists_are_the_same_for_every_connection_whatever_was_asked_before(way: Way):
    """Lists do not differ by connection, nor as a side effect of other requests.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/tools.mdx
    """
    lists = ["tools/list", "resources/list", "resources/templates/list", "prompts/list"]

    async with way.serve(Kitchen()) as join:
        seen: list[list[Json]] = []
        for busy in (False, True):
            async with join() as peer:
                if busy:
                    for method, params in answered(way.revision):
                        await peer.ask(method, params, meta=ROOTS)
                seen.append([(await peer.ask(method)).result for method in lists])
        assert seen[0] == seen[1]


@requirement("ST-06", "SD-03")
async def test_a_modern_server_asks_nothing_by_itself(way: Way):
    """A modern server sends no requests, a modern client no responses.
    Modern servers write no requests and modern clients no responses; legacy ones may.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/patterns/index.mdx
    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/stdio.mdx
    """
    can: Json = {"roots": {}, "sampling": {}, "elicitation": {}}
    async with way.join(Kitchen(), capabilities=can) as peer:
        for name in ("where", "steps", "logs", "echo"):
            answer = await peer.ask("tools/call", {"name": name}, progressToken=1)
            assert not [said for said in answer.before if "id" in said]
        assert (await peer.ask("tools/call", WHERE)).result["inputRequests"]


@requirement("ST-06", "SD-03", "HM-10")
async def test_a_modern_client_answers_nothing(way: Way):
    """A modern server sends no requests, a modern client no responses.
    Modern servers write no requests and modern clients no responses; legacy ones may.
    A stream carries only what belongs to its request, no requests, and ends with the response.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/patterns/index.mdx
    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/stdio.mdx
    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/streamable-http.mdx
    """

    async def curious(asked: Asked) -> None:
        for number, method in enumerate(("roots/list", "ping", "elicitation/create", "odd")):
            await asked.ask(number, method)
        await asked.result(SAID)

    script = Script(way.revision, {"tools/call": curious})
    async with meet(way, script, roots=["file:///here"]) as client:
        await client.call_tool("tool")
        await client.list_tools()
    assert all(heard.method for heard in script.heard)


@requirement("ST-08")
async def test_every_pattern_of_messages_is_there(way: Way):
    """Every message pattern is supported: request and response, input required, subscription.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/index.mdx
    """
    kitchen = Kitchen()
    async with way.join(kitchen, capabilities={"roots": {}}) as peer:
        assert (await peer.ask("tools/call", {"name": "echo"})).result["content"]
        required = (await peer.ask("tools/call", WHERE)).result
        (key,) = required["inputRequests"]
        again: Json = {**WHERE, "inputResponses": {key: {"roots": [{"uri": "file:///here"}]}}}
        again["requestState"] = required["requestState"]
        assert (await peer.ask("tools/call", again)).result["content"][0]["text"] == "file:///here"
        changes = await watch(peer, lists=True)
        kitchen.changed("tools")
        await changes.until(lambda said: said.get("method") == "notifications/tools/list_changed")


# With a handshake.


@requirement("LC-01")
async def test_a_server_greets_before_anything_else(way: Way):
    """`initialize` comes first, with version, capabilities and client info; its result has
    version, capabilities and server info.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-11-25/basic/lifecycle.mdx
    """
    async with way.join(Kitchen(instructions="be kind"), greet=False) as peer:
        begun = await peer.begin(peer.request("tools/list"))
        assert (await begun.answer()).code == -32600
        begun = await peer.begin(hello(way.revision))
        result = (await begun.answer()).result
        assert result["protocolVersion"] == way.revision
        assert result["serverInfo"] == {"name": "kitchen", "version": "1"}
        assert result["instructions"] == "be kind"
        assert isinstance(result["capabilities"], dict)


@requirement("LC-01", "LC-02")
async def test_a_client_greets_first_and_says_when_it_is_ready(way: Way):
    """`initialize` comes first, with version, capabilities and client info; its result has
    version, capabilities and server info.
    After the answer to `initialize` the client sends `notifications/initialized`.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-11-25/basic/lifecycle.mdx
    """
    script = Script(way.revision)
    async with meet(way, script, name="me", version="7", roots=["file:///here"]) as client:
        assert client.server_info is not None
        assert client.server_info.name == "script"
        await client.call_tool("tool")
    first, second, *_ = [heard for heard in script.heard if heard.method]
    assert first.method == "initialize"
    assert first.params["protocolVersion"] == way.revision
    assert first.params["clientInfo"] == {"name": "me", "version": "7"}
    assert "roots" in first.params["capabilities"]
    assert second.method == "notifications/initialized"
    assert "id" not in second.message


@requirement("LC-03")
async def test_a_client_asks_nothing_before_it_was_greeted(way: Way):
    """Before the handshake is over nobody asks anything but `ping`.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-11-25/basic/lifecycle.mdx
    """
    go = asyncio.Event()

    async def slow(asked: Asked) -> None:
        await go.wait()
        await asked.result(greeting(way.revision))

    script = Script(way.revision, {"initialize": slow})
    async with asyncio.TaskGroup() as group:

        async def use() -> None:
            async with meet(way, script) as client:
                await client.call_tool("tool")

        group.create_task(use())
        await script.hears("initialize")
        assert script.methods == ["initialize"]
        go.set()
    assert script.methods[:3] == ["initialize", "notifications/initialized", "tools/call"]


@requirement("LC-03")
async def test_a_server_says_nothing_before_the_client_is_ready(way: Way):
    """Before the handshake is over nobody asks anything but `ping`.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-11-25/basic/lifecycle.mdx
    """
    async with way.join(Kitchen(), greet=False) as peer:
        begun = await peer.begin(hello(way.revision, 1, {"roots": {}, "sampling": {}}))
        answer = await begun.answer()
        assert begun.heard == [answer.message]


@requirement("LC-04")
async def test_a_server_repeats_a_version_it_knows_and_offers_its_latest_else(way: Way):
    """The server answers with the version asked for if it supports it, else with its latest.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-11-25/basic/lifecycle.mdx
    """
    for asked, settled in [
        *((version, version) for version in LEGACY),
        ("1999-01-01", LATEST),
        ("2099-01-01", LATEST),
        (MODERN, LATEST),
    ]:
        async with way.join(Kitchen(), greet=False) as peer:
            begun = await peer.begin(hello(asked))
            assert (await begun.answer()).result["protocolVersion"] == settled


@requirement("LC-05", revisions=[LATEST])
async def test_a_client_offers_its_latest_legacy_version(way: Way):
    """The client asks for a legacy version it supports, and leaves if the answer is one it does
    not.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-11-25/basic/lifecycle.mdx
    """
    script = Script(LATEST, {"server/discover": Refusal(-32601)})
    async with meet(way, script, revision="auto") as client:
        assert client.revision == LATEST
    assert script.of("initialize")[0].params["protocolVersion"] == LATEST


@requirement("LC-05", revisions=[LATEST])
@pytest.mark.parametrize("version", ["1999-01-01", MODERN, ""])
async def test_a_client_leaves_a_server_whose_version_it_does_not_speak(way: Way, version: str):
    """The client asks for a legacy version it supports, and leaves if the answer is one it does
    not.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-11-25/basic/lifecycle.mdx
    """
    script = Script(LATEST, {"initialize": greeting(version)})
    with pytest.raises(ConnectFailed, match="we speak"):
        async with meet(way, script):
            pass
    assert script.methods == ["initialize"]


@requirement("LC-06")
async def test_a_server_asks_only_what_was_negotiated(way: Way):
    """Both sides keep to the negotiated version and to negotiated capabilities.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-11-25/basic/lifecycle.mdx
    """
    async with way.join(Kitchen(), capabilities={"sampling": {}}) as peer:
        answer = await peer.ask("tools/call", WHERE)
        assert answer.error
        assert answer.before == []


@requirement("LC-06")
async def test_a_client_answers_only_what_was_negotiated(way: Way):
    """Both sides keep to the negotiated version and to negotiated capabilities.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-11-25/basic/lifecycle.mdx
    """

    async def curious(asked: Asked) -> None:
        await asked.ask("q1", "sampling/createMessage", {"messages": [], "maxTokens": 1})
        await asked.ask("q2", "elicitation/create", {"message": "?", "requestedSchema": {}})
        for number in ("q1", "q2"):
            reply = await script.hears_answer(number)
            assert reply["error"]["code"] in (-32601, -32602)
        await asked.result(SAID)

    script = Script(way.revision, {"tools/call": curious})
    async with meet(way, script, roots=["file:///here"]) as client:
        await client.call_tool("tool")


@requirement("LC-06", revisions=["2025-03-26", "2025-06-18"], over=[HTTP])
async def test_a_client_speaks_the_version_that_the_server_settled_on(way: Way):
    """Both sides keep to the negotiated version and to negotiated capabilities.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-11-25/basic/lifecycle.mdx
    """
    script = Script(way.revision)
    async with meet(way, script, revision=LATEST) as client:
        await client.call_tool("tool")
        assert client.revision == way.revision
    assert script.of("tools/call")[0].headers["mcp-protocol-version"] == way.revision


@requirement("LC-07")
async def test_a_server_answers_a_ping(way: Way):
    """Either side answers `ping` promptly with an empty result.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-11-25/basic/utilities/ping.mdx
    """
    async with way.join(Kitchen(), greet=False) as peer:
        await (await peer.begin(hello(way.revision))).answer()
        if way.transport == STDIO:
            assert (await peer.ask("ping")).result == {}
    async with way.join(Kitchen()) as peer:
        assert (await peer.ask("ping", id="p")).message == {
            "jsonrpc": "2.0",
            "id": "p",
            "result": {},
        }


@requirement("LC-07")
async def test_a_client_answers_a_ping(way: Way):
    """Either side answers `ping` promptly with an empty result.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-11-25/basic/utilities/ping.mdx
    """

    async def pinging(asked: Asked) -> None:
        await asked.ask("p", "ping")
        assert await script.hears_answer("p") == {"jsonrpc": "2.0", "id": "p", "result": {}}
        await asked.result(SAID)

    script = Script(way.revision, {"tools/call": pinging})
    async with meet(way, script) as client:
        assert (await client.call_tool("tool")).text == "said"


@requirement("LC-08")
async def test_a_client_that_gives_up_greeting_does_not_cancel_it(way: Way):
    """A client does not cancel `initialize`.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-11-25/basic/utilities/cancellation.mdx
    """

    async def silent(asked: Asked) -> None:
        await asyncio.Event().wait()

    script = Script(way.revision, {"initialize": silent})

    async def connect() -> None:
        async with meet(way, script):
            pass

    connecting = asyncio.create_task(connect())
    await script.hears("initialize")
    connecting.cancel()
    await asyncio.wait([connecting])
    assert script.methods == ["initialize"]


@requirement("LC-09", "CX-04", revisions=[LATEST, MODERN])
async def test_what_takes_longer_than_its_call_may_is_cancelled(way: Way):
    """Every request has a timeout, settable per request; when it ends, the request is cancelled.
    Timeouts are settable per request and cancel it; progress may extend them up to a cap.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-11-25/basic/lifecycle.mdx
    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/patterns/cancellation.mdx
    """

    async def silent(asked: Asked) -> None:
        await asyncio.Event().wait()

    script = Script(way.revision, {"tools/call": silent})
    async with meet(way, script, timeout=0.25) as client:
        with pytest.raises(TimedOut):
            await client.call_tool("tool")
        call = await script.hears("tools/call")
        if way.modern and way.transport == HTTP:
            await soon(script.left.wait())
        else:
            told = await script.hears("notifications/cancelled")
            assert told.params["requestId"] == call.id
        call_count = len(script.of("tools/call"))
        running = asyncio.create_task(client.call_tool("tool", timeout=100))
        await script.hears(lambda heard: len(script.of("tools/call")) > call_count)
        assert not running.done()
        running.cancel()
        await asyncio.wait([running])


@requirement("LC-10")
async def test_a_server_offers_what_it_has_in_the_words_of_the_revision(way: Way):
    """What the capabilities of either side may say, by revision.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-11-25/basic/lifecycle.mdx
    """
    async with way.join(Kitchen()) as peer:
        offered: dict[str, Any] = peer.greeting["capabilities"]
    known = {"prompts", "resources", "tools", "logging", "completions", "experimental"}
    assert offered.keys() <= known | ({"tasks"} if way.revision == LATEST else set())
    assert offered["prompts"] == offered["tools"] == {"listChanged": True}
    assert offered["resources"] == {"listChanged": True, "subscribe": True}
    assert offered["logging"] == {}
    assert offered["completions"] == {}
    async with way.join(Server("bare")) as peer:
        assert not peer.greeting["capabilities"].keys() & {"prompts", "tools", "resources"}
