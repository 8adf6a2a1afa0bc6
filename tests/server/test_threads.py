"""The pool of sync handlers: bounded, apart, and never in the way of an end."""

from __future__ import annotations

import asyncio
import contextvars
import subprocess
import sys
import threading
from typing import Any

import pytest

from interlock.errors import RpcError
from interlock.protocol.call import Call
from interlock.protocol.session import Envelope
from interlock.server.threads import Threads
from interlock.wire.meta import Params
from interlock.wire.methods import BY_NAME
from interlock.wire.versions import LATEST_MODERN


def a_call() -> Call:
    return Call(BY_NAME["ping"], Params(), Envelope(LATEST_MODERN))


async def test_a_function_gets_its_arguments_and_gives_its_result():
    threads = Threads()
    assert await threads.run(a_call(), divmod, 7, 2) == (3, 1)
    assert await threads.run(a_call(), dict, a=1) == {"a": 1}
    threads.stop()


async def test_it_runs_in_another_thread_with_the_context_of_its_call():
    threads = Threads()
    variable = contextvars.ContextVar("variable", default="outside")
    variable.set("inside")

    def look() -> tuple[int, str]:
        return threading.get_ident(), variable.get()

    thread, value = await threads.run(a_call(), look)
    assert thread != threading.get_ident()
    assert value == "inside"
    threads.stop()


async def test_what_it_raises_is_raised():
    threads = Threads()

    def fail(error: BaseException) -> None:
        raise error

    with pytest.raises(ZeroDivisionError):
        await threads.run(a_call(), fail, ZeroDivisionError())
    with pytest.raises(RuntimeError, match="SystemExit in a thread"):
        await threads.run(a_call(), fail, SystemExit(1))
    with pytest.raises(RuntimeError, match="StopIteration: 3"):
        await threads.run(a_call(), fail, StopIteration(3))
    assert await threads.run(a_call(), abs, -1) == 1
    threads.stop()


async def test_no_more_than_so_many_run_and_so_many_wait():
    threads = Threads(workers=2, waiting=1)
    go = threading.Event()
    running = threading.Semaphore(0)
    seen: list[str] = []

    def block(name: str) -> str:
        seen.append(name)
        running.release()
        go.wait()
        return name

    tasks = [asyncio.create_task(threads.run(a_call(), block, name)) for name in "abc"]
    await asyncio.to_thread(running.acquire)
    await asyncio.to_thread(running.acquire)
    assert seen == ["a", "b"]
    with pytest.raises(RpcError, match="Busy: 3 sync calls run or wait"):
        await threads.run(a_call(), block, "d")
    go.set()
    assert await asyncio.gather(*tasks) == ["a", "b", "c"]
    assert await threads.run(a_call(), abs, -1) == 1
    threads.stop()


async def test_a_thread_that_is_free_is_used_again():
    threads = Threads(workers=8)
    idents = {await threads.run(a_call(), threading.get_ident) for _ in range(20)}
    assert len(idents) == 1
    threads.stop()


async def test_a_thread_sees_that_its_caller_left():
    threads = Threads()
    call = a_call()
    reached, left, looked = threading.Event(), threading.Event(), threading.Event()
    seen: list[bool] = []

    def work() -> None:
        reached.set()
        left.wait()
        seen.append(call.cancelled)
        looked.set()

    task = asyncio.create_task(threads.run(call, work))
    await asyncio.to_thread(reached.wait)
    task.cancel()
    await asyncio.wait([task])
    left.set()
    await asyncio.to_thread(looked.wait)
    assert seen == [True]
    threads.stop()


async def test_what_waits_for_a_thread_and_is_cancelled_never_runs():
    threads = Threads(workers=1)
    go, reached = threading.Event(), threading.Event()
    ran: list[str] = []

    def block() -> None:
        reached.set()
        go.wait()

    first = asyncio.create_task(threads.run(a_call(), block))
    await asyncio.to_thread(reached.wait)
    second = asyncio.create_task(threads.run(a_call(), ran.append, "second"))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.wait([second])
    go.set()
    await first
    await threads.run(a_call(), ran.append, "third")
    assert ran == ["third"]
    threads.stop()


async def test_stopping_ends_the_threads_and_running_starts_others():
    threads = Threads()
    alive: list[threading.Thread] = []
    await threads.run(a_call(), lambda: alive.append(threading.current_thread()))
    threads.stop()
    await asyncio.to_thread(alive[0].join)
    assert not alive[0].is_alive()
    assert await threads.run(a_call(), abs, -2) == 2
    threads.stop()


def test_a_thread_that_never_returns_does_not_keep_the_process():
    program = """
import asyncio, threading
from interlock.server.threads import Threads
from tests.server.test_threads import a_call

async def main():
    reached = threading.Event()
    def hang():
        reached.set()
        threading.Event().wait()
    task = asyncio.create_task(Threads().run(a_call(), hang))
    await asyncio.to_thread(reached.wait)
    task.cancel()

asyncio.run(main())
print("left")
"""
    done: Any = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=True
    )
    assert done.stdout == "left\n"
