"""A small world on this machine: a server that wants tokens, who gives them out, and a person.

The authorization server answers on a socket, as what is sent to one goes through the guarded
fetcher; the server that wants tokens is a `Desk`. Each can be made to misbehave.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self, TypeAlias
from urllib.parse import parse_qs, urlsplit

from msgspec import Struct
from tests.auth.desk import Desk, Reply

from interlock.auth.authorized import AuthorizedEngine
from interlock.auth.credentials import Credentials
from interlock.auth.oauth import OAuth
from interlock.auth.steps import Visit, Visited
from interlock.testing.clock import Clock
from interlock.transport.http.engine import Request

Json: TypeAlias = dict[str, Any]


class Asked(Struct):
    """A request as the authorization server got it."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def form(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(self.body.decode()).items()}

    @property
    def basic(self) -> str:
        word = self.headers.get("authorization", "").removeprefix("Basic ")
        return base64.b64decode(word).decode()


class Answered(Struct):
    """What it answers: JSON, or bytes as they are."""

    body: Any = b""
    status: int = 200
    headers: Mapping[str, str] = {}


Doing: TypeAlias = Callable[[Asked], Answered | Awaitable[Answered]]


class Issuer:
    """An authorization server that gives out `access-1`, `refresh-1` and so on, and takes each
    refresh token once. *instead* says what is done at a path instead of what is usual.
    """

    def __init__(self) -> None:
        self.port = 0
        self.asked: list[Asked] = []
        self.instead: dict[str, Doing] = {}
        self.metadata: Json = {}
        self.tokens: Json = {"expires_in": 3600}
        self.given = 0
        self.valid: set[str] = set()
        self.refreshable: set[str] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self.resources: dict[str, Json] = {}
        """What servers there are described, by the path that they have."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def at(self, path: str) -> list[Asked]:
        return [asked for asked in self.asked if asked.path == path]

    @property
    def grants(self) -> list[str]:
        """By which grants tokens were asked for."""
        return [asked.form["grant_type"] for asked in self.at("/token")]

    def describes(self, path: str, **more: Any) -> None:
        self.resources[path] = {
            "resource": f"{self.url}{path}",
            "authorization_servers": [self.url],
            **more,
        }

    @asynccontextmanager
    async def serving(self) -> AsyncGenerator[Self]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self.describes("/mcp")
        async with server:
            try:
                yield self
            finally:
                for task in self._serving:
                    task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, path, _ = head[0].split(" ")
            pairs = (line.split(": ", 1) for line in head[1:] if line)
            headers = {name.lower(): value for name, value in pairs}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            asked = Asked(method, path, headers, body)
            self.asked.append(asked)
            done = self.instead.get(path, self._answer)(asked)
            answered = done if isinstance(done, Answered) else await done
            data = answered.body
            data = data if isinstance(data, bytes) else json.dumps(data).encode()
            lines = [f"HTTP/1.1 {answered.status} Said", f"Content-Length: {len(data)}"]
            lines += [f"{name}: {value}" for name, value in answered.headers.items()]
            lines += ["Content-Type: application/json", "Connection: close", "", ""]
            writer.write("\r\n".join(lines).encode("latin-1") + data)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # Whoever asked has left, or the test is over.
        finally:
            writer.close()

    def _answer(self, asked: Asked) -> Answered:
        known = "/.well-known/oauth-protected-resource"
        match asked.path:
            case "/.well-known/oauth-authorization-server":
                return Answered(self.described())
            case path if path.startswith(known) and path.removeprefix(known) in self.resources:
                return Answered(self.resources[path.removeprefix(known)])
            case "/register":
                return Answered({**json.loads(asked.body), "client_id": "client-1"}, 201)
            case "/token":
                return self.give(asked)
            case "/revoke":
                self.refreshable.discard(asked.form["token"])
                return Answered()
            case _:
                return Answered(status=404)

    def described(self) -> Json:
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "registration_endpoint": f"{self.url}/register",
            "revocation_endpoint": f"{self.url}/revoke",
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["none"],
            **self.metadata,
        }

    def give(self, asked: Asked) -> Answered:
        old = asked.form.get("refresh_token")
        if old is not None and old not in self.refreshable:
            return Answered({"error": "invalid_grant"}, 400)
        self.refreshable.discard(old or "")
        self.given += 1
        access, fresh = f"access-{self.given}", f"refresh-{self.given}"
        self.valid.add(access)
        self.refreshable.add(fresh)
        bound = "dpop" in asked.headers
        given = {"access_token": access, "refresh_token": fresh}
        return Answered({**given, "token_type": "DPoP" if bound else "Bearer", **self.tokens})


class Person:
    """A visitor who agrees to everything, unless *instead* says otherwise.

    With *free* cleared they take their time; *there* is set when somebody sent them to a page.
    """

    redirect_uri = "http://127.0.0.1:4711/callback"

    def __init__(self) -> None:
        self.visits: list[Visit] = []
        self.ports: list[int | None] = []
        self.instead: Callable[[Visit], Visited] | None = None
        self.there = asyncio.Event()
        self.free = asyncio.Event()
        self.free.set()

    def __call__(self, port: int | None) -> _Sent:
        self.ports.append(port)
        return _Sent(self)

    def answers(self, **more: str | None) -> None:
        """Have them come back with this instead of a code."""

        def visit(step: Visit) -> Visited:
            said = {"code": "code-1", "state": asked(step)["state"], **more}
            return Visited({name: (value,) for name, value in said.items() if value is not None})

        self.instead = visit

    def scopes(self) -> list[set[str]]:
        return [set(visit.scopes) for visit in self.visits]


class _Sent:
    def __init__(self, person: Person) -> None:
        self._person = person
        self.redirect_uri = person.redirect_uri

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass

    async def __call__(self, visit: Visit) -> Visited:
        person = self._person
        person.visits.append(visit)
        person.there.set()
        await person.free.wait()
        if person.instead is not None:
            return person.instead(visit)
        return Visited({"code": ("code-1",), "state": (asked(visit)["state"],)})


def asked(visit: Visit) -> dict[str, str]:
    """What a login asks for, by its page."""
    return {name: values[0] for name, values in parse_qs(urlsplit(visit.url).query).items()}


class World:
    """All of them. The server takes the tokens that its issuer gave, unless *wants* says otherwise."""

    def __init__(self, issuer: Issuer) -> None:
        self.issuer = issuer
        self.other: Issuer | None = None
        self.clock = Clock()
        self.person = Person()
        self.credentials = Credentials.in_memory(clock=self.clock)
        self.desk = Desk(self.serve)
        self.challenge = "Bearer"
        self.wants: Callable[[Request], Reply | None] = lambda request: None

    @property
    def url(self) -> str:
        return f"{self.issuer.url}/mcp"

    def serve(self, request: Request) -> Reply:
        shown = request.headers.get("authorization", "").partition(" ")[2]
        if shown not in self.issuer.valid:
            return Reply(401, {"www-authenticate": self.challenge})
        return self.wants(request) or Reply()

    def oauth(self, **more: Any) -> OAuth:
        more = {"visitors": self.person, "clock": self.clock, **more}
        return OAuth(more.pop("credentials", self.credentials), **more)

    def engine(self, way: OAuth | None = None, url: str | None = None) -> AuthorizedEngine:
        return (way or self.oauth()).around(self.desk, url or self.url)

    def post(self, url: str | None = None) -> Request:
        return Request("POST", url or self.url, {}, b"{}")


@asynccontextmanager
async def world() -> AsyncGenerator[World]:
    async with Issuer().serving() as issuer:
        made = World(issuer)
        async with made.credentials:
            yield made
