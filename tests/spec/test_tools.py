"""§10 Tools: what a server lists, how it is called, what it answers."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated

import jsonschema
import pytest
from msgspec import Meta
from tests.peers import Json
from tests.spec.asking import LISTS, call, listed, offered, server_info, watch
from tests.spec.marking import requirement
from tests.spec.scripts import LISTED, SAID, Script, meet
from tests.spec.ways import Way

from interlock import Server, ToolError
from interlock.errors import INVALID_PARAMS, RegistrationError
from interlock.wire.content import (
    Audio,
    EmbeddedResource,
    Image,
    ResourceContents,
    ResourceLink,
    Text,
)
from interlock.wire.meta import Icon
from interlock.wire.notices import TOOLS_CHANGED
from interlock.wire.tools import CallToolResult, ToolAnnotations


@dataclass
class Sum:
    total: int


VERBATIM: Json = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {"n": {"$anchor": "number", "type": "integer"}},
    "properties": {"n": {"$ref": "#/$defs/n"}, "m": {"x-of-nobody": [1, None]}},
    "allOf": [{"anyOf": [{"required": ["n"]}, {"required": ["m"]}]}],
    "if": {"required": ["n"]},
    "then": {"minProperties": 1},
    "else": {"maxProperties": 3},
    "additionalProperties": False,
    "unevaluatedProperties": False,
    "of-nobody": {"kept": True},
}


def calculator() -> Server:
    server = Server("calculator")

    @server.tool
    async def add(a: int, b: int = 0) -> Sum:
        """Add two numbers."""
        return Sum(a + b)

    return server


@requirement("TL-01")
async def test_tools_are_declared_where_there_are_some_and_listed_even_where_there_are_none(
    way: Way,
):
    """A server with tools declares them and answers tools/list; `listChanged` is declared only if
    it is told.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/tools.mdx
    """
    server = calculator()
    async with way.join(server) as peer:
        assert (await offered(peer))["tools"] == {"listChanged": True}
        assert [tool["name"] for tool in await listed(peer)] == ["add"]
        changes = await watch(peer, lists=True)
        server.tool(name="late")(lambda: None)
        await changes.until(lambda said: said.get("method") == TOOLS_CHANGED)
    async with way.join(Server("bare")) as peer:
        assert "tools" not in await offered(peer)
        assert await listed(peer) == []


@requirement("TL-02")
async def test_a_tool_is_listed_with_all_that_was_said_of_it(way: Way):
    """A tool has a name and an input schema, and what its revision knows beside them.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/schema/2026-07-28/schema.json
    """
    server = Server("s")

    @server.tool(
        title="Add up",
        annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False),
        icons=[Icon(src="https://example.com/add.png")],
        meta={"example.com/cost": 3},
    )
    async def add(a: int) -> Sum:
        """Add."""
        return Sum(a)

    async with way.join(server) as peer:
        (tool,) = await listed(peer)
    schema = tool.pop("inputSchema")
    assert schema["type"] == "object"
    assert schema["required"] == ["a"]
    assert tool.pop("outputSchema")["required"] == ["total"]
    assert tool == {
        "name": "add",
        "title": "Add up",
        "description": "Add.",
        "annotations": {"readOnlyHint": True, "openWorldHint": False},
        "icons": [{"src": "https://example.com/add.png"}],
        "_meta": {"example.com/cost": 3},
    }


@requirement("TL-03")
async def test_a_name_is_of_a_few_characters_means_itself_alone_and_is_taken_once(way: Way):
    """A tool's name has 1 to 128 letters, digits, `_`, `-` and `.`, and is unique.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/tools.mdx
    """
    server = Server("s")
    names = ["a", "A", "0-9_.Z", "x" * 64]
    for name in names:
        server.tool(name=name)(lambda: None)
        with pytest.raises(RegistrationError):
            server.tool(name=name)(lambda: None)
    for name in ("", "a b", "a,b", "ä", "x" * 129):
        with pytest.raises(RegistrationError):
            server.tool(name=name)(lambda: None)
    async with way.join(server) as peer:
        assert [tool["name"] for tool in await listed(peer)] == names
        assert "isError" not in await call(peer, "A")
        assert (await peer.ask("tools/call", {"name": "z"})).code == INVALID_PARAMS


@requirement("TL-05")
async def test_an_input_schema_is_of_an_object_whatever_the_tool_takes(way: Way):
    """An input schema is an object whose type is object.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/tools.mdx
    """
    server = calculator()
    server.tool(name="none")(lambda: None)
    with pytest.raises(RegistrationError):
        server.tool(name="array", input_schema={"type": "array"})(lambda: None)
    async with way.join(server) as peer:
        add, none = [tool["inputSchema"] for tool in await listed(peer)]
    assert add["type"] == "object"
    assert none["type"] == "object"
    assert none["additionalProperties"] is False
    assert not none.get("properties")


@requirement("TL-06")
async def test_an_output_schema_describes_what_comes(way: Way):
    """An output schema describes an object, from 2026-07-28 on any value.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/tools.mdx
    """
    server = calculator()

    @server.tool
    async def numbers() -> list[int]:
        return [1, 2]

    async with way.join(server) as peer:
        for tool, arguments in zip(await listed(peer), ({"a": 1}, {}), strict=True):
            schema = tool["outputSchema"]
            jsonschema.Draft202012Validator.check_schema(schema)
            assert way.modern or schema["type"] == "object"
            result = await call(peer, tool["name"], **arguments)
            jsonschema.validate(result["structuredContent"], schema)


@requirement("TL-07")
async def test_a_server_lists_schemas_as_they_were_written(way: Way):
    """A schema arrives as it was written, unknown keywords included.

    https://github.com/modelcontextprotocol/conformance/tree/main/src/scenarios
    """
    server = Server("s")

    @server.tool(input_schema=VERBATIM, output_schema=VERBATIM)
    async def free(n: int = 0) -> dict[str, int]:
        return {"n": n}

    async with way.join(server) as peer:
        (tool,) = await listed(peer)
    assert tool["inputSchema"] == VERBATIM
    assert tool["outputSchema"] == VERBATIM


@requirement("TL-07")
async def test_a_client_hands_out_schemas_as_they_came(way: Way):
    """A schema arrives as it was written, unknown keywords included.

    https://github.com/modelcontextprotocol/conformance/tree/main/src/scenarios
    """
    tool = {"name": "free", "inputSchema": VERBATIM, "outputSchema": VERBATIM}
    async with meet(way, Script(way.revision, {"tools/list": {"tools": [tool]}})) as client:
        (found,) = await client.list_tools()
    assert found.input_schema == VERBATIM
    assert found.output_schema == VERBATIM


@requirement("TL-08")
async def test_tools_are_listed_in_the_same_order_each_time(way: Way):
    """Tools are listed in a stable order.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/tools.mdx
    """
    server = Server("s")
    names = ["c", "a", "b", "d"]
    for name in names:
        server.tool(name=name)(lambda: None)
    async with way.join(server) as peer:
        assert [tool["name"] for tool in await listed(peer)] == names
        server.remove_tool("a")
        assert [tool["name"] for tool in await listed(peer)] == ["c", "b", "d"]


# Calling.


@requirement("TC-01")
async def test_absent_arguments_are_empty_ones(way: Way):
    """Absent arguments are empty ones.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/tools.mdx
    """
    server = Server("s")

    @server.tool
    async def greet(name: str = "you") -> str:
        return name

    async with way.join(server) as peer:
        without = (await peer.ask("tools/call", {"name": "greet"})).result
        assert without["content"] == (await call(peer, "greet"))["content"]
        assert without["content"][0]["text"] == "you"


@requirement("TC-02")
async def test_unknown_tools_and_malformed_params_are_invalid(way: Way):
    """An unknown tool and malformed params are answered with -32602.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/tools.mdx
    """
    async with way.join(calculator()) as peer:
        wrong: list[Json] = [
            {"name": "none"},
            {},
            {"name": 1},
            {"name": "add", "arguments": 3},
            {"name": "add", "arguments": []},
        ]
        for params in wrong:
            assert (await peer.ask("tools/call", params)).code == INVALID_PARAMS


@requirement("TC-03")
async def test_arguments_that_do_not_fit_are_told_to_the_model(way: Way):
    """Arguments that do not fit are a result with `isError`, and say what to do.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-11-25/server/tools.mdx
    """
    async with way.join(calculator()) as peer:
        for given, at in (({}, "a"), ({"a": "x"}, "$.a"), ({"a": 1, "z": 2}, "z")):
            result = await call(peer, "add", **given)
            assert result["isError"] is True
            assert f"`{at}`" in result["content"][0]["text"]
        assert (await peer.ask("tools/call", {"name": "add"})).result["isError"] is True


@requirement("TC-04")
async def test_an_exception_is_a_failed_result_without_its_insides(way: Way):
    """An exception of a handler is a result with `isError`, without a trace.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/tools.mdx
    """
    server = Server("s")

    @server.tool
    async def fail(secret: str) -> str:
        raise LookupError(f"no {secret} in /etc/passwd")

    @server.tool
    async def refuse() -> str:
        raise ToolError("Come back tomorrow.")

    async with way.join(server) as peer:
        failed = await call(peer, "fail", secret="hunter2")
        assert failed["isError"] is True
        for inside in ("hunter2", "LookupError", "Traceback", "passwd", "line "):
            assert inside not in failed["content"][0]["text"]
        refused = await call(peer, "refuse")
        assert refused["isError"] is True
        assert refused["content"][0]["text"] == "Come back tomorrow."


@requirement("TC-05")
async def test_a_result_always_has_content(way: Way):
    """A result has `content`, which may be empty.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/schema/2026-07-28/schema.json
    """
    server = calculator()

    @server.tool
    async def nothing() -> None: ...

    async with way.join(server) as peer:
        assert (await call(peer, "nothing"))["content"] == []
        result = await call(peer, "add", a=1)
        assert [block["type"] for block in result["content"]] == ["text"]


@requirement("TC-06")
async def test_content_is_of_the_kinds_that_the_revision_knows(way: Way):
    """Content is text, image, audio, a link or a resource; older revisions get text for what they
    do not know.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/schema/2026-07-28/schema.json
    """
    server = Server("s")

    @server.tool
    def many() -> list[Text | Image | Audio | EmbeddedResource | ResourceLink]:
        return [
            Text(text="t"),
            Image.of(b"png", "image/png"),
            Audio.of(b"wav", "audio/wav"),
            ResourceLink(uri="note://2", name="two"),
            EmbeddedResource(resource=ResourceContents.of("note://1", b"blob")),
        ]

    async with way.join(server) as peer:
        text, image, audio, link, resource = (await call(peer, "many"))["content"]
    assert text == {"type": "text", "text": "t"}
    assert image == {"type": "image", "data": "cG5n", "mimeType": "image/png"}
    assert resource["resource"]["blob"] == "YmxvYg=="
    if way.revision >= "2025-03-26":
        assert audio == {"type": "audio", "data": "d2F2", "mimeType": "audio/wav"}
    else:
        assert audio["type"] == "text"
    if way.revision >= "2025-06-18":
        assert link == {"type": "resource_link", "uri": "note://2", "name": "two"}
    else:
        assert link["type"] == "text"
        assert "note://2" in link["text"]


@requirement("TC-07")
async def test_structured_content_fits_its_schema_stands_in_the_text_too_and_may_be_null(way: Way):
    """Structured content fits the output schema, and null is a value of its own.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/tools.mdx
    """
    server = calculator()

    @server.tool(structured=False)
    async def null() -> CallToolResult:
        return CallToolResult(content=[], structured_content=None)

    @server.tool
    async def wrong() -> Sum:
        return "no sum"  # type: ignore[return-value]

    async with way.join(server) as peer:
        result = await call(peer, "add", a=1, b=2)
        assert result["structuredContent"] == {"total": 3}
        assert result["content"] == [{"type": "text", "text": '{"total":3}'}]
        assert "structuredContent" not in await call(peer, "wrong")
        answer = await call(peer, "null")
        assert answer.get("structuredContent", ...) is (None if way.modern else ...)


@requirement("TC-07", "TC-09")
async def test_a_client_holds_results_against_the_schema_but_for_those_that_failed(way: Way):
    """Structured content fits the output schema, and null is a value of its own.
    A result with `isError` is not held against the output schema.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/tools.mdx
    """
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    tools = {"tools": [{**LISTED, "outputSchema": schema}]}
    script = Script(way.revision, {"tools/list": tools})
    fits: list[tuple[Json, bool]] = [
        ({"structuredContent": {"n": 1}}, True),
        ({"structuredContent": {"n": "one"}}, False),
        ({}, False),
        ({"isError": True}, True),
        ({"structuredContent": {"n": "one"}, "isError": True}, True),
    ]
    async with meet(way, script) as client:
        await client.list_tools()
        for more, fit in fits:
            script.answers["tools/call"] = {**SAID, **more}
            result = await client.call_tool("tool")
            assert (result.complaint is None) == fit
            assert result.text == "said"


@requirement("TC-08")
async def test_what_is_no_object_is_wrapped_in_one_the_same_way_in_schema_and_content(way: Way):
    """Structured content that is no object is adapted for clients that want objects.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/tools.mdx
    """
    server = Server("s")

    @server.tool
    async def numbers() -> list[int]:
        return [1, 2]

    @server.tool(output_schema={"type": "array", "items": {"type": "integer"}})
    async def more() -> list[int]:
        return [3]

    async with way.join(server) as peer:
        for tool, value in zip(await listed(peer), ([1, 2], [3]), strict=True):
            result = await call(peer, tool["name"])
            assert result["structuredContent"] == {"result": value}
            assert tool["outputSchema"]["required"] == ["result"]
            jsonschema.validate(result["structuredContent"], tool["outputSchema"])


@requirement("TC-09")
async def test_a_failure_needs_no_structured_content(way: Way):
    """A result with `isError` is not held against the output schema.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/tools.mdx
    """
    server = Server("s")

    @server.tool
    async def add(a: int) -> Sum:
        raise ToolError("not today")

    async with way.join(server) as peer:
        result = await call(peer, "add", a=1)
    assert result["isError"] is True
    assert "structuredContent" not in result
    assert result["content"][0]["text"] == "not today"


@requirement("TC-10")
async def test_a_server_claims_nothing_of_a_tool_that_was_not_said(way: Way):
    """Annotations have defaults, and are not trusted.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/schema/2026-07-28/schema.json
    """
    server = calculator()

    @server.tool(annotations=ToolAnnotations(destructive_hint=False))
    async def see() -> None: ...

    async with way.join(server) as peer:
        silent, look = await listed(peer)
    assert "annotations" not in silent
    assert look["annotations"] == {"destructiveHint": False}


@requirement("TC-11")
async def test_a_tool_is_not_reached_by_arguments_that_its_schema_forbids(way: Way):
    """A server validates what it is given.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/tools.mdx
    """
    server = Server("s")
    reached: list[int] = []

    @server.tool
    async def grow(age: Annotated[int, Meta(ge=0, le=150)]) -> None:
        reached.append(age)

    async with way.join(server) as peer:
        for age in (-1, 200, "12", 1.5, None, [1]):
            assert (await call(peer, "grow", age=age))["isError"] is True
        assert reached == []
        for age in (1, 1.0):
            assert "isError" not in await call(peer, "grow", age=age)


@requirement("TC-12")
async def test_what_went_wrong_in_a_tool_is_given_to_the_model_not_raised(way: Way):
    """A person can deny a call; errors reach the model.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/tools.mdx
    """
    failed = {"content": [{"type": "text", "text": "no such city"}], "isError": True}
    async with meet(way, Script(way.revision, {"tools/call": failed})) as client:
        result = await client.call_tool("weather", {"city": "x"})
    assert result.is_error
    assert result.text == "no such city"


@requirement("IC-01")
async def test_everything_that_has_a_name_may_have_icons(way: Way):
    """Icons have a source, and may have type, sizes and theme.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/index.mdx
    """
    icon = Icon(
        src="data:image/png;base64,AA==",
        mime_type="image/png",
        sizes=["16x16", "any"],
        theme="dark",
    )
    server = Server("s", icons=[icon])
    server.tool(name="t", icons=[icon])(lambda: None)
    server.prompt(name="p", icons=[icon])(lambda: "")
    server.resource("a://r", name="r", icons=[icon])(lambda: "")

    @server.resource("a://{x}", name="x", icons=[icon])
    def of(x: str) -> str:
        return x

    async with way.join(server) as peer:
        found = [entry["icons"] for method in LISTS for entry in await listed(peer, method)]
        found.append((await server_info(peer))["icons"])
    assert (
        found
        == [
            [{"src": icon.src, "mimeType": "image/png", "sizes": ["16x16", "any"], "theme": "dark"}]
        ]
        * 5
    )


@requirement("IC-03")
@pytest.mark.parametrize(
    "src",
    ["javascript:alert(1)", "file:///etc/passwd", "ftp://a/b", "ws://a", "vscode://x", "a.png", ""],
)
def test_an_icon_leads_to_the_web_or_holds_its_own_data(src: str):
    """Who shows icons takes https and data URIs only, and does not trust what they lead to.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/index.mdx
    """
    with pytest.raises(RegistrationError):
        Server("s", icons=[Icon(src=src)])
    with pytest.raises(RegistrationError):
        Server("s").tool(name="t", icons=[Icon(src=src)])(lambda: None)


@requirement("IC-03")
async def test_a_client_fetches_no_icon_by_itself(way: Way):
    """Who shows icons takes https and data URIs only, and does not trust what they lead to.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/index.mdx
    """
    visits: list[str] = []

    async def visited(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visits.append("someone")
        writer.close()

    page = await asyncio.start_server(visited, "127.0.0.1", 0)
    src = f"http://127.0.0.1:{page.sockets[0].getsockname()[1]}/icon.png"
    tools = {"tools": [{**LISTED, "icons": [{"src": src}]}]}
    async with meet(way, Script(way.revision, {"tools/list": tools})) as client:
        (tool,) = await client.list_tools()
        await client.call_tool(tool.name)
    page.close()
    assert tool.icons == [Icon(src=src)]
    assert visits == []
