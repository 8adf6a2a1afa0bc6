"""A listener on this machine that catches the one redirect a login ends with (RFC 8252 § 7.3).

Every page that a browser shows can send requests here; only the one that knows the state of the
login can end it.
"""

from __future__ import annotations

import asyncio
import base64
import errno
import hashlib
import html
import logging
import re
from collections import deque
from types import TracebackType
from typing import Final, Literal, Self

from aiohttp import web

from interlock.auth.redirect import LIMIT, read, refusal
from interlock.auth.steps import Visited
from interlock.errors import ConfigError, NotConnected, TimedOut

CONNECTIONS: Final = 32
"""The most connections that are kept; a newer one ends the oldest."""
CONNECTION_SECONDS: Final = 10.0
"""How long a connection has to send its request."""
_LEAVE_SECONDS: Final = 2.0
"""How long a page has to get on its way when the listener is closed."""
_LINE_LIMIT: Final = LIMIT + 1024
_FIELD_LIMIT: Final = 32 * 1024
"""Browsers send here the cookies of whatever else ever listened on this machine, on any port."""

_PATH: Final = re.compile(r"/[A-Za-z0-9\-._~/]*")
_STYLE: Final = (
    "body{font:1.1rem/1.5 system-ui,sans-serif;max-width:32rem;margin:20vh auto 0;padding:0 1rem}"
    "@media(prefers-color-scheme:dark){body{background:#16181d;color:#e8e8ea}}"
)
_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<h1>{title}</h1>
<p>{text}</p>
</body>
</html>
"""

log: Final = logging.getLogger("interlock.auth")
# The library logs requests with their query: the code among it.
_unheard: Final = logging.Logger("unheard", logging.CRITICAL)  # noqa: LOG001  nobody may turn it on


class Loopback:
    """Waits on 127.0.0.1 for the redirect of one login; of another once it `expect`s that.

    An async context manager: it listens inside of it. *port* 0 takes a free one. *host* is how
    `redirect_uri` spells the address, for servers that know clients by `localhost` only. Raises
    `ConfigError` if it cannot listen there.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        path: str = "/callback",
        host: Literal["127.0.0.1", "localhost"] = "127.0.0.1",
        connection_seconds: float = CONNECTION_SECONDS,
    ) -> None:
        if not 0 <= port < 65536:
            raise ConfigError(f"{port} is no port to wait for a login at: 0 to 65535 are")
        if not _PATH.fullmatch(path):
            raise ConfigError(f"{path!r} is no path to wait for a login at: one like /callback is")
        self._port = port
        self._path = path
        self._host = host
        self._connection_seconds = connection_seconds
        self._state: str | None = None
        self._came: asyncio.Future[Visited] | None = None
        self._taken = False
        self._server: web.Server | None = None
        self._listener: asyncio.Server | None = None
        self._connections: deque[tuple[_Connection, asyncio.TimerHandle]] = deque()
        self._hosts: tuple[str, ...] = ()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = web.Server(self._answer)
        try:
            self._listener = await loop.create_server(self._connect, "127.0.0.1", self._port)
        except OSError as error:
            why = "another program listens there" if error.errno == errno.EADDRINUSE else error
            raise ConfigError(
                f"No login can be waited for at 127.0.0.1:{self._port}: {why}; "
                "name another port, or 0 for any that is free"
            ) from error
        self._port = self._listener.sockets[0].getsockname()[1]
        address = f"{self._host}:{self._port}"
        self._hosts = (address, self._host) if self._port == 80 else (address,)
        self.expect(None)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        listener, self._listener = self._listener, None
        server, self._server = self._server, None
        came, self._came = self._came, None
        if came is not None and not came.done():
            came.set_exception(NotConnected("The listener was closed while a login was awaited"))
            came.exception()  # Perhaps nobody waits, and nobody has to be told.
        assert listener is not None
        assert server is not None
        listener.close()
        for _, timer in self._connections:
            timer.cancel()
        server.pre_shutdown()
        await server.shutdown(_LEAVE_SECONDS)
        await listener.wait_closed()

    @property
    def redirect_uri(self) -> str:
        """Where a browser is to be sent to."""
        if self._listener is None:
            raise NotConnected("The redirect URI is known once it is listened at: use `async with`")
        return f"http://{self._host}:{self._port}{self._path}"

    def expect(self, state: str | None) -> None:
        """Begin to wait anew, for a redirect with this *state*; with any if it is None.

        Call it before the browser opens, so that no redirect is too early.
        """
        if self._listener is None:
            raise NotConnected("Nothing is listened at: use `async with`")
        self._state = state
        self._taken = False
        self._came = asyncio.get_running_loop().create_future()

    async def wait(self, timeout: float) -> Visited:
        """The redirect that ended the login; raises `TimedOut` if none does in *timeout* seconds.

        May be called again after it timed out or was cancelled: the listener goes on.
        """
        if self._came is None:
            raise NotConnected("Nothing is listened at: use `async with`")
        try:
            async with asyncio.timeout(timeout):
                return await asyncio.shield(self._came)
        except TimeoutError:
            raise TimedOut(f"No browser came back from the login in {timeout:g} seconds") from None

    def _connect(self) -> _Connection:
        assert self._server is not None
        loop = asyncio.get_running_loop()
        connection = _Connection(
            self._server,
            loop=loop,
            access_log=_unheard,
            max_line_size=_LINE_LIMIT,
            max_field_size=_FIELD_LIMIT,
            lingering_time=0,
        )
        timer = loop.call_later(self._connection_seconds, connection.force_close)
        self._connections.append((connection, timer))
        if len(self._connections) > CONNECTIONS:
            oldest, timer = self._connections.popleft()
            timer.cancel()
            oldest.force_close()
        return connection

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        hosts = request.headers.getall("Host", [])
        # A page elsewhere can have its own name lead here (DNS rebinding), but not change it.
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            return _page(403, "Not here", "This address waits for a login under another name.")
        path, _, query = request.raw_path.partition("?")
        if path != self._path:
            return _page(404, "Nothing here", "This address only waits for the end of a login.")
        if request.method != "GET":
            page = _page(405, "Not this way", "The end of a login comes as a GET.")
            page.headers["Allow"] = "GET"
            return page
        visited = read(query)
        why = refusal(visited, self._state)
        if visited is None or why is not None:
            log.warning("A redirect to the listener for logins is not taken: %s", why)
            return _page(
                400,
                "Not this login",
                "What came is not the end of the login that is awaited. It is still awaited: "
                "go on in the page that was opened for it.",
            )
        if self._taken or self._came is None:
            return _page(409, "Already received", "This login was received before.")
        self._taken = True
        if "error" in visited.parameters:
            page = _page(
                200,
                "The login was not completed",
                "You can close this page and go back to the program, which says why.",
            )
        else:
            page = _page(
                200, "Login received", "You can close this page and go back to the program."
            )
        came = self._came
        try:
            # Whoever waits closes everything next: the page has to be on its way before.
            await page.prepare(request)
            await page.write_eof()
        finally:
            if not came.done():
                came.set_result(visited)
        return page


class _Connection(web.RequestHandler):
    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        # The library's own would quote what was sent, which may be a code, in page and log.
        log.warning("The listener for logins cannot read a request (%s)", type(exc).__name__)
        return _page(400 if status < 500 else 500, "Not understood", "This is no end of a login.")


def _page(status: int, title: str, text: str) -> web.Response:
    """A page that says nothing but this, whatever was sent."""
    digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    page = web.Response(
        status=status,
        text=_PAGE.format(title=html.escape(title), text=html.escape(text), style=_STYLE),
        content_type="text/html",
        headers={
            "Content-Security-Policy": (
                f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; "
                "form-action 'none'; frame-ancestors 'none'"
            ),
            "X-Frame-Options": "DENY",
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-store",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Server": "interlock",
        },
    )
    page.force_close()
    return page
