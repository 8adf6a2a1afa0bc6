"""No child outlives its owner, and no grandchild either: not after `kill -9`."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path
from typing import TypeVar

import pytest

from interlock.transport.process import ProcessChannel
from interlock.transport.vigil import MARK, born
from interlock.transport.warden import Warden

T = TypeVar("T")

OWNER = """
import asyncio, os, sys, time
from interlock.transport.process import ProcessChannel
from interlock.transport.warden import Warden

async def main():
    print(os.getpid(), flush=True)
    warden = Warden()
    for _ in range(3):
        channel = await ProcessChannel.start(
            sys.executable, ["-I", "-S", "-c", sys.argv[1], sys.argv[2]], name="it", warden=warden)
        (said,) = await channel.receive()
        print(channel.pid, said.decode(), warden.pid, flush=True)
    if len(sys.argv) > 3 and os.fork() == 0:
        print(os.getpid(), flush=True)
        time.sleep(60)
    await asyncio.get_running_loop().create_future()

asyncio.run(main())
"""
WRAPPER = """
import os, signal, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-I", "-S", "-c", %r, sys.argv[1]])
os.write(1, b"%%d\\n" %% child.pid)
time.sleep(60)
"""
"""A server behind a wrapper, as npx and uv run have it."""

MEEK = "import time; time.sleep(60)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + MEEK
STRAY = "import os, time; os.setsid(); " + MEEK


async def soon(awaitable: Awaitable[T]) -> T:
    return await asyncio.wait_for(awaitable, 20)


@pytest.fixture
async def warden() -> AsyncIterator[Warden]:
    made = Warden()
    yield made
    await soon(made.close())


def own(child: str, nonce: str, *more: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", OWNER, WRAPPER % child, nonce, *more], stdout=subprocess.PIPE
    )


def pids_said(owner: subprocess.Popen[bytes], lines: int) -> set[int]:
    assert owner.stdout is not None
    return {int(pid) for _ in range(lines) for pid in owner.stdout.readline().split()}


def kill(owner: subprocess.Popen[bytes]) -> None:
    owner.kill()
    owner.communicate()


def vigil_of(owner: subprocess.Popen[bytes], pid: int) -> bool:
    return f"vigil.py\0{owner.pid}\0" in Path(f"/proc/{pid}/cmdline").read_text()


def ended(pids: Iterable[int], *, seconds: float = 5) -> bool:
    """Whether all of them have ended by then; returns with the last one."""
    poller = select.poll()
    waiting: set[int] = set()
    for pid in pids:
        try:
            waiting.add(os.pidfd_open(pid))
        except ProcessLookupError:
            continue
    for fd in waiting:
        poller.register(fd, select.POLLIN)
    while waiting and (ready := poller.poll(seconds * 1000)):
        for fd, _ in ready:
            poller.unregister(fd)
            waiting.remove(fd)
            os.close(fd)
    for fd in waiting:
        os.close(fd)
    return not waiting


def with_argument(argument: str) -> set[int]:
    found: set[int] = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if argument.encode() in path.read_bytes().split(b"\0"):
                found.add(int(path.parent.name))
        except OSError:
            continue
    return found


def test_twenty_owners_killed_leave_nobody_behind():
    """At the first sign of life, with one server, with two, with all: whatever was begun."""
    for lines in range(1, 5):
        nonces = [uuid.uuid4().hex for _ in range(5)]
        owners = [own(MEEK, nonce) for nonce in nonces]
        pids: set[int] = set()
        for owner in owners:
            pids |= pids_said(owner, lines)
        for owner in owners:
            kill(owner)
        for nonce in nonces:
            pids |= with_argument(nonce)
        assert ended(pids)
        assert not set().union(*map(with_argument, nonces))


@pytest.mark.parametrize("child", [STUBBORN, STRAY], ids=["stubborn", "stray"])
def test_a_grandchild_that_does_not_want_to_go_is_ended_too(child: str):
    nonce = uuid.uuid4().hex
    owner = own(child, nonce)
    pids = pids_said(owner, 4)
    kill(owner)
    assert ended(pids)
    assert not with_argument(nonce)


def test_a_warden_does_not_go_with_the_terminal_of_its_owner():
    owner = own(MEEK, uuid.uuid4().hex)
    pids = pids_said(owner, 4)
    (watching,) = (pid for pid in pids if vigil_of(owner, pid))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(watching, number)
    assert os.getsid(watching) == watching
    kill(owner)
    assert ended(pids)


def test_a_fork_that_holds_on_to_our_end_does_not_keep_children_alive():
    """Like a worker of multiprocessing: it has every descriptor we had."""
    owner = own(MEEK, uuid.uuid4().hex, "fork")
    pids = pids_said(owner, 4)
    (fork,) = pids_said(owner, 1)
    owner.kill()
    try:
        assert ended(pids)
    finally:
        os.kill(fork, signal.SIGKILL)
        owner.communicate()


async def test_closing_ends_who_left_the_group(warden: Warden):
    channel = await ProcessChannel.start(
        sys.executable, ["-I", "-S", "-c", WRAPPER % STRAY, "x"], name="it", warden=warden
    )
    stray = int((await soon(channel.receive()))[0])
    await soon(until(lambda: os.getsid(stray) == stray))
    await soon(channel.close())
    assert born(stray) is not None
    await soon(warden.close())
    assert ended({stray})


async def until(condition: Callable[[], bool]) -> None:
    """For what nobody announces."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.001)


async def test_a_group_is_forgotten_when_its_channel_is_closed(warden: Warden):
    channel = await ProcessChannel.start(
        sys.executable, ["-I", "-S", "-c", MEEK], name="it", warden=warden
    )
    assert warden._groups == {channel.pid}  # pyright: ignore[reportPrivateUsage]
    await soon(channel.close())
    assert not warden._groups  # pyright: ignore[reportPrivateUsage]


async def test_a_released_group_is_left_alone(warden: Warden):
    theirs = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-S", "-c", MEEK, start_new_session=True
    )
    warden.guard(theirs.pid)
    warden.release(theirs.pid)
    await soon(warden.close())
    assert theirs.returncode is None
    theirs.kill()
    assert await soon(theirs.wait()) == -signal.SIGKILL


async def test_a_group_that_is_guarded_ends_with_the_warden(warden: Warden):
    theirs = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-S", "-c", MEEK, start_new_session=True
    )
    warden.guard(theirs.pid)
    await soon(warden.close())
    assert await soon(theirs.wait()) == -signal.SIGTERM


async def test_a_warden_that_dies_is_followed_by_one_that_knows_as_much(
    warden: Warden, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("interlock.transport.warden._TOO_SOON", 0)
    theirs = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-S", "-c", MEEK, start_new_session=True
    )
    warden.guard(theirs.pid)
    died = warden.pid
    assert died is not None
    os.kill(died, signal.SIGKILL)
    await soon(until(lambda: warden.pid not in {None, died}))
    await soon(warden.close())
    assert await soon(theirs.wait()) == -signal.SIGTERM


async def test_a_warden_that_dies_at_once_is_tried_again_later(warden: Warden):
    warden.start()
    died = warden.pid
    assert died is not None
    os.kill(died, signal.SIGKILL)
    await soon(until(lambda: warden.pid is None))
    await soon(until(lambda: warden.pid is not None))
    assert warden.pid != died


async def test_a_warden_nobody_needed_was_never_started():
    warden = Warden()
    assert warden.pid is None
    await warden.close()
    warden.start()
    assert warden.pid is None


async def test_a_warden_is_small(warden: Warden):
    warden.start()
    pid = warden.pid
    assert pid is not None
    status = Path(f"/proc/{pid}/status")
    # Ready once it sleeps in poll: before, it may not have imported everything.
    await soon(until(lambda: "S (sleeping)" in status.read_text() and ignores_sigterm(status)))
    (resident,) = (line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
    assert int(resident.split()[1]) < 16 * 1024


def ignores_sigterm(status: Path) -> bool:
    (mask,) = (line for line in status.read_text().splitlines() if line.startswith("SigIgn"))
    return bool(int(mask.split()[1], 16) & (1 << (signal.SIGTERM - 1)))


async def test_children_carry_the_mark_and_the_warden_does_not(warden: Warden):
    channel = await ProcessChannel.start(
        sys.executable,
        ["-I", "-S", "-c", f"import os; print(os.environ[{MARK!r}])"],
        name="it",
        warden=warden,
    )
    assert await soon(channel.receive()) == [warden.mark.encode()]
    await soon(channel.close())
    assert MARK.encode() not in Path(f"/proc/{warden.pid}/environ").read_bytes()
