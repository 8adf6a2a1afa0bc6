"""Our server under fire over HTTP: each message a POST of its own, to an endpoint in this process or
behind a real HTTP server on the loopback interface.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol

import aiohttp
import uvicorn
from tests.fuzz.corpus import CAPABLE, Corpus
from tests.fuzz.kitchen import kitchen
from tests.fuzz.talking import MARK_EVERY, PATIENCE, marker
from tests.fuzz.watching import Watch, Weight, Wrong, nothing_left, watching
from tests.peers import MODERN, hello, say
from tests.transport.http.host import BOTH, Asked, Host

from interlock.testing.listening import Endpoint
from interlock.transport.http.asgi import App
from interlock.transport.http.sessions import Sessions
from interlock.wire.headers import encode_value

OPEN: Final = 24
"""Requests that may be open at once; beyond it their client leaves the oldest."""
BODY_LIMIT: Final = 256 * 1024


class Endpointed(Protocol):
    """Where messages are POSTed to."""

    async def post(self, body: bytes, headers: dict[str, str]) -> None:
        """Send one message; it may stay open."""
        ...

    async def whole(
        self, body: bytes, headers: dict[str, str]
    ) -> tuple[int, dict[str, str], bytes]:
        """Send one message and read its response to the end."""
        ...


async def over_http(corpus: Corpus, count: int, *, real: bool) -> str:
    """POST *count* messages to an endpoint, in this process or over the loopback interface."""
    where = f"server, {'HTTP' if real else 'ASGI'}, {corpus.revision}"
    with watching(where) as watch:
        server = kitchen()
        app = App(server, body_limit=BODY_LIMIT, sessions=Sessions(limit=20), sse_path="/sse")
        weight = Weight()
        async with (_over_loopback if real else _in_process)(app, watch) as endpoint:
            posts = _Posts(endpoint, corpus)
            await posts.begin()
            for number in range(1, count + 1):
                await posts.send(corpus.to_server())
                if number % MARK_EVERY == 0:
                    await posts.settle()
                if number % (8 * MARK_EVERY) == 0:
                    await posts.begin()
                if number >= count // 5:
                    weight.warm()
            await posts.settle()
            grown = weight.judge(where)
        if app.attended or len(app.sessions) or len(server.subscriptions):
            watch.wrong.append(
                f"{len(app.attended)} calls, {len(app.sessions)} sessions and "
                f"{len(server.subscriptions)} subscriptions are left"
            )
        await nothing_left(where)
    return f"{where}: {count} sent, {grown // 1024} KiB grown"


class _Posts:
    """A client's way of sending: headers that fit, mostly, and a session in the legacy era."""

    def __init__(self, endpoint: Endpointed, corpus: Corpus) -> None:
        self._endpoint = endpoint
        self._corpus = corpus
        self._session: str | None = None
        self._marks = 0

    async def begin(self) -> None:
        if self._corpus.revision == MODERN:
            return
        if self._session is not None:
            await self._endpoint.whole(b"", {":method": "DELETE", "mcp-session-id": self._session})
        body = hello(self._corpus.revision, capabilities=CAPABLE)
        _, headers, _ = await self._endpoint.whole(body, {})
        self._session = headers["mcp-session-id"]
        body = say("notifications/initialized")
        await self._endpoint.whole(body, {"mcp-session-id": self._session})

    async def send(self, data: bytes) -> None:
        chance = self._corpus.chance
        headers = self._headers(data)
        if chance.random() < 0.05:
            name = chance.choice((*headers, "accept", "content-type", "origin", "last-event-id"))
            headers[name] = chance.choice(("", "x", "2025-06-18", "*/*", "null", "=?base64?x?="))
        if chance.random() < 0.01:
            headers[":method"] = chance.choice(("GET", "DELETE", "OPTIONS", "PUT", "HEAD"))
            if headers[":method"] == "DELETE":
                headers.pop("mcp-session-id", None)
        if self._session is not None and chance.random() < 0.05:
            question = {"id": f"s{chance.randrange(60)}", "method": "elicitation/create"}
            data = self._corpus.answer(question)
        await self._endpoint.post(data, headers)

    async def settle(self) -> None:
        self._marks += 1
        data = marker(self._corpus.revision, f"mark-{self._marks}")
        status, _, body = await self._endpoint.whole(data, self._headers(data))
        if status != 200 or "result" not in json.loads(body):
            raise Wrong(f"a marker was answered with {status} {body[:500]!r}")

    def _headers(self, data: bytes) -> dict[str, str]:
        if self._session is not None:
            return {"mcp-session-id": self._session}
        headers = {"mcp-protocol-version": MODERN, "mcp-method": "tools/call"}
        with contextlib.suppress(ValueError, RecursionError, AttributeError, TypeError, KeyError):
            said = json.loads(data)
            headers["mcp-method"] = encode_value(said["method"])
            params = said["params"]
            for name in ("name", "uri", "taskId"):
                if name in params:
                    headers["mcp-name"] = encode_value(params[name])
            headers["mcp-param-where"] = encode_value(params["arguments"]["where"])
        return headers


class _InProcess:
    """An endpoint that is called as an HTTP server would call it."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._open: deque[Asked] = deque()
        self._left: list[asyncio.Task[None]] = []

    async def post(self, body: bytes, headers: dict[str, str]) -> None:
        asked = self._begin(body, headers)
        self._open.append(asked)
        for _ in range(3):
            await asyncio.sleep(0)
        while self._open and self._open[0].task.done():
            self._open.popleft().task.result()
        if len(self._open) > OPEN:
            self._leave(self._open.popleft())

    async def whole(
        self, body: bytes, headers: dict[str, str]
    ) -> tuple[int, dict[str, str], bytes]:
        asked = self._begin(body, headers)
        content = await asked.whole()
        return asked.status, asked.headers, content

    def close(self) -> None:
        while self._open:
            self._leave(self._open.popleft())

    async def ended(self) -> None:
        """Wait for what was left: a legacy call only ends with its session."""
        async with asyncio.timeout(PATIENCE):
            for task in self._left:
                await task

    def _begin(self, body: bytes, headers: dict[str, str]) -> Asked:
        method = headers.get(":method", "POST")
        rest = {name: value for name, value in headers.items() if name != ":method"}
        return self._host.open(method, body, {"host": "127.0.0.1:80", **rest})

    def _leave(self, asked: Asked) -> None:
        asked.leave()
        self._left = [task for task in (*self._left, asked.task) if not task.done()]


@asynccontextmanager
async def _in_process(app: App, watch: Watch) -> AsyncGenerator[Endpointed]:
    endpoint = Endpoint(lambda: watch.ear("server"))

    async def tapped(scope: Any, receive: Any, send: Any) -> None:
        await endpoint.serve(app, scope, receive, send)

    inside = _InProcess(Host(tapped))
    await app.start()
    try:
        yield inside
        inside.close()
    finally:
        await app.stop()
    await inside.ended()


class _OverLoopback:
    """An endpoint behind a real HTTP server, asked by a real HTTP client."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url
        self._open: deque[asyncio.Task[object]] = deque()

    async def post(self, body: bytes, headers: dict[str, str]) -> None:
        self._open.append(asyncio.create_task(self._quietly(body, headers)))
        await asyncio.sleep(0)
        if len(self._open) > OPEN:
            oldest = self._open.popleft()
            await asyncio.wait([oldest], timeout=0.02)
            oldest.cancel()
            await asyncio.wait([oldest])
            if not oldest.cancelled():
                oldest.result()

    async def whole(
        self, body: bytes, headers: dict[str, str]
    ) -> tuple[int, dict[str, str], bytes]:
        method = headers.get(":method", "POST")
        rest = {name: value for name, value in headers.items() if name != ":method"}
        sent = {"accept": BOTH, "content-type": "application/json", **rest}
        async with asyncio.timeout(PATIENCE):
            async with self._session.request(method, self._url, data=body, headers=sent) as answer:
                content = await answer.read()
                found = {name.lower(): value for name, value in answer.headers.items()}
                return answer.status, found, content

    async def close(self) -> None:
        for task in self._open:
            task.cancel()
        if self._open:
            await asyncio.wait(self._open)

    async def _quietly(self, body: bytes, headers: dict[str, str]) -> object:
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            return await self.whole(body, headers)


@asynccontextmanager
async def _over_loopback(app: App, watch: Watch) -> AsyncGenerator[Endpointed]:
    endpoint = Endpoint(lambda: watch.ear("server"))

    async def tapped(scope: Any, receive: Any, send: Any) -> None:
        await endpoint.serve(app, scope, receive, send)

    await app.start()
    try:
        async with served(tapped) as url, aiohttp.ClientSession() as session:
            outside = _OverLoopback(session, url)
            yield outside
            await outside.close()
            app.close()
    finally:
        await app.stop()


@asynccontextmanager
async def served(app: Callable[..., Any]) -> AsyncGenerator[str]:
    """The URL of an ASGI application behind uvicorn, on the loopback interface."""
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=0,
        log_config=None,
        lifespan="off",
        timeout_graceful_shutdown=1,
        ws="websockets-sansio",
    )
    server = uvicorn.Server(config)
    server.config.load()
    serving = asyncio.create_task(server.serve())
    try:
        while not server.started:  # noqa: ASYNC110  it has no event
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        server.should_exit = True
        await asyncio.wait([serving])
    serving.result()
