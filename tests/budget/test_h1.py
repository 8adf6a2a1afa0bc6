"""What a call over our own HTTP server costs in function calls, from the socket's bytes to its own."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable

import pytest
from tests.budget.counting import own_calls
from tests.budget.test_calls import CALL, LIST, a_server
from tests.peers import MODERN

from interlock.transport.http.asgi import App
from interlock.transport.http.h1 import H1, Connection

KNOWN = 60
"""A call whose head was said before on its connection, as heads of clients that stay are."""
STRANGE = 138
"""One whose head is read for the first time."""
TOOLS = 10
IN_TURN = KNOWN + 4 * TOOLS
"""One of so many that a client calls in turn, each of which has a head of its own."""
BEFORE_312 = 6
"""More where a handler cannot begin in the step that read its call, and is a task."""


class Transport(asyncio.Transport):
    """Takes what is written; everything else is as on a connection where nothing is the matter."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.written.append(b"".join(list_of_data))

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        pass

    def abort(self) -> None:
        pass


def post(body: bytes, method: str, name: str | None, number: int) -> bytes:
    fields = {
        "host": "127.0.0.1:8000",
        "accept": "application/json, text/event-stream",
        "content-type": "application/json",
        "content-length": str(len(body)),
        "user-agent": f"budget {number}",
        "mcp-protocol-version": MODERN,
        "mcp-method": method,
        **({"mcp-name": name} if name is not None else {}),
    }
    lines = ["POST /mcp HTTP/1.1", *(f"{key}: {value}" for key, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def cost(app: App, body: bytes, method: str, name: str | None, heads: int) -> int:
    """Calls of this package's functions, and of builtins by them, that one request takes.

    It is said with one of so many *heads* in turn; with none of them twice if that is 0.
    """
    server = H1(app, app)
    server.start()
    connection, transport = Connection(server), Transport()
    connection.connection_made(transport)

    async def once(number: int) -> None:
        transport.written.clear()
        connection.data_received(post(body, method, name, number % heads if heads else number))
        for _ in range(5):
            if not transport.written:
                await asyncio.sleep(0)  # Where it is a task, that runs now.
        head, _, answer = b"".join(transport.written).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert b'"result"' in answer

    said = 2 * heads or 3
    for number in range(said):
        await once(number)
    total = await own_calls(lambda: once(said))
    server.close()
    await server.drain(0)
    return total


@pytest.mark.parametrize(("heads", "most"), [(1, KNOWN), (0, STRANGE), (TOOLS, IN_TURN)])
@pytest.mark.parametrize(
    "asked", [(CALL, "tools/call", "echo"), (LIST, "tools/list", None)], ids=["call", "list"]
)
async def test_a_call_from_socket_to_socket(
    asked: tuple[bytes, str, str | None], heads: int, most: int
):
    app = App(a_server(500))
    await app.start()
    assert await cost(app, *asked, heads) <= most + BEFORE_312 * (sys.version_info < (3, 12))
    await app.stop()
