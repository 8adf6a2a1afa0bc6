"""A selector that looks again before it sleeps: with a clock that the test turns."""

from __future__ import annotations

import asyncio
import selectors
import socket
from collections.abc import Callable, Iterator

import pytest

from interlock.transport.awake import MOMENT, AwakeSelector, awake_loop


class Clock:
    """Goes on by *step* each time it is read, and does *then* when it has been read *at* times."""

    def __init__(self) -> None:
        self.now = 0.0
        self.step = 0.0
        self.read = 0
        self.at = 0
        self.then: Callable[[], object] = lambda: None

    def __call__(self) -> float:
        self.read += 1
        self.now += self.step
        if self.read == self.at:
            self.then()
        return self.now

    def do(self, at: int, then: Callable[[], object]) -> None:
        self.read, self.at, self.then = 0, at, then


class Rig:
    def __init__(self) -> None:
        self.clock = Clock()
        self.near, self.far = socket.socketpair()
        self.selector = AwakeSelector(self.clock)
        self.selector.register(self.near, selectors.EVENT_READ)

    def wait(self, timeout: float | None = None) -> bytes:
        """What came, or nothing if the selector gave up first."""
        ready = self.selector.select(timeout)
        return self.near.recv(100) if ready else b""

    def short_wait(self) -> None:
        self.far.send(b"soon")
        assert self.wait() == b"soon"

    def close(self) -> None:
        self.selector.close()
        self.near.close()
        self.far.close()


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.close()


def test_after_a_short_wait_it_looks_again_and_again(rig: Rig):
    rig.short_wait()
    rig.clock.do(10, lambda: rig.far.send(b"next"))  # Asleep it would not read the clock again.
    assert rig.wait() == b"next"
    assert rig.clock.read == 10


def test_it_stays_awake_while_waits_are_short(rig: Rig):
    rig.short_wait()
    for _ in range(3):
        rig.clock.do(5, lambda: rig.far.send(b"next"))
        assert rig.wait() == b"next"


def test_after_a_moment_in_vain_it_sleeps_and_does_not_look_the_next_time(rig: Rig):
    rig.short_wait()
    rig.clock.step = MOMENT / 4
    rig.clock.do(0, lambda: None)
    assert rig.wait(0.001) == b""
    # Where it began, after each of four looks, and at the end of the sleep.
    assert rig.clock.read == 6
    rig.clock.do(0, lambda: None)
    assert rig.wait(0.001) == b""
    assert rig.clock.read == 2


def test_a_long_wait_is_slept_through_and_a_short_one_makes_it_look_again(rig: Rig):
    rig.clock.step = MOMENT
    rig.short_wait()
    assert rig.wait(0.001) == b""
    assert rig.clock.read == 4
    rig.clock.step = 0
    rig.short_wait()
    rig.clock.do(7, lambda: rig.far.send(b"next"))
    assert rig.wait() == b"next"


def test_it_looks_no_longer_than_it_may_wait(rig: Rig):
    rig.short_wait()
    rig.clock.step = MOMENT / 100
    rig.clock.do(0, lambda: None)
    assert rig.wait(MOMENT / 10) == b""
    assert rig.clock.read <= 13


@pytest.mark.parametrize("timeout", [0, -1])
def test_who_does_not_wait_is_answered_at_once(rig: Rig, timeout: float):
    rig.short_wait()
    rig.clock.do(0, lambda: None)
    assert rig.wait(timeout) == b""
    assert rig.clock.read == 0
    rig.far.send(b"there")
    assert rig.wait(timeout) == b"there"


def test_the_loop_is_asyncios_own_with_this_selector():
    with asyncio.Runner(loop_factory=awake_loop) as runner:
        loop = runner.get_loop()
        assert type(loop) is asyncio.SelectorEventLoop
        assert runner.run(asyncio.to_thread(lambda: 7)) == 7  # It can be woken by a thread.


def test_a_loop_that_the_program_chose_stays(monkeypatch: pytest.MonkeyPatch):
    class Chosen(asyncio.SelectorEventLoop):
        pass

    monkeypatch.setattr(asyncio, "new_event_loop", Chosen)
    loop = awake_loop()
    assert type(loop) is Chosen
    loop.close()
