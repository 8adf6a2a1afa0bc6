from __future__ import annotations

import asyncio

import pytest
from tests.auth.issuer.box import Shelf

from interlock.auth.issuer import remote
from interlock.auth.issuer.remote import AT_ONCE, Remote, public_keys
from interlock.auth.jwt import BadToken, SigningKey
from interlock.errors import AuthorizationFailed, UnsafeUrl
from interlock.testing.clock import Clock
from interlock.transport.http.engine import Request
from interlock.transport.http.fetching import Fetched

PLACE = "https://a.example/x"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("", 3600),
        ("max-age=600", 600),
        ("public, MAX-AGE=600", 600),
        ("max-age=1", 60),
        ("max-age=999999999", 24 * 3600),
        ("no-store", 3600),
        ("s-maxage=9", 3600),
        ("max-age=-1", 3600),
    ],
)
async def test_a_document_is_kept_as_long_as_it_says_within_bounds(header: str, seconds: int):
    clock = Clock()
    shelf = Shelf({PLACE: {}})
    shelf.headers = {**shelf.headers, "cache-control": header}
    kept = Remote(shelf, clock)
    await kept.get(PLACE)
    clock.turn(seconds - 1)
    await kept.get(PLACE)
    assert len(shelf.asked) == 1
    clock.turn(1)
    await kept.get(PLACE)
    assert len(shelf.asked) == 2


@pytest.mark.parametrize(
    ("kind", "taken"),
    [
        ("application/json; charset=utf-8", True),
        ("application/client-metadata+json", True),
        ("text/html", False),
        ("text/json", False),
        ("", False),
    ],
)
async def test_only_json_is_a_document(kind: str, taken: bool):
    shelf = Shelf({PLACE: {}})
    shelf.headers = {"content-type": kind}
    if taken:
        assert await Remote(shelf, Clock()).get(PLACE) == b"{}"
    else:
        with pytest.raises(AuthorizationFailed):
            await Remote(shelf, Clock()).get(PLACE)


async def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(remote, "KEPT", 3)
    shelf = Shelf({f"https://a.example/{n}": {} for n in range(5)})
    kept = Remote(shelf, Clock())
    for place in shelf.documents:
        await kept.get(place)
    await kept.get("https://a.example/4")
    assert len(shelf.asked) == 5
    await kept.get("https://a.example/0")
    assert len(shelf.asked) == 6


class Slow:
    """Answers when it is let."""

    def __init__(self) -> None:
        self.let = asyncio.Event()
        self.running = 0
        self.most = 0

    async def fetch(self, request: Request) -> Fetched:
        self.running += 1
        self.most = max(self.most, self.running)
        await self.let.wait()
        self.running -= 1
        return Fetched(200, {"content-type": "application/json"}, b"{}", request.url)


async def test_only_some_are_fetched_at_once_whoever_asks():
    slow = Slow()
    kept = Remote(slow, Clock())
    places = [f"https://a.example/{n}" for n in range(3 * AT_ONCE)]
    waiting = [asyncio.create_task(kept.get(place)) for place in places]
    for _ in range(10):
        await asyncio.sleep(0)
    assert slow.running == AT_ONCE
    slow.let.set()
    await asyncio.gather(*waiting)
    assert slow.most == AT_ONCE


async def test_strangers_keep_nobody_from_what_the_operator_named(
    monkeypatch: pytest.MonkeyPatch,
):
    """Anybody can have documents asked for that never come, as ids of clients."""
    monkeypatch.setattr(remote, "KEPT", 2)
    slow = Slow()
    kept = Remote(slow, Clock(), known=[PLACE])
    places = [f"https://evil.example/{n}" for n in range(3 * AT_ONCE)]
    waiting = [asyncio.create_task(kept.get(place)) for place in places]
    ours = asyncio.create_task(kept.get(PLACE))
    for _ in range(10):
        await asyncio.sleep(0)
    assert slow.running == AT_ONCE + 1
    slow.let.set()
    assert await ours == b"{}"
    await asyncio.gather(*waiting)
    slow.let.clear()
    assert await kept.get(PLACE) == b"{}"  # Nor do they have it forgotten.


async def test_nobody_waits_for_strangers_without_end(monkeypatch: pytest.MonkeyPatch):
    slow = Slow()
    kept = Remote(slow, Clock())
    waiting = [asyncio.create_task(kept.get(f"https://a.example/{n}")) for n in range(AT_ONCE)]
    for _ in range(10):
        await asyncio.sleep(0)
    monkeypatch.setattr(remote, "SECONDS", 0.01)
    with pytest.raises(AuthorizationFailed, match="Too many"):
        await kept.get(PLACE)
    slow.let.set()
    await asyncio.gather(*waiting)
    assert await kept.get(PLACE) == b"{}"


async def test_what_cannot_be_had_anew_stays_what_it_was():
    clock, shelf = Clock(), Shelf({PLACE: {"keys": []}})
    kept = Remote(shelf, clock)
    before = await kept.get(PLACE)
    shelf.documents = {}
    clock.turn(100)
    assert await kept.get(PLACE, anew=True) == before
    assert await kept.get(PLACE, anew=True) == before
    assert len(shelf.asked) == 2
    clock.turn(3500)
    with pytest.raises(AuthorizationFailed):
        await kept.get(PLACE)


class Refusing:
    async def fetch(self, request: Request) -> Fetched:
        raise UnsafeUrl("not public")


async def test_where_a_fetcher_does_not_go_there_is_no_document():
    with pytest.raises(AuthorizationFailed):
        await Remote(Refusing(), Clock()).get("https://10.0.0.1/x")


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"keys":{}}', b"[" * 9999])
def test_what_is_no_set_of_keys_is_told_so(data: bytes):
    with pytest.raises(BadToken):
        public_keys(data)


def test_of_a_set_of_keys_only_some_are_looked_at():
    many = b'{"keys":[' + b",".join([b'{"kty":"EC"}'] * 100) + b',"x"]}'
    assert len(public_keys(many)) == 32


async def test_a_token_is_verified_with_keys_at_hand_or_elsewhere():
    key = SigningKey.generate()
    shelf = Shelf({PLACE: {"keys": [key.public]}})
    found = await Remote(shelf, Clock()).verify(key.sign({"sub": "x"}), (), PLACE, ("",))
    assert found.text("sub") == "x"
    assert await Remote(None, Clock()).verify(key.sign({}), (key.public,), None, ("",))
