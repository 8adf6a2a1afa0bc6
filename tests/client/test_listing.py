"""Pages as one iterator."""

from __future__ import annotations

import pytest

from interlock.client.listing import PAGES, Listing
from interlock.errors import InvalidMessage, RpcError


def a_listing(
    pages: dict[str | None, tuple[list[int], str | None]],
) -> tuple[Listing[int], list[str | None]]:
    asked: list[str | None] = []

    async def page(cursor: str | None) -> tuple[list[int], str | None]:
        asked.append(cursor)
        return pages[cursor]

    return Listing("numbers", page), asked


async def test_awaiting_gives_all_of_it_and_iterating_one_by_one():
    listing, asked = a_listing({None: ([1, 2], "a"), "a": ([], "b"), "b": ([3], None)})
    assert await listing == [1, 2, 3]
    assert [number async for number in listing] == [1, 2, 3]
    assert asked == [None, "a", "b"] * 2


async def test_a_page_is_fetched_when_it_is_needed():
    listing, asked = a_listing({None: ([1, 2], "a"), "a": ([3], None)})
    async for number in listing:
        if number == 2:
            break
    assert asked == [None]


async def test_an_empty_cursor_is_a_cursor():
    """§ Pagination: only its absence ends a list."""
    listing, asked = a_listing({None: ([1], ""), "": ([2], None)})
    assert await listing == [1, 2]
    assert asked == [None, ""]


async def test_a_cursor_that_comes_twice_ends_it_with_an_error():
    listing, _ = a_listing({None: ([1], "a"), "a": ([2], "b"), "b": ([3], "a")})
    with pytest.raises(
        InvalidMessage, match="list of numbers does not end: the cursor 'a' came twice"
    ):
        await listing


async def test_a_list_without_end_is_cut_off():
    count = 0

    async def page(cursor: str | None) -> tuple[list[int], str | None]:
        nonlocal count
        count += 1
        return [count], str(count)

    with pytest.raises(InvalidMessage, match=f"past {PAGES} pages"):
        await Listing("numbers", page)
    assert count == PAGES + 1


class Shifting:
    """A list that is replaced while it is read: its old cursors mean nothing any more."""

    def __init__(self, *, stale: int = 1, code: int = -32602) -> None:
        self.stale = stale
        self.code = code
        self.asked: list[str | None] = []

    async def page(self, cursor: str | None) -> tuple[list[int], str | None]:
        self.asked.append(cursor)
        if cursor is None:
            return [len(self.asked)], "next"
        if self.stale:
            self.stale -= 1
            raise RpcError(self.code, "no such cursor")
        return [100], None


async def test_awaiting_starts_over_once_where_a_cursor_is_not_known_any_more():
    """§ Caching: on an invalid cursor a client should begin the list again."""
    shifting = Shifting()
    assert await Listing("numbers", shifting.page) == [3, 100]
    assert shifting.asked == [None, "next", None, "next"]
    with pytest.raises(RpcError, match="no such cursor"):
        await Listing("numbers", Shifting(stale=2).page)


async def test_iterating_does_not_hand_out_anything_twice():
    numbers = aiter(Listing("numbers", Shifting().page))
    assert await anext(numbers) == 1
    with pytest.raises(RpcError, match="no such cursor"):
        await anext(numbers)


async def test_other_errors_end_a_list_at_once():
    with pytest.raises(RpcError):
        await Listing("numbers", Shifting(code=-32603).page)

    async def refuse(cursor: str | None) -> tuple[list[int], str | None]:
        raise RpcError(-32602, "no")

    with pytest.raises(RpcError):
        await Listing("numbers", refuse)
