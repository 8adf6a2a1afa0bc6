"""§15 Logging: who hears it, from which level on."""

from __future__ import annotations

import asyncio

from tests.peers import MODERN, Json
from tests.spec.asking import call, offered, watch
from tests.spec.marking import HTTP, requirement
from tests.spec.ways import Answer, Peer, Way

from interlock import Context, Server
from interlock.errors import INVALID_PARAMS
from interlock.wire.meta import LOG_LEVEL, LOG_LEVELS
from interlock.wire.notices import MESSAGE


def logger() -> Server:
    server = Server("logger")

    @server.tool
    async def speak(ctx: Context) -> None:
        for level in LOG_LEVELS:
            await ctx.log(level, {"it": ["is", level]}, logger="tests")

    return server


def lines(answer: Answer) -> list[Json]:
    return [said["params"] for said in answer.before if said["method"] == MESSAGE]


def asking(level: str, **params: object) -> Json:
    """Params of a modern request that wants lines from *level* on."""
    return {**params, "_meta": {LOG_LEVEL: level}}


async def speak(peer: Peer, level: str | None) -> list[Json]:
    """What a call says that wants to hear from *level* on."""
    if level is None:
        return lines(await peer.ask("tools/call", {"name": "speak"}))
    if peer.revision == MODERN:
        return lines(await peer.ask("tools/call", asking(level, name="speak")))
    assert (await peer.ask("logging/setLevel", {"level": level})).result == {}
    return await speak(peer, None)


@requirement("LG-01")
async def test_a_line_has_one_of_eight_levels_data_and_a_logger(way: Way):
    """Eight levels in order; a message has level, data and perhaps a logger.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/utilities/logging.mdx
    """
    async with way.join(logger()) as peer:
        heard = await speak(peer, "debug")
    assert heard == [
        {"level": level, "data": {"it": ["is", level]}, "logger": "tests"}
        for level in (
            *("debug", "info", "notice", "warning"),
            *("error", "critical", "alert", "emergency"),
        )
    ]


@requirement("LG-02")
async def test_logging_is_declared(way: Way):
    """A server that logs declares it.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/utilities/logging.mdx
    """
    async with way.join(logger()) as peer:
        assert (await offered(peer))["logging"] == {}


@requirement("LG-03")
async def test_a_session_hears_what_it_asked_for_and_others_what_they_did(way: Way):
    """`logging/setLevel` settles the least level of a session.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-11-25/server/utilities/logging.mdx
    """
    async with way.serve(logger()) as join, join() as one, join() as two:
        assert len(await speak(one, "alert")) == 2
        assert len(await speak(two, "warning")) == 5
        assert len(await speak(one, None)) == 2
        answer = await one.ask("logging/setLevel", {"level": "loud"})
        assert answer.code == INVALID_PARAMS
        assert len(await speak(one, None)) == 2


@requirement("LG-04")
async def test_a_request_hears_from_the_level_it_names_and_without_one_nothing(way: Way):
    """Nothing is logged to a request that names no level, nothing below it, and nothing elsewhere.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/utilities/logging.mdx
    """
    async with way.join(logger()) as peer:
        for index, level in enumerate(LOG_LEVELS):
            heard = await speak(peer, level)
            assert [line["level"] for line in heard] == list(LOG_LEVELS[index:])
            assert await speak(peer, None) == []


@requirement("LG-04")
async def test_a_level_that_is_none_is_invalid(way: Way):
    """Nothing is logged to a request that names no level, nothing below it, and nothing elsewhere.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/utilities/logging.mdx
    """
    async with way.join(logger()) as peer:
        answer = await peer.ask("tools/call", asking("loud", name="speak"))
        assert answer.code == INVALID_PARAMS


@requirement("LG-04", over=[HTTP])
async def test_lines_go_on_the_stream_of_their_own_request_only(way: Way):
    """Nothing is logged to a request that names no level, nothing below it, and nothing elsewhere.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/utilities/logging.mdx
    """
    server = Server("s")
    both = asyncio.Barrier(2)

    @server.tool
    async def speak(name: str, ctx: Context) -> None:
        await both.wait()
        await ctx.error(name)
        await both.wait()

    async with way.join(server) as peer:
        listening = await watch(peer, lists=True)
        one, two = [
            await peer.open("tools/call", asking("debug", name="speak", arguments={"name": name}))
            for name in ("one", "two")
        ]
        assert [line["data"] for line in lines(await one.answer())] == ["one"]
        assert [line["data"] for line in lines(await two.answer())] == ["two"]
        assert [said["method"] for said in listening.heard] == [
            "notifications/subscriptions/acknowledged"
        ]


@requirement("LG-05")
async def test_what_a_handler_did_not_expect_is_not_logged_to_the_client(way: Way):
    """Logs hold no secrets.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/utilities/logging.mdx
    """
    server = Server("s")

    @server.tool
    async def fail(ctx: Context) -> None:
        await ctx.debug("trying")
        raise LookupError("password hunter2")

    async with way.join(server) as peer:
        if not way.modern:
            await peer.ask("logging/setLevel", {"level": "debug"})
        answer = await peer.ask("tools/call", asking("debug", name="fail"))
    assert [line["data"] for line in lines(answer)] == ["trying"]
    assert "hunter2" not in str(answer.message)


@requirement("LG-04")
async def test_no_line_comes_after_the_answer(way: Way):
    """Nothing is logged to a request that names no level, nothing below it, and nothing elsewhere.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/utilities/logging.mdx
    """
    server = Server("s")
    kept: list[Context] = []

    @server.tool
    async def speak(ctx: Context) -> str:
        kept.append(ctx)
        return "done"

    async with way.join(server) as peer:
        begun = await peer.open("tools/call", asking("debug", name="speak"))
        await begun.answer()
        await kept[0].error("too late")
        await call(peer, "speak")
    assert not [said for said in begun.heard if "method" in said]
