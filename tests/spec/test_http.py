"""§4.1 to §4.3 Streamable HTTP in the modern era: the endpoint, its streams, its headers."""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode, b64encode
from pathlib import Path

import pytest
from tests.peers import MODERN, Json, meta, modern, reply, say, soon
from tests.spec.fronting import front
from tests.spec.kitchen import Kitchen
from tests.spec.marking import HTTP, requirement
from tests.spec.scripts import SAID, Asked, Script, meet
from tests.spec.ways import Way

from interlock import Context
from interlock.errors import ConnectionLost
from interlock.wire.meta import LOG_LEVEL, PROTOCOL_VERSION

ECHO: Json = {"name": "echo"}
MISMATCH = (-32020, 400)


# The endpoint.


@requirement("HM-01", over=[HTTP])
async def test_one_path_takes_post_and_knows_no_sessions(way: Way):
    """One path takes POST; session ids and event ids of older clients are ignored, and none are
    given.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/streamable-http.mdx
    """
    async with way.join(Kitchen()) as peer:
        strange = {"mcp-session-id": "not-of-ours", "last-event-id": "7"}
        answer = await peer.ask("tools/call", {"name": "steps"}, headers=strange, progressToken=1)
        assert answer.status == 200
        assert "mcp-session-id" not in answer.headers
        for verb in ("GET", "DELETE"):
            status, _ = await peer.bare(verb, {**strange, "mcp-protocol-version": MODERN})
            assert status == 405


@requirement("HM-02", over=[HTTP])
@pytest.mark.parametrize(
    "origin", ["https://evil.example.com", "null", "http://localhost.evil.com"]
)
async def test_an_origin_that_is_not_allowed_is_refused(way: Way, origin: str):
    """An Origin that is not allowed is refused with 403.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/streamable-http.mdx
    """
    async with way.join(Kitchen(), origins=["https://app.example.com"]) as peer:
        begun = await peer.open("tools/call", ECHO, headers={"origin": origin})
        assert (await begun.answer()).status == 403
        assert b"content" not in await begun.whole()
        for good in ("https://app.example.com", "http://localhost:3000", None):
            assert (await peer.ask("tools/call", ECHO, headers={"origin": good})).status == 200


@requirement("HM-03", over=[HTTP])
async def test_a_host_that_is_not_allowed_is_refused(way: Way):
    """A Host that is not allowed is refused as well.

    https://github.com/modelcontextprotocol/conformance/tree/main/src/scenarios
    """
    async with way.join(Kitchen()) as peer:
        evil = {"host": "evil.example.com", "origin": "http://evil.example.com"}
        status = (await peer.ask("tools/list", headers=evil)).status
        assert status is not None
        assert 400 <= status < 500
        assert (await peer.ask("tools/list", headers={"host": "localhost:80"})).status == 200


@requirement("HM-04", over=[HTTP])
async def test_a_client_posts_json_and_takes_json_and_streams(way: Way):
    """A client only POSTs, accepts JSON and event streams, and sends JSON.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/streamable-http.mdx
    """
    script = Script(way.revision)
    async with meet(way, script) as client:
        await client.call_tool("tool")
        await client.list_tools()
    for heard in script.heard:
        assert heard.verb == "POST"
        assert heard.headers["content-type"] == "application/json"
        accepted = {kind.strip() for kind in heard.headers["accept"].split(",")}
        assert {"application/json", "text/event-stream"} <= accepted


@requirement("HM-04", over=[HTTP])
async def test_a_server_says_what_it_takes_and_gives(way: Way):
    """A client only POSTs, accepts JSON and event streams, and sends JSON.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/streamable-http.mdx
    """
    async with way.join(Kitchen()) as peer:
        for headers, status in [
            ({"accept": "*/*"}, 200),
            ({"accept": "image/png"}, 406),
            ({"content-type": "text/plain"}, 415),
            ({"content-type": "application/json; charset=utf-8"}, 200),
        ]:
            assert (await peer.ask("tools/list", headers=headers)).status == status


@requirement("HM-05", over=[HTTP])
async def test_a_body_is_one_request_or_notification(way: Way):
    """A body is one request or one notification.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/streamable-http.mdx
    """
    async with way.join(Kitchen()) as peer:
        one = json.loads(modern("tools/list"))
        for body in (json.dumps([one]).encode(), b"[]", reply(1, {}), b'"x"', b"{}"):
            begun = await peer.begin(body)
            await begun.whole()
            assert (await begun.answer()).status in (400, 404)


@requirement("HM-06", over=[HTTP])
async def test_a_notification_is_taken_without_a_word(way: Way):
    """A notification is answered with 202 and no body, or with an HTTP error.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/streamable-http.mdx
    """
    async with way.join(Kitchen()) as peer:
        stamped: Json = {"_meta": meta()}
        for method in ("notifications/novel", "notifications/cancelled"):
            assert await peer.tell(method, {"requestId": 9}) == 202
            begun = await peer.begin(say(method, {**stamped, "requestId": 9}))
            assert await begun.whole() == b""


@requirement("HM-07", over=[HTTP])
async def test_a_request_is_answered_with_one_object_or_a_stream(way: Way):
    """A request is answered with JSON or with an event stream; a client takes both.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/streamable-http.mdx
    """
    async with way.join(Kitchen()) as peer:
        plain = await peer.ask("tools/call", ECHO)
        assert plain.headers["content-type"] == "application/json"
        streamed = await peer.ask("tools/call", {"name": "steps"}, progressToken=1)
        assert streamed.headers["content-type"] == "text/event-stream"
        assert [said["method"] for said in streamed.before] == ["notifications/progress"] * 3


@requirement("HM-07", over=[HTTP])
async def test_a_client_reads_one_object_and_a_stream(way: Way):
    """A request is answered with JSON or with an event stream; a client takes both.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/streamable-http.mdx
    """

    async def streamed(asked: Asked) -> None:
        asked.headers["content-type"] = "text/event-stream"
        await asked.result(SAID)

    script = Script(way.revision)
    async with meet(way, script) as client:
        assert (await client.call_tool("tool")).text == "said"
        script.answers["tools/call"] = streamed
        assert (await client.call_tool("tool")).text == "said"


# Streams.


@requirement("HM-10", over=[HTTP])
async def test_a_stream_carries_its_own_requests_messages_and_ends_with_the_response(way: Way):
    """A stream carries only what belongs to its request, no requests, and ends with the response.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/streamable-http.mdx
    """
    kitchen = Kitchen()
    async with way.join(kitchen) as peer:
        held = await peer.open("tools/call", {"name": "hold"}, progressToken="held")
        await soon(kitchen.reached.wait())
        other = await peer.open("tools/call", {"name": "steps"}, progressToken="other")
        await other.answer()
        kitchen.changed("tools")
        kitchen.go.set()
        await held.answer()
        for begun, token in ((held, "held"), (other, "other")):
            await begun.whole()
            *before, last = begun.heard
            assert {said["params"]["progressToken"] for said in before} == {token}
            assert last["id"] == begun.id


@requirement("HM-11", over=[HTTP])
async def test_a_stream_asks_not_to_be_buffered(way: Way):
    """Streams tell proxies not to buffer them.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/streamable-http.mdx
    """
    async with way.join(Kitchen()) as peer:
        answer = await peer.ask("tools/call", {"name": "steps"}, progressToken=1)
        assert answer.headers["x-accel-buffering"] == "no"
        assert "no-cache" in answer.headers["cache-control"]


@requirement("HM-12", over=[HTTP])
async def test_silence_is_filled_with_comments(way: Way):
    """Silence is filled with comments, which clients ignore.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/streamable-http.mdx
    """
    kitchen = Kitchen()
    async with way.join(kitchen, keep_alive=0.001) as peer:
        held = await peer.open("tools/call", {"name": "hold"}, progressToken=1)
        await held.until(lambda said: "method" in said)
        for _ in range(3):
            await held.comment()
        kitchen.go.set()
        assert (await held.answer()).result["content"]


@requirement("HM-12", over=[HTTP])
async def test_a_client_ignores_comments(way: Way):
    """Silence is filled with comments, which clients ignore.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/streamable-http.mdx
    """

    async def chatty(asked: Asked) -> None:
        await asked.http.stream(b": alive\n\n:\n\n")
        await asked.result(SAID)
        await asked.http.stream(b": bye\n\n")

    async with meet(way, Script(way.revision, {"tools/call": chatty})) as client:
        assert (await client.call_tool("tool")).text == "said"


@requirement("HM-13", over=[HTTP])
async def test_a_stream_has_no_event_ids(way: Way):
    """Streams have no event ids and are not resumed; what broke off is asked again under a new id.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/streamable-http.mdx
    """
    async with way.join(Kitchen()) as peer:
        begun = await peer.open("tools/call", {"name": "steps"}, progressToken=1)
        lines = (await begun.whole()).splitlines()
    assert not [line for line in lines if line.startswith((b"id", b"retry"))]


@requirement("HM-13", over=[HTTP])
async def test_a_client_does_not_resume_and_asks_again_under_a_new_id(way: Way):
    """Streams have no event ids and are not resumed; what broke off is asked again under a new id.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/streamable-http.mdx
    """

    async def broken(asked: Asked) -> None:
        await asked.http.stream(b"id: 5\nretry: 1\ndata:\n\n")
        asked.http.drop()

    script = Script(way.revision, {"tools/call": broken})
    async with meet(way, script) as client:
        with pytest.raises(ConnectionLost):
            await client.call_tool("tool")
        script.answers["tools/call"] = SAID
        await client.call_tool("tool")
    first, second = script.of("tools/call")
    assert first.id != second.id
    assert {heard.verb for heard in script.heard} == {"POST"}
    assert not [heard for heard in script.heard if "last-event-id" in heard.headers]


@requirement("HM-14", over=[HTTP])
async def test_an_error_that_comes_late_still_has_its_status(way: Way):
    """JSON or stream is decided when the first byte must go out, so that errors keep their status.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/streamable-http.mdx
    """
    kitchen = Kitchen()

    @kitchen.tool
    async def late(ctx: Context) -> str:
        await kitchen.go.wait()
        ctx.require(sampling={})
        return ""

    async with way.join(kitchen) as peer:
        begun = await peer.open("tools/call", {"name": "late"})
        for _ in range(5):
            await asyncio.sleep(0)
        kitchen.go.set()
        answer = await begun.answer()
        assert (answer.code, answer.status) == (-32021, 400)


@requirement("HM-15", "CX-01", over=[HTTP])
@pytest.mark.parametrize("token", [..., 1], ids=["one object", "a stream"])
async def test_a_client_that_closes_the_stream_has_cancelled(way: Way, token: object):
    """A client that closes the stream has cancelled the request, and gets nothing more.
    Either side cancels its own legacy requests; modern clients on stdio, or by closing the
    stream.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/streamable-http.mdx
    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/patterns/cancellation.mdx
    """
    kitchen = Kitchen()
    async with way.join(kitchen) as peer:
        held = await peer.open("tools/call", {"name": "hold"}, meta={"progressToken": token})
        await soon(kitchen.reached.wait())
        await held.cancel()
        await soon(kitchen.cancelled.wait())
        assert not [said for said in held.heard if "id" in said]


@requirement("HM-16", "SU-02", over=[HTTP])
async def test_a_listen_stream_has_no_progress_and_no_logs(way: Way):
    """Progress and log messages never travel on a listen stream.
    Nothing is told that was not asked for.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/streamable-http.mdx
    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/patterns/subscriptions.mdx
    """
    kitchen = Kitchen()
    async with way.join(kitchen) as peer:
        asked: Json = {"notifications": {"toolsListChanged": True}}
        keys: Json = {LOG_LEVEL: "debug", "progressToken": 1}
        listening = await peer.open("subscriptions/listen", asked, meta=keys)
        await listening.until(lambda said: "method" in said)
        for name in ("steps", "logs"):
            assert (await peer.ask("tools/call", {"name": name}, meta=keys)).before
        kitchen.changed("tools")
        await listening.until(lambda said: said["method"] == "notifications/tools/list_changed")
        assert len(listening.heard) == 2


# Headers.


@requirement("HH-01", "HH-04", "HH-05", over=[HTTP])
async def test_a_client_repeats_version_method_and_name_in_headers(way: Way):
    """`MCP-Protocol-Version` comes with every POST and agrees with the body, or is refused with
    400 and -32020.
    `Mcp-Method` repeats the method on every request.
    `Mcp-Name` repeats the name of a tool or prompt, the URI of a resource or the id of a task.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/streamable-http.mdx
    """
    answers: Json = {
        "resources/read": {"contents": [], "ttlMs": 0, "cacheScope": "private"},
        "prompts/get": {"messages": []},
    }
    script = Script(way.revision, answers)
    async with meet(way, script) as client:
        await client.list_tools()
        await client.call_tool("tool")
        await client.read_resource("note://one?x=1")
        await client.get_prompt("greet")
    named = {"tools/call": "tool", "resources/read": "note://one?x=1", "prompts/get": "greet"}
    assert set(named) <= set(script.methods)
    for heard in script.heard:
        assert heard.headers["mcp-protocol-version"] == heard.meta[PROTOCOL_VERSION] == MODERN
        assert heard.headers["mcp-method"] == heard.method
        assert heard.headers.get("mcp-name") == named.get(heard.method)


@requirement("HH-01", "HH-03", "HH-06", over=[HTTP])
@pytest.mark.parametrize(
    "headers",
    [
        {"mcp-protocol-version": None},
        {"mcp-protocol-version": "2025-11-25"},
        {"mcp-protocol-version": ""},
        {"mcp-method": None},
        {"mcp-method": "tools/list"},
        {"mcp-method": "Tools/Call"},
        {"mcp-name": None},
        {"mcp-name": "Echo"},
        {"mcp-name": "other"},
        {"mcp-name": ""},
        {"mcp-name": "ech\xf6"},
    ],
    ids=str,
)
async def test_a_header_that_is_missing_or_different_is_refused(
    way: Way, headers: dict[str, str | None]
):
    """`MCP-Protocol-Version` comes with every POST and agrees with the body, or is refused with
    400 and -32020.
    A modern request without the version header is refused with 400 and -32020.
    A mirrored header that is missing, different or invalid is refused with 400 and -32020.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/streamable-http.mdx
    """
    async with way.join(Kitchen()) as peer:
        answer = await peer.ask("tools/call", ECHO, headers=headers)
        assert (answer.code, answer.status) == MISMATCH


@requirement("HH-02", over=[HTTP])
async def test_an_unknown_method_is_404(way: Way):
    """An unsupported version is 400 and -32022, an unknown method 404 and -32601.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/streamable-http.mdx
    """
    async with way.join(Kitchen()) as peer:
        answer = await peer.ask("tools/explode")
        assert (answer.code, answer.status) == (-32601, 404)


@requirement("HH-06", over=[HTTP])
async def test_the_case_of_a_headers_name_and_space_around_its_value_do_not_matter(way: Way):
    """A mirrored header that is missing, different or invalid is refused with 400 and -32020.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/streamable-http.mdx
    """
    async with way.join(Kitchen()) as peer:
        spaced = {"mcp-method": None, "MCP-Method": " tools/call\t", "mcp-name": "  echo "}
        assert (await peer.ask("tools/call", ECHO, headers=spaced)).status == 200


AWKWARD = ["ünder", " lead", "trail ", "a\nb", "=?base64?eA==?=", "日本", "\x7f", "tab\tin\x00"]


@requirement("HH-07", over=[HTTP])
async def test_a_client_encodes_what_a_header_cannot_carry(way: Way):
    """A value that a header cannot carry plainly is sent as Base64 between marks.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/streamable-http.mdx
    """
    script = Script(way.revision)
    async with meet(way, script) as client:
        for name in (*AWKWARD, "plain one", "=?BASE64?eA==?=", "x?="):
            await client.call_tool(name)
    sent = {heard.params["name"]: heard.headers["mcp-name"] for heard in script.of("tools/call")}
    for name in AWKWARD:
        marked = sent[name]
        assert marked.startswith("=?base64?")
        assert marked.endswith("?=")
        assert b64decode(marked[9:-2], validate=True).decode() == name
    for name in ("plain one", "=?BASE64?eA==?=", "x?="):
        assert sent[name] == name


def marked(text: str) -> str:
    return f"=?base64?{b64encode(text.encode()).decode()}?="


@requirement("HH-08", over=[HTTP])
async def test_a_server_decodes_marked_values_and_takes_others_as_they_are(way: Way):
    """Marked values are decoded strictly before they are compared; what lacks a mark is literal.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/streamable-http.mdx
    """
    async with way.join(Kitchen()) as peer:

        async def sent(uri: str, header: str) -> tuple[int, int | None]:
            answer = await peer.ask("resources/read", {"uri": uri}, headers={"mcp-name": header})
            return answer.code, answer.status

        agreed = (-32602, 200)  # There is no such resource, which is found out later.
        for uri in ("x:ünder", "x:y", " x ", "=?base64?eA==?="):
            assert await sent(uri, marked(uri)) == agreed
        assert await sent("=?base64?broken", "=?base64?broken") == agreed
        assert await sent("x", marked("y")) == MISMATCH
        for broken in ("=?base64?eA?=", "=?base64?eA=?=", "=?base64?e A==?=", "=?base64?eB==?="):
            assert await sent("x", broken) == MISMATCH
        assert await sent("x", "=?base64?/w==?=") == MISMATCH
        assert await sent("x", "=?BASE64?eA==?=") == MISMATCH


@requirement("HH-09", over=[HTTP])
async def test_a_gateway_refuses_headers_that_disagree(way: Way, tmp_path: Path):
    """Intermediaries refuse what fails validation with 4xx, and forward parameters they do not
    know.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/streamable-http.mdx
    """
    script = Script(way.revision)
    async with front(tmp_path, up=script) as gateway, way.join(gateway) as peer:
        for headers in ({"mcp-name": "up__other"}, {"mcp-method": "tools/list"}):
            answer = await peer.ask("tools/call", {"name": "up__tool"}, headers=headers)
            assert (answer.code, answer.status) == MISMATCH
        assert script.of("tools/call") == []
        novel = {"mcp-param-novel": "x"}
        assert (await peer.ask("tools/call", {"name": "up__tool"}, headers=novel)).result


@requirement("XH-10", over=[HTTP])
async def test_a_gateway_writes_headers_anew_for_its_upstream(way: Way, tmp_path: Path):
    """A gateway writes mirrored headers anew for each upstream.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/streamable-http.mdx
    """
    script = Script(way.revision)
    async with front(tmp_path, up=script) as gateway, way.join(gateway) as peer:
        strange = {"mcp-param-region": "eu"}
        await peer.ask("tools/call", {"name": "up__tool"}, headers=strange)
    (call,) = script.of("tools/call")
    assert call.headers["mcp-name"] == "tool"
    assert "mcp-param-region" not in call.headers
