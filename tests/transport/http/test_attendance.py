"""What ends a call before its handler does."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest
from msgspec import Raw
from tests.peers import soon

from interlock.protocol.call import Call
from interlock.protocol.session import Envelope
from interlock.transport.http.attendance import Attendance, End, resumed
from interlock.transport.http.plain import AsgiWay, left
from interlock.transport.http.reply import Reply
from interlock.transport.http.sessions import HttpSession, Sessions
from interlock.wire.meta import Params
from interlock.wire.methods import BY_NAME
from interlock.wire.versions import LATEST_MODERN


async def unsent(event: MutableMapping[str, Any]) -> None:
    raise AssertionError(event)


class Client:
    """What an HTTP server tells of one: nothing, until it leaves."""

    def __init__(self) -> None:
        self.leaves = asyncio.Event()
        self.asked = asyncio.Event()

    async def __call__(self) -> MutableMapping[str, Any]:
        self.asked.set()
        await self.leaves.wait()
        return {"type": "http.disconnect"}


class Waiting:
    """A call that waits in a task of its own, attended."""

    def __init__(self, session: HttpSession | None = None) -> None:
        self.client = Client()
        self.way = AsgiWay(self.client, unsent)
        self.among: set[Attendance] = set()
        self.call = Call(BY_NAME["ping"], Params(), Envelope(LATEST_MODERN), id=7, raw=Raw())
        self.reply = Reply(self.way, [], session=session)
        self.attendance: Attendance | None = None
        self.end: End | None = None
        self.cancelled = False
        self.go = asyncio.Event()
        self.task = asyncio.create_task(self._run(session))

    async def _run(self, session: HttpSession | None) -> None:
        self.attendance = Attendance(self.call, session, self.among, self.reply, self.way)
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled = True
        self.end = self.attendance.finish()
        self.reply.release()

    async def begun(self) -> Attendance:
        await soon(self.client.asked.wait())
        assert self.attendance is not None
        return self.attendance


async def test_a_call_that_comes_to_its_end_was_ended_by_nothing():
    waiting = Waiting()
    attendance = await waiting.begun()
    assert waiting.among == {attendance}
    waiting.go.set()
    await soon(waiting.task)
    assert waiting.end is None
    assert waiting.among == set()


@pytest.mark.parametrize("end", [End.CANCELLED, End.STOPPED])
async def test_a_call_is_ended_once_and_its_task_goes_on(end: End):
    waiting = Waiting()
    attendance = await waiting.begun()
    for each in (end, End.CANCELLED, End.STOPPED):
        (attendance.cancel if each is End.CANCELLED else attendance.stop)()
    await soon(waiting.task)
    assert waiting.cancelled
    assert waiting.end is end
    assert waiting.call.cancelled
    assert waiting.task.cancelling() == 0


async def test_a_client_without_a_session_ends_its_call_by_leaving():
    waiting = Waiting()
    await waiting.begun()
    waiting.client.leaves.set()
    await soon(waiting.task)
    assert waiting.end is End.LEFT
    assert waiting.reply.dead


async def test_a_client_with_a_session_may_only_have_lost_its_connection():
    session = Sessions().prepare()
    waiting = Waiting(session)
    attendance = await waiting.begun()
    assert session.running == {7: attendance}
    waiting.client.leaves.set()
    for _ in range(5):
        await asyncio.sleep(0)
    assert waiting.reply.dead
    assert not waiting.cancelled
    waiting.go.set()
    await soon(waiting.task)
    assert waiting.end is None
    assert session.running == {}


async def test_whoever_leaves_is_noticed_after_whatever_else_comes():
    events = ["http.request", "http.request", "http.disconnect"]
    gone: list[str] = []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": events.pop(0)}

    await soon(left(receive, lambda: gone.append("one"), lambda: gone.append("two")))
    assert gone == ["one", "two"]


async def test_what_was_begun_by_hand_goes_on():
    async def later() -> tuple[bytes, int]:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return b"later", 200

    work = later()
    assert await resumed(work, work.send(None)) == (b"later", 200)


async def test_what_is_thrown_in_is_the_handler_s_to_see():
    seen: list[str] = []

    async def stubborn() -> tuple[bytes, int]:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append("cancelled")
        return b"all the same", 200

    async def run() -> tuple[bytes, int]:
        work = stubborn()
        return await resumed(work, work.send(None))

    task = asyncio.create_task(run())
    await asyncio.sleep(0)
    task.cancel()
    assert await soon(task) == (b"all the same", 200)
    assert seen == ["cancelled"]
