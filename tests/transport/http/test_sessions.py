from __future__ import annotations

import asyncio

import pytest
from msgspec import Raw

from interlock.errors import ConnectionLost, RpcError
from interlock.protocol.session import State
from interlock.transport.channel import HIGH_WATER
from interlock.transport.http.sessions import HttpSession, Sessions
from interlock.transport.http.streams import Reader
from interlock.wire import sse
from interlock.wire.jsonrpc import Message
from interlock.wire.meta import Params


class Clock:
    """A clock that the test turns."""

    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


class Run:
    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


async def kept(sessions: Sessions) -> HttpSession:
    session = sessions.prepare()
    await sessions.keep(session)
    return session


def listening(session: HttpSession) -> Reader:
    stream, after = session.stand()
    return stream.read(after, lambda: None)


async def found(sessions: Sessions, session: HttpSession) -> bool:
    return await sessions.find(session.session.id) is session


async def test_a_session_is_found_once_it_is_kept_and_until_it_is_dropped():
    sessions = Sessions()
    session = sessions.prepare()
    assert not await found(sessions, session)
    await sessions.keep(session)
    assert await found(sessions, session)
    sessions.drop(session)
    assert not await found(sessions, session)
    assert session.session.state is State.CLOSED


async def test_ids_are_long_random_and_visible():
    ids = {Sessions().prepare().session.id for _ in range(100)}
    assert len(ids) == 100
    assert all(len(name) >= 32 and name.isascii() and name.isprintable() for name in ids)


async def test_what_is_no_id_finds_nothing():
    sessions = Sessions()
    await kept(sessions)
    for name in ("", " ", "\x00", "é", "x" * 100_000):
        assert await sessions.find(name) is None


async def test_an_idle_session_ends():
    clock = Clock()
    sessions = Sessions(idle=10, clock=clock)
    session = await kept(sessions)
    clock.time = 10
    assert await found(sessions, session)
    clock.time = 20
    assert await found(sessions, session)
    clock.time = 31
    assert not await found(sessions, session)
    assert session.session.state is State.CLOSED


async def test_a_session_in_which_something_goes_on_is_not_idle():
    clock = Clock()
    sessions = Sessions(idle=10, clock=clock)
    standing, working, idle = await kept(sessions), await kept(sessions), await kept(sessions)
    reader = listening(standing)
    working.running[1] = Run()
    clock.time = 11
    newcomer = await kept(sessions)
    assert len(sessions) == 3
    assert idle.session.state is State.CLOSED
    reader.leave()
    working.running.clear()
    clock.time = 22
    assert not await found(sessions, standing)
    await kept(sessions)
    assert len(sessions) == 1
    assert newcomer.session.state is State.CLOSED


async def test_the_one_that_was_idle_longest_makes_room():
    sessions = Sessions(limit=2)
    one, two = await kept(sessions), await kept(sessions)
    assert await found(sessions, one)
    three = await kept(sessions)
    assert [await found(sessions, session) for session in (one, two, three)] == [True, False, True]


async def test_a_session_in_which_something_goes_on_makes_room_last():
    """Ours: anybody may begin sessions, and as many as they like."""
    sessions = Sessions(limit=3)
    calling, standing = await kept(sessions), await kept(sessions)
    calling.running[1] = Run()
    reader = listening(standing)
    for _ in range(5):
        await kept(sessions)
    assert len(sessions) == 3
    assert await found(sessions, calling)
    assert await found(sessions, standing)
    assert not reader.over
    last = Sessions(limit=1)
    only = await kept(last)
    only.running[1] = Run()
    assert await found(last, await kept(last))
    assert not await found(last, only)


async def test_closing_ends_every_session_and_what_goes_on_in_it():
    sessions = Sessions()
    session = await kept(sessions)
    reader = listening(session)
    run = session.running[1] = Run()
    question: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
    session.asked["s1"] = question
    told: list[str] = []
    session.session.on_close(lambda: told.append("closed"))
    sessions.close()
    assert len(sessions) == 0
    assert reader.over
    assert reader.pull() == b""
    assert run.cancelled
    assert told == ["closed"]
    with pytest.raises(ConnectionLost):
        await question


async def test_questions_have_ids_of_their_own():
    session = Sessions().prepare()
    ids = [session.next_id() for _ in range(3)]
    assert [name.split("-")[1] for name in ids] == ["1", "2", "3"]
    assert Sessions().prepare().next_id() not in ids


async def test_a_notice_goes_to_the_newest_standing_stream_alone():
    session = Sessions().prepare()
    session.standing.notify("notifications/lost", Params())
    old = listening(session)
    new = listening(session)
    session.standing.notify("notifications/x", Params())
    await session.standing.drain()
    assert old.over
    assert old.pull() == b""
    assert b"notifications/x" in new.pull()


async def test_a_standing_stream_that_nobody_takes_from_is_bounded():
    session = Sessions().prepare()
    reader = listening(session)
    for _ in range(50):
        session.standing.notify("notifications/x", Raw(b'"%b"' % (b"x" * (HIGH_WATER // 10))))
    assert len(reader.pull()) <= HIGH_WATER * 1.2
    session.standing.notify("notifications/room_again", Params())
    assert b"room_again" in reader.pull()


async def test_notices_wait_for_a_standing_stream_that_broke_off_and_not_for_one_that_never_was():
    session = Sessions().prepare()
    session.standing.notify("notifications/early", Params())
    reader = listening(session)
    session.standing.notify("notifications/x", Params())
    heard = sse.Reader().feed(reader.pull())[0]
    reader.lose()
    assert not session.busy
    session.standing.notify("notifications/y", Params())
    assert heard.id is not None
    back = session.resume(heard.id)
    assert back is not None
    again = back[0].read(back[1], lambda: None).pull()
    assert b"notifications/y" in again
    assert b"notifications/x" not in again
    assert b"early" not in again


async def test_a_client_that_comes_anew_hears_what_nobody_has_heard():
    session = Sessions().prepare()
    reader = listening(session)
    session.standing.notify("notifications/heard", Params())
    reader.pull()
    reader.lose()
    session.standing.notify("notifications/unheard", Params())
    chunk = listening(session).pull()
    assert b"unheard" in chunk
    assert b"/heard" not in chunk


async def test_nothing_is_asked_on_a_standing_stream():
    session = Sessions().prepare()
    listening(session)
    with pytest.raises(RpcError, match="during a call"):
        await session.standing.ask("roots/list", Params())
