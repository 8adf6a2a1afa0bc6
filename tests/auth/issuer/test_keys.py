from __future__ import annotations

import pytest

from interlock.auth.issuer.keys import Keys
from interlock.auth.issuer.settings import DAY, Lifetimes
from interlock.auth.jwt import is_private
from interlock.errors import ConfigError
from interlock.store.memory import MemoryStore
from interlock.testing.clock import Clock

SECRET = b"s" * 32


class Drawer:
    """A table of keys, and processes that open it."""

    def __init__(self) -> None:
        self.clock = Clock(1_800_000_000.0)
        self.table = MemoryStore(clock=self.clock).table("keys")

    async def keys(self, secret: bytes | None = None) -> Keys:
        keys = Keys(self.table, Lifetimes(), self.clock, secret)
        await keys.load()
        return keys


async def test_keys_are_made_once_and_found_by_whoever_starts_later():
    drawer = Drawer()
    first, second = await drawer.keys(), await drawer.keys()
    assert first.public == second.public
    text = first.sealing.seal(b"x", bound=b"y", ttl=10)
    assert second.sealing.open(text, bound=b"y") == b"x"


async def test_only_public_halves_are_published():
    keys = await Drawer().keys()
    assert not any(is_private(key) for key in keys.public)
    assert {key["kid"] for key in keys.public} == {keys.signing().kid}


async def test_a_key_is_published_before_it_signs_and_after_it_has():
    drawer = Drawer()
    keys = await drawer.keys()
    old = keys.signing().kid
    drawer.clock.turn(89 * DAY + 1)
    await keys.load()
    names = [key["kid"] for key in keys.public]
    assert len(names) == 2
    assert keys.signing().kid == old
    drawer.clock.turn(DAY)
    await keys.load()
    new = keys.signing().kid
    assert new != old
    assert {key["kid"] for key in keys.public} == {old, new}
    drawer.clock.turn(DAY)
    await keys.load()
    assert [key["kid"] for key in keys.public] == [new]


async def test_a_key_that_was_replaced_elsewhere_is_found_within_a_minute():
    drawer = Drawer()
    first, second = await drawer.keys(), await drawer.keys()
    drawer.clock.turn(89 * DAY + 1)
    await second.load()
    await first.load()
    assert first.public == second.public
    drawer.clock.turn(DAY)
    await first.load()
    await second.load()
    assert first.signing().kid == second.signing().kid


async def test_after_a_long_sleep_the_old_key_signs_until_the_next_was_published():
    drawer = Drawer()
    keys = await drawer.keys()
    old = keys.signing().kid
    drawer.clock.turn(1000 * DAY)
    await keys.load()
    assert keys.signing().kid == old
    assert len(keys.public) == 2
    drawer.clock.turn(DAY)
    await keys.load()
    assert keys.signing().kid != old


async def test_with_a_secret_the_store_sees_no_key():
    drawer = Drawer()
    keys = await drawer.keys(SECRET)
    entry = await drawer.table.get("ring")
    assert entry is not None
    assert b'"d"' not in entry.value
    assert (await drawer.keys(SECRET)).public == keys.public


@pytest.mark.parametrize(("kept", "given"), [(SECRET, None), (SECRET, b"t" * 32), (None, SECRET)])
async def test_keys_that_do_not_open_are_not_replaced_in_silence(
    kept: bytes | None, given: bytes | None
):
    drawer = Drawer()
    await drawer.keys(kept)
    with pytest.raises(ConfigError, match="do not open"):
        await drawer.keys(given)
