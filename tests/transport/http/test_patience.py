"""One timer for all the calls of a link: each ends when it should, and no other with it."""

from __future__ import annotations

import asyncio
import time

import pytest
from tests.peers import soon

from interlock.transport.http.incoming import Question
from interlock.transport.http.patience import Clock


class Script:
    """An event loop's time, which goes on only when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead = 0.0
        monkeypatch.setattr(
            asyncio.get_running_loop(), "time", lambda: time.monotonic() + self.ahead
        )

    async def pass_(self, seconds: float) -> None:
        self.ahead += seconds
        for _ in range(5):
            await asyncio.sleep(0)


@pytest.fixture
async def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    return Script(monkeypatch)


async def wait(
    clock: Clock, question: Question, patience: float | None, deadline: float | None = None
) -> None:
    with clock.limit(question, patience, deadline):
        await asyncio.Event().wait()


def begin(
    clock: Clock, question: Question, patience: float | None, deadline: float | None = None
) -> asyncio.Task[None]:
    return asyncio.create_task(wait(clock, question, patience, deadline))


async def test_each_call_ends_when_its_own_time_is_over(script: Script):
    clock = Clock()
    calls = [begin(clock, Question(n, "x"), patience) for n, patience in enumerate([50, 10, 30])]
    await script.pass_(0)  # They have begun by then.
    for seconds, over in [(9, []), (2, [1]), (20, [1, 2]), (20, [0, 1, 2])]:
        await script.pass_(seconds)
        assert [n for n, call in enumerate(calls) if call.done()] == over
    for call in calls:
        with pytest.raises(TimeoutError):
            call.result()
    assert not clock.waits


async def test_whoever_is_heard_of_has_its_patience_anew_but_no_later_deadline(script: Script):
    clock = Clock()
    question = Question(1, "x")
    call = begin(clock, question, 10, asyncio.get_running_loop().time() + 35)
    await script.pass_(0)
    for _ in range(5):
        await script.pass_(6)
        assert not call.done()
        assert question.renew is not None
        question.renew()
    await script.pass_(6)
    with pytest.raises(TimeoutError):
        await call
    assert question.renew is None


async def test_patience_does_not_run_while_we_are_asked_or_a_person_is_waited_for(script: Script):
    clock = Clock()
    question = Question(1, "x")
    call = begin(clock, question, 10)
    await script.pass_(1)
    question.asks(+1)
    await script.pass_(100)
    question.asks(-1)
    await script.pass_(9)
    clock.wait_for_person(True)
    await script.pass_(100)
    clock.wait_for_person(False)
    await script.pass_(9)
    assert not call.done()
    await script.pass_(2)
    assert call.done()
    assert isinstance(call.exception(), TimeoutError)


async def test_without_limits_nothing_ends(script: Script):
    call = begin(Clock(), Question(1, "x"), None)
    await script.pass_(0)
    await script.pass_(1_000_000)
    assert not call.done()
    call.cancel()


async def test_a_cancelled_call_is_not_late(script: Script):
    clock = Clock()
    call = begin(clock, Question(1, "x"), 10)
    await script.pass_(1)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_whoever_cancels_it_in_the_moment_it_is_late_has_cancelled_it(script: Script):
    clock = Clock()
    call = begin(clock, Question(1, "x"), 10)
    await script.pass_(1)
    script.ahead += 10
    (waiting,) = clock.waits
    waiting.expire()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_what_fails_in_the_moment_it_is_late_has_failed(script: Script):
    clock = Clock()

    async def fail() -> None:
        with clock.limit(Question(1, "x"), 10, None):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise ConnectionError from None

    call = asyncio.create_task(fail())
    await script.pass_(1)
    await script.pass_(10)
    with pytest.raises(ConnectionError):
        await call
    assert not call.cancelling()


async def test_one_timer_serves_ten_thousand_calls(monkeypatch: pytest.MonkeyPatch):
    clock = Clock()
    loop = asyncio.get_running_loop()
    set_: list[float] = []
    call_at = loop.call_at

    def counted(when: float, *args: object, **more: object) -> asyncio.TimerHandle:
        set_.append(when)
        return call_at(when, *args, **more)  # type: ignore[arg-type]  handed on as it came

    monkeypatch.setattr(loop, "call_at", counted)
    for number in range(10_000):
        with clock.limit(Question(number, "x"), 60, None):
            pass
    assert len(set_) == 1
    clock.close()


async def test_a_short_limit_is_kept_beside_long_ones():
    clock = Clock()
    long = begin(clock, Question(1, "x"), 60)
    await asyncio.sleep(0)
    with pytest.raises(TimeoutError):
        await soon(wait(clock, Question(2, "x"), 0.01))
    assert not long.done()
    long.cancel()
    clock.close()
