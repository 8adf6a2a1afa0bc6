"""Responses in one piece, and bodies in several."""

from __future__ import annotations

import asyncio
import gc
import json
import weakref
from collections.abc import MutableMapping
from typing import Any

from interlock.protocol.ladder import Mirror, Refusal
from interlock.transport.http.guards import Head
from interlock.transport.http.plain import (
    AsgiWay,
    bare,
    cors,
    preflight,
    refuse,
    turn_away,
)


class Sent:
    """Where a response is sent."""

    def __init__(self) -> None:
        self.events: list[MutableMapping[str, Any]] = []

    async def __call__(self, event: MutableMapping[str, Any]) -> None:
        self.events.append(event)

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.events[0]["headers"])


async def broken(event: MutableMapping[str, Any]) -> None:
    raise BrokenPipeError


class Watched:
    """A call that waits, as far as the way it came by is concerned: each knows the other."""

    def __init__(self, way: AsgiWay) -> None:
        self.way = way

    def leave(self) -> None:
        pass


async def test_a_call_that_was_watched_is_let_go_of_when_it_is_over():
    """It may hold megabytes, and looking for circles is done by their number, not their size."""
    waiting = asyncio.Event()

    async def receive() -> MutableMapping[str, Any]:
        waiting.set()
        return await asyncio.Event().wait()  # type: ignore[return-value]  it never does

    way = AsgiWay(receive, Sent())
    watched = Watched(way)
    way.watch(watched.leave)
    await waiting.wait()
    gone = asyncio.Event()
    weakref.finalize(watched, gone.set)
    gc.disable()
    try:
        way.unwatch()
        del way, watched
        await asyncio.wait_for(gone.wait(), 5)
    finally:
        gc.enable()


async def test_a_refusal_is_an_error_without_an_id_and_its_status():
    sent = Sent()
    await refuse(sent, 406, "no", [(b"x-extra", b"1")])
    body = sent.events[1]["body"]
    assert sent.events[0]["status"] == 406
    assert sent.headers[b"content-length"] == b"%d" % len(body)
    assert sent.headers[b"content-type"] == b"application/json"
    assert sent.headers[b"x-extra"] == b"1"
    assert json.loads(body) == {"jsonrpc": "2.0", "error": {"code": -32600, "message": "no"}}


async def test_who_is_turned_away_is_told_by_the_id_that_was_asked_under():
    sent = Sent()
    await turn_away(sent, Refusal(-32601, "no", id="a", status=404), [])
    assert sent.events[0]["status"] == 404
    assert json.loads(sent.events[1]["body"])["id"] == "a"


async def test_a_client_that_is_gone_is_no_failure_of_ours():
    await bare(broken, 204, [])
    await refuse(broken, 400, "no")


def test_a_page_may_read_what_its_origin_is_allowed():
    assert cors(Head(Mirror())) == []
    headers = dict(cors(Head(Mirror(), origin="http://localhost:1")))
    assert headers[b"access-control-allow-origin"] == b"http://localhost:1"
    assert headers[b"vary"] == b"Origin"
    assert preflight(Head(Mirror()), b"POST") == [(b"allow", b"POST, OPTIONS")]
    asked = dict(preflight(Head(Mirror(), origin="http://localhost:1"), b"POST"))
    assert asked[b"access-control-allow-methods"] == b"POST"
