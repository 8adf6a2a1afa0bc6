"""What is kept alive comes back, slower each time, until it is no use; the clock is turned here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import TypeVar

import pytest

from interlock.errors import ConnectFailed, LoginNeeded, ServerExited
from interlock.gateway.supervisor import (
    HISTORY,
    SLOWEST_RESTART,
    Clock,
    Event,
    State,
    Supervised,
)

T = TypeVar("T")


class HandClock:
    """A clock that stands still until it is turned."""

    def __init__(self) -> None:
        self.time = 0.0
        self.naps: list[tuple[float, asyncio.Future[None]]] = []
        self.chance = 0.5

    @property
    def clock(self) -> Clock:
        return Clock(
            now=lambda: 1_000_000 + self.time,
            monotonic=lambda: self.time,
            sleep=self.sleep,
            chance=lambda: self.chance,
        )

    async def sleep(self, seconds: float) -> None:
        nap = asyncio.get_running_loop().create_future()
        self.naps.append((self.time + seconds, nap))
        await nap

    async def turn(self, seconds: float) -> None:
        self.time += seconds
        for due, nap in self.naps:
            if due <= self.time and not nap.done():
                nap.set_result(None)
        await settle()


async def settle() -> None:
    """Let everything that is ready run."""
    for _ in range(10):
        await asyncio.sleep(0)


class Run:
    """What is kept alive here."""

    def __init__(self) -> None:
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self.closed = 0

    async def wait_lost(self) -> Exception | None:
        return await asyncio.shield(self.lost)

    async def close(self) -> None:
        self.closed += 1


class World:
    """A supervised thing and what it hangs on."""

    def __init__(self, crash_limit: int | None = 5) -> None:
        self.hand = HandClock()
        self.runs: list[Run] = []
        self.refusal: Exception | None = None
        self.heard: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.kept = Supervised(
            "git",
            self.connect,
            crash_limit=crash_limit,
            on_event=lambda event: self.heard.append(event.what),
            clock=self.hand.clock,
        )

    async def connect(self) -> Run:
        await self.gate.wait()
        if self.refusal is not None:
            raise self.refusal
        self.runs.append(Run())
        return self.runs[-1]

    async def lose(self, error: Exception | None) -> None:
        self.runs[-1].lost.set_result(error)
        await settle()

    async def pause(self) -> float:
        """Turn the clock to the next start, and say how long that took."""
        due, _ = self.hand.naps[-1]
        seconds = due - self.hand.time
        await self.hand.turn(seconds)
        return round(seconds, 6)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    yield made
    await soon(made.kept.stop())


async def soon(awaitable: Awaitable[T]) -> T:
    return await asyncio.wait_for(awaitable, 10)


KILLED = ServerExited("git", -9, ["out of memory"])


async def test_nothing_runs_before_it_is_started(world: World):
    await settle()
    assert (world.kept.state, world.runs, world.kept.current) == (State.IDLE, [], None)


async def test_starting_twice_starts_once(world: World):
    world.kept.start()
    world.kept.start()
    await settle()
    assert world.kept.state is State.RUNNING
    assert world.kept.current is world.runs[0]
    assert world.kept.starts == len(world.runs) == 1


async def test_one_that_was_killed_is_back_at_once(world: World):
    world.kept.start()
    await settle()
    await world.lose(KILLED)
    assert world.kept.state is State.BACKING_OFF
    assert world.kept.current is None
    assert world.kept.reason is KILLED
    assert world.runs[0].closed == 1
    assert await world.pause() == 0.1
    assert world.kept.current is world.runs[1]
    assert (world.kept.starts, world.kept.reason) == (2, None)


async def test_each_restart_in_a_row_waits_longer_up_to_half_a_minute():
    world = World(crash_limit=None)
    world.refusal = OSError("refused")
    world.kept.start()
    await settle()
    pauses = [await world.pause() for _ in range(11)]
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30, 30]
    assert max(pauses) == SLOWEST_RESTART
    assert world.kept.state is State.BACKING_OFF
    await world.kept.stop()


async def test_chance_moves_a_pause_by_a_fifth(world: World):
    world.refusal = OSError("refused")
    world.hand.chance = 0
    world.kept.start()
    await settle()
    world.hand.chance = 1
    assert await world.pause() == 0.08
    assert await world.pause() == 0.24


async def test_five_ends_within_a_minute_are_one_too_many(world: World):
    world.kept.start()
    await settle()
    for _ in range(4):
        await world.lose(KILLED)
        await world.pause()
    await world.lose(KILLED)
    assert world.kept.state is State.FAILED
    assert len(world.runs) == 5
    failed = world.kept.events[-1]
    assert failed.detail == (
        "ended 5 times within 60 s, the last time: was ended by signal 9; "
        "its last lines on stderr:\n  out of memory"
    )


async def test_ends_far_apart_are_no_crash_loop(world: World):
    world.kept.start()
    await settle()
    for _ in range(20):
        await world.hand.turn(20)
        await world.lose(KILLED)
        assert world.kept.state is State.BACKING_OFF
        await world.pause()


async def test_a_steady_run_makes_what_was_before_it_forgotten(world: World):
    world.kept.start()
    await settle()
    for _ in range(3):
        await world.lose(KILLED)
        await world.pause()
    await world.hand.turn(61)
    await world.lose(KILLED)
    assert await world.pause() == 0.1


async def test_what_failed_is_tried_again_when_asked_with_a_clean_slate(world: World):
    world.refusal = OSError("refused")
    world.kept.start()
    await settle()
    for _ in range(4):
        await world.pause()
    assert world.kept.state is State.FAILED
    world.kept.start()
    await settle()
    assert world.kept.state is State.FAILED
    world.refusal = None
    world.kept.retry()
    await settle()
    assert world.kept.state is State.RUNNING
    await world.lose(KILLED)
    assert await world.pause() == 0.1


async def test_asking_during_a_pause_ends_the_pause(world: World):
    world.kept.start()
    await settle()
    await world.lose(KILLED)
    world.kept.retry()
    await settle()
    assert world.kept.current is world.runs[1]
    await world.hand.turn(10)
    assert len(world.runs) == 2


async def test_asking_while_it_runs_or_starts_changes_nothing(world: World):
    world.gate.clear()
    world.kept.start()
    await settle()
    world.kept.retry()
    world.gate.set()
    await settle()
    world.kept.retry()
    await settle()
    assert len(world.runs) == 1


async def test_an_error_nobody_foresaw_is_an_end_like_any_other(world: World):
    world.refusal = ZeroDivisionError()
    world.kept.start()
    await settle()
    assert world.kept.state is State.BACKING_OFF
    assert world.kept.events[-2].detail == "ZeroDivisionError"
    world.refusal = None
    await world.pause()
    world.runs[-1].lost.set_exception(ZeroDivisionError("later"))
    await settle()
    assert world.kept.state is State.BACKING_OFF
    assert str(world.kept.reason) == "later"


async def test_a_close_that_fails_does_not_end_the_keeping(world: World):
    world.kept.start()
    await settle()

    async def fail() -> None:
        raise OSError("already gone")

    world.runs[0].close = fail
    await world.lose(KILLED)
    await world.pause()
    assert world.kept.current is world.runs[1]


async def test_what_is_closed_by_somebody_comes_back_too(world: World):
    world.kept.start()
    await settle()
    await world.lose(None)
    assert world.kept.events[-2].detail == "it was closed"
    await world.pause()
    assert world.kept.state is State.RUNNING


# What only a person can help


LOGIN = LoginNeeded("https://x.test/mcp", "server 'git' needs a login: interlock login git")


async def test_one_that_needs_a_login_is_left_alone_until_it_is_tried_again(world: World):
    world.refusal = LOGIN
    world.kept.start()
    await settle()
    assert (world.kept.state, world.kept.reason) == (State.NEEDS_LOGIN, LOGIN)
    assert world.heard == ["starting", "needs login"]
    assert world.kept.events[-1].detail == str(LOGIN)
    assert world.hand.naps == []
    world.kept.start()
    await settle()
    assert world.kept.state is State.NEEDS_LOGIN
    world.refusal = None
    world.kept.retry()
    await settle()
    assert world.kept.state is State.RUNNING


async def test_a_login_that_is_over_ends_what_runs(world: World):
    world.kept.start()
    await settle()
    await world.lose(LOGIN)
    assert world.kept.state is State.NEEDS_LOGIN
    assert world.runs[0].closed == 1
    assert world.hand.naps == []


async def test_who_waits_for_one_that_needs_a_login_is_told_at_once(world: World):
    world.refusal = LOGIN
    world.gate.clear()
    waiting = asyncio.ensure_future(world.kept.running(5))
    await settle()
    world.gate.set()
    for told in (waiting, world.kept.running(5)):
        with pytest.raises(LoginNeeded) as caught:
            await soon(told)
        assert (str(caught.value), caught.value.url) == (str(LOGIN), LOGIN.url)
        assert caught.value.__cause__ is LOGIN


async def test_logins_that_are_missed_are_no_crash_loop(world: World):
    world.refusal = LOGIN
    world.kept.start()
    for _ in range(10):
        await settle()
        world.kept.retry()
    await settle()
    assert world.kept.state is State.NEEDS_LOGIN


# Stopping


async def test_stopping_ends_what_runs_and_starts_it_no_more(world: World):
    world.kept.start()
    await settle()
    await soon(asyncio.gather(world.kept.stop(), world.kept.stop()))
    await soon(world.kept.stop())
    assert world.kept.state is State.STOPPED
    assert world.runs[0].closed == 1
    await world.hand.turn(100)
    assert len(world.runs) == 1
    assert world.heard.count("stopped") == 1


@pytest.mark.parametrize(
    "moment", ["idle", "just started", "starting", "backing off", "failed", "needs login"]
)
async def test_stopping_works_at_every_moment(world: World, moment: str):
    if moment == "starting":
        world.gate.clear()
    if moment in {"backing off", "failed"}:
        world.refusal = OSError("refused")
    if moment == "needs login":
        world.refusal = LOGIN
    if moment != "idle":
        world.kept.start()
    if moment != "just started":
        await settle()
    while moment == "failed" and world.kept.state is not State.FAILED:
        await world.pause()
    await world.kept.stop()
    assert (world.kept.state, world.runs) == (State.STOPPED, [])


async def test_a_stop_nobody_waits_for_still_stops(world: World):
    world.kept.start()
    await settle()
    stopping = asyncio.ensure_future(world.kept.stop())
    await asyncio.sleep(0)
    stopping.cancel()
    await settle()
    assert world.kept.state is State.STOPPED
    assert world.runs[0].closed == 1


async def test_what_was_stopped_can_be_started_again(world: World):
    world.kept.start()
    await settle()
    await soon(world.kept.stop())
    world.kept.retry()
    await settle()
    assert world.kept.current is world.runs[1]


# Waiting


async def test_who_comes_while_it_starts_waits_for_it(world: World):
    world.gate.clear()
    waiting = [asyncio.ensure_future(world.kept.running(5)) for _ in range(3)]
    await settle()
    assert world.kept.state is State.STARTING
    world.gate.set()
    assert set(await soon(asyncio.gather(*waiting))) == {world.runs[0]}
    assert await world.kept.running(0) is world.runs[0]


async def test_who_comes_during_a_pause_gets_the_next_run(world: World):
    world.kept.start()
    await settle()
    await world.lose(KILLED)
    waiting = asyncio.ensure_future(world.kept.running(5))
    await settle()
    await world.pause()
    assert await soon(waiting) is world.runs[1]


async def test_who_waited_long_enough_is_told_why_it_does_not_run(world: World):
    world.kept.start()
    await settle()
    await world.lose(KILLED)
    with pytest.raises(ConnectFailed) as caught:
        await world.kept.running(0.001)
    assert str(caught.value) == (
        "server 'git' is backing off after 0.001 s of waiting; was ended by signal 9; "
        "its last lines on stderr:\n  out of memory"
    )
    assert caught.value.__cause__ is KILLED


async def test_who_waits_is_told_at_once_when_it_is_given_up(world: World):
    world.refusal = OSError("refused")
    world.kept.start()
    await settle()
    waiting = asyncio.ensure_future(world.kept.running(5))
    for _ in range(4):
        await world.pause()
    with pytest.raises(ConnectFailed, match=r"^server 'git' has failed; refused$"):
        await soon(waiting)
    await soon(world.kept.stop())
    with pytest.raises(ConnectFailed, match=r"^server 'git' is stopped; refused$"):
        await world.kept.running(5)


# The story


async def test_the_history_tells_what_happened_and_when(world: World):
    world.kept.start()
    await settle()
    await world.hand.turn(7)
    await world.lose(KILLED)
    await world.pause()
    lines = "was ended by signal 9; its last lines on stderr:\n  out of memory"
    assert world.kept.events == [
        Event(1_000_000, "starting"),
        Event(1_000_000, "running"),
        Event(1_000_007, "ended", lines),
        Event(1_000_007, "backing off", "0.1 s"),
        Event(1_000_007.1, "starting"),
        Event(1_000_007.1, "running"),
    ]
    assert world.kept.since == 1_000_007.1
    assert world.heard == [event.what for event in world.kept.events]


async def test_the_history_is_bounded():
    world = World(crash_limit=None)
    world.kept.start()
    await settle()
    for _ in range(HISTORY):
        await world.lose(KILLED)
        await world.pause()
    assert len(world.kept.events) == HISTORY
    await world.kept.stop()
    assert world.kept.events[-1].what == "stopped"


async def test_by_the_real_clock_it_is_back_within_two_seconds():
    made: list[Run] = []

    async def connect() -> Run:
        made.append(Run())
        return made[-1]

    kept = Supervised("git", connect)
    kept.start()
    first = await kept.running(1)
    first.lost.set_result(KILLED)
    await settle()
    assert await kept.running(2) is made[1]
    await kept.stop()
