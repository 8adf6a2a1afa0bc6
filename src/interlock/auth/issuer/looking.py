"""Tokens looked into (RFC 7662), and given back (RFC 7009)."""

from __future__ import annotations

from typing import Any, Final

from interlock.auth.dpop import bound_to
from interlock.auth.issuer.authenticating import authenticate
from interlock.auth.issuer.clients import Client
from interlock.auth.issuer.office import Office
from interlock.auth.issuer.requests import Request
from interlock.auth.issuer.responses import Refused, Response, answer
from interlock.auth.issuer.tokens import family_of, is_current, living

_TOLD: Final = ("iss", "sub", "aud", "client_id", "scope", "iat", "exp", "jti", "auth_time", "cnf")


async def introspect(office: Office, request: Request) -> Response:
    """What a token is good for, told to whom it was made by and whom it was made for."""
    form = request.form()
    form.hold()
    client = await authenticate(office, request, form)
    if not client.confidential:
        raise Refused("invalid_client", "Who looks into tokens must prove itself", 401)
    token = form.needed("token")
    return answer(await _seen(office, client, token) or {"active": False})


async def _seen(office: Office, client: Client, token: str) -> dict[str, Any] | None:
    found = await living(office, token)
    if found is not None:
        ours = client.resource is not None and client.resource in found.audiences
        if not ours and found.text("client_id") != client.id:
            return None
        claims = {name: found.claims[name] for name in _TOLD if name in found.claims}
        kind = "Bearer" if bound_to(found) is None else "DPoP"
        return {"active": True, "token_type": kind, **claims}
    name = family_of(office, token)
    family = None if name is None else await office.families.get(name)
    if family is None or family.client_id != client.id or not is_current(family, token):
        return None
    return {
        "active": True,
        "iss": office.url,
        "sub": family.subject,
        "client_id": family.client_id,
        "aud": family.resource,
        "scope": " ".join(family.scopes),
    }


async def revoke(office: Office, request: Request) -> Response:
    """End a token: a refresh token with all that came of it, an access token alone.

    What is no token, or another client's, is answered the same.
    """
    form = request.form()
    form.hold()
    client = await authenticate(office, request, form)
    token = form.needed("token")
    name = family_of(office, token)
    if name is not None:
        family = await office.families.get(name)
        if family is not None and family.client_id == client.id:
            await office.families.take(name)
        return answer({})
    found = await living(office, token)
    if found is not None and found.text("client_id") == client.id:
        left = (found.number("exp") or 0) - office.clock()
        await office.seen.put(f"revoked {found.text('jti')}", b"", ttl=max(left, 1.0))
    return answer({})
