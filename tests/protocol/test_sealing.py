"""What is sealed comes back unforged, to whom it belongs, in its time; nothing else does."""

from __future__ import annotations

import os
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.peers import modern

from interlock.errors import ConfigError
from interlock.protocol.call import Call
from interlock.protocol.dispatch import admit
from interlock.protocol.sealing import (
    PREFIX,
    Cipher,
    Keyring,
    Unsealed,
    binding,
    digest,
    from_environment,
)
from interlock.wire.jsonrpc import Message, read
from interlock.wire.methods import TO_SERVER

ONE, TWO = os.urandom(32), os.urandom(32)
BOUND = digest(b"ada", b"tools/call")


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@given(st.binary(max_size=500))
def test_what_was_sealed_comes_back(data: bytes):
    ring = Keyring(ONE)
    sealed = ring.seal(data, bound=BOUND, ttl=10)
    assert ring.open(sealed, bound=BOUND) == data
    assert sealed.isascii()
    assert sealed.isprintable()


def test_nobody_else_can_read_it():
    assert "secret" not in Keyring(ONE).seal(b"secret" * 20, bound=BOUND, ttl=10)


@given(st.integers(0, 10_000), st.characters(min_codepoint=33, max_codepoint=126))
def test_one_changed_character_is_found(at: int, other: str):
    """2026-07-28 § MRTR: state that fails its verification must be rejected."""
    ring = Keyring(ONE)
    sealed = ring.seal(b"amount=10", bound=BOUND, ttl=10)
    at %= len(sealed)
    changed = sealed[:at] + other + sealed[at + 1 :]
    if changed != sealed:
        with pytest.raises(Unsealed):
            ring.open(changed, bound=BOUND)


def test_each_seal_has_one_spelling():
    """Base64 has letters that say the same, and bits that mean nothing."""
    ring = Keyring(ONE)
    for size in range(4):
        sealed = ring.seal(bytes(size), bound=BOUND, ttl=10)
        for other in (sealed + "=", sealed.replace("-", "+"), sealed.replace("_", "/")):
            if other != sealed:
                with pytest.raises(Unsealed):
                    ring.open(other, bound=BOUND)
        for letter in string.ascii_letters + string.digits:
            if letter != sealed[-1]:
                with pytest.raises(Unsealed):
                    ring.open(sealed[:-1] + letter, bound=BOUND)


@pytest.mark.parametrize(
    "text", ["", PREFIX, "x", PREFIX + "!!!", PREFIX + "AAAA", PREFIX + "é", "A" * 300_000]
)
def test_what_is_no_seal_is_refused(text: str):
    with pytest.raises(Unsealed):
        Keyring(ONE).open(text, bound=BOUND)


def test_it_opens_for_its_own_use_alone():
    ring = Keyring(ONE)
    sealed = ring.seal(b"x", bound=BOUND, ttl=10)
    with pytest.raises(Unsealed, match="another caller"):
        ring.open(sealed, bound=digest(b"eve", b"tools/call"))


def test_parts_are_bound_each_in_its_place():
    assert digest(b"ab", b"c") != digest(b"a", b"bc")


def called(arguments: bytes) -> bytes:
    """What a call with *arguments*, and a member that nobody knows, is bound to."""
    data = modern("tools/call", 1, {"name": "a", "arguments": "@", "more": "@"})
    message = read(data.replace(b'"@"', arguments))
    assert isinstance(message, Message)
    call = admit(message, TO_SERVER)
    assert isinstance(call, Call)
    return binding(call)


def test_a_call_is_bound_to_what_its_parameters_say_however_they_are_written():
    assert called(b'{"b":1,"a":[2]}') == called(b'{ "a": [2], "\\u0062": 1 }')
    assert called(b'{"b":1,"a":[2]}') != called(b'{"b":1,"a":[3]}')


def test_what_cannot_be_read_is_bound_as_it_came():
    """Ours: unknown members are tolerated, and so what is in them is nobody's error."""
    assert called(b"1e999") == called(b"1e999") != called(b"1")


def test_it_opens_until_its_time_is_over():
    clock = Clock()
    ring = Keyring(ONE, clock=clock)
    sealed = ring.seal(b"x", bound=BOUND, ttl=10)
    clock.now += 9.9
    assert ring.open(sealed, bound=BOUND) == b"x"
    clock.now += 0.2
    with pytest.raises(Unsealed, match="time is over"):
        ring.open(sealed, bound=BOUND)


def test_keys_can_be_replaced_while_what_they_sealed_is_under_way():
    sealed = Keyring(ONE).seal(b"x", bound=BOUND, ttl=10)
    assert Keyring(TWO, ONE).open(sealed, bound=BOUND) == b"x"
    with pytest.raises(Unsealed, match="not on this ring"):
        Keyring(TWO).open(sealed, bound=BOUND)
    with pytest.raises(Unsealed):
        Keyring(ONE).open(Keyring(TWO, ONE).seal(b"x", bound=BOUND, ttl=10), bound=BOUND)


def test_without_secrets_a_ring_has_one_of_its_own():
    sealed = Keyring().seal(b"x", bound=BOUND, ttl=10)
    with pytest.raises(Unsealed):
        Keyring().open(sealed, bound=BOUND)


def test_workers_share_secrets_by_their_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("INTERLOCK_KEYS", f"{ONE.hex()}, {TWO.hex()}")
    sealed = from_environment().seal(b"x", bound=BOUND, ttl=10)
    assert Keyring(ONE.hex()).open(sealed, bound=BOUND) == b"x"


def test_a_short_secret_is_refused_and_none_is_shown():
    with pytest.raises(ConfigError, match="at least 32"):
        Keyring("hunter2")
    assert ONE.hex() not in repr(Keyring(ONE.hex()))


def test_state_that_is_too_long_to_travel_is_refused_at_once():
    with pytest.raises(ValueError, match="too long"):
        Keyring(ONE).seal(bytes(400_000), bound=BOUND, ttl=10)


@given(st.binary(max_size=500), st.binary(max_size=20))
def test_what_is_kept_decrypts_where_it_belongs_and_nowhere_else(data: bytes, other: bytes):
    cipher = Cipher(ONE)
    kept = cipher.encrypt(data, bound=BOUND)
    assert cipher.decrypt(kept, bound=BOUND) == data
    with pytest.raises(Unsealed):
        cipher.decrypt(kept, bound=other)
    with pytest.raises(Unsealed):
        Cipher(TWO).decrypt(kept, bound=BOUND)
    with pytest.raises(Unsealed):
        cipher.decrypt(kept[:-1], bound=BOUND)


def test_what_is_too_short_to_have_been_encrypted_is_refused():
    with pytest.raises(Unsealed):
        Cipher(ONE).decrypt(b"", bound=BOUND)


def test_a_name_depends_on_each_word_its_place_and_the_key():
    cipher = Cipher(ONE)
    names = {cipher.name("a", "bc"), cipher.name("ab", "c"), cipher.name("bc", "a")}
    assert len(names | {Cipher(TWO).name("a", "bc")}) == 4
    assert cipher.name("a", "bc") == Cipher(ONE).name("a", "bc")


def test_a_cipher_shows_no_secret_and_takes_no_short_one():
    assert repr(Cipher(b"k" * 32)) == "Cipher(…)"
    with pytest.raises(ConfigError):
        Cipher(b"k" * 16)
