"""How long the calls of one link wait for their answers: one timer for all of them."""

from __future__ import annotations

import asyncio
import math
from types import TracebackType

from interlock.transport.http.incoming import Question


class Clock:
    """Ends what takes too long.

    Its timer is set for whatever ends first, and is not set back when a call is answered or gets on:
    when it goes off it finds out what there is to end, and is set anew.
    """

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.waits: set[Wait] = set()
        self._away = 0
        self._timer: asyncio.TimerHandle | None = None
        self._due = math.inf

    def limit(self, question: Question, patience: float | None, deadline: float | None) -> Wait:
        """A context that ends with `TimeoutError` after *patience* seconds in which nothing was
        heard of *question*, and at *deadline* in any case.

        Patience does not run while the server waits for an answer of ours, nor while a person is
        waited for.
        """
        return Wait(
            self,
            question,
            patience if patience is not None else math.inf,
            deadline if deadline is not None else math.inf,
        )

    def wait_for_person(self, waiting: bool) -> None:
        self._away += 1 if waiting else -1
        for wait in self.waits:
            wait.renew()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def set_for(self, end: float) -> None:
        """Go off at *end*, or before."""
        if end < self._due:
            self.close()
            self._due = end
            self._timer = self.loop.call_at(end, self._go_off)

    def _go_off(self) -> None:
        self._timer, self._due = None, math.inf
        now = self.loop.time()
        following = math.inf
        for wait in self.waits:
            if self._away or wait.question.asked:
                wait.renewed = now
            end = min(wait.renewed + wait.patience, wait.deadline)
            if end > now:
                following = min(following, end)
            elif not wait.expired:
                wait.expire()
        self.set_for(following)


class Wait:
    """One call that is waited for. Enter it once, in the task that waits."""

    __slots__ = (
        "_cancelling",
        "_clock",
        "_task",
        "deadline",
        "expired",
        "patience",
        "question",
        "renewed",
    )

    def __init__(self, clock: Clock, question: Question, patience: float, deadline: float) -> None:
        self.question = question
        self.patience = patience
        self.deadline = deadline
        self.renewed = 0.0
        self.expired = False
        self._clock = clock

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        self.question.renew = self.renew
        self.renew()
        self._clock.waits.add(self)
        self._clock.set_for(min(self.renewed + self.patience, self.deadline))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.question.renew = None
        self._clock.waits.discard(self)
        if not self.expired:
            return
        # As `asyncio.timeout` has it: who else cancelled the task is not to be taken for us.
        if self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def renew(self) -> None:
        self.renewed = self._clock.loop.time()

    def expire(self) -> None:
        self.expired = True
        self._task.cancel()
