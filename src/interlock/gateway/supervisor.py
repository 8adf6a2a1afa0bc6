"""Keep one thing alive that may end at any time: start it, start it again, know when to give up.

What it is, a child process or a connection, is the caller's business: `connect` starts it. What
happened is kept as a short history, because that is the first question of whoever operates it. One
that only a person can help, by logging in, is left alone until it is tried again.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

from msgspec import Struct

from interlock.errors import ConnectFailed, LoginNeeded, ServerExited

FIRST_RESTART: Final = 0.1
"""Seconds before the first restart: a server that was killed is back almost at once."""
NEXT_RESTART: Final = 0.2
"""Seconds before the second; doubled for each that follows."""
SLOWEST_RESTART: Final = 30.0
CRASH_LIMIT: Final = 5
"""So many ends within `STEADY` seconds are a crash loop."""
STEADY: Final = 60.0
"""Seconds after which a run counts as a success, and what was before it no more."""
HISTORY: Final = 50


class Kept(Protocol):
    """What is kept alive."""

    async def wait_lost(self) -> Exception | None:
        """Wait until it is of no more use; why, or None if it was closed on purpose."""
        ...

    async def close(self) -> None:
        """End it and what belongs to it; also after it was lost."""
        ...


K = TypeVar("K", bound=Kept)


class State(StrEnum):
    IDLE = "idle"
    """Never started."""
    STARTING = "starting"
    RUNNING = "running"
    BACKING_OFF = "backing off"
    """It ended, and will be started again after a pause."""
    FAILED = "failed"
    """Given up; `retry` tries again."""
    NEEDS_LOGIN = "needs login"
    """Nothing is of use but a person who logs in; `retry` tries again."""
    STOPPED = "stopped"


class Event(Struct, frozen=True):
    """Something that happened to it; *time* is Unix time."""

    time: float
    what: str
    """A state it came to, or `ended`, or `not started`."""
    detail: str = ""


class Clock(NamedTuple):
    """What a test turns by hand."""

    now: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    chance: Callable[[], float] = random.random


class Supervised(Generic[K]):
    """One thing kept alive from `start` to `stop`.

    *connect* returns it ready for use, or raises; when cancelled it leaves nothing behind. It must
    limit its own time. With *crash_limit* None it is never given up, as suits what runs elsewhere
    and may come up late. *on_event* hears of each event once the state is changed; it must not
    block or raise. For one event loop.
    """

    def __init__(
        self,
        name: str,
        connect: Callable[[], Awaitable[K]],
        *,
        crash_limit: int | None = CRASH_LIMIT,
        on_event: Callable[[Event], None] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.name = name
        self.state = State.IDLE
        self.current: K | None = None
        """The running one; None in every state but `running`."""
        self.reason: Exception | None = None
        """Why it last ended or did not start; None again once it runs."""
        self.starts = 0
        """How often it came to run."""
        self._connect = connect
        self._crash_limit = crash_limit
        self._on_event = on_event
        self._clock = clock or Clock()
        self._events: deque[Event] = deque(maxlen=HISTORY)
        self._ends: deque[float] = deque()
        self._in_a_row = 0
        self._turn = asyncio.Event()
        self._keeping: asyncio.Task[None] | None = None
        self._stopping = False
        self.since = self._clock.now()
        """When it came to its state, in Unix time."""

    @property
    def events(self) -> list[Event]:
        """The last fifty, oldest first."""
        return list(self._events)

    def start(self) -> None:
        """Start it in the background, and keep it running; nothing if that was done before."""
        if self.state is State.IDLE:
            self._start()

    def retry(self) -> None:
        """Try again now, with a clean slate: after it failed or was stopped, after a person logged
        in, or during a pause.
        """
        if self._stopping or self.state in {State.STARTING, State.RUNNING}:
            return
        if self._keeping is not None:
            self._keeping.cancel()
        self._ends.clear()
        self._in_a_row = 0
        self._start()

    async def stop(self) -> None:
        """End it, and do not start it again. Safe to call twice and at once.

        If the waiting is cancelled it ends all the same.
        """
        task = self._keeping
        if task is None or task.done():
            if self.state is not State.STOPPED:
                self._enter(State.STOPPED)
            return
        if not self._stopping:
            # Once: a second would interrupt the closing that the first began.
            self._stopping = True
            task.cancel()
        await asyncio.wait([task])

    async def running(self, timeout: float) -> K:
        """The running one; waits for it at most *timeout* seconds, and starts it if nobody did.

        Raises ConnectFailed, caused by why it last ended: at once if it failed or was stopped; and
        LoginNeeded, at once too.
        """
        self.start()
        try:
            async with asyncio.timeout(timeout):
                while self.current is None:
                    if self.state is State.NEEDS_LOGIN and isinstance(self.reason, LoginNeeded):
                        raise LoginNeeded(self.reason.url, str(self.reason)) from self.reason
                    if self.state in {State.FAILED, State.STOPPED}:
                        raise ConnectFailed(self._why_not("")) from self.reason
                    await self._turn.wait()
        except TimeoutError:
            waited = f" after {timeout:g} s of waiting"
            raise ConnectFailed(self._why_not(waited)) from self.reason
        return self.current

    def ended(self, kept: K) -> None:
        """Hand *kept* out no more: a caller found it gone, as `wait_lost` is about to say."""
        if self.current is kept:
            self.current = None

    def _start(self) -> None:
        self._enter(State.STARTING)
        self._keeping = asyncio.get_running_loop().create_task(
            self._keep(), name=f"interlock keep {self.name}"
        )
        self._keeping.add_done_callback(self._kept)

    def _kept(self, task: asyncio.Task[None]) -> None:
        if self._stopping:
            self._stopping = False
            self._enter(State.STOPPED)

    async def _keep(self) -> None:
        while True:
            ran = await self._run_once()
            if isinstance(self.reason, LoginNeeded):
                self._enter(State.NEEDS_LOGIN, _text(self.reason))
                return
            pause = self._pause_after(ran)
            if pause is None:
                self._enter(State.FAILED, self._crash_loop())
                return
            self._enter(State.BACKING_OFF, f"{pause:.1f} s")
            await self._clock.sleep(pause)
            self._enter(State.STARTING)

    async def _run_once(self) -> float:
        """How long it ran; what ended it is in `reason`."""
        # Whatever goes wrong in the caller's code costs this run, never the supervision: this is
        # the top of a task, and nobody above would hear of it.
        try:
            kept = await self._connect()
        except Exception as error:
            self.reason = error
            if not isinstance(error, LoginNeeded):
                self._note("not started", _text(error))
            return 0
        began = self._clock.monotonic()
        self.current, self.reason = kept, None
        self.starts += 1
        self._enter(State.RUNNING)
        try:
            self.reason = await kept.wait_lost()
        except Exception as error:
            self.reason = error
        finally:
            self.current = None
            await _closed(kept)
        self._note("ended", _text(self.reason))
        return self._clock.monotonic() - began

    def _pause_after(self, ran: float) -> float | None:
        """Seconds until the next start; None if this was one end too many."""
        now = self._clock.monotonic()
        if ran > STEADY:
            self._ends.clear()
            self._in_a_row = 0
        self._ends.append(now)
        while self._ends[0] < now - STEADY:
            self._ends.popleft()
        if self._crash_limit is not None and len(self._ends) >= self._crash_limit:
            return None
        self._in_a_row += 1
        pause = FIRST_RESTART
        if self._in_a_row > 1:
            # Bounded before it is computed: after a day the exponent would be a large number.
            pause = NEXT_RESTART * 2.0 ** min(self._in_a_row - 2, 20)
        # Servers that went down together need not come up together.
        return min(pause * (0.8 + 0.4 * self._clock.chance()), SLOWEST_RESTART)

    def _crash_loop(self) -> str:
        return f"ended {len(self._ends)} times within {STEADY:g} s, the last time: " + _text(
            self.reason
        )

    def _why_not(self, waited: str) -> str:
        how = "has failed" if self.state is State.FAILED else f"is {self.state}"
        text = f"server {self.name!r} {how}{waited}"
        return text if self.reason is None else f"{text}; {_text(self.reason)}"

    def _enter(self, state: State, detail: str = "") -> None:
        self.state = state
        self.since = self._clock.now()
        turn, self._turn = self._turn, asyncio.Event()
        turn.set()
        self._note(state.value, detail)

    def _note(self, what: str, detail: str) -> None:
        event = Event(self._clock.now(), what, detail)
        self._events.append(event)
        if self._on_event is not None:
            self._on_event(event)


async def _closed(kept: Kept) -> None:
    try:
        await kept.close()
    except Exception:
        # It is gone either way; what matters is why it ended, and that is known.
        return


def _text(error: Exception | None) -> str:
    """What a person reads of it; some exceptions have no words."""
    if error is None:
        return "it was closed"
    if isinstance(error, ServerExited):
        return str(error).removeprefix(f"server {error.name!r} ")
    return str(error) or type(error).__name__
