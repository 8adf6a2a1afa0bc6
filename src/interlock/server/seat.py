"""A seat: what a process that serves beside others over one port was given by the one that started it.

`crew.py` is that one. Neither is about the tasks that a process runs, which are `worker.py`'s, nor
about the threads of sync handlers, which are `threads.py`'s.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import socket
import threading
import time
from typing import Final

from interlock.store.ports import Store

SEAT: Final = "INTERLOCK_SEAT"
"""How a worker's seat is told it: its number, the link's descriptor and inode, the listener's
descriptor, the folder."""
TOO_LONG: Final = 3.0
"""Seconds that a worker gets to leave once its crew is gone; then it ends as it is."""


class Seat:
    """A worker's: the socket it listens on, its link to its crew, and a folder that all share.

    Its *number* counts from 0; who takes the place of one that died has the same.
    """

    def __init__(self, number: int, link: int, listener: int, folder: str) -> None:
        self.number = number
        self.crew = os.getppid()
        """The process that watches."""
        self.folder = folder
        self.abandoned = False
        """Whoever started this process is gone."""
        self._link = link
        self._listener = listener

    def listener(self) -> socket.socket:
        """The socket to serve on. It stays open in the crew when this process ends."""
        listener = socket.socket(fileno=self._listener)
        listener.setblocking(False)
        return listener

    @functools.cached_property
    def store(self) -> Store:
        """What the whole crew keeps and says together, for as long as it lives."""
        from interlock.store.sqlite import SqliteStore  # for crews alone

        return SqliteStore(f"{self.folder}/shared.sqlite")

    def watch(self) -> None:
        """Leave when the crew is gone, however it ended.

        By a thread, because a handler may keep the loop from noticing.
        """
        threading.Thread(target=self._watch, name="interlock-seat", daemon=True).start()

    def serves(self, name: str) -> None:
        """Say that this process answers from now on, for the server called *name*."""
        with contextlib.suppress(OSError):  # That the crew is gone is `watch`'s to see.
            os.write(self._link, name.encode())

    def leave(self) -> None:
        """Remove what is shared, if nobody else is left to."""
        if self.abandoned:
            with contextlib.suppress(OSError):  # Another does the same at the same time.
                for file in os.scandir(self.folder):
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(file)  # noqa: PTH108 - pathlib is a dozen modules
                os.rmdir(self.folder)  # noqa: PTH106

    def _watch(self) -> None:
        with contextlib.suppress(OSError):
            os.read(self._link, 1)  # Nothing is ever said here: what can be read is the end.
        self.abandoned = True
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(TOO_LONG)
        self.leave()
        os._exit(1)


@functools.cache
def seat() -> Seat | None:
    """This process's seat, if it is a worker's; what it starts itself has none."""
    words = os.environ.pop(SEAT, "").split(" ", 4)
    if len(words) != 5:
        return None
    number, link, inode, listener = map(int, words[:4])
    try:
        if os.fstat(link).st_ino != inode:
            return None
    except OSError:
        return None  # The variable was inherited, and what it speaks of was not.
    for descriptor in (link, listener):
        os.set_inheritable(descriptor, False)
    return Seat(number, link, listener, words[4])
