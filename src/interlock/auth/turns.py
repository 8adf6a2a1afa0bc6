"""One at a time, across tasks and processes: a lock for each name that dies with its holder."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Final

from interlock.errors import ConfigError, StoreError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

WAITING: Final = 90.0
"""Seconds that a turn is waited for: longer than what is done in one may take."""
SOON: Final = 0.005
LATE: Final = 0.1
"""Seconds between two tries for what another process holds: the first, and what it grows to."""
_HELD: Final = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)
"""How the systems say that a lock is held: flock the first, Windows the others."""


class Turns:
    """The turns of one folder's locks, or of this process alone if there is no *folder*.

    The system gives a lock back when its holder dies, however that happens. What is locked is a
    file of the folder, which is made when first needed and left empty: the file goes when nobody
    holds or waits. Like every lock of a file, these hold on local drives only.
    """

    def __init__(self, folder: Path | None = None, *, waiting: float = WAITING) -> None:
        self._folder = folder
        self._waiting = waiting
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}

    @contextlib.asynccontextmanager
    async def turn(self, name: str) -> AsyncGenerator[None]:
        """Have the turn of *name*, which is a file's name too, and nobody else meanwhile.

        Whoever has it and asks for it again waits in vain. Raises `StoreError` if it does not come
        in time, `ConfigError` if there can be no locks in the folder.
        """
        # In this process first: tasks get their turns in order, and one of them asks the system.
        lock, users = self._locks.get(name, (asyncio.Lock(), 0))
        self._locks[name] = lock, users + 1
        try:
            async with contextlib.AsyncExitStack() as held:
                try:
                    async with asyncio.timeout(self._waiting):
                        await held.enter_async_context(lock)
                        if self._folder is not None:
                            path = self._folder / f"{name}.lock"
                            held.callback(_release, path, await _taken(path))
                except TimeoutError:
                    raise StoreError(
                        f"The credentials were in use for {self._waiting:g} seconds by somebody "
                        "else, who refreshes or logs in; try again when that is done"
                    ) from None
                yield
        finally:
            lock, users = self._locks.pop(name)
            if users > 1:
                self._locks[name] = lock, users - 1


async def _taken(path: Path) -> int:
    """The open file at *path*, locked; tried again and again, since waiting would block the loop."""
    pause = SOON
    while True:
        file = _tried(path)
        if file is not None:
            return file
        await asyncio.sleep(pause)
        pause = min(2 * pause, LATE)


def _tried(path: Path) -> int | None:
    try:
        file = _opened(path)
    except OSError as error:
        raise _unusable(path, error) from None
    held = False
    try:
        _lock(file)
        # If not, it was locked too late: who had it has removed it, and others lock a new one.
        held = _is_at(file, path)
    except OSError as error:
        if error.errno not in _HELD:
            raise _unusable(path, error) from None
    finally:
        if not held:
            os.close(file)
    return file if held else None


def _opened(path: Path) -> int:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.lstat())
    except FileNotFoundError:
        return False


def _lock(file: int) -> None:
    if sys.platform == "win32":
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _release(path: Path, file: int) -> None:
    # Removed while it is held: whoever locks it after this sees that it is the file no longer.
    # Windows removes no open file; there it stays, empty.
    with contextlib.suppress(OSError):
        path.unlink()
    os.close(file)


def _unusable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"{path} cannot be locked: {error.strerror or error}. Credentials need a folder of your own "
        "on a local drive; INTERLOCK_STATE names another"
    )
