"""Documents of others, fetched through a guarded fetcher and kept for a while, within bounds."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from typing import Any, Final, Protocol, cast

import msgspec
from msgspec import Struct

from interlock.auth.jwt import KEYS_AT_MOST, BadToken, NoKey, Token, verify
from interlock.errors import AuthorizationFailed, PeerError
from interlock.transport.http.engine import Request
from interlock.transport.http.fetching import Fetched

SIZE_LIMIT: Final = 64 * 1024
KEPT: Final = 1000
"""Documents that are kept."""
AT_ONCE: Final = 8
"""Documents that are fetched at the same time; strangers say which."""
SECONDS: Final = 10.0
USUAL: Final = 3600.0
LEAST: Final = 60.0
"""Seconds for which a document is not asked for again, nor one that could not be had."""
MOST: Final = 24 * 3600.0

_MAX_AGE: Final = re.compile(r"(?:^|[,\s])max-age=([0-9]{1,9})(?:$|[,\s])")


class Fetcher(Protocol):
    """Fetches from public addresses only, within a size and a time; raises `PeerError`."""

    async def fetch(self, request: Request) -> Fetched: ...


class _Kept(Struct, frozen=True):
    body: bytes | None
    """None for one that could not be had."""
    fetched: float
    until: float


class Remote:
    """What can be had through *fetcher*; without one, nothing can.

    *known* are the URLs that whoever runs this has named. All others are strangers', who may name
    as many as they like, and as slow: they wait for one another, and keep nobody from these.
    """

    def __init__(
        self,
        fetcher: Fetcher | None,
        clock: Callable[[], float],
        *,
        known: Collection[str] = (),
    ) -> None:
        self.fetcher = fetcher
        self._clock = clock
        self._known = frozenset(known)
        self._kept: dict[str, _Kept] = {}
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._first = asyncio.Semaphore(AT_ONCE)

    async def get(self, url: str, *, anew: bool = False) -> bytes:
        """The JSON at *url*. With *anew* not what is kept, unless it was fetched just now.

        Raises `AuthorizationFailed` if there is none.
        """
        now = self._clock()
        kept = self._kept.get(url)
        if kept is None or now >= kept.until or (anew and now - kept.fetched >= LEAST):
            async with self._turn(url):
                kept = self._kept.get(url)  # Another may have had the turn before.
                if kept is None or now >= kept.until or (anew and now - kept.fetched >= LEAST):
                    kept = self._keep(url, kept, await self._fetch(url, now))
        if kept.body is None:
            raise AuthorizationFailed("The document could not be fetched: JSON is expected there")
        return kept.body

    @contextlib.asynccontextmanager
    async def _turn(self, url: str) -> AsyncGenerator[None]:
        turns = self._first if url in self._known else self._turns
        try:
            async with asyncio.timeout(SECONDS):
                await turns.acquire()
        except TimeoutError:
            raise AuthorizationFailed("Too many documents are fetched here; try again") from None
        try:
            yield
        finally:
            turns.release()

    def _keep(self, url: str, old: _Kept | None, new: _Kept) -> _Kept:
        if new.body is None and old is not None and new.fetched < old.until:
            # Looked at before its time: that it could not be had now takes nothing from it.
            new = _Kept(old.body, new.fetched, old.until)
        self._kept.pop(url, None)
        if len(self._kept) >= KEPT + len(self._known):
            del self._kept[next(each for each in self._kept if each not in self._known)]
        self._kept[url] = new
        return new

    async def _fetch(self, url: str, now: float) -> _Kept:
        nothing = _Kept(None, now, now + LEAST)
        if self.fetcher is None:
            return nothing
        try:
            async with asyncio.timeout(SECONDS):
                request = Request("GET", url, {"accept": "application/json"})
                found = await self.fetcher.fetch(request)
        except (PeerError, TimeoutError):
            return nothing
        kind = found.headers.get("content-type", "").partition(";")[0].strip().lower()
        json = kind == "application/json" or (
            kind.startswith("application/") and kind.endswith("+json")
        )
        # Elsewhere it would be somebody else's document.
        if found.status != 200 or found.url != url or not json or len(found.body) > SIZE_LIMIT:
            return nothing
        age = _MAX_AGE.search(found.headers.get("cache-control", "").lower())
        seconds = min(max(float(age[1]) if age else USUAL, LEAST), MOST)
        return _Kept(found.body, now, now + seconds)

    async def verify(
        self,
        token: str,
        keys: Sequence[Mapping[str, Any]],
        jwks_uri: str | None,
        types: Sequence[str],
    ) -> Token:
        """*token*, if one of *keys* or of those at *jwks_uri* signed it; raises `BadToken`."""
        if jwks_uri is None:
            return verify(token, keys, types=types)
        try:
            return verify(token, [*keys, *await self._keys(jwks_uri)], types=types)
        except NoKey:
            return verify(token, [*keys, *await self._keys(jwks_uri, anew=True)], types=types)

    async def _keys(self, url: str, *, anew: bool = False) -> list[Mapping[str, Any]]:
        try:
            body = await self.get(url, anew=anew)
        except AuthorizationFailed:
            raise BadToken("The keys of its issuer cannot be fetched") from None
        return public_keys(body)


def public_keys(data: bytes) -> list[Mapping[str, Any]]:
    """The keys of a JSON Web Key Set; raises `BadToken` if *data* is none."""
    try:
        found = msgspec.json.decode(data, type=dict[str, Any]).get("keys")
    except (msgspec.DecodeError, RecursionError):
        found = None
    if not isinstance(found, list):
        raise BadToken("The keys of its issuer cannot be read")
    several = cast("list[Any]", found)[:KEYS_AT_MOST]
    return [cast("dict[str, Any]", key) for key in several if isinstance(key, dict)]
