"""A server over HTTP that lets in whoever shows a token of an `Issuer`'s, and notes who came."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from tests.auth.world import Answered, Issuer, Person
from tests.client.test_connect import listening

from interlock import Client, Server
from interlock.auth.credentials import Credentials
from interlock.auth.oauth import OAuth
from interlock.testing.clock import Clock
from interlock.transport.http.asgi import App


class Guarded:
    """The server, its issuer, and the person who would use it."""

    def __init__(self, issuer: Issuer, **options: Any) -> None:
        self.issuer = issuer
        self.person = Person()
        self.clock = Clock()
        self.credentials = Credentials.in_memory(clock=self.clock)
        self.server = Server("guarded")
        self.app = App(self.server, **options)
        self.url = ""
        self.heard: list[tuple[str, str | None]] = []
        self.instead: Callable[[Any, Any, Any], Awaitable[None]] | None = None
        self.challenge: bytes | None = None
        self.refuses: Callable[[str, str | None], int | None] = self._unknown

        @self.server.tool
        async def ping() -> str:
            return "pong"

    @property
    def shown(self) -> list[str | None]:
        return [shown for _, shown in self.heard]

    def oauth(self, **more: Any) -> OAuth:
        given: dict[str, Any] = {"visitors": self.person, "clock": self.clock, **more}
        return OAuth(self.credentials, **given)

    def client(self, auth: OAuth | None = None, **more: Any) -> Client:
        return Client(self.url, auth=auth or self.oauth(), **more)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        found = dict(scope["headers"]).get(b"authorization")
        shown = found.decode("latin-1") if found is not None else None
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        self.heard.append((scope["method"], shown))
        status = self.refuses(scope["method"], shown)
        if status is None:
            return await (self.instead or self.app)(scope, receive, send)
        place = f'Bearer resource_metadata="{self.issuer.url}/described"'.encode()
        headers = [(b"www-authenticate", self.challenge or place), (b"content-length", b"0")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b""})
        return None

    def _unknown(self, method: str, shown: str | None) -> int | None:
        known = (shown or "").partition(" ")[2] in self.issuer.valid
        return None if known else 401


@asynccontextmanager
async def guarded(**options: Any) -> AsyncGenerator[Guarded]:
    async with Issuer().serving() as issuer:
        made = Guarded(issuer, **options)

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await made(scope, receive, send)

        async with listening(app) as url, made.credentials:
            made.url = url
            issuer.instead["/described"] = lambda it: Answered(
                {"resource": url, "authorization_servers": [issuer.url]}
            )
            yield made
            await made.app.stop()


class Hourglass:
    """The time of the running loop, by which it ends waiting, and which can be turned."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ahead = 0.0
        time = self._loop.time
        self._loop.time = lambda: time() + self._ahead

    async def turn(self, seconds: float) -> None:
        """Let *seconds* pass at once, and everybody whose time is over notice it."""
        self._ahead += seconds
        for _ in range(20):
            await asyncio.sleep(0)
