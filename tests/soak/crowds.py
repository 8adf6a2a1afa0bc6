"""Let 10,000 connections be idle and 1,000 send a byte now and then, and see a fresh one answered.

    python tests/soak/crowds.py

The server is a process of its own, and so are we: each end of a connection takes a descriptor, of
which both ask for as many as they may have. Where that is not enough the crowd is smaller, which is
said. Then as many come as the server has descriptors, and more: it must answer when they have left.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import resource
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import uvloop

ROOT: Final = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from interlock import Server
from interlock.server.web import serve_http
from interlock.transport.http.asgi import App
from interlock.transport.http.h1 import Limits

IDLE: Final = 10_000
SLOW: Final = 1_000
WITHIN: Final = 0.050
"""In how many seconds a fresh connection is answered."""
FRESH: Final = 200
SPARE: Final = 200
"""Descriptors that are for something else."""
CRAMPED: Final = 300
"""How many descriptors the server has in the second half."""
CRAMPED_SECONDS: Final = 5
PING: Final = (
    b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Accept: application/json, text/event-stream\r\n"
    b"MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: server/discover\r\n"
    b"Content-Length: %d\r\n\r\n%b"
)
DISCOVER: Final = (
    b'{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{"_meta":{'
    b'"io.modelcontextprotocol/protocolVersion":"2026-07-28",'
    b'"io.modelcontextprotocol/clientCapabilities":{}}}}'
)


def descriptors() -> int:
    """How many there may be, once as many are asked for as are allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # A server takes connections for three in four of its descriptors.
    for wanted in ((IDLE + SLOW + 2 * SPARE) * 4 // 3, hard):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(wanted, hard)))
            soft = wanted
            break
    return soft


def serve(number: int) -> None:
    """What the child does: serve, with *number* descriptors, and tell the port."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (number, number))
    app = App(Server("crowds", version="1"))
    limits = Limits(head_seconds=600, idle_seconds=600)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(
            serve_http(app, "127.0.0.1", 0, lambda port: print(port, flush=True), limits=limits)
        )


@contextlib.contextmanager
def server(number: int):
    """The port of a server with *number* descriptors."""
    child = subprocess.Popen(
        [sys.executable, __file__, "--serve", str(number)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout is not None
        yield int(child.stdout.readline()), child.pid
    finally:
        child.terminate()
        if child.wait(10) not in (0, -15):
            raise SystemExit(f"the server ended with {child.returncode}")


async def connected(port: int) -> socket.socket:
    end = socket.socket()
    end.setblocking(False)
    await asyncio.get_running_loop().sock_connect(end, ("127.0.0.1", port))
    return end


async def fresh(port: int) -> float:
    """How long a fresh connection takes to be made and answered."""
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    end = await asyncio.wait_for(connected(port), 10)
    try:
        await loop.sock_sendall(end, PING % (len(DISCOVER), DISCOVER))
        answer = await asyncio.wait_for(loop.sock_recv(end, 65536), 10)
    finally:
        end.close()
    if not answer.startswith(b"HTTP/1.1 200 "):
        raise OSError(f"a fresh connection was answered with {answer[:200]!r}")
    return time.perf_counter() - began


async def many(port: int, number: int) -> list[socket.socket]:
    ends: list[socket.socket] = []
    for first in range(0, number, 200):
        some = (connected(port) for _ in range(first, min(first + 200, number)))
        ends += await asyncio.gather(*some)
    return ends


async def drip(ends: list[socket.socket], every: float) -> None:
    """Send a byte of a request on each of *ends*, again and again."""
    head = b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nX: "
    at = 0
    while True:
        for turn, end in enumerate(ends):
            with contextlib.suppress(OSError):
                end.send(head[at : at + 1] or b"x")
            if turn % 50 == 0:
                await asyncio.sleep(every * 50 / len(ends))
        at += 1


async def crowded(port: int, idle: int, slow: int) -> bool:
    quiet = sorted([await fresh(port) for _ in range(FRESH)])
    ends = await many(port, idle)
    dripping = await many(port, slow)
    task = asyncio.create_task(drip(dripping, 1.0))
    times = sorted([await fresh(port) for _ in range(FRESH)])
    task.cancel()
    for end in (*ends, *dripping):
        end.close()
    for what, found in (("alone", quiet), (f"beside {idle} idle and {slow} slow ones", times)):
        print(
            f"a fresh connection {what} is answered in {found[len(found) // 2] * 1000:.1f} ms, "
            f"at most {found[-1] * 1000:.1f} ms",
            flush=True,
        )
    return times[-1] <= WITHIN


async def cramped(port: int) -> bool:
    """More come than the server has descriptors, and leave."""
    ends = await many(port, 3 * CRAMPED)
    for end in ends:
        with contextlib.suppress(OSError):
            end.send(b"POST /mcp HTTP")
    await asyncio.sleep(2)
    for end in ends:
        end.close()
    began = time.perf_counter()
    while True:
        try:
            await fresh(port)
            break
        except OSError:  # It turns away those who come while it is full.
            if time.perf_counter() - began > CRAMPED_SECONDS:
                raise
    took = time.perf_counter() - began
    print(
        f"after {len(ends)} for {CRAMPED} descriptors, answered in {took * 1000:.1f} ms", flush=True
    )
    return took <= CRAMPED_SECONDS


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", type=int, help="be the server, with so many descriptors")
    given = parser.parse_args()
    if given.serve is not None:
        serve(given.serve)
        return 0
    number = descriptors()
    taken = number * 3 // 4 - SPARE
    slow = min(SLOW, taken // 11)
    idle = min(IDLE, taken - slow)
    if idle < IDLE:
        print(f"only {number} descriptors may be had here: {idle} idle and {slow} slow ones")
    with server(number) as (port, _):
        fine = asyncio.run(crowded(port, idle, slow))
    with server(CRAMPED) as (port, _):
        fine = asyncio.run(cramped(port)) and fine
    print("crowds stop nobody" if fine else f"a fresh one waited longer than {WITHIN * 1000:g} ms")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
