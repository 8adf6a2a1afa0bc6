"""Our own stdin and stdout, claimed before anything can print to them.

One stray `print`, in a handler, at import or in a C library, would break the stream of messages. So
the two descriptors are moved to private numbers, and what is left under the old ones is harmless:
descriptor 1 leads to stderr, descriptor 0 to nothing. Children inherit the harmless ones.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import sys
from typing import Final, NamedTuple, Self

from interlock.transport.channel import MESSAGE_LIMIT
from interlock.transport.pipes import PipeChannel

_STDIN: Final = 0
_STDOUT: Final = 1
_STDERR: Final = 2


class Claimed(NamedTuple):
    """The descriptors that were stdin and stdout, under private numbers no child inherits."""

    stdin: int
    stdout: int


_claimed: Claimed | None = None
# A process has one stdin; whoever claims second (a file that runs its server, run by the command
# line) must get the same pair, or it would serve /dev/null.


def claim() -> Claimed:
    """Move stdin and stdout away, and return them; from now on prints go to stderr.

    Call it as early as there is code to run. What was printed before and still waits in a buffer
    goes to stderr too. It cannot be undone; a second call returns the same pair.
    """
    global _claimed
    if _claimed is None:
        # Whichever of the three we were started without is opened to nothing on the way.
        while (nothing := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
            pass
        _claimed = Claimed(_private(_STDIN, os.O_RDONLY), _private(_STDOUT, os.O_WRONLY))
        os.dup2(nothing, _STDIN)
        os.dup2(_STDERR, _STDOUT)
        os.close(nothing)
        # Reconfigured, not replaced: others may have kept a reference to it. This also flushes.
        reconfigure = getattr(sys.stdout, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(line_buffering=True)
    return _claimed


class StdioChannel(PipeChannel):
    """The Channel of a server that was started as a child; it ends when stdin does.

    For asyncio's own loop: uvloop takes a terminal for a pipe whose reader has left.

    What was sent before `close` is still delivered to a client that keeps reading, for at most ten
    seconds.
    """

    @classmethod
    async def open(cls, claimed: Claimed, *, limit: int = MESSAGE_LIMIT) -> Self:
        """Speak over what `claim` returned; the descriptors belong to the channel from now on."""
        channel = cls(limit=limit)
        both = _one_socket(claimed)
        if both is not None:
            await channel.attach_socket(both)
            return channel
        source = os.fdopen(claimed.stdin, "rb", buffering=0)
        sink = os.fdopen(claimed.stdout, "wb", buffering=0)
        await channel.attach(source, sink)
        return channel


def _private(fd: int, flags: int) -> int:
    """A second number for a descriptor, on an open file description of its own where that works.

    asyncio makes it non-blocking, and that flag sits on the description: whoever shares it, the
    shell its terminal or stderr its pipe after `2>&1`, would see its own writes fail. A pipe or
    terminal can be opened anew under Linux; a socket cannot, and is not shared in practice.
    """
    mode = os.fstat(fd).st_mode
    if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
        with contextlib.suppress(OSError):
            return os.open(f"/proc/self/fd/{fd}", flags | os.O_NOCTTY | os.O_NONBLOCK)
    return os.dup(fd)


def _one_socket(claimed: Claimed) -> socket.socket | None:
    """The socket, if stdin and stdout are the two directions of the same one."""
    one, other = os.fstat(claimed.stdin), os.fstat(claimed.stdout)
    if not stat.S_ISSOCK(one.st_mode) or not os.path.samestat(one, other):
        return None
    os.close(claimed.stdout)
    return socket.socket(fileno=claimed.stdin)
