"""Fetching from an issuer in its own process: what it publishes may not be reached from there at the
URL that others reach it at, behind a proxy or a tunnel.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from interlock.auth.issuer.issuer import Issuer
from interlock.auth.issuer.requests import Request as Asked
from interlock.errors import ConnectFailed
from interlock.transport.http.engine import Request
from interlock.transport.http.fetching import Fetched


class Within:
    """A fetcher of what *issuer* publishes and of nothing else. It may be set later."""

    def __init__(self, issuer: Issuer | None = None) -> None:
        self.issuer = issuer

    async def fetch(self, request: Request, /, *, limit: int, seconds: float) -> Fetched:
        """Its own documents are as short and as quick as they are: neither bound is looked at."""
        place = urlsplit(request.url)
        ours = urlsplit(self.issuer.url) if self.issuer is not None else None
        if self.issuer is None or ours is None or place[:2] != ours[:2]:
            raise ConnectFailed(f"{request.url} is not of the issuer in this process")
        asked = Asked(request.method, place.path, place.query, {"host": (place.netloc,)})
        answer = await self.issuer.handle(asked)
        headers = {name.decode().lower(): value.decode("latin-1") for name, value in answer.headers}
        return Fetched(answer.status, headers, answer.body, request.url)
