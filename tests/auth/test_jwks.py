"""The keys of an issuer: fetched once, kept, and looked at again where that may help."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.auth.tokens import ISSUER, Issuer, Web
from tests.peers import soon
from tests.spec.marking import requirement

from interlock.auth import jwks as room
from interlock.auth.jwks import Keys, Outbound
from interlock.errors import AuthorizationFailed, UnsafeUrl
from interlock.testing.clock import Clock
from interlock.transport.http.engine import Request


@pytest.fixture
def web() -> Web:
    return Web()


def names(keys: Any) -> list[str]:
    return [key["kid"] for key in keys]


async def test_keys_are_where_the_issuer_says_and_are_kept(web: Web):
    issuer, clock = Issuer(web), Clock()
    keys = Keys(ISSUER, fetcher=web, clock=clock)
    for _ in range(3):
        assert names(await keys.current()) == [issuer.key.kid]
    assert web.urls == [
        "https://login.example.com/.well-known/oauth-authorization-server/tenant",
        issuer.jwks_url,
    ]
    clock.turn(room.TTL)
    await keys.current()
    assert len(web.asked) == 4


async def test_an_issuer_that_speaks_openid_is_found_too(web: Web):
    web.put(
        f"{ISSUER}/.well-known/openid-configuration",
        {"issuer": ISSUER, "jwks_uri": f"{ISSUER}/jwks"},
    )
    web.put(f"{ISSUER}/jwks", {"keys": [{"kty": "EC", "kid": "k"}, "no key"]})
    assert names(await Keys(ISSUER, fetcher=web).current()) == ["k"]


async def test_a_url_that_is_given_is_gone_to_at_once(web: Web):
    issuer = Issuer(web)
    keys = Keys(ISSUER, issuer.jwks_url, fetcher=web)
    assert names(await keys.current()) == [issuer.key.kid]
    assert web.urls == [issuer.jwks_url]


async def test_whoever_asks_at_once_waits_for_one_fetch_and_may_leave(web: Web):
    issuer = Issuer(web)
    web.gate = asyncio.Event()
    keys = Keys(ISSUER, issuer.jwks_url, fetcher=web)
    first, *others = [asyncio.create_task(keys.current()) for _ in range(10)]
    await asyncio.sleep(0)
    first.cancel()
    web.gate.set()
    for found in await soon(asyncio.gather(*others)):
        assert names(found) == [issuer.key.kid]
    assert len(web.asked) == 1


@requirement("RS9-10")
async def test_a_stream_of_unknown_keys_causes_no_stream_of_fetches(web: Web):
    issuer, clock = Issuer(web), Clock()
    keys = Keys(ISSUER, issuer.jwks_url, fetcher=web, clock=clock)
    await keys.current()
    for _ in range(100):
        assert await keys.anew() is None
    assert len(web.asked) == 1
    issuer.rotate()
    clock.turn(room.PAUSE)
    assert names(await keys.anew()) == [issuer.key.kid]
    assert await keys.anew() is None
    assert len(web.asked) == 2


async def test_keys_are_used_for_a_day_while_the_issuer_cannot_be_reached(web: Web):
    issuer, clock = Issuer(web), Clock()
    keys = Keys(ISSUER, issuer.jwks_url, fetcher=web, clock=clock)
    await keys.current()
    web.down = True
    clock.turn(room.TTL)
    for _ in range(5):
        assert names(await keys.current()) == [issuer.key.kid]
    assert len(web.asked) == 2
    clock.turn(room.STALE)
    with pytest.raises(AuthorizationFailed, match="cannot be had"):
        await keys.current()
    web.down = False
    clock.turn(room.PAUSE)
    assert names(await keys.current()) == [issuer.key.kid]


async def test_an_issuer_that_cannot_be_reached_is_not_asked_by_each_request(web: Web):
    web.down, clock = True, Clock()
    keys = Keys(ISSUER, fetcher=web, clock=clock)
    for _ in range(5):
        with pytest.raises(AuthorizationFailed):
            await keys.current()
    assert len(web.asked) == 1
    Issuer(web)
    web.down = False
    clock.turn(room.RETRY)
    assert await keys.current()


@pytest.mark.parametrize(
    ("page", "status", "said"),
    [
        ({"issuer": "https://evil.example", "jwks_uri": "https://evil.example/k"}, 200, "not of"),
        ({"issuer": ISSUER}, 200, "jwks_uri"),
        (b"nonsense", 200, "JSON object"),
        ({}, 500, "no metadata"),
    ],
)
async def test_metadata_that_is_not_the_issuers_leads_nowhere(
    web: Web, page: Any, status: int, said: str
):
    web.put("https://login.example.com/.well-known/oauth-authorization-server/tenant", page, status)
    with pytest.raises(AuthorizationFailed, match=said):
        await Keys(ISSUER, fetcher=web).current()


@pytest.mark.parametrize("page", [b"nonsense", b"[" * 5000, [], {}, {"keys": 1}])
async def test_what_is_no_set_of_keys_is_none(web: Web, page: Any):
    web.put(f"{ISSUER}/keys", page)
    with pytest.raises(AuthorizationFailed, match="no set of keys"):
        await Keys(ISSUER, f"{ISSUER}/keys", fetcher=web).current()


async def test_without_a_fetcher_one_is_made_that_goes_only_where_it_should():
    outbound = Outbound(None, ISSUER)
    for _ in range(2):
        with pytest.raises(UnsafeUrl):
            await outbound.fetch(Request("GET", "http://10.0.0.1/", {}), limit=10, seconds=1)
        await outbound.close()
