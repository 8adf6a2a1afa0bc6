"""How a client shows servers who it is: as a person who logged in, or as a program with a secret of
its own.

Each is an `Authorization`: hand it to `Client(url, auth=…)`. One may serve many clients and servers.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias
from urllib.parse import urlsplit

from interlock.auth.authorized import AuthorizedEngine, Refused
from interlock.auth.credentials import Credentials, Grant
from interlock.auth.discovery import Authority, discover
from interlock.auth.flow import client_credentials, id_jag, log_in, vouched, wanted_scopes
from interlock.auth.holding import (
    Holding,
    KeptHolding,
    OnPerson,
    fresh_proof,
    reusable,
)
from interlock.auth.jwt import BadToken, SigningKey
from interlock.auth.metadata import (
    CLIENT_CREDENTIALS,
    CODE,
    JWT_BEARER,
    ClientAuth,
    Registered,
    canonical,
    is_loopback,
)
from interlock.auth.registering import Identity, Standing, known, stand
from interlock.auth.requesting import Counter, Tokens
from interlock.auth.steps import Visit, Visited
from interlock.errors import AuthorizationFailed, ConfigError, LoginNeeded, PeerError
from interlock.transport.http.engine import Engine, Request, Response

CLIENT_CREDENTIALS_EXTENSION: Final = "io.modelcontextprotocol/oauth-client-credentials"
ENTERPRISE_EXTENSION: Final = "io.modelcontextprotocol/enterprise-managed-authorization"
WORKLOAD_EXTENSION: Final = "io.modelcontextprotocol/auth/wif"
LOGINS: Final = 10
LOGINS_WITHIN: Final = 600.0
"""How many logins to one server a person is asked for within how many seconds: one that takes no
token that it had them obtain, or thinks of ever new scopes, would ask for ever."""
_SECRET_LIMIT: Final = 64 * 1024


class Visitor(Protocol):
    """Sends a person to a page, and waits for what their browser comes back with."""

    @property
    def redirect_uri(self) -> str: ...

    async def __call__(self, visit: Visit) -> Visited: ...


Visitors: TypeAlias = Callable[[int | None], AbstractAsyncContextManager[Visitor]]
"""Makes a visitor for one login; it is handed the port that was used the last time, if there was one."""
Secret: TypeAlias = str | Path | Callable[[], str | Awaitable[str]]
"""Something secret: itself, a file that holds it and is read each time, or a function that gives it."""


class Authorizing:
    """What all ways have in common: a holding for each server."""

    extensions: tuple[str, ...] = ()
    """What the protocol calls this way, for clients to declare."""

    def __init__(self, allowed: Iterable[str], clock: Callable[[], float]) -> None:
        self.allowed: tuple[str, ...] = tuple(allowed)
        # Where a token may go without TLS; others may be added to where one may ask for one.
        self._plain = frozenset(each.lower() for each in self.allowed)
        self.clock = clock
        self._holdings: dict[str, Holding] = {}

    def around(
        self, engine: Engine, url: str, on_person: OnPerson | None = None
    ) -> AuthorizedEngine:
        """An engine that shows the server at *url* who we are; *on_person* hears when it waits for
        a person. Raises `ConfigError` for a URL to which no token can be sent.
        """
        canonical(url)
        if not (url.lower().startswith("https:") or is_loopback(url) or self._is_allowed(url)):
            raise ConfigError(
                f"{url} has no TLS, so whoever is on the way could take the token: https:// is "
                "expected; where it is safe all the same, name the host in allowed="
            )
        holding = self._holdings.get(url)
        if holding is None:
            holding = self._holdings[url] = self._hold(url)
        return _Engine(engine, url, holding, on_person, self.clock)

    def _is_allowed(self, url: str) -> bool:
        return urlsplit(url).hostname in self._plain

    async def close(self) -> None:
        """End logins that are under way."""
        holdings, self._holdings = list(self._holdings.values()), {}
        await asyncio.gather(*(holding.close() for holding in holdings))

    def _hold(self, url: str) -> Holding:
        raise NotImplementedError


class _Engine(AuthorizedEngine):
    def __init__(
        self,
        engine: Engine,
        url: str,
        holding: Holding,
        on_person: OnPerson | None,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(engine, url, holding, clock)
        self._holding = holding
        self._on_person = on_person
        if on_person is not None:
            holding.listen(on_person)

    async def send(self, request: Request) -> Response:
        if self._on_person is not None:
            self._holding.catch_up(self._on_person)
        return await super().send(request)

    async def close(self) -> None:
        if self._on_person is not None:
            self._holding.leave(self._on_person)
        await self._holding.settle()
        await super().close()


class OAuth(Authorizing):
    """A person, who logs in once in a browser; afterwards what came of it is kept and renewed.

    *credentials* is where it is kept; by default beside this user's other state, encrypted.
    *visitors* is how the person is sent to the login; None for where nobody is, which raises
    `LoginNeeded` then. *principal* is whose credentials these are, where one program acts for
    several. *scopes* are asked for besides what a server asks for. With *client_id* (and
    *client_secret*) a client is used that was registered by hand, with *issuer* only there, without
    it where the person has logged in to that server before; with
    *document* the https URL of a client metadata document. *metadata_url* is where the server's
    authorization server describes itself, if that is not found. *name* is what we register as. *dpop*
    True binds tokens to a key or fails, False never does; by default they are where both sides can.
    *allowed* are hosts and networks ("10.0.0.0/8") that authorization servers may be at though they
    are not public; the server's own host is allowed, as whoever uses it wrote that down.
    """

    def __init__(
        self,
        credentials: Credentials | None = None,
        *,
        visitors: Visitors | None = None,
        principal: str = "",
        scopes: Iterable[str] = (),
        client_id: str | None = None,
        client_secret: str | None = None,
        issuer: str | None = None,
        document: str | None = None,
        key: SigningKey | None = None,
        metadata_url: str | None = None,
        name: str = "Interlock",
        dpop: bool | None = None,
        allowed: Iterable[str] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        if metadata_url is not None:
            canonical(metadata_url)
        super().__init__(allowed, clock)
        if metadata_url is not None:
            # Somebody here wrote it down, as they did the server's.
            self.allowed = (*self.allowed, urlsplit(metadata_url).hostname or "")
        if client_secret is not None and client_id is None:
            raise ConfigError("A client secret needs the client_id that it belongs to")
        if credentials is None:
            from interlock.auth.credentials import open_credentials

            credentials = open_credentials()
        registered = Registered(client_id, client_secret) if client_id is not None else None
        self.identity = Identity(name, registered, issuer, document, key)
        self.credentials = credentials
        self.visitors = visitors
        self.metadata_url = metadata_url
        self.principal = principal
        self.scopes = tuple(scopes)
        self.dpop = dpop

    def __repr__(self) -> str:
        return f"OAuth({self.identity.name!r})"

    async def log_in(self, url: str) -> Grant:
        """Have the person log in to the server at *url* now, whether or not they are already.

        Raises `AuthorizationFailed` if it wants no login, or if it came to nothing.
        """
        holding = self._person(url)
        return await holding.log_in()

    async def log_out(self, url: str) -> bool:
        """Forget the login to *url*, here and at its issuer; whether there was one.

        A login under way is ended. Raises `PeerError`, mostly `AuthorizationFailed`, if the issuer
        could not be told: here it is forgotten all the same.
        """
        return await self._person(url).log_out()

    def _person(self, url: str) -> _Person:
        holding = self._holdings.get(url)
        if not isinstance(holding, _Person):
            holding = self._holdings[url] = _Person(self, url)
        return holding

    def _hold(self, url: str) -> Holding:
        return _Person(self, url)


class _Person(KeptHolding):
    """A person's pass to one server."""

    def __init__(self, way: OAuth, url: str) -> None:
        super().__init__(
            url,
            way.credentials,
            way.principal,
            key=way.identity.key,
            allowed=way.allowed,
            clock=way.clock,
        )
        self._way = way
        self._logins: deque[float] = deque(maxlen=LOGINS)

    async def log_in(self) -> Grant:
        async with self._lock:
            await self._look_up()
            self._logins.clear()
            # As if it was refused before: what was obtained for another server is not what is meant.
            return await self._obtained(Refused(401, (), 1))

    async def log_out(self) -> bool:
        # What is under way would be kept behind our back.
        await self.close()
        async with self._lock:
            grant = await self._look_up()
            async with contextlib.AsyncExitStack() as held:
                if grant is not None:
                    turn = self._credentials.turn(grant.issuer, grant.resource, self._principal)
                    await held.enter_async_context(turn)
                dropped = await self._credentials.drop(self.url, self._principal)
            self._grant = self._issuer = None
            self._asked = ()
            self._denied.clear()
        failed: PeerError | None = None
        for grant in dropped:
            if grant.revocation_endpoint is None:
                continue
            counter = Counter(
                grant.issuer,
                grant.token_endpoint,
                grant.client,
                grant.auth_method,
                clock=self._clock,
                key=self._key,
            )
            token = grant.refresh_token or grant.access_token
            try:
                await self.converse(counter.revoke(grant.revocation_endpoint, token))
            except PeerError as error:
                failed = error  # The others are told all the same.
        if failed is not None:
            raise failed
        return bool(dropped)

    async def _obtain(self, refused: Refused) -> Grant:
        way = self._way
        if way.visitors is None:
            wanted = refused.scopes if refused.status == 403 else ()
            raise LoginNeeded(self.url, scopes=wanted)
        authority = await self.converse(
            discover(self.url, refused.challenges, self._choose, metadata_url=way.metadata_url)
        )
        self._hold_issuer(authority)
        if (held := await self._held(authority, refused)) is not None:
            return held
        before = await way.credentials.registered(authority.issuer)
        scopes = wanted_scopes(
            authority, challenged=refused.scopes, before=self._asked, told=way.scopes
        )
        self._not_too_often()
        async with way.visitors(reusable(before)) as visitor:
            redirect_uri = visitor.redirect_uri
            standing = await self.converse(
                stand(
                    authority.server,
                    way.identity,
                    redirect_uri,
                    before=before,
                    now=self._clock(),
                )
            )
            if standing.fresh:
                await way.credentials.register(authority.issuer, standing.client)
            proof = fresh_proof(authority, way.dpop)
            counter = self.counter(authority, standing, way.identity.key, proof)
            try:
                tokens = await self.converse(
                    log_in(authority, standing, counter, redirect_uri, scopes), visitor
                )
            except AuthorizationFailed as error:
                if error.error == "invalid_client" and before is not None:
                    # It was registered once, and is not known there any more.
                    await way.credentials.forget_registration(authority.issuer)
                raise
        grant = self.granted(authority, standing, tokens, scopes, proof, CODE)
        await self._keep(grant)
        return grant

    def _hold_issuer(self, authority: Authority) -> None:
        """Raise if a client that was registered by hand would be shown to somebody new: its server
        alone says so (2026-07-28 § Client Registration).
        """
        way, before = self._way, self._issuer
        told = way.identity.issuer is not None or way.metadata_url is not None
        if way.identity.known is None or told or before in (None, authority.issuer):
            return
        raise AuthorizationFailed(
            f"{self.url} wants tokens of {authority.issuer} now, and {before} is where its client "
            f"{way.identity.known.client_id!r} was used before; it is not shown to another. If it is "
            "registered there too, log out, and log in with issuer= or metadata_url="
        )

    def _not_too_often(self) -> None:
        now = self._clock()
        if len(self._logins) == LOGINS and now - self._logins[0] < LOGINS_WITHIN:
            raise AuthorizationFailed(
                f"{self.url} wanted {LOGINS} logins within {LOGINS_WITHIN / 60:g} minutes, and "
                "wants another; nobody is asked for now"
            )
        self._logins.append(now)

    def _choose(self, issuers: Sequence[str]) -> str:
        """The one where the person has logged in before, if it is still one of them."""
        before = self._issuer
        return before if before is not None and before in issuers else issuers[0]

    async def _held(self, authority: Authority, refused: Refused) -> Grant | None:
        """What a login to another server of the same resource came to, if it will do here."""
        if refused.status != 401 or refused.tries or self._grant is not None:
            return None
        held = await self._credentials.held(authority.issuer, authority.resource, self._principal)
        if held is None or not set(refused.scopes) <= set(held.scopes):
            return None
        await self._keep(held)
        return held


class _Program(Authorizing):
    """A program with a secret of its own. Its tokens stay in memory: another is soon got."""

    def __init__(
        self,
        scopes: Iterable[str],
        dpop: bool | None,
        allowed: Iterable[str],
        clock: Callable[[], float],
    ) -> None:
        super().__init__(allowed, clock)
        self.scopes = tuple(scopes)
        self.dpop = dpop
        self.identity = Identity()
        self.settled: str | None = None
        """The issuer that has given a token: what proves us is shown to no other from then on."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(…)"

    def _hold(self, url: str) -> Holding:
        return _Machine(self, url)

    def standing(self, authority: Authority) -> Standing:
        """Who the program is at *authority*'s issuer."""
        standing = known(authority.server, self.identity)
        if standing is None:
            return Standing(Registered(""), "none")
        return standing

    async def obtain(
        self, holding: Holding, authority: Authority, counter: Counter, scopes: tuple[str, ...]
    ) -> tuple[Tokens, str]:
        """Tokens, and the grant they came by."""
        raise NotImplementedError


class _Machine(Holding):
    def __init__(self, way: _Program, url: str) -> None:
        super().__init__(url, allowed=way.allowed, clock=way.clock)
        self._way = way

    async def _obtain(self, refused: Refused) -> Grant:
        way = self._way
        authority = await self.converse(discover(self.url, refused.challenges))
        if way.settled not in (None, authority.issuer):
            raise AuthorizationFailed(
                f"{self.url} wants tokens of {authority.issuer}, and {way.settled} is where they came "
                "from before; what proves this program is not shown to another"
            )
        scopes = wanted_scopes(
            authority,
            challenged=refused.scopes,
            before=self._asked,
            told=way.scopes,
            lasting=False,
        )
        standing = way.standing(authority)
        proof = fresh_proof(authority, way.dpop)
        counter = self.counter(authority, standing, way.identity.key, proof)
        tokens, grant_type = await way.obtain(self, authority, counter, scopes)
        way.settled = authority.issuer
        grant = self.granted(authority, standing, tokens, scopes, proof, grant_type)
        await self._keep(grant)
        return grant


class ClientCredentials(_Program):
    """A program that is a client in its own right (extension oauth-client-credentials).

    It proves itself with *client_secret*, or with *private_key* (PEM) and *algorithm*, of which its
    authorization server knows the public half. *issuer* is where it is registered: give it, and
    nobody else can have the server send it elsewhere; without it the first to give a token stays the
    only one.
    """

    extensions = (CLIENT_CREDENTIALS_EXTENSION,)

    def __init__(
        self,
        client_id: str,
        client_secret: str | None = None,
        *,
        private_key: str | SigningKey | None = None,
        algorithm: str = "ES256",
        issuer: str | None = None,
        scopes: Iterable[str] = (),
        dpop: bool | None = None,
        allowed: Iterable[str] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(scopes, dpop, allowed, clock)
        if (client_secret is None) == (private_key is None):
            raise ConfigError("A client proves itself with a client_secret or with a private_key")
        self.identity = Identity(
            known=Registered(client_id, client_secret),
            issuer=issuer,
            key=_key(private_key, algorithm),
        )

    async def obtain(
        self, holding: Holding, authority: Authority, counter: Counter, scopes: tuple[str, ...]
    ) -> tuple[Tokens, str]:
        conversation = client_credentials(authority, counter, scopes)
        return await holding.converse(conversation), CLIENT_CREDENTIALS


class EnterpriseManaged(_Program):
    """A person of an organisation, whose identity provider vouches for them (extension
    enterprise-managed-authorization): nobody is sent to a login of the server's.

    *id_token* is what the person's own login at the identity provider came to; it is exchanged at
    *token_endpoint* there, as *provider_client_id* (with *provider_client_secret* if it has one),
    for an assertion that the server's authorization server takes from *client_id*.
    """

    extensions = (ENTERPRISE_EXTENSION,)

    def __init__(
        self,
        client_id: str,
        client_secret: str | None = None,
        *,
        id_token: Secret,
        token_endpoint: str,
        provider_client_id: str,
        provider_client_secret: str | None = None,
        private_key: str | SigningKey | None = None,
        algorithm: str = "ES256",
        issuer: str | None = None,
        scopes: Iterable[str] = (),
        dpop: bool | None = None,
        allowed: Iterable[str] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(scopes, dpop, allowed, clock)
        self.identity = Identity(
            known=Registered(client_id, client_secret),
            issuer=issuer,
            key=_key(private_key, algorithm),
        )
        self._id_token = id_token
        self._endpoint = token_endpoint
        method: ClientAuth = "client_secret_basic" if provider_client_secret else "none"
        self._provider = Standing(Registered(provider_client_id, provider_client_secret), method)

    async def obtain(
        self, holding: Holding, authority: Authority, counter: Counter, scopes: tuple[str, ...]
    ) -> tuple[Tokens, str]:
        provider = Counter(
            self._endpoint,
            self._endpoint,
            self._provider.client,
            self._provider.method,
            clock=self.clock,
        )
        id_token = await _revealed(self._id_token)
        assertion = await holding.converse(
            id_jag(authority, provider, id_token, scopes), near=self._endpoint
        )
        return await holding.converse(vouched(authority, counter, assertion, scopes)), JWT_BEARER


class WorkloadIdentity(_Program):
    """A program whose platform vouches for it (extension auth/wif): nothing is registered, and no
    secret is kept.

    *token* is the platform's, for the authorization server; a file is read anew each time, as
    platforms replace them. What is refused is not tried again.
    """

    extensions = (WORKLOAD_EXTENSION,)

    def __init__(
        self,
        token: Secret,
        *,
        client_id: str | None = None,
        issuer: str | None = None,
        scopes: Iterable[str] = (),
        dpop: bool | None = None,
        allowed: Iterable[str] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(scopes, dpop, allowed, clock)
        self._token = token
        self._issuer = issuer
        self._client_id = client_id

    def standing(self, authority: Authority) -> Standing:
        if self._issuer is not None and self._issuer != authority.issuer:
            raise AuthorizationFailed(
                f"The workload is known to {self._issuer}, and the server wants tokens of "
                f"{authority.issuer}"
            )
        return Standing(Registered(self._client_id or ""), "none")

    async def obtain(
        self, holding: Holding, authority: Authority, counter: Counter, scopes: tuple[str, ...]
    ) -> tuple[Tokens, str]:
        assertion = await _revealed(self._token)
        return await holding.converse(vouched(authority, counter, assertion, scopes)), JWT_BEARER


def _key(given: str | SigningKey | None, algorithm: str) -> SigningKey | None:
    if given is None or isinstance(given, SigningKey):
        return given
    try:
        return SigningKey.from_pem(given, algorithm)
    except BadToken as error:
        raise ConfigError(str(error)) from None


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            text = file.read(_SECRET_LIMIT + 1).decode("ascii").strip()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        text = ""
    if not text or len(text) > _SECRET_LIMIT:
        raise ConfigError(
            f"{path} holds no token: one of {_SECRET_LIMIT} letters at most is expected"
        )
    return text


async def _revealed(secret: Secret) -> str:
    if isinstance(secret, Path):
        return await asyncio.to_thread(_read, secret)
    if isinstance(secret, str):
        return secret
    found: Any = secret()
    return found if isinstance(found, str) else await found
