"""Our server under fire over what carries both directions: a child's pipes, a WebSocket, and the
HTTP+SSE of 2024.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urljoin

import aiohttp
from tests.fuzz.corpus import Corpus
from tests.fuzz.kitchen import LINE_LIMIT, kitchen
from tests.fuzz.posts import BODY_LIMIT, served
from tests.fuzz.talking import PATIENCE, Talk
from tests.fuzz.watching import Watch, Weight, Wrong, nothing_left, watching

from interlock.transport.http.asgi import App
from interlock.wire import ndjson, sse

ROOT: Final = Path(__file__).parents[2]


async def over_pipes(corpus: Corpus, count: int) -> str:
    """Send *count* messages to a server that is our child."""
    where = f"server, stdio, {corpus.revision}"
    with watching(where) as watch:
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.fuzz.kitchen"),
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=16 * LINE_LIMIT,
        )
        weight = Weight(child.pid)
        line = _Pipes(child, corpus, watch)
        try:
            await line.talk.go(count, weight.warm)
            grown = weight.judge(where)
            await line.end()
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
    return f"{where}: {count} sent, {line.talk.answers} answers, {grown // 1024} KiB grown"


class _Pipes:
    """Our end of a child's pipes."""

    def __init__(self, child: asyncio.subprocess.Process, corpus: Corpus, watch: Watch) -> None:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        self._child = child
        self._watch = watch
        self._stdin = child.stdin
        self._splitter = ndjson.Splitter(LINE_LIMIT)
        self.talk = Talk(corpus, watch, self._put, child.stdin.drain)
        self._reading = asyncio.create_task(self.talk.listen(child.stdout))
        self._errors = asyncio.create_task(self._read_errors(child.stderr))

    async def end(self) -> None:
        """Close its stdin; it must go, and say nothing more."""
        self._stdin.close()
        async with asyncio.timeout(PATIENCE):
            code = await self._child.wait()
            await self._reading
            await self._errors
        if code != 0:
            self._watch.wrong.append(f"the server exited with {code}")

    def _put(self, data: bytes) -> list[bytes]:
        self._stdin.write(data + b"\n")
        try:
            return self._splitter.feed(data + b"\n")
        except ndjson.LineTooLong as error:
            return error.lines

    async def _read_errors(self, stderr: asyncio.StreamReader) -> None:
        while line := await stderr.readline():
            self._watch.hear_stderr(line.decode(errors="replace").rstrip())


# Over the network.


async def over_socket(corpus: Corpus, count: int) -> str:
    """Send *count* messages, a frame each, to a WebSocket of ours."""
    where = f"server, WebSocket, {corpus.revision}"
    with watching(where) as watch:
        weight = Weight()
        async with _network() as (url, session):
            async with session.ws_connect(url, protocols=["mcp"], max_msg_size=0) as socket:
                line = _Socket(socket, corpus, watch)
                await line.talk.go(count, weight.warm)
                grown = weight.judge(where)
            await line.reading
        await nothing_left(where)
    return f"{where}: {count} sent, {line.talk.answers} answers, {grown // 1024} KiB grown"


class _Socket:
    """A client's end of a WebSocket."""

    def __init__(
        self, socket: aiohttp.ClientWebSocketResponse, corpus: Corpus, watch: Watch
    ) -> None:
        self._socket = socket
        self._corpus = corpus
        self._queued: list[bytes] = []
        self.talk = Talk(corpus, watch, self._put, self._flush)
        self.reading = asyncio.create_task(self.talk.listen(self._messages()))

    def _put(self, data: bytes) -> list[bytes]:
        if len(data) > BODY_LIMIT:
            return []  # It would end the connection, as it should.
        self._queued.append(data)
        return [data]

    async def _flush(self) -> None:
        queued, self._queued = self._queued, []
        for data in queued:
            with contextlib.suppress(UnicodeDecodeError):
                if self._corpus.chance.random() < 0.9:
                    await self._socket.send_str(data.decode())
                    continue
            await self._socket.send_bytes(data)

    async def _messages(self) -> AsyncGenerator[bytes]:
        async for message in self._socket:
            assert isinstance(message.data, str)
            yield message.data.encode()


async def over_sse(corpus: Corpus, count: int) -> str:
    """POST *count* messages whose answers come on a stream: the transport of 2024."""
    where = f"server, HTTP+SSE, {corpus.revision}"
    with watching(where) as watch:
        weight = Weight()
        async with _network() as (url, session):
            stream = await session.get(
                urljoin(url, "/sse"), headers={"accept": "text/event-stream"}
            )
            line = _Sse(stream, session, corpus, watch)
            await line.open(url)
            await line.talk.go(count, weight.warm)
            grown = weight.judge(where)
            stream.close()
            await asyncio.wait([line.reading])
        await nothing_left(where)
    return f"{where}: {count} sent, {line.talk.answers} answers, {grown // 1024} KiB grown"


class _Sse:
    """A client of 2024: one stream to hear on, a POST for each message."""

    def __init__(
        self,
        stream: aiohttp.ClientResponse,
        session: aiohttp.ClientSession,
        corpus: Corpus,
        watch: Watch,
    ) -> None:
        self._stream = stream
        self._session = session
        self._watch = watch
        self._queued: list[bytes] = []
        self._events = sse.Reader()
        self._endpoint: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.talk = Talk(corpus, watch, self._put, self._flush)
        self.reading = asyncio.create_task(self.talk.listen(self._messages()))

    async def open(self, url: str) -> None:
        self._url = urljoin(url, await self._endpoint)

    def _put(self, data: bytes) -> list[bytes]:
        if len(data) > BODY_LIMIT:
            return []  # Refused with a status, and no answer on the stream.
        self._queued.append(data)
        return [data]

    async def _flush(self) -> None:
        queued, self._queued = self._queued, []
        headers = {"content-type": "application/json"}
        for data in queued:
            async with self._session.post(self._url, data=data, headers=headers) as taken:
                if taken.status >= 500:
                    self._watch.wrong.append(f"a message was answered with {taken.status}")
                await taken.read()

    async def _messages(self) -> AsyncGenerator[bytes]:
        with contextlib.suppress(aiohttp.ClientError):
            async for piece in self._stream.content.iter_any():
                for event in self._events.feed(piece):
                    if event.name == "endpoint":
                        self._endpoint.set_result(event.data.decode())
                    elif event.data:
                        yield event.data


@asynccontextmanager
async def _network() -> AsyncGenerator[tuple[str, aiohttp.ClientSession]]:
    """The URL of a server of ours that takes all that is served over a network, and a way to it."""
    server = kitchen()
    app = App(server, body_limit=BODY_LIMIT, websocket=True, sse_path="/sse")
    await app.start()
    try:
        async with served(app) as url, aiohttp.ClientSession() as session:
            yield url, session
            app.close()
    finally:
        await app.stop()
    if len(server.subscriptions):
        raise Wrong(f"{len(server.subscriptions)} subscriptions are left")
