"""Values of one type in a table of a store, and the handles they are found by: random, and kept
only as fingerprints, so that who reads the store can present none of them.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Final, Generic, TypeVar

import msgspec

from interlock.auth.jwt import letters
from interlock.errors import StoreError
from interlock.store.ports import Table

T = TypeVar("T")

TRIES: Final = 16
"""How often a change is tried anew because another one came first."""


def handle() -> str:
    """256 random bits."""
    return secrets.token_urlsafe(32)


def fingerprint(*parts: str) -> str:
    """What stands for a handle, or for several things together, where they are kept."""
    whole = hashlib.sha256()
    for part in parts:
        data = part.encode()
        whole.update(len(data).to_bytes(8, "big") + data)
    return letters(whole.digest())


def same(one: str, other: str) -> bool:
    """Whether two texts are equal, in a time that does not tell where they differ."""
    return secrets.compare_digest(one.encode(), other.encode())


class Records(Generic[T]):
    """*table*, holding values of *type*."""

    def __init__(self, table: Table, type: type[T]) -> None:
        self.table = table
        self._decoder = msgspec.json.Decoder(type)

    async def find(self, key: str) -> tuple[T, int] | None:
        """A value and its version."""
        entry = await self.table.get(key)
        return None if entry is None else (self._read(entry.value), entry.version)

    async def get(self, key: str) -> T | None:
        found = await self.find(key)
        return None if found is None else found[0]

    async def put(self, key: str, value: T, ttl: float, version: int | None = None) -> bool:
        """Whether it is kept now: with *version*, only if nobody changed it meanwhile."""
        data = msgspec.json.encode(value)
        return await self.table.put(key, data, ttl=ttl, version=version) is not None

    async def take(self, key: str) -> T | None:
        data = await self.table.take(key)
        return None if data is None else self._read(data)

    def _read(self, data: bytes) -> T:
        try:
            return self._decoder.decode(data)
        except msgspec.DecodeError as error:
            raise StoreError("A record of the authorization server is damaged") from error
