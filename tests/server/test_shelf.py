"""A shelf: keys, pages, and bytes that are encoded once."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from msgspec import Struct

from interlock.errors import RegistrationError, RpcError
from interlock.protocol.call import Call
from interlock.protocol.session import Envelope
from interlock.server.shelf import Shelf
from interlock.wire.meta import CacheHints, PagedParams
from interlock.wire.methods import BY_NAME
from interlock.wire.tools import Tool
from interlock.wire.versions import LATEST_LEGACY, LATEST_MODERN, Revision


class Thing(Struct):
    key: str

    @property
    def listed(self) -> Tool:
        return Tool(name=self.key, input_schema={"type": "object"})


def a_shelf(count: int = 0, **options: Any) -> Shelf[Thing]:
    shelf: Shelf[Thing] = Shelf("tools", "tool", **options)
    for number in range(count):
        shelf.add(Thing(f"t{number}"))
    return shelf


async def page(
    shelf: Shelf[Thing], cursor: str | None = None, revision: Revision = LATEST_MODERN
) -> dict[str, Any]:
    params = PagedParams(cursor=cursor)
    result = await shelf.page(Call(BY_NAME["tools/list"], params, Envelope(revision)))
    return json.loads(result.body)


def names(body: dict[str, Any]) -> list[str]:
    return [item["name"] for item in body["tools"]]


async def test_all_are_on_one_page_in_the_order_they_came():
    body = await page(a_shelf(3))
    assert names(body) == ["t0", "t1", "t2"]
    assert "nextCursor" not in body
    assert names(await page(a_shelf(0))) == []


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7, 8, 100])
async def test_pages_hold_everything_once(size: int):
    shelf = a_shelf(7, page_size=size)
    found: list[str] = []
    cursor = None
    pages = 0
    while True:
        body = await page(shelf, cursor)
        pages += 1
        found += names(body)
        assert len(body["tools"]) <= size
        cursor = body.get("nextCursor")
        if cursor is None:
            break
    assert found == [f"t{number}" for number in range(7)]
    assert pages == math.ceil(7 / size)


async def test_a_cursor_survives_changes_before_it():
    shelf = a_shelf(6, page_size=2)
    cursor = (await page(shelf))["nextCursor"]
    shelf.remove("t0")
    shelf.add(Thing("new"))
    assert names(await page(shelf, cursor)) == ["t2", "t3"]


@pytest.mark.parametrize("cursor", ["", "t1", "!!", "ä", "\ud800", "AAAA", "dDk="])
@pytest.mark.parametrize("size", [None, 2])
async def test_a_cursor_that_is_none_of_ours_is_refused(cursor: str, size: int | None):
    """-32602 (§ Pagination); an empty one is a cursor too."""
    with pytest.raises(RpcError, match="Invalid cursor") as caught:
        await page(a_shelf(5, page_size=size), cursor)
    assert caught.value.code == -32602


async def test_hints_are_for_modern_clients():
    shelf = a_shelf(1, hints=CacheHints(ttl_ms=9, scope="public"))
    body = await page(shelf)
    assert (body["ttlMs"], body["cacheScope"]) == (9, "public")
    assert set(await page(shelf, revision=LATEST_LEGACY)) == {"tools"}


async def test_a_page_is_encoded_once_until_the_shelf_changes():
    shelf = a_shelf(3)
    call = Call(BY_NAME["tools/list"], PagedParams(), Envelope(LATEST_MODERN))
    first = await shelf.page(call)
    assert await shelf.page(call) is first
    shelf.add(Thing("more"))
    assert await shelf.page(call) is not first


def test_changes_are_told():
    told: list[int] = []
    shelf = a_shelf(changed=lambda: told.append(1))
    shelf.add(Thing("a"))
    shelf.remove("a")
    shelf.replace([Thing("b"), Thing("c")])
    assert len(told) == 3
    assert [thing.key for thing in shelf] == ["b", "c"]
    assert (len(shelf), shelf.get("b"), shelf.get("a")) == (2, Thing("b"), None)


def test_keys_are_taken_once_and_must_be_there_to_go():
    shelf = a_shelf(1)
    with pytest.raises(RegistrationError, match="a tool named 't0' already"):
        shelf.add(Thing("t0"))
    with pytest.raises(KeyError, match="no tool named 'x'"):
        shelf.remove("x")
