"""A crew: several processes that serve one port, and the one beside them that only watches.

A worker is this very program, run again with a seat (`seat.py`) in its environment. The listening
sockets are the watcher's and are inherited, so that what came for a worker that died waits for the
one that takes its place.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from typing import Final

from interlock.errors import ConfigError
from interlock.server.seat import SEAT

log: Final = logging.getLogger("interlock.crew")

PAUSES: Final = (0.0, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds before one that died at once is replaced; longer each time it happens again."""
AT_ONCE: Final = 2.0
"""Who dies within so many seconds of its start has died at once."""
HOPELESS: Final = 5
"""How often in a row workers may fail to start while none runs, until the crew gives up."""
PATIENCE: Final = 3.0
"""Seconds that workers get to leave; those that are left then are killed."""


class _Worker:
    """One place in the crew, and the process that has it at the moment."""

    def __init__(self, number: int, listener: socket.socket) -> None:
        self.number = number
        self.listener = listener
        self.process: subprocess.Popen[bytes] | None = None
        self.link: socket.socket | None = None
        self.serves = False
        self.began = 0.0
        self.failures = 0
        self.next = 0.0
        """When to start it, while it has no process."""


class Crew:
    """Workers of one port, one for each of *listeners*.

    *ready* is called once the first serves, with the name of what it serves.
    """

    def __init__(self, listeners: Sequence[socket.socket], ready: Callable[[str], None]) -> None:
        self._ready: Callable[[str], None] | None = ready
        self._workers = [_Worker(*each) for each in enumerate(listeners)]
        self._folder = ""
        self._selector = selectors.DefaultSelector()
        self._told = 0
        self._failed = 0

    def run(self) -> None:
        """Start all, replace those that die, until SIGINT or SIGTERM; then end all.

        Raises `ConfigError` when none can be started.
        """
        command = again()
        self._folder = tempfile.mkdtemp(prefix="interlock-")
        secret = os.environ.get("INTERLOCK_KEYS") or secrets.token_hex(32)
        environment = {**os.environ, "INTERLOCK_KEYS": secret}
        try:
            with self._signals():
                try:
                    self._keep(command, environment)
                finally:
                    self._end()
        finally:
            self._selector.close()
            shutil.rmtree(self._folder, ignore_errors=True)

    def _keep(self, command: list[str], environment: dict[str, str]) -> None:
        while not self._told:
            now = time.monotonic()
            # One first: what keeps it from starting would keep all, and is said once.
            waiting = self._workers if self._ready is None else self._workers[:1]
            pause: float | None = None
            for worker in waiting:
                if worker.process is None:
                    if worker.next <= now:
                        self._start(worker, command, environment)
                    else:
                        left = worker.next - now
                        pause = left if pause is None else min(pause, left)
            self._hear(pause)
            self._bury()

    def _start(self, worker: _Worker, command: list[str], environment: dict[str, str]) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            link, listener = theirs.fileno(), worker.listener.fileno()
            inode = os.fstat(link).st_ino
            words = f"{worker.number} {link} {inode} {listener} {self._folder}"
            worker.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                env={**environment, SEAT: words},
                pass_fds=(link, listener),
                # Ctrl-C is for the crew to hear, which tells the workers.
                process_group=0,
            )
        worker.link, worker.serves, worker.began = ours, False, time.monotonic()
        self._selector.register(ours, selectors.EVENT_READ, worker)

    def _hear(self, pause: float | None) -> None:
        """Wait until a worker serves or has ended, or somebody wants all to."""
        for key, _ in self._selector.select(pause):
            if not isinstance(key.data, _Worker):
                _drain(key.fileobj)
                continue
            worker, link = key.data, key.data.link
            assert link is not None
            name = _said(link)
            # Once is all it says; that it ended is heard from its process.
            self._selector.unregister(link)
            if name:
                worker.serves = True
                self._failed = 0
                ready, self._ready = self._ready, None
                if ready is not None:
                    ready(name)

    def _bury(self) -> None:
        """See who ended, and when to replace them."""
        for worker in self._workers:
            process = worker.process
            if process is None or process.poll() is None:
                continue
            code, served = process.returncode, worker.serves
            self._let_go(worker)
            if self._told:
                continue
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            self._failed += not served
            hopeless = self._failed >= HOPELESS and not any(each.serves for each in self._workers)
            if self._ready is not None or hopeless:
                raise ConfigError(
                    f"No worker could start: the last one ended with {how}, and said why above"
                )
            soon = time.monotonic() - worker.began < AT_ONCE
            worker.failures = worker.failures + 1 if soon else 0
            worker.next = time.monotonic() + PAUSES[min(worker.failures, len(PAUSES) - 1)]
            log.warning("worker %d ended with %s and is replaced", process.pid, how)

    def _let_go(self, worker: _Worker) -> None:
        link, worker.link, worker.process, worker.serves = worker.link, None, None, False
        if link is not None:
            with contextlib.suppress(KeyError):
                self._selector.unregister(link)
            link.close()

    def _end(self) -> None:
        """End all: ask, wait, insist; at once when told a second time."""
        told = self._told
        for worker in self._workers:
            if worker.process is not None:
                worker.process.terminate()
        until = time.monotonic() + PATIENCE
        while any(worker.process is not None for worker in self._workers):
            left = until - time.monotonic()
            if left <= 0 or self._told > max(told, 1):
                for worker in self._workers:
                    if worker.process is not None:
                        worker.process.kill()
                        worker.process.wait()
            else:
                self._hear(left)
            self._told = max(self._told, 1)
            self._bury()

    @contextlib.contextmanager
    def _signals(self) -> Generator[None, None, None]:
        """Hear of SIGINT, SIGTERM and the end of children while inside."""

        def told(number: int, frame: object) -> None:
            self._told += 1

        ours, theirs = socket.socketpair()
        with ours, theirs:
            for end in (ours, theirs):
                end.setblocking(False)
            before = {
                number: signal.signal(number, told) for number in (signal.SIGINT, signal.SIGTERM)
            }
            # Not ignored, as is the default: only what is heard wakes.
            before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda number, frame: None)
            waking = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
            self._selector.register(ours, selectors.EVENT_READ)
            try:
                yield
            finally:
                self._selector.unregister(ours)
                signal.set_wakeup_fd(waking)
                for number, handler in before.items():
                    signal.signal(number, handler)


def again() -> list[str]:
    """What runs this program once more. Raises `ConfigError` for one that cannot be."""
    words = sys.orig_argv[1:]
    if not sys.argv or sys.argv[0] in ("", "-"):
        raise ConfigError(
            "workers= runs the program once more for each worker, so it has to be in a file or a "
            "module: python server.py"
        )
    return [sys.executable, *words]


def _said(link: socket.socket) -> str:
    try:
        return link.recv(4096).decode()
    except OSError:
        return ""


def _drain(end: object) -> None:
    assert isinstance(end, socket.socket)
    with contextlib.suppress(BlockingIOError):
        end.recv(4096)
