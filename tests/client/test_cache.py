"""What a client keeps, for how long, and for whom (2026-07-28 § Caching)."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from msgspec import Raw
from tests.joined import WIRED, Joined
from tests.peers import Json, soon

from interlock import Client, Context, RpcError, Server
from interlock.client.cache import LONGEST, Cache, CachingLink, View
from interlock.errors import INVALID_PARAMS
from interlock.protocol.call import Call
from interlock.protocol.session import Envelope
from interlock.testing.clock import Clock
from interlock.wire.jsonrpc import encode
from interlock.wire.lifecycle import DiscoverResult, ServerCapabilities
from interlock.wire.meta import CacheHints, ClientCapabilities, PagedParams, Params, RawResult, Wire
from interlock.wire.methods import BY_NAME
from interlock.wire.notices import (
    PROMPTS_CHANGED,
    RESOURCE_UPDATED,
    RESOURCES_CHANGED,
    TOOLS_CHANGED,
    UpdatedNotice,
)
from interlock.wire.resources import ReadResourceParams
from interlock.wire.tools import CallToolParams
from interlock.wire.versions import LATEST_LEGACY, LATEST_MODERN, Revision

URL = "https://it.example/mcp"
NOTHING = Raw(b"{}")


class Fake:
    """A link whose server numbers its answers and says of each how long it may be kept."""

    def __init__(self, revision: Revision = LATEST_MODERN) -> None:
        self.envelope = Envelope(revision)
        self.greeting = DiscoverResult(supported_versions=[], capabilities=ServerCapabilities())
        self.asked: list[str] = []
        self.hints: Json = {"ttlMs": 60_000, "cacheScope": "private"}
        self.more: Json = {}
        self.kind = "complete"
        self.error: RpcError | None = None
        self.reached = asyncio.Event()
        self.go = asyncio.Event()
        self.go.set()

    async def handle(self, call: Call) -> RawResult:
        self.asked.append(call.method)
        self.reached.set()
        number = len(self.asked)
        await self.go.wait()
        if self.error is not None:
            raise self.error
        body = json.dumps({"number": number, **self.hints, **self.more})
        return RawResult(body=Raw(body.encode()), kind=self.kind)

    def notify(self, method: str, params: Wire | Raw) -> None:
        pass

    async def wait_lost(self) -> Exception | None:
        return None

    async def close(self) -> None:
        pass


def call(method: str = "tools/list", params: Params | None = None, **changes: Any) -> Call:
    if params is None:
        paged = method.endswith("/list")
        params = PagedParams() if paged else Params()
    made = Call(BY_NAME[method], params, Envelope(LATEST_MODERN))
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def read(uri: str) -> Call:
    return call("resources/read", ReadResourceParams(uri=uri))


def page(cursor: str | None, method: str = "tools/list") -> Call:
    return call(method, PagedParams(cursor=cursor))


class Bench:
    """A cache with a clock to turn, and a client's link over it."""

    def __init__(self, server: str | None = URL, **options: Any) -> None:
        self.clock = Clock()
        self.cache = Cache(clock=self.clock, **options)
        self.fake = Fake()
        self.view = self.cache.view(server)
        self.link = self.view.over(self.fake)

    def another(self, server: str | None = URL) -> tuple[Fake, View, Any]:
        fake = Fake()
        view = self.cache.view(server)
        return fake, view, view.over(fake)

    async def ask(self, made: Call | None = None) -> int:
        return await ask(self.link, made)


async def ask(link: Any, made: Call | None = None) -> int:
    """Which of its answers the server gave, or had given."""
    result = await soon(link.handle(made or call()))
    return json.loads(bytes(result.body))["number"]


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_an_answer_is_kept_for_as_long_as_its_server_says(bench: Bench):
    assert await bench.ask() == 1
    bench.clock.turn(59.9)
    assert await bench.ask() == 1
    bench.clock.turn(0.1)
    assert await bench.ask() == 2


@pytest.mark.parametrize("ttl", [0, -1, None, "60000", True, [], ...], ids=str)
async def test_what_names_no_time_is_not_kept(bench: Bench, ttl: Any):
    """§ Caching: absent or negative is 0, and 0 is stale at once."""
    bench.fake.hints = {"cacheScope": "public"} if ttl is ... else {"ttlMs": ttl}
    assert [await bench.ask(), await bench.ask()] == [1, 2]
    assert len(bench.cache) == 0


async def test_nothing_is_kept_for_ever(bench: Bench):
    bench.fake.hints = {"ttlMs": 10**30}
    assert await bench.ask() == 1
    bench.clock.turn(LONGEST)
    assert await bench.ask() == 2


@pytest.mark.parametrize(
    "other",
    [
        page("2"),
        page(""),
        page(None, "prompts/list"),
        call(envelope=Envelope(LATEST_MODERN, None, ClientCapabilities(roots={}))),
    ],
    ids=["cursor", "empty cursor", "method", "capabilities"],
)
async def test_another_question_is_not_answered_with_it(bench: Bench, other: Call):
    """§ Caching: a response MUST NOT be served for other parameters."""
    assert await bench.ask() == 1
    assert await bench.ask(other) == 2
    assert await bench.ask() == 1


async def test_reads_are_kept_by_their_uri(bench: Bench):
    assert [await bench.ask(read("a://1")), await bench.ask(read("a://2"))] == [1, 2]
    assert [await bench.ask(read("a://1")), await bench.ask(read("a://2"))] == [1, 2]


@pytest.mark.parametrize(
    "made",
    [
        call("tools/call", CallToolParams(name="x")),
        call("prompts/get"),
        call("completion/complete"),
        call(raw=Raw(b'{"_meta":{"a":1}}')),
        call("resources/read", ReadResourceParams(uri="a://1"), fields={"requestState": NOTHING}),
    ],
    ids=["tools/call", "prompts/get", "completion", "with _meta", "asked again with answers"],
)
async def test_what_may_not_be_kept_is_neither_kept_nor_answered_from_it(bench: Bench, made: Call):
    """§ Caching: the results of retries MUST NOT be cached."""
    assert [await bench.ask(made), await bench.ask(made)] == [1, 2]
    assert len(bench.cache) == 0


@pytest.mark.parametrize("kind", ["input_required", "task"])
async def test_a_result_that_is_not_complete_is_not_kept(bench: Bench, kind: str):
    bench.fake.kind = kind
    assert [await bench.ask(read("a://1")), await bench.ask(read("a://1"))] == [1, 2]


async def test_errors_and_nonsense_are_not_kept(bench: Bench):
    bench.fake.error = RpcError(-32603, "no")
    for _ in range(2):
        with pytest.raises(RpcError):
            await bench.ask()
    assert len(bench.fake.asked) == 2
    view = bench.view
    view.keep(view.keys(call()), call(), RawResult(body=Raw(b"[]")))
    assert len(bench.cache) == 0


def test_a_legacy_link_is_left_as_it_is():
    fake = Fake(LATEST_LEGACY)
    assert Cache().view(URL).over(fake) is fake


async def test_private_answers_belong_to_one_client(bench: Bench):
    """§ Caching: they MUST NOT be shared across authorization contexts."""
    other, _, link = bench.another()
    assert await bench.ask() == 1
    assert await ask(link) == 1
    assert len(other.asked) == 1


async def test_public_answers_are_shared_by_clients_of_one_server(bench: Bench):
    bench.fake.hints = {"ttlMs": 60_000, "cacheScope": "public"}
    other, _, link = bench.another()
    stranger, _, elsewhere = bench.another("https://other.example/mcp")
    assert await bench.ask() == 1
    assert await ask(link) == 1
    assert other.asked == []
    assert await ask(elsewhere) == 1
    assert len(stranger.asked) == 1


async def test_a_server_that_nobody_else_reaches_shares_with_nobody():
    bench = Bench(server=None)
    bench.fake.hints = {"ttlMs": 60_000, "cacheScope": "public"}
    other, _, link = bench.another(None)
    assert [await bench.ask(), await bench.ask()] == [1, 1]
    await ask(link)
    assert len(other.asked) == 1


@pytest.mark.parametrize("scope", ["Public", "shared", None, 3])
async def test_an_unknown_scope_is_private(bench: Bench, scope: Any):
    bench.fake.hints = {"ttlMs": 60_000, "cacheScope": scope}
    other, _, link = bench.another()
    assert [await bench.ask(), await bench.ask()] == [1, 1]
    await ask(link)
    assert len(other.asked) == 1


@pytest.mark.parametrize(
    ("notice", "stale"),
    [
        (TOOLS_CHANGED, {"tools/list"}),
        (PROMPTS_CHANGED, {"prompts/list"}),
        (RESOURCES_CHANGED, {"resources/list", "resources/templates/list"}),
    ],
)
async def test_a_list_that_changed_is_stale_at_once(bench: Bench, notice: str, stale: set[str]):
    methods = ("tools/list", "prompts/list", "resources/list", "resources/templates/list")
    for method in methods:
        await bench.ask(page(None, method))
        await bench.ask(page("2", method))
    bench.fake.asked.clear()
    bench.view.hear(notice, NOTHING)
    for method in methods:
        await bench.ask(page(None, method))
        await bench.ask(page("2", method))
    assert set(bench.fake.asked) == stale
    assert len(bench.fake.asked) == 2 * len(stale)


async def test_a_resource_that_was_updated_is_stale_and_no_other(bench: Bench):
    for uri in ("a://1", "a://2"):
        await bench.ask(read(uri))
    bench.view.hear(RESOURCE_UPDATED, Raw(encode(UpdatedNotice(uri="a://1"))))
    bench.view.hear(RESOURCE_UPDATED, Raw(b"nonsense"))
    assert [await bench.ask(read("a://1")), await bench.ask(read("a://2"))] == [3, 2]


async def test_an_answer_that_was_under_way_when_it_changed_is_not_kept(bench: Bench):
    bench.fake.go.clear()
    asking = asyncio.create_task(bench.ask())
    await soon(bench.fake.reached.wait())
    bench.view.hear(TOOLS_CHANGED, NOTHING)
    bench.fake.go.set()
    assert await soon(asking) == 1
    assert await bench.ask() == 2


async def test_what_one_client_hears_changed_is_stale_for_all_of_that_server(bench: Bench):
    bench.fake.hints = {"ttlMs": 60_000, "cacheScope": "public"}
    _, view, link = bench.another()
    await bench.ask()
    view.hear(TOOLS_CHANGED, NOTHING)
    assert await bench.ask() == 2
    assert await ask(link) == 2


async def test_leaving_drops_what_is_private(bench: Bench):
    other, view, link = bench.another()
    await bench.ask()
    await ask(link)
    other.hints = {"ttlMs": 60_000, "cacheScope": "public"}
    await ask(link, read("a://1"))
    view.hear(PROMPTS_CHANGED, NOTHING)
    view.clear()
    assert len(bench.cache) == 2
    assert await bench.ask() == 1


async def test_an_invalid_cursor_drops_all_pages(bench: Bench):
    """§ Caching: the pages of a list belong together."""
    await bench.ask(page(None))
    await bench.ask(page("2"))
    await bench.ask(page(None, "prompts/list"))
    bench.fake.error = RpcError(INVALID_PARAMS, "no such cursor")
    with pytest.raises(RpcError):
        await bench.ask(page("3"))
    bench.fake.error = None
    assert await bench.ask(page(None)) == 5
    assert await bench.ask(page(None, "prompts/list")) == 3


async def test_other_errors_drop_nothing(bench: Bench):
    await bench.ask(page(None))
    for code, made in ((-32603, page("2")), (INVALID_PARAMS, read("a://1"))):
        bench.fake.error = RpcError(code, "no")
        with pytest.raises(RpcError):
            await bench.ask(made)
    bench.fake.error = None
    assert await bench.ask(page(None)) == 1


async def test_the_number_of_entries_is_bounded_and_the_idle_make_room():
    bench = Bench(entries=2)
    for uri in ("a://1", "a://2"):
        await bench.ask(read(uri))
    await bench.ask(read("a://1"))
    await bench.ask(read("a://3"))
    assert len(bench.cache) == 2
    assert await bench.ask(read("a://1")) == 1
    assert await bench.ask(read("a://2")) == 4


async def test_the_bytes_are_bounded_and_no_answer_takes_them_all():
    bench = Bench(bytes=4000)
    bench.fake.more = {"text": "x" * 1500}
    await bench.ask(read("a://large"))
    assert len(bench.cache) == 0
    bench.fake.more = {"text": "x" * 700}
    for number in range(20):
        await bench.ask(read(f"a://{number}"))
    assert 1 < len(bench.cache) <= 5
    assert await bench.ask(read("a://19")) == 20 + 1


# As a user has it.


def a_server(hints: CacheHints) -> tuple[Server, list[str]]:
    server = Server("s", cache=hints)
    reads: list[str] = []

    @server.resource("note://{id}")
    def note(id: str) -> str:
        reads.append(id)
        return f"{id} {len(reads)}"

    @server.tool
    async def change(ctx: Context) -> None:
        server.updated("note://1")
        server.changed("tools")

    return server, reads


@pytest.mark.parametrize("era", WIRED)
async def test_a_client_keeps_what_it_may(joined: Joined, era: str):
    server, reads = a_server(CacheHints(60_000, "private"))
    async with joined(server, era) as client:
        for _ in range(3):
            await client.read_resource("note://1")
            await client.list_tools()
    assert len(reads) == (1 if era == "modern" else 3)
    lists = [message for message in joined.sent if b'"tools/list"' in message]
    assert len(lists) == len(reads)


@pytest.mark.parametrize("cache", [True, False])
async def test_a_client_may_be_told_not_to(joined: Joined, cache: bool):
    server, reads = a_server(CacheHints(60_000, "public"))
    async with joined(server, cache=cache) as client:
        for _ in range(3):
            await client.read_resource("note://1")
    assert len(reads) == (1 if cache else 3)


async def test_a_client_forgets_what_changed_before_it_says_so(joined: Joined):
    server, reads = a_server(CacheHints(60_000, "private"))
    client: Client
    seen: asyncio.Queue[asyncio.Task[Any]] = asyncio.Queue()

    def on_update(uri: str) -> None:
        seen.put_nowait(asyncio.create_task(client.read_resource(uri)))

    client = joined(server, on_update=on_update)
    async with client:
        await client.subscribe("note://1")
        await client.read_resource("note://1")
        await client.call_tool("change")
        await soon(await soon(seen.get()))
    assert len(reads) == 2


async def test_a_client_that_connects_again_begins_with_nothing(joined: Joined):
    server, reads = a_server(CacheHints(60_000, "private"))
    client = joined(server)
    for _ in range(2):
        async with client:
            await client.read_resource("note://1")
    assert len(reads) == 2


async def test_the_link_says_what_lies_beneath(bench: Bench):
    link = bench.link
    assert isinstance(link, CachingLink)
    assert link.envelope is bench.fake.envelope
    assert link.greeting is bench.fake.greeting
    link.notify("x", NOTHING)
    assert await link.wait_lost() is None
    await link.close()
