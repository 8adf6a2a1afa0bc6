"""The token endpoint: what a client gives, and the tokens it gets for it (RFC 6749 § 3.2)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

from interlock.auth.dpop import Proof
from interlock.auth.issuer.assertions import bearer
from interlock.auth.issuer.authenticating import authenticate, comes_alone
from interlock.auth.issuer.clients import Client
from interlock.auth.issuer.exchanging import exchange, id_token
from interlock.auth.issuer.office import OFFLINE, OPENID, Family, Office
from interlock.auth.issuer.proofs import nonce, proven, spend
from interlock.auth.issuer.records import TRIES, same
from interlock.auth.issuer.requests import Form, Request
from interlock.auth.issuer.responses import Refused, Response, answer
from interlock.auth.issuer.tokens import (
    Grant,
    ending,
    family_from,
    family_of,
    issued,
    lasting,
    redeem,
    rotate,
)
from interlock.auth.jwt import letters
from interlock.auth.metadata import (
    CLIENT_CREDENTIALS,
    CODE,
    JWT_BEARER,
    REFRESH,
    TOKEN_EXCHANGE,
)
from interlock.errors import StoreError

GRANTS: Final = (CODE, REFRESH, CLIENT_CREDENTIALS, JWT_BEARER, TOKEN_EXCHANGE)
_VERIFIER: Final = re.compile(r"[A-Za-z0-9\-._~]{43,128}")

_Grant: TypeAlias = Callable[[Office, Client, Form, Proof | None], Awaitable[dict[str, Any]]]


async def token(office: Office, request: Request) -> Response:
    """Answer a request at the token endpoint."""
    form = request.form()
    form.hold()
    kind = form.needed("grant_type")
    if kind not in GRANTS:
        raise Refused("unsupported_grant_type", f"Taken are: {', '.join(GRANTS)}")
    if kind == JWT_BEARER:
        # A workload is no client: its platform's word is all it has.
        alone = comes_alone(request, form)
        client = None if alone else await authenticate(office, request, form)
        if client is not None and JWT_BEARER not in client.grants:
            raise _not_for(kind)
        proof = proven(office, request)
        said = await bearer(office, client, form, proof)
    else:
        client = await authenticate(office, request, form)
        # Whoever has a refresh token was given it, whatever else it registered for.
        if kind != REFRESH and kind not in client.grants:
            raise _not_for(kind)
        proof = proven(office, request)
        said = await _OF_CLIENTS[kind](office, client, form, proof)
    headers = [nonce(office)] if office.dpop_nonces and proof is not None else []
    return answer(said, headers=headers)


def _not_for(kind: str) -> Refused:
    return Refused("unauthorized_client", f"The client may not use the grant {kind}")


async def _code(office: Office, client: Client, form: Form, proof: Proof | None) -> dict[str, Any]:
    presented, redirect_uri = form.needed("code"), form.needed("redirect_uri")
    verifier = form.needed("code_verifier")
    code = await redeem(office, presented, client.id)
    wish = code.wish
    jkt = proof.thumbprint if proof is not None else None
    try:
        if redirect_uri != wish.redirect_uri:
            raise Refused("invalid_grant", "The redirect_uri is not that of the code")
        if not _VERIFIER.fullmatch(verifier) or not same(_challenge(verifier), wish.challenge):
            raise Refused("invalid_grant", "The code_verifier does not fit the code")
        _hold_target(office, form, wish.resource)
        if wish.jkt is not None and wish.jkt != jkt:
            raise Refused("invalid_dpop_proof", "The code is bound to another key")
        await spend(office, proof)
    except Refused:
        # Somebody had the code who had not asked for it.
        await office.families.take(code.family)
        raise
    await office.clients.used(client, office.lifetimes.client)
    grant = Grant(
        subject=code.subject,
        client_id=client.id,
        resource=wish.resource,
        scopes=wish.scopes,
        family=code.family,
        since=code.since,
        jkt=jkt,
    )
    said = issued(office, grant)
    if OPENID in wish.scopes:
        said["id_token"] = id_token(office, code.family, family_from(code), wish.nonce)
    if REFRESH in client.grants or OFFLINE in wish.scopes:
        # A confidential client proves itself anew each time; a public one has its key (§ 5).
        bound = None if client.confidential else jkt
        said["refresh_token"] = await lasting(office, code.family, bound)
    else:
        await ending(office, code.family)
    return said


async def _refresh(
    office: Office, client: Client, form: Form, proof: Proof | None
) -> dict[str, Any]:
    presented = form.needed("refresh_token")
    name = family_of(office, presented)
    for attempt in range(TRIES):
        found = None if name is None else await office.families.find(name)
        # Of a family that another client has, nothing is told, and nothing is ended.
        if found is None or name is None or found[0].client_id != client.id:
            raise Refused("invalid_grant", "The refresh token is used, over, revoked, or unknown")
        family, version = found
        scopes = _narrowed(form.one("scope"), family)
        _hold_target(office, form, family.resource)
        if family.jkt is not None and (proof is None or proof.thumbprint != family.jkt):
            raise Refused("invalid_dpop_proof", "The refresh token is bound to another key")
        if attempt == 0:
            await spend(office, proof)
        heir = await rotate(office, name, family, version, presented)
        if heir is None:
            continue
        await office.clients.used(client, office.lifetimes.client)
        grant = Grant(
            subject=family.subject,
            client_id=client.id,
            resource=family.resource,
            scopes=scopes,
            family=name,
            since=family.since,
            jkt=proof.thumbprint if proof is not None else None,
        )
        said = {**issued(office, grant), "refresh_token": heir}
        if OPENID in scopes:
            said["id_token"] = id_token(office, name, family)
        return said
    raise StoreError("A family of tokens is changed by too many at once")


async def _credentials(
    office: Office, client: Client, form: Form, proof: Proof | None
) -> dict[str, Any]:
    if not client.confidential:
        raise _not_for(CLIENT_CREDENTIALS)
    resource = office.target(form.several("resource"))
    scopes = office.granted(form.one("scope"), resource, client.scopes)
    await spend(office, proof)
    grant = Grant(
        subject=client.id,
        client_id=client.id,
        resource=resource.url,
        scopes=scopes,
        jkt=proof.thumbprint if proof is not None else None,
    )
    return issued(office, grant)


_OF_CLIENTS: Final[Mapping[str, _Grant]] = {
    CODE: _code,
    REFRESH: _refresh,
    CLIENT_CREDENTIALS: _credentials,
    TOKEN_EXCHANGE: exchange,
}


def _challenge(verifier: str) -> str:
    return letters(hashlib.sha256(verifier.encode()).digest())


def _narrowed(asked: str | None, family: Family) -> tuple[str, ...]:
    if asked is None:
        return family.scopes
    wanted = set(asked.split())
    if not wanted <= set(family.scopes):
        raise Refused("invalid_scope", "A refresh gets no more than was allowed before")
    return tuple(sorted(wanted))


def _hold_target(office: Office, form: Form, resource: str) -> None:
    """Raise `Refused` if a request names another resource than the one it was allowed."""
    named = form.several("resource")
    if named and (len(named) > 1 or not office.names(resource, named[0])):
        raise Refused("invalid_target", "The resource is not the one that was allowed")
