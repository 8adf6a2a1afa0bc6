"""Tables, journals and a bus in this process: they end with it, and nobody else sees them."""

from __future__ import annotations

import heapq
import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from interlock.store.ports import Entry, Hear, Record, Unsubscribe

_SLACK: Final = 64
"""How many outdated entries a heap may hold beyond its own size before it is built anew."""


class MemoryStore:
    """A store that lives as long as this object does, whether it is open or not.

    *clock* gives the seconds that a ttl is measured in.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tables: dict[str, _Table] = {}
        self._journals: dict[str, _Journal] = {}
        self.bus = _Bus()

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    def table(self, name: str) -> _Table:
        return self._tables.setdefault(name, _Table(self._clock))

    def journal(self, name: str) -> _Journal:
        return self._journals.setdefault(name, _Journal(self._clock))


class _Table:
    def __init__(self, clock: Callable[[], float]) -> None:
        self._entries: dict[str, Entry] = {}
        self._deadlines = _Deadlines(clock)
        self._versions = itertools.count(1)

    async def get(self, key: str) -> Entry | None:
        self._sweep()
        return self._entries.get(key)

    async def put(
        self, key: str, value: bytes, *, ttl: float | None = None, version: int | None = None
    ) -> int | None:
        self._sweep()
        if version is not None:
            old = self._entries.get(key)
            if version != (old.version if old is not None else 0):
                return None
        new = Entry(value, next(self._versions))
        self._entries[key] = new
        self._deadlines.set(key, ttl)
        return new.version

    async def touch(self, key: str, ttl: float | None) -> bool:
        self._sweep()
        if key not in self._entries:
            return False
        self._deadlines.set(key, ttl)
        return True

    async def take(self, key: str) -> bytes | None:
        self._sweep()
        entry = self._entries.pop(key, None)
        if entry is None:
            return None
        self._deadlines.set(key, None)
        return entry.value

    async def keys(self, prefix: str = "", *, after: str = "", limit: int = 100) -> list[str]:
        return heapq.nsmallest(limit, (key for key in self._like(prefix) if key > after))

    async def count(self, prefix: str = "") -> int:
        return sum(1 for _ in self._like(prefix))

    def _like(self, prefix: str) -> Iterator[str]:
        self._sweep()
        return (key for key in self._entries if key.startswith(prefix))

    def _sweep(self) -> None:
        for key in self._deadlines.due():
            del self._entries[key]


class _Stream:
    def __init__(self) -> None:
        self.last = 0
        self.records: deque[Record] = deque()


class _Journal:
    def __init__(self, clock: Callable[[], float]) -> None:
        self._streams: dict[str, _Stream] = {}
        self._deadlines = _Deadlines(clock)

    async def append(self, stream: str, value: bytes, *, ttl: float | None = None) -> int:
        self._sweep()
        kept = self._streams.setdefault(stream, _Stream())
        kept.last += 1
        kept.records.append(Record(kept.last, value))
        self._deadlines.set(stream, ttl)
        return kept.last

    async def read(self, stream: str, *, after: int = 0, limit: int = 1000) -> Sequence[Record]:
        self._sweep()
        kept = self._streams.get(stream)
        if kept is None or not kept.records:
            return []
        # Without gaps, a number says where its record stands.
        start = max(0, after + 1 - kept.records[0].sequence)
        return list(itertools.islice(kept.records, start, start + limit))

    async def trim(self, stream: str, *, before: int) -> None:
        kept = self._streams.get(stream)
        while kept is not None and kept.records and kept.records[0].sequence < before:
            kept.records.popleft()

    async def drop(self, stream: str) -> None:
        if self._streams.pop(stream, None) is not None:
            self._deadlines.set(stream, None)

    def _sweep(self) -> None:
        for stream in self._deadlines.due():
            del self._streams[stream]


class _Bus:
    def __init__(self) -> None:
        self._ears = Ears()

    async def publish(self, topic: str, message: bytes) -> None:
        self._ears.hear(topic, message)

    async def subscribe(self, topic: str, hear: Hear) -> Unsubscribe:
        ear = object()
        self._ears.add(topic, hear, ear)

        async def unsubscribe() -> None:
            self._ears.remove(topic, ear)

        return unsubscribe


class Ears:
    """Who hears which topic in this process: what every bus needs."""

    def __init__(self) -> None:
        self._topics: dict[str, dict[object, Hear]] = {}

    def add(self, topic: str, hear: Hear, ear: object) -> None:
        """Have *hear* called, in place of what was added as *ear* before."""
        self._topics.setdefault(topic, {})[ear] = hear

    def remove(self, topic: str, ear: object) -> bool:
        """Whether it was there."""
        ears = self._topics.get(topic, {})
        there = ears.pop(ear, None) is not None
        if there and not ears:
            del self._topics[topic]
        return there

    def hear(self, topic: str, message: bytes) -> None:
        ears = self._topics.get(topic, {})
        for ear, hear in list(ears.items()):
            if ear in ears:  # Another one may just have made it leave.
                hear(message)


class _Deadlines:
    """When each key is over. A heap that may hold outdated times; `at` says which one counts."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._at: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []

    def set(self, key: str, ttl: float | None) -> None:
        if ttl is None:
            self._at.pop(key, None)
        else:
            self._at[key] = at = self._clock() + ttl
            heapq.heappush(self._heap, (at, key))
        if len(self._heap) > 2 * len(self._at) + _SLACK:
            self._heap = [(at, key) for key, at in self._at.items()]
            heapq.heapify(self._heap)

    def due(self) -> list[str]:
        """The keys whose time is over, and which are therefore no longer watched."""
        due: list[str] = []
        if not self._heap:
            return due
        now = self._clock()
        while self._heap and self._heap[0][0] <= now:
            at, key = heapq.heappop(self._heap)
            if self._at.get(key) == at:
                del self._at[key]
                due.append(key)
        return due
