"""A server of ours that wants tokens, our issuer before it, and a person who logs in there.

Both answer on sockets; the person's browser is in this process, as are their hands.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct
from tests.auth.issuer.box import SERVICE, SIGN_IN, Box, body, sent_back
from tests.client.test_connect import listening

from interlock import Client, Context, Server
from interlock.auth.credentials import Credentials
from interlock.auth.issuer.settings import Resource
from interlock.auth.metadata import ASSERTION_TYPE, CLIENT_CREDENTIALS
from interlock.auth.oauth import Authorizing, OAuth
from interlock.auth.settings import AuthSettings
from interlock.auth.steps import Visit, Visited
from interlock.client.target import Url
from interlock.transport.http.asgi import App
from interlock.transport.http.engine import AiohttpEngine, Request

SCOPES = {"read": "Read your diary", "write": "Write into it"}


class Heard(Struct):
    """A request as it came to a door."""

    method: str
    path: str
    query: bytes
    headers: Mapping[str, str]

    @property
    def shown(self) -> str | None:
        return self.headers.get("authorization")


class Door:
    """Where an app answers; it is known once the port is."""

    def __init__(self) -> None:
        self.app: Any = None
        self.heard: list[Heard] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.heard.append(Heard(scope["method"], scope["path"], scope["query_string"], headers))
        await self.app(scope, receive, send)

    def at(self, path: str) -> list[Heard]:
        return [heard for heard in self.heard if heard.path == path]


class Anna:
    """A person who signs in where a client sends her, and allows what it asks."""

    redirect_uri = "http://127.0.0.1:4711/callback"

    def __init__(self, box: Box) -> None:
        self.visits: list[Visit] = []
        self.pages: list[str] = []
        self._box = box

    def __call__(self, port: int | None) -> AbstractAsyncContextManager[_Sent]:
        return nullcontext(_Sent(self, self._box))

    def scopes(self) -> list[set[str]]:
        return [set(visit.scopes) for visit in self.visits]


class _Sent:
    def __init__(self, anna: Anna, box: Box) -> None:
        self.redirect_uri = anna.redirect_uri
        self._anna = anna
        self._box = box

    async def __call__(self, visit: Visit) -> Visited:
        self._anna.visits.append(visit)
        page = await self._box.browser.open(urlsplit(visit.url).query)
        self._anna.pages.append(page.html)
        response = await self._box.browser.answer(page, code=SIGN_IN)
        assert response.status == 303, response.body
        return Visited({name: (value,) for name, value in sent_back(response).items()})


class Household:
    """All of them."""

    def __init__(self, url: str, box: Box, credentials: Credentials) -> None:
        self.url = url
        self.box = box
        self.credentials = credentials
        self.anna = Anna(box)
        self.door, self.office = Door(), Door()

    @property
    def issuer(self) -> str:
        return self.box.issuer.url

    def oauth(self, **more: Any) -> OAuth:
        return OAuth(self.credentials, visitors=self.anna, **more)

    def client(self, revision: str, auth: Authorizing | None = None) -> Client:
        return Client(self.url, revision=revision, auth=auth or self.oauth())

    @property
    def shown(self) -> list[str | None]:
        """What was shown with each request to the server."""
        return [heard.shown for heard in self.door.at("/mcp")]

    async def service_token(self, resource: str, scope: str = "read") -> str:
        """What a program gets for *resource*."""
        form = {
            "grant_type": CLIENT_CREDENTIALS,
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": self.box.assertion(aud=self.issuer),
            "resource": resource,
            "scope": scope,
        }
        return body(await self.box.token(form))["access_token"]

    def url_with(self, token: str) -> Url:
        return Url(self.url, {"Authorization": f"Bearer {token}"})

    async def send(self, method: str, path: str, **headers: str) -> tuple[int, Mapping[str, str]]:
        """What the server answers to a request without a body."""
        engine = AiohttpEngine()
        try:
            url = self.url.removesuffix("/mcp") + path
            response = await engine.send(Request(method, url, headers))
            response.close()
        finally:
            await engine.close()
        return response.status, response.headers


def diary(url: str, issuer: str, **settings: Any) -> Server:
    """Everybody may say who they are; what is written needs a scope of its own."""
    auth = AuthSettings(
        issuer_url=issuer, resource_server_url=url, required_scopes=["read"], **settings
    )
    server = Server("diary", auth=auth)

    @server.tool
    async def whoami(ctx: Context) -> str:
        return ctx.principal.subject

    @server.tool(scopes=["write"], list_without_scopes=True)
    async def write(text: str) -> str:
        return f"Written: {text}"

    return server


@asynccontextmanager
async def household(
    *,
    settings: Mapping[str, Any] | None = None,
    others: Sequence[Resource] = (),
    **more: Any,
) -> AsyncGenerator[Household]:
    """*settings* are the server's, *more* the issuer's, which knows *others* besides."""
    office, door = Door(), Door()
    async with (
        listening(office) as there,
        listening(door) as url,
        Credentials.in_memory() as credentials,
    ):
        given: dict[str, Any] = {
            "clock": time.time,
            "hosts": ("id.example.com",),  # where the browser believes to be
            "clients": (SERVICE,),
            "resources": [Resource(url, SCOPES, "Diary", ("read",)), *others],
            **more,
        }
        made = Household(url, Box(there.removesuffix("/mcp"), **given), credentials)
        made.office, made.door = office, door
        office.app = made.box.issuer
        app = door.app = App(diary(url, made.issuer, **(settings or {})))
        await made.box.issuer.start()
        await app.start()
        try:
            yield made
        finally:
            await app.stop()
            await made.box.issuer.stop()
