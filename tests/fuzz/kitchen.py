"""A server that has something of everything, for messages that are right by accident too.

Its handlers expect any arguments, so that no failure is theirs: what they raise on purpose is
`Deliberate`. Run as a program it serves its pipes, and says on stderr what was logged as an error.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import sys
import warnings
from typing import Annotated, Any, Final

from msgspec import Meta

from interlock import Context, Server, ToolError
from interlock.protocol.sealing import Keyring
from interlock.transport.duplex import serve
from interlock.transport.stdio import StdioChannel, claim

LINE_LIMIT: Final = 256 * 1024
ALLOWED: Final = "deliberate"
"""The first word of what stderr may say."""


class Deliberate(Exception):
    """What a tool here fails with: a masked incident, and the one error that may be logged."""


@dataclasses.dataclass
class Place:
    name: str
    floor: int = 0
    tags: list[str] = dataclasses.field(default_factory=list[str])


@dataclasses.dataclass
class Form:
    size: int
    colour: str = "red"


def kitchen() -> Server:
    server = Server("fuzz", version="1", keyring=Keyring(b"f" * 32), parked=50, page_size=4)

    @server.tool
    async def echo(text: str = "") -> str:
        return text

    @server.tool
    def add(a: int, b: float = 2) -> dict[str, float]:
        return {"sum": a + b}

    @server.tool
    async def visit(place: Place, others: list[Place] | None = None) -> list[Place]:
        return [place, *(others or [])]

    @server.tool
    async def region(
        where: Annotated[str, Meta(extra_json_schema={"x-mcp-header": "Where"})],
    ) -> str:
        return where

    @server.tool
    async def steps(ctx: Context, count: int = 3) -> str:
        for step in range(max(0, min(count, 20))):
            await ctx.report_progress(step + 1, count)
            await ctx.info({"step": step})
        return "done"

    @server.tool
    async def fail() -> str:
        raise Deliberate

    @server.tool
    async def refuse(why: str = "no") -> str:
        raise ToolError(why)

    @server.tool
    async def wait() -> str:
        await asyncio.Event().wait()
        return "never"

    @server.tool
    async def order(ctx: Context, twice: bool = False) -> str:
        answer = await ctx.elicit("What?", Form)
        if twice:
            await ctx.confirm("Sure?")
        return str(answer.content)

    @server.tool
    async def think(ctx: Context, about: str = "x") -> str:
        return str(await ctx.sample(about, max_tokens=5))

    @server.tool
    async def where(ctx: Context) -> list[str]:
        return [root.uri for root in await ctx.roots()]

    @server.tool(task="optional")
    async def long(ctx: Context, asks: bool = False) -> str:
        return "yes" if asks and await ctx.confirm("Go on?") else "no"

    @server.tool
    async def touch(uri: str = "note://one") -> str:
        server.changed("tools")
        server.updated(uri)
        return "touched"

    @server.resource("note://one")
    def one() -> str:
        return "one"

    @server.resource("data://bytes", mime_type="image/png")
    def some_bytes() -> bytes:
        return b"\x89PNG"

    @server.resource("notes://{name}{?page}")
    def note(name: str, page: str = "") -> str | None:
        return None if name == "nobody" else f"{name} {page}"

    @server.prompt
    def greet(name: str, tone: str = "plain") -> str:
        return f"Hello {name}, {tone}"

    @server.completer("greet", "name")
    def names(typed: str) -> list[str]:
        return [typed + "a", typed + "b"]

    return server


def is_deliberate(record: logging.LogRecord) -> bool:
    """Whether this was logged for a handler's failure on purpose, masked as it should be."""
    error = record.exc_info[1] if record.exc_info else None
    return isinstance(error, Deliberate) and "incident" in record.getMessage()


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return ALLOWED if is_deliberate(record) else super().format(record)


async def main() -> None:
    claimed = claim()
    server = kitchen()
    await server.start()
    try:
        await serve(server, await StdioChannel.open(claimed, limit=LINE_LIMIT))
    finally:
        await server.stop()


def quiet() -> None:
    """Sampling and roots are deprecated; that is not what is looked for here."""
    warnings.simplefilter("ignore", DeprecationWarning)


if __name__ == "__main__":
    quiet()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.ERROR, handlers=[handler])
    arguments: list[Any] = sys.argv[1:]
    assert not arguments
    asyncio.run(main(), debug=False)
