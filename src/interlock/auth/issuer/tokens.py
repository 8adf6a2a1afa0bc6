"""Tokens: made, looked into, and taken back. Access tokens are signed (RFC 9068), refresh tokens
sealed; of the latter only fingerprints are kept.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct, structs

from interlock.auth.issuer.office import Code, Family, Office
from interlock.auth.issuer.records import TRIES, fingerprint, handle, same
from interlock.auth.issuer.responses import Refused
from interlock.auth.jwt import SIZE_LIMIT, BadToken, Token, check_times, verify
from interlock.errors import StoreError
from interlock.protocol.sealing import Unsealed

log: Final = logging.getLogger("interlock.issuer")

TYPE: Final = "at+jwt"
_REFRESH: Final = b"interlock refresh token"


class Grant(Struct, frozen=True, kw_only=True):
    """What an access token says: who, through which client, at which resource, what."""

    subject: str
    client_id: str
    resource: str
    scopes: tuple[str, ...]
    family: str | None = None
    since: float | None = None
    """When the person signed in."""
    jkt: str | None = None
    """The key that it is bound to."""
    until: float | None = None
    """It ends then at the latest, in Unix time."""
    actor: Mapping[str, Any] | None = None
    """Who acts for the subject (RFC 8693 § 4.1)."""


def issued(office: Office, grant: Grant) -> dict[str, Any]:
    """A new access token, as the token endpoint answers with it."""
    now = int(office.clock())
    end = now + int(office.lifetimes.access)
    if grant.until is not None:
        end = min(end, int(grant.until))
    number = handle()[:22]
    claims: dict[str, Any] = {
        "iss": office.url,
        "sub": grant.subject,
        "aud": grant.resource,
        "client_id": grant.client_id,
        "iat": now,
        "exp": end,
        # Its family goes before the point, so that it ends for whoever asks when that does.
        "jti": f"{grant.family}.{number}" if grant.family is not None else number,
    }
    if grant.scopes:
        claims["scope"] = " ".join(grant.scopes)
    if grant.since is not None:
        claims["auth_time"] = int(grant.since)
    if grant.jkt is not None:
        claims["cnf"] = {"jkt": grant.jkt}
    if grant.actor is not None:
        claims["act"] = grant.actor
    return {
        "access_token": office.keys.signing().sign(claims, typ=TYPE),
        "token_type": "Bearer" if grant.jkt is None else "DPoP",
        "expires_in": end - now,
        "scope": " ".join(grant.scopes),
    }


async def living(office: Office, token: str) -> Token | None:
    """One of our own access tokens, if it still is good."""
    try:
        found = verify(token, office.keys.public, algorithms=("ES256",), types=(TYPE,))
        check_times(found, office.clock(), skew=0)
    except BadToken:
        return None
    number = found.text("jti")
    if found.text("iss") != office.url or number is None:
        return None
    if await office.seen.get(f"revoked {number}") is not None:
        return None
    family, point, _ = number.partition(".")
    if point and await office.families.get(family) is None:
        return None
    return found


async def redeem(office: Office, presented: str, client_id: str) -> Code:
    """What a code stands for, once. Whoever presents a code uses it up; presented again it takes
    back what it gave (RFC 6749 § 4.1.2).
    """
    key = fingerprint("code", presented)
    bad = Refused("invalid_grant", "The code is unknown, used, over, or another client's")
    found = await office.codes.find(key)
    if found is None:
        raise bad
    code, version = found
    wish = code.wish
    if not code.used:
        # The family is there before the code is used up: whoever comes second then finds it.
        await office.families.put(code.family, family_from(code), office.lifetimes.access)
        used = structs.replace(code, used=True)
        kept = max(office.lifetimes.access, office.lifetimes.code) * 2
        if await office.codes.put(key, used, kept, version):
            if wish.client_id == client_id and code.until > office.clock():
                return code
            log.warning("a code of client %.100r was presented late or by another", wish.client_id)
            await office.families.take(code.family)
            raise bad
    await office.families.take(code.family)
    log.warning("a code of client %.100r came twice; what it gave is taken back", wish.client_id)
    raise bad


def family_from(code: Code) -> Family:
    """The family that a code begins."""
    return Family(
        client_id=code.wish.client_id,
        subject=code.subject,
        resource=code.wish.resource,
        scopes=code.wish.scopes,
        since=code.since,
    )


async def lasting(office: Office, name: str, jkt: str | None) -> str:
    """Let a family that a code began go on by itself: its first refresh token."""
    for _ in range(TRIES):
        found = await office.families.find(name)
        if found is None:  # Its code came a second time just now.
            raise Refused("invalid_grant", "The code was presented twice")
        token = _sealed(office, name)
        family = structs.replace(found[0], current=_mark(token), jkt=jkt)
        if await office.families.put(name, family, office.lifetimes.refresh, found[1]):
            return token
    raise StoreError("A family of tokens is changed by too many at once")


async def ending(office: Office, name: str) -> None:
    """Let a family that a code began end with its access token."""
    if not await office.families.table.touch(name, office.lifetimes.access):
        raise Refused("invalid_grant", "The code was presented twice")


def family_of(office: Office, token: str) -> str | None:
    """The name of the family that a refresh token is, or was, one of."""
    if len(token) > SIZE_LIMIT:
        return None
    try:
        return office.keys.sealing.open(token, bound=_REFRESH).decode().partition(" ")[0]
    except Unsealed:
        return None


def is_current(family: Family, token: str) -> bool:
    """Whether a refresh token of *family* would still be taken."""
    mark = _mark(token)
    return any(same(mark, good) for good in (family.current, family.previous) if good is not None)


async def rotate(office: Office, name: str, family: Family, version: int, token: str) -> str | None:
    """The refresh token that follows *token*; None if the family was changed meanwhile.

    *token* stays good until what follows was used: a client that dies before it has read the answer
    loses nothing. A token that is older than that is in two hands, and ends the family (RFC 9700
    § 4.14.2); raises `Refused` then.
    """
    mark = _mark(token)
    if not is_current(family, token):
        await office.families.take(name)
        log.warning(
            "a refresh token of client %.100r came again; all of its family are revoked",
            family.client_id,
        )
        raise Refused("invalid_grant", "The refresh token is used, over, revoked, or unknown")
    heir = _sealed(office, name)
    turned = structs.replace(family, current=_mark(heir), previous=mark)
    kept = await office.families.put(name, turned, office.lifetimes.refresh, version)
    return heir if kept else None


def _sealed(office: Office, family: str) -> str:
    # Sealed, so that one of ours is told from one made up however old it is, and nobody who only
    # knows a family's name can end it.
    text = f"{family} {handle()}".encode()
    return office.keys.sealing.seal(text, bound=_REFRESH, ttl=office.lifetimes.refresh)


def _mark(token: str) -> str:
    return fingerprint("refresh", token)
