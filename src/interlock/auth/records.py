"""Records in a table that tell nothing to who lacks their key, each bound to the name it has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

import msgspec
from msgspec import Struct

from interlock.errors import ConfigError, StoreError
from interlock.protocol.sealing import Cipher, Unsealed
from interlock.store.ports import Table

T = TypeVar("T", bound=Struct)

SIZE_LIMIT: Final = 128 * 1024
"""The most bytes that a record may have."""
_CHECK: Final = "check"
_PAGE: Final = 100


class Records:
    """The records of *table*, encrypted with *secret*; *place* says in words where both are.

    One that was changed, or stands in another's place, raises `ConfigError`: what cannot be read
    any more is never taken for missing.
    """

    def __init__(self, table: Table, secret: bytes, place: str) -> None:
        self.place = place
        self._table = table
        self._cipher = Cipher(secret)

    async def check(self) -> None:
        """Raise `ConfigError` if the key is not that of these records: none of them would be found,
        for names depend on it too.
        """
        mark = self._cipher.encrypt(b"", bound=_CHECK.encode())
        if await self._table.put(_CHECK, mark, version=0) is None:
            entry = await self._table.get(_CHECK)
            self._decrypted(_CHECK, entry.value if entry is not None else b"")

    def name(self, kind: str, *words: str) -> str:
        """What a record of some *kind* is called: the kind, and what nobody reads *words* from."""
        return kind + self._cipher.name(kind, *words)

    async def has(self, name: str) -> bool:
        return await self._table.get(name) is not None

    async def count(self, kind: str) -> int:
        return await self._table.count(kind)

    async def read(self, name: str, type: type[T]) -> T | None:
        entry = await self._table.get(name)
        return self._decoded(name, entry.value, type) if entry is not None else None

    async def write(self, name: str, value: Struct) -> None:
        """Put *value* in place of what was there, at once: one or the other can be read always."""
        data = msgspec.json.encode(value)
        if len(data) > SIZE_LIMIT:
            raise StoreError(
                f"Credentials of {len(data)} bytes are not kept; {SIZE_LIMIT} at most are expected"
            )
        await self._table.put(name, self._cipher.encrypt(data, bound=name.encode()))

    async def take(self, name: str, type: type[T]) -> T | None:
        data = await self._table.take(name)
        return self._decoded(name, data, type) if data is not None else None

    async def take_if(self, name: str, type: type[T], wanted: Callable[[T], bool]) -> bool:
        """Take the record if it is *wanted*; whether it was."""
        entry = await self._table.get(name)
        if entry is None or not wanted(self._decoded(name, entry.value, type)):
            return False
        # What is over at once is as good as taken, and can be asked for this version only: another
        # process may just have put a newer one there.
        return await self._table.put(name, b"", ttl=0, version=entry.version) is not None

    async def take_first(self, kind: str) -> None:
        for name in await self._table.keys(kind, limit=1):
            await self._table.take(name)

    async def all(self, kind: str, type: type[T]) -> list[tuple[str, T]]:
        found: list[tuple[str, T]] = []
        for name in await self.names(kind):
            value = await self.read(name, type)
            if value is not None:
                found.append((name, value))
        return found

    async def names(self, kind: str) -> list[str]:
        names: list[str] = []
        while page := await self._table.keys(kind, after=names[-1] if names else "", limit=_PAGE):
            names += page
        return names

    def _decoded(self, name: str, data: bytes, type: type[T]) -> T:
        try:
            return msgspec.json.decode(self._decrypted(name, data), type=type)
        except msgspec.DecodeError:
            raise self._unreadable("a record is not in the form that this version knows") from None

    def _decrypted(self, name: str, data: bytes) -> bytes:
        try:
            return self._cipher.decrypt(data, bound=name.encode())
        except Unsealed as error:
            raise self._unreadable(f"a record does not open: {error}") from None

    def _unreadable(self, why: str) -> ConfigError:
        return ConfigError(
            f"There are {self.place}; but {why}. Give them the key back that they were written "
            "with, or remove the database and log in again"
        )
