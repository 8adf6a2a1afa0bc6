"""§16.4 What 2026-07-28 deprecates: it works, and says what to do instead."""

from __future__ import annotations

import warnings

from tests.peers import Json
from tests.spec.asking import talk
from tests.spec.marking import requirement
from tests.spec.ways import Way

from interlock import Context, Server
from interlock.wire.meta import LOG_LEVEL
from interlock.wire.notices import MESSAGE

SAMPLED: Json = {"role": "assistant", "content": {"type": "text", "text": "hi"}, "model": "m"}


def old_fashioned() -> Server:
    server = Server("s")

    @server.tool
    async def sample(ctx: Context) -> str:
        return str((await ctx.sample("Hello", max_tokens=1)).content)

    @server.tool
    async def roots(ctx: Context) -> str:
        return str(await ctx.roots())

    @server.tool
    async def speak(ctx: Context) -> None:
        await ctx.error("aloud")

    return server


@requirement("DP-01")
async def test_what_is_deprecated_works_and_warns_once(way: Way):
    """What is deprecated keeps working and warns once.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/deprecated.mdx
    """
    roots = {"roots": [{"uri": "file:///srv"}]}
    can: Json = {"sampling": {}, "roots": {}}
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("default")
        async with way.join(old_fashioned(), capabilities=can) as peer:
            for _ in range(3):
                sampled = await talk(peer, "sample", SAMPLED)
                assert "hi" in sampled.answer.result["content"][0]["text"]
                listed = await talk(peer, "roots", roots)
                assert "file:///srv" in listed.answer.result["content"][0]["text"]
                heard = await peer.ask(
                    "tools/call", {"name": "speak", "_meta": {LOG_LEVEL: "info"}}
                )
                assert [said["method"] for said in heard.before] == [MESSAGE]
    texts = [str(each.message) for each in warned if each.category is DeprecationWarning]
    assert [text.partition(" ")[0] for text in texts] == ["Sampling", "Roots", "Logs"]
    assert all(each.filename == __file__ for each in warned)


@requirement("DP-01", revisions=["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"])
async def test_older_clients_are_served_in_silence(way: Way):
    """What is deprecated keeps working and warns once.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/deprecated.mdx
    """
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        async with way.join(old_fashioned(), capabilities={"sampling": {}}) as peer:
            await talk(peer, "sample", SAMPLED)
            await talk(peer, "speak", {})
    assert [each for each in warned if each.category is DeprecationWarning] == []
