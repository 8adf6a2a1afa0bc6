"""§1 The envelope, `_meta`, error codes and trace context."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from tests.peers import MODERN, Json, ask, meta, say, soon
from tests.spec.fronting import front
from tests.spec.kitchen import Kitchen, answered, refused
from tests.spec.marking import HTTP, STDIO, requirement
from tests.spec.scripts import SAID, Asked, Refusal, Script, meet
from tests.spec.ways import Way

from interlock import Context, RpcError, Server
from interlock.errors import (
    ConnectionLost,
    InvalidMessage,
    ResourceNotFound,
    TimedOut,
)
from interlock.wire.meta import (
    CLIENT_CAPABILITIES,
    CLIENT_INFO,
    LOG_LEVEL,
    PROTOCOL_VERSION,
    SERVER_INFO,
    SUBSCRIPTION_ID,
)

DEFINED = {-32020, -32021, -32022}
"""The codes of 2026-07-28 itself."""
RESERVED = {
    PROTOCOL_VERSION,
    CLIENT_INFO,
    CLIENT_CAPABILITIES,
    LOG_LEVEL,
    SERVER_INFO,
    SUBSCRIPTION_ID,
}
BARE = {"progressToken", "traceparent", "tracestate", "baggage"}
TRACE = {
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01",
    "tracestate": "vendor=1",
    "baggage": "user=ada",
}


# The envelope.


@requirement("RPC-01")
async def test_a_server_speaks_json_rpc_2_in_utf_8(way: Way):
    """Every message is JSON-RPC 2.0, encoded as UTF-8, with `jsonrpc` "2.0".

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/index.mdx
    """
    async with way.join(Kitchen()) as peer:
        for method, params in answered(way.revision):
            assert (await peer.ask(method, params)).message["jsonrpc"] == "2.0"
        said = await peer.ask("tools/call", {"name": "echo", "arguments": {"text": "ü€𝄞"}})
        assert said.result["content"][0]["text"] == "ü€𝄞"
        for data, code in [
            (peer.request("tools/list").replace(b'"2.0"', b'"1.0"'), -32600),
            (peer.request("tools/list").replace(b'"jsonrpc": "2.0", ', b""), -32600),
            (peer.request("tools/call", {"name": "X"}).replace(b"X", b"\xff"), -32700),
        ]:
            (refusal,) = await peer.send(data)
            assert refusal["error"]["code"] == code


@requirement("RPC-01")
async def test_a_client_speaks_json_rpc_2_in_utf_8(way: Way):
    """Every message is JSON-RPC 2.0, encoded as UTF-8, with `jsonrpc` "2.0".

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/index.mdx
    """
    script = Script(way.revision)
    async with meet(way, script) as client:
        await client.call_tool("tool", {"text": "ü€𝄞"})
    assert {heard.message["jsonrpc"] for heard in script.heard if heard.message} == {"2.0"}
    assert script.of("tools/call")[0].params["arguments"] == {"text": "ü€𝄞"}


@requirement("RPC-02")
@pytest.mark.parametrize("number", [None, 1.5, 1.0, True, [], {}, 1e300])
async def test_an_id_that_is_neither_string_nor_integer_is_refused(way: Way, number: object):
    """The id of a request is a string or an integer; null and fractions are none.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/index.mdx
    """
    async with way.join(Kitchen()) as peer:
        (refusal,) = await peer.send(peer.request("tools/list", {}, id=number))
        assert refusal["error"]["code"] == -32600
        assert "id" not in refusal


@requirement("RPC-02", "RPC-03")
async def test_a_client_numbers_its_requests_and_never_uses_a_number_again(way: Way):
    """The id of a request is a string or an integer; null and fractions are none.
    A sender does not use an id again: never within a legacy session, not while it is in flight
    in the modern era.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/index.mdx
    """
    script = Script(way.revision)
    async with meet(way, script) as client:
        await asyncio.gather(*(client.call_tool("tool") for _ in range(20)))
        await client.list_tools()
        await asyncio.gather(*(client.call_tool("tool") for _ in range(20)))
    numbers = [heard.id for heard in script.heard if heard.method and "id" in heard.message]
    assert {type(number) for number in numbers} <= {int, str}
    assert len(set(numbers)) == len(numbers) >= 42


@requirement("RPC-03", revisions=["2025-03-26", "2025-06-18", "2025-11-25"])
async def test_a_server_never_uses_the_id_of_a_question_again(way: Way):
    """A sender does not use an id again: never within a legacy session, not while it is in flight
    in the modern era.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/index.mdx
    """
    async with way.join(Kitchen(), capabilities={"roots": {}}) as peer:
        numbers: list[object] = []
        for _ in range(3):
            begun = await peer.open("tools/call", {"name": "where"})
            question = await begun.until(lambda said: said.get("method") == "roots/list")
            numbers.append(question["id"])
            await peer.reply(question, {"roots": []})
            assert (await begun.answer()).result["content"][0]["text"] == ""
        assert len(set(numbers)) == 3


@requirement("RPC-04")
async def test_a_response_repeats_the_id_with_its_type(way: Way):
    """A response repeats the id with its type and has either a result or an error; only where the
    id was illegible may an error lack it.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/index.mdx
    """
    async with way.join(Kitchen()) as peer:
        for number in (1, "1", 0, "", -5, 2**53, "näme"):
            for method in ("tools/list", "tools/explode"):
                answer = await peer.ask(method, id=number)
                assert type(answer.message["id"]) is type(number)
                assert answer.message["id"] == number
                assert ("result" in answer.message) != ("error" in answer.message)


@requirement("RPC-04")
async def test_only_where_the_id_was_illegible_an_error_has_none(way: Way):
    """A response repeats the id with its type and has either a result or an error; only where the
    id was illegible may an error lack it.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/index.mdx
    """
    async with way.join(Kitchen()) as peer:
        (lost,) = await peer.send(b'{"jsonrpc":"2.0","id":1,"method":"tools/li')
        assert "id" not in lost
        (kept,) = await peer.send(peer.request("tools/list", id=7).replace(b'"2.0"', b'"1.0"'))
        assert kept["id"] == 7


@requirement("RPC-04")
async def test_a_client_takes_an_answer_by_its_id_and_the_type_of_it(way: Way):
    """Another request's answer, and one under the same number of another type, are not its own.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/index.mdx
    """

    async def confuse(asked: Asked) -> None:
        asked.headers["content-type"] = "text/event-stream"
        wrong = {"result": {**SAID, "resultType": "complete", "isError": True}}
        await asked.send({"id": str(asked.id), **wrong})
        await asked.send({"id": 10_000, **wrong})
        await asked.result(SAID)

    script = Script(way.revision, {"tools/call": confuse})
    async with meet(way, script) as client:
        assert not (await client.call_tool("tool")).is_error


@requirement("RPC-05")
async def test_notifications_are_never_answered(way: Way):
    """A notification has no id and is never answered, not even with an error.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/index.mdx
    """
    async with way.join(Kitchen()) as peer:
        stamped: Json = {"_meta": meta()} if way.modern else {}
        for method, params in [
            ("notifications/nonsense", stamped),
            ("notifications/cancelled", {**stamped, "requestId": 99}),
            ("notifications/cancelled", {**stamped, "requestId": [0]}),
            ("notifications/progress", {**stamped, "progress": "x"}),
            ("tools/list", stamped),
        ]:
            assert await peer.send(say(method, params)) == []
        if way.transport == HTTP:
            assert await peer.tell("notifications/nonsense") == 202


@requirement("RPC-05", over=[STDIO])
async def test_a_client_answers_no_notification_and_gives_its_own_no_id(way: Way):
    """A notification has no id and is never answered, not even with an error.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/index.mdx
    """
    script = Script(way.revision)
    async with meet(way, script) as client:
        for method in ("notifications/nonsense", "notifications/message", "tools/call"):
            await script.push({"method": method, "params": {"_meta": 3}})
        await client.call_tool("tool")
    for heard in script.heard:
        assert heard.method, "it answered"
        assert heard.method.startswith("notifications/") == ("id" not in heard.message)


@requirement("RPC-06")
async def test_an_error_has_a_number_and_a_sentence(way: Way):
    """The code of an error is an integer and its message a string.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/index.mdx
    """
    async with way.join(Kitchen()) as peer:
        for method, params, _ in refused(way.revision):
            error = (await peer.ask(method, params)).error
            assert type(error["code"]) is int
            assert isinstance(error["message"], str)
            assert error["message"]


@requirement("RPC-07", revisions=["2024-11-05", "2025-06-18", "2025-11-25", MODERN])
async def test_a_batch_is_an_invalid_request_where_there_are_none(way: Way):
    """Batches are taken in 2025-03-26, `initialize` in none of them; from 2025-06-18 on an array
    is an invalid request.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-03-26/basic/index.mdx
    """
    async with way.join(Kitchen()) as peer:
        one = json.loads(peer.request("tools/list"))
        batches: list[list[Any]] = [[one], [one, one], []]
        for batch in batches:
            (refusal,) = await peer.send(json.dumps(batch).encode())
            assert refusal["error"]["code"] == -32600
            assert "id" not in refusal


# Results.


@requirement("RPC-08", "META-07")
async def test_every_result_says_its_kind_and_which_server_gave_it(way: Way):
    """Every result says its kind in `resultType`.
    Every result says in `_meta` which server gave it.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/index.mdx
    """
    async with way.join(Kitchen()) as peer:
        for method, params in answered(way.revision):
            result = (await peer.ask(method, params)).result
            assert result["resultType"] == "complete", method
            assert result["_meta"][SERVER_INFO] == {"name": "kitchen", "version": "1"}, method


@requirement("RPC-09")
async def test_a_result_without_a_kind_is_complete_and_one_of_an_unknown_kind_is_none(way: Way):
    """A result without `resultType` is complete; one of an unknown kind is no answer.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/index.mdx
    """

    async def plain(asked: Asked) -> None:
        await asked.send({"id": asked.id, "result": SAID})

    script = Script(way.revision, {"tools/call": plain})
    async with meet(way, script) as client:
        assert (await client.call_tool("tool")).text == "said"
        script.answers["tools/call"] = {**SAID, "resultType": "novel"}
        with pytest.raises(InvalidMessage, match="novel"):
            await client.call_tool("tool")


@requirement("RPC-10")
async def test_a_legacy_result_has_nothing_that_only_the_modern_era_knows(way: Way):
    """Nothing that only the modern era knows is stamped on a legacy result.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/schema/2025-11-25/schema.json
    """
    async with way.join(Kitchen()) as peer:
        results = [peer.greeting]
        for method, params in answered(way.revision):
            results.append((await peer.ask(method, params)).result)
    for result in results:
        assert not {"resultType", "ttlMs", "cacheScope"} & result.keys()
        assert SERVER_INFO not in result.get("_meta", {})


# Error codes.


@requirement("RPC-11")
async def test_each_mistake_has_its_standard_code(way: Way):
    """The standard codes of JSON-RPC say what is wrong: -32700, -32600, -32601, -32602, -32603.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/index.mdx
    """
    server = Kitchen()

    async def broken(call: object) -> object:
        raise ZeroDivisionError

    server.completions.complete = broken  # type: ignore[method-assign,assignment]
    async with way.join(server) as peer:
        for method, params, code in refused(way.revision):
            if method != "resources/read":
                got = await peer.ask(method, params)
                assert got.code == (code if "completion" not in method else -32602), method
        (unread,) = await peer.send(b"{")
        assert unread["error"]["code"] == -32700
        (odd,) = await peer.send(b"{}")
        assert odd["error"]["code"] == -32600
        ref = {"type": "ref/prompt", "name": "greet"}
        asked = {"ref": ref, "argument": {"name": "name", "value": ""}}
        assert (await peer.ask("completion/complete", asked)).code == -32603


@requirement("RPC-12", "RPC-13")
async def test_a_modern_server_has_no_codes_but_those_that_are_defined(way: Way):
    """No new code is taken from -32000 to -32019, and none received there means anything but
    -32002.
    From -32020 to -32099 only the codes that the specification defines are sent.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/index.mdx
    """
    async with way.join(Kitchen()) as peer:
        codes = [(await peer.ask(method, params)).code for method, params, _ in refused(MODERN)]
        codes += [
            (await peer.ask("tools/list", meta={PROTOCOL_VERSION: "1999-01-01"})).code,
            (await peer.ask("tools/call", {"name": "where"})).code,
            (await peer.ask("tools/list", meta={CLIENT_CAPABILITIES: 5})).code,
        ]
        for data in (b"[", b"7", b"{}"):
            codes += [said["error"]["code"] for said in await peer.send(data)]
        if way.transport == HTTP:
            wrong = {"mcp-method": "tools/call"}
            codes.append((await peer.ask("tools/list", headers=wrong)).code)
    assert not [code for code in codes if -32019 <= code <= -32000]
    assert {code for code in codes if -32099 <= code <= -32020} <= DEFINED
    assert {-32021} <= set(codes)


@requirement("RPC-12", "RPC-14")
async def test_a_client_knows_only_32002_of_the_older_codes(way: Way):
    """No new code is taken from -32000 to -32019, and none received there means anything but
    -32002.
    -32002 and -32042 are never sent; a client still understands -32002.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/index.mdx
    """
    script = Script(way.revision, {"resources/read": Refusal(-32002, data={"uri": "note://x"})})
    async with meet(way, script) as client:
        with pytest.raises(ResourceNotFound):
            await client.read_resource("note://x")
        for code in (-32000, -32001, -32004, -32019):
            script.answers["tools/call"] = Refusal(code, "odd")
            with pytest.raises(RpcError) as caught:
                await client.call_tool("tool")
            assert type(caught.value) is RpcError
            assert caught.value.code == code


@requirement("RPC-14")
@pytest.mark.parametrize("code", [-32002, -32042])
async def test_a_code_of_older_revisions_is_never_sent_even_if_a_handler_raises_it(
    way: Way, code: int
):
    """-32002 and -32042 are never sent; a client still understands -32002.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/index.mdx
    """
    server = Server("old")

    @server.tool
    async def old() -> str:
        raise RpcError(code, "as it was")

    async with way.join(server) as peer:
        assert (await peer.ask("tools/call", {"name": "old"})).code in (-32602, -32600)
        assert (await peer.ask("resources/read", {"uri": "note://x"})).code == -32602


@requirement("RPC-15")
async def test_what_fails_on_our_side_is_no_error_of_the_peer(way: Way):
    """What goes wrong on our own side is an exception of its own, never a made-up error of the
    peer.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/index.mdx
    """

    async def silent(asked: Asked) -> None:
        await asyncio.Event().wait()

    script = Script(way.revision, {"tools/call": silent})
    async with meet(way, script) as client:
        with pytest.raises(TimedOut) as late:
            await client.call_tool("tool", timeout=0.01)
        assert not isinstance(late.value, RpcError)
        script.heard.clear()
        running = asyncio.create_task(client.call_tool("tool"))
        await script.hears("tools/call")
        await client.close()
        with pytest.raises(ConnectionLost) as lost:
            await soon(running)
        assert not isinstance(lost.value, RpcError)


@requirement("RPC-16", "ST-07")
async def test_what_a_client_lacks_is_named_in_the_shape_of_its_capabilities(way: Way):
    """-32021 names the missing capabilities in the shape of client capabilities, with HTTP status
    400.
    A server relies on no capability that this request does not declare; what it cannot do
    without is refused with -32021.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/index.mdx
    """
    async with way.join(Kitchen()) as peer:
        answer = await peer.ask("tools/call", {"name": "where"})
        assert answer.code == -32021
        assert answer.error["data"]["requiredCapabilities"] == {"roots": {}}
        assert answer.status in (None, 400)


@requirement("RPC-17", "VN-02", "HH-02")
async def test_an_unsupported_version_is_told_which_are_supported(way: Way):
    """-32022 names the versions supported, as discovery does, and the one requested, with HTTP
    status 400.
    A version that a server does not implement is refused with -32022 and a list; the client
    retries with one of it, or tells.
    An unsupported version is 400 and -32022, an unknown method 404 and -32601.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/versioning.mdx
    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/streamable-http.mdx
    """
    async with way.join(Kitchen()) as peer:
        offered = (await peer.ask("server/discover")).result["supportedVersions"]
        for version in ("1999-01-01", "2025-11-25", "next", ""):
            headers = {"mcp-protocol-version": version}
            answer = await peer.ask("tools/list", headers=headers, meta={PROTOCOL_VERSION: version})
            assert answer.code == -32022
            assert answer.error["data"] == {"supported": offered, "requested": version}
            assert answer.status in (None, 400)


@requirement("RPC-18")
async def test_a_legacy_client_hears_legacy_codes(way: Way):
    """Legacy codes: -32002 for no such resource, -32042 for a URL to visit, -1 for a refused
    sampling, -32602 for a version.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-11-25/server/resources.mdx
    """
    async with way.join(Kitchen()) as peer:
        missing = await peer.ask("resources/read", {"uri": "note://nobody"})
        assert missing.code == -32002


@requirement("RPC-19", over=[HTTP])
async def test_an_error_has_the_http_status_of_its_code(way: Way):
    """Before a stream starts an error has the HTTP status of its code: 400, or 404 for an unknown
    method.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/index.mdx
    """
    async with way.join(Kitchen()) as peer:

        async def status(method: str, params: Json | None = None, **more: Any) -> tuple[int, Any]:
            answer = await peer.ask(method, params, **more)
            return answer.code, answer.status

        assert await status("tools/explode") == (-32601, 404)
        assert await status("tools/list", meta={CLIENT_CAPABILITIES: ...}) == (-32602, 400)
        assert await status("tools/list", headers={"mcp-method": "ping"}) == (-32020, 400)
        assert await status("tools/call", {"name": "where"}) == (-32021, 400)
        old = {"mcp-protocol-version": "1999-01-01"}
        assert await status("tools/list", headers=old, meta={PROTOCOL_VERSION: "1999-01-01"}) == (
            -32022,
            400,
        )
        assert await status("tools/call", {"name": "nobody"}) == (-32602, 200)
        for data, code in ((b"{", -32700), (b"[]", -32600)):
            begun = await peer.begin(data)
            answer = await begun.answer()
            assert (answer.code, answer.status) == (code, 400)
    async with way.join(Server("bare")) as peer:
        answer = await peer.ask("completion/complete", dict(answered(MODERN)[-1][1]))
        assert (answer.code, answer.status) == (-32601, 404)


# Unknown fields, and the order of complaints.


@requirement("RPC-20")
async def test_unknown_fields_are_ignored(way: Way):
    """Unknown fields are ignored, and handed on by whoever relays a message.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/schema/2026-07-28/schema.json
    """
    async with way.join(Kitchen()) as peer:
        message = json.loads(
            peer.request("tools/call", {"name": "echo", "arguments": {}, "novel": [1]}, id=1)
        )
        (answer,) = await peer.send(json.dumps({**message, "novel": {"a": 1}}).encode())
        assert answer["result"]["content"] == [{"type": "text", "text": ""}]


@requirement("RPC-20", over=[STDIO])
async def test_unknown_fields_pass_through_a_gateway(way: Way, tmp_path: Path):
    """Unknown fields are ignored, and handed on by whoever relays a message.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/schema/2026-07-28/schema.json
    """
    script = Script(
        way.revision if way.revision != "2024-11-05" else "2025-11-25",
        {"tools/call": {**SAID, "novel": {"of": ["the", "server"]}}},
    )
    async with front(tmp_path, up=script) as gateway, way.join(gateway) as peer:
        asked = {"name": "up__tool", "arguments": {"a": 1}, "novel": "of the client"}
        answer = await peer.ask("tools/call", asked)
        assert answer.result["novel"] == {"of": ["the", "server"]}
        assert script.of("tools/call")[0].params["novel"] == "of the client"


@requirement("RPC-21", over=[HTTP])
async def test_of_several_faults_the_first_in_order_is_told(way: Way):
    """Envelope, `_meta`, headers, version, method, params, capabilities: each is put right in turn.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/index.mdx
    """
    async with way.join(Kitchen()) as peer:
        keys: Json = {PROTOCOL_VERSION: "1999-01-01", CLIENT_CAPABILITIES: {}}

        async def code(data: bytes, version: str = MODERN, method: str = "tools/call") -> int:
            sent = {"mcp-protocol-version": version, "mcp-method": method, "mcp-name": "where"}
            return (await (await peer.begin(data, sent)).answer()).code

        def body(method: str, params: Json, **given: object) -> bytes:
            return ask(method, 1, {**params, "_meta": {**keys, **given}})

        wrong = ask("tools/explode", None, {"name": 5, "_meta": {PROTOCOL_VERSION: 5}})
        assert await code(wrong) == -32600
        wrong = ask("tools/explode", 1, {"name": 5, "_meta": {PROTOCOL_VERSION: 5}})
        assert await code(wrong) == -32602
        assert await code(body("tools/explode", {"name": 5})) == -32020
        wrong = body("tools/explode", {"name": 5})
        assert await code(wrong, "1999-01-01", "tools/explode") == -32022
        keys[PROTOCOL_VERSION] = MODERN
        wrong = body("tools/explode", {"name": 5})
        assert await code(wrong, method="tools/explode") == -32601
        assert await code(body("tools/call", {"name": 5})) == -32602
        assert await code(body("tools/call", {"name": "where"})) == -32021


# `_meta`.


@requirement("META-01", "META-03", over=[STDIO])
async def test_keys_of_any_lawful_form_reach_the_handler_and_come_back(way: Way):
    """A key of `_meta` is an optional prefix of dotted labels, a slash and a name.
    Keys of our own have a reversed domain name as prefix.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/index.mdx
    """
    keys = {"a": 1, "com.example/": 2, "com.example/a.b-c_d": {"x": [None]}, "x1.y-2/9": "z"}
    server = Server("keys")

    @server.tool(meta={"com.example/tool": True})
    async def look(ctx: Context) -> str:
        return bytes(ctx.call.raw).decode()

    async with way.join(server) as peer:
        said = await peer.ask("tools/call", {"name": "look", "_meta": keys})
        seen = json.loads(said.result["content"][0]["text"])["_meta"]
        assert {key: seen[key] for key in keys} == keys
        (tool,) = (await peer.ask("tools/list")).result["tools"]
        assert tool["_meta"] == {"com.example/tool": True}


@requirement("META-02", "META-03", "META-04")
async def test_of_the_reserved_keys_only_those_that_are_defined_are_written(way: Way):
    """Prefixes whose second label is `modelcontextprotocol` or `mcp` belong to the protocol.
    Keys of our own have a reversed domain name as prefix.
    The bare keys `progressToken`, `traceparent`, `tracestate` and `baggage` mean what the
    specification says.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/index.mdx
    """
    script = Script(way.revision)
    async with meet(way, script) as client:
        await client.call_tool("tool")
    async with way.join(Kitchen()) as peer:
        results = [peer.greeting]
        for method, params in answered(way.revision):
            results.append((await peer.ask(method, params)).result)
    metas = [heard.meta for heard in script.heard] + [result.get("_meta", {}) for result in results]
    for key in {key for each in metas for key in each}:
        assert key in RESERVED | BARE, "a key of our own needs a prefix of our own"


@requirement("META-04")
async def test_the_progress_token_is_what_progress_comes_under(way: Way):
    """The bare keys `progressToken`, `traceparent`, `tracestate` and `baggage` mean what the
    specification says.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/index.mdx
    """
    async with way.join(Kitchen()) as peer:
        for token in ("mine", 7, 0):
            answer = await peer.ask("tools/call", {"name": "steps"}, progressToken=token)
            told = [said["params"]["progressToken"] for said in answer.before]
            assert told == [token] * 3
        assert (await peer.ask("tools/call", {"name": "steps"})).before == []


@requirement("META-05")
async def test_every_request_of_a_client_says_version_capabilities_and_who_asks(way: Way):
    """Every request of a client carries its protocol version and its capabilities, and should say
    who it is.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/index.mdx
    """
    script = Script(way.revision)
    async with meet(way, script, name="me", version="7", roots=["file:///here"]) as client:
        await client.call_tool("tool", meta={"com.example/x": 1})
        await client.list_tools()
    asked = [heard for heard in script.heard if heard.method]
    assert {heard.method for heard in asked} == {"server/discover", "tools/call", "tools/list"}
    for heard in asked:
        assert heard.meta[PROTOCOL_VERSION] == way.revision
        assert heard.meta[CLIENT_CAPABILITIES]["roots"] == {}
        assert heard.meta[CLIENT_INFO] == {"name": "me", "version": "7"}


@requirement("META-06")
async def test_a_required_key_must_be_there_and_of_its_type(way: Way):
    """A required key that is missing or of a wrong type is answered with -32602 and 400; a missing
    `clientInfo` is not.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/index.mdx
    """
    async with way.join(Kitchen()) as peer:
        for key in (PROTOCOL_VERSION, CLIENT_CAPABILITIES):
            values: list[Any] = [..., None, 5, [], True]
            for value in values:
                if (way.transport, key, value) == (STDIO, PROTOCOL_VERSION, ...):
                    continue  # Nothing says then that it is a modern request.
                answer = await peer.ask("tools/list", meta={key: value})
                assert answer.code == -32602, (key, value)
                assert answer.status in (None, 400)
        assert "tools" in (await peer.ask("tools/list", meta={CLIENT_INFO: ...})).result


@requirement("META-08")
async def test_who_a_client_says_it_is_changes_nothing(way: Way):
    """Who a client or a server says it is decides nothing.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/index.mdx
    """
    async with way.join(Kitchen()) as peer:
        infos = (..., {"name": "root", "version": "1"}, {"name": "", "version": "", "x": 1})
        results = [
            (await peer.ask("tools/list", meta={CLIENT_INFO: info})).result for info in infos
        ]
        assert results[0] == results[1] == results[2]


@requirement("META-09", "SU-01", "SU-05")
async def test_a_subscription_is_named_by_the_id_of_its_request(way: Way):
    """Everything on a listen stream carries its subscription id: the id of the listen request, of
    the same type.
    The first message of a subscription acknowledges it, with its id and what will be told.
    A client ends a subscription as it cancels a request; a server ends one with its result.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/index.mdx
    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/patterns/subscriptions.mdx
    """
    server = Kitchen()
    async with way.join(server) as peer:
        for number in (11, "eleven"):
            asked = {"notifications": {"toolsListChanged": True}}
            begun = await peer.open("subscriptions/listen", asked, id=number)

            def named(said: Json, number: object = number) -> bool:
                found = said.get("params", said.get("result", {})).get("_meta", {})
                mine = found.get(SUBSCRIPTION_ID)
                return type(mine) is type(number) and mine == number

            first = await begun.until(lambda said: "method" in said)
            assert first["method"] == "notifications/subscriptions/acknowledged"
            assert named(first)
            server.changed("tools")
            change = await begun.until(
                lambda said: (
                    said.get("method") == "notifications/tools/list_changed" and named(said)
                )
            )
            assert named(change)
            server.subscriptions.end()
            answer = await begun.answer()
            assert answer.result["resultType"] == "complete"
            assert named(answer.message)


@requirement("META-11", over=[STDIO])
async def test_reserved_keys_that_nobody_knows_pass_through_a_gateway(way: Way, tmp_path: Path):
    """Values at reserved keys that we do not know are passed on unread.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/index.mdx
    """
    novel = "io.modelcontextprotocol/novel"
    script = Script(way.revision if way.modern else "2025-11-25")
    script.answers["tools/call"] = {**SAID, "_meta": {novel: ["back"], "org.mcp.x/y": 1}}
    async with front(tmp_path, up=script) as gateway, way.join(gateway) as peer:
        asked = {"name": "up__tool", "_meta": {novel: {"there": 1}, "org.mcp.x/y": 2}}
        answer = await peer.ask("tools/call", asked)
        given = script.of("tools/call")[0].meta
        assert (given[novel], given["org.mcp.x/y"]) == ({"there": 1}, 2)
        back = answer.result["_meta"]
        assert (back[novel], back["org.mcp.x/y"]) == (["back"], 1)


# Trace context.


@requirement("OTEL-01")
async def test_trace_context_travels_unchanged_and_without_prefix(way: Way):
    """Trace context travels in `_meta` in the W3C formats, without prefix.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/index.mdx
    """
    script = Script(way.revision)
    async with meet(way, script) as client:
        await client.call_tool("tool", meta=TRACE)
    (call,) = script.of("tools/call")
    assert {key: call.meta[key] for key in TRACE} == TRACE


@requirement("OTEL-01", over=[STDIO])
async def test_trace_context_passes_through_a_gateway(way: Way, tmp_path: Path):
    """Trace context travels in `_meta` in the W3C formats, without prefix.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/index.mdx
    """
    script = Script(way.revision)
    async with front(tmp_path, up=script) as gateway, way.join(gateway) as peer:
        await peer.ask("tools/call", {"name": "up__tool"}, meta=TRACE)
    given = script.of("tools/call")[0].meta
    assert {key: given[key] for key in TRACE} == TRACE


@requirement("OTEL-03")
@pytest.mark.parametrize("value", ["", "00-zz", 5, None, {"a": 1}, "x" * 9000])
async def test_a_malformed_trace_context_fails_nothing(way: Way, value: object):
    """A malformed trace context is ignored and fails nothing.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/index.mdx
    """
    async with way.join(Kitchen()) as peer:
        answer = await peer.ask("tools/list", meta=dict.fromkeys(TRACE, value))
        assert answer.result["tools"]
