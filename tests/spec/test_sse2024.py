"""§5.1 HTTP+SSE, the transport of 2024-11-05."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest
from tests.peers import LATEST, MODERN, Json, ask, hello, say
from tests.spec.kitchen import Kitchen
from tests.spec.marking import HTTP, requirement
from tests.spec.scripts import SAID, Asked, Script, greeting, meet
from tests.spec.ways import Way
from tests.transport.http.host import Host

from interlock.transport.http.asgi import App

A = "2024-11-05"
CALL: Json = {"name": "echo", "arguments": {"text": "hi"}}


@asynccontextmanager
async def serving() -> AsyncGenerator[Host]:
    app = App(Kitchen(), sse_path="/sse")
    yield Host(app)
    await app.stop()


@requirement("SS-01", "SS-02")
async def test_a_stream_names_where_to_post_and_carries_everything_else():
    """HTTP+SSE has a stream, whose first event names where to POST, and that place.
    Everything a server sends over HTTP+SSE is a `message` event; a POST is answered with 202.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2024-11-05/basic/transports.mdx
    """
    async with serving() as host:
        accept = {"accept": "text/event-stream"}
        stream = await host.open("GET", headers=accept, path="/sse").begun()
        assert stream.headers["content-type"] == "text/event-stream"
        first = await stream.event()
        assert first.name == "endpoint"
        endpoint = urlsplit(first.data.decode())
        assert endpoint.netloc in ("", "127.0.0.1:4777")

        async def post(body: bytes) -> None:
            asked = host.open("POST", body, path=first.data.decode())
            assert await asked.whole() == b""
            assert asked.status == 202

        async def heard() -> Json:
            event = await stream.event()
            assert event.name == "message"
            return json.loads(event.data)

        await post(hello(A))
        assert (await heard())["result"]["protocolVersion"] == A
        await post(say("notifications/initialized"))
        await post(ask("tools/call", 1, CALL))
        assert (await heard())["result"]["content"][0]["text"] == "hi"
        steps = {"name": "steps", "_meta": {"progressToken": "t"}}
        await post(ask("tools/call", 2, steps))
        told = [await heard() for _ in range(4)]
        assert [said.get("method") for said in told] == ["notifications/progress"] * 3 + [None]
        stream.leave()


@requirement("SS-03")
async def test_it_is_served_beside_the_newer_transport():
    """It is served beside the newer transport.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/streamable-http.mdx
    """
    async with serving() as host:
        stream = await host.open(
            "GET", headers={"accept": "text/event-stream"}, path="/sse"
        ).begun()
        assert (await stream.event()).name == "endpoint"
        assert await host.greet(hello(LATEST))
        stream.leave()


class Old(Script):
    """A server that has nothing but HTTP+SSE; *status* is what it answers newer requests with."""

    def __init__(self, status: int, endpoint: str = "/mcp?session=1") -> None:
        super().__init__(A)
        self.status = status
        self.endpoint = endpoint
        self.stream: Asked | None = None
        self.answers = {"GET": self._get, **dict.fromkeys(("server/discover",), self._post)}
        self.answers |= dict.fromkeys(("initialize", "tools/call", "tools/list"), self._post)

    async def _get(self, asked: Asked) -> None:
        self.stream = asked
        await asked.http.stream(b"event: endpoint\ndata: " + self.endpoint.encode() + b"\n\n")
        await asyncio.Event().wait()

    async def _post(self, asked: Asked) -> None:
        if not urlsplit(asked.heard.target).query:
            await asked.http.whole(self.status)
            return
        await asked.http.whole(202)
        assert self.stream is not None
        results: Json = {"initialize": greeting(A), "tools/call": SAID}
        body = {"jsonrpc": "2.0", "id": asked.id, "result": results[asked.heard.method]}
        event = b"event: message\ndata: " + json.dumps(body).encode() + b"\n\n"
        await self.stream.http.stream(event)


@requirement("SS-04", "DC-04", "SS-01", revisions=[LATEST], over=[HTTP])
@pytest.mark.parametrize("status", [400, 404, 405])
async def test_a_client_that_is_refused_finds_a_server_of_2024(way: Way, status: int):
    """A client whose first POST fails with 400, 404 or 405 tries HTTP+SSE.
    Over HTTP a 400 is read before it is taken for a legacy server; 400, 404 or 405 to
    `initialize` leads to HTTP+SSE.
    HTTP+SSE has a stream, whose first event names where to POST, and that place.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-11-25/basic/transports.mdx
    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/streamable-http.mdx
    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2024-11-05/basic/transports.mdx
    """
    script = Old(status)
    async with meet(way, script, revision="auto") as client:
        assert client.revision == A
        assert (await client.call_tool("tool", {"a": 1})).text == "said"
    (call,) = script.of("tools/call")
    assert call.target == "/mcp?session=1"
    assert not [key for key in call.meta if key.startswith("io.modelcontextprotocol/")]
    assert "mcp-session-id" not in call.headers


@requirement("SS-01", revisions=[LATEST], over=[HTTP])
async def test_a_client_posts_nowhere_but_to_the_server_it_opened(way: Way):
    """HTTP+SSE has a stream, whose first event names where to POST, and that place.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2024-11-05/basic/transports.mdx
    """
    script = Old(405, "http://evil.example.com/mcp?session=1")
    with pytest.raises(Exception, match="evil"):
        async with meet(way, script, revision="auto"):
            pass
    assert MODERN not in json.dumps([heard.message for heard in script.of("initialize")])
