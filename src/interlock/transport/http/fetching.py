"""The guarded fetcher: whatever a peer names and we go and get (metadata, keys, documents, icons)
comes through here.

Both the name and what answers are hostile until shown otherwise (Security Best Practices, Server-
Side Request Forgery). Where one may go is judged in `addresses`; here the judgement is kept: what
is connected to is what was judged, at every hop, and nothing goes on for long or grows large.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from ipaddress import ip_address
from ssl import SSLContext
from typing import Final
from urllib.parse import urljoin

from msgspec import Struct
from msgspec.structs import replace

from interlock.errors import ConnectFailed, ConnectionLost, InvalidMessage, TimedOut, UnsafeUrl
from interlock.transport.http.addresses import Place, Reach, is_written
from interlock.transport.http.engine import AiohttpEngine, Engine, Request, Resolve, Response
from interlock.transport.http.lookup import Lookup

LIMIT: Final = 256 * 1024
"""The most bytes a body may have, unpacked, unless told otherwise."""
SECONDS: Final = 10.0
"""How long all of a fetch may take, from the first name looked up to the last byte."""
REDIRECTS: Final = 3
ADDRESSES: Final = 8
"""How many addresses of a host are tried; all of them are judged."""

_REDIRECTED: Final = (301, 302, 303, 307, 308)
_OURS: Final = ("authorization", "cookie", "dpop", "proxy-authorization")
"""Headers that are for one origin and for no other."""


class Fetched(Struct, frozen=True):
    """What came of a fetch, whatever its status; *url* is where it finally came from."""

    status: int
    headers: Mapping[str, str]
    """By lower-case name; those of one name are joined by commas (RFC 9110 § 5.3)."""
    body: bytes
    url: str

    def __repr__(self) -> str:
        return f"Fetched({self.status}, {len(self.body)} bytes)"


class Fetcher:
    """Gets what peers name: over https, from public addresses, without cookies and proxies.

    *near* is the URL of the server that a person typed: its host may have any address, and if it
    is this machine, so may others that it names on this machine be, without encryption too.
    *allowed* are hosts and networks that an operator permits besides. *resolve* says which
    addresses a host has, *tls* whose certificates are believed; by default what the machine says.

    May be used by many at once, in one event loop. Raises `ConfigError` if *near* or *allowed*
    cannot be read.
    """

    def __init__(
        self,
        *,
        near: str | None = None,
        allowed: Sequence[str] = (),
        resolve: Resolve | None = None,
        tls: SSLContext | None = None,
    ) -> None:
        self._reach = Reach(near, allowed)
        self._resolve: Resolve = resolve or Lookup()
        # Where one may go depends on the scheme, and who opens a connection is told only host and
        # port: so each scheme has connections of its own.
        self._engines: dict[str, Engine] = {
            scheme: AiohttpEngine(resolve=partial(self._addresses, scheme), tls=tls)
            for scheme in ("https", "http")
        }

    async def fetch(
        self,
        request: Request,
        *,
        limit: int = LIMIT,
        seconds: float = SECONDS,
        redirects: int = REDIRECTS,
    ) -> Fetched:
        """Send *request*; what came back, also if it is an error.

        Redirects of GET and HEAD are followed, *redirects* of them at most; one more is handed
        over as it is, and so is any of another method. Credentials stay at the origin they were for.

        Raises `UnsafeUrl` where it will not go, first or later; `ConnectFailed` if nobody is
        there, `ConnectionLost` if the answer broke off, `InvalidMessage` if it is longer than
        *limit* bytes, `TimedOut` after *seconds*.
        """
        place = self._reach.place(request.url)
        try:
            async with asyncio.timeout(seconds):
                return await self._follow(request, place, limit, redirects)
        except TimeoutError:
            raise TimedOut(f"{place} did not answer in {seconds:g} seconds") from None

    async def close(self) -> None:
        """End all connections; whoever still waits for one gets `ConnectionLost`."""
        for engine in self._engines.values():
            await engine.close()

    async def _follow(self, request: Request, place: Place, limit: int, redirects: int) -> Fetched:
        while True:
            response = await self._send(request, place)
            try:
                onward = self._onward(request, place, response) if redirects > 0 else None
                if onward is None:
                    body = b"" if request.method == "HEAD" else await _read(response, place, limit)
                    headers = _joined(response.headers.items())
                    return Fetched(response.status, headers, body, request.url.partition("#")[0])
            finally:
                response.close()
            request, place = onward
            redirects -= 1

    async def _send(self, request: Request, place: Place) -> Response:
        # What is not packed cannot unpack to more; whoever packs it all the same is held to
        # *limit* by what comes out.
        headers = {"accept-encoding": "identity", **request.headers}
        try:
            return await self._engines[place.scheme].send(replace(request, headers=headers))
        except ConnectFailed as error:
            # The engine's text has the whole URL, which may hold what is nobody's business.
            cause = error.__cause__
            why = f": {cause}" if isinstance(cause, OSError) else ""
            raise ConnectFailed(f"Nothing answers at {place}{why}") from None
        except ConnectionLost:
            raise ConnectionLost(f"The connection to {place} broke off, or was closed") from None

    def _onward(
        self, request: Request, place: Place, response: Response
    ) -> tuple[Request, Place] | None:
        """Where a response sends us, and with what; None if it is one to be handed over."""
        if request.method not in ("GET", "HEAD") or response.status not in _REDIRECTED:
            return None
        location = _joined(response.headers.items()).get("location")
        if location is None:
            return None
        # `urljoin` would leave out some of what must not be in there, and then it were in order.
        if not is_written(location):
            raise UnsafeUrl(f"{place} redirects to what is no URL")
        try:
            url = urljoin(request.url, location)
        except ValueError:
            raise UnsafeUrl(f"{place} redirects to what is no URL") from None
        there = self._reach.place(url)
        if place.scheme == "https" and there.scheme != "https":
            raise UnsafeUrl(
                f"{place} redirects to {there}, without encryption; that is not followed"
            )
        headers = request.headers
        if (there.scheme, there.host, there.port) != (place.scheme, place.host, place.port):
            headers = {name: value for name, value in headers.items() if name.lower() not in _OURS}
        return replace(request, url=url, headers=headers), there

    async def _addresses(self, scheme: str, host: str, port: int) -> Sequence[str]:
        """What is connected to: asked for with each new connection, once, and judged."""
        found = await self._resolve(host, port)
        place = Place(scheme, host.rstrip(".").lower(), port)
        try:
            addresses = [ip_address(each) for each in found]
        except ValueError:
            raise UnsafeUrl(f"{place} has an address that cannot be read") from None
        self._reach.judge(place, addresses)
        return [str(address) for address in addresses[:ADDRESSES]]


async def _read(response: Response, place: Place, limit: int) -> bytes:
    try:
        return await response.read(limit)
    except InvalidMessage:
        raise InvalidMessage(f"{place} sends more than the {limit} bytes that are taken") from None
    except ConnectionLost:
        raise ConnectionLost(f"The answer from {place} broke off") from None


def _joined(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, raw in headers:
        key = name.lower()
        if key == "set-cookie":
            continue  # The one that cannot be joined; and nothing is kept anyway.
        # What is no UTF-8 was let through as surrogates, which can be written nowhere.
        value = raw.encode(errors="replace").decode()
        found[key] = f"{found[key]}, {value}" if key in found else value
    return found
