"""Pages as one iterator."""

from __future__ import annotations

import pytest

from interlock.client.listing import PAGES, Listing
from interlock.errors import InvalidMessage


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
