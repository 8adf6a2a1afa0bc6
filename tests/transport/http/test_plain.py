"""Responses in one piece, and bodies in several."""

from __future__ import annotations

import json
from collections.abc import MutableMapping
from typing import Any

from interlock.protocol.ladder import Mirror, Refusal
from interlock.transport.http.guards import Head
from interlock.transport.http.plain import (
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
