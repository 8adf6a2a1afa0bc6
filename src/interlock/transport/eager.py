"""A task that begins in the step which makes it, where Python can do that."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

if sys.version_info >= (3, 12):

    def eagerly(
        coroutine: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop
    ) -> asyncio.Task[T]:
        """Run *coroutine* as far as it goes without waiting; the rest is a task."""
        return asyncio.Task(coroutine, loop=loop, eager_start=True)

else:

    def eagerly(
        coroutine: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop
    ) -> asyncio.Task[T]:
        # 3.11 has no eager tasks, and stepping by hand would show the coroutine the task of
        # whoever made it as its own: `asyncio.timeout` in a handler would cancel the reader.
        return loop.create_task(coroutine)
