"""A service's life under hosts that run lifespans, and under those that do not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, MutableMapping
from typing import Any

import pytest
from tests.peers import Desk, echo, modern
from tests.transport.http.host import Host

from interlock.errors import RpcError
from interlock.transport.http.asgi import App
from interlock.transport.http.lifespan import Lifespan


class Moody(Desk):
    """A desk that fails to start as often as it is told."""

    def __init__(self, failures: int) -> None:
        super().__init__(echo=echo)
        self.failures = failures
        self.gate = asyncio.Event()
        self.gate.set()

    async def start(self) -> None:
        await super().start()
        await self.gate.wait()
        if self.starts <= self.failures:
            raise RuntimeError("the secret cellar is flooded")


def lifespan(app: App, *kinds: str) -> Callable[[], Any]:
    sent: list[MutableMapping[str, Any]] = []
    waiting = [{"type": f"lifespan.{kind}"} for kind in kinds]

    async def receive() -> MutableMapping[str, Any]:
        return waiting.pop(0)

    async def send(event: MutableMapping[str, Any]) -> None:
        sent.append(event)

    async def run() -> list[str]:
        await app({"type": "lifespan"}, receive, send)
        return [event["type"] for event in sent]

    return run


async def test_a_host_that_runs_lifespans_starts_and_stops_the_service():
    desk = Desk()
    app = App(desk)
    assert await lifespan(app, "startup", "shutdown")() == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]
    assert (desk.starts, desk.stops) == (1, 1)
    assert await lifespan(app, "startup", "shutdown")()
    assert (desk.starts, desk.stops) == (2, 2)


async def test_a_host_that_does_not_gets_it_started_with_the_first_request_once():
    desk = Moody(0)
    desk.gate.clear()
    host = Host(App(desk))
    held = [host.modern(modern("tools/list", n)) for n in range(5)]
    await asyncio.sleep(0)
    held[0].task.cancel()
    await asyncio.sleep(0)
    desk.gate.set()
    for asked in held[1:]:
        await asked.json()
        assert asked.status == 200
    assert desk.starts == 1


async def test_a_service_that_does_not_start_is_tried_again_with_the_next_request(
    caplog: pytest.LogCaptureFixture,
):
    desk = Moody(2)
    app = App(desk)
    assert await lifespan(app, "startup")() == ["lifespan.startup.failed"]
    host = Host(app)
    asked = host.modern(modern("tools/list"))
    message = await asked.json()
    assert (asked.status, message["error"]["code"]) == (503, -32603)
    assert "cellar" not in json.dumps(message)
    assert "cellar" in caplog.text
    assert "result" in await host.modern(modern("tools/list")).json()
    await app.stop()
    assert (desk.starts, desk.stops) == (3, 1)


async def test_a_service_that_does_not_stop_is_told_to_the_host(caplog: pytest.LogCaptureFixture):
    class Clinging(Desk):
        async def stop(self) -> None:
            raise RpcError(1, "no")

    sent = await lifespan(App(Clinging()), "startup", "shutdown")()
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.failed"]


async def test_stopping_what_was_never_started_stops_nothing():
    desk = Desk()
    await App(desk).stop()
    assert desk.stops == 0


async def test_closing_ends_what_is_open_and_nothing_begins_until_it_is_started_anew():
    ends: list[str] = []
    desk = Desk()
    life = Lifespan(desk, lambda: ends.append("ended"))
    assert await life.begin() is None
    assert life.ready
    life.close()
    assert ends == ["ended"]
    assert not life.ready
    assert await life.begin() == "The server is stopping"
    await life.start()
    assert await life.begin() is None
    await life.stop()
    assert (desk.starts, desk.stops) == (1, 1)


async def test_what_was_closed_serves_again_once_it_is_started():
    desk = Desk()
    life = Lifespan(desk, lambda: None)
    await life.start()
    life.close()
    assert not life.ready
    await life.start()
    assert life.ready
    assert desk.starts == 1
    await life.stop()
