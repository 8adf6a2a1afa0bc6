"""The keys that tokens are signed with: made once, kept in the store, replaced by age.

A key is published before it signs and as long as what it signed may be looked at. The store keeps
them as they are, so it must be as private as they are; with a secret they are kept sealed.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from typing import Any, Final

import msgspec
from msgspec import Struct

from interlock.auth.issuer.records import TRIES
from interlock.auth.issuer.settings import Lifetimes
from interlock.auth.jwt import SigningKey
from interlock.errors import ConfigError, StoreError
from interlock.protocol.sealing import SECRET_LEAST, Keyring, Unsealed
from interlock.store.ports import Table

ALGORITHM: Final = "ES256"
FRESH: Final = 60.0
"""Seconds after which the store is asked whether another process replaced a key."""
_KEY: Final = "ring"
_BOUND: Final = b"interlock issuer keys"
_AGES: Final = 100 * 365 * 24 * 3600.0


class _Kept(Struct):
    jwk: dict[str, Any]
    since: float
    """From when on it signs."""


class _Ring(Struct):
    secret: str
    keys: list[_Kept]


class Keys:
    """The signing keys in *table*. `load` before use; it may be called at every use."""

    def __init__(
        self,
        table: Table,
        lifetimes: Lifetimes,
        clock: Callable[[], float],
        secret: bytes | str | None = None,
    ) -> None:
        self._table = table
        self._lifetimes = lifetimes
        self._clock = clock
        self._seal = Keyring(secret, clock=clock) if secret is not None else None
        self._ring: _Ring | None = None
        self._signing: dict[str, SigningKey] = {}
        self._looked = 0.0
        self._sealing: Keyring | None = None

    @property
    def sealing(self) -> Keyring:
        """What handles that must be known for our own are sealed with."""
        assert self._sealing is not None
        return self._sealing

    @property
    def public(self) -> list[dict[str, Any]]:
        """All keys as others verify with them: coming, signing, and gone."""
        assert self._ring is not None
        return [self._key(kept).public for kept in self._ring.keys]

    def signing(self) -> SigningKey:
        assert self._ring is not None
        now = self._clock()
        due = [kept for kept in self._ring.keys if kept.since <= now]
        return self._key(max(due or self._ring.keys, key=lambda kept: kept.since))

    async def load(self) -> None:
        """Read the keys, and make the next one when it is time."""
        now = self._clock()
        if self._ring is not None and abs(now - self._looked) < FRESH:
            return
        for _ in range(TRIES):
            entry = await self._table.get(_KEY)
            ring = self._read(entry.value) if entry is not None else None
            changed = self._turned(ring, now)
            version = entry.version if entry is not None else 0
            if changed is None or await self._write(changed, version):
                self._take(changed or ring, now)
                return
        raise StoreError("The signing keys are changed by too many at once")

    def _take(self, ring: _Ring | None, now: float) -> None:
        assert ring is not None
        if self._sealing is None or self._ring is None or self._ring.secret != ring.secret:
            self._sealing = Keyring(base64.b64decode(ring.secret), clock=self._clock)
        self._ring, self._looked = ring, now

    def _turned(self, ring: _Ring | None, now: float) -> _Ring | None:
        """The ring as it should be at *now*; None if it is."""
        if ring is None:
            secret = base64.b64encode(os.urandom(SECRET_LEAST)).decode()
            return _Ring(secret, [self._made(now)])
        overlap = self._lifetimes.overlap
        keys = sorted(ring.keys, key=lambda kept: kept.since)
        # One is gone for good an overlap after the next has begun.
        kept = [
            key
            for key, heir in zip(keys, [*keys[1:], None], strict=True)
            if heir is None or heir.since + max(overlap, self._lifetimes.access) > now
        ]
        end = keys[-1].since + self._lifetimes.key
        if end - overlap <= now:
            kept.append(self._made(max(end, now + overlap)))
        return _Ring(ring.secret, kept) if kept != keys else None

    def _made(self, since: float) -> _Kept:
        return _Kept(SigningKey.generate(ALGORITHM).to_jwk(), since)

    def _key(self, kept: _Kept) -> SigningKey:
        kid = str(kept.jwk["kid"])
        if kid not in self._signing:
            assert self._ring is not None
            names = {str(each.jwk["kid"]) for each in self._ring.keys}
            self._signing = {name: self._signing[name] for name in names & self._signing.keys()}
            self._signing[kid] = SigningKey(kept.jwk, ALGORITHM)
        return self._signing[kid]

    async def _write(self, ring: _Ring, version: int) -> bool:
        data = msgspec.json.encode(ring)
        if self._seal is not None:
            data = self._seal.seal(data, bound=_BOUND, ttl=_AGES).encode()
        return await self._table.put(_KEY, data, version=version) is not None

    def _read(self, data: bytes) -> _Ring:
        try:
            if self._seal is not None:
                data = self._seal.open(data.decode(), bound=_BOUND)
            return msgspec.json.decode(data, type=_Ring)
        except (Unsealed, UnicodeDecodeError, msgspec.DecodeError):
            raise ConfigError(
                "The store holds signing keys that do not open: give the secret they were kept "
                "under, or another store"
            ) from None
