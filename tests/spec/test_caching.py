"""§7 Results that may be kept: what a server says of them, and what a client keeps."""

from __future__ import annotations

import asyncio

import pytest
from tests.peers import Json, soon
from tests.spec.asking import LISTS
from tests.spec.kitchen import Kitchen, answered
from tests.spec.marking import HTTP, requirement
from tests.spec.scripts import LISTED, ME, Asked, Refusal, Script, meet
from tests.spec.ways import Way

from interlock import Client, Context, RpcError, Server
from interlock.client.cache import Cache
from interlock.wire.meta import SUBSCRIPTION_ID, CacheHints
from interlock.wire.notices import ACKNOWLEDGED, RESOURCE_UPDATED, TOOLS_CHANGED

CACHEABLE = {"server/discover", "resources/read", *LISTS}
NOTE: Json = {"contents": [{"uri": "note://one", "text": "one"}]}
MINUTE: Json = {"ttlMs": 60_000, "cacheScope": "private"}


# What a server says.


@requirement("RC-01")
async def test_what_may_be_kept_says_for_how_long_and_by_whom(way: Way):
    """Lists, reads and discovery say how long they may be kept and by whom.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/utilities/caching.mdx
    """
    for hints in (CacheHints(), CacheHints(ttl_ms=5000, scope="public")):
        async with way.join(Kitchen(cache=hints)) as peer:
            for method, params in answered(way.revision):
                result = (await peer.ask(method, params)).result
                if method in CACHEABLE:
                    assert type(result["ttlMs"]) is int
                    assert (result["ttlMs"], result["cacheScope"]) == (hints.ttl_ms, hints.scope)
                else:
                    assert not {"ttlMs", "cacheScope"} & result.keys()


@requirement("RC-02")
async def test_a_question_says_nothing_of_being_kept(way: Way):
    """`input_required` has no hints, and what came of a retry is not cached.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/utilities/caching.mdx
    """
    server = Server("asker", cache=CacheHints(ttl_ms=5000, scope="public"))

    @server.resource("note://{name}")
    async def note(name: str, ctx: Context) -> str:
        return f"{name} {(await ctx.roots())[0].uri}"

    async with way.join(server, capabilities={"roots": {}}) as peer:
        result = (await peer.ask("resources/read", {"uri": "note://one"})).result
        assert result["resultType"] == "input_required"
        assert not {"ttlMs", "cacheScope"} & result.keys()


@requirement("RC-08")
async def test_all_pages_of_a_list_have_one_scope(way: Way):
    """All pages of a list have one scope, each its own lifetime; an invalid cursor drops them all.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/utilities/caching.mdx
    """
    server = Server("pages", page_size=1)
    scopes: list[CacheHints] = [
        CacheHints(ttl_ms=9000, scope="public"),
        CacheHints(ttl_ms=5000, scope="private"),
        CacheHints(ttl_ms=7000, scope="public"),
    ]
    for number, hints in enumerate(scopes):
        server.tool(name=f"t{number}", cache=hints)(lambda: None)
    async with way.join(server) as peer:
        said: list[str] = []
        cursor: Json = {}
        for _ in scopes:
            page = (await peer.ask("tools/list", cursor)).result
            said.append(page["cacheScope"])
            cursor = {"cursor": page.get("nextCursor")}
        assert said == ["private"] * 3
        assert cursor == {"cursor": None}


@requirement("RC-09")
async def test_nothing_is_public_unless_its_author_says_so(way: Way):
    """Access does not depend on the scope said; what differs by user is private.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/utilities/caching.mdx
    """
    async with way.join(Kitchen()) as peer:
        for method, params in answered(way.revision):
            if method in CACHEABLE:
                assert (await peer.ask(method, params)).result["cacheScope"] == "private"


@requirement("RC-10", "TL-08")
async def test_tools_are_listed_in_the_same_order_each_time(way: Way):
    """Tools are listed in a stable order.
    Tools are listed in a stable order.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/tools.mdx
    """
    async with way.serve(Kitchen()) as join:
        orders: list[list[str]] = []
        for _ in range(2):
            async with join() as peer:
                for _ in range(2):
                    tools = (await peer.ask("tools/list")).result["tools"]
                    orders.append([tool["name"] for tool in tools])
        assert orders[0] == orders[1] == orders[2] == orders[3]


# What a client keeps.


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@requirement("RC-02")
async def test_what_came_of_a_retry_is_not_kept(way: Way):
    """`input_required` has no hints, and what came of a retry is not cached.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/utilities/caching.mdx
    """

    async def note(asked: Asked) -> None:
        question = {
            "resultType": "input_required",
            "inputRequests": {"r": {"method": "roots/list"}},
        }
        again = "inputResponses" in asked.params
        await asked.result({**NOTE, **MINUTE} if again else question)

    script = Script(way.revision, {"resources/read": note})
    async with meet(way, script, roots=["file:///here"]) as client:
        for _ in range(2):
            await client.read_resource("note://one")
    assert len(script.of("resources/read")) == 4


@requirement("RC-03")
async def test_what_was_asked_differently_is_another_question(way: Way):
    """What is kept is kept under its method and everything that decides the result.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/utilities/caching.mdx
    """

    async def read(asked: Asked) -> None:
        uri = asked.params["uri"]
        await asked.result({"contents": [{"uri": uri, "text": uri}], **MINUTE})

    async def page(asked: Asked) -> None:
        cursor = asked.params.get("cursor")
        more: Json = {"nextCursor": "2"} if cursor is None else {}
        await asked.result({"tools": [{**LISTED, "name": f"t{cursor}"}], **MINUTE, **more})

    script = Script(way.revision, {"resources/read": read, "tools/list": page})
    async with meet(way, script) as client:
        for _ in range(2):
            for uri in ("note://one", "note://two"):
                (contents,) = (await client.read_resource(uri)).contents
                assert contents.text == uri
            assert [tool.name for tool in await client.list_tools()] == ["tNone", "t2"]
    assert len(script.of("resources/read")) == 2
    assert len(script.of("tools/list")) == 2


@requirement("RC-04", "RC-05")
@pytest.mark.parametrize(
    ("hints", "fresh"),
    [({"ttlMs": 0}, 0), ({}, 0), ({"ttlMs": -5}, 0), ({"ttlMs": 60_000}, 60)],
    ids=str,
)
async def test_a_result_is_fresh_for_as_long_as_it_said_and_nothing_is_polled(
    way: Way, hints: Json, fresh: float
):
    """No hint, zero and less mean stale at once; else fresh for so many milliseconds.
    A TTL is no interval to poll in; whoever polls adds jitter and backs off.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/utilities/caching.mdx
    """
    clock = Clock()
    script = Script(way.revision, {"resources/read": {**NOTE, "cacheScope": "private", **hints}})
    async with meet(way, script, cache=Cache(clock=clock)) as client:

        async def asked() -> bool:
            before = len(script.of("resources/read"))
            await client.read_resource("note://one")
            return len(script.of("resources/read")) > before

        assert await asked()
        clock.now += fresh * 0.9
        assert await asked() == (fresh == 0)
        clock.now += 10_000
        for _ in range(3):
            await client.call_tool("tool")
        count = len(script.of("resources/read"))
        assert await asked()
        assert len(script.of("resources/read")) == count + 1


@requirement("RC-06", over=[HTTP])
@pytest.mark.parametrize("scope", ["private", "public"])
async def test_only_what_is_public_is_shared(way: Way, scope: str):
    """Private entries are never shared between authorizations.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/utilities/caching.mdx
    """
    script = Script(
        way.revision, {"resources/read": {**NOTE, "ttlMs": 60_000, "cacheScope": scope}}
    )
    cache = Cache()
    async with script.listening() as url:
        for _ in range(2):
            async with Client(url, revision=way.revision, cache=cache) as client:
                await client.read_resource("note://one")
    await script.stop()
    assert len(script.of("resources/read")) == (2 if scope == "private" else 1)


@requirement("RC-07")
async def test_a_change_that_is_told_makes_what_is_kept_stale(way: Way):
    """A change that is told makes the matching entry stale at once.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/utilities/caching.mdx
    """
    told: asyncio.Queue[str] = asyncio.Queue()
    tell: asyncio.Queue[tuple[str, Json]] = asyncio.Queue()

    async def listened(asked: Asked) -> None:
        named = {"_meta": {SUBSCRIPTION_ID: asked.id}}
        wanted = asked.params["notifications"]
        await asked.say(ACKNOWLEDGED, {**named, "notifications": wanted})
        while True:
            method, params = await tell.get()
            await asked.say(method, {**params, **named})

    can: Json = {"tools": {"listChanged": True}, "resources": {"subscribe": True}}
    answers: Json = {
        "subscriptions/listen": listened,
        "tools/list": {"tools": [LISTED], **MINUTE},
        "resources/read": {**NOTE, **MINUTE},
    }
    script = Script(way.revision, answers, capabilities=can)
    async with meet(way, script, on_change=told.put_nowait, on_update=told.put_nowait) as client:
        await client.subscribe("note://one")
        for _ in range(2):
            await client.list_tools()
            await client.read_resource("note://one")
        assert len(script.of("tools/list")) == len(script.of("resources/read")) == 1
        for method, params in ((TOOLS_CHANGED, {}), (RESOURCE_UPDATED, {"uri": "note://one"})):
            await tell.put((method, params))
            await soon(told.get())
        await client.list_tools()
        await client.read_resource("note://one")
    assert len(script.of("tools/list")) == len(script.of("resources/read")) == 2


@requirement("RC-08")
async def test_a_cursor_that_is_refused_drops_all_pages(way: Way):
    """All pages of a list have one scope, each its own lifetime; an invalid cursor drops them all.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/utilities/caching.mdx
    """

    async def page(asked: Asked) -> None:
        cursor = asked.params.get("cursor")
        if cursor is not None:
            await asked.refuse(Refusal(-32602, "no such cursor"))
        else:
            await asked.result({"tools": [LISTED], "nextCursor": "gone", **MINUTE})

    script = Script(way.revision, {"tools/list": page})
    async with meet(way, script) as client:
        with pytest.raises(RpcError):
            await client.list_tools()
        script.answers["tools/list"] = {"tools": [LISTED], **MINUTE, "_meta": ME}
        assert [tool.name for tool in await client.list_tools()] == ["tool"]
