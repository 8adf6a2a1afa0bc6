"""Proofs that were seen, so that none is taken twice (RFC 9449 § 11.1). Bounded, and forgotten when
they would be too old anyway.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from interlock.auth.dpop import WINDOW, Proof
from interlock.store.ports import Table

LIMIT: Final = 200_000
"""How many proofs are remembered, of all keys together."""
_PREFIX: Final = "dpop/"


class Seen:
    """The proofs that were seen here; with a *table*, by all who share it.

    Where there are too many, the key that made most of them forgets its oldest, and no other does:
    whoever floods us can only have their own proofs taken twice.
    """

    def __init__(
        self,
        table: Table | None = None,
        *,
        limit: int = LIMIT,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._table = table
        self._limit = limit
        self._clock = clock
        self._holders: OrderedDict[str, OrderedDict[bytes, float]] = OrderedDict()
        self._count = 0
        self._swept = 0.0

    def __len__(self) -> int:
        return self._count

    async def first(self, proof: Proof) -> bool:
        """Whether *proof* was not seen before. It is from now on. Raises `StoreError`."""
        until = proof.issued_at + WINDOW + 1
        if self._table is not None:
            name = hashlib.sha256(f"{proof.thumbprint}/{proof.id}".encode()).hexdigest()
            ttl = max(1.0, until - self._clock())
            return await self._table.put(_PREFIX + name, b"", ttl=ttl, version=0) is not None
        now = self._clock()
        if now - self._swept > WINDOW / 4:
            self._sweep(now)
        key = hashlib.sha256(proof.id.encode()).digest()
        mine = self._holders.get(proof.thumbprint)
        if mine is None:
            mine = self._holders[proof.thumbprint] = OrderedDict()
        elif key in mine:
            return False
        mine[key] = until
        self._count += 1
        if self._count > self._limit:
            self._make_room()
        return True

    def _sweep(self, now: float) -> None:
        self._swept = now
        for holder, seen in list(self._holders.items()):
            for key in [key for key, until in seen.items() if until < now]:
                del seen[key]
                self._count -= 1
            if not seen:
                del self._holders[holder]

    def _make_room(self) -> None:
        holder, seen = max(self._holders.items(), key=lambda each: len(each[1]))
        # Some more than has to be, or the next one has to look for the largest again.
        for _ in range(max(1, len(seen) // 8)):
            seen.popitem(last=False)
            self._count -= 1
        if not seen:
            del self._holders[holder]
