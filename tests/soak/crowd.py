"""A crowd of clients that come over HTTP, begin something, and are never heard of again."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import selectors
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from tests.peers import Json, ask, hello, modern, say, soon
from tests.transport.http.host import Host
from tests.transport.http.host import mirrored as mirroring

from interlock import Context, Server
from interlock.transport.http.asgi import App
from interlock.transport.http.sessions import Sessions

AT_ONCE: Final = 100
"""How many clients come in one go; a listener stays open beside all the others."""
EVERY: Final = 4
"""One session in so many opens its standing stream, and one leaves a call running."""
DAY: Final = 24 * 3600.0

Begin = Callable[["Place", int], Awaitable[None]]


class TurningLoop(asyncio.SelectorEventLoop):
    """An event loop whose time can be turned on: what waits for an hour waits for `turn(3600)`."""

    def __init__(self) -> None:
        super().__init__(selectors.DefaultSelector())
        self._turned = 0.0

    def time(self) -> float:
        return super().time() + self._turned

    def turn(self, seconds: float) -> None:
        self._turned += seconds


@dataclasses.dataclass
class Form:
    size: int


def a_server(parked: int) -> Server:
    server = Server("soak", version="1", parked=parked)

    @server.tool
    async def echo(text: str = "") -> str:
        return text

    @server.tool
    async def wait() -> None:
        await asyncio.Event().wait()

    @server.tool
    async def order(ctx: Context, ballast: str = "") -> str:
        kept = await ctx.once("kept", lambda: ballast)
        return f"{(await ctx.elicit('What?', Form)).content} {kept}"

    return server


class Place:
    """What is come to: an endpoint in this process, whose limits hold all of the crowd at once."""

    def __init__(self, number: int) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, TurningLoop)
        self.loop = loop
        self.server = a_server(number)
        self.app = App(self.server, sessions=Sessions(limit=number, clock=loop.time))
        self.host = Host(self.app)

    @property
    def held(self) -> int:
        """How much of the crowd is still known."""
        parking = self.server._parking  # pyright: ignore[reportPrivateUsage]
        return len(self.app.sessions) + len(self.server.subscriptions) + len(parking)

    async def forget(self) -> None:
        """Let time pass until nobody is known any more, and no timer is left of anybody."""
        for turned in range(1000):
            if turned > 3 and not self.held and len(asyncio.all_tasks()) == 1:
                return
            self.loop.turn(DAY)
            await asyncio.sleep(0.001)
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        raise AssertionError(f"{self.held} are still known, and {len(left)} tasks left: {left[:3]}")


@asynccontextmanager
async def place(number: int) -> AsyncGenerator[Place]:
    """A place for *number* at once."""
    here = Place(number)
    await here.app.start()
    try:
        yield here
    finally:
        await here.app.stop()


async def come(here: Place, begin: Begin, number: int) -> None:
    """Let *number* clients begin something; a bounded number of them at once."""
    for first in range(0, number, AT_ONCE):
        some = range(first, min(first + AT_ONCE, number))
        await asyncio.gather(*(begin(here, each) for each in some))


async def open_session(here: Place, number: int) -> None:
    """Shake hands, make a call, and be gone; some leave a stream or a call behind."""
    host = here.host
    session = await host.greet(hello(capabilities={"elicitation": {}}))
    call: Json = {"name": "echo", "arguments": {"text": "x" * 100}}
    answered = await host.legacy(session, ask("tools/call", 1, call)).json()
    assert "result" in answered
    if number % EVERY == 0:
        stream = await host.open("GET", b"", {"mcp-session-id": session}).begun()
        stream.leave()
        await soon(stream.task)
    elif number % EVERY == 1:
        uri: Json = {"uri": "note://1"}
        await host.legacy(session, ask("resources/subscribe", 2, uri)).whole()
        await host.legacy(session, say("notifications/roots/list_changed")).whole()


async def park(here: Place, number: int) -> None:
    """Make a call that asks, and never answer."""
    body = modern(
        "tools/call",
        number,
        {"name": "order", "arguments": {"ballast": "x" * 1000}},
        **{"io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}}},
    )
    asked = here.host.open("POST", body, mirroring(body))
    answer: Any = json.loads(await asked.whole())
    assert answer["result"]["resultType"] == "input_required"


async def listen(here: Place, number: int) -> None:
    """Listen for all there is, and leave when everyone listens."""
    wanted: Json = {"toolsListChanged": True, "resourceSubscriptions": [f"note://{number}"]}
    body = modern("subscriptions/listen", number, {"notifications": wanted})
    asked = await here.host.open("POST", body, mirroring(body)).begun()
    await asked.message()
    LEAVING.append(asked)


LEAVING: Final[list[Any]] = []
"""Listeners that are still there."""


async def leave() -> None:
    """Close every listener's stream."""
    for asked in LEAVING:
        asked.leave()
    while LEAVING:
        await soon(LEAVING.pop().task)
