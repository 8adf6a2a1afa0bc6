"""The pass to one server: kept, renewed before it ends, and obtained anew where it is refused.

However many requests are refused at once, one of them sees to it and the others wait; processes
that share credentials take turns.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Final, TypeVar
from urllib.parse import urlsplit

import msgspec

from interlock.auth import dpop
from interlock.auth.authorized import Pass, Refused
from interlock.auth.browser import Fetching, VisitFunction, drive
from interlock.auth.credentials import Credentials, Grant
from interlock.auth.discovery import Authority
from interlock.auth.flow import refresh
from interlock.auth.jwt import SigningKey
from interlock.auth.metadata import Registered
from interlock.auth.registering import Standing
from interlock.auth.requesting import Counter, Tokens
from interlock.auth.steps import Conversation, Visit, Visited
from interlock.errors import AuthorizationFailed, InterlockError, LoginNeeded, UnsafeUrl
from interlock.transport.http.addresses import unsafe
from interlock.transport.http.fetching import Fetcher

log: Final = logging.getLogger("interlock.auth")

EARLY: Final = 30.0
"""Seconds before its end at which a token is renewed, so that none ends on its way."""
SPARED: Final = 5.0
"""Seconds for which an issuer that could not renew a token in time is not asked again."""
_GONE: Final = ("invalid_grant", "invalid_client", "unauthorized_client")
"""What is said of a refresh token that will never be good again."""

T = TypeVar("T")

OnPerson = Callable[[bool], None]
"""Hears that a person is waited for, and that this is over: their time is not the server's."""


class Holding:
    """What is common to all who hold a pass: one for each server and each way to get one.

    *allowed* are hosts and networks that may be gone to though they are not public. Subclasses say
    where a grant is kept and how one is obtained.
    """

    def __init__(
        self,
        url: str,
        *,
        allowed: Sequence[str] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.url = url
        self._allowed = allowed
        self._clock = clock
        self._grant: Grant | None = None
        self._asked: tuple[str, ...] = ()
        self._denied: set[frozenset[str]] = set()
        self._nonces: dict[str, str] = {}
        self._lock = asyncio.Lock()
        self._turns = 0
        self._failure: InterlockError | None = None
        self._spared_until = 0.0
        self._obtaining: asyncio.Task[Grant] | None = None
        self._attended_to = False
        self._listeners: list[OnPerson] = []
        self._told: list[OnPerson] = []

    # What an engine asks.

    async def current(self) -> Pass | None:
        grant = self._grant or await self._look_up()
        if grant is None:
            return None
        if self._is_due(grant):
            grant = await self._renewed_in_time(grant)
        return _pass(grant) if grant is not None else None

    async def answer(self, used: Pass | None, refused: Refused) -> Pass | None:
        async with self._in_turn():
            grant = await self._look_up()
            another = grant is not None and (used is None or grant.access_token != used.token)
            if grant is not None and another and not self._is_over(grant):
                return _pass(grant)  # Somebody else saw to it meanwhile.
            if refused.status == 401:
                if used is not None and used.fresh:
                    return None  # It takes nothing that its own authorization server gives.
                if grant is not None and refused.tries == 0:
                    found = await self._refreshed(grant)
                    if found is not None:
                        return _pass(found)
                return await self._fresh(refused)
            if not refused.says("insufficient_scope"):
                return None
            missing = frozenset(refused.scopes)
            if missing <= set(self._asked) or any(each <= missing for each in self._denied):
                # It was asked for already, and not given: asking again and again helps nobody.
                return None
            try:
                return await self._fresh(refused)
            except AuthorizationFailed as error:
                if error.error == "access_denied":
                    self._denied.add(missing)
                raise

    # Where a grant is kept. In memory, unless a subclass knows better.

    async def _look_up(self) -> Grant | None:
        return self._grant

    async def _keep(self, grant: Grant) -> None:
        self._grant = grant
        self._asked = grant.asked

    async def _refreshed(self, grant: Grant) -> Grant | None:
        """*grant* renewed; None if that cannot be."""
        return None

    async def _obtain(self, refused: Refused) -> Grant:
        """A grant from the beginning."""
        raise NotImplementedError

    # The rest.

    async def _renewed_in_time(self, grant: Grant) -> Grant | None:
        async with self._in_turn():
            latest = await self._look_up()
            if latest is None or not self._is_due(latest):
                return latest
            over = self._is_over(latest)
            try:
                found = await self._refreshed(latest)
            except InterlockError as error:
                if over:
                    raise
                log.warning("%s: the access token is not renewed yet: %s", self.url, error)
                self._spared_until = self._clock() + SPARED
                return latest
            if found is None:
                # Without a token the server says what it wants; with one that ended, that it ended.
                return None if over else self._grant
            return found

    def _is_over(self, grant: Grant) -> bool:
        return grant.expires_at is not None and grant.expires_at <= self._clock()

    def _is_due(self, grant: Grant) -> bool:
        """Whether it is time to renew: shortly before the end, and not in its first half."""
        ends, now = grant.expires_at, self._clock()
        if ends is None or (now < self._spared_until and now < ends):
            return False
        return ends - min(EARLY, max(0.0, ends - grant.obtained_at) / 2) <= now

    @contextlib.asynccontextmanager
    async def _in_turn(self) -> AsyncGenerator[None]:
        """One after another; whoever waited while another failed has failed as well: a person is
        not asked again by each, nor is a server that does not answer.
        """
        before = self._turns
        async with self._lock:
            if self._turns != before and self._failure is not None:
                raise self._failure
            self._failure = None
            try:
                yield
            except InterlockError as error:
                self._failure = error
                raise
            finally:
                self._turns += 1

    async def _fresh(self, refused: Refused) -> Pass:
        began = self._clock()
        grant = await self._obtained(refused)
        return _pass(grant, fresh=grant.obtained_at >= began)

    async def _obtained(self, refused: Refused) -> Grant:
        # In a task of its own: whoever waits for a person may be cancelled, and the person goes on.
        if self._obtaining is None:
            task = asyncio.create_task(self._obtain(refused), name=f"interlock login {self.url}")
            task.add_done_callback(self._ended)
            self._obtaining = task
        task = self._obtaining
        await asyncio.wait([task])
        if task.cancelled():
            raise AuthorizationFailed(f"The login to {self.url} was ended here before it was over")
        return task.result()

    def _ended(self, task: asyncio.Task[Grant]) -> None:
        self._obtaining = None
        if not task.cancelled():
            task.exception()  # Whoever waited has heard it.

    async def settle(self) -> None:
        """Wait until nothing is under way that must not be broken off."""

    async def close(self) -> None:
        """End a login that is under way."""
        await self.settle()
        task = self._obtaining
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    def counter(
        self,
        authority: Authority,
        standing: Standing,
        key: SigningKey | None,
        proof: SigningKey | None,
    ) -> Counter:
        endpoint = authority.server.token_endpoint
        if endpoint is None:
            raise AuthorizationFailed(f"{authority.issuer} publishes no token endpoint")
        # Before a person is sent to a login that would come to nothing.
        if (why := unsafe(endpoint, near=self.url, allowed=self._allowed)) is not None:
            raise UnsafeUrl(why)
        return Counter(
            authority.issuer,
            endpoint,
            standing.client,
            standing.method,
            clock=self._clock,
            key=key,
            proof=proof,
            nonces=self._nonces,
        )

    async def converse(
        self,
        conversation: Conversation[T],
        visit: VisitFunction | None = None,
        *,
        near: str | None = None,
    ) -> T:
        """What *conversation* comes to, its requests sent with care: to public addresses, and to
        that of *near*, by default this server's, which somebody here wrote down.
        """
        fetcher: Fetching = Fetcher(near=near or self.url, allowed=self._allowed)
        try:
            return await drive(conversation, fetcher, self._attended(visit or self._nobody))
        finally:
            await fetcher.close()

    def granted(
        self,
        authority: Authority,
        standing: Standing,
        tokens: Tokens,
        scopes: tuple[str, ...],
        proof: SigningKey | None,
        grant_type: str,
    ) -> Grant:
        return Grant(
            issuer=authority.issuer,
            resource=authority.resource,
            client=standing.client,
            token_endpoint=authority.server.token_endpoint or "",
            revocation_endpoint=authority.server.revocation_endpoint,
            auth_method=standing.method,
            access_token=tokens.access_token,
            token_type=tokens.token_type,
            expires_at=tokens.expires_at,
            refresh_token=tokens.refresh_token,
            scopes=tokens.scopes if tokens.scopes is not None else scopes,
            asked=scopes,
            dpop=proof.to_jwk() if proof is not None else None,
            dpop_algorithm=proof.algorithm if proof is not None else None,
            grant_type=grant_type,
            obtained_at=self._clock(),
        )

    def listen(self, listener: OnPerson) -> None:
        """Have *listener* hear from now on when a person is waited for."""
        self._listeners.append(listener)

    def catch_up(self, listener: OnPerson) -> None:
        """Tell *listener* of a person who was waited for before it listened."""
        if self._attended_to and listener not in self._told:
            self._told.append(listener)
            listener(True)

    def leave(self, listener: OnPerson) -> None:
        """Have *listener* hear nothing more: what it was told of is over for it."""
        if listener in self._listeners:
            self._listeners.remove(listener)
        if listener in self._told:
            self._told.remove(listener)
            listener(False)

    def _attended(self, visit: VisitFunction) -> VisitFunction:
        async def attend(step: Visit) -> Visited:
            self._attended_to = True
            for listener in list(self._listeners):
                self.catch_up(listener)
            try:
                return await visit(step)
            finally:
                self._attended_to = False
                told, self._told = self._told, []
                for listener in told:
                    listener(False)

        return attend

    async def _nobody(self, step: Visit) -> Visited:
        raise LoginNeeded(self.url)


class KeptHolding(Holding):
    """A pass whose grant is kept in *credentials*, for *principal*, and renewed from there."""

    def __init__(
        self,
        url: str,
        credentials: Credentials,
        principal: str,
        *,
        key: SigningKey | None = None,
        allowed: Sequence[str] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(url, allowed=allowed, clock=clock)
        self._credentials = credentials
        self._principal = principal
        self._key = key
        self._issuer: str | None = None
        self._trades: set[asyncio.Task[Grant | None]] = set()

    async def _look_up(self) -> Grant | None:
        grant = await self._credentials.find(self.url, self._principal)
        self._grant = grant
        if grant is not None:
            self._asked, self._issuer = grant.asked, grant.issuer
        return grant

    async def _keep(self, grant: Grant) -> None:
        await self._credentials.keep(self.url, self._principal, grant)
        await super()._keep(grant)

    async def _refreshed(self, grant: Grant) -> Grant | None:
        if grant.refresh_token is None:
            return None
        # In a task of its own: what a refresh token was traded for must be kept, whoever leaves.
        task = asyncio.create_task(self._trade(grant), name=f"interlock refresh {self.url}")
        self._trades.add(task)
        task.add_done_callback(self._traded)
        return await asyncio.shield(task)

    def _traded(self, task: asyncio.Task[Grant | None]) -> None:
        self._trades.discard(task)
        if not task.cancelled():
            task.exception()  # Whoever waited has heard it.

    async def settle(self) -> None:
        if self._trades:
            await asyncio.wait(list(self._trades))

    async def _trade(self, grant: Grant) -> Grant | None:
        async with self._credentials.turn(grant.issuer, grant.resource, self._principal):
            latest = await self._look_up()
            if latest is None or latest.access_token != grant.access_token:
                return latest  # Another process had its turn first.
            if latest.refresh_token is None:
                return None
            counter = Counter(
                latest.issuer,
                latest.token_endpoint,
                latest.client,
                latest.auth_method,
                clock=self._clock,
                key=self._key,
                proof=proof_key(latest),
                nonces=self._nonces,
            )
            try:
                tokens = await self.converse(
                    refresh(counter, latest.refresh_token, latest.resource)
                )
            except AuthorizationFailed as error:
                if error.error not in _GONE:
                    raise
                log.info("%s: the refresh token is not taken any more: %s", self.url, error)
                await self._credentials.discard(self._principal, latest)
                self._grant = None
                if error.error != "invalid_grant":
                    await self._credentials.forget_registration(latest.issuer)
                return None
            fresh = msgspec.structs.replace(
                latest,
                access_token=tokens.access_token,
                token_type=tokens.token_type,
                expires_at=tokens.expires_at,
                # One that was not replaced stays good (RFC 6749 § 6).
                refresh_token=tokens.refresh_token or latest.refresh_token,
                scopes=tokens.scopes if tokens.scopes is not None else latest.scopes,
                obtained_at=self._clock(),
            )
            await self._keep(fresh)
            return fresh


def proof_key(grant: Grant) -> SigningKey | None:
    if grant.dpop is None:
        return None
    return SigningKey(grant.dpop, grant.dpop_algorithm or "ES256")


def fresh_proof(authority: Authority, wanted: bool | None) -> SigningKey | None:
    """A key to bind tokens to, where both sides know how, or where it is *wanted*."""
    offered = authority.server.dpop_signing_alg_values_supported or ()
    usable = [each for each in dpop.ALGORITHMS if each in offered]
    if wanted and not usable:
        raise AuthorizationFailed(
            f"{authority.issuer} binds no tokens to keys of ours (DPoP), which was asked for"
        )
    if wanted is False or not usable or not (wanted or authority.dpop):
        return None
    return SigningKey.generate(usable[0])


def _pass(grant: Grant, *, fresh: bool = False) -> Pass:
    return Pass(grant.access_token, proof_key(grant), fresh)


def reusable(registered: Registered | None) -> int | None:
    """The port of the loopback redirect that an earlier registration named, to be used again."""
    for uri in (registered.redirect_uris or ()) if registered is not None else ():
        if uri.startswith("http://") and (port := urlsplit(uri).port) is not None:
            return port
    return None
