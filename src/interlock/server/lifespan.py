"""What a server keeps open while it serves: entered and left in one task of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias

Factory: TypeAlias = Callable[[], AbstractAsyncContextManager[Any]]


class Lifespan:
    """Holds *factory*'s context open from the first `start` to the last `stop`.

    Several may serve one server at once (HTTP beside an in-process client): they are counted. A
    context manager may hold a cancel scope, which must be left where it was entered, hence the
    task.
    """

    def __init__(self, factory: Factory | None) -> None:
        self.state: Any = None
        self._factory = factory
        self._users = 0
        self._task: asyncio.Task[None] | None = None
        self._entered: asyncio.Future[None] | None = None
        self._leave = asyncio.Event()

    @property
    def last(self) -> bool:
        """Whether whoever leaves next is the last."""
        return self._users == 1

    @property
    def used(self) -> bool:
        return self._users > 0

    async def start(self) -> None:
        """Enter on first use; raises what entering raised."""
        self._users += 1
        if self._factory is None:
            return
        if self._entered is None:
            self._entered = asyncio.get_running_loop().create_future()
            self._leave = asyncio.Event()
            self._task = asyncio.create_task(self._hold(self._factory, self._entered))
        try:
            await asyncio.shield(self._entered)
        except BaseException:
            # Entering failed, or nobody waits for it any more: leave nothing half open.
            await self.stop()
            raise

    async def stop(self) -> bool:
        """Leave after the last user, and say whether this was it; raises what leaving raised."""
        self._users -= 1
        if self._users:
            return False
        task, self._task, entered, self._entered = self._task, None, self._entered, None
        if task is not None and entered is not None:
            if entered.done():
                self._leave.set()
            else:
                task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                task.result()
        return True

    async def _hold(self, factory: Factory, entered: asyncio.Future[None]) -> None:
        leave = self._leave
        try:
            async with factory() as self.state:
                entered.set_result(None)
                await leave.wait()
        except asyncio.CancelledError:
            entered.cancel()
            raise
        except BaseException as error:
            # Whoever waits for the entrance gets the failure; later ones come out of the task.
            if entered.done():
                raise
            entered.set_exception(error)
        finally:
            self.state = None
