"""One at a time, in a process and between processes, and nobody waits for the dead."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import signal
import sys
from pathlib import Path

import pytest

from interlock.auth.turns import Turns
from interlock.errors import ConfigError, StoreError

HOLDER = """
import asyncio, sys
from pathlib import Path
from interlock.auth.turns import Turns

async def main():
    async with Turns(Path(sys.argv[1])).turn("refresh"):
        print("held", flush=True)
        await asyncio.to_thread(sys.stdin.readline)

asyncio.run(main())
"""


@pytest.fixture(params=["memory", "files"])
def turns(request: pytest.FixtureRequest, tmp_path: Path) -> Turns:
    return Turns(tmp_path / "locks" if request.param == "files" else None, waiting=5)


async def test_turns_of_one_name_follow_one_another_in_order(turns: Turns):
    inside: list[int] = []
    order: list[int] = []

    async def visit(number: int) -> None:
        async with turns.turn("a"):
            inside.append(number)
            assert inside == [number]
            await asyncio.sleep(0)
            inside.remove(number)
            order.append(number)

    await asyncio.gather(*(visit(number) for number in range(20)))
    assert order == list(range(20))


async def test_turns_of_two_names_do_not_wait_for_each_other(turns: Turns):
    async with turns.turn("a"), turns.turn("b"):
        pass


async def test_a_turn_that_fails_or_is_cancelled_is_given_back(turns: Turns):
    with pytest.raises(ZeroDivisionError):
        async with turns.turn("a"):
            raise ZeroDivisionError
    held = asyncio.Event()

    async def hold() -> None:
        async with turns.turn("a"):
            held.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(hold())
    await held.wait()
    waiting = asyncio.create_task(hold())
    await asyncio.sleep(0)
    waiting.cancel()
    task.cancel()
    await asyncio.gather(task, waiting, return_exceptions=True)
    async with turns.turn("a"):
        pass


async def test_waiting_for_a_task_ends_in_time_and_says_why():
    turns = Turns(waiting=0.01)
    async with turns.turn("a"):
        with pytest.raises(StoreError, match="in use"):
            async with turns.turn("a"):
                pass


async def test_nothing_of_a_turn_is_left_behind(tmp_path: Path):
    """Names come with callers, of whom there may be many."""
    turns = Turns(tmp_path / "locks")
    for number in range(3):
        async with turns.turn(f"{number}"):
            assert [path.name for path in (tmp_path / "locks").iterdir()] == [f"{number}.lock"]
    assert list((tmp_path / "locks").iterdir()) == []
    assert turns._locks == {}  # pyright: ignore[reportPrivateUsage]


async def test_two_that_share_a_folder_never_both_have_a_turn(tmp_path: Path):
    """Each removes the file when it is done, under the eyes of those who wait for it."""
    inside = most = done = 0

    async def visit(turns: Turns) -> None:
        nonlocal inside, most, done
        for _ in range(5):
            async with turns.turn("a"):
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0)
                inside -= 1
                done += 1

    await asyncio.gather(*(visit(Turns(tmp_path, waiting=20)) for _ in range(4)))
    assert (most, done) == (1, 20)


async def test_a_lock_that_is_a_link_or_cannot_be_made_is_refused(tmp_path: Path):
    (tmp_path / "a.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="INTERLOCK_STATE"):
        async with Turns(tmp_path).turn("a"):
            pass
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="INTERLOCK_STATE"):
        async with Turns(tmp_path / "file").turn("a"):
            pass
    assert not (tmp_path / "elsewhere").exists()


async def test_a_lock_got_after_its_file_was_removed_is_no_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Who had the turn removes the file while others have it open: those begin anew."""
    flock, seen = fcntl.flock, 0

    def late(file: int, how: int) -> None:
        nonlocal seen
        seen += 1
        if seen < 3:
            (tmp_path / "a.lock").unlink()
        if seen == 2:
            (tmp_path / "a.lock").touch()  # Somebody else is there already.
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    async with Turns(tmp_path).turn("a"):
        assert seen == 3


async def test_a_drive_that_has_no_locks_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def none(file: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    with pytest.raises(ConfigError, match=r"No locks available.*local drive"):
        async with Turns(tmp_path).turn("a"):
            pass


async def test_a_process_that_is_killed_gives_its_turn_back(tmp_path: Path):
    """Ours: `kill -9` of who refreshes must not keep others from it."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", HOLDER, str(tmp_path)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert child.stdout is not None
        assert await child.stdout.readline() == b"held\n"
        with pytest.raises(StoreError):
            async with Turns(tmp_path, waiting=0.02).turn("refresh"):
                pass
        os.kill(child.pid, signal.SIGKILL)
        async with Turns(tmp_path).turn("refresh"):
            pass
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.communicate()
