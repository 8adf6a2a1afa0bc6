"""Weighs idle listeners, and prints what one costs: the service, and an endpoint over HTTP.

A program of its own, because the suite listens to its servers and remembers what they said.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import tracemalloc
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from tests.peers import MODERN, modern

from interlock import Server
from interlock.protocol.call import Call
from interlock.protocol.session import Envelope
from interlock.server.subscriptions import Subscriptions
from interlock.transport.http.asgi import App
from interlock.wire.methods import BY_NAME, LISTEN
from interlock.wire.notices import Filter, ListenParams
from interlock.wire.versions import LATEST_MODERN

LISTENERS = 500

Listen = Callable[[int], Coroutine[Any, Any, Any]]


async def weigh(listen: Listen) -> float:
    """Bytes that one of many idle calls of *listen* holds."""
    some = await begin(listen, 10)
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        many = await begin(listen, LISTENERS)
        gc.collect()
        weight = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    for task in (*some, *many):
        task.cancel()
    await asyncio.wait([*some, *many])
    return weight / LISTENERS


async def begin(listen: Listen, count: int) -> list[asyncio.Task[Any]]:
    tasks = [asyncio.create_task(listen(number)) for number in range(count)]
    for _ in range(10):
        await asyncio.sleep(0)  # Everything that happens at once has happened then.
    assert not any(task.done() for task in tasks)
    return tasks


def by_the_service(subscriptions: Subscriptions) -> Listen:
    """Listening to *subscriptions* directly."""

    def listen(number: int) -> Coroutine[Any, Any, Any]:
        uris = [f"note://{number}"]
        wanted = Filter(tools_list_changed=True, resource_subscriptions=uris)
        params = ListenParams(notifications=wanted)
        return subscriptions.listen(
            Call(BY_NAME[LISTEN], params, Envelope(LATEST_MODERN), id=number)
        )

    return listen


def a_server() -> Server:
    server = Server("s")

    @server.tool
    async def ping() -> str:
        return "pong"

    @server.resource("note://{id}")
    def note(id: str) -> str:
        return id

    return server


def over_http(app: Callable[..., Awaitable[None]]) -> Listen:
    """Listening through *app*, as a server library hands a request over and waits for its end."""

    async def listen(number: int) -> None:
        wanted = {"toolsListChanged": True, "resourceSubscriptions": [f"note://{number}"]}
        body = modern(LISTEN, number, {"notifications": wanted})
        inbox: list[Any] = [{"type": "http.request", "body": body, "more_body": False}]
        closed = asyncio.Event()
        scope: dict[str, Any] = {
            "type": "http",
            "method": "POST",
            "path": "/mcp",
            "root_path": "",
            "headers": [
                (b"host", b"127.0.0.1:8000"),
                (b"accept", b"application/json, text/event-stream"),
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
                (b"mcp-protocol-version", MODERN.encode()),
                (b"mcp-method", LISTEN.encode()),
            ],
        }
        del body

        async def receive() -> Any:
            if inbox:
                return inbox.pop()
            await closed.wait()
            return {"type": "http.disconnect"}

        async def send(event: Any) -> None:
            pass

        await app(scope, receive, send)

    return listen


async def nothing(scope: Any, receive: Callable[[], Awaitable[Any]], send: Any) -> None:
    """An endpoint that only waits: what it weighs is the server library's."""
    await receive()
    await receive()


async def main() -> None:
    service = await weigh(by_the_service(Subscriptions()))
    app = App(a_server())
    await app.start()
    endpoint = await weigh(over_http(app)) - await weigh(over_http(nothing))
    await app.stop()
    sys.stdout.write(json.dumps({"service": service, "endpoint": endpoint}))


if __name__ == "__main__":
    asyncio.run(main())
