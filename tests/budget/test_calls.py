"""How many function calls a request costs: exact where time is noisy, and a good measure of it.

Whoever exceeds a budget finds the callers by printing `pstats.Stats(profile).print_callers()`.
"""

from __future__ import annotations

import asyncio
import cProfile
import gc
import json
import pstats
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import pytest
from msgspec import Raw
from tests.peers import MODERN, Json, hello, modern

from interlock import Client, Server
from interlock.auth.settings import AuthSettings
from interlock.auth.verifiers import StaticVerifier
from interlock.protocol.call import Call
from interlock.protocol.dispatch import Dispatch
from interlock.protocol.exchange import Exchange
from interlock.protocol.gate import AccessToken
from interlock.protocol.outgoing import Outgoing
from interlock.protocol.session import Envelope, Session
from interlock.transport.http.asgi import App
from interlock.transport.http.client import HttpLink
from interlock.transport.http.engine import Request, Response
from interlock.wire.jsonrpc import success
from interlock.wire.methods import BY_NAME, TO_SERVER
from interlock.wire.tools import CallToolParams
from interlock.wire.versions import LATEST_MODERN

SERVER_CALLS = 32
HTTP_CALLS = 120
GATE_CALLS = 10
"""What asking who comes adds, once their token was found good."""
CLIENT_CALLS = 113
"""A whole round in one process: the client, the loop, and the server."""
LINK_CALLS = 51
"""A call over HTTP, but for the library that carries it."""

CALL = modern("tools/call", 1, {"name": "echo", "arguments": {"text": "hi"}})
LIST = modern("tools/list")


def a_server(tools: int = 1, **options: Any) -> Server:
    server = Server("budget", version="1", **options)

    @server.tool
    async def echo(text: str) -> str:
        return text

    for number in range(1, tools):

        async def more(text: str) -> str:
            return text

        server.tool(name=f"tool{number}")(more)
    return server


async def count(once: Callable[[], Awaitable[Any]]) -> int:
    """Function calls of *once*, when all that is done only the first time has been done."""
    await once()
    await once()
    profile = cProfile.Profile()
    gc.disable()  # A collection in between would call what others registered with it.
    try:
        profile.enable()
        await once()
        profile.disable()
    finally:
        gc.enable()
    return pstats.Stats(profile).total_calls  # type: ignore[attr-defined]  not in typeshed


def bytes_to_bytes(server: Server, message: bytes) -> Callable[[], Awaitable[bytes]]:
    """From the bytes of a request to those of its answer, without I/O."""
    exchange: Exchange[Any] = Exchange(TO_SERVER, Session())
    dispatch = Dispatch(server)

    async def once() -> bytes:
        call = exchange.receive(message)
        assert isinstance(call, Call)
        body, _ = await dispatch.respond(call)
        return bytes(body)

    return once


def over_http(
    app: App, message: bytes, method: str, name: str | None, *more: tuple[bytes, bytes]
) -> Callable[[], Awaitable[Json]]:
    """One POST through the ASGI app, as a server library hands it over."""
    headers = [
        (b"host", b"127.0.0.1:8000"),
        (b"accept", b"application/json, text/event-stream"),
        (b"accept-encoding", b"gzip, deflate"),
        (b"content-type", b"application/json"),
        (b"content-length", str(len(message)).encode()),
        (b"user-agent", b"budget"),
        (b"mcp-protocol-version", MODERN.encode()),
        (b"mcp-method", method.encode()),
        *more,
    ]
    if name is not None:
        headers.append((b"mcp-name", name.encode()))
    scope: Json = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/mcp",
        "raw_path": b"/mcp",
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8000),
    }

    async def once() -> Json:
        inbox: list[Json] = [{"type": "http.request", "body": message, "more_body": False}]
        sent: list[Json] = []

        async def receive() -> Any:
            if inbox:
                return inbox.pop()
            return await asyncio.Event().wait()

        async def send(event: Any) -> None:
            sent.append(event)

        await app(scope, receive, send)
        assert sent[0]["status"] == 200
        return json.loads(b"".join(event.get("body", b"") for event in sent))

    return once


@pytest.fixture
async def app() -> AsyncIterator[App]:
    app = App(a_server(500))
    await app.start()
    yield app
    await app.stop()


async def test_a_call_from_bytes_to_bytes():
    once = bytes_to_bytes(a_server(), CALL)
    assert json.loads(await once())["result"]["content"][0]["text"] == "hi"
    assert await count(once) <= SERVER_CALLS


async def test_a_legacy_call_from_bytes_to_bytes():
    session = Session()
    exchange: Exchange[Any] = Exchange(TO_SERVER, session)
    dispatch = Dispatch(a_server())
    opening = exchange.receive(hello())
    assert isinstance(opening, Call)
    await dispatch.respond(opening)
    message = json.loads(CALL)
    del message["params"]["_meta"]
    data = json.dumps(message).encode()

    async def once() -> None:
        call = exchange.receive(data)
        assert isinstance(call, Call)
        await dispatch.respond(call)

    assert await count(once) <= SERVER_CALLS


@pytest.mark.parametrize("message", [CALL, LIST], ids=["call", "list"])
async def test_five_hundred_tools_cost_what_one_does(message: bytes):
    few = await count(bytes_to_bytes(a_server(1), message))
    many = await count(bytes_to_bytes(a_server(500), message))
    assert many == few
    assert many <= SERVER_CALLS


async def test_a_modern_call_through_the_asgi_app(app: App):
    once = over_http(app, CALL, "tools/call", "echo")
    assert (await once())["result"]["content"][0]["text"] == "hi"
    assert await count(once) <= HTTP_CALLS


async def test_a_list_through_the_asgi_app(app: App):
    once = over_http(app, LIST, "tools/list", None)
    assert len((await once())["result"]["tools"]) == 500
    assert await count(once) <= HTTP_CALLS


async def test_a_token_that_is_remembered_costs_next_to_nothing(app: App):
    auth = AuthSettings(
        issuer_url="https://login.example.com", resource_server_url="https://api.example.com/mcp"
    )
    known = StaticVerifier({"good": AccessToken("good", "budget", ["read"])})
    guarded = App(a_server(500, auth=auth, token_verifier=known))
    await guarded.start()
    bearer = (b"authorization", b"Bearer good")
    for message, method, name in [(CALL, "tools/call", "echo"), (LIST, "tools/list", None)]:
        open_to_all = await count(over_http(app, message, method, name))
        asked = await count(over_http(guarded, message, method, name, bearer))
        assert asked <= open_to_all + GATE_CALLS
        assert asked <= HTTP_CALLS
    await guarded.stop()


async def test_a_whole_round_of_a_client_in_this_process():
    async with Client(a_server()) as client:

        async def once() -> str:
            return (await client.call_tool("echo", {"text": "hi"})).text

        assert await once() == "hi"
        assert await count(once) <= CLIENT_CALLS


class Answer:
    """A response that was read from nowhere."""

    status = 200
    headers: Mapping[str, str] = {"content-type": "application/json"}

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def read(self, limit: int) -> bytes:
        return self._body

    async def pieces(self) -> AsyncIterator[bytes]:
        yield self._body

    def close(self) -> None:
        pass


class Carrier:
    """An engine whose server answers at once."""

    def __init__(self) -> None:
        self.sent = 0

    async def send(self, request: Request) -> Response:
        self.sent += 1
        return Answer(success(self.sent, b'{"resultType":"complete","content":[]}'))

    async def close(self) -> None:
        pass


async def test_a_call_over_http_as_far_as_it_is_ours():
    """What the library beneath takes is its own."""
    link = HttpLink("http://127.0.0.1/mcp", Carrier(), Dispatch(a_server()))
    envelope = Envelope(LATEST_MODERN)
    link.settle(Outgoing(envelope))
    params = CallToolParams(name="echo", arguments=Raw(b'{"text":"hi"}'))

    async def once() -> None:
        call = Call(BY_NAME["tools/call"], params, envelope, patience=60.0)
        result = await link.handle(call)
        assert bytes(result.body).endswith(b"[]}")

    assert await count(once) <= LINK_CALLS
    await link.close()
