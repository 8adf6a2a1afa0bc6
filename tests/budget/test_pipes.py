"""What a call over pipes costs in function calls, from the chunk that brought it to the write."""

from __future__ import annotations

import asyncio
import cProfile
import gc
import os
import pstats
import sys
from contextlib import closing

from tests.budget.test_calls import CALL, SERVER_CALLS, a_server

from interlock.transport.duplex import serve
from interlock.transport.stdio import Claimed, StdioChannel

CHUNK = 32
"""Requests that one read brings."""
PIPE_CALLS = 8 if sys.version_info >= (3, 12) else 35
"""What pipes and the conversation over them add to a call; 3.11 makes a task of each."""
CHUNK_CALLS = 52
"""What one read and its two writes cost: half of so many answers go out while the others are made."""


async def test_calls_that_come_together_cost_little_more_than_the_calls():
    (source, near), (far, sink) = os.pipe(), os.pipe()
    with closing(os.fdopen(near, "wb", 0)) as down, closing(os.fdopen(far, "rb", 0)) as up:
        channel = await StdioChannel.open(Claimed(source, sink))
        serving = asyncio.create_task(serve(a_server(), channel))
        chunk = b"".join(CALL.replace(b'"id": 1', b'"id": %d' % n) + b"\n" for n in range(CHUNK))
        await calls_of(chunk, channel)  # with all that is done only once
        taken = await calls_of(chunk, channel)
        answers = up.read(1 << 20)
        assert answers.count(b'"result"') == 2 * CHUNK
        assert taken <= CHUNK * (SERVER_CALLS + PIPE_CALLS) + CHUNK_CALLS
        down.close()
        await asyncio.wait_for(serving, 10)


async def calls_of(chunk: bytes, channel: StdioChannel) -> int:
    """Function calls until *chunk* has been answered, as if it had just been read."""
    await asyncio.sleep(0)  # `serve` waits for it.
    profile = cProfile.Profile()
    gc.disable()
    try:
        profile.enable()
        channel.data_received(chunk)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        profile.disable()
    finally:
        gc.enable()
    return pstats.Stats(profile).total_calls  # type: ignore[attr-defined]  not in typeshed
