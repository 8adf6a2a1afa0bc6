"""Servers by script, for what is required of our client: method by method what they answer, and
everything that the client sent them. Over a channel, or over HTTP on a real socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

from msgspec import Struct
from tests.peers import MODERN, Json, soon
from tests.spec.marking import STDIO
from tests.spec.ways import Way

from interlock import Client
from interlock.transport.channel import Channel
from interlock.transport.memory import MemoryChannel, pair

INFO = {"name": "script", "version": "1"}
ME = {"io.modelcontextprotocol/serverInfo": INFO}


class Refusal(Struct, frozen=True):
    """An error to answer with; *status* is that of HTTP."""

    code: int
    message: str = "no"
    data: Any = None
    status: int = 200


class Heard(Struct):
    """One message of the client, and what HTTP said of it; a GET or DELETE has no message."""

    message: Json
    headers: Mapping[str, str] = {}
    verb: str = "POST"
    target: str = ""
    """The path that was asked for, and its query."""

    @property
    def method(self) -> str:
        return self.message.get("method", "")

    @property
    def params(self) -> Json:
        return self.message.get("params", {})

    @property
    def meta(self) -> Json:
        return self.params.get("_meta", {})

    @property
    def id(self) -> Any:
        return self.message.get("id")


class Asked:
    """One request of the client, to be answered in whatever way."""

    def __init__(
        self, heard: Heard, revision: str, write: Write, response: Response | None = None
    ) -> None:
        self.heard = heard
        self.id = heard.id
        self.params = heard.params
        self.meta = heard.meta
        self.headers: dict[str, str] = {}
        """Of the response, over HTTP. What comes first decides between JSON and a stream, unless
        the content type is set here."""
        self._revision = revision
        self._write = write
        self._response = response

    @property
    def http(self) -> Response:
        """The response as HTTP has it, for what no JSON-RPC message says."""
        assert self._response is not None, "this way has no HTTP"
        return self._response

    async def say(self, method: str, params: Json | None = None) -> None:
        """Send a notification on the way to the answer."""
        await self.send({"method": method, "params": {} if params is None else params})

    async def ask(self, id: Any, method: str, params: Json | None = None) -> None:
        """Send a request of the server's own."""
        await self.send({"id": id, "method": method, "params": {} if params is None else params})

    async def result(self, result: Json) -> None:
        """Answer; the modern members that a test does not care about are added."""
        if self._revision == MODERN:
            result = {"resultType": "complete", "_meta": ME, **result}
        await self.send({"id": self.id, "result": result})

    async def refuse(self, refusal: Refusal) -> None:
        error: Json = {"code": refusal.code, "message": refusal.message}
        if refusal.data is not None:
            error["data"] = refusal.data
        body = {"jsonrpc": "2.0", "id": self.id, "error": error}
        await self._write(json.dumps(body).encode(), refusal.status)

    async def send(self, body: Json) -> None:
        await self.raw(json.dumps({"jsonrpc": "2.0", **body}).encode())

    async def raw(self, data: bytes) -> None:
        await self._write(data, 200)


Write: TypeAlias = Callable[[bytes, int], Awaitable[None]]
"""Sends a message; the status is that of HTTP."""
Answer: TypeAlias = Json | Refusal | Callable[[Asked], Awaitable[None]]
"""A result, an error, or what to do instead."""


def greeting(revision: str, capabilities: Json | None = None) -> Json:
    return {
        "protocolVersion": revision,
        "capabilities": {"tools": {}} if capabilities is None else capabilities,
        "serverInfo": INFO,
    }


def discovery(*versions: str, capabilities: Json | None = None) -> Json:
    return {
        "supportedVersions": list(versions or [MODERN]),
        "capabilities": {"tools": {}} if capabilities is None else capabilities,
        "resultType": "complete",
        "ttlMs": 0,
        "cacheScope": "private",
        "_meta": ME,
    }


SAID: Json = {"content": [{"type": "text", "text": "said"}]}
LISTED: Json = {"name": "tool", "inputSchema": {"type": "object"}}


class Script:
    """What a server of *revision* answers; a method that is not in *answers* is not found.

    `heard` is what the client sent, in order.
    """

    def __init__(
        self,
        revision: str,
        answers: Mapping[str, Answer] | None = None,
        *,
        capabilities: Json | None = None,
    ) -> None:
        self.revision = revision
        self.answers: dict[str, Answer] = {"tools/call": SAID, "tools/list": {"tools": [LISTED]}}
        if revision == MODERN:
            self.answers["server/discover"] = discovery(capabilities=capabilities)
            self.answers["tools/list"] = {"tools": [LISTED], "ttlMs": 0, "cacheScope": "private"}
        else:
            self.answers["initialize"] = greeting(revision, capabilities)
            self.answers["ping"] = {}
        self.answers |= answers or {}
        self.heard: list[Heard] = []
        self.opened = 0
        """How often a channel was opened, or a request came over HTTP."""
        self.left = asyncio.Event()
        """Set when the client closed a stream before its answer, over HTTP."""
        self.session = "session-1"
        self._more = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._failures: list[BaseException] = []
        self.channel: MemoryChannel | None = None

    # What the client said.

    async def hears(self, wanted: str | Callable[[Heard], bool]) -> Heard:
        """The first message of this method, or that is wanted; waits for it."""
        index = 0
        while True:
            while index >= len(self.heard):
                self._more.clear()
                await soon(self._more.wait())
            heard = self.heard[index]
            if heard.method == wanted if isinstance(wanted, str) else wanted(heard):
                return heard
            index += 1

    async def hears_answer(self, id: Any) -> Json:
        """The client's answer to a question of ours; waits for it."""
        return (await self.hears(lambda heard: not heard.method and heard.id == id)).message

    def of(self, method: str) -> list[Heard]:
        return [heard for heard in self.heard if heard.method == method]

    @property
    def methods(self) -> list[str]:
        return [heard.method for heard in self.heard if heard.method]

    def _hear(self, heard: Heard) -> None:
        self.heard.append(heard)
        self._more.set()

    async def _answer(self, asked: Asked) -> None:
        method = asked.heard.method
        answer = self.answers.get(method, Refusal(-32601, f"no {method}"))
        if isinstance(answer, Refusal):
            await asked.refuse(answer)
        elif callable(answer):
            await answer(asked)
        else:
            await asked.result(answer)

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failures.append(error)

    async def stop(self) -> None:
        """End what still runs; raises what went wrong in a function of *answers*."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for failure in self._failures:
            raise failure

    # Over a channel.

    async def open(self) -> Channel:
        """A channel with this server at its other end."""
        self.opened += 1
        ours, theirs = pair()
        self.channel = theirs
        self._begin(self._serve(theirs))
        return ours

    async def _serve(self, channel: MemoryChannel) -> None:
        async def write(data: bytes, status: int) -> None:
            channel.send(data)

        answering: dict[Any, asyncio.Task[None]] = {}
        while batch := await channel.receive():
            for data in batch:
                heard = Heard(json.loads(data))
                self._hear(heard)
                if "id" in heard.message and heard.method:
                    asked = Asked(heard, self.revision, write)
                    answering[asked.id] = self._begin(self._answer(asked))
                elif heard.method == "notifications/cancelled":
                    answering[heard.params["requestId"]].cancel()

    async def push(self, body: Json) -> None:
        """Say something beside all requests, over a channel."""
        assert self.channel is not None
        self.channel.send(json.dumps({"jsonrpc": "2.0", **body}).encode())

    # Over HTTP.

    @asynccontextmanager
    async def listening(self) -> AsyncGenerator[str]:
        """The URL of this server on a socket of its own."""

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._begin(self._connected(reader, writer))

        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        try:
            yield f"http://127.0.0.1:{port}/mcp"
        finally:
            server.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while await self._request(reader, writer):
                    pass
        finally:
            writer.close()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Serve one request; whether the connection goes on."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        verb, target = head[0].split(" ")[:2]
        pairs = (line.split(":", 1) for line in head[1:] if line)
        headers = {name.lower(): value.strip(" ") for name, value in pairs}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        heard = Heard(json.loads(body) if body else {}, headers, verb, target)
        response = Response(writer)
        self.opened += 1
        self._hear(heard)
        if "id" not in heard.message or not heard.method:
            answer = self.answers.get(verb) if verb != "POST" else None
            if answer is None:
                await response.whole(202 if verb == "POST" else 405)
                return True
        asked = Asked(heard, self.revision, response.write, response)
        response.headers = asked.headers
        if heard.method == "initialize":
            asked.headers["mcp-session-id"] = self.session
        answering = asyncio.ensure_future(
            self._answer(asked) if verb == "POST" else self._other(verb, asked)
        )
        leaving = asyncio.ensure_future(reader.read(1))
        try:
            await asyncio.wait([answering, leaving], return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():
                self.left.set()
                return False
            answering.result()
            return await response.end()
        finally:
            for work in (answering, leaving):
                work.cancel()
            await asyncio.wait([answering, leaving])

    async def _other(self, verb: str, asked: Asked) -> None:
        answer = self.answers[verb]
        assert callable(answer), f"a {verb} is answered by a function"
        await answer(asked)


class Response:
    """One response: JSON if an answer comes first, else a stream."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.headers: dict[str, str] = {}
        self._writer = writer
        self._streams = False
        self._over = False

    async def write(self, data: bytes, status: int) -> None:
        answers = b'"method"' not in data and "content-type" not in self.headers
        if answers and not self._streams:
            await self.whole(status, data)
        else:
            await self.stream(b"data: " + data + b"\n\n")

    async def whole(self, status: int, body: bytes = b"", kind: str = "application/json") -> None:
        """The whole response at once."""
        self._over = True
        kinds = {"content-type": kind} if body else {}
        self._head(status, {**kinds, "content-length": str(len(body))})
        self._writer.write(body)
        await self._writer.drain()

    async def stream(self, data: bytes) -> None:
        """A piece of an event stream, as it is."""
        if not self._streams:
            self._streams = True
            kind = self.headers.pop("content-type", "text/event-stream")
            self._head(200, {"content-type": kind, "transfer-encoding": "chunked"})
        if data:
            self._writer.write(b"%x\r\n%b\r\n" % (len(data), data))
        await self._writer.drain()

    def drop(self) -> None:
        """Break the connection off."""
        self._over = self._streams = False
        self._writer.transport.abort()

    async def end(self) -> bool:
        if self._streams:
            self._writer.write(b"0\r\n\r\n")
            await self._writer.drain()
        return self._streams or self._over

    def _head(self, status: int, headers: dict[str, str]) -> None:
        lines = [f"HTTP/1.1 {status} Said"]
        lines += [f"{name}: {value}" for name, value in {**self.headers, **headers}.items()]
        self._writer.write("\r\n".join([*lines, "", ""]).encode())


@asynccontextmanager
async def meet(way: Way, script: Script, **options: Any) -> AsyncGenerator[Client]:
    """Our client, connected to *script* over *way*. It speaks the way's revision unless told."""
    options = {"revision": way.revision, "timeout": 10, **options}
    try:
        if way.transport == STDIO:
            async with Client(script.open, **options) as client:
                yield client
        else:
            async with script.listening() as url, Client(url, **options) as client:
                yield client
    finally:
        await script.stop()
