"""State that travels through the client and comes back unforged; the keyring that seals it.

What is sealed is encrypted and authenticated (AES-256-GCM), and bound: it opens only under the same
*bound* bytes, which name whose it is and what it is for. A client can read nothing in it, change
nothing, use it for nothing else, and not after its time (2026-07-28 § MRTR, requestState).
"""

from __future__ import annotations

import base64
import binascii
import logging
import os
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec
from msgspec import Raw

from interlock.errors import INVALID_PARAMS, ConfigError, RpcError
from interlock.protocol.call import Call
from interlock.wire.jsonrpc import UNREADABLE, encode
from interlock.wire.meta import members

log: Final = logging.getLogger("interlock.sealing")

PREFIX: Final = "il1."
"""What every sealed text begins with: the form it has, so that another can follow it."""
LIMIT: Final = 256 * 1024
"""The longest sealed text that is opened, in characters; longer ones are not made either."""
SECRET_LEAST: Final = 32
"""The fewest bytes a secret may have."""

_deterministic: Final = msgspec.json.Encoder(order="deterministic")
_KEY_ID: Final = 4
_NONCE: Final = 12
_TIME: Final = 8


class Unsealed(ValueError):
    """What should be sealed is forged, damaged, too old, or somebody else's; the text says which
    as far as it can be known, for a log and not for the peer.
    """


class Keyring:
    """The keys of one service. The first seals; all of them open, so that keys can be replaced.

    *secrets* are at least 32 bytes each, from a random source. Workers that serve one endpoint
    need the same; without any, a keyring makes one that lives as long as the process does.
    """

    def __init__(self, *secrets: bytes | str, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._secrets = [_secret(each) for each in secrets] or [os.urandom(SECRET_LEAST)]
        self._ciphers: dict[bytes, Any] = {}
        self._sealing = b""

    def __repr__(self) -> str:
        return f"Keyring(<{len(self._secrets)} secrets>)"

    def seal(self, data: bytes, *, bound: bytes, ttl: float) -> str:
        """*data* as text that only this keyring opens, only with *bound*, for *ttl* seconds.

        Raises `ValueError` if it would be longer than what is opened again.
        """
        cipher = self._cipher(self._ring())
        until = int((self._clock() + ttl) * 1000).to_bytes(_TIME, "big")
        nonce = os.urandom(_NONCE)
        head = self._sealing + nonce
        whole = head + cipher.encrypt(nonce, until + data, self._sealing + bound)
        text = PREFIX + _letters(whole)
        if len(text) > LIMIT:
            raise ValueError(f"State of {len(data)} bytes is too long to travel; keep it elsewhere")
        return text

    def open(self, text: str, *, bound: bytes) -> bytes:
        """What was sealed. Raises `Unsealed`."""
        self._ring()
        if not text.startswith(PREFIX) or len(text) > LIMIT:
            raise Unsealed("it is not of our making")
        body = text[len(PREFIX) :]
        try:
            whole = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise Unsealed("it is damaged") from None
        if _letters(whole) != body:
            raise Unsealed("it is spelled otherwise than it was sealed")
        number, nonce = whole[:_KEY_ID], whole[_KEY_ID : _KEY_ID + _NONCE]
        if number not in self._ciphers:
            raise Unsealed("it was sealed with a key that is not on this ring")
        try:
            opened = self._cipher(number).decrypt(nonce, whole[_KEY_ID + _NONCE :], number + bound)
        except (ValueError, _forged()):
            raise Unsealed("it was changed, or belongs to another caller or call") from None
        if int.from_bytes(opened[:_TIME], "big") < self._clock() * 1000:
            raise Unsealed("its time is over")
        return opened[_TIME:]

    def _ring(self) -> bytes:
        """The id of the key that seals; the ring is made when it is first used.

        Not before: most servers never seal, and the library takes a while to import.
        """
        if not self._sealing:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM

            for secret in self._secrets:
                key = digest(b"interlock sealing key", secret)
                number = digest(b"interlock key id", key)[:_KEY_ID]
                self._ciphers.setdefault(number, AESGCM(key))
            self._sealing = next(iter(self._ciphers))
        return self._sealing

    def _cipher(self, number: bytes) -> Any:
        return self._ciphers[number]


class Cipher:
    """One key, for what is kept rather than travels: encrypted, bound to where it is kept, and kept
    under names that say nothing to who lacks the key, not even if they guess.

    *secret* is at least 32 bytes from a random source.
    """

    def __init__(self, secret: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._aead: Any = AESGCM(digest(b"interlock keeping key", _secret(secret)))
        self._naming = digest(b"interlock naming key", secret)

    def __repr__(self) -> str:
        return "Cipher(…)"

    def encrypt(self, data: bytes, *, bound: bytes) -> bytes:
        """*data* as bytes that only this key decrypts, only with *bound*."""
        nonce = os.urandom(_NONCE)
        return nonce + self._aead.encrypt(nonce, data, bound)

    def decrypt(self, whole: bytes, *, bound: bytes) -> bytes:
        """What was encrypted. Raises `Unsealed`."""
        try:
            return self._aead.decrypt(whole[:_NONCE], whole[_NONCE:], bound)
        except (ValueError, _forged()):
            raise Unsealed("it was changed, moved, or encrypted with another key") from None

    def name(self, *words: str) -> str:
        """What stands for *words*, each in its place: always the same, and safe in a file's name."""
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.hmac import HMAC

        whole = HMAC(self._naming, SHA256())
        whole.update(digest(*(word.encode() for word in words)))
        return whole.finalize().hex()


def _letters(whole: bytes) -> str:
    return base64.urlsafe_b64encode(whole).decode().rstrip("=")


def digest(*parts: bytes) -> bytes:
    """A fixed number of bytes that stand for *parts*, each in its place: something to bind to."""
    from cryptography.hazmat.primitives.hashes import SHA256, Hash

    whole = Hash(SHA256())
    for part in parts:
        whole.update(len(part).to_bytes(8, "big") + part)
    return whole.finalize()


def binding(call: Call) -> bytes:
    """What a state is good for: this caller, this method, these parameters (§ MRTR, Security)."""
    fields = members(call.raw or encode(call.params))
    for own in ("_meta", "inputResponses", "requestState"):
        fields.pop(own, None)
    written = encode({name: Raw(_plainly(fields[name])) for name in sorted(fields)})
    who = call.principal
    words = (who.issuer, who.subject, who.client_id, call.method)
    return digest(*(word.encode() for word in words), written)


def _plainly(value: Raw) -> bytes:
    """*value* in one way of writing it: the retry may be written differently and still be the same.

    What cannot be read as a whole (a number beyond all, lists in lists without end) is as it came.
    """
    try:
        return _deterministic.encode(msgspec.json.decode(value))
    except UNREADABLE:
        return bytes(value)


def unusable(call: Call, why: str) -> RpcError:
    """What the sender of a state that cannot be used is told; *why* is for the log alone."""
    log.warning("%s came with a requestState that is refused: %s", call.method, why)
    return RpcError(
        INVALID_PARAMS,
        f"This requestState cannot be used for this {call.method}; call again without it",
    )


def from_environment(variable: str = "INTERLOCK_KEYS") -> Keyring:
    """The keyring whose secrets stand in an environment variable, separated by commas.

    The first seals. An unset or empty variable gives a ring of this process's own.
    """
    words = [word.strip() for word in os.environ.get(variable, "").split(",")]
    return Keyring(*(word for word in words if word))


def _secret(given: bytes | str) -> bytes:
    secret = given.encode() if isinstance(given, str) else given
    if len(secret) < SECRET_LEAST:
        raise ConfigError(
            f"A secret of {len(secret)} bytes is too short: at least {SECRET_LEAST} random bytes "
            "are expected, such as `openssl rand -hex 32` prints"
        )
    return secret


def _forged() -> type[Exception]:
    from cryptography.exceptions import InvalidTag

    return InvalidTag
