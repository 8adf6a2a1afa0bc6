"""Arguments mirrored in headers, on the server (2026-07-28 § Streamable HTTP, Custom headers)."""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator, Awaitable
from typing import Annotated, Any

import msgspec
import pytest
from tests.joined import Joined
from tests.peers import Json, ask, hello, modern
from tests.transport.http.host import Host

from interlock import Server
from interlock.errors import HEADER_MISMATCH, RegistrationError
from interlock.protocol.call import Call, Handler
from interlock.server.shape import Header
from interlock.transport.http.asgi import App
from interlock.wire.meta import Result

RAN: list[str] = []


@pytest.fixture
def server() -> Server:
    RAN.clear()
    server = Server("s")

    @server.tool
    async def query(
        text: str, region: Annotated[str, Header("Region")] = "", limit: Annotated[int, Header("Limit")] = 0
    ) -> str:  # fmt: skip
        RAN.append(region)
        return f"{text} in {region}, {limit}"

    return server


@pytest.fixture
async def host(server: Server) -> AsyncIterator[Host]:
    app = App(server)
    await app.start()
    yield Host(app)
    await app.stop()


def a_call(**arguments: Any) -> bytes:
    return modern("tools/call", 7, {"name": "query", "arguments": {"text": "x", **arguments}})


async def said(host: Host, body: bytes, **headers: str) -> tuple[int, Json]:
    asked = host.modern(body, **headers)
    answer = await asked.json()
    return asked.status, answer


async def test_a_call_whose_headers_say_what_its_arguments_say_is_run(host: Host):
    status, answer = await said(
        host, a_call(region="Zürich", limit=5), mcp_param_region="=?base64?WsO8cmljaA==?=",
        mcp_param_limit="5.0",
    )  # fmt: skip
    assert status == 200
    assert answer["result"]["content"][0]["text"] == "x in Zürich, 5"


async def test_absent_and_null_arguments_expect_no_header(host: Host):
    status, _ = await said(host, a_call())
    assert status == 200
    status, answer = await said(host, a_call(region=None))
    assert status == 200
    assert answer["result"]["isError"], "null is no region, and the function says so"


@pytest.mark.parametrize(
    ("region", "header", "why"),
    [
        ("eu", None, "Mcp-Param-Region is missing"),
        ("eu", "us", "says 'us', the argument region 'eu'"),
        ("eu", "=?base64?ZXU?=", "strict Base64"),
        (None, "eu", "is absent"),
    ],
)
async def test_a_call_whose_headers_say_something_else_is_refused_before_it_runs(
    host: Host, region: str | None, header: str | None, why: str
):
    arguments = {} if region is None else {"region": region}
    headers = {} if header is None else {"mcp_param_region": header}
    status, answer = await said(host, a_call(**arguments), **headers)
    assert status == 400
    assert answer["id"] == 7
    assert answer["error"]["code"] == HEADER_MISMATCH
    assert why in answer["error"]["message"]
    assert not RAN


async def test_a_legacy_client_mirrors_nothing(host: Host):
    session = await host.greet(hello())
    params = {"name": "query", "arguments": {"text": "x", "region": "eu"}}
    asked = host.legacy(session, ask("tools/call", 2, params))
    assert (await asked.json())["result"]["content"][0]["text"] == "x in eu, 0"


async def test_a_pipe_has_no_headers_to_mirror_in(joined: Joined, server: Server, era: str):
    async with joined(server, era) as client:
        result = await client.call_tool("query", {"text": "x", "region": "eu"})
    assert result.text == "x in eu, 0"


async def test_what_a_middleware_makes_of_arguments_is_not_held_against_the_headers():
    def capital(handler: Handler) -> Handler:
        def handle(call: Call) -> Awaitable[Result]:
            if call.method != "tools/call":
                return handler(call)
            return handler(call.with_members(arguments=msgspec.Raw(b'{"region":"EU"}')))

        return handle

    server = Server("s", middleware=[capital])

    @server.tool
    async def query(region: Annotated[str, Header("Region")]) -> str:
        return region

    app = App(server)
    await app.start()
    body = modern("tools/call", 1, {"name": "query", "arguments": {"region": "eu"}})
    status, answer = await said(Host(app), body, mcp_param_region="eu")
    assert status == 200
    assert answer["result"]["content"][0]["text"] == "EU"
    await app.stop()


def test_header_puts_the_annotation_into_the_schema(server: Server):
    tool = server.tools.shelf.get("query")
    assert tool is not None
    assert tool.listed.input_schema["properties"]["region"] == {
        "type": "string",
        "default": "",
        "x-mcp-header": "Region",
    }


@pytest.mark.parametrize(
    ("annotation", "why"),
    [
        (Annotated[str, Header("")], "is empty"),
        (Annotated[str, Header("My Region")], "no header's name"),
        (Annotated[float, Header("Region")], "needs the type string, integer or boolean"),
        (Annotated[str | None, Header("Region")], "needs the type"),
        (Annotated[list[str], Header("Region")], "needs the type"),
        (list[Annotated[str, Header("Region")]], "no chain of `properties`"),
    ],
)
def test_what_no_client_could_mirror_is_refused_when_it_is_registered(annotation: Any, why: str):
    def query(region: str) -> str:
        return region

    query.__annotations__["region"] = annotation
    with pytest.raises(RegistrationError, match="query: .*" + why):
        Server("s").tool(query)


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("password", "P"),
        ("apiKey", "K"),
        ("x", "Api-Key"),
        ("access_token", "T"),
        ("x", "Session-Cookie"),
    ],
)
def test_what_looks_like_a_secret_is_warned_of(name: str, header: str):
    schema = {"type": "object", "properties": {name: {"type": "string", "x-mcp-header": header}}}
    with pytest.warns(UserWarning, match="looks like a secret") as caught:

        @Server("s").tool(input_schema=schema)
        async def query() -> str:  # pyright: ignore[reportUnusedFunction]
            return ""

    assert caught[0].filename == __file__


@pytest.mark.parametrize("name", ["max_tokens", "region", "keyboard", "secretary", "tokenizer"])
def test_what_only_sounds_like_one_is_not(name: str):
    schema = {"type": "object", "properties": {name: {"type": "string", "x-mcp-header": "A"}}}
    with warnings.catch_warnings():
        warnings.simplefilter("error")

        @Server("s").tool(input_schema=schema)
        async def query() -> str:  # pyright: ignore[reportUnusedFunction]
            return ""
