"""Who may come in: what a transport asks of each request before it reads what was sent.

The transport knows requests, the gate knows tokens; neither has to know the other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Protocol, TypeAlias, final, runtime_checkable

from msgspec import Struct

from interlock.protocol.call import Principal

RawHeaders: TypeAlias = Iterable[tuple[bytes, bytes]]
"""Names in lower case, and values, as they came."""


@final
class Denial(Struct, frozen=True):
    """A request that is not let in: the HTTP status, why in one sentence, and the headers that say
    what would be.
    """

    status: int
    reason: str
    headers: tuple[tuple[bytes, bytes], ...] = ()


@runtime_checkable
class Gate(Protocol):
    """Says who sends a request, each request anew: nothing that was said before lets one in."""

    @property
    def resource(self) -> str:
        """The URL of what it guards, as clients write it."""
        ...

    @property
    def documents(self) -> Mapping[str, bytes]:
        """JSON that is served to anybody, by path: what a client reads to learn how to come in."""
        ...

    async def admit(
        self, method: str, path: str, query: bytes, headers: RawHeaders
    ) -> Principal | Denial: ...

    def short(self, principal: Principal, scopes: Collection[str]) -> Denial:
        """What *principal* is told whose token does not allow *scopes*: to come back with more."""
        ...

    async def start(self) -> None:
        """Called once before the first request, in the loop that serves; may be called again."""
        ...

    async def stop(self) -> None: ...
