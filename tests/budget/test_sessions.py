"""What an idle legacy session weighs: clients come and go, and few of them say that they went."""

from __future__ import annotations

import gc
import tracemalloc

import pytest
from tests.peers import hello
from tests.transport.http.host import Host

from interlock import Server
from interlock.transport.http.asgi import App
from interlock.transport.http.sessions import Sessions

COUNT = 1000
BYTES = 3000
"""Of one session that was begun and left, with everything that any room keeps for it."""


@pytest.fixture
def traced():
    tracemalloc.start()
    yield
    tracemalloc.stop()


def held() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


@pytest.mark.usefixtures("traced")
async def test_an_idle_session_is_light_and_gives_all_of_it_back():
    now = [0.0]
    sessions = Sessions(idle=60, clock=lambda: now[0])
    app = App(Server("s"), sessions=sessions)
    host = Host(app)
    greeting = hello(capabilities={"roots": {"listChanged": True}, "elicitation": {}})
    for _ in range(10):
        await host.greet(greeting)
    before = held()
    for _ in range(COUNT):
        await host.greet(greeting)
    full = held() - before
    assert full / COUNT <= BYTES
    now[0] = 120
    await host.greet(greeting)
    assert len(sessions) == 1
    assert held() - before <= full / 10
    await app.stop()
