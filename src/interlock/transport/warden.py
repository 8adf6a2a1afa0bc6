"""Warden: no child outlives this process, however it ends.

The kernel's parent-death signal reaches direct children only, and what `npx` and `uv run` start are
grandchildren. So one small process, in a session of its own, holds the other end of a socket of
ours; `vigil.py` says what it does when that end closes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from typing import Final

from interlock.transport import vigil

_TOO_SOON: Final = 1.0
"""Seconds a warden must have stood for another to follow at once; one waits that long if not."""
_AT_MOST: Final = 2.0
"""Seconds its end may take: patience with the groups that are left, and a slow machine."""
_PASSED_ON: Final = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT")
"""What an interpreter may need to start at all."""


class Warden:
    """One for every owner of children, made without cost and started by the first `guard`.

    It belongs to the event loop that first uses it. If its process dies it is started again and
    told anew. There is none on Windows: there every method does nothing.
    """

    def __init__(self) -> None:
        self.mark = os.urandom(8).hex()
        self._groups: set[int] = set()
        self._process: subprocess.Popen[bytes] | None = None
        self._link: socket.socket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._since = 0.0
        self._closed = False

    @property
    def environment(self) -> dict[str, str]:
        """What a child's environment must contain, for those who leave their process group."""
        return {vigil.MARK: self.mark}

    @property
    def pid(self) -> int | None:
        """Of the process that watches, while there is one."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the process that watches, if it does not run. Needs a running event loop."""
        if self._process is not None or self._closed or sys.platform == "win32":
            return
        self._loop = asyncio.get_running_loop()
        self._link, theirs = socket.socketpair()
        self._link.setblocking(False)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", vigil.__file__, str(os.getpid()), self.mark],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={name: os.environ[name] for name in _PASSED_ON if name in os.environ},
                cwd="/",
                start_new_session=True,
            )
        self._since = self._loop.time()
        # It never writes: what can be read is the end.
        self._loop.add_reader(self._link.fileno(), self._lost)
        for pgid in self._groups:
            self._tell(b"+%d\n" % pgid)

    def announce(self) -> None:
        """Make this process known as a group. For the child itself, between fork and exec.

        So there is no moment in which it could already have children and not be watched.
        """
        if self._link is None or sys.platform != "linux":
            return
        with contextlib.suppress(OSError):  # having no warden is no reason not to start
            self._link.send(b"+%d\n" % os.getpid(), socket.MSG_NOSIGNAL)

    def guard(self, pgid: int) -> None:
        """Watch a process group until `release`."""
        self._groups.add(pgid)
        if self._process is None:
            self.start()
        else:
            self._tell(b"+%d\n" % pgid)

    def release(self, pgid: int) -> None:
        """Forget a group: nothing is left of it, and its number may be given to others."""
        self._groups.discard(pgid)
        self._tell(b"-%d\n" % pgid)

    async def close(self) -> None:
        """End the warden, and with it every group not released and every descendant that strayed.

        Takes some ten milliseconds if there is none. Safe to call twice. Once called, the watching
        process finishes its work even if this is cancelled.
        """
        self._closed = True
        process, self._process = self._process, None
        self._unlink()
        if process is None:
            return
        assert self._loop is not None
        give_up = self._loop.time() + _AT_MOST
        while process.poll() is None:
            if self._loop.time() > give_up:
                process.kill()
            await asyncio.sleep(0.005)

    def _tell(self, line: bytes) -> None:
        if self._link is None:
            return
        try:
            self._link.send(line)
        except OSError:
            self._lost()

    def _lost(self) -> None:
        """It died, or does not read: end it and start another, which is told everything."""
        process, self._process = self._process, None
        self._unlink()
        if process is None or self._loop is None:
            return
        process.kill()
        process.wait()
        if self._loop.time() - self._since > _TOO_SOON:
            self.start()
        else:
            self._loop.call_later(_TOO_SOON, self.start)

    def _unlink(self) -> None:
        link, self._link = self._link, None
        if link is not None and self._loop is not None:
            if not self._loop.is_closed():
                self._loop.remove_reader(link.fileno())
            link.close()
