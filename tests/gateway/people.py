"""Two people before a gateway, and a server behind it that wants to know which of them calls."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from tests.heard import OURS

from interlock import Context, Server
from interlock.auth.bearer import Bearer
from interlock.auth.credentials import Credentials, Grant
from interlock.auth.metadata import Registered
from interlock.auth.settings import AuthSettings
from interlock.auth.verifiers import AccessToken, StaticVerifier
from interlock.client.target import Url
from interlock.gateway.config import load
from interlock.gateway.gateway import Gateway
from interlock.gateway.realm import name_of, who
from interlock.protocol.call import Principal
from interlock.server.web import HttpApp, serve_http
from interlock.transport.http.asgi import App
from interlock.transport.http.plain import Receive, Scope, Send

DOOR: Final = "https://door.example"
ISSUER: Final = "https://issuer.example"
PEOPLE: Final = ("ada", "bob")
FORM: Final = {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]}


def principal(person: str) -> Principal:
    return Principal(person, DOOR)


def key(person: str) -> str:
    """What the logins of a person are kept under; nothing for whoever runs the gateway."""
    return name_of(who(principal(person))) if person else ""


def at_the_door(person: str) -> str:
    """The token that a person shows the gateway."""
    return f"inbound-token-of-{person}"


def gate() -> Bearer:
    settings = AuthSettings(issuer_url=DOOR, resource_server_url="http://127.0.0.1/mcp")
    tokens = {
        at_the_door(person): AccessToken(
            at_the_door(person), "a-client", subject=person, issuer=DOOR
        )
        for person in PEOPLE
    }
    return Bearer(settings, StaticVerifier(tokens))


class Diary:
    """A server for people who are known to it by tokens, which can be taken back."""

    def __init__(self, *middleware: Any, public: bool = False) -> None:
        self.good: dict[str, AccessToken] = {}
        self.headers: list[tuple[bytes, bytes]] = []
        """All that was ever received."""
        self.requests = 0
        self.open = asyncio.Event()
        settings = AuthSettings(
            issuer_url=ISSUER, resource_server_url="http://127.0.0.1/mcp", remember=0
        )
        self.server = server = Server(
            "diary",
            auth=None if public else settings,
            token_verifier=None if public else self,
            middleware=middleware,
        )

        @server.tool
        async def whoami(ctx: Context) -> str:
            return ctx.principal.subject

        @server.tool(scopes=[] if public else ["secrets"])
        async def secret(ctx: Context) -> str:
            return f"the secret of {ctx.principal.subject}"

        @server.tool
        async def asks(ctx: Context) -> str:
            answer = await ctx.elicit("Which word?", FORM, key="word")
            return f"{ctx.principal.subject} {answer.content}"

        @server.tool(task="required")
        async def later(ctx: Context) -> str:
            await self.open.wait()
            return f"later {ctx.principal.subject}"

        @server.tool
        async def complain(ctx: Context) -> str:
            await ctx.warning(f"{ctx.principal.subject} complains")
            return "said"

        @server.resource("diary://today")
        async def today(ctx: Context) -> str:
            return f"what {ctx.principal.subject} did"

    async def verify_token(self, token: str) -> AccessToken | None:
        return self.good.get(token)

    def admit(self, person: str, token: str, *scopes: str) -> None:
        self.good[token] = AccessToken(
            token, "the-gateway", list(scopes), subject=person, issuer=ISSUER
        )

    @asynccontextmanager
    async def served(self, **options: Any) -> AsyncGenerator[str]:
        """Its URL while it is served over HTTP."""
        async with served(_Recorded(App(self.server, **options), self)) as url:
            yield url


class _Recorded:
    def __init__(self, app: App, diary: Diary) -> None:
        self._app = app
        self._diary = diary
        self.start, self.close, self.stop = app.start, app.close, app.stop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self._diary.requests += 1
            self._diary.headers += scope["headers"]
        await self._app(scope, receive, send)


@asynccontextmanager
async def served(app: HttpApp) -> AsyncGenerator[str]:
    """The URL of an app behind a real HTTP server."""
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve_http(app, "127.0.0.1", 0, port.set_result))
    await asyncio.wait([serving, port], return_when=asyncio.FIRST_COMPLETED)
    url = f"http://127.0.0.1:{port.result()}/mcp"
    OURS.add(url)
    try:
        yield url
    finally:
        app.close()
        serving.cancel()
        await asyncio.wait([serving])


async def logged_in(
    credentials: Credentials, url: str, person: str, token: str, *scopes: str
) -> None:
    """Keep what a login of a person to the server at *url* would have come to."""
    grant = Grant(
        issuer=ISSUER,
        resource=url,
        client=Registered("the-gateway"),
        token_endpoint=f"{ISSUER}/token",
        access_token=token,
        scopes=scopes,
    )
    await credentials.keep(url, key(person), grant)


def gateway_to(folder: Path, servers: dict[str, Any], **options: Any) -> Gateway:
    path = folder / ".mcp.json"
    path.write_text(json.dumps({"mcpServers": servers}))
    return Gateway(load(path, os.environ), **options)


def as_person(url: str, person: str) -> Url:
    """A gateway as a person reaches it."""
    return Url(url, {"Authorization": f"Bearer {at_the_door(person)}"})
