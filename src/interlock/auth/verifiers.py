"""The ways to find out whether an access token is good: by its signature, by asking, by knowing."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from base64 import b64encode
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, cast
from urllib.parse import quote_plus, urlencode

import msgspec

from interlock.auth.dpop import bound_to
from interlock.auth.jwks import LIMIT, SECONDS, Fetching, Keys, Outbound
from interlock.auth.jwt import ASYMMETRIC, BadToken, NoKey, Token, check_times, peek, verify
from interlock.auth.metadata import canonical
from interlock.errors import AuthorizationFailed, ConfigError
from interlock.protocol.gate import AccessToken, TokenVerifier
from interlock.transport.http.engine import Request
from interlock.wire.jsonrpc import UNREADABLE

__all__ = [
    "AccessToken",
    "IntrospectionVerifier",
    "JwtVerifier",
    "StaticVerifier",
    "TokenVerifier",
    "meant_for",
]

log: Final = logging.getLogger("interlock.auth")

SKEW: Final = 60.0
"""Seconds by which clocks may differ."""
KEPT: Final = 30.0
KEPT_AT_MOST: Final = 10_000
"""For how many seconds an endpoint's answer about a token is kept, and how many are."""
ASKED_AT_MOST: Final = 100
"""How many questions an endpoint is asked at once."""

_TYPES: Final = ("at+jwt", "jwt", "")
"""What an access token may call itself. Proofs, assertions and logouts have types of their own."""
_OF_LOGINS: Final = ("at_hash", "c_hash", "s_hash")
"""Claims that only ID tokens have (OpenID Connect Core § 3.3.2.11)."""


class StaticVerifier:
    """Knows the good tokens beforehand: for tests, and for servers with a few fixed callers."""

    def __init__(self, tokens: Mapping[str, AccessToken]) -> None:
        self._tokens = {_digest(token): found for token, found in tokens.items()}

    def __repr__(self) -> str:
        return f"StaticVerifier(<{len(self._tokens)} tokens>)"

    async def verify_token(self, token: str) -> AccessToken | None:
        return self._tokens.get(_digest(token))


class JwtVerifier:
    """Verifies tokens that are signed JSON Web Tokens (RFC 9068), by the keys of their issuer.

    *issuer* is one, or several; *audience* what must stand in `aud`: this resource's URL, or
    whatever the issuer writes instead of it. The keys are at *jwks_url* (of one issuer only), or
    where the issuer's metadata says.
    """

    def __init__(
        self,
        issuer: str | Sequence[str],
        audience: str | Sequence[str],
        jwks_url: str | None = None,
        *,
        algorithms: Collection[str] = ASYMMETRIC,
        fetcher: Fetching | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        issuers = (issuer,) if isinstance(issuer, str) else tuple(issuer)
        self._audience = (audience,) if isinstance(audience, str) else tuple(audience)
        if not issuers or not self._audience:
            raise ConfigError("JwtVerifier needs an issuer and an audience: whose, and for whom?")
        if jwks_url is not None and len(issuers) > 1:
            raise ConfigError("jwks_url= has the keys of one issuer; leave it out for several")
        if unknown := set(algorithms) - set(ASYMMETRIC):
            raise ConfigError(
                f"algorithms= knows {', '.join(ASYMMETRIC)}; got {', '.join(sorted(unknown))}"
            )
        self._algorithms = tuple(algorithms)
        self._clock = clock
        self._keys = {each: Keys(each, jwks_url, fetcher=fetcher, clock=clock) for each in issuers}

    async def verify_token(self, token: str) -> AccessToken | None:
        try:
            issuer = peek(token).text("iss")
            keys = self._keys.get(issuer or "")
            if keys is None:
                raise BadToken("It is of no issuer whose tokens are taken")
            found = await self._signed(token, keys)
            check_times(found, self._clock(), skew=SKEW)
            _check_use(found)
            if not any(meant_for(each, self._audience) for each in found.audiences):
                raise BadToken("It is meant for another audience (aud)")
        except BadToken as error:
            log.info("an access token is refused: %s", error)
            return None
        return AccessToken(
            token,
            client_id=found.text("client_id") or found.text("azp") or "",
            scopes=tuple(found.scopes),
            expires_at=found.number("exp"),
            subject=found.text("sub"),
            claims=found.claims,
            issuer=keys.issuer,
            jkt=bound_to(found),
            leeway=SKEW,
        )

    async def close(self) -> None:
        for keys in self._keys.values():
            await keys.close()

    async def _signed(self, token: str, keys: Keys) -> Token:
        known = await keys.current()
        try:
            return verify(token, known, algorithms=self._algorithms, types=_TYPES)
        except NoKey:
            fresh = await keys.anew()
            if fresh is None:
                raise
        return verify(token, fresh, algorithms=self._algorithms, types=_TYPES)


class IntrospectionVerifier:
    """Asks the authorization server about each token (RFC 7662), as one of its clients.

    *audience* is what must stand in the answer's `aud`, this resource's URL as a rule; None leaves
    it to the endpoint to call only those tokens active that are meant for this client. *issuer* is
    whom the answers speak for. What is answered is kept for *kept* seconds, and no longer than the
    token lives: the time until a revocation is noticed.
    """

    def __init__(
        self,
        endpoint: str,
        client_id: str,
        client_secret: str,
        *,
        audience: str | Sequence[str] | None,
        issuer: str | None = None,
        kept: float = KEPT,
        limit: int = KEPT_AT_MOST,
        fetcher: Fetching | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._endpoint = endpoint
        # Either is form-encoded before they are joined (RFC 6749 § 2.3.1).
        pair = f"{quote_plus(client_id)}:{quote_plus(client_secret)}"
        self._credentials = "Basic " + b64encode(pair.encode()).decode()
        self._audience = (audience,) if isinstance(audience, str) else audience
        self._issuer = issuer
        self._ttl = kept
        self._limit = limit
        self._outbound = Outbound(fetcher, endpoint)
        self._clock = clock
        self._kept: dict[bytes, tuple[float, AccessToken | None]] = {}
        self._asking: dict[bytes, asyncio.Task[AccessToken | None]] = {}

    def __repr__(self) -> str:
        return f"IntrospectionVerifier({self._endpoint!r})"

    async def verify_token(self, token: str) -> AccessToken | None:
        key = _digest(token)
        until, found = self._kept.get(key, (0.0, None))
        if self._clock() < until:
            return found
        asking = self._asking.get(key)
        if asking is None:
            if len(self._asking) >= ASKED_AT_MOST:
                raise AuthorizationFailed(f"{self._endpoint} is asked too much at once")
            asking = self._asking[key] = asyncio.create_task(self._find(key, token))
            asking.add_done_callback(lambda task: self._asked(key, task))
        # Whoever asked first may leave before it is answered.
        return await asyncio.shield(asking)

    async def close(self) -> None:
        await self._outbound.close()

    def _asked(self, key: bytes, task: asyncio.Task[AccessToken | None]) -> None:
        del self._asking[key]
        if not task.cancelled():
            task.exception()  # Read: nobody may wait for it any more.

    async def _find(self, key: bytes, token: str) -> AccessToken | None:
        said = await self._ask(token)
        now = self._clock()
        found = None
        try:
            found = self._read(token, said, now)
        except BadToken as error:
            log.info("an access token is refused: %s", error)
        until = now + self._ttl
        if found is not None and found.expires_at is not None:
            until = min(until, found.expires_at)
        self._kept.pop(key, None)
        while len(self._kept) >= max(1, self._limit):
            del self._kept[next(iter(self._kept))]
        self._kept[key] = (until, found)
        return found

    async def _ask(self, token: str) -> dict[str, Any]:
        headers = {
            "accept": "application/json",
            "authorization": self._credentials,
            "content-type": "application/x-www-form-urlencoded",
        }
        body = urlencode({"token": token, "token_type_hint": "access_token"}).encode()
        request = Request("POST", self._endpoint, headers, body)
        answer = await self._outbound.fetch(request, limit=LIMIT, seconds=SECONDS)
        if answer.status != 200:
            raise AuthorizationFailed(
                f"{self._endpoint} answered with HTTP {answer.status} when asked about a token; is "
                "this server one of its clients?"
            )
        try:
            said: Any = msgspec.json.decode(answer.body)
        except UNREADABLE:
            said = None
        if not isinstance(said, dict):
            raise AuthorizationFailed(f"{self._endpoint} answered with no JSON object")
        return cast("dict[str, Any]", said)

    def _read(self, token: str, said: dict[str, Any], now: float) -> AccessToken:
        if said.get("active") is not True:
            raise BadToken("It is not active")
        found = Token({}, said)
        check_times(found, now, skew=SKEW, expires=False)
        issuer = found.text("iss")
        if self._issuer is not None and issuer not in (None, self._issuer):
            raise BadToken("It is of another issuer (iss)")
        audience = self._audience
        if audience is not None and not any(meant_for(each, audience) for each in found.audiences):
            raise BadToken("It is meant for another audience (aud)")
        return AccessToken(
            token,
            client_id=found.text("client_id") or "",
            scopes=tuple(found.scopes),
            expires_at=found.number("exp"),
            subject=found.text("sub"),
            claims=said,
            issuer=self._issuer or issuer,
            jkt=bound_to(found),
            leeway=SKEW,
        )


def meant_for(audience: str, ours: Collection[str]) -> bool:
    """Whether *audience* is one of *ours*; resources are compared by their canonical URLs."""
    return audience in ours or _canonical(audience) in {_canonical(each) for each in ours}


def _canonical(url: str) -> str:
    try:
        return canonical(url)
    except ConfigError:
        return url  # It is a name, and none of a place.


def _check_use(token: Token) -> None:
    """Raise for what is signed by the issuer as well, but is there to say who logged in."""
    claims = token.claims
    use = str(claims.get("token_use", "access")).lower()
    if any(claim in claims for claim in _OF_LOGINS) or claims.get("typ") == "ID" or use != "access":
        raise BadToken("It is an ID token; an access token is expected")


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
