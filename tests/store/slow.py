"""A store as slow as one on a disk, which may fail for a while."""

from __future__ import annotations

import asyncio

from interlock.errors import StoreError
from interlock.store.memory import MemoryStore
from interlock.store.ports import Bus, Entry, Journal, Table
from interlock.testing.clock import Clock


class SlowStore:
    """Every access to a table lets others go first.

    The next *failing* of them raise; the next to the table *holding* never comes to an end.
    """

    def __init__(self, *, clock: Clock | None = None) -> None:
        self.failing = 0
        self.holding = ""
        self.held = asyncio.Event()
        self._store = MemoryStore(clock=clock or Clock())

    async def open(self) -> None:
        await self._store.open()

    async def close(self) -> None:
        await self._store.close()

    def table(self, name: str) -> Table:
        return _SlowTable(self, name, self._store.table(name))

    def journal(self, name: str) -> Journal:
        return self._store.journal(name)

    @property
    def bus(self) -> Bus:
        return self._store.bus

    async def turn(self, name: str) -> None:
        await asyncio.sleep(0)
        if name == self.holding:
            self.holding = ""
            self.held.set()
            await asyncio.Event().wait()
        if self.failing:
            self.failing -= 1
            raise StoreError("The store fails, as it was told to")


class _SlowTable:
    def __init__(self, store: SlowStore, name: str, table: Table) -> None:
        self._store = store
        self._name = name
        self._table = table

    async def get(self, key: str) -> Entry | None:
        await self._store.turn(self._name)
        return await self._table.get(key)

    async def put(
        self, key: str, value: bytes, *, ttl: float | None = None, version: int | None = None
    ) -> int | None:
        await self._store.turn(self._name)
        return await self._table.put(key, value, ttl=ttl, version=version)

    async def touch(self, key: str, ttl: float | None) -> bool:
        await self._store.turn(self._name)
        return await self._table.touch(key, ttl)

    async def take(self, key: str) -> bytes | None:
        await self._store.turn(self._name)
        return await self._table.take(key)

    async def keys(self, prefix: str = "", *, after: str = "", limit: int = 100) -> list[str]:
        await self._store.turn(self._name)
        return await self._table.keys(prefix, after=after, limit=limit)

    async def count(self, prefix: str = "") -> int:
        await self._store.turn(self._name)
        return await self._table.count(prefix)
