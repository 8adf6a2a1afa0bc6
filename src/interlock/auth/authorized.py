"""An engine that says who we are with what it sends, and finds out how when it is asked.

It knows tokens and challenges, and leaves it to a holder where tokens come from. A token goes to
the one server that it is for: never to another origin, and never on by a redirect, which no engine
follows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from interlock.auth import dpop
from interlock.auth.challenge import Challenge, parse
from interlock.auth.jwt import SigningKey
from interlock.auth.requesting import usable_scopes
from interlock.transport.http.engine import Engine, Request, Response

TRIES: Final = 3
"""How often one request is answered anew with another proof of who we are, nonces aside."""


class Pass(Struct, frozen=True):
    """What shows a server who we are: a token, and the key it is bound to if it is to one.

    A *fresh* one was obtained just now, for the request that it is sent with.
    """

    token: str
    key: SigningKey | None = None
    fresh: bool = False

    def __repr__(self) -> str:
        return f"Pass({'DPoP' if self.key is not None else 'Bearer'})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("key", self.key), ("fresh", self.fresh)]


class Refused(Struct, frozen=True):
    """How a server refused a request: 401 or 403, and what it wants instead. *tries* counts how
    often the same request was refused before.
    """

    status: int
    challenges: Sequence[Challenge]
    tries: int = 0

    @property
    def scopes(self) -> tuple[str, ...]:
        """The scopes that it asks for."""
        return usable_scopes(scope for each in self.challenges for scope in each.scopes)

    def says(self, error: str) -> bool:
        return any(each.parameters.get("error") == error for each in self.challenges)


class Holder(Protocol):
    """Holds the pass to one server, and gets another where it is refused."""

    async def current(self) -> Pass | None:
        """The pass to send, renewed if its time is over; None if there is none yet."""
        ...

    async def answer(self, used: Pass | None, refused: Refused) -> Pass | None:
        """Another pass than *used*, which was refused; None if there is no use in trying again."""
        ...


class AuthorizedEngine:
    """Sends requests with the pass that *holder* has for the server at *url*."""

    def __init__(
        self, engine: Engine, url: str, holder: Holder, clock: Callable[[], float] = time.time
    ) -> None:
        self._engine = engine
        self._origin = _origin(url)
        self._holder = holder
        self._clock = clock
        self._nonce: str | None = None

    async def send(self, request: Request) -> Response:
        if self._origin is None or _origin(request.url) != self._origin:
            return await self._engine.send(request)
        shown = await self._holder.current()
        tries = 0
        asked_for_nonce = False
        while True:
            response = await self._engine.send(self._with(request, shown))
            nonce = dpop.usable_nonce(response.headers.get("dpop-nonce"))
            self._nonce = nonce or self._nonce
            if response.status not in (401, 403) or tries >= TRIES:
                return response
            if request.method == "DELETE":
                return response  # A farewell: nobody logs in for it.
            refused = Refused(response.status, parse(_values(response.headers)), tries)
            if shown is not None and shown.key is not None and refused.says("use_dpop_nonce"):
                if asked_for_nonce or nonce is None:
                    return response
                asked_for_nonce = True
                response.close()
                continue
            try:
                other = await self._holder.answer(shown, refused)
            except BaseException:
                response.close()
                raise
            if other is None:
                return response
            response.close()
            shown = other
            tries += 1

    async def close(self) -> None:
        await self._engine.close()

    def _with(self, request: Request, shown: Pass | None) -> Request:
        if shown is None:
            return request
        headers = {**request.headers}
        if shown.key is None:
            headers["authorization"] = f"Bearer {shown.token}"
        else:
            # A proof for each request of its own (RFC 9449 § 4.2).
            headers["authorization"] = f"DPoP {shown.token}"
            headers["dpop"] = dpop.prove(
                shown.key,
                request.method,
                request.url,
                now=self._clock(),
                token=shown.token,
                nonce=self._nonce,
            )
        return msgspec.structs.replace(request, headers=headers)


def _origin(url: str) -> tuple[str, str, int | None] | None:
    """Whom a URL is sent to, however it is written; None for what says more than that, or less."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if not parts.hostname or parts.username is not None:
        return None
    return parts.scheme, parts.hostname, port or {"https": 443, "http": 80}.get(parts.scheme)


def _values(headers: Mapping[str, str]) -> list[str]:
    """All `WWW-Authenticate` headers: a mapping of the library's has more than one value a name."""
    several: Any = getattr(headers, "getall", None)
    if several is not None:
        return list(several("www-authenticate", []))
    value = headers.get("www-authenticate")
    return [value] if value is not None else []
