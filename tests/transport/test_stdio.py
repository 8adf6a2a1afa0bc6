"""Our own stdin and stdout: claimed, kept clean, and read from whatever they are."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import socket
import subprocess
import sys
import tty
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import IO, TypeAlias, TypeVar

import pytest

from interlock.errors import ConnectionLost
from interlock.transport.process import ProcessChannel
from interlock.transport.stdio import Claimed, StdioChannel

T = TypeVar("T")
Serve: TypeAlias = Callable[..., Awaitable[ProcessChannel]]

PREAMBLE = """
import asyncio, ctypes, os, subprocess, sys
from interlock.transport.stdio import StdioChannel, claim
"""
SERVE = """
async def main():
    channel = await StdioChannel.open(claim())
    while batch := await channel.receive():
        for message in batch:
            handle(message)
            channel.send(message)
    await channel.close()
asyncio.run(main())
"""
QUIET = PREAMBLE + "claim()\nhandle = len\n" + SERVE


async def soon(awaitable: Awaitable[T]) -> T:
    return await asyncio.wait_for(awaitable, 20)


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    started: list[ProcessChannel] = []

    async def start(source: str) -> ProcessChannel:
        channel = await ProcessChannel.start(sys.executable, ["-c", source], name="it")
        started.append(channel)
        return channel

    yield start
    for channel in started:
        await soon(channel.close())


async def whole(channel: ProcessChannel) -> list[bytes]:
    taken: list[bytes] = []
    while batch := await soon(channel.receive()):
        taken += batch
    return taken


async def test_nothing_printed_anywhere_reaches_the_client(serve: Serve):
    noisy = """
        print("before")
        claim()
        print("at import")
        def handle(message):
            print("in a handler")
            sys.stdout.buffer.write(b"past the text layer\\n")
            sys.stdout.flush()
            libc.puts(b"from C")
            libc.fflush(None)
            os.write(1, b"to the descriptor\\n")
            subprocess.run([sys.executable, "-I", "-S", "-c", "print('by a child')"])
            os.system("echo by a shell")
    """
    after = "\nprint('at exit')\n"
    source = PREAMBLE + "libc = ctypes.CDLL(None)\n" + dedent(noisy) + SERVE + after
    channel = await serve(source)
    channel.send(b'"ping"')
    assert await soon(channel.receive()) == [b'"ping"']
    channel._shut()  # pyright: ignore[reportPrivateUsage]
    await soon(channel._attendance)  # pyright: ignore[reportPrivateUsage]
    assert set(channel.stderr) == {
        "before",
        "at import",
        "in a handler",
        "past the text layer",
        "from C",
        "to the descriptor",
        "by a child",
        "by a shell",
        "at exit",
    }
    assert channel.returncode == 0


def dedent(source: str) -> str:
    return source.replace("\n        ", "\n")


def run(
    source: str,
    *,
    input: bytes = b"",
    stdin: IO[bytes] | int = subprocess.PIPE,
    stdout: IO[bytes] | int = subprocess.PIPE,
    stderr: int = subprocess.PIPE,
) -> subprocess.CompletedProcess[bytes]:
    argv = [sys.executable, "-c", source]
    with subprocess.Popen(argv, stdin=stdin, stdout=stdout, stderr=stderr) as process:
        out, errors = process.communicate(input, timeout=20)
    assert process.returncode == 0, errors.decode()
    return subprocess.CompletedProcess(argv, 0, out, errors)


def test_stdin_is_out_of_reach_of_handlers_and_children():
    ask = """
        def handle(message):
            try:
                input()
            except EOFError:
                print("nothing to read")
            subprocess.run(["cat"])
    """
    source = PREAMBLE + "claim()\n" + dedent(ask) + SERVE
    done = run(source, input=b'"one"\n"two"\n')
    assert done.stdout == b'"one"\n"two"\n'
    assert done.stderr == b"nothing to read\n" * 2


def test_a_second_claim_gets_the_same_pair():
    check = "first = claim()\nassert claim() is first\nhandle = len\n"
    assert run(PREAMBLE + check + SERVE, input=b"1\n").stdout == b"1\n"


def test_children_do_not_inherit_what_was_claimed():
    show = """
        def handle(message):
            listing = "import os; print(sorted(os.listdir('/proc/self/fd')))"
            subprocess.run([sys.executable, "-I", "-S", "-c", listing], close_fds=False)
    """
    done = run(PREAMBLE + "claim()\n" + dedent(show) + SERVE, input=b"1\n")
    assert done.stderr == b"['0', '1', '2', '3']\n"  # 3 is the listing itself


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1), (0, 1, 2)], ids=str)
def test_a_server_started_without_one_of_the_three_harms_nothing(
    closed: tuple[int, ...], tmp_path: Path
):
    """What the next `open` gets must not take a standard number, and messages not go astray."""
    note = tmp_path / "note"
    script = (
        PREAMBLE + f"pair = claim()\nprint('x')\nopen({str(note)!r}, 'w').write(str(min(pair)))"
    )

    def without() -> None:
        for fd in closed:
            os.close(fd)

    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        preexec_fn=without,
        timeout=20,
        check=False,  # without a stderr Python cannot end well
    )
    assert int(note.read_text()) > 2
    assert done.stdout == b""


# What stdin and stdout may be


def test_a_file_is_read_and_a_file_written(tmp_path: Path):
    messages = b"".join(b'{"n": %d}\n' % n for n in range(50_000)) + b'"unended"'
    (tmp_path / "in").write_bytes(messages)
    with (tmp_path / "in").open("rb") as source, (tmp_path / "out").open("wb") as sink:
        run(QUIET, stdin=source, stdout=sink)
    assert (tmp_path / "out").read_bytes() == messages + b"\n"


def test_dev_null_is_an_end_at_once():
    with Path(os.devnull).open("r+b") as nothing:
        assert run(QUIET, stdin=nothing, stdout=nothing).stderr == b""


def test_a_socket_for_both_serves_as_under_inetd():
    near, far = socket.socketpair()
    with near, far:
        process = subprocess.Popen(
            [sys.executable, "-c", QUIET], stdin=far.fileno(), stdout=far.fileno()
        )
        far.close()
        near.settimeout(20)
        near.sendall(b'"one"\n')
        near.shutdown(socket.SHUT_WR)
        with near.makefile("rb") as said:
            assert said.read() == b'"one"\n'
        assert process.wait(20) == 0


def test_a_terminal_serves_and_stays_blocking_for_its_shell():
    near, far = pty.openpty()
    tty.setraw(far)
    process = subprocess.Popen(
        [sys.executable, "-c", QUIET], stdin=far, stdout=far, start_new_session=True
    )
    try:
        os.write(near, b'"one"\n')
        said = b""
        while b"\n" not in said:
            said += os.read(near, 100)
        assert said == b'"one"\n'
        assert not fcntl.fcntl(far, fcntl.F_GETFL) & os.O_NONBLOCK
    finally:
        process.kill()
        process.wait()
        os.close(near)
        os.close(far)


def test_a_pipe_shared_with_stderr_stays_blocking_for_it():
    """`2>&1` puts both on one description; logging would lose lines on a full pipe."""
    check = """
        import fcntl
        def handle(message):
            assert not fcntl.fcntl(2, fcntl.F_GETFL) & os.O_NONBLOCK
    """
    source = PREAMBLE + "claim()\n" + dedent(check) + SERVE
    done = run(source, input=b"1\n", stderr=subprocess.STDOUT)
    assert done.stdout == b"1\n"


# The end


def test_a_large_result_is_not_lost_at_the_end_of_stdin():
    size = 40_000_000
    big = (
        PREAMBLE
        + f"""
async def main():
    channel = await StdioChannel.open(claim())
    await channel.receive()
    channel.send(b"x" * {size})
    assert await channel.receive() == []
    await channel.close()
asyncio.run(main())
"""
    )
    assert len(run(big, input=b"1\n").stdout) == size + 1


def test_a_client_that_does_not_read_does_not_keep_us():
    big = (
        PREAMBLE
        + """
async def main():
    channel = await StdioChannel.open(claim())
    channel.send(b"x" * 1_000_000)
    assert await channel.receive() == []
    await channel.close()
asyncio.run(main())
"""
    )
    process = subprocess.Popen(
        [sys.executable, "-c", big], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process:
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(20) == 0


def test_a_client_that_left_does_no_harm():
    speak = (
        PREAMBLE
        + """
async def main():
    channel = await StdioChannel.open(claim())
    while await channel.receive():
        for _ in range(20):
            channel.send(b"x" * 100_000)
            await channel.drain()
    await channel.close()
asyncio.run(main())
"""
    )
    process = subprocess.Popen(
        [sys.executable, "-c", speak],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    _, complaints = process.communicate(b"1\n2\n", timeout=20)
    assert (process.returncode, complaints) == (0, b"")


async def test_the_end_of_stdin_is_the_end_of_the_channel():
    (source, near), (far, sink) = os.pipe(), os.pipe()
    channel = await StdioChannel.open(Claimed(source, sink))
    os.write(near, b'"one"\n"unended"')
    os.close(near)
    taken: list[bytes] = []
    while batch := await soon(channel.receive()):
        taken += batch
    assert taken == [b'"one"', b'"unended"']
    assert isinstance(channel.failure(), ConnectionLost)
    channel.send(b'"still heard"')
    await soon(channel.close())
    assert os.read(far, 100) == b'"still heard"\n'
    os.close(far)


async def test_an_oversized_message_leaves_an_empty_one_to_be_answered():
    (source, near), (far, sink) = os.pipe(), os.pipe()
    channel = await StdioChannel.open(Claimed(source, sink), limit=10)
    os.write(near, b"1\n" + b"x" * 50 + b"\n2\n")
    assert await soon(channel.receive()) == [b"1", b"2", b""]
    await soon(channel.close())
    os.close(near)
    os.close(far)
