"""The HTTP client library, behind a seam of one method.

Whatever can send a request and hand over its response in pieces is an engine; ours is aiohttp,
imported with the first request, so that programs without HTTP never load it. A WebSocket begins as
an HTTP request, so the library's are opened here as well.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from ssl import SSLContext
from typing import Any, Final, Protocol, TypeAlias

from msgspec import Struct

from interlock.errors import ConnectFailed, ConnectionLost, HttpError, InvalidMessage
from interlock.transport.queued import Line

CONNECT_SECONDS: Final = 15.0
PING_SECONDS: Final = 30.0
"""How often a WebSocket is asked whether it lives; half as long it may take to answer."""
_PIECE: Final = 256 * 1024

Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a host, given with the port that is wanted; raises `OSError` if it has none."""


class Request(Struct, frozen=True):
    """An HTTP request; header names are lower case."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None = None

    def __repr__(self) -> str:
        # Tokens stand in headers and bodies, and now and then in a query.
        return f"Request({self.method} {self.url.partition('?')[0]})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("method", self.method), ("url", self.url.partition("?")[0])]


class Response(Protocol):
    """A response whose body has not been read. Whoever got it closes it."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Header values by lower-case name."""
        ...

    def pieces(self) -> AsyncIterator[bytes]:
        """The body as it arrives; raises `ConnectionLost` if it breaks off."""
        ...

    async def read(self, limit: int) -> bytes:
        """The whole body; raises `InvalidMessage` if it is longer than *limit* bytes."""
        ...

    def close(self) -> None:
        """Let go of the response. One not read to its end closes its connection."""
        ...


class Engine(Protocol):
    """Sends requests. One method, so that tests and other libraries can stand in."""

    async def send(self, request: Request) -> Response:
        """The response, as soon as its headers are there. Follows no redirect.

        Raises `ConnectFailed` if nothing could be reached, `ConnectionLost` if it went away.
        Waits as long as it takes: who calls decides how long that may be.
        """
        ...

    async def close(self) -> None: ...


_FAREWELLS: Final = (1000, 1001, 1005)
"""Codes with which a WebSocket ends as it should: done, going away, and nothing said."""


class AiohttpEngine:
    """The engine of aiohttp: one pool of connections, no cookies, no redirects.

    With *resolve* each new connection goes to one of the addresses that it says, and no other
    lookup is made, before it or after; what it raises comes out of `send`, `OSError` as
    `ConnectFailed`. It is not asked about a host that is written as an address. The certificate
    must be the name's all the same. *tls* says whose certificates are believed.
    """

    def __init__(self, *, resolve: Resolve | None = None, tls: SSLContext | None = None) -> None:
        self._resolve = resolve
        self._tls = tls
        self._aiohttp: Any = None
        self._session: Any = None
        self._socket_session: Any = None
        self._responses: set[_AiohttpResponse] = set()
        self._closed = False

    async def send(self, request: Request) -> Response:
        if self._closed:
            raise ConnectionLost(f"The connection to {request.url} was closed")
        session = self._session or self._open()
        aiohttp = self._aiohttp
        try:
            response = await session.request(
                request.method,
                request.url,
                headers=request.headers,
                data=request.body,
                allow_redirects=False,
            )
        except (
            aiohttp.ClientConnectorError,
            aiohttp.ClientSSLError,
            aiohttp.ServerTimeoutError,
        ) as error:
            raise ConnectFailed(f"Nothing answers at {request.url}: {error}") from error
        except aiohttp.InvalidURL as error:
            raise ConnectFailed(f"{request.url} is no URL that can be reached") from error
        except (aiohttp.ClientError, OSError) as error:
            raise ConnectionLost(f"The connection to {request.url} broke off: {error}") from error
        return _AiohttpResponse(aiohttp, response, request.url, self._responses)

    async def open_socket(self, request: Request, subprotocol: str, limit: int) -> Line:
        """A WebSocket that takes messages of up to *limit* bytes; the library's pings keep it.

        Raises as `send` does, and `HttpError` if the server answers with anything but a WebSocket.
        """
        if self._closed:
            raise ConnectionLost(f"The connection to {request.url} was closed")
        session = self._socket_session or self._open_for_sockets()
        aiohttp = self._aiohttp
        try:
            socket = await session.ws_connect(
                request.url,
                headers=request.headers,
                protocols=(subprotocol,),
                max_msg_size=limit,
                heartbeat=PING_SECONDS,
            )
        except aiohttp.WSServerHandshakeError as error:
            raise HttpError(request.url, error.status, "it opens no WebSocket") from error
        except aiohttp.InvalidURL as error:
            raise ConnectFailed(f"{request.url} is no URL that can be reached") from error
        except (aiohttp.ClientError, OSError) as error:
            raise ConnectFailed(f"Nothing answers at {request.url}: {error}") from error
        return _AiohttpSocket(aiohttp, socket, request.url)

    async def close(self) -> None:
        self._closed = True
        sessions = (self._socket_session, self._session)
        self._session = self._socket_session = None
        for response in self._responses:
            response.lose()
        for session in sessions:
            if session is not None:
                await session.close()

    def _open_for_sockets(self) -> Any:
        import aiohttp  # kept out of programs that never speak HTTP

        async def refuse(session: Any, context: Any, redirect: Any) -> None:
            # Requests ask not to be redirected; opening a WebSocket cannot ask for that.
            where = redirect.response.headers.get("location", "elsewhere")
            raise HttpError(
                str(redirect.url),
                redirect.response.status,
                f"it redirects to {where}; use that URL",
            )

        trace = aiohttp.TraceConfig()
        trace.on_request_redirect.append(refuse)
        # Of its own: what is traced costs each request an eighth more, and calls need none of it.
        self._socket_session = self._new_session(trace_configs=[trace])
        return self._socket_session

    def _open(self) -> Any:
        self._session = self._new_session()
        return self._session

    def _new_session(self, **options: Any) -> Any:
        import aiohttp  # kept out of programs that never speak HTTP

        resolving: dict[str, Any] = {}
        if self._resolve is not None:
            # No cache: it would join lookups of one name, and keep them for longer than they hold.
            resolving = {"resolver": _Resolver(self._resolve), "use_dns_cache": False}
        self._aiohttp = aiohttp
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=self._tls or True, **resolving),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_SECONDS),
            skip_auto_headers=("Accept", "Content-Type"),
            headers={"user-agent": "interlock"},
            read_bufsize=_PIECE,
            auto_decompress=True,
            **options,
        )


class _Resolver:
    """A `Resolve` in the shape that aiohttp asks."""

    def __init__(self, resolve: Resolve) -> None:
        self._resolve = resolve

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[dict[str, Any]]:
        addresses = await self._resolve(host, port)
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, f"{host} has no address")
        return [
            {
                "hostname": host,
                "host": address,
                "port": port,
                "family": socket.AF_INET6 if ":" in address else socket.AF_INET,
                "proto": socket.IPPROTO_TCP,
                "flags": socket.AI_NUMERICHOST,
            }
            for address in addresses
        ]

    async def close(self) -> None:
        """Nothing of its own is open."""


class _AiohttpResponse:
    def __init__(self, aiohttp: Any, response: Any, url: str, among: set[_AiohttpResponse]) -> None:
        """It stands *among* the responses that are not closed yet, until it is."""
        self._aiohttp = aiohttp
        self._response = response
        self._url = url
        self._among = among
        among.add(self)
        self.status: int = response.status
        # A case-insensitive multi-dict: looking up lower case names works as promised.
        self.headers: Mapping[str, str] = response.headers

    async def pieces(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._response.content.iter_any():
                yield piece
        except (self._aiohttp.ClientError, OSError) as error:
            raise ConnectionLost(f"The stream from {self._url} broke off: {error}") from error

    async def read(self, limit: int) -> bytes:
        declared = self._response.content_length
        if declared is not None and declared > limit:
            raise InvalidMessage(f"{self._url} sends {declared} bytes; at most {limit} are taken")
        # What is compressed may be longer than it says.
        plain = "content-encoding" not in self.headers
        if declared is not None and declared <= min(limit, _PIECE) and plain:
            try:
                return await self._response.read()
            except (self._aiohttp.ClientError, OSError) as error:
                raise ConnectionLost(f"The answer from {self._url} broke off: {error}") from error
        pieces: list[bytes] = []
        size = 0
        async for piece in self.pieces():
            pieces.append(piece)
            size += len(piece)
            if size > limit:
                raise InvalidMessage(f"{self._url} sends more than the {limit} bytes taken")
        return b"".join(pieces)

    def close(self) -> None:
        self._among.discard(self)
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()

    def lose(self) -> None:
        """Fail whoever reads it: a session that is closed just forgets that somebody does."""
        why = "the connection was closed here"
        self._response.content.set_exception(self._aiohttp.ClientConnectionError(why))


class _AiohttpSocket:
    """A WebSocket as a `Line`."""

    def __init__(self, aiohttp: Any, socket: Any, url: str) -> None:
        self._aiohttp = aiohttp
        self._socket = socket
        self._url = url

    async def read(self) -> bytes | None:
        kinds = self._aiohttp.WSMsgType
        message = await self._socket.receive()
        if message.type is kinds.TEXT:
            return message.data.encode()
        if message.type is kinds.BINARY:
            return message.data
        code = self._socket.close_code
        if message.type is kinds.ERROR:
            raise InvalidMessage(f"{self._url} sent what cannot be taken: {message.data}")
        if code in _FAREWELLS:
            return None
        raise ConnectionLost(f"The WebSocket to {self._url} broke off (code {code})")

    async def write(self, message: bytes) -> None:
        try:
            await self._socket.send_frame(message, self._aiohttp.WSMsgType.TEXT)
        except (self._aiohttp.ClientError, OSError) as error:
            raise ConnectionLost(f"The WebSocket to {self._url} broke off: {error}") from error

    async def end(self) -> None:
        await self._socket.close()
