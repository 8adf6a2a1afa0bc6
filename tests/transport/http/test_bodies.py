"""A request's body is taken whole or not at all, and whoever brings none is told why."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest
from tests.peers import soon

from interlock.protocol.ladder import Mirror
from interlock.transport.http import bodies
from interlock.transport.http.bodies import take
from interlock.transport.http.guards import Head
from interlock.transport.http.plain import Receive

LIMIT = 5


class Sent:
    """Where a refusal is sent."""

    def __init__(self) -> None:
        self.events: list[MutableMapping[str, Any]] = []

    async def __call__(self, event: MutableMapping[str, Any]) -> None:
        self.events.append(event)

    @property
    def status(self) -> int:
        return self.events[0]["status"] if self.events else 0


def giving(*pieces: bytes | None) -> Receive:
    """A body in *pieces*; None is where the client leaves. What comes after them never does."""
    waiting = list(pieces)

    async def receive() -> MutableMapping[str, Any]:
        if not waiting:
            await asyncio.Event().wait()
        piece = waiting.pop(0)
        if piece is None:
            return {"type": "http.disconnect"}
        more = bool(waiting) or pieces[-1] == b"..."
        return {"type": "http.request", "body": piece, "more_body": more}

    return receive


async def taken(receive: Receive, json: bool = True) -> tuple[bytes | None, Sent]:
    sent = Sent()
    head = Head(Mirror(), json_body=json)
    return await soon(take(head, receive, sent, LIMIT, [])), sent


@pytest.mark.parametrize(
    ("pieces", "body", "status"),
    [
        ((b"",), b"", 0),
        ((b"abc",), b"abc", 0),
        ((b"ab", b"", b"c"), b"abc", 0),
        ((b"a", b"b", b"c", b"d", b"e"), b"abcde", 0),
        ((b"abcdef", b"never read"), None, 413),
        ((b"ab", b"cdef", b"never read"), None, 413),
        ((None,), None, 0),
        ((b"ab", None), None, 0),
    ],
)
async def test_a_body_is_read_until_it_ends_or_is_too_long(
    pieces: tuple[bytes | None, ...], body: bytes | None, status: int
):
    found, sent = await taken(giving(*pieces))
    assert (found, sent.status) == (body, status)


async def test_what_is_no_json_is_refused_unread():
    found, sent = await taken(giving(), json=False)
    assert (found, sent.status) == (None, 415)


async def test_a_body_that_does_not_come_to_its_end_in_time_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
):
    """Ours: what has come of it is kept in memory, at no cost to who sends no more."""
    monkeypatch.setattr(bodies, "SECONDS", 0.01)
    found, sent = await taken(giving(b"a", b"..."))
    assert (found, sent.status) == (None, 408)
    assert (b"connection", b"close") in sent.events[0]["headers"]
