"""A shelf: keys, pages, and bytes that are encoded once."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from msgspec import Struct

from interlock import Server
from interlock.errors import RegistrationError, RpcError, UsageError
from interlock.protocol.call import Call
from interlock.protocol.session import Envelope
from interlock.server.shelf import UNCACHED, Shelf, drawn, hints_of
from interlock.wire.meta import CacheHints, Icon, PagedParams
from interlock.wire.methods import BY_NAME
from interlock.wire.tools import Tool
from interlock.wire.versions import LATEST_LEGACY, LATEST_MODERN, Revision


class Thing(Struct):
    key: str
    kept: CacheHints | None = None

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


@pytest.mark.parametrize(
    "other",
    [
        {"realm": "another server"},
        {"member": "prompts"},
    ],
)
async def test_a_cursor_of_another_list_is_refused_though_it_has_such_an_entry(other: Any):
    shelf = a_shelf(5, page_size=2)
    theirs: Shelf[Thing] = Shelf(
        other.get("member", "tools"), "thing", page_size=2, realm=other.get("realm", "")
    )
    for number in range(5):
        theirs.add(Thing(f"t{number}"))
    cursor = (await page(theirs))["nextCursor"]
    with pytest.raises(RpcError, match="Invalid cursor"):
        await page(shelf, cursor)


async def test_a_cursor_counts_only_as_it_was_given_out():
    """Base64 is read with letters that mean nothing; each spelling would be a page to keep."""
    shelf = a_shelf(5, page_size=2)
    cursor = (await page(shelf))["nextCursor"]
    for changed in (cursor + "!", "!" + cursor, cursor.rstrip("=") + "==="):
        with pytest.raises(RpcError, match="Invalid cursor"):
            await page(shelf, changed)


async def test_a_cursor_whose_entry_is_gone_is_refused():
    shelf = a_shelf(5, page_size=2)
    cursor = (await page(shelf))["nextCursor"]
    shelf.remove("t1")
    with pytest.raises(RpcError, match="Invalid cursor"):
        await page(shelf, cursor)


def test_what_may_be_kept_is_said_for_all_or_by_kind():
    mine = CacheHints(ttl_ms=5, scope="public")
    assert hints_of(mine, "reads") == mine
    assert hints_of({"tools": mine}, "tools") == mine
    assert hints_of({"tools": mine}, "reads") == UNCACHED
    with pytest.raises(UsageError, match="got 'tool'"):
        hints_of({"tool": mine}, "tools")  # type: ignore[dict-item]


def test_hints_that_mean_nothing_are_refused():
    with pytest.raises(ValueError, match="0 or more"):
        CacheHints(ttl_ms=-1)
    with pytest.raises(ValueError, match="public or private"):
        CacheHints(scope="shared")  # type: ignore[arg-type]


async def test_hints_are_for_modern_clients():
    shelf = a_shelf(1, hints=CacheHints(ttl_ms=9, scope="public"))
    body = await page(shelf)
    assert (body["ttlMs"], body["cacheScope"]) == (9, "public")
    assert set(await page(shelf, revision=LATEST_LEGACY)) == {"tools"}


async def test_a_list_is_kept_as_long_as_the_member_that_is_kept_the_shortest():
    shelf = a_shelf(page_size=2, hints=CacheHints(ttl_ms=50, scope="public"))
    assert await hints(shelf) == (50, "public")
    shelf.add(Thing("a", CacheHints(ttl_ms=90, scope="public")))
    assert await hints(shelf) == (90, "public")
    shelf.add(Thing("b"))
    assert await hints(shelf) == (50, "public")
    shelf.add(Thing("c", CacheHints(ttl_ms=20, scope="private")))
    assert await hints(shelf) == (20, "private")


async def test_all_pages_of_a_list_have_one_scope():
    """2026-07-28 § Caching, Pagination."""
    shelf = a_shelf(3, page_size=2, hints=CacheHints(ttl_ms=50, scope="public"))
    shelf.add(Thing("mine", CacheHints(scope="private")))
    first = await page(shelf)
    second = await page(shelf, first["nextCursor"])
    assert names(second) == ["t2", "mine"]
    assert (first["cacheScope"], second["cacheScope"]) == ("private", "private")


async def hints(shelf: Shelf[Thing]) -> tuple[int, str]:
    body = await page(shelf)
    return body["ttlMs"], body["cacheScope"]


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


@pytest.mark.parametrize("src", ["javascript:alert(1)", "file:///etc/icon.png", "icon.png", ""])
def test_icons_that_no_client_shows_are_refused(src: str):
    """Clients take https and data URIs only (2025-11-25 § Base protocol, Icons)."""
    with pytest.raises(RegistrationError, match="An icon is"):
        drawn([Icon(src=src)])
    with pytest.raises(RegistrationError, match="An icon is"):
        Server("s", icons=[Icon(src=src)])
    for register in (Server("s").tool, Server("s").prompt):
        with pytest.raises(RegistrationError, match="An icon is"):
            register(name="f", icons=[Icon(src=src)])(lambda: "")
    with pytest.raises(RegistrationError, match="An icon is"):
        Server("s").resource("x://y", icons=[Icon(src=src)])(lambda: "")
    fine = [Icon(src="data:image/png;base64,AA=="), Icon(src="https://example.com/i.svg")]
    assert drawn(fine) == fine
    assert drawn([]) is None
