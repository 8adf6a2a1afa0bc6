"""Tools: what is listed, what comes back, what a failure says, in both eras."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import jsonschema
import pytest
from msgspec import UNSET
from tests.joined import Joined
from tests.peers import LEGACY, MODERN, Json, modern

from interlock import Context, RpcError, Server, ToolError
from interlock.errors import INVALID_PARAMS, InvalidMessage, RegistrationError
from interlock.protocol.call import Call
from interlock.protocol.dispatch import Dispatch, admit
from interlock.wire.content import (
    Audio,
    EmbeddedResource,
    Image,
    ResourceContents,
    ResourceLink,
    Text,
)
from interlock.wire.inputs import InputRequired
from interlock.wire.jsonrpc import Message, read
from interlock.wire.meta import Icon
from interlock.wire.methods import TO_SERVER
from interlock.wire.tools import CallToolResult, ToolAnnotations


@dataclass
class Sum:
    total: int


async def call(joined: Joined, server: Server, name: str, era: str, **arguments: Any) -> Any:
    async with joined(server, era) as client:
        return await client.call_tool(name, arguments)


async def test_a_tool_is_listed_with_all_that_was_said_of_it(joined: Joined, era: str):
    server = Server("s")

    @server.tool(
        title="Add up",
        annotations=ToolAnnotations(read_only_hint=True),
        icons=[Icon(src="https://example.com/add.png")],
        meta={"example.com/cost": 3},
    )
    async def add(a: Annotated[int, "the first"], b: int = 2) -> Sum:
        """Add two numbers.

        The second one is two unless told otherwise.
        """
        return Sum(a + b)

    async with joined(server, era) as client:
        (tool,) = await client.list_tools()
    assert tool.name == "add"
    assert tool.title == "Add up"
    assert tool.description == ("Add two numbers.\n\nThe second one is two unless told otherwise.")
    assert tool.annotations == ToolAnnotations(read_only_hint=True)
    assert tool.icons == [Icon(src="https://example.com/add.png")]
    assert tool.meta == {"example.com/cost": 3}
    assert tool.input_schema == {
        "type": "object",
        "properties": {
            "a": {"type": "integer", "description": "the first"},
            "b": {"type": "integer", "default": 2},
        },
        "required": ["a"],
        "additionalProperties": False,
    }
    assert tool.output_schema == {
        "type": "object",
        "properties": {"total": {"type": "integer"}},
        "required": ["total"],
    }


async def test_name_and_description_can_be_given(joined: Joined, era: str):
    server = Server("s")

    @server.tool(name="math.add-up.now", description="Adds.")
    def add(a: int) -> int:
        """Not this."""
        return a

    async with joined(server, era) as client:
        (tool,) = await client.list_tools()
        assert (tool.name, tool.description) == ("math.add-up.now", "Adds.")
        assert (await client.call_tool("math.add-up.now", {"a": 1})).text == "1"


def test_the_decorated_function_stays_what_it_is():
    server = Server("s")

    @server.tool
    def add(a: int, b: int) -> int:
        return a + b

    assert add(1, 2) == 3


@pytest.mark.parametrize("name", ["math/add", "x" * 65, "x" * 128])
async def test_a_name_that_some_hosts_refuse_is_taken_with_a_warning(joined: Joined, name: str):
    """The specification allows 128 characters and no slash, its official suite 64 and slashes."""
    server = Server("s")
    with pytest.warns(UserWarning, match="not every host takes") as caught:
        server.tool(name=name)(lambda: "here")
    assert caught[0].filename == __file__
    async with joined(server) as client:
        assert (await client.call_tool(name)).text == "here"


@pytest.mark.parametrize("name", ["", "a b", "a,b", "ä", "x" * 129, "<lambda>"])
def test_a_name_that_hosts_refuse_is_refused_at_once(name: str):
    server = Server("s")

    def function() -> None: ...

    function.__name__ = name
    with pytest.raises(RegistrationError, match="cannot be a tool's name"):
        server.tool(function)


def test_a_name_is_taken_once():
    server = Server("s")

    @server.tool
    def add() -> None: ...

    with pytest.raises(RegistrationError, match="There is a tool named 'add' already"):
        server.tool(add)


def test_options_that_contradict_each_other_are_refused():
    server = Server("s")

    def function() -> bytes:
        return b""

    with pytest.raises(RegistrationError, match="function returns bytes"):
        server.tool(function)
    with pytest.raises(RegistrationError, match="structured=False forbids"):
        server.tool(name="a", output_schema={"type": "object"}, structured=False)(lambda: None)
    with pytest.raises(RegistrationError, match="'type': 'object' at its root"):
        server.tool(name="a", input_schema={"type": "array"})(lambda: None)


@pytest.mark.parametrize(
    ("annotation", "value", "text", "structured"),
    [
        (str, "hi", "hi", ...),
        (None, None, "", ...),
        (Any, {"a": 1}, '{"a":1}', ...),
        (Any, [1, 2], "[1,2]", ...),
        (Any, ["a", "b"], "a\nb", ...),
        (Any, 1.5, "1.5", ...),
        (Sum, Sum(3), '{"total":3}', {"total": 3}),
        (dict[str, int], {"a": 1}, '{"a":1}', {"a": 1}),
        (int, 3, "3", {"result": 3}),
        (bool, True, "true", {"result": True}),
        (Literal["a", "b"], "b", "b", {"result": "b"}),
        (str | None, None, "null", {"result": None}),
        (list[Sum], [Sum(1)], '[{"total":1}]', {"result": [{"total": 1}]}),
        (list[str], ["a"], '["a"]', {"result": ["a"]}),
        (Text, Text(text="t"), "t", ...),
        (list[Text], [Text(text="a"), Text(text="b")], "a\nb", ...),
    ],
)
async def test_what_a_tool_returns_becomes_text_and_structured_content(
    joined: Joined, era: str, annotation: Any, value: Any, text: str, structured: Any
):
    server = Server("s")

    async def give() -> Any:
        return value

    give.__annotations__["return"] = annotation
    server.tool(give)
    async with joined(server, era) as client:
        (tool,) = await client.list_tools()
        result = await client.call_tool("give")
    assert not result.is_error
    assert result.text == text
    assert result.has_structured == (structured is not ...)
    if structured is ...:
        assert tool.output_schema is None
    else:
        assert tool.output_schema is not None
        assert tool.output_schema["type"] == "object"
        assert result.structured == structured
        jsonschema.validate(result.structured, tool.output_schema)


async def test_pictures_sounds_links_and_resources_are_content(joined: Joined, era: str):
    server = Server("s")
    contents = ResourceContents.of("note://1", "text")

    @server.tool
    def many() -> list[Image | Audio | EmbeddedResource | ResourceLink | str]:
        return [
            "look:",
            Image.of(b"png", "image/png"),
            Audio.of(b"wav", "audio/wav"),
            EmbeddedResource(resource=contents),
            ResourceLink(uri="note://2", name="two"),
        ]

    @server.tool
    def one() -> Image:
        return Image.of(b"png", "image/png")

    async with joined(server, era) as client:
        assert (await client.call_tool("many")).content == [
            Text(text="look:"),
            Image(data="cG5n", mime_type="image/png"),
            Audio(data="d2F2", mime_type="audio/wav"),
            EmbeddedResource(resource=contents),
            ResourceLink(uri="note://2", name="two"),
        ]
        assert (await client.call_tool("one")).content == [Image.of(b"png", "image/png")]


@pytest.mark.parametrize("revision", [*LEGACY, MODERN])
async def test_older_clients_get_nothing_that_their_revision_does_not_know(
    joined: Joined, revision: str
):
    """§24.16 of our checklist: what has no equivalent becomes text, and is never an error."""
    server = Server("s")

    @server.tool
    def many() -> CallToolResult:
        link = ResourceLink(uri="note://2", name="two", description="more")
        return CallToolResult(
            content=[Audio.of(b"wav", "audio/wav"), link], structured_content=[1, 2]
        )

    async with joined(server, revision) as client:
        assert client.revision == revision
        result = await client.call_tool("many")
    kinds = [type(block) for block in result.content]
    assert kinds == [
        Text if revision < "2025-03-26" else Audio,
        Text if revision < "2025-06-18" else ResourceLink,
    ]
    assert result.has_structured == (revision == MODERN)
    if revision < "2025-06-18":
        assert "two: note://2 (more)" in result.text


async def test_a_whole_result_is_sent_as_it_is(joined: Joined, era: str):
    server = Server("s")

    @server.tool
    async def give() -> CallToolResult:
        return CallToolResult(
            content=[Text(text="so")],
            structured_content={"n": 1},
            is_error=True,
            meta={"example.com/took": 3},
        )

    result = await call(joined, server, "give", era)
    assert result.content == [Text(text="so")]
    assert result.structured == {"n": 1}
    assert result.is_error
    assert result.meta == {"example.com/took": 3}


async def test_a_whole_result_may_stand_in_for_a_structured_one(joined: Joined, era: str):
    server = Server("s")

    @server.tool
    async def add(a: int) -> Sum:
        if a < 0:
            return CallToolResult(content=[Text(text="no")], is_error=True)  # type: ignore[return-value]
        return Sum(a)

    assert (await call(joined, server, "add", era, a=1)).structured == {"total": 1}
    assert (await call(joined, server, "add", era, a=-1)).is_error


async def test_structured_false_sends_text_only(joined: Joined, era: str):
    server = Server("s")

    @server.tool(structured=False)
    async def add(a: int) -> Sum:
        return Sum(a)

    async with joined(server, era) as client:
        assert (await client.list_tools())[0].output_schema is None
        result = await client.call_tool("add", {"a": 1})
    assert result.text == '{"total":1}'
    assert not result.has_structured


async def test_schemas_that_are_given_are_kept_verbatim(joined: Joined, era: str):
    """A schema is the truth: no keyword of it is lost (2025-11-25 § Tools, 2020-12)."""
    server = Server("s")
    given_in: Json = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {"a": {"$anchor": "x", "type": "integer"}},
        "properties": {"a": {"$ref": "#/$defs/a"}},
        "if": {"required": ["a"]},
        "then": {"minProperties": 1},
    }
    given_out: Json = {"type": "object", "unevaluatedProperties": False, "properties": {"n": {}}}

    @server.tool(input_schema=given_in, output_schema=given_out)
    async def function(a: int = 0) -> dict[str, int]:
        return {"n": a}

    @server.tool(output_schema={"type": "array"})
    async def listing() -> Any:
        return [1]

    async with joined(server, era) as client:
        first, second = await client.list_tools()
        assert first.input_schema == given_in
        assert first.output_schema == given_out
        assert (await client.call_tool("function", {"a": 1})).structured == {"n": 1}
        assert second.output_schema is not None
        assert second.output_schema["properties"] == {"result": {"type": "array"}}
        assert (await client.call_tool("listing")).structured == {"result": [1]}


async def test_arguments_are_held_against_a_schema_that_was_given(joined: Joined, era: str):
    """Whatever the types say: the schema is what the model was told (§ Tools, Security)."""
    server = Server("s")
    schema: Json = {
        "type": "object",
        "properties": {"a": {"type": "integer", "maximum": 3}, "b": {"type": "integer"}},
        "dependentRequired": {"a": ["b"]},
    }

    @server.tool(input_schema=schema)
    async def add(a: int = 0, b: int = 0) -> int:
        return a + b

    async with joined(server, era) as client:
        assert (await client.call_tool("add", {"a": 3, "b": 1})).text == "4"
        assert (await client.call_tool("add")).text == "0"
        for arguments, why in [
            ({"a": 4, "b": 1}, "Invalid arguments for add: a: expected at most 3, got 4"),
            ({"a": 1}, "Invalid arguments for add: the value: expected a member"),
        ]:
            result = await client.call_tool("add", arguments)
            assert result.is_error
            assert result.text.startswith(why), result.text


async def test_results_are_held_against_a_schema_that_was_given(
    joined: Joined, era: str, caplog: pytest.LogCaptureFixture
):
    """A server must send what its output schema promises (§ Tools, Output Schema)."""
    server = Server("s")
    promise: Json = {"type": "object", "properties": {"n": {"maximum": 3}}, "required": ["n"]}

    @server.tool(output_schema=promise)
    async def give(what: dict[str, int]) -> dict[str, int]:
        return what

    @server.tool(output_schema=promise)
    async def give_all(text: str) -> CallToolResult:
        structured = json.loads(text) if text else UNSET
        return CallToolResult(content=[], structured_content=structured)

    @server.tool(output_schema=promise)
    async def fail() -> CallToolResult:
        return CallToolResult(content=[Text(text="no")], is_error=True)

    wrong: list[tuple[str, Json]] = [
        ("give", {"what": {"n": 4}}),
        ("give", {"what": {}}),
        ("give_all", {"text": '{"n":4}'}),
        ("give_all", {"text": ""}),
    ]
    async with joined(server, era) as client:
        assert (await client.call_tool("give", {"what": {"n": 3}})).structured == {"n": 3}
        assert (await client.call_tool("give_all", {"text": '{"n":3}'})).structured == {"n": 3}
        for name, arguments in wrong:
            result = await client.call_tool(name, arguments)
            assert result.is_error
            assert "failed unexpectedly" in result.text
        assert (await client.call_tool("fail")).text == "no"
    assert "give returned what its output_schema forbids: n: expected at most 3" in caplog.text
    assert "give_all returned no structured content, which it promises" in caplog.text


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"$ref": "https://example.com/a.json"}}},
        {"type": "object", "properties": {"a": {"$ref": "#/$defs/none"}}},
        {"type": "object", "properties": {"a": {"type": "text"}}},
        {"type": "object", "$schema": "https://example.com/dialect"},
    ],
)
def test_a_schema_that_nothing_can_be_held_against_is_refused(schema: Json):
    """JSON Schema 2020-12 by default, no reference is ever fetched (§ JSON Schema Usage)."""

    def plain() -> None: ...

    with pytest.raises(RegistrationError, match="f: input_schema: "):
        Server("s").tool(name="f", input_schema=schema)(lambda a=0: a)
    with pytest.raises(RegistrationError, match="f: output_schema: "):
        Server("s").tool(name="f", output_schema=schema)(plain)


async def test_arguments_that_do_not_fit_are_a_result_the_model_can_act_on(
    joined: Joined, era: str
):
    """Since 2025-11-25 (SEP-1303); allowed before."""
    server = Server("s")

    @server.tool
    async def add(a: int) -> Sum:
        return Sum(a)

    result = await call(joined, server, "add", era, a="one")
    assert result.is_error
    assert result.text == "Invalid arguments for add: Expected `int`, got `str` - at `$.a`"
    assert not result.has_structured


async def test_the_text_of_a_tool_error_reaches_the_model(joined: Joined, era: str):
    server = Server("s")

    class OutOfStock(ToolError):
        pass

    @server.tool
    async def told() -> Sum:
        raise ToolError("try tomorrow")

    @server.tool
    def told_in_a_thread() -> None:
        raise ToolError("try tomorrow")

    @server.tool
    async def silent() -> None:
        raise OutOfStock

    for name, text in [
        ("told", "try tomorrow"),
        ("told_in_a_thread", "try tomorrow"),
        ("silent", "OutOfStock"),
    ]:
        result = await call(joined, server, name, era)
        assert (result.is_error, result.text) == (True, text)


async def test_any_other_exception_is_masked_with_a_number_that_is_in_the_log(
    joined: Joined, era: str, caplog: pytest.LogCaptureFixture
):
    server = Server("s")

    @server.tool
    async def bad() -> int:
        raise ValueError("password=hunter2")

    with caplog.at_level(logging.ERROR, "interlock"):
        result = await call(joined, server, "bad", era)
    assert result.is_error
    assert "hunter2" not in result.text
    found = re.search(r"bad failed unexpectedly \(incident ([0-9a-f]{8})\)", result.text)
    assert found
    assert found[1] in caplog.text
    assert "password=hunter2" in caplog.text


@pytest.mark.parametrize(
    "error", [SystemExit(1), asyncio.CancelledError(), StopIteration(3), RecursionError()]
)
@pytest.mark.parametrize("threaded", [False, True])
async def test_nothing_that_a_tool_raises_ends_the_session(
    joined: Joined, era: str, error: BaseException, threaded: bool
):
    """`sys.exit()` in a library, a cancellation that escaped: the caller gets an answer."""
    server = Server("s")

    @server.tool(name="bad")
    async def bad() -> None:
        raise error

    def bad_in_a_thread() -> None:
        raise error

    server.tool(name="threaded")(bad_in_a_thread)

    @server.tool
    async def fine() -> str:
        return "fine"

    async with joined(server, era) as client:
        result = await client.call_tool("threaded" if threaded else "bad")
        assert result.is_error
        assert "failed unexpectedly" in result.text
        assert (await client.call_tool("fine")).text == "fine"


async def test_a_result_that_breaks_its_promise_is_a_failure_of_the_tool(
    joined: Joined, era: str, caplog: pytest.LogCaptureFixture
):
    server = Server("s")

    @server.tool
    async def add() -> Sum:
        return {"totl": 3}  # type: ignore[return-value]

    result = await call(joined, server, "add", era)
    assert result.is_error
    assert not result.has_structured
    assert "add returned what does not fit its return type" in caplog.text


async def test_bytes_without_a_type_are_a_failure_that_says_what_to_return(
    joined: Joined, era: str, caplog: pytest.LogCaptureFixture
):
    server = Server("s")

    @server.tool
    async def give() -> Any:
        return b"?"

    assert (await call(joined, server, "give", era)).is_error
    assert "Image.of" in caplog.text


async def test_an_rpc_error_is_answered_as_such(joined: Joined, era: str):
    server = Server("s")

    @server.tool
    async def refuse() -> None:
        raise RpcError(1234, "not for you", {"why": "no"})

    with pytest.raises(RpcError) as caught:
        await call(joined, server, "refuse", era)
    assert (caught.value.code, caught.value.message) == (1234, "not for you")
    assert caught.value.data == {"why": "no"}


async def test_an_unknown_tool_is_an_error_of_the_protocol(joined: Joined, era: str):
    """-32602 in every revision (§ Tools, Error Handling)."""
    server = Server("s")
    with pytest.raises(RpcError, match="Unknown tool: 'nope'") as caught:
        await call(joined, server, "nope", era)
    assert caught.value.code == INVALID_PARAMS


async def test_a_tool_may_ask_for_input_the_low_level_way(joined: Joined):
    """2026-07-28 § Multi round-trip requests: the question travels in the result."""
    server = Server("s")
    question: Json = {"method": "roots/list", "params": {}}

    @server.tool
    async def ask() -> str | InputRequired:
        return InputRequired(input_requests={"where": question}, request_state="sealed")

    async with joined(server, "modern", roots=[]) as client:
        with pytest.raises(InvalidMessage, match="more than 16 times"):
            await client.call_tool("ask")
    result = json.loads(joined.received[-1])["result"]
    assert result["resultType"] == "input_required"
    assert result["inputRequests"] == {"where": question}
    assert result["requestState"] == "sealed"


async def test_a_legacy_client_is_asked_for_it_on_the_way(joined: Joined):
    """A handler that returns its questions need not know the era: the call is made again for it."""
    server = Server("s")
    question: Json = {"method": "roots/list", "params": {}}

    @server.tool
    async def ask(ctx: Context) -> str | InputRequired:
        if "where" not in ctx.input_responses:
            return InputRequired(input_requests={"where": question}, request_state="mine")
        return f"{ctx.request_state} {bytes(ctx.input_responses['where']).decode()}"

    async with joined(server, "legacy", roots=[]) as client:
        assert (await client.call_tool("ask")).text == 'mine {"roots":[]}'
    with pytest.raises(RpcError, match="declares: roots"):
        await call(joined, server, "ask", "legacy")


async def test_a_tool_sees_who_calls_and_how(joined: Joined, era: str):
    server = Server("s")

    @server.tool
    def who(ctx: Context) -> dict[str, str]:
        client = ctx.envelope.client
        assert client is not None
        return {"name": client.name, "revision": str(ctx.envelope.revision)}

    async with joined(server, era, name="tester") as client:
        result = await client.call_tool("who")
        assert result.structured == {"name": "tester", "revision": client.revision}


@pytest.mark.parametrize("arguments", [3, [], "a", True])
async def test_arguments_that_are_no_object_are_a_fault_of_the_client(arguments: Any):
    """§ Tools, Error Handling: a request that fits no schema is a protocol error."""
    server = Server("s")

    @server.tool
    async def add(a: int) -> int:
        return a

    async def answer(given: Any) -> Json:
        message = read(modern("tools/call", 1, {"name": "add", "arguments": given}))
        assert isinstance(message, Message)
        admitted = admit(message, TO_SERVER)
        assert isinstance(admitted, Call)
        return json.loads((await Dispatch(server).respond(admitted))[0])

    assert (await answer(arguments))["error"]["code"] == INVALID_PARAMS
    assert (await answer(None))["result"]["isError"]
    assert (await answer({}))["result"]["isError"]
