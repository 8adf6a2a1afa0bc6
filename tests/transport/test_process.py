"""A child as a channel: what it says, how it fails, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import resource
import signal
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeAlias, TypeVar

import pytest

from interlock.errors import ConnectFailed, ServerExited
from interlock.transport.process import (
    PIPE_BYTES,
    ProcessChannel,
    minimal_environment,
)
from interlock.transport.vigil import group_lives

T = TypeVar("T")
Start: TypeAlias = Callable[..., Awaitable[ProcessChannel]]

BUSY = 5
"""Seconds for what takes under one, or under two with 40 MB, on a machine with nothing else to do:
a bound on hanging, no measurement."""

ECHO = """
    import sys
    for line in sys.stdin.buffer:
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
"""
DEAF = """
    import os, signal, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.write(1, b'"up"\\n')
    time.sleep(60)
"""
"""Reads nothing, and ignores being asked to go."""

WITH_DEAF_CHILD = """
    import os, signal, subprocess, sys
    subprocess.Popen([sys.executable, "-I", "-S", "-c", '''
    import os, signal, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.write(1, b"%d\\\\n" % os.getpid())
    time.sleep(60)
    '''.replace("\\n    ", "\\n")])
    sys.stdin.buffer.read()
"""
"""Goes when asked, and leaves a child behind that does not."""


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    started: list[ProcessChannel] = []

    async def run(source: str, *args: str, **options: object) -> ProcessChannel:
        argv = ["-I", "-S", "-c", textwrap.dedent(source), *args]
        options.setdefault("name", "it")
        channel = await ProcessChannel.start(sys.executable, argv, **options)  # pyright: ignore[reportArgumentType]
        started.append(channel)
        return channel

    yield run
    for channel in started:
        await soon(channel.close())
        assert not group_lives(channel.pid)


async def soon(awaitable: Awaitable[T]) -> T:
    return await asyncio.wait_for(awaitable, 20)


async def first(channel: ProcessChannel) -> bytes:
    return (await soon(channel.receive()))[0]


async def exit_of(channel: ProcessChannel) -> ServerExited:
    while await soon(channel.receive()):
        pass
    failure = channel.failure()
    assert isinstance(failure, ServerExited)
    return failure


# What it is given


async def test_a_child_gets_little_more_than_what_it_is_given(
    start: Start, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SECRET_OF_OURS", "x")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.setenv("SHELL", "() { :; }")
    show = "import os; os.write(1, b' '.join(sorted(os.environb)) + b'\\n')"
    names = (await first(await start(show, env={"GIVEN": "1"}))).decode().split()
    assert "SECRET_OF_OURS" not in names
    assert "SHELL" not in names
    assert {"GIVEN", "LC_ALL", "PATH"} <= set(names)
    assert set(minimal_environment()) | {"GIVEN", "LC_CTYPE"} >= set(names)


def most_of_a_pipe() -> int:
    """What a pipe may be told to hold at this moment: all of a user's share a limit (pipe(7))."""
    if sys.platform != "linux":
        return 0
    ends = os.pipe()
    try:
        with contextlib.suppress(OSError):
            fcntl.fcntl(ends[0], fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        return fcntl.fcntl(ends[0], fcntl.F_GETPIPE_SZ)
    finally:
        for end in ends:
            os.close(end)


async def test_its_pipes_hold_more_than_they_would_where_that_can_be_said(start: Start):
    """A large message wakes each side less often; pipes have a size that can be set on Linux."""
    show = """
        import fcntl, os
        ask = getattr(fcntl, "F_GETPIPE_SZ", None)
        sizes = [fcntl.fcntl(fd, ask) for fd in (0, 1)] if ask is not None else []
        os.write(1, b"%d\\n" % min(sizes, default=2**17))
    """
    before = most_of_a_pipe()
    size = int(await first(await start(show)))
    assert size >= min(before, most_of_a_pipe())


async def test_what_is_given_goes_before_what_we_have(start: Start):
    show = "import os; os.write(1, os.environb[b'HOME'] + b'\\n')"
    assert await first(await start(show, env={"HOME": "/elsewhere"})) == b"/elsewhere"


async def test_a_child_inherits_no_descriptor_but_its_three(start: Start, tmp_path: Path):
    with (tmp_path / "open").open("w") as ours:
        os.set_inheritable(ours.fileno(), True)
        show = "import os; os.write(1, ' '.join(sorted(os.listdir('/proc/self/fd'))).encode())"
        assert await first(await start(show)) == b"0 1 2 3"  # 3 is the listing itself


async def test_a_child_runs_in_its_working_directory_and_leads_its_own_group(
    start: Start, tmp_path: Path
):
    show = "import os; print(os.getcwd(), os.getpgid(0) == os.getsid(0) == os.getpid())"
    said = await first(await start(show, cwd=str(tmp_path)))
    assert said == f"{tmp_path} True".encode()


# What it says


async def test_forty_megabytes_in_one_line_arrive_within_two_seconds(start: Start):
    size = 40_000_000
    write = f"import os, sys; sys.stdin.readline(); sys.stdout.write('x' * {size} + '\\n')"
    channel = await start(write)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    channel.send(b"go")
    assert len(await first(channel)) == size
    assert loop.time() - begun < BUSY


async def test_a_line_over_the_limit_is_dropped_noted_and_survived(start: Start):
    channel = await start(ECHO, limit=1000)
    channel.send(b"x" * 5000)
    channel.send(b'"next"')
    assert await first(channel) == b'"next"'
    assert "at most 1000 bytes" in channel.stderr[-1]


async def test_noise_on_stdout_is_handed_on_for_the_protocol_to_judge(start: Start):
    channel = await start(r"import os; os.write(1, b'Starting...\n\xff\x00\n\n{}')")
    taken: list[bytes] = []
    while batch := await soon(channel.receive()):
        taken += batch
    assert taken == [b"Starting...", b"\xff\x00", b"{}"]


async def test_a_receiver_that_does_not_come_holds_the_child_back(start: Start):
    line = b"x" * 9999 + b"\n"
    write = f"import os; os.write(2, b'begun')\nwhile True: os.write(1, {line!r})"
    channel = await start(write)
    await soon(until(lambda: channel._held_back))  # pyright: ignore[reportPrivateUsage]
    waiting = sum(map(len, await soon(channel.receive())))
    assert 1_000_000 < waiting < 2_000_000
    assert await soon(channel.receive())


async def until(condition: Callable[[], bool]) -> None:
    """For what nobody announces: look again each time the loop has been round."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.001)


# What it writes to stderr


async def test_stderr_is_kept_and_handed_on_line_by_line(start: Start):
    heard: list[str] = []
    write = r"import os; os.write(2, b'one\r\n\ntwo \xff\n10%\r20%\rlast')"
    channel = await start(write, on_stderr=heard.append)
    await exit_of(channel)
    assert channel.stderr == heard == ["one", "two �", "10%", "20%", "last"]


async def test_a_listener_that_raises_does_not_stop_the_draining(start: Start):
    complaints: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: complaints.append(context["exception"]))
    heard: list[str] = []

    def listen(line: str) -> None:
        heard.append(line)
        raise ValueError(line)

    channel = await start("import os; os.write(2, b'one\\ntwo\\n')", on_stderr=listen)
    await exit_of(channel)
    assert heard == ["one", "two"]
    assert [str(complaint) for complaint in complaints] == heard


async def test_two_hundred_megabytes_of_stderr_do_not_grow_our_memory(start: Start):
    heard = left_out = 0

    def listen(line: str) -> None:
        nonlocal heard, left_out
        if line.startswith("[interlock]"):
            left_out += int(line.split()[1])
        else:
            heard += 1

    flood = """
        import os
        lines = (b"x" * 99 + b"\\n") * 10_000
        for _ in range(100):
            os.write(2, lines)
        for _ in range(100):
            os.write(2, b"x" * 1_000_000)
        os.write(2, b"\\nthe end")
    """
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    channel = await start(flood, on_stderr=listen)
    failure = await exit_of(channel)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8 * 1024  # kilobytes
    assert failure.stderr[-1] == "the end"
    assert left_out > 0
    assert heard + left_out == 1_000_002
    assert len(channel.stderr) == 100
    assert max(map(len, channel.stderr)) == 2000


# How it fails


async def test_an_exit_is_told_with_its_code_and_last_words(start: Start):
    channel = await start("import sys\nfor n in range(20): print(n, file=sys.stderr)\nsys.exit(3)")
    failure = await exit_of(channel)
    assert failure.returncode == channel.returncode == 3
    assert failure.stderr == tuple(map(str, range(10, 20)))
    assert "server 'it' exited with code 3" in str(failure)


async def test_a_death_by_signal_is_told_at_once(start: Start):
    channel = await start(ECHO)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    os.kill(channel.pid, signal.SIGKILL)
    failure = await exit_of(channel)
    assert loop.time() - begun < BUSY
    assert failure.returncode == -signal.SIGKILL


async def test_the_reason_stays_after_closing(start: Start):
    channel = await start("raise SystemExit(3)")
    failure = await exit_of(channel)
    await soon(channel.close())
    assert channel.failure() is failure


async def test_a_child_that_only_closes_its_stdout_is_over_too(start: Start):
    channel = await start("import os, time; os.close(1); time.sleep(60)")
    failure = await exit_of(channel)
    assert failure.returncode is None
    assert "closed its output" in str(failure)


async def test_what_a_child_wrote_before_it_died_is_read_however_late(start: Start):
    channel = await start("import os; os.write(1, b'x\\n' * 20_000); os._exit(1)")
    await soon(channel._exited.wait())  # pyright: ignore[reportPrivateUsage]
    taken = 0
    while batch := await soon(channel.receive()):
        taken += len(batch)
    assert taken == 20_000


async def test_a_child_without_stdin_is_spoken_to_without_harm(start: Start):
    channel = await start("import os, time; os.close(0); os.write(1, b'1\\n'); time.sleep(60)")
    await first(channel)
    for _ in range(10):
        channel.send(b"x" * 100_000)
        await soon(channel.drain())


@pytest.mark.parametrize(
    ("command", "options", "said"),
    [
        ("no-such-program", {}, "no program 'no-such-program' on the PATH it gets (/a:/b)"),
        ("npx -y thing", {}, 'its arguments belong into "args"'),
        ("./no-such", {}, "there is no program './no-such'"),
        ("script", {}, "the interpreter of its first line is not"),
        ("plain", {}, "make it executable"),
        ("/bin/sh", {"cwd": "nowhere"}, "its working directory 'nowhere' does not exist"),
        ("/bin/sh", {"env": {"A": "\0"}}, "embedded null byte"),
    ],
)
async def test_what_cannot_be_started_is_told_with_what_to_do(
    command: str, options: dict[str, object], said: str, tmp_path: Path
):
    (tmp_path / "script").write_text("#!/no/such/interpreter\n")
    (tmp_path / "script").chmod(0o755)
    (tmp_path / "plain").write_text("")
    if command in {"script", "plain"}:
        command = str(tmp_path / command)
    env: object = options.get("env", {"PATH": "/a:/b"})
    with pytest.raises(ConnectFailed) as caught:
        await ProcessChannel.start(
            command,
            name="it",
            env=env,  # pyright: ignore[reportArgumentType]
            cwd=options.get("cwd"),  # pyright: ignore[reportArgumentType]
        )
    assert str(caught.value).startswith("server 'it' cannot be started: ")
    assert said in str(caught.value)


# How it ends


async def test_a_child_that_goes_at_the_end_of_its_stdin_is_not_signalled(start: Start):
    channel = await start(ECHO)
    await soon(channel.close())
    assert channel.returncode == 0
    assert channel.failure() is None


async def test_what_was_sent_before_closing_reaches_the_child(start: Start, tmp_path: Path):
    keep = "import sys; open(sys.argv[1], 'wb').write(sys.stdin.buffer.read())"
    file = tmp_path / "kept"
    channel = await start(keep, str(file))
    channel.send(b"x" * 500_000)
    await soon(channel.close())
    assert file.stat().st_size == 500_001


async def test_a_child_still_writing_may_finish(start: Start):
    write = (
        "import sys; sys.stdin.read(); sys.stdout.write(('x' * 65_535 + '\\n') * 64); sys.exit(7)"
    )
    channel = await start(write)
    await soon(channel.close())
    assert channel.returncode == 7


async def test_a_child_that_ignores_everything_is_killed_within_a_second(start: Start):
    channel = await start(DEAF)
    await first(channel)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    await soon(channel.close())
    assert channel.returncode == -signal.SIGKILL
    assert loop.time() - begun < BUSY


async def test_a_grandchild_that_ignores_everything_is_killed_too(start: Start):
    channel = await start(WITH_DEAF_CHILD)
    grandchild = int(await first(channel))
    assert os.getpgid(grandchild) == channel.pid
    loop = asyncio.get_running_loop()
    begun = loop.time()
    await soon(channel.close())
    assert channel.returncode == 0
    assert not runs(grandchild)
    assert loop.time() - begun < BUSY


async def test_when_only_the_wrapper_dies_its_server_is_ended(start: Start):
    channel = await start(WITH_DEAF_CHILD)
    grandchild = int(await first(channel))
    os.kill(channel.pid, signal.SIGKILL)
    failure = await exit_of(channel)
    assert failure.returncode == -signal.SIGKILL
    assert not runs(grandchild)


async def test_a_descendant_that_left_the_group_does_not_keep_the_channel_open(start: Start):
    leave = """
        import os, time
        if os.fork() == 0:
            os.setsid()
            os.write(1, b"%d\\n" % os.getpid())
            time.sleep(60)
        os.wait()
    """
    channel = await start(leave)
    stray = int(await first(channel))
    try:
        os.kill(channel.pid, signal.SIGKILL)
        await exit_of(channel)
    finally:
        os.kill(stray, signal.SIGKILL)


async def test_closing_that_was_cancelled_still_ends_the_child(start: Start):
    channel = await start(DEAF)
    await first(channel)
    closing = asyncio.ensure_future(channel.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await soon(channel._exited.wait())  # pyright: ignore[reportPrivateUsage]
    assert channel.returncode == -signal.SIGKILL


@pytest.mark.parametrize("turns", [1, 3, 5])
async def test_a_start_that_was_cancelled_leaves_no_child(turns: int, tmp_path: Path):
    file = tmp_path / "pid"
    note = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"
    starting = asyncio.ensure_future(
        ProcessChannel.start(sys.executable, ["-I", "-S", "-c", note, str(file)], name="it")
    )
    for _ in range(turns):
        await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not file.exists() or not runs(int(file.read_text()))


@pytest.mark.parametrize("closing", [False, True])
def test_no_child_outlives_its_loop(closing: bool):
    """A program that forgets to close, or is interrupted while it does."""

    async def forget() -> int:
        channel = await ProcessChannel.start(
            sys.executable, ["-I", "-S", "-c", textwrap.dedent(DEAF)], name="it"
        )
        await first(channel)
        if closing:
            forgotten = asyncio.ensure_future(channel.close())
            await asyncio.sleep(0)
            assert not forgotten.done()
        return channel.pid

    assert not runs(asyncio.run(forget()))


async def test_without_a_pidfd_a_thread_notices_the_exit(
    start: Start, monkeypatch: pytest.MonkeyPatch
):
    def old_kernel(pid: int, flags: int = 0) -> int:
        raise OSError(pid)

    monkeypatch.setattr(os, "pidfd_open", old_kernel)
    channel = await start("raise SystemExit(3)")
    assert (await exit_of(channel)).returncode == 3


def test_a_child_dies_with_the_thread_that_started_it():
    """Linux ties the signal of a dead parent to its thread, so a loop in a thread is enough."""
    pids: list[int] = []

    def serve() -> None:
        async def leave() -> None:
            channel = await ProcessChannel.start(
                sys.executable, ["-I", "-S", "-c", textwrap.dedent(DEAF)], name="it"
            )
            await first(channel)
            pids.append(channel.pid)

        asyncio.run(leave())

    thread = threading.Thread(target=serve)
    thread.start()
    thread.join()
    assert not runs(pids[0])


def runs(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(") ")[2][0] not in "ZX"
