"""The warden's own program: once its owner is gone, it ends the process groups it was told of.

It is run as a file by a bare interpreter (`python -I -S`), one beside every gateway, and therefore
imports next to nothing. Lines on its stdin: `+PGID` watches a group, `-PGID` forgets it.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Iterator

MARK = "INTERLOCK_WARDEN"
"""Set in the environment of every child: finds descendants that left their group."""

_PATIENCE = 0.3
_ALIVE_UNLESS = "ZX"
"""States of /proc/PID/stat: a zombie is over, whether or not somebody reaps it."""


def group_lives(pgid: int) -> bool:
    """Whether a process of this group still runs; its zombies do not count."""
    try:
        os.killpg(pgid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    if not os.path.exists("/proc/self/stat"):  # noqa: PTH110 - pathlib is a dozen modules
        return True
    return any(group == pgid for _, group in _running())


def signal_group(pgid: int, number: int) -> bool:
    """Send a signal to a group; False if there was nobody to receive it."""
    try:
        os.killpg(pgid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def born(pid: int) -> str | None:
    """When a process started, in the kernel's ticks: with it a number given twice is told apart."""
    fields = _stat(pid)
    return fields[19] if fields else None


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the state on: what stands before may contain blanks."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - as above
            return file.read().rpartition(b") ")[2].decode().split()
    except OSError:
        return None


def _running() -> Iterator[tuple[int, int]]:
    """Every live process with its group, where there is a /proc."""
    try:
        names = os.listdir("/proc")  # noqa: PTH208 - as above
    except OSError:
        return
    for name in names:
        if name.isdigit():
            fields = _stat(int(name))
            if fields and fields[0] not in _ALIVE_UNLESS:
                yield int(name), int(fields[2])


def _marked(mark: bytes) -> list[int]:
    """The live processes that carry our mark, wherever they went."""
    found: list[int] = []
    for pid, _ in _running():
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123 - as above
                if mark in file.read().split(b"\0"):
                    found.append(pid)
        except OSError:
            continue  # ended meanwhile, or of another user
    return found


class _Vigil:
    def __init__(self, mark: str) -> None:
        self._mark = f"{MARK}={mark}".encode()
        self._groups: dict[int, str | None] = {}
        self._rest = b""

    def hear(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            pgid = int(line[1:])
            if line[:1] == b"+":
                self._groups.setdefault(pgid, born(pgid))
            else:
                self._groups.pop(pgid, None)

    def end(self) -> None:
        """End what is left: ask, wait a little, insist."""
        if not self._send(signal.SIGTERM):
            return
        patience = time.monotonic() + _PATIENCE
        while time.monotonic() < patience:
            time.sleep(0.02)
            if not any(map(group_lives, self._groups)) and not _marked(self._mark):
                return
        # More than once, because a process may fork between the look and the kill.
        for _ in range(5):
            if not self._send(signal.SIGKILL):
                return
            time.sleep(0.02)

    def _send(self, number: int) -> bool:
        reached = False
        for pgid, start in self._groups.items():
            now = born(pgid)
            if now is not None and now != start:
                continue  # the number was given to somebody else
            if group_lives(pgid):
                reached |= signal_group(pgid, number)
        for pid in _marked(self._mark):
            try:
                os.kill(pid, number)
                reached = True
            except OSError:
                continue
        return reached


def main(owner: int, mark: str) -> None:
    # Ctrl-C and a closing terminal end the owner; this one goes after it.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    vigil = _Vigil(mark)
    os.set_blocking(0, False)
    poller = select.poll()
    poller.register(0, select.POLLIN)
    gone = False
    if sys.platform == "linux":
        # A fork of the owner may hold its end of our stdin open, so its death is watched too.
        try:
            poller.register(os.pidfd_open(owner), select.POLLIN)
        except ProcessLookupError:
            gone = True
        except OSError:
            pass  # an old kernel; the end of stdin must do
    while True:
        if not gone:
            gone = any(fd != 0 for fd, _ in poller.poll())
        try:
            while data := os.read(0, 65536):
                vigil.hear(data)
            break
        except BlockingIOError:
            if gone:
                break
        except OSError:
            break
    vigil.end()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
