"""How each client is measured, in its own environment: so many calls in flight, over and over.

Prints one JSON object a run: rate, CPU a call, and how long calls took.
"""

import argparse
import asyncio
import contextlib
import gc
import json
from collections.abc import Awaitable, Callable
from time import perf_counter, process_time
from typing import Any

TEXT = "The quick brown fox."


def options() -> argparse.Namespace:
    """What to measure: against a URL, or a server in the same process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url")
    parser.add_argument("--flight", type=int, default=32)
    parser.add_argument("--warm", type=float, default=0.5)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--runs", type=int, default=5)
    return parser.parse_args()


async def measure(call: Callable[[], Awaitable[str]], chosen: argparse.Namespace) -> None:
    """Run and print. *call* makes one echo call and gives the text that came back."""
    times: list[float] = []
    until = perf_counter() + chosen.warm

    async def one() -> None:
        while (now := perf_counter()) < until:
            if await call() != TEXT:
                raise RuntimeError("a wrong answer came")
            times.append(perf_counter() - now)

    async def together() -> None:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(chosen.flight):
                tasks.create_task(one())

    await together()
    gc.collect()
    gc.freeze()
    for _ in range(chosen.runs):
        times.clear()
        began, used = perf_counter(), process_time()
        until = began + chosen.seconds
        await together()
        elapsed, used = perf_counter() - began, process_time() - used
        times.sort()
        row: dict[str, Any] = {
            "rate": len(times) / elapsed,
            "cpu_us": used / len(times) * 1e6,
            "p50_us": times[len(times) // 2] * 1e6,
            "p99_us": times[len(times) * 99 // 100] * 1e6,
        }
        print(json.dumps(row), flush=True)


def run(main: Callable[[], Any], *, fast: bool) -> None:
    """Run *main* in a loop: uvloop's, as a program that wants speed would, or asyncio's own."""
    if fast:
        with contextlib.suppress(ImportError):
            import uvloop

            uvloop.run(main())
            return
    asyncio.run(main())
