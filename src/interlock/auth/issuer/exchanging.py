"""A token for another one (RFC 8693): an access token for a narrower one, or, where this issuer is
the identity provider of others, an ID token for an assertion that they take (ID-JAG).
"""

from __future__ import annotations

from typing import Any, Final

from interlock.auth.dpop import Proof, bound_to
from interlock.auth.issuer.assertions import JAG
from interlock.auth.issuer.clients import Client
from interlock.auth.issuer.office import Family, Office
from interlock.auth.issuer.proofs import spend
from interlock.auth.issuer.records import handle
from interlock.auth.issuer.requests import Form
from interlock.auth.issuer.responses import Refused
from interlock.auth.issuer.tokens import Grant, issued, living
from interlock.auth.jwt import BadToken, Token, check_times, verify
from interlock.auth.metadata import ACCESS_TOKEN, ID_JAG, ID_TOKEN

JAG_SECONDS: Final = 300
ACTORS: Final = 4
"""How many may act one for another."""


async def exchange(
    office: Office, client: Client, form: Form, proof: Proof | None
) -> dict[str, Any]:
    if not client.confidential:
        raise Refused("unauthorized_client", "A client that exchanges tokens must prove itself")
    if form.one("actor_token") is not None:
        raise Refused("invalid_request", "The client is the actor; an actor_token is not taken")
    subject = form.needed("subject_token")
    kinds = form.needed("subject_token_type"), form.one("requested_token_type") or ACCESS_TOKEN
    if kinds == (ACCESS_TOKEN, ACCESS_TOKEN):
        return await _narrower(office, client, form, proof, subject)
    if kinds == (ID_TOKEN, ID_JAG) and office.downstream:
        return await _assertion(office, client, form, subject)
    raise Refused("invalid_request", "These types of tokens are not exchanged here")


async def _narrower(
    office: Office, client: Client, form: Form, proof: Proof | None, subject: str
) -> dict[str, Any]:
    found = await living(office, subject)
    mine = found is not None and found.text("client_id") == client.id
    # Sent to it: it is the resource that the token was made for, and acts for its caller.
    sent = found is not None and client.resource is not None and client.resource in found.audiences
    if found is None or not (mine or sent):
        raise Refused("invalid_request", "The subject_token is over, or not this client's to use")
    bound = bound_to(found)
    if mine and bound is not None and (proof is None or proof.thumbprint != bound):
        raise Refused("invalid_dpop_proof", "The subject_token is bound to another key")
    resource = office.target(form.several("resource") or form.several("audience"))
    if resource.url not in found.audiences and resource.url not in client.targets:
        # A person allowed the one; whoever runs this says which others go with it.
        raise Refused("invalid_target", "The client may not exchange tokens for that resource")
    most = found.scopes if client.scopes is None else found.scopes & client.scopes
    asked = form.one("scope") or " ".join(sorted(found.scopes)) or None
    scopes = office.granted(asked, resource, most)
    if resource.scopes and not scopes:
        raise Refused("invalid_scope", "The subject_token allows nothing that is offered there")
    await spend(office, proof)
    family, point, _ = (found.text("jti") or "").partition(".")
    actor: dict[str, Any] | None = found.claims.get("act")
    grant = Grant(
        subject=found.text("sub") or "",
        client_id=client.id,
        resource=resource.url,
        scopes=scopes,
        family=family if point else None,
        since=found.number("auth_time"),
        jkt=proof.thumbprint if proof is not None else None,
        until=found.number("exp"),
        actor=actor if mine else _acting(client, actor),
    )
    return {**issued(office, grant), "issued_token_type": ACCESS_TOKEN}


def _acting(client: Client, before: dict[str, Any] | None) -> dict[str, Any]:
    depth, each = 1, before
    while each is not None:
        depth, each = depth + 1, each.get("act")
    if depth > ACTORS:
        raise Refused("invalid_request", f"More than {ACTORS} would act one for another")
    return {"sub": client.id, **({"act": before} if before is not None else {})}


def id_token(office: Office, name: str, family: Family, nonce: str | None = None) -> str:
    """What a client learns of the person who let it in (OpenID Connect Core § 2)."""
    now = int(office.clock())
    person = office.people.named(family.subject)
    claims: dict[str, Any] = {
        "iss": office.url,
        "sub": family.subject,
        "aud": family.client_id,
        "iat": now,
        "exp": now + int(office.lifetimes.access),
        "auth_time": int(family.since),
        "jti": f"{name}.{handle()[:22]}",
    }
    if person is not None:
        claims["name"] = person.name
    if nonce is not None:
        claims["nonce"] = nonce
    return office.keys.signing().sign(claims, typ="JWT")


async def _assertion(office: Office, client: Client, form: Form, subject: str) -> dict[str, Any]:
    found = await _identity(office, client, subject)
    audience, resource = form.needed("audience"), form.needed("resource")
    there = office.downstream.get(audience)
    if there is None or resource not in there.resources:
        raise Refused("invalid_target", "That server or resource is not served with assertions")
    scopes = sorted(set((form.one("scope") or "").split()) & there.scopes)
    now = int(office.clock())
    claims: dict[str, Any] = {
        "iss": office.url,
        "sub": found.text("sub"),
        "aud": there.issuer,
        "client_id": there.clients.get(client.id, client.id),
        "resource": resource,
        "iat": now,
        "exp": now + JAG_SECONDS,
        "jti": handle(),
        "auth_time": found.claims.get("auth_time"),
        "scope": " ".join(scopes),
    }
    return {
        "access_token": office.keys.signing().sign(claims, typ=JAG),
        "issued_token_type": ID_JAG,
        "token_type": "N_A",
        "expires_in": JAG_SECONDS,
        "scope": " ".join(scopes),
    }


async def _identity(office: Office, client: Client, token: str) -> Token:
    """An ID token of ours, if it was made for *client* and what it came with is not revoked."""
    try:
        found = verify(token, office.keys.public, algorithms=("ES256",), types=("jwt",))
        check_times(found, office.clock(), skew=0)
    except BadToken as error:
        raise Refused("invalid_request", f"The subject_token does not hold. {error}") from None
    family = (found.text("jti") or "").partition(".")[0]
    if (
        found.text("iss") != office.url
        or found.audiences != (client.id,)
        or await office.families.get(family) is None
    ):
        raise Refused("invalid_request", "The subject_token is over, or not this client's to use")
    return found
