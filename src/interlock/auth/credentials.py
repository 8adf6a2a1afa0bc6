"""What logins came to: grants and registrations, each under the issuer that they are of, and never
given out for another.

What is kept is encrypted and bound to its place, under names that only the key can tell: a copied
database says neither what was granted nor where, and no record of it can take another's place.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from msgspec import Struct

from interlock.auth import keeping
from interlock.auth.keeping import Key
from interlock.auth.metadata import CODE, ClientAuth, Registered, canonical
from interlock.auth.records import Records
from interlock.auth.turns import Turns
from interlock.errors import NotConnected, StoreError
from interlock.store.memory import MemoryStore
from interlock.store.ports import Store

GRANTS: Final = 100_000
"""How many grants are kept; who wants to keep more has to drop some."""
REGISTRATIONS: Final = 1000
"""How many registrations are kept; those that have to go are made anew when they are missed."""

_TABLE: Final = "credentials"
_GRANT: Final = "grant:"
_USE: Final = "use:"
_CLIENT: Final = "client:"

Unlock: TypeAlias = Callable[[], Awaitable[Key]]


class Grant(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one login came to: which tokens *client* has of *issuer* for *resource*.

    Times are Unix times, *expires_at* None if the issuer did not say. *scopes* are what was
    granted, *asked* all that was ever asked for, which asking for more adds to. *dpop* is the
    private key that the tokens are bound to, if they are.
    """

    issuer: str
    resource: str
    client: Registered
    token_endpoint: str
    access_token: str
    token_type: Literal["Bearer", "DPoP"] = "Bearer"
    revocation_endpoint: str | None = None
    auth_method: ClientAuth = "none"
    expires_at: float | None = None
    refresh_token: str | None = None
    scopes: tuple[str, ...] = ()
    asked: tuple[str, ...] = ()
    dpop: dict[str, Any] | None = None
    dpop_algorithm: str | None = None
    grant_type: str = CODE
    obtained_at: float = 0.0

    def __repr__(self) -> str:
        return f"Grant(issuer={self.issuer!r}, resource={self.resource!r}, scopes={self.scopes!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("issuer", self.issuer), ("resource", self.resource), ("scopes", self.scopes)]


class Login(Struct, frozen=True, kw_only=True):
    """A grant as it may be shown: nothing in it is secret.

    *current* is whether it is the one that is used for *url*, rather than one of an issuer that
    was used before.
    """

    url: str
    principal: str
    issuer: str
    resource: str
    scopes: tuple[str, ...]
    token_type: str
    grant_type: str
    obtained_at: float
    expires_at: float | None
    refreshable: bool
    current: bool


class _Held(Struct, frozen=True):
    """A grant, and for which server and whom it was kept last."""

    url: str
    principal: str
    grant: Grant


class _Use(Struct, frozen=True):
    """Which grant a server is used with."""

    issuer: str
    resource: str


class Credentials:
    """The credentials of this machine's person, *principal* "", and of whomever we act for.

    Opened when first used; `close` it after the last, in the same loop. Any number of tasks may use
    one at the same time, and any number of processes the same folder. What cannot be kept or read
    at the moment raises `StoreError`; what cannot be read any more `ConfigError`, whose text says
    what to do: nothing is taken for missing that is only unreadable.
    """

    def __init__(
        self,
        store: Store,
        unlock: Unlock,
        turns: Turns,
        *,
        place: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """*unlock* gives the key, *place* says in words where *store* keeps things."""
        self._place = place
        self._store = store
        self._unlock = unlock
        self._turns = turns
        self._clock = clock
        self._opening = asyncio.Lock()
        self._records: Records | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @classmethod
    def in_memory(cls, *, clock: Callable[[], float] = time.time) -> Credentials:
        """Credentials that end with this process."""
        place = "credentials in memory, until this process ends"
        key = Key(os.urandom(keeping.KEY_BYTES), "key beside them")

        async def unlock() -> Key:
            return key

        return cls(MemoryStore(), unlock, Turns(), place=place, clock=clock)

    @classmethod
    def at(
        cls,
        folder: str | os.PathLike[str],
        environ: Mapping[str, str] = os.environ,
        *,
        clock: Callable[[], float] = time.time,
    ) -> Credentials:
        """The credentials in *folder*, which is made for this user alone when they are first used.

        Never on a network drive. *environ* says whether the keyring is used, see `keeping`.
        """
        from interlock.store.sqlite import SqliteStore

        folder = Path(folder).expanduser().absolute()
        file = folder / keeping.DATABASE
        turns = Turns(folder / "locks")
        return cls(
            SqliteStore(file),
            partial(keeping.unlock, folder, environ, turns),
            turns,
            place=f"credentials in {file}, encrypted",
            clock=clock,
        )

    async def __aenter__(self) -> Credentials:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Let go of the file; what uses them next opens them again."""
        async with self._opening:
            if self._records is not None:
                self._records = None
                await self._store.close()

    async def describe(self) -> str:
        """Where the credentials are, and where their key is, for a person to read."""
        return (await self._ready()).place

    # Grants.

    async def find(self, url: str, principal: str = "") -> Grant | None:
        """The grant that the server at *url* was used with last, for *principal*."""
        records = await self._ready()
        use = await records.read(_use(records, url, principal), _Use)
        return await self.held(use.issuer, use.resource, principal) if use is not None else None

    async def held(self, issuer: str, resource: str, principal: str = "") -> Grant | None:
        """The grant of *issuer* for *resource*, whichever server it was obtained for.

        A resource may be several servers; `keep` it for another once the issuer is known.
        """
        records = await self._ready()
        held = await records.read(_grant(records, issuer, resource, principal), _Held)
        return held.grant if held is not None else None

    async def keep(self, url: str, principal: str, grant: Grant) -> None:
        """Keep *grant*, in place of the one of the same issuer and resource, for use at *url*.

        The old one is there until the new one is. A cancelled `keep` ends when it is done: what a
        refresh token was traded for cannot be had again.
        """
        records = await self._ready()
        kept = asyncio.ensure_future(self._keep(records, url, principal, grant))
        # Read, even if who waited for it has left.
        kept.add_done_callback(lambda it: it.cancelled() or it.exception())
        try:
            await asyncio.shield(kept)
        except asyncio.CancelledError:
            await asyncio.wait([kept])
            raise

    async def _keep(self, records: Records, url: str, principal: str, grant: Grant) -> None:
        name = _grant(records, grant.issuer, grant.resource, principal)
        if not await records.has(name) and await records.count(_GRANT) >= GRANTS:
            raise StoreError(f"{GRANTS} grants are kept already; drop those of no more use")
        await records.write(name, _Held(canonical(url), principal, grant))
        # Behind the grant: what it points to is there.
        use, new = _use(records, url, principal), _Use(grant.issuer, grant.resource)
        if await records.read(use, _Use) != new:
            await records.write(use, new)

    async def drop(self, url: str, principal: str = "") -> list[Grant]:
        """Forget every grant that *principal* has for the server at *url*, of whichever issuer.

        They are given back, so that they can be revoked.
        """
        records = await self._ready()
        use = await records.read(_use(records, url, principal), _Use)
        names = [_grant(records, use.issuer, use.resource, principal)] if use is not None else []
        names += [
            name
            for name, held in await records.all(_GRANT, _Held)
            if held.url == canonical(url) and held.principal == principal
        ]
        dropped = [await records.take(name, _Held) for name in dict.fromkeys(names)]
        await records.take(_use(records, url, principal), _Use)
        return [held.grant for held in dropped if held is not None]

    async def discard(self, principal: str, grant: Grant) -> bool:
        """Forget *grant*, which its issuer takes no longer; whether it was still the one kept."""
        records = await self._ready()
        name = _grant(records, grant.issuer, grant.resource, principal)
        return await records.take_if(name, _Held, lambda held: held.grant == grant)

    async def list(self) -> list[Login]:
        """All grants, without what is secret in them, by server."""
        records = await self._ready()
        logins: list[Login] = []
        for _, held in await records.all(_GRANT, _Held):
            grant = held.grant
            use = await records.read(_use(records, held.url, held.principal), _Use)
            logins.append(
                Login(
                    url=held.url,
                    principal=held.principal,
                    issuer=grant.issuer,
                    resource=grant.resource,
                    scopes=grant.scopes,
                    token_type=grant.token_type,
                    grant_type=grant.grant_type,
                    obtained_at=grant.obtained_at,
                    expires_at=grant.expires_at,
                    refreshable=grant.refresh_token is not None,
                    current=use == _Use(grant.issuer, grant.resource),
                )
            )
        return sorted(logins, key=lambda it: (it.url, it.principal, it.issuer, it.resource))

    # Registrations.

    async def registered(
        self, issuer: str, redirect_uris: Collection[str] = ()
    ) -> Registered | None:
        """Who we are at *issuer* with just these redirect URIs; None too once a secret is over."""
        records = await self._ready()
        client = await records.read(_client(records, issuer, redirect_uris), Registered)
        ends = client.client_secret_expires_at if client is not None else None
        # 0 stands for never (RFC 7591 § 3.2.1).
        return None if ends and ends <= self._clock() else client

    async def register(
        self, issuer: str, client: Registered, redirect_uris: Collection[str] = ()
    ) -> None:
        records = await self._ready()
        name = _client(records, issuer, redirect_uris)
        if not await records.has(name):
            # Any server can make us register somewhere: what it makes us forget is up to chance,
            # which the order of names is.
            while await records.count(_CLIENT) >= REGISTRATIONS:
                await records.take_first(_CLIENT)
        await records.write(name, client)

    async def forget_registration(self, issuer: str) -> None:
        """Forget who we are at *issuer*, with whichever redirect URIs: it knows us no longer."""
        records = await self._ready()
        for name in await records.names(_clients(records, issuer)):
            await records.take(name, Registered)

    # Turns.

    @contextlib.asynccontextmanager
    async def turn(self, *key: str) -> AsyncGenerator[None]:
        """Have the turn of *key*, any words, before all tasks and processes that ask for the same.

        Before a refresh: `turn(issuer, resource, principal)`, and then `held` again, since who had
        it before may have refreshed. It ends with the process however that ends. Waiting for it
        ends after `turns.WAITING` seconds with a `StoreError`.
        """
        records = await self._ready()
        async with self._turns.turn(records.name("", "turn", *key)):
            yield

    async def _ready(self) -> Records:
        async with self._opening:
            if self._records is None:
                self._records = await self._open()
                self._loop = asyncio.get_running_loop()
        if self._loop is not asyncio.get_running_loop():
            raise NotConnected(
                "These credentials were opened in another event loop: close() them there first"
            )
        return self._records

    async def _open(self) -> Records:
        # The key before the store: a database without a key shows that the key is gone.
        key = await self._unlock()
        await self._store.open()
        try:
            place = f"{self._place}; {key.place}"
            records = Records(self._store.table(_TABLE), key.secret, place)
            await records.check()
        except BaseException:
            await self._store.close()
            raise
        return records


def _grant(records: Records, issuer: str, resource: str, principal: str) -> str:
    return records.name(_GRANT, issuer, resource, principal)


def _use(records: Records, url: str, principal: str) -> str:
    return records.name(_USE, canonical(url), principal)


def _clients(records: Records, issuer: str) -> str:
    return records.name(_CLIENT, issuer) + ":"


def _client(records: Records, issuer: str, redirect_uris: Collection[str]) -> str:
    return records.name(_clients(records, issuer), *sorted(set(redirect_uris)))


def state_folder(environ: Mapping[str, str], *, platform: str = sys.platform) -> Path:
    """Where this machine keeps what programs of a person's remember: `INTERLOCK_STATE`, or what is
    usual on the platform.
    """
    named = environ.get("INTERLOCK_STATE")
    if named:
        return Path(named).expanduser().absolute()
    home = Path(environ.get("HOME") or Path.home())
    if platform == "win32":
        local = environ.get("LOCALAPPDATA")
        return (Path(local) if local else home / "AppData" / "Local") / "interlock"
    if platform == "darwin":
        return home / "Library" / "Application Support" / "interlock"
    # A relative one is to be ignored (XDG Base Directory Specification).
    state = Path(environ.get("XDG_STATE_HOME") or ".")
    return (state if state.is_absolute() else home / ".local" / "state") / "interlock"


def open_credentials(
    folder: str | os.PathLike[str] | None = None, environ: Mapping[str, str] = os.environ
) -> Credentials:
    """The credentials in *folder*, by default where this machine's person has theirs."""
    return Credentials.at(state_folder(environ) if folder is None else folder, environ)
