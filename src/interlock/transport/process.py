"""A child's stdin and stdout as a Channel: start it, read its stderr, end it and its children.

A child gets a session and process group of its own, an environment of little more than what it is
given, and no descriptor but its three. What belongs to its group ends with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Self

from interlock.errors import ConnectFailed, ServerExited
from interlock.transport.channel import MESSAGE_LIMIT
from interlock.transport.harmless import harmless
from interlock.transport.link import Guardian
from interlock.transport.pipes import PipeChannel, connect_reader, within
from interlock.transport.vigil import group_lives, signal_group
from interlock.wire.ndjson import LineTooLong

if sys.platform == "linux":
    import fcntl

PIPE_BYTES: Final = 128 * 1024
"""What a pipe to or from a child holds, where that can be said: twice what Linux gives it. Each time
it is full both sides wake. Not more: all pipes of one user share 64 MB (pipe(7))."""
STDERR_LINES: Final = 100
STDERR_LINE_BYTES: Final = 2000
STDERR_TAIL: Final = 10
"""How many of the last lines an error shows."""

_POLITE: Final = 0.4
"""Seconds a child has to exit after its stdin closed, before SIGTERM."""
_INSISTENT: Final = 0.3
"""Seconds it has after SIGTERM, before SIGKILL."""
_LINGER: Final = 0.2
"""Seconds granted to what usually comes together: exit, and the end of both outputs."""
_REAP_AT_MOST: Final = 1.0

_PASSED_ON: Final = (
    ("HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER", "LANG", "TZ", "TMPDIR")
    if sys.platform != "win32"
    else (
        "APPDATA",
        "COMSPEC",
        "HOMEDRIVE",
        "HOMEPATH",
        "LOCALAPPDATA",
        "PATH",
        "PATHEXT",
        "PROCESSOR_ARCHITECTURE",
        "PROGRAMDATA",
        "PROGRAMFILES",
        "SYSTEMDRIVE",
        "SYSTEMROOT",
        "TEMP",
        "TMP",
        "USERNAME",
        "USERPROFILE",
    )
)
_PR_SET_PDEATHSIG: Final = 1
# Found before any fork: looking it up takes locks that another thread may hold at that moment.
if sys.platform == "linux":
    _prctl = ctypes.CDLL(None).prctl


def minimal_environment() -> dict[str, str]:
    """What every child may know of our environment; secrets are passed on by name only."""
    return {
        name: value
        for name, value in os.environ.items()
        # A value of this form is a shell function: code, not data.
        if (name in _PASSED_ON or name.startswith("LC_")) and not value.startswith("()")
    }


class ProcessChannel(PipeChannel):
    """A Channel to a child process; make it with `start`, and `close` it.

    It ends when the child closes its stdout or exits. If only a wrapper exits (`npx` killed, its
    server alive) the rest of the group is ended too: what is left cannot be supervised.
    No child outlives the event loop it was started in.
    """

    def __init__(
        self,
        name: str,
        process: subprocess.Popen[bytes],
        *,
        on_stderr: Callable[[str], None] | None,
        limit: int,
        warden: Guardian | None,
    ) -> None:
        super().__init__(limit=limit)
        self.name = name
        self._process = process
        self._warden = warden
        self._stderr = _Stderr(on_stderr)
        self._errors: asyncio.ReadTransport | None = None
        self._muted = asyncio.Event()
        """Its stdout is at its end."""
        self._exited = asyncio.Event()
        self._fading = asyncio.Event()
        """One of the two, or the wish to close."""
        self._watch: int | None = None
        self._ladder: asyncio.Task[None] | None = None
        self._attendance = self._loop.create_task(self._attend(), name=f"interlock {name}")
        self._notice_exit()

    @classmethod
    async def start(
        cls,
        command: str,
        args: Sequence[str] = (),
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        name: str,
        on_stderr: Callable[[str], None] | None = None,
        limit: int = MESSAGE_LIMIT,
        warden: Guardian | None = None,
    ) -> Self:
        """Start *command* and join its stdin and stdout.

        *env* is added to `minimal_environment()`. *on_stderr* gets each line the child writes
        there, made harmless, from the event loop; of a flood it gets the last hundred lines of
        every piece read, and how many were left out. Raises ConnectFailed if nothing could be
        started. Call it from a thread that lives as long as the child: on Linux the child is
        killed when that thread ends.
        """
        environment = {**minimal_environment(), **(env or {})}
        if warden is not None:
            warden.start()
            environment |= warden.environment
        try:
            process = _spawn([command, *args], environment, cwd, warden)
        except (OSError, ValueError) as error:
            raise ConnectFailed(_not_started(name, command, environment, cwd, error)) from error
        if warden is not None:
            warden.guard(process.pid)
        channel = cls(name, process, on_stderr=on_stderr, limit=limit, warden=warden)
        try:
            await channel._connect()
        except BaseException:
            channel._kill()
            raise
        return channel

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Negative for a signal; None while it runs."""
        return self._process.returncode

    @property
    def stderr(self) -> list[str]:
        """The last lines it wrote to stderr, at most a hundred, oldest first."""
        return list(self._stderr.lines)

    async def close(self) -> None:
        """End the child: close its stdin, then SIGTERM, then SIGKILL, then what it left behind.

        Takes as long as the child does, at most about 0.7 seconds. Cancelling it only stops the
        waiting: the child is ended all the same.
        """
        if self._ladder is None:
            self._ladder = self._loop.create_task(
                self._descend(), name=f"interlock {self.name}: close"
            )
        await asyncio.shield(self._ladder)

    async def _connect(self) -> None:
        stdin, stdout, stderr = self._process.stdin, self._process.stdout, self._process.stderr
        assert stdin is not None
        assert stdout is not None
        assert stderr is not None
        try:
            self._errors = await connect_reader(self._stderr, stderr)
        except BaseException:
            stdin.close()
            stdout.close()
            raise
        await self.attach(stdout, stdin)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._muted.set()
        self._fading.set()

    def _input_ended(self) -> None:
        """The end of stdout is not yet the story: exit code and last words follow at once."""

    def _oversized(self, error: LineTooLong, lines: list[bytes]) -> None:
        self._stderr.add(f"[interlock] on stdout: {error}")

    async def _descend(self) -> None:
        try:
            self._shut()
            self._fading.set()
            if not await within(_POLITE, self._exited.wait()):
                signal_group(self.pid, signal.SIGTERM)
                if not await within(_INSISTENT, self._exited.wait()):
                    signal_group(self.pid, _SIGKILL)
            await within(_REAP_AT_MOST, asyncio.shield(self._attendance))
        finally:
            if not self._exited.is_set():
                self._kill()

    async def _attend(self) -> None:
        """Stay with the child to its end, then end the channel and what is left of its group."""
        try:
            await self._fading.wait()
            if not await within(_LINGER, self._exited.wait()):
                self._finish(self._exit())  # it lives on without stdout: `close` will end it
                await self._exited.wait()
            elif not self._closed:
                await within(_LINGER, self._last_words())
            await self._sweep()
            await self._read_on()
            await within(_LINGER, self._stderr.ended.wait())
        finally:
            # Reached early when the loop is being shut down: nobody will come back to this child.
            if not self._exited.is_set():
                self._kill()
            self._finish(self._exit())
            if self._warden is not None:
                self._warden.release(self.pid)
            for transport in (self._incoming, self._errors):
                if transport is not None:
                    transport.close()
            self._abandon()

    async def _last_words(self) -> None:
        await self._muted.wait()
        await self._stderr.ended.wait()

    async def _read_on(self) -> None:
        """What waits in the pipe is still read, however late its receiver comes for it.

        Not for ever: a descendant that left the group may hold the other end.
        """
        while not self._closed and not self._muted.is_set():
            before = self._unread
            heard = await within(_LINGER, self._muted.wait())
            if not heard and not self._held_back and self._unread == before:
                return

    async def _sweep(self) -> None:
        """End what is left of the group once the child is gone, its zombies aside."""
        for number in (signal.SIGTERM, _SIGKILL):
            if not group_lives(self.pid):
                return
            signal_group(self.pid, number)
            give_up = self._loop.time() + _INSISTENT
            while group_lives(self.pid):
                if self._loop.time() > give_up:
                    break
                await asyncio.sleep(0.01)

    def _exit(self) -> ServerExited:
        tail = self.stderr[-STDERR_TAIL:]
        return ServerExited(self.name, self._process.returncode, tail)

    def _kill(self) -> None:
        """The last resort, without a loop to wait in."""
        signal_group(self.pid, _SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_REAP_AT_MOST)
        self._reaped()

    def _notice_exit(self) -> None:
        if sys.platform == "linux":
            try:
                self._watch = os.pidfd_open(self.pid)
            except OSError:
                pass  # an old kernel
            else:
                self._loop.add_reader(self._watch, self._exit_noticed)
                return
        threading.Thread(
            target=self._await_exit, name=f"interlock {self.name}", daemon=True
        ).start()

    def _await_exit(self) -> None:
        self._process.wait()
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._reaped)

    def _exit_noticed(self) -> None:
        self._process.poll()
        self._reaped()

    def _reaped(self) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            self._loop.remove_reader(watch)
            os.close(watch)
        self._exited.set()
        self._fading.set()


class _Stderr(asyncio.Protocol):
    """The last lines of a child's stderr; every line handed to whoever listens."""

    def __init__(self, listener: Callable[[str], None] | None) -> None:
        self.lines: deque[str] = deque(maxlen=STDERR_LINES)
        self.ended = asyncio.Event()
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        # Progress bars end their lines with a carriage return alone.
        lines = data.replace(b"\r", b"\n").split(b"\n")
        lines[0] = self._rest + lines[0]
        self._rest = lines.pop()[:STDERR_LINE_BYTES]
        if len(lines) > STDERR_LINES:
            # The ring keeps no more, and a flood must not take the loop's time from others.
            left_out = len(lines) - STDERR_LINES
            del lines[:left_out]
            self.add(f"[interlock] {left_out} lines left out")
        for line in lines:
            self._add(line)

    def connection_lost(self, exc: Exception | None) -> None:
        self._add(self._rest)
        self.ended.set()

    def add(self, text: str) -> None:
        self.lines.append(text)
        if self._listener is not None:
            # Not called from here: what it raises must not end the reading.
            self._loop.call_soon(self._listener, text)

    def _add(self, line: bytes) -> None:
        text = line[:STDERR_LINE_BYTES].decode("utf-8", "replace").rstrip()
        if text:
            self.add(harmless(text))


_SIGKILL: Final = signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL


_NEW_GROUP: Final = (
    subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
    if sys.platform == "win32"
    else 0
)


def _spawn(
    argv: Sequence[str], env: Mapping[str, str], cwd: str | None, warden: Guardian | None
) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        argv,
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=env,
        cwd=cwd,
        start_new_session=True,
        creationflags=_NEW_GROUP,
        preexec_fn=_tie(warden),  # noqa: PLW1509 - see there for what it may do
    )
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            _widen(pipe.fileno())
    return process


def _widen(fd: int) -> None:
    if sys.platform == "linux":
        # All pipes of a user share a limit (pipe(7)); where it is reached this one stays as it is.
        with contextlib.suppress(OSError):
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)


def _tie(warden: Guardian | None) -> Callable[[], None] | None:
    """What a child does between fork and exec to end when we do."""
    if sys.platform != "linux":
        return None
    owner = os.getpid()

    def tie() -> None:
        # Only what allocates little and takes no lock: other threads stopped where they were.
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != owner:
            os._exit(1)  # it died before the call above could take note
        if warden is not None:
            warden.announce()

    return tie


def _not_started(
    name: str, command: str, environment: Mapping[str, str], cwd: str | None, error: Exception
) -> str:
    start = f"server {name!r} cannot be started: "
    if cwd is not None and not Path(cwd).is_dir():
        return f"{start}its working directory {cwd!r} does not exist or is no directory"
    if isinstance(error, FileNotFoundError):
        if os.path.dirname(command):  # noqa: PTH120 - whether there is one, as the system asks
            found = Path(cwd or ".", command)
            if found.is_file():
                return f"{start}{command!r} is there, but the interpreter of its first line is not"
            return f"{start}there is no program {command!r}; check its path, or install it"
        path = environment.get("PATH", os.defpath)
        hint = (
            '; a "command" is the program alone, its arguments belong into "args"'
            if " " in command
            else "; install it, or give its full path"
        )
        return f"{start}no program {command!r} on the PATH it gets ({path}){hint}"
    if isinstance(error, PermissionError):
        return f"{start}{command!r} may not be executed; make it executable (chmod +x), or run it by its interpreter"
    return f"{start}{command!r}: {error}"
