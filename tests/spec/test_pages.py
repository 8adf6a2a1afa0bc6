"""§14 Pagination: lists in pages, by cursors that mean something to their server alone."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from tests.spec.asking import LISTS
from tests.spec.marking import requirement
from tests.spec.scripts import LISTED, Asked, Script, meet
from tests.spec.ways import Peer, Way

from interlock import Server
from interlock.errors import INVALID_PARAMS, InvalidMessage


def paged(size: int = 2, count: int = 5) -> Server:
    """A server with *count* of everything, *size* of them on a page."""
    server = Server("paged", page_size=size)
    for number in range(count):
        server.tool(name=f"t{number}")(lambda: None)
        server.prompt(name=f"p{number}")(lambda: "")
        server.resource(f"r://{number}", name=f"r{number}")(lambda: "")

        @server.resource(f"r://{number}/{{x}}", name=f"x{number}")
        def of(x: str) -> str:
            return x

    return server


async def page(peer: Peer, method: str, cursor: Any = ...) -> tuple[list[str], str | None]:
    """The names on one page, and the cursor of the next."""
    result = (await peer.ask(method, {} if cursor is ... else {"cursor": cursor})).result
    assert result.get("nextCursor", "") is not None
    return [entry["name"] for entry in result[LISTS[method]]], result.get("nextCursor")


@requirement("PG-01")
async def test_a_list_comes_in_pages_until_there_is_no_cursor(way: Way):
    """Lists come in pages; no `nextCursor` means the end.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/utilities/pagination.mdx
    """
    for count, expected in ((4, ["01", "23"]), (5, ["01", "23", "4"])):
        async with way.join(paged(count=count)) as peer:
            for method in LISTS:
                names, cursor = await page(peer, method)
                pages = [names]
                while cursor is not None:
                    names, cursor = await page(peer, method, cursor)
                    pages.append(names)
                assert ["".join(name[1] for name in names) for names in pages] == expected


@requirement("PG-02")
async def test_a_client_sends_a_cursor_back_as_it_came_even_an_empty_one(way: Way):
    """A cursor is opaque; an empty one is one.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/utilities/pagination.mdx
    """

    cursors = ["", "0", " ü/+=", "x" * 3000, "null"]

    async def pages(asked: Asked) -> None:
        at = cursors.index(asked.params["cursor"]) + 1 if "cursor" in asked.params else 0
        following = {"nextCursor": cursors[at]} if at < len(cursors) else {}
        await asked.result({"tools": [{**LISTED, "name": f"t{at}"}], **following})

    async with meet(way, Script(way.revision, {"tools/list": pages})) as client:
        names = [tool.name for tool in await client.list_tools()]
    assert names == ["t0", "t1", "t2", "t3", "t4", "t5"]


@requirement("PG-03")
async def test_a_cursor_that_the_server_did_not_give_is_invalid(way: Way):
    """Cursors are stable, and an invalid one is -32602.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/utilities/pagination.mdx
    """
    async with way.join(paged()) as peer:
        cursors: list[object] = ["", "0", "made up", "bm9uZQ==", "ü", 1, [], {}]
        for method, cursor in product(LISTS, cursors):
            assert (await peer.ask(method, {"cursor": cursor})).code == INVALID_PARAMS


@requirement("PG-03")
async def test_a_page_goes_on_where_the_last_ended_though_the_list_changed(way: Way):
    """Cursors are stable, and an invalid one is -32602.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/utilities/pagination.mdx
    """
    server = paged()
    async with way.join(server) as peer:
        names, cursor = await page(peer, "tools/list")
        assert names == ["t0", "t1"]
        server.remove_tool("t0")
        server.tool(name="t5")(lambda: None)
        assert (await page(peer, "tools/list", cursor))[0] == ["t2", "t3"]


@requirement("PG-04", revisions=["2025-11-25", "2026-07-28"])
@pytest.mark.parametrize("distinct", [True, False])
async def test_a_client_does_not_read_a_list_without_end(way: Way, distinct: bool):
    """A client reads no list that does not end.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/utilities/pagination.mdx
    """
    asked_for = 0

    async def pages(asked: Asked) -> None:
        nonlocal asked_for
        asked_for += 1
        cursor = str(asked_for) if distinct else "same"
        await asked.result({"tools": [], "nextCursor": cursor})

    async with meet(way, Script(way.revision, {"tools/list": pages})) as client:
        with pytest.raises(InvalidMessage, match="does not end"):
            await client.list_tools()
