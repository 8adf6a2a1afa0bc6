"""The process that runs tasks: that nothing is left behind when it stops."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from tests.peers import soon
from tests.server.task_callers import Caller
from tests.store.slow import SlowStore

from interlock import Server
from interlock.server.ledger import TaskLimits


async def test_a_store_that_fails_at_the_end_keeps_no_server_from_stopping(
    caplog: pytest.LogCaptureFixture,
):
    store = SlowStore()
    left: list[bool] = []

    @asynccontextmanager
    async def lifespan() -> AsyncGenerator[None]:
        yield
        left.append(True)

    server = Server("s", store=store, lifespan=lifespan, tasks=TaskLimits(grace=0))

    @server.tool(task="required")
    async def must() -> str:
        return ""

    await server.start()
    caller = Caller(server, store)
    await caller.end(await caller.start("must"))
    store.failing = 100
    with caplog.at_level(logging.WARNING, "interlock.tasks"):
        await soon(server.stop())
    assert left
    assert "lease" in caplog.text
