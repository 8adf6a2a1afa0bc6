"""§10.2 JSON Schema: which dialect, what is never fetched, what is bounded."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from tests.peers import Json
from tests.spec.marking import requirement
from tests.spec.scripts import Script, meet
from tests.spec.ways import Way

from interlock import Server
from interlock.client.promised import Promised
from interlock.client.reading import ToolResult
from interlock.errors import InvalidMessage, RegistrationError
from interlock.protocol import schema
from interlock.protocol.schema import BadSchema, Check, compile  # noqa: A004  the room's word
from interlock.wire.tools import Tool

PAIR: Json = {"prefixItems": [{"type": "string"}, {"type": "integer"}], "unevaluatedItems": False}
"""What only 2020-12 means by this."""


@asynccontextmanager
async def elsewhere() -> AsyncGenerator[tuple[str, list[str]]]:
    """The URL of a schema on the network, and who came for it."""
    visits: list[str] = []

    async def visited(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visits.append("someone")
        writer.close()

    page = await asyncio.start_server(visited, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{page.sockets[0].getsockname()[1]}/schema.json", visits
    finally:
        page.close()


@requirement("JS-01")
def test_a_schema_that_names_no_dialect_is_of_2020_12():
    """Without `$schema` a schema is of 2020-12, which is supported; an unsupported dialect fails
    gracefully.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/index.mdx
    """
    check = compile(PAIR)
    assert check.complaint(["a", 1]) is None
    assert check.complaint(["a", "b"]) is not None
    assert check.complaint(["a", 1, 2]) is not None
    named = {"$schema": "https://json-schema.org/draft/2020-12/schema", **PAIR}
    assert compile(named).complaint(["a", 1, 2]) is not None


@requirement("JS-01")
def test_other_dialects_mean_what_they_say_and_an_unknown_one_fails_gracefully():
    """Without `$schema` a schema is of 2020-12, which is supported; an unsupported dialect fails
    gracefully.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/index.mdx
    """
    older = {"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "string"}]}
    assert compile(older).complaint(["a", 1]) is None
    assert compile(older).complaint([1]) is not None
    with pytest.raises(BadSchema, match="dialect"):
        compile({"$schema": "https://example.com/my-own"})


@requirement("JS-02")
async def test_neither_side_fetches_what_a_schema_refers_to(way: Way):
    """A `$ref` is never fetched from the network by itself.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/index.mdx
    """
    async with elsewhere() as (url, visits):
        schema: Json = {"type": "object", "properties": {"a": {"$ref": url}}}
        with pytest.raises(RegistrationError):
            Server("s").tool(name="free", input_schema=schema)(lambda: None)
        with pytest.raises(RegistrationError):
            Server("s").tool(name="free", output_schema=schema)(lambda: None)
        tool = {"name": "free", "inputSchema": schema, "outputSchema": schema}
        answers: Json = {
            "tools/list": {"tools": [tool]},
            "tools/call": {"content": [], "structuredContent": {"a": 1}},
        }
        async with meet(way, Script(way.revision, answers)) as client:
            (found,) = await client.list_tools()
            assert found.output_schema == schema
            # It may refuse what it cannot check; it may not fetch it.
            with contextlib.suppress(InvalidMessage):
                await client.call_tool("free", {"a": 1})
        assert visits == []


@requirement("JS-03")
@pytest.mark.parametrize(
    "reference", ["https://example.com/schema.json", "file:///etc/passwd", "#/$defs/none", "other"]
)
def test_what_cannot_be_resolved_refuses(reference: str):
    """A `$ref` that cannot be resolved refuses; it does not let everything pass.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/index.mdx
    """
    with pytest.raises(BadSchema):
        compile({"type": "object", "properties": {"a": {"$ref": reference}}})


@requirement("JS-03")
def test_the_specifications_own_schemas_need_no_network():
    """A `$ref` that cannot be resolved refuses; it does not let everything pass.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/index.mdx
    """
    check = compile({"$ref": "https://json-schema.org/draft/2020-12/schema"})
    assert check.complaint({"type": "string"}) is None
    assert check.complaint({"type": "no type"}) is not None


@requirement("JS-04")
def test_depth_and_number_of_schemas_are_bounded_and_so_is_the_time_of_a_pattern():
    """Depth, number and time of schemas are bounded.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/index.mdx
    """
    deep: Json = {}
    for _ in range(2000):
        deep = {"items": deep}
    many: Json = {"anyOf": [{"const": number} for number in range(200_000)]}
    doubling: Json = {
        "$ref": "#/$defs/0",
        "$defs": {
            str(level): {"allOf": [{"$ref": f"#/$defs/{level + 1}"}] * 2} for level in range(64)
        },
    }
    doubling["$defs"]["64"] = {"type": "string"}
    for each in (deep, many):
        with pytest.raises(BadSchema):
            compile(each)
    assert compile(doubling).complaint("a") is not None
    slow = compile({"type": "string", "pattern": "^(?=(a+)+$)b"})
    assert slow.complaint("a" * 50 + "!") is not None


@requirement("JS-05")
def test_a_schema_is_compiled_once_and_a_format_is_an_annotation(monkeypatch: pytest.MonkeyPatch):
    """Validators are compiled when first needed, and kept; `format` is an annotation.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/index.mdx
    """
    compiled: list[object] = []

    def counted(described: Json) -> Check:
        compiled.append(described)
        return compile(described)

    monkeypatch.setattr(schema, "compile", counted)
    address = {"type": "string", "format": "email"}
    promised = Promised()
    promised.learn([Tool(name="it", input_schema={"type": "object"}, output_schema=address)])
    assert not compiled
    said = ToolResult(content=[], structured="no address", has_structured=True)
    for _ in range(2):
        assert promised.hold("it", said).complaint is None
    assert compiled == [address]
