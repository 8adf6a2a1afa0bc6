"""Resources and templates: listed, read, not found; in both eras."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.joined import Joined

from interlock import Context, RpcError, Server, ToolError
from interlock.errors import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    LEGACY_RESOURCE_NOT_FOUND,
    RegistrationError,
    ResourceNotFound,
)
from interlock.wire.content import ResourceContents
from interlock.wire.meta import Annotations, CacheHints
from interlock.wire.resources import ReadResourceResult


async def read(joined: Joined, server: Server, uri: str, era: str) -> list[ResourceContents]:
    async with joined(server, era) as client:
        return (await client.read_resource(uri)).contents


async def test_a_resource_is_listed_with_all_that_was_said_of_it(joined: Joined, era: str):
    server = Server("s")

    @server.resource(
        "config://app",
        title="Configuration",
        mime_type="application/json",
        size=7,
        annotations=Annotations(audience=["user"], priority=0.5),
        meta={"example.com/x": 1},
    )
    def config() -> dict[str, int]:
        """How the app is set up."""
        return {"a": 1}

    @server.resource("user://{id}/{+path}", name="file of a user")
    def file(id: int, path: str) -> str:
        return f"{id}:{path}"

    async with joined(server, era) as client:
        (resource,) = await client.list_resources()
        (template,) = await client.list_resource_templates()
    assert (resource.uri, resource.name, resource.title) == (
        "config://app",
        "config",
        "Configuration",
    )
    assert resource.description == "How the app is set up."
    assert (resource.mime_type, resource.size) == ("application/json", 7)
    assert resource.annotations == Annotations(audience=["user"], priority=0.5)
    assert resource.meta == {"example.com/x": 1}
    assert (template.uri_template, template.name) == ("user://{id}/{+path}", "file of a user")


@pytest.mark.parametrize(
    ("value", "given", "contents"),
    [
        ("text", None, ResourceContents(uri="x://y", mime_type="text/plain", text="text")),
        ("<a>", "text/html", ResourceContents(uri="x://y", mime_type="text/html", text="<a>")),
        (
            b"\0",
            None,
            ResourceContents(uri="x://y", mime_type="application/octet-stream", blob="AA=="),
        ),
        (
            {"a": 1},
            None,
            ResourceContents(uri="x://y", mime_type="application/json", text='{"a":1}'),
        ),
        ([], None, ResourceContents(uri="x://y", mime_type="application/json", text="[]")),
        (
            ResourceContents(uri="x://z", text="other"),
            None,
            ResourceContents(uri="x://z", text="other"),
        ),
    ],
)
async def test_what_a_function_gives_becomes_contents(
    joined: Joined, era: str, value: Any, given: str | None, contents: ResourceContents
):
    server = Server("s")

    @server.resource("x://y", mime_type=given)
    def give() -> Any:
        return value

    assert await read(joined, server, "x://y", era) == [contents]


async def test_several_contents_may_come_of_one_uri(joined: Joined, era: str):
    server = Server("s")
    both = [ResourceContents.of("x://1", "one"), ResourceContents.of("x://2", b"two")]

    @server.resource("x://all")
    async def give() -> list[ResourceContents]:
        return both

    assert await read(joined, server, "x://all", era) == both


async def test_variables_arrive_converted_and_decoded(joined: Joined, era: str):
    server = Server("s")

    @server.resource("user://{id}/{name}{?loud,times}")
    def user(id: int, name: str, loud: bool = False, times: int = 1) -> Any:
        return [id, name, loud, times]

    for uri, text in [
        ("user://7/ada", '[7,"ada",false,1]'),
        ("user://7/a%20b%2Cc?times=3", '[7,"a b,c",false,3]'),
        ("user://7/ada?loud=true", '[7,"ada",true,1]'),
    ]:
        (contents,) = await read(joined, server, uri, era)
        assert (contents.uri, contents.text) == (uri, text)


async def test_listed_resources_win_over_templates_and_templates_by_order(joined: Joined, era: str):
    server = Server("s")

    @server.resource("item://{id}")
    def by_number(id: int) -> str:
        return "number"

    @server.resource("item://{name}")
    def by_name(name: str) -> str:
        return "name"

    @server.resource("item://first")
    def first() -> str:
        return "listed"

    async with joined(server, era) as client:
        for uri, text in [
            ("item://first", "listed"),
            ("item://7", "number"),
            ("item://seven", "name"),  # what does not fit one template may fit the next
        ]:
            assert (await client.read_resource(uri)).contents[0].text == text


async def test_what_is_not_there_is_not_found_in_each_eras_own_code(joined: Joined):
    """-32602 from 2026-07-28 on, -32002 before (§ Resources, Error Handling)."""
    server = Server("s")

    @server.resource("user://{id}")
    def user(id: int) -> str | None:
        return None if id > 9 else "here"

    for era, code in [("legacy", LEGACY_RESOURCE_NOT_FOUND), ("modern", INVALID_PARAMS)]:
        async with joined(server, era) as client:
            for uri in ("nope://1", "user://10", "user://x"):
                with pytest.raises(ResourceNotFound) as caught:
                    await client.read_resource(uri)
                assert caught.value.data == {"uri": uri}
                assert b'"code":%d' % code in joined.received[-1]


async def test_failures_are_masked_unless_they_were_written_to_be_read(
    joined: Joined, era: str, caplog: pytest.LogCaptureFixture
):
    server = Server("s")

    @server.resource("x://secret")
    def secret() -> str:
        raise ValueError("hunter2")

    @server.resource("x://told")
    async def told() -> str:
        raise ToolError("the disk is away")

    @server.resource("x://left")
    async def left() -> str:
        raise SystemExit

    @server.resource("x://own")
    async def own() -> str:
        raise RpcError(7, "so there")

    async with joined(server, era) as client:
        for uri, code, text in [
            ("x://secret", INTERNAL_ERROR, "Internal error"),
            ("x://told", INTERNAL_ERROR, "the disk is away"),
            ("x://left", INTERNAL_ERROR, "Internal error"),
            ("x://own", 7, "so there"),
        ]:
            with pytest.raises(RpcError, match=text) as caught:
                await client.read_resource(uri)
            assert caught.value.code == code
            assert "hunter2" not in str(caught.value)
    assert "hunter2" in caplog.text


async def test_the_way_reads_may_be_kept_is_told_to_modern_clients(joined: Joined):
    """2026-07-28 § Caching; and never to legacy ones, who were not told of it."""
    server = Server("s", cache=CacheHints(ttl_ms=5000, scope="public"))

    @server.resource("x://a")
    def plain() -> str:
        return "a"

    @server.resource("x://b")
    def own() -> ReadResourceResult:
        return ReadResourceResult(
            contents=[ResourceContents.of("x://b", "b")], ttl_ms=1, cache_scope="private"
        )

    async with joined(server, "modern") as client:
        first, second = await client.read_resource("x://a"), await client.read_resource("x://b")
    assert (first.ttl_ms, first.cache_scope) == (5000, "public")
    assert (second.ttl_ms, second.cache_scope) == (1, "private")
    async with joined(server, "legacy") as client:
        assert (await client.read_resource("x://a")).ttl_ms is None


async def test_one_resource_may_be_kept_longer_than_others(joined: Joined):
    server = Server("s", cache={"reads": CacheHints(ttl_ms=10, scope="public")})
    fixed = ReadResourceResult(contents=[ResourceContents.of("x://c", "c")])

    @server.resource("x://a", cache=CacheHints(ttl_ms=9000))
    def a() -> str:
        return "a"

    @server.resource("x://{id}/b", cache=CacheHints(ttl_ms=8000, scope="public"))
    def b(id: str) -> str:
        return id

    @server.resource("x://c")
    def c() -> ReadResourceResult:
        return fixed

    found: list[Any] = []
    async with joined(server, "modern") as client:
        for uri in ("x://a", "x://1/b", "x://c"):
            result = await client.read_resource(uri)
            found.append((result.ttl_ms, result.cache_scope))
    assert found == [(9000, "private"), (8000, "public"), (10, "public")]
    assert fixed.ttl_ms is None


async def test_what_answers_gave_rise_to_is_not_to_be_kept(joined: Joined):
    """2026-07-28 § MRTR: neither the question nor the result of a retry is cacheable."""
    server = Server("s", cache=CacheHints(ttl_ms=9000, scope="public"))

    @server.resource("x://a")
    async def a(ctx: Context) -> str:
        return "yes" if await ctx.confirm("Really?") else "no"

    async def agree(question: Any) -> Any:
        return {}

    async with joined(server, "modern", on_elicit=agree) as client:
        result = await client.read_resource("x://a")
    assert (result.ttl_ms, result.cache_scope) == (0, "private")
    (asked,) = [json.loads(m)["result"] for m in joined.received if b"input_required" in m]
    (answered,) = [json.loads(m)["result"] for m in joined.received if b'"contents"' in m]
    assert not {"ttlMs", "cacheScope"} & set(asked)
    assert (answered["ttlMs"], answered["cacheScope"]) == (0, "private")


async def test_a_handler_may_read_the_servers_resources(joined: Joined, era: str):
    server = Server("s")

    @server.resource("x://{name}")
    def give(name: str, ctx: Context) -> str | None:
        return f"hello {name}" if ctx.envelope.client else None

    @server.tool
    async def look(ctx: Context) -> str:
        (contents,) = await ctx.read_resource("x://ada")
        return str(contents.text)

    @server.tool
    async def look_away(ctx: Context) -> str:
        await ctx.read_resource("y://")
        return "unreachable"

    async with joined(server, era) as client:
        assert (await client.call_tool("look")).text == "hello ada"
        with pytest.raises(RpcError, match="not found"):
            await client.call_tool("look_away")


@pytest.mark.parametrize(
    ("uri", "complaint"),
    [
        ("x://y", "function wants 'name', but 'x://y' has no variables"),
        ("x://{name}/{other}", "function has no parameter for 'other' of the template"),
        ("x://{other}{?name}", "function has no parameter for 'other'"),
        ("note", "function: 'note' is no URI"),
        ("x://ä b", "is no URI"),
        ("x://{name", "function: URI template 'x://{name', position 4"),
    ],
)
def test_a_uri_and_its_function_must_agree(uri: str, complaint: str):
    server = Server("s")

    def function(name: str) -> str:
        return name

    with pytest.raises(RegistrationError, match=complaint):
        server.resource(uri)(function)


def test_a_template_has_no_one_size():
    with pytest.raises(RegistrationError, match="many resources"):
        Server("s").resource("x://{a}", size=3)(str.upper)


def test_a_template_must_give_all_that_is_wanted():
    server = Server("s")
    with pytest.raises(RegistrationError, match="function wants 'b', which the template"):

        @server.resource("x://{a}")
        def function(a: str, b: str) -> str:
            return a + b


def test_a_uri_is_needed_and_taken_once():
    server = Server("s")

    def function() -> str:
        return ""

    with pytest.raises(RegistrationError, match="needs a URI"):
        server.resource(function)  # type: ignore[arg-type]  the mistake
    server.resource("x://y")(function)
    with pytest.raises(RegistrationError, match="There is a resource named 'x://y' already"):
        server.resource("x://y")(function)


@pytest.mark.parametrize(
    "uri", ["", "note", "//note", "://note", "no te://x", "x://a b", "x://ä", "x://a%2", "x://\n"]
)
def test_what_is_no_uri_is_refused_when_it_is_registered(uri: str):
    """Own schemes follow RFC 3986 (§ Resources, Common URI Schemes)."""
    with pytest.raises(RegistrationError, match="is no URI"):
        Server("s").resource(uri)(lambda: "")


@pytest.mark.parametrize("uri", ["x:y", "file:///a%20b", "urn:isbn:1", "http+unix://h/?q=[1]#f"])
def test_any_uri_is_one(uri: str):
    Server("s").resource(uri)(lambda: "")


def test_a_template_of_no_scheme_is_refused():
    def read(what: str) -> str:
        return what

    with pytest.raises(RegistrationError, match="have no scheme"):
        Server("s").resource("notes/{what}")(read)
    for fine in ("{+what}", "{what}://x", "x:{what}"):
        Server("s").resource(fine)(read)
