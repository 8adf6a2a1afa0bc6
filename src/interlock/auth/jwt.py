"""Signed JSON Web Tokens: keys, signing, and verifying against keys whose algorithm is pinned.

What a token says of itself chooses nothing: the verifier names the algorithms, each key serves the
algorithms of its own type only, and no key is ever taken from a token's header (RFC 8725 § 3.1),
a DPoP proof excepted, which proves possession of the key it brings.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, cast

import msgspec
from msgspec import Struct

ASYMMETRIC: Final = ("ES256", "EdDSA", "Ed25519", "ES384", "ES512", "PS256", "RS256")
"""Algorithms that are taken unless told otherwise. None is symmetric: a public key would be a
secret (RFC 8725 § 2.1); none is `none`."""
SIZE_LIMIT: Final = 16 * 1024
"""The longest token that is looked at, in characters."""
KEYS_AT_MOST: Final = 32
"""Keys of one set that are looked at."""
_RSA_LEAST: Final = 2048
_RSA_MOST: Final = 8192
_NUMBER_LIMIT: Final = 2**53

_TYPES: Final = {
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
    "Ed25519": ("OKP", "Ed25519"),
    "PS256": ("RSA", None),
    "RS256": ("RSA", None),
}
"""The type of key, and its curve, that an algorithm needs."""
_PRIVATE: Final = ("d", "p", "q", "dp", "dq", "qi", "oth", "k")


class BadToken(Exception):
    """A token, a proof or a key that is not to be believed. The text says why, and quotes nothing
    of it: it may be shown to whoever sent it.
    """


class Token(Struct, frozen=True):
    """What a token says, once its signature held, or of itself if it was only `peek`ed at."""

    header: dict[str, Any]
    claims: dict[str, Any]

    def __repr__(self) -> str:
        return "Token(…)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return []

    def text(self, claim: str) -> str | None:
        """A claim that is a string; None if it is missing, or something else."""
        value = self.claims.get(claim)
        return value if isinstance(value, str) else None

    def number(self, claim: str) -> float | None:
        """A claim that is a time or another number; none that is too large to be reckoned with."""
        value = self.claims.get(claim)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return value if abs(value) <= _NUMBER_LIMIT else None

    @property
    def audiences(self) -> tuple[str, ...]:
        """Whom it is meant for: `aud`, which is a string or several."""
        audience = self.claims.get("aud")
        several = cast("list[Any]", audience) if isinstance(audience, list) else [audience]
        return tuple(each for each in several if isinstance(each, str))

    @property
    def scopes(self) -> frozenset[str]:
        """What it allows: `scope`, a string with spaces, or `scp`, that or a list."""
        found: set[str] = set()
        for claim in ("scope", "scp"):
            value = self.claims.get(claim)
            several = cast("list[Any]", value) if isinstance(value, list) else [value]
            for each in several:
                if isinstance(each, str):
                    found.update(each.split())
        return frozenset(found)


class SigningKey:
    """A private key, its algorithm, and the public half others verify with."""

    def __init__(self, jwk: Mapping[str, Any], algorithm: str) -> None:
        """*jwk* is a private JSON Web Key of the type that *algorithm* needs; raises `BadToken`."""
        self.algorithm = algorithm
        self._key = _imported(dict(jwk), algorithm, private=True)
        public = {name: value for name, value in jwk.items() if name not in _PRIVATE}
        public = {name: value for name, value in public.items() if name not in ("key_ops", "use")}
        self.thumbprint = thumbprint(public)
        self.kid: str = str(public.get("kid") or self.thumbprint)
        self.public: dict[str, Any] = {**public, "kid": self.kid, "alg": algorithm, "use": "sig"}
        self._private: dict[str, Any] = {**jwk, "kid": self.kid}

    def __repr__(self) -> str:
        return f"SigningKey({self.algorithm}, kid={self.kid!r})"

    @classmethod
    def generate(cls, algorithm: str = "ES256") -> SigningKey:
        from joserfc.jwk import ECKey, OKPKey, RSAKey

        kind, curve = _type_of(algorithm)
        if kind == "EC":
            key: Any = ECKey.generate_key(curve, private=True)
        elif kind == "OKP":
            key = OKPKey.generate_key(cast("Any", curve), private=True)
        else:
            key = RSAKey.generate_key(_RSA_LEAST, private=True)
        return cls(key.as_dict(private=True), algorithm)

    @classmethod
    def from_pem(cls, pem: str, algorithm: str) -> SigningKey:
        """A key as PEM text, PKCS#8 or older. Raises `BadToken` for what is no such key."""
        from joserfc.errors import JoseError
        from joserfc.jwk import ECKey, OKPKey, RSAKey

        kinds: dict[str, Any] = {"EC": ECKey, "OKP": OKPKey, "RSA": RSAKey}
        kind = _type_of(algorithm)[0]
        try:
            jwk = kinds[kind].import_key(pem).as_dict(private=True)
        except (JoseError, ValueError, TypeError) as error:
            raise BadToken(f"The key is no private {kind} key in PEM") from error
        return cls(jwk, algorithm)

    def to_jwk(self) -> dict[str, Any]:
        """The private key, to be kept where nobody else reads."""
        return dict(self._private)

    def sign(self, claims: Mapping[str, Any], **header: Any) -> str:
        """*claims* as a token; *header* adds to `alg`. `kid` is there unless given as None."""
        from joserfc import jws

        fields = {"alg": self.algorithm, "kid": self.kid, **header}
        fields = {name: value for name, value in fields.items() if value is not None}
        payload = msgspec.json.encode(claims)
        return jws.serialize_compact(fields, payload, self._key, registry=_registry())


def peek(token: str) -> Token:
    """What a token says of itself, believed in nothing: to find out whose keys to verify it with."""
    parts = token.split(".") if len(token) <= SIZE_LIMIT else []
    if len(parts) != 3:
        raise BadToken("It is no signed JSON Web Token")
    header, claims = (_object(part) for part in parts[:2])
    _decoded(parts[2])
    if "crit" in header:
        # None is known here, and what must be understood may not be passed over (RFC 7515 § 4.1.11).
        raise BadToken("Its header has extensions that must be understood, and are not")
    return Token(header, claims)


def verify(
    token: str,
    keys: Sequence[Mapping[str, Any]],
    *,
    algorithms: Collection[str] = ASYMMETRIC,
    types: Collection[str] | None = None,
) -> Token:
    """The token if one of *keys* (JSON Web Keys, public) signed it; raises `BadToken`.

    *algorithms* are all that is taken, whatever the token says. *types* are what its `typ` may be,
    in lower case, with "" for none. Times, issuer and audience are the caller's to check:
    `check_times` is for the first.
    """
    found = peek(token)
    algorithm = found.header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in algorithms or algorithm not in _TYPES:
        expected = ", ".join(algorithms)
        raise BadToken(f"It is signed with an algorithm that is not taken; expected {expected}")
    if types is not None and _type(found) not in types:
        expected = ", ".join(repr(each) for each in types)
        raise BadToken(f"Its typ is not what it is presented as; expected {expected}")
    kid = found.header.get("kid")
    candidates = [key for key in keys[:KEYS_AT_MOST] if _serves(key, algorithm)]
    if kid is not None:
        # A key without a name may be any; one with another is not this one.
        candidates = [key for key in candidates if key.get("kid") in (kid, None)]
    if not candidates:
        raise NoKey("No key of its issuer's fits it")
    if not any(_signed(token, key, algorithm) for key in candidates):
        raise BadToken("Its signature does not hold")
    return found


class NoKey(BadToken):
    """None of the keys at hand can have signed it: they may have been replaced meanwhile."""


def check_times(token: Token, now: float, *, skew: float = 60.0, expires: bool = True) -> None:
    """Raise `BadToken` if a token is not valid at *now*, in Unix time, give or take *skew* seconds.

    Without *expires* it need not say when it ends.
    """
    until = token.number("exp")
    if until is None and (expires or "exp" in token.claims):
        raise BadToken("It does not say until when it is valid")
    if until is not None and now >= until + skew:
        raise BadToken("It has expired")
    for claim, complaint in (("nbf", "It is not valid yet"), ("iat", "It is from the future")):
        if claim in token.claims:
            since = token.number(claim)
            if since is None or since > now + skew:
                raise BadToken(complaint)


def thumbprint(jwk: Mapping[str, Any]) -> str:
    """What identifies a key: the hash of its required members (RFC 7638)."""
    kinds = {"EC": ("crv", "kty", "x", "y"), "OKP": ("crv", "kty", "x"), "RSA": ("e", "kty", "n")}
    names = kinds.get(str(jwk.get("kty")), ())
    members = {name: jwk.get(name) for name in names}
    if not names or not all(isinstance(value, str) for value in members.values()):
        raise BadToken("It is no key of a type that is known: EC, OKP or RSA")
    canonical = json.dumps(members, separators=(",", ":"), sort_keys=True).encode()
    return letters(hashlib.sha256(canonical).digest())


def is_private(jwk: Mapping[str, Any]) -> bool:
    return any(name in jwk for name in _PRIVATE)


def letters(data: bytes) -> str:
    """*data* in the letters of URLs, without padding (RFC 7515 § 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _object(part: str) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(_decoded(part))
    except (ValueError, msgspec.DecodeError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise BadToken("It is no signed JSON Web Token")
    return cast("dict[str, Any]", found)


def _decoded(part: str) -> bytes:
    try:
        data = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except ValueError:
        data = b""
    # Other letters can stand for the same bytes: a token could be shown twice, and look new.
    if letters(data) != part:
        raise BadToken("It is no signed JSON Web Token")
    return data


def _type(token: Token) -> str:
    # "application/" before it may be left out (RFC 7515 § 4.1.9).
    return str(token.header.get("typ", "")).lower().removeprefix("application/")


def _type_of(algorithm: str) -> tuple[str, str | None]:
    found = _TYPES.get(algorithm)
    if found is None:
        raise BadToken(f"The algorithm is not taken; expected one of {', '.join(_TYPES)}")
    return found


def _serves(key: Mapping[str, Any], algorithm: str) -> bool:
    kind, curve = _TYPES[algorithm]
    return (
        key.get("kty") == kind
        and (curve is None or key.get("crv") == curve)
        and key.get("alg") in (algorithm, None)
        and key.get("use") in ("sig", None)
    )


def _signed(token: str, jwk: Mapping[str, Any], algorithm: str) -> bool:
    from joserfc import jws
    from joserfc.errors import JoseError

    try:
        key = _imported({name: jwk[name] for name in jwk if name not in _PRIVATE}, algorithm)
        jws.deserialize_compact(token, key, registry=_registry(algorithm))
    except (BadToken, JoseError, ValueError, TypeError):
        return False
    return True


def _imported(jwk: dict[str, Any], algorithm: str, *, private: bool = False) -> Any:
    from joserfc.errors import JoseError
    from joserfc.jwk import import_key

    kind, curve = _type_of(algorithm)
    if jwk.get("kty") != kind or (curve is not None and jwk.get("crv") != curve):
        raise BadToken(f"The key is not of the type that {algorithm} needs")
    # What else a key may say of itself (its chain of certificates, say) is nothing to us.
    needed = {name: jwk[name] for name in jwk if name in _MEMBERS}
    if kind == "RSA" and not _RSA_LEAST <= _bits(jwk.get("n")) <= _RSA_MOST:
        raise BadToken(f"The key is of no size that is taken: {_RSA_LEAST} to {_RSA_MOST} bits")
    try:
        key: Any = import_key(needed)
        if private and not key.is_private:
            raise BadToken("The key is no private one")
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise BadToken("The key cannot be read") from error
    return key


def _bits(number: object) -> int:
    """The length of a number in a key, before a library is given it to reckon with."""
    if not isinstance(number, str):
        return 0
    try:
        return int.from_bytes(_decoded(number.rstrip("=")), "big").bit_length()
    except BadToken:
        return 0


_MEMBERS: Final = ("kty", "crv", "x", "y", "n", "e", *_PRIVATE)


@functools.cache
def _registry(*algorithms: str) -> Any:
    from joserfc.jws import JWSRegistry

    class Registry(JWSRegistry):
        # Proofs carry their key in the header; `peek` has bounded the whole.
        max_header_length = max_payload_length = max_signature_length = SIZE_LIMIT

        def get_alg(self, name: str) -> Any:
            # Which algorithms are taken was settled before; here it would only warn of EdDSA's old
            # name, which most issuers still write.
            return self.algorithms[name]

    # The names of headers are looked at here, and others may add to them.
    return Registry(algorithms=[*(algorithms or ASYMMETRIC)], strict_check_header=False)
