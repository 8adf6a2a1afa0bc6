"""The 2024 transport, a client's side: messages come on one event stream, and go out as POSTs.

The stream's first event says where to POST to (2024-11-05 § Transports, HTTP with SSE). Deprecated
since 2025-03-26 and served here for as long as such servers live.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Mapping
from typing import Final
from urllib.parse import urljoin, urlsplit

from interlock.errors import ConnectFailed, ConnectionLost, HttpError, PeerError
from interlock.transport.channel import MESSAGE_LIMIT
from interlock.transport.http.engine import Engine, Request, Response
from interlock.transport.queued import QueuedChannel
from interlock.wire import sse
from interlock.wire.jsonrpc import Message, id_of, read

log: Final = logging.getLogger("interlock.http.client")

ENDPOINT_SECONDS: Final = 10.0
"""How long a server may take to say where to POST to."""
SLOW_SECONDS: Final = 1.0
"""How long a POST holds up the next: they must arrive in order, and some servers answer one only
once they have worked on it, which may need the next."""
SLOW_LIMIT: Final = 100
"""POSTs that may be without their response at once."""
_ENDPOINT_LIMIT: Final = 8192
_SAID_LIMIT: Final = 4096


async def open_sse(
    url: str, engine: Engine, headers: Mapping[str, str] | None = None
) -> QueuedChannel:
    """Connect to *url*; the channel owns *engine* from then on.

    Raises `HttpError` if the server refuses the stream, `ConnectFailed` if what it opens is none of
    this transport.
    """
    base = {name.lower(): value for name, value in (headers or {}).items()}
    line = _SseLine(url, engine, base)
    try:
        await line.open()
    except BaseException:
        await line.end()
        raise
    return QueuedChannel(line, url)


class _SseLine:
    def __init__(self, url: str, engine: Engine, headers: Mapping[str, str]) -> None:
        self._url = url
        self._engine = engine
        self._headers = headers
        self._endpoint = ""
        self._response: Response | None = None
        self._pieces: AsyncIterator[bytes] | None = None
        self._reader = sse.Reader(MESSAGE_LIMIT)
        self._events: deque[sse.Event] = deque()
        self._slow: set[asyncio.Task[None]] = set()
        self._refused: Exception | None = None

    async def open(self) -> None:
        request = Request("GET", self._url, {**self._headers, "accept": "text/event-stream"})
        # Not within these seconds: a person may have to log in first.
        response = self._response = await self._engine.send(request)
        try:
            async with asyncio.timeout(ENDPOINT_SECONDS):
                kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
                if response.status >= 300:
                    raise await _refusal(self._url, response)
                if kind != "text/event-stream":
                    raise ConnectFailed(f"{self._url} answers GET with no event stream")
                self._pieces = response.pieces()
                event = await self._next()
        except TimeoutError:
            raise ConnectFailed(
                f"{self._url} did not say within {ENDPOINT_SECONDS:g} s where to send messages to"
            ) from None
        if event is None or event.name != "endpoint":
            raise ConnectFailed(
                f"{self._url} opens a stream that does not begin with the event `endpoint`, so it "
                "is not the HTTP+SSE transport"
            )
        self._endpoint = _endpoint(self._url, event.data)

    async def read(self) -> bytes | None:
        try:
            while (event := await self._next()) is not None:
                if event.name == "message" and event.data:
                    return event.data
        except ConnectionLost as error:
            raise self._refused or error from None
        if self._refused is not None:
            raise self._refused
        return None

    async def write(self, message: bytes) -> None:
        if self._refused is not None:
            raise self._refused
        posting = asyncio.create_task(self._post(message))
        try:
            done, _ = await asyncio.wait([posting], timeout=SLOW_SECONDS)
        except asyncio.CancelledError:
            posting.cancel()
            raise
        if done:
            return posting.result()
        self._slow.add(posting)
        posting.add_done_callback(self._slow_one_ended)
        if len(self._slow) >= SLOW_LIMIT:
            await asyncio.wait(self._slow, return_when=asyncio.FIRST_COMPLETED)
        return None

    async def end(self) -> None:
        slow = list(self._slow)
        for task in slow:
            task.cancel()
        if slow:
            await asyncio.wait(slow)
        if self._response is not None:
            self._response.close()
        await self._engine.close()

    async def _next(self) -> sse.Event | None:
        """The next event; None at the end of the stream."""
        assert self._pieces is not None
        while not self._events:
            piece = await anext(self._pieces, None)
            if piece is None:
                return None
            try:
                self._events.extend(self._reader.feed(piece))
            except sse.EventTooLong as error:
                log.warning("%s sent a message that is lost: %s", self._url, error)
                self._events.extend(error.events)
        return self._events.popleft()

    async def _post(self, message: bytes) -> None:
        headers = {**self._headers, "content-type": "application/json"}
        response = await self._engine.send(Request("POST", self._endpoint, headers, message))
        try:
            if response.status < 300:
                return
            error = await _refusal(self._endpoint, response)
        finally:
            response.close()
        if _is_request(message):
            # It will never be answered, and nothing says so to whoever waits but the end of it all.
            raise error
        log.debug("a notification or an answer was not taken: %s", error)

    def _slow_one_ended(self, task: asyncio.Task[None]) -> None:
        self._slow.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, PeerError) and self._refused is None:
            self._refused = error
            if self._response is not None:
                self._response.close()  # So that reading ends as well.


async def _refusal(url: str, response: Response) -> HttpError:
    said = b""
    with contextlib.suppress(PeerError):
        said = await response.read(_SAID_LIMIT)
    return HttpError(url, response.status, said[:200].decode(errors="replace").strip())


def _endpoint(url: str, data: bytes) -> str:
    """Where to POST to. Another origin would be told what is said, and our headers with it."""
    try:
        if len(data) > _ENDPOINT_LIMIT:
            raise ValueError
        endpoint = urljoin(url, data.decode().strip())
        same = _origin(endpoint) == _origin(url)
        if _user(endpoint) not in ("", _user(url)):
            raise ValueError  # The library would make a header of it, in the place of ours.
    except ValueError:
        raise ConnectFailed(f"{url} says to send messages to what is no URL") from None
    if not same:
        raise ConnectFailed(
            f"{url} says to send messages to {endpoint[:200]!r}, which is of another origin"
        )
    return endpoint


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, parts.hostname, port


def _user(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[0]


def _is_request(message: bytes) -> bool:
    found = read(message)
    return isinstance(found, Message) and bool(found.method) and id_of(found) is not None
