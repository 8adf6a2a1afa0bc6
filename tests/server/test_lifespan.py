"""What is open while a server serves: once, in one task, and never half."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from tests.joined import Joined

from interlock import Context, Server
from interlock.server.lifespan import Lifespan


class Log(list[str]):
    """A factory that notes what happens to its contexts."""

    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[object] | None] = []
        self.entering = asyncio.Event()
        self.may_enter = asyncio.Event()
        self.may_enter.set()

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[str]:
        self.append("enter")
        self.entering.set()
        self.tasks.append(asyncio.current_task())
        try:
            await self.may_enter.wait()
            yield "state"
        finally:
            self.append("leave")
            self.tasks.append(asyncio.current_task())


async def test_it_is_entered_by_the_first_and_left_by_the_last():
    log = Log()
    lifespan = Lifespan(log.open)
    await lifespan.start()
    await lifespan.start()
    assert (log, lifespan.state) == (["enter"], "state")
    assert await lifespan.stop() is False
    assert log == ["enter"]
    assert await lifespan.stop() is True
    assert (log, lifespan.state) == (["enter", "leave"], None)
    await lifespan.start()
    await lifespan.stop()
    assert log == ["enter", "leave"] * 2


async def test_it_is_left_in_the_task_that_entered_it():
    """A context manager may hold a cancel scope or a task group."""
    log = Log()
    lifespan = Lifespan(log.open)
    await asyncio.create_task(lifespan.start())
    await asyncio.create_task(lifespan.stop())
    entered, left = log.tasks
    assert entered is left


async def test_failing_to_enter_is_raised_to_all_who_wait_and_may_be_tried_again():
    fail = True

    @asynccontextmanager
    async def lifetime() -> AsyncGenerator[int]:
        await asyncio.sleep(0)
        if fail:
            raise ValueError("no database")
        yield 1

    lifespan = Lifespan(lifetime)
    found = await asyncio.gather(lifespan.start(), lifespan.start(), return_exceptions=True)
    assert [str(error) for error in found] == ["no database"] * 2
    fail = False
    await lifespan.start()
    assert lifespan.state == 1
    await lifespan.stop()


async def test_failing_to_leave_is_raised_to_the_last():
    @asynccontextmanager
    async def lifetime() -> AsyncGenerator[None]:
        yield
        raise ValueError("still busy")

    lifespan = Lifespan(lifetime)
    await lifespan.start()
    with pytest.raises(ValueError, match="still busy"):
        await lifespan.stop()


async def test_who_gives_up_while_it_is_entered_leaves_nothing_open():
    log = Log()
    log.may_enter.clear()
    lifespan = Lifespan(log.open)
    starting = asyncio.create_task(lifespan.start())
    await log.entering.wait()
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert log == ["enter", "leave"]
    log.may_enter.set()
    await lifespan.start()
    assert log == ["enter", "leave", "enter"]
    await lifespan.stop()


async def test_handlers_find_its_state_in_their_context(joined: Joined, era: str):
    log = Log()
    server = Server("s", lifespan=log.open)

    @server.tool
    async def look(ctx: Context) -> str:
        return ctx.state

    async with joined(server, era) as client, joined(server, era) as other:
        assert (await client.call_tool("look")).text == "state"
        assert (await other.call_tool("look")).text == "state"
        assert log == ["enter"]
    assert log == ["enter", "leave"]
