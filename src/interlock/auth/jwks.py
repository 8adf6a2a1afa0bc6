"""The keys of an issuer, fetched and kept: by whom tokens are signed, as long as that is known.

A key that is not there may be new, so keys are fetched anew for it, but not more often than once in
a while: tokens name their keys, and anybody can write a token.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol, cast

import msgspec

from interlock.auth.jwt import KEYS_AT_MOST
from interlock.auth.metadata import read_server, server_places
from interlock.errors import AuthorizationFailed, PeerError
from interlock.transport.http.engine import Request
from interlock.transport.http.fetching import Fetched
from interlock.wire.jsonrpc import UNREADABLE

log: Final = logging.getLogger("interlock.auth")

TTL: Final = 600.0
"""Seconds for which keys are taken to be the issuer's without looking."""
STALE: Final = 24 * 3600.0
"""Seconds for which they are still used while the issuer cannot be reached."""
PAUSE: Final = 30.0
RETRY: Final = 5.0
"""Seconds between two fetches for keys that were not there; and as long as there are none at all."""
SECONDS: Final = 10.0
LIMIT: Final = 256 * 1024
"""How long a document may take to come, and how many bytes it may have."""


class Fetching(Protocol):
    """What goes to addresses that others name, and not to just any: a `Fetcher` does."""

    async def fetch(self, request: Request, /, *, limit: int, seconds: float) -> Fetched:
        """Raises `PeerError` if nothing could be had."""
        ...


class Outbound:
    """*given*, or else a fetcher of our own for what is *near* a URL that an operator wrote; made
    when it is first needed, and again if it is needed after `close`.
    """

    def __init__(self, given: Fetching | None, near: str) -> None:
        self._given = given
        self._near = near
        self._made: Any = None

    async def fetch(self, request: Request, /, *, limit: int, seconds: float) -> Fetched:
        if self._given is not None:
            return await self._given.fetch(request, limit=limit, seconds=seconds)
        if self._made is None:
            # Kept out of programs that have no tokens to verify, with the HTTP client beneath.
            from interlock.transport.http.fetching import Fetcher

            self._made = Fetcher(near=self._near)
        return await self._made.fetch(request, limit=limit, seconds=seconds)

    async def close(self) -> None:
        made, self._made = self._made, None
        if made is not None:
            await made.close()


class Keys:
    """The public keys of *issuer*, for verifying what it signed.

    They are at *url*, or where its metadata says. Any number of tasks may ask at once; one fetches.
    """

    def __init__(
        self,
        issuer: str,
        url: str | None = None,
        *,
        fetcher: Fetching | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.issuer = issuer
        self._outbound = Outbound(fetcher, url or issuer)
        self._url = url
        self._clock = clock
        self._keys: Sequence[Mapping[str, Any]] | None = None
        self._since = 0.0
        self._tried: float | None = None
        self._failure: PeerError | None = None
        self._fetching: asyncio.Task[None] | None = None

    async def current(self) -> Sequence[Mapping[str, Any]]:
        """The keys as they were not long ago. Raises `PeerError` if there never were any, or not
        for a day.
        """
        now = self._clock()
        if self._keys is not None and now - self._since < TTL:
            return self._keys
        if self._may_try(now):
            await self._fetch()
        if self._keys is None or now - self._since >= STALE:
            raise AuthorizationFailed(
                f"The keys of {self.issuer} cannot be had: {self._failure or 'none came'}"
            )
        return self._keys

    async def anew(self) -> Sequence[Mapping[str, Any]] | None:
        """The keys as they are now, for a token whose key was not there; None if they were looked
        at too shortly ago to look again, or nothing could be had.
        """
        if not self._may_try(self._clock()):
            return None
        await self._fetch()
        return self._keys if self._failure is None else None

    async def close(self) -> None:
        await self._outbound.close()

    def _may_try(self, now: float) -> bool:
        pause = PAUSE if self._keys is not None else RETRY
        return self._fetching is not None or self._tried is None or now - self._tried >= pause

    async def _fetch(self) -> None:
        if self._fetching is None:
            self._tried = self._clock()
            self._fetching = asyncio.create_task(self._get(), name="interlock fetches keys")
            self._fetching.add_done_callback(self._fetched)
        # Whoever asked first may leave before it is done.
        await asyncio.shield(self._fetching)

    def _fetched(self, task: asyncio.Task[None]) -> None:
        self._fetching = None
        if not task.cancelled():
            task.exception()  # Read: nobody may wait for it any more.

    async def _get(self) -> None:
        try:
            url = self._url or await self._find()
            found = await self._outbound.fetch(_get(url), limit=LIMIT, seconds=SECONDS)
            if found.status != 200:
                raise AuthorizationFailed(f"{url} answered with HTTP {found.status}")
            self._keys = _read(found.body, url)
            self._since = self._clock()
            self._failure = None
        except PeerError as error:
            self._failure = error
            log.warning("the keys of %s could not be fetched: %s", self.issuer, error)

    async def _find(self) -> str:
        """Where the issuer says that its keys are."""
        for place in server_places(self.issuer):
            found = await self._outbound.fetch(_get(place), limit=LIMIT, seconds=SECONDS)
            if found.status == 200:
                # A document about another issuer ends the search: the next might be one's too.
                url = read_server(found.body, place, self.issuer).jwks_uri
                if url is None:
                    raise AuthorizationFailed(f"{place} does not say where keys are (jwks_uri)")
                return url
        raise AuthorizationFailed(f"{self.issuer} publishes no metadata of an authorization server")


def _get(url: str) -> Request:
    return Request("GET", url, {"accept": "application/json"})


def _read(body: bytes, url: str) -> list[Mapping[str, Any]]:
    try:
        found: Any = msgspec.json.decode(body)
    except UNREADABLE:
        found = None
    keys: Any = cast("dict[str, Any]", found).get("keys") if isinstance(found, dict) else None
    if not isinstance(keys, list):
        raise AuthorizationFailed(f"{url} is no set of keys: an object with 'keys' is expected")
    several = cast("list[Any]", keys)[:KEYS_AT_MOST]
    return [cast("dict[str, Any]", key) for key in several if isinstance(key, dict)]
