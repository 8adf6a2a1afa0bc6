"""Pages as one iterator."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from typing import Any, Final, Generic, TypeVar

from interlock.errors import INVALID_PARAMS, InvalidMessage, RpcError

T = TypeVar("T")

PAGES: Final = 1000
"""The most pages read of one list: an endless one is an attack or a mistake."""


class _StaleCursor(RpcError):
    """The pages before this one belong to a list that is no more (§ Pagination, Error Handling)."""


class Listing(Generic[T]):
    """A list that a server hands out in pages: `await` it for all of it, or iterate over it.

    Iterating fetches a page when it is needed. Each use starts from the first page. Where the
    server does not know a cursor of its own any more, awaiting starts over, once; iterating raises
    `RpcError`, as what was handed out already may not be so any more.
    """

    def __init__(
        self, what: str, page: Callable[[str | None], Awaitable[tuple[list[T], str | None]]]
    ) -> None:
        self._what = what
        self._page = page

    def __aiter__(self) -> AsyncIterator[T]:
        return self._each()

    def __await__(self) -> Generator[Any, Any, list[T]]:
        return self._all().__await__()

    async def _all(self) -> list[T]:
        try:
            return [item async for item in self]
        except _StaleCursor:
            return [item async for item in self]

    async def _each(self) -> AsyncIterator[T]:
        cursor: str | None = None
        seen: set[str] = set()
        while True:
            try:
                items, cursor = await self._page(cursor)
            except RpcError as error:
                if cursor is None or error.code != INVALID_PARAMS:
                    raise
                raise _StaleCursor(error.code, error.message, error.data) from error
            for item in items:
                yield item
            # An empty cursor is one; only its absence ends the list (§ Pagination).
            if cursor is None:
                return
            if cursor in seen or len(seen) >= PAGES:
                raise InvalidMessage(
                    f"The list of {self._what} does not end: the cursor {cursor[:40]!r} "
                    f"{'came twice' if cursor in seen else f'is past {PAGES} pages'}"
                )
            seen.add(cursor)
