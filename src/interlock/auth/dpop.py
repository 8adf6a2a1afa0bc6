"""DPoP: a token that is of use only to who holds a key (RFC 9449). Proofs, made and verified."""

from __future__ import annotations

import hashlib
import os
import re
from typing import Any, Final, cast
from urllib.parse import urlsplit

from msgspec import Struct

from interlock.auth.jwt import (
    BadToken,
    SigningKey,
    Token,
    is_private,
    letters,
    peek,
    thumbprint,
    verify,
)

TYPE: Final = "dpop+jwt"
ALGORITHMS: Final = ("ES256", "EdDSA", "Ed25519", "ES384", "ES512", "PS256", "RS256")
WINDOW: Final = 300.0
"""Seconds by which a proof may be older than the clock here, or ahead of it (§ 11.1)."""
_JTI_LIMIT: Final = 256
_NONCE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,512}")


class Proof(Struct, frozen=True):
    """A proof that holds. *id* may be seen once; *thumbprint* is that of the key it proves."""

    thumbprint: str
    id: str
    issued_at: float
    nonce: str | None = None


def prove(
    key: SigningKey,
    method: str,
    url: str,
    *,
    now: float,
    token: str | None = None,
    nonce: str | None = None,
) -> str:
    """A fresh proof for one request: its method, its URL without query, and the token with it."""
    claims: dict[str, Any] = {
        "jti": letters(os.urandom(16)),
        "htm": method,
        "htu": address(url),
        "iat": int(now),
    }
    if token is not None:
        claims["ath"] = token_hash(token)
    if nonce is not None:
        claims["nonce"] = nonce
    public = {
        name: key.public[name] for name in ("kty", "crv", "x", "y", "n", "e") if name in key.public
    }
    return key.sign(claims, typ=TYPE, jwk=public, kid=None)


def check(
    proof: str,
    method: str,
    url: str,
    *,
    now: float,
    token: str | None = None,
    algorithms: tuple[str, ...] = ALGORITHMS,
) -> Proof:
    """What *proof* proves of a request, or `BadToken` (§ 4.3). Seen before is not looked at here.

    *token* is the access token that came with it, if one did. The nonce is the caller's to judge.
    """
    found = peek(proof)
    jwk: Any = found.header.get("jwk")
    if not isinstance(jwk, dict):
        raise BadToken("The proof brings no key (jwk)")
    key = cast("dict[str, Any]", jwk)
    if is_private(key):
        raise BadToken("The proof gives its private key away")
    # The proof's own key is the one it has to be signed with: it shows that its sender holds it.
    named = {name: value for name, value in key.items() if name not in ("kid", "alg", "use")}
    verify(proof, [named], algorithms=algorithms, types=(TYPE,))
    holder = thumbprint(named)
    if found.text("htm") != method:
        raise BadToken("The proof is for another method (htm)")
    if not _same(found.text("htu"), url):
        raise BadToken("The proof is for another URL (htu)")
    issued_at = found.number("iat")
    if issued_at is None or abs(now - issued_at) > WINDOW:
        raise BadToken("The proof was not made just now (iat)")
    unique = found.text("jti")
    if not unique or len(unique) > _JTI_LIMIT:
        raise BadToken("The proof has no id (jti), or one too long")
    if token is not None and found.text("ath") != token_hash(token):
        raise BadToken("The proof is for another access token (ath)")
    return Proof(holder, unique, issued_at, found.text("nonce"))


def bound_to(token: Token) -> str | None:
    """The thumbprint of the key that an access token is bound to (`cnf.jkt`), if it is to one."""
    confirmation = token.claims.get("cnf")
    if not isinstance(confirmation, dict):
        return None
    value = cast("dict[str, Any]", confirmation).get("jkt")
    return value if isinstance(value, str) else None


def token_hash(token: str) -> str:
    """What a proof says of the token it comes with (`ath`)."""
    return letters(hashlib.sha256(token.encode("ascii", "replace")).digest())


def address(url: str) -> str:
    """*url* as a proof names it: without query and fragment (§ 4.2)."""
    return url.partition("#")[0].partition("?")[0]


def usable_nonce(value: str | None) -> str | None:
    """What a peer wants to be in the next proof, if it is a nonce (§ 8.1) of a reasonable length."""
    return value if value is not None and _NONCE.fullmatch(value) else None


def _same(theirs: str | None, ours: str) -> bool:
    """Whether two URLs are one once normalised, as § 4.3 has it: case, default port, empty path."""
    if theirs is None or "?" in theirs or "#" in theirs:
        return False
    return _normal(theirs) == _normal(address(ours))


def _normal(url: str) -> tuple[str, str, int | None, str] | None:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if parts.username is not None:
        return None
    default = {"https": 443, "http": 80}.get(parts.scheme)
    return parts.scheme, parts.hostname or "", port or default, parts.path or "/"
