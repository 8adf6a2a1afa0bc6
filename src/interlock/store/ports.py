"""Table, Journal, Bus: three small protocols, and what each promises.

A backend implements all three; `interlock.testing.store` holds any of them against the promises.
Values are bytes: what they mean is their owner's business. Every method may be called from the
event loop by any number of tasks; none blocks it. Times are seconds. A method that is cancelled
has either done all it does or nothing. What a backend cannot do at the moment raises `StoreError`,
within a bounded time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeAlias

from msgspec import Struct


class Entry(Struct, frozen=True):
    """A value, and the version that it is.

    Versions of one key only grow, even if it was removed in between, and are never 0.
    """

    value: bytes
    version: int


class Table(Protocol):
    """Values under keys, each of which may expire. An expired one is as good as gone."""

    async def get(self, key: str) -> Entry | None: ...

    async def put(
        self, key: str, value: bytes, *, ttl: float | None = None, version: int | None = None
    ) -> int | None:
        """Keep *value* for *ttl* seconds, or until it is taken. Its new version.

        With *version* only if the key still has that one, 0 meaning that it has none: else None,
        and nothing has changed.
        """
        ...

    async def touch(self, key: str, ttl: float | None) -> bool:
        """Start the time of a key's value anew; whether there is one. Its version stays."""
        ...

    async def take(self, key: str) -> bytes | None:
        """Remove a value and give it, to one taker only however many ask."""
        ...

    async def keys(self, prefix: str = "", *, after: str = "", limit: int = 100) -> list[str]:
        """Keys that begin with *prefix* and sort behind *after*, in order."""
        ...

    async def count(self, prefix: str = "") -> int:
        """How many keys begin with *prefix*."""
        ...


class Record(Struct, frozen=True):
    """One entry of a journal.

    Sequence numbers of one stream count from 1, whatever is trimmed; a drop begins anew.
    """

    sequence: int
    value: bytes


class Journal(Protocol):
    """Streams that are only ever appended to."""

    async def append(self, stream: str, value: bytes, *, ttl: float | None = None) -> int:
        """Write at the end of *stream*; the sequence number it got.

        The whole stream is forgotten *ttl* seconds after this, unless more is written.
        """
        ...

    async def read(self, stream: str, *, after: int = 0, limit: int = 1000) -> Sequence[Record]:
        """What stands behind sequence number *after*, oldest first."""
        ...

    async def trim(self, stream: str, *, before: int) -> None:
        """Forget what stands before sequence number *before*."""
        ...

    async def drop(self, stream: str) -> None:
        """Forget all of a stream."""
        ...


Hear: TypeAlias = Callable[[bytes], None]
Unsubscribe: TypeAlias = Callable[[], Awaitable[None]]


class Bus(Protocol):
    """Messages to whoever listens at that moment; nobody hears what was said before.

    What one publisher says on one topic is heard in that order.
    """

    async def publish(self, topic: str, message: bytes) -> None: ...

    async def subscribe(self, topic: str, hear: Hear) -> Unsubscribe:
        """Have *hear* called with each message, in this event loop; it must neither block nor raise.

        Await what is returned to hear no more.
        """
        ...


class Store(Protocol):
    """One backend: tables and journals by name, and a bus.

    `open` before the first use, `close` after the last, both in the loop that uses it. Whoever
    shares one opens it too: the last `close` closes. A closed one may be opened again, and what
    was kept is still there, as far as the backend outlives this process or the process goes on.
    """

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    def table(self, name: str) -> Table: ...

    def journal(self, name: str) -> Journal: ...

    @property
    def bus(self) -> Bus: ...
