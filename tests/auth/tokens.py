"""An issuer as tests of the resource server need one: it signs, and its documents can be fetched."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from interlock.auth.jwt import SigningKey
from interlock.errors import ConnectFailed
from interlock.transport.http.engine import Request
from interlock.transport.http.fetching import Fetched

ISSUER = "https://login.example.com/tenant"
RESOURCE = "https://api.example.com/mcp"
NOW = 1_800_000_000.0


class Web:
    """What can be fetched, by URL, and what was. Set *gate* and fetches wait for it."""

    def __init__(self) -> None:
        self.pages: dict[str, Callable[[Request], tuple[int, Any]]] = {}
        self.asked: list[Request] = []
        self.down = False
        self.gate: asyncio.Event | None = None

    def put(self, url: str, page: Any, status: int = 200) -> None:
        self.pages[url] = lambda _: (status, page)

    async def fetch(self, request: Request, /, *, limit: int, seconds: float) -> Fetched:
        self.asked.append(request)
        if self.gate is not None:
            await self.gate.wait()
        if self.down:
            raise ConnectFailed(f"Nothing answers at {request.url}")
        page = self.pages.get(request.url)
        if page is None:
            return Fetched(404, {}, b"no such page", request.url)
        status, content = page(request)
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        assert len(body) <= limit
        return Fetched(status, {}, body, request.url)

    @property
    def urls(self) -> list[str]:
        return [request.url for request in self.asked]


class Issuer:
    """An authorization server that can be fetched on a `Web`."""

    def __init__(self, web: Web, issuer: str = ISSUER) -> None:
        self.web = web
        self.issuer = issuer
        self.key = SigningKey.generate()
        self.jwks_url = f"{issuer}/keys"
        self.publish()

    def publish(self) -> None:
        place = self.issuer.replace(
            "example.com", "example.com/.well-known/oauth-authorization-server"
        )
        self.web.put(place, {"issuer": self.issuer, "jwks_uri": self.jwks_url})
        self.web.put(self.jwks_url, {"keys": [self.key.public]})

    def rotate(self) -> None:
        self.key = SigningKey.generate()
        self.publish()

    def token(self, header: dict[str, Any] | None = None, /, **claims: Any) -> str:
        """A good token, but for what is said otherwise; ... takes a claim away."""
        said: dict[str, Any] = {
            "iss": self.issuer,
            "aud": RESOURCE,
            "sub": "ada",
            "client_id": "editor",
            "scope": "files:read",
            "iat": NOW,
            "exp": NOW + 600,
            **claims,
        }
        said = {name: value for name, value in said.items() if value is not ...}
        return self.key.sign(said, **{"typ": "at+jwt", **(header or {})})
