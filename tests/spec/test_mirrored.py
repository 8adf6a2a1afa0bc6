"""§4.4 Arguments that HTTP repeats in headers: `x-mcp-header` and `Mcp-Param-*`."""

from __future__ import annotations

import logging
from base64 import b64encode
from typing import Any

import pytest
from tests.peers import Json
from tests.spec.marking import HTTP, STDIO, requirement
from tests.spec.scripts import LISTED, SAID, Asked, Refusal, Script, meet
from tests.spec.ways import Peer, Way

from interlock import RpcError, Server
from interlock.errors import RegistrationError

MISMATCH = (-32020, 400)


def schema(**properties: Json) -> Json:
    return {"type": "object", "properties": properties}


def mark(kind: Any = "string", name: Any = "Region", **more: Any) -> Json:
    return {"type": kind, "x-mcp-header": name, **more}


MARKED = schema(
    region=mark(),
    count=mark("integer", "Count"),
    dry=mark("boolean", "Dry-Run"),
    deep={"type": "object", "properties": {"down": mark("string", "Down")}},
    plain={"type": "string"},
)
INVALID: dict[str, Json] = {
    "an empty name": schema(a=mark(name="")),
    "a space": schema(a=mark(name="a b")),
    "a colon": schema(a=mark(name="a:b")),
    "a control character": schema(a=mark(name="a\x01")),
    "a letter beyond ASCII": schema(a=mark(name="ä")),
    "a name of number": schema(a=mark(name=5)),
    "the same name in another case": schema(a=mark(name="X"), b=mark(name="x")),
    "a number": schema(a=mark("number")),
    "an object": schema(a=mark("object")),
    "an array": schema(a=mark("array")),
    "null": schema(a=mark("null")),
    "several types": schema(a=mark(["string", "null"])),
    "no type": schema(a={"x-mcp-header": "A"}),
    "under items": schema(a={"type": "array", "items": mark()}),
    "under oneOf": {**schema(), "oneOf": [schema(a=mark())]},
    "under anyOf": {**schema(), "anyOf": [schema(a=mark())]},
    "under allOf": {**schema(), "allOf": [schema(a=mark())]},
    "under not": {**schema(), "not": schema(a=mark())},
    "under if": {**schema(), "if": schema(a=mark())},
    "under then": {**schema(), "then": schema(a=mark())},
    "under else": {**schema(), "else": schema(a=mark())},
    "under $defs": {**schema(a={"$ref": "#/$defs/a"}), "$defs": {"a": mark()}},
    "at the root": {"type": "object", "x-mcp-header": "A"},
}


def regional() -> Server:
    server = Server("regional")

    @server.tool(input_schema=MARKED)
    async def ship(
        region: str | None = None,
        count: int | None = None,
        dry: bool | None = None,
        deep: dict[str, Any] | None = None,
        plain: str = "",
    ) -> str:
        return f"{region} {count} {dry} {deep}"

    return server


async def ship(peer: Peer, arguments: Json, **headers: str) -> tuple[int | None, int | None]:
    """The code and the status that a call with these arguments and headers gets."""
    dashed = {f"mcp-param-{name.replace('_', '-')}": value for name, value in headers.items()}
    asked = {"name": "ship", "arguments": arguments}
    answer = await peer.ask("tools/call", asked, headers=dashed)
    return answer.message.get("error", {}).get("code"), answer.status


def marked_tool(schema: Json = MARKED, name: str = "ship") -> Json:
    return {"name": name, "inputSchema": schema}


def listing(*tools: Json) -> Json:
    return {"tools": list(tools), "ttlMs": 0, "cacheScope": "private"}


@requirement("XH-01", "XH-06", over=[HTTP])
async def test_a_client_mirrors_what_is_there(way: Way):
    """A tool may mark parameters to be mirrored in headers, and an HTTP client mirrors them.
    `Mcp-Param-{Name}` is sent for each marked argument that is there and not null.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/streamable-http.mdx
    """
    script = Script(way.revision, {"tools/list": listing(marked_tool())})
    async with meet(way, script) as client:
        await client.list_tools()
        await client.call_tool("ship", {"region": "eu", "count": -42, "dry": False, "plain": "x"})
        await client.call_tool("ship", {"region": "ünder", "dry": True, "deep": {"down": "=?"}})
        await client.call_tool("ship", {"region": "", "count": None})
        await client.call_tool("ship", {"deep": {"down": None}})
        await client.call_tool("other", {"region": "eu"})

    def sent(number: int) -> dict[str, str]:
        headers = script.of("tools/call")[number].headers
        return {name[10:]: value for name, value in headers.items() if name[:10] == "mcp-param-"}

    assert sent(0) == {"region": "eu", "count": "-42", "dry-run": "false"}
    encoded = b64encode("ünder".encode()).decode()
    assert sent(1) == {"region": f"=?base64?{encoded}?=", "dry-run": "true", "down": "=?"}
    assert sent(2) == {"region": ""}
    assert sent(3) == sent(4) == {}


@requirement("XH-01", over=[STDIO])
async def test_over_a_pipe_marks_mean_nothing(way: Way):
    """A tool may mark parameters to be mirrored in headers, and an HTTP client mirrors them.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/streamable-http.mdx
    """
    async with way.join(regional()) as peer:
        assert await ship(peer, {"region": "eu"}) == (None, None)


@requirement("XH-01", "XH-07", over=[HTTP])
async def test_a_server_compares_what_is_mirrored(way: Way):
    """A tool may mark parameters to be mirrored in headers, and an HTTP client mirrors them.
    The server compares decoded headers with arguments; a missing or different one is 400 and
    -32020.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/streamable-http.mdx
    """
    async with way.join(regional()) as peer:
        (tool,) = (await peer.ask("tools/list")).result["tools"]
        assert tool["inputSchema"] == MARKED
        fine = (None, 200)
        assert await ship(peer, {"region": "eu", "plain": "x"}, region="eu") == fine
        assert await ship(peer, {"region": "ü"}, region="=?base64?w7w=?=") == fine
        assert await ship(peer, {"count": 42}, count="42") == fine
        assert await ship(peer, {"count": 42}, count="42.0") == fine
        assert await ship(peer, {"dry": True}, dry_run="true") == fine
        assert await ship(peer, {"deep": {"down": "x"}}, down="x") == fine
        assert await ship(peer, {"region": None}) == fine
        assert await ship(peer, {}) == fine
        for arguments, headers in [
            ({"region": "eu"}, {}),
            ({"region": "eu"}, {"region": "us"}),
            ({"region": "eu"}, {"region": "EU"}),
            ({"region": "eu"}, {"region": "=?base64?broken?="}),
            ({"count": 42}, {"count": "43"}),
            ({"dry": True}, {"dry_run": "false"}),
            ({"deep": {"down": "x"}}, {}),
        ]:
            assert await ship(peer, arguments, **headers) == MISMATCH, arguments


@requirement("XH-02", "XH-03", "XH-04")
@pytest.mark.parametrize("wrong", INVALID.values(), ids=INVALID)
async def test_a_server_does_not_offer_what_no_client_could_mirror(wrong: Json):
    """The name of such a header is a token, and unique within its tool whatever its case.
    Only strings, booleans and integers within 2^53 can be mirrored.
    Only what is reachable by `properties` alone can be mirrored.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/tools.mdx
    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/streamable-http.mdx
    """
    server = Server("wrong")
    with pytest.raises(RegistrationError, match=r"x-mcp-header|mirrored"):
        server.tool(name="wrong", input_schema=wrong)(lambda: None)


@requirement("XH-02", "XH-03", "XH-04", "XH-05", over=[HTTP])
@pytest.mark.parametrize("wrong", INVALID.values(), ids=INVALID)
async def test_a_client_leaves_out_a_tool_that_it_could_not_mirror(
    way: Way, wrong: Json, caplog: pytest.LogCaptureFixture
):
    """The name of such a header is a token, and unique within its tool whatever its case.
    Only strings, booleans and integers within 2^53 can be mirrored.
    Only what is reachable by `properties` alone can be mirrored.
    A tool with an invalid mark is left out of the list, the others stay.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/tools.mdx
    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/streamable-http.mdx
    """
    tools = listing(LISTED, marked_tool(wrong, "wrong"), marked_tool())
    script = Script(way.revision, {"tools/list": tools})
    async with meet(way, script) as client:
        with caplog.at_level(logging.WARNING):
            assert [tool.name for tool in await client.list_tools()] == ["tool", "ship"]
    assert "wrong" in caplog.text


@requirement("XH-03", over=[HTTP])
async def test_an_integer_that_not_every_reader_reads_is_not_mirrored_as_one(way: Way):
    """Only strings, booleans and integers within 2^53 can be mirrored.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/tools.mdx
    """
    async with way.join(regional()) as peer:
        assert await ship(peer, {"count": 2**53 - 1}, count=str(2**53 - 1)) == (None, 200)
        assert await ship(peer, {"count": 2**53 - 1}, count=str(2**53)) == MISMATCH


@requirement("XH-08", over=[HTTP])
async def test_a_client_that_is_refused_lists_the_tools_again_and_tries_once_more(way: Way):
    """On a mismatch the client lists the tools again and tries once more.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/streamable-http.mdx
    """
    refusal = Refusal(-32020, "Header mismatch", None, 400)

    async def strict(asked: Asked) -> None:
        fits = asked.heard.headers.get("mcp-param-region") == "eu"
        await (asked.result(SAID) if fits else asked.refuse(refusal))

    script = Script(way.revision, {"tools/list": listing(marked_tool()), "tools/call": strict})
    async with meet(way, script) as client:
        assert (await client.call_tool("ship", {"region": "eu"})).text == "said"
        assert script.methods.count("tools/call") == 2
        script.answers["tools/call"] = refusal
        script.heard.clear()
        with pytest.raises(RpcError):
            await client.call_tool("ship", {"region": "eu"})
        assert script.methods.count("tools/call") <= 2


@requirement("XH-09")
async def test_a_server_that_would_mirror_a_secret_is_warned():
    """Secrets are not mirrored.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/tools.mdx
    """
    server = Server("careless")
    with pytest.warns(UserWarning, match="secret"):
        server.tool(name="log_in", input_schema=schema(password=mark()))(lambda password="": None)
