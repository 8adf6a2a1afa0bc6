"""The transport of 2024, asked in this process as an HTTP server would, and by our own client."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.official import complaint
from tests.peers import LEGACY, Desk, Latch, ask, echo, hello, reply, said, say, soon
from tests.transport.http.host import Asked, Host, HostEngine

from interlock import Client, Context, Server
from interlock.protocol.call import Call
from interlock.testing.wiretap import Wiretap
from interlock.transport.channel import HIGH_WATER, Channel
from interlock.transport.http import sse2024 as room
from interlock.transport.http.asgi import App
from interlock.transport.http.sse2024_client import open_sse
from interlock.wire.meta import Params, Result
from interlock.wire.versions import LATEST_LEGACY

HI = {"name": "echo", "arguments": {"text": "hi"}}


async def curious(call: Call) -> Result:
    return said(bytes(await call.outlet.ask("roots/list", Params())).decode())


@asynccontextmanager
async def serving(root_path: str = "", **tools: Any) -> AsyncGenerator[Host]:
    app = App(Desk(echo=echo, curious=curious, **tools), sse_path="/sse")
    yield Host(app, root_path)
    await app.stop()


class Stream:
    """A client's stream, and where it POSTs to."""

    def __init__(self, host: Host, asked: Asked, endpoint: str) -> None:
        self.host = host
        self.asked = asked
        self.endpoint = endpoint
        self.message = asked.message

    @classmethod
    async def open(cls, host: Host, path: str = "/sse") -> Stream:
        asked = await host.open("GET", headers={"accept": "text/event-stream"}, path=path).begun()
        assert (asked.status, asked.headers["content-type"]) == (200, "text/event-stream")
        event = await asked.event()
        assert event.name == "endpoint"
        return cls(host, asked, event.data.decode())

    async def post(self, body: bytes, **headers: str) -> int:
        asked = self.host.open("POST", body, headers, self.endpoint)
        await asked.whole()
        return asked.status

    async def leave(self) -> None:
        self.asked.leave()
        await soon(self.asked.task)


@pytest.mark.parametrize("version", LEGACY)
async def test_a_session_goes_through_one_stream_and_posts(version: str):
    async with serving() as host:
        stream = await Stream.open(host)
        tap = Wiretap(complaint, LATEST_LEGACY)

        async def tell(body: bytes) -> None:
            tap.hear("client", body)
            assert await stream.post(body) == 202

        async def hear() -> Any:
            event = await stream.asked.event()
            assert event.name == "message"
            assert event.id is None
            tap.hear("server", event.data)
            return json.loads(event.data)

        await tell(hello(version, capabilities={"roots": {}}))
        assert (await hear())["result"]["protocolVersion"] == version
        await tell(say("notifications/initialized"))
        await tell(ask("tools/call", 1, HI))
        assert (await hear())["result"]["content"][0]["text"] == '{"text": "hi"}'
        await tell(ask("tools/call", 2, {"name": "curious"}))
        question = await hear()
        await tell(reply(question["id"], {"roots": []}))
        assert (await hear())["id"] == 2
        await stream.leave()


async def test_the_endpoint_is_a_path_here_with_a_name_that_nobody_guesses():
    async with serving() as host:
        endpoints = {(await Stream.open(host)).endpoint for _ in range(20)}
        assert len(endpoints) == 20
        for endpoint in endpoints:
            assert re.fullmatch(r"/sse\?session_id=[0-9a-f]{48}", endpoint)


@pytest.mark.parametrize(
    ("root", "path", "endpoint"),
    [
        ("/api", "/api/sse", "/api/sse?"),
        ("/api", "/sse", "/api/sse?"),
        ("/with space", "/with space/sse", "/with%20space/sse?"),
        ("", "/sse/", "/sse/?"),
    ],
)
async def test_mounted_under_a_prefix_it_names_the_prefix(root: str, path: str, endpoint: str):
    async with serving(root) as host:
        stream = await Stream.open(host, path)
        assert stream.endpoint.startswith(endpoint)


async def test_our_own_client_speaks_it_with_questions_progress_and_changes():
    server = Server("s")

    @server.tool
    async def work(ctx: Context) -> str:
        await ctx.report_progress(1, 2)
        name = await ctx.elicit("Who?", {"type": "object", "properties": {}})
        server.tool(name="more")(more)
        return name.action

    async def more() -> str:
        return "more"

    app = App(server, sse_path="/sse")
    changed = asyncio.Event()
    heard: list[float] = []

    async def join() -> Channel:
        return await open_sse("http://127.0.0.1:4777/sse", HostEngine(app))

    async def on_elicit(params: Any) -> Any:
        return {}

    async with Client(
        join,
        revision="legacy",
        on_elicit=on_elicit,
        on_change=lambda kind: changed.set(),
        timeout=10,
    ) as client:
        result = await client.call_tool(
            "work", on_progress=lambda note: heard.append(note.progress)
        )
        assert result.text == "accept"
        assert heard == [1]
        await soon(changed.wait())
    await app.stop()


async def test_it_is_not_served_unless_it_was_asked_for():
    host = Host(App(Desk()))
    asked = host.open("GET", path="/sse")
    await asked.whole()
    assert asked.status == 404


async def test_a_newer_client_is_told_to_open_a_stream_and_finds_the_endpoint_beside_it():
    async with serving() as host:
        asked = host.open("POST", hello(), path="/sse")
        assert await asked.whole() == b""
        assert (asked.status, asked.headers["allow"]) == (405, "GET, POST, OPTIONS")
        assert await host.greet(hello())


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", {"accept": "application/json"}, 406),
        ("GET", {"host": "evil.example.com"}, 403),
        ("GET", {"origin": "https://evil.example.com"}, 403),
        ("PUT", {}, 405),
        ("DELETE", {}, 405),
    ],
)
async def test_what_must_not_go_on_is_refused(method: str, headers: dict[str, str], status: int):
    async with serving() as host:
        asked = host.open(method, headers=headers, path="/sse")
        await asked.json()
        assert asked.status == status


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{}", {"content-type": "text/plain"}, 415),
        (b"{}", {"origin": "https://evil.example.com"}, 403),
        (b"{}", {"content-length": "99999999999"}, 413),
        (b" " * 2000, {"content-length": ""}, 400),
    ],
)
async def test_a_message_that_must_not_go_on_is_refused(
    body: bytes, headers: dict[str, str], status: int
):
    async with serving() as host:
        stream = await Stream.open(host)
        asked = host.open("POST", body, headers, stream.endpoint)
        await asked.json()
        assert asked.status == status


async def test_a_message_over_the_limit_is_refused_though_it_did_not_say_so():
    host = Host(App(Desk(), sse_path="/sse", body_limit=1000))
    stream = await Stream.open(host)
    pieces = [b" " * 600, b" " * 600]
    asked = host.open("POST", pieces, {}, stream.endpoint)
    await asked.json()
    assert asked.status == 413
    cut = host.open("POST", [b" ", b""], {}, stream.endpoint)
    cut._incoming._queue.pop()  # type: ignore[attr-defined]
    cut.leave()
    await soon(cut.task)
    assert cut.status == 0
    await stream.leave()


async def test_what_is_no_message_is_answered_on_the_stream():
    async with serving() as host:
        stream = await Stream.open(host)
        assert await stream.post(b"nonsense") == 202
        assert (await stream.message())["error"]["code"] == -32700
        assert await stream.post(ask("ping")) == 202
        assert (await stream.message())["id"] == 1


async def test_a_stream_that_is_not_there_is_a_404():
    async with serving() as host:
        stream = await Stream.open(host)
        for name in ("", "x", "\u00e9", "0" * 48):
            asked = host.open("POST", ask("ping"), {}, f"/sse?session_id={name}")
            await asked.whole()
            assert asked.status == (404 if name else 405)
        await stream.leave()
        assert await stream.post(ask("ping")) == 404


async def test_a_client_that_leaves_ends_its_calls_and_its_session():
    latch = Latch()
    async with serving(latch=latch) as host:
        stream = await Stream.open(host)
        await stream.post(hello())
        await stream.message()
        await stream.post(ask("tools/call", 1, {"name": "latch"}))
        await soon(latch.reached.wait())
        await stream.leave()
        assert latch.cancelled.is_set()
        assert len(host.app.sse) == 0  # type: ignore[attr-defined]


async def test_a_connection_that_breaks_is_no_failure_of_ours():
    async with serving() as host:
        stream = await Stream.open(host)
        stream.asked.broken = True
        assert await stream.post(ask("ping")) == 202
        await soon(stream.asked.task)
        never = host.open("GET", path="/sse")
        never.broken = True
        await soon(never.task)
        assert len(host.app.sse) == 0  # type: ignore[attr-defined]


async def test_closing_ends_every_stream():
    latch = Latch()
    async with serving(latch=latch) as host:
        streams = [await Stream.open(host) for _ in range(3)]
        latch.go.set()
        await streams[0].post(hello())
        await streams[0].message()
        host.app.close()  # type: ignore[attr-defined]
        for stream in streams:
            assert await stream.asked.piece() == b""
            await soon(stream.asked.task)
        late = host.open("GET", path="/sse")
        await late.json()
        assert late.status == 503


async def test_a_request_that_its_host_cancels_is_ended_with_all_that_belongs_to_it():
    latch = Latch()
    async with serving(latch=latch) as host:
        stream = await Stream.open(host)
        await stream.post(hello())
        await stream.message()
        await stream.post(ask("tools/call", 1, {"name": "latch"}))
        await soon(latch.reached.wait())
        stream.asked.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stream.asked.task
        assert latch.cancelled.is_set()
        assert len(host.app.sse) == 0  # type: ignore[attr-defined]


async def test_a_silent_stream_says_that_it_lives():
    host = Host(App(Desk(), sse_path="/sse", keep_alive=0))
    stream = await Stream.open(host)
    for _ in range(3):
        assert (await stream.asked.piece()).startswith(b":")
    await stream.leave()


async def test_streams_are_bounded_in_number(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(room, "STREAMS", 2)
    async with serving() as host:
        streams = [await Stream.open(host) for _ in range(2)]
        more = host.open("GET", path="/sse")
        await more.json()
        assert more.status == 503
        await streams[0].leave()
        await Stream.open(host)


async def test_a_stream_that_opens_while_all_are_ended_ends_too():
    app = App(Desk(), sse_path="/sse")
    opening, ended = asyncio.Event(), asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        async def late(event: Any) -> None:
            opening.set()
            await ended.wait()
            await send(event)

        await app(scope, receive, late)

    asked = Host(slow).open("GET", path="/sse")
    await soon(opening.wait())
    app.close()
    ended.set()
    assert b"event: endpoint" in await asked.whole()
    await app.stop()


async def test_what_comes_faster_than_it_is_read_is_bounded():
    async with serving() as host:
        stream = await Stream.open(host)
        large = ask("ping") + b" " * (HIGH_WATER // 2)
        flood = [host.open("POST", large, {}, stream.endpoint) for _ in range(8)]
        for asked in flood:
            await asked.whole()
        statuses = [asked.status for asked in flood]
        assert statuses[:2] == [202, 202]
        assert 429 in statuses
        for _ in range(statuses.count(202)):
            assert (await stream.message())["id"] == 1


async def test_a_page_of_an_allowed_origin_may_use_it():
    async with serving() as host:
        origin = {"origin": "http://localhost:6274"}
        asked = host.open("OPTIONS", b"", origin, "/sse")
        await asked.whole()
        assert asked.status == 204
        assert asked.headers["access-control-allow-methods"] == "GET, POST"
        stream = await host.open("GET", b"", origin, "/sse").begun()
        assert stream.headers["access-control-allow-origin"] == origin["origin"]
        stream.leave()
        await soon(stream.task)
