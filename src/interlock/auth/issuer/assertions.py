"""Tokens for somebody else's word (RFC 7523 § 2.1): of an identity provider about its users, or of a
platform about the workloads that run on it.
"""

from __future__ import annotations

from typing import Any, Final

from interlock.auth.dpop import Proof
from interlock.auth.issuer.clients import Client
from interlock.auth.issuer.office import Office
from interlock.auth.issuer.proofs import spend
from interlock.auth.issuer.requests import Form
from interlock.auth.issuer.responses import Refused
from interlock.auth.issuer.settings import DAY, Resource, Trusted, account
from interlock.auth.issuer.tokens import Grant, issued
from interlock.auth.jwt import BadToken, Token, check_times, peek

JAG: Final = "oauth-id-jag+jwt"
JAG_MOST: Final = 3600.0
WORKLOAD_MOST: Final = DAY
"""Seconds ahead that an assertion may end."""
SKEW: Final = 60.0


async def bearer(
    office: Office, client: Client | None, form: Form, proof: Proof | None
) -> dict[str, Any]:
    """The answer to an assertion that *client* brings, or that comes without one."""
    assertion = form.needed("assertion")
    try:
        said = peek(assertion)
        trusted = office.trusted.get(said.text("iss") or "")
        if trusted is None:
            raise BadToken("Its issuer is not trusted here")
        kind = str(said.header.get("typ", "")).lower().removeprefix("application/")
        if kind == JAG:
            return await _for_person(office, client, form, proof, trusted, assertion)
        return await _for_workload(office, client, form, proof, trusted, assertion)
    except BadToken as error:
        raise Refused("invalid_grant", f"The assertion does not hold. {error}") from None


async def _for_person(
    office: Office,
    client: Client | None,
    form: Form,
    proof: Proof | None,
    trusted: Trusted,
    assertion: str,
) -> dict[str, Any]:
    """An ID-JAG: the identity provider lets a client act for one of its users."""
    if client is None or not client.confidential:
        raise Refused("invalid_client", "A client that brings an ID-JAG must prove itself", 401)
    if not trusted.people:
        raise BadToken("Its issuer may not speak for people here")
    found = await office.remote.verify(assertion, trusted.keys, trusted.jwks_uri, (JAG,))
    end = _held(office, found, JAG_MOST)
    if found.text("client_id") != client.id:
        raise BadToken("It was made for another client")
    resource = _target(office, form, found)
    scopes = office.granted(form.one("scope"), resource, client.scopes)
    if "scope" in found.claims:
        scopes = tuple(scope for scope in scopes if scope in found.scopes)
        if not scopes and resource.scopes:
            raise Refused("invalid_scope", "The assertion allows none of these scopes")
    subject = trusted.subject(found)
    if subject is None:
        raise BadToken("Its subject has no account here")
    number = found.text("jti")
    if number is None or "iat" not in found.claims:
        raise BadToken("It has no id (jti) or no time (iat)")
    ttl = end - office.clock() + 2 * SKEW
    if not await office.once("jag", trusted.issuer, number, ttl=ttl):
        raise BadToken("It came before")
    return await _granted(office, proof, subject, client.id, resource, scopes)


async def _for_workload(
    office: Office,
    client: Client | None,
    form: Form,
    proof: Proof | None,
    trusted: Trusted,
    assertion: str,
) -> dict[str, Any]:
    """A platform says which workload this is. Its word may come again as long as it is good: a
    platform writes it to a file, and the workload reads it whenever it needs a token.
    """
    if client is not None:
        raise Refused("unauthorized_client", "A workload's assertion comes without a client")
    found = await office.remote.verify(assertion, trusted.keys, trusted.jwks_uri, ("", "jwt"))
    end = _held(office, found, WORKLOAD_MOST)
    allowed = trusted.workloads.get(found.text("sub") or "")
    if allowed is None:
        raise BadToken("Its subject is no workload that is known here")
    resource = office.target(form.several("resource"))
    scopes = office.granted(form.one("scope"), resource, allowed)
    name = account(found)
    return await _granted(office, proof, name, name, resource, scopes, end)


async def _granted(
    office: Office,
    proof: Proof | None,
    subject: str,
    client_id: str,
    resource: Resource,
    scopes: tuple[str, ...],
    until: float | None = None,
) -> dict[str, Any]:
    await spend(office, proof)
    grant = Grant(
        subject=subject,
        client_id=client_id,
        resource=resource.url,
        scopes=scopes,
        jkt=proof.thumbprint if proof is not None else None,
        until=until,
    )
    return issued(office, grant)


def _held(office: Office, found: Token, most: float) -> float:
    """When an assertion ends, if it is meant for us and not over."""
    now = office.clock()
    # None of the time that clocks may differ by: what it leads to would be over already.
    check_times(found, now, skew=0 if most == WORKLOAD_MOST else SKEW)
    if found.audiences != (office.url,):
        raise BadToken("It is meant for another server, or for several; aud must be this issuer")
    if not found.text("sub"):
        raise BadToken("It has no subject (sub)")
    end = found.number("exp") or 0.0
    if end > now + most:
        raise BadToken("It is good for too long")
    return end


def _target(office: Office, form: Form, found: Token) -> Resource:
    """The resource that an ID-JAG is about; a request may name the same once more."""
    named = form.several("resource")
    claim = found.claims.get("resource")
    if claim is None:
        return office.target(named)
    if not isinstance(claim, str):
        raise BadToken("It must name one resource")
    resource = office.resource(claim)
    if named and (len(named) > 1 or not office.names(resource.url, named[0])):
        raise Refused("invalid_target", "The resource is not the one the assertion names")
    return resource
