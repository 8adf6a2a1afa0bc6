"""The body of a request, read whole: within a size, and within a time if it comes in pieces."""

from __future__ import annotations

import asyncio
from typing import Final

from interlock.transport.http.guards import Head
from interlock.transport.http.plain import LAST, Header, Receive, Send, refuse

NO_JSON: Final = "Content-Type must be application/json, unencoded"
SECONDS: Final = 60.0
"""How long a client may take over a body of which a part has come: that part is kept meanwhile."""


async def take(
    head: Head, receive: Receive, send: Send, limit: int, headers: list[Header]
) -> bytes | None:
    """The JSON that a request brings; None if it brings none to act on, which is answered then."""
    if not head.json_body:
        await refuse(send, 415, NO_JSON, headers)
        return None
    event = await receive()
    body: bytes | None = event.get("body", b"")
    if event.get("more_body"):
        try:
            async with asyncio.timeout(SECONDS):
                body = await _whole(receive, bytearray(body or b""), limit)
        except TimeoutError:
            why = f"The body took longer than {SECONDS:g} seconds"
            await refuse(send, 408, why, [*LAST, *headers])
            return None
    elif event["type"] == "http.disconnect":
        body = None
    if body is None:
        return None  # The client left before it had said what it wants.
    if len(body) > limit:
        await refuse(send, 413, f"The body is longer than the {limit} bytes taken", headers)
        return None
    return body


async def _whole(receive: Receive, body: bytearray, limit: int) -> bytes | None:
    """The whole of *body*, or as much of it as shows it to be over *limit*; None if it breaks off."""
    # Not a list of pieces: of one byte each they would weigh forty times as much.
    more = True
    while more and len(body) <= limit:
        event = await receive()
        if event["type"] == "http.disconnect":
            return None
        body += event.get("body", b"")
        more = event.get("more_body", False)
    return bytes(body)
