"""How clients prove themselves at the endpoints they call (RFC 6749 § 2.3, RFC 7523 § 3)."""

from __future__ import annotations

import base64
import binascii
from typing import Final
from urllib.parse import unquote_plus

from interlock.auth.challenge import written
from interlock.auth.issuer.clients import Client
from interlock.auth.issuer.office import Office
from interlock.auth.issuer.records import fingerprint, same
from interlock.auth.issuer.requests import Form, Request
from interlock.auth.issuer.responses import Refused
from interlock.auth.jwt import BadToken, check_times, peek
from interlock.auth.metadata import ASSERTION_TYPE

ASSERTION_MOST: Final = 3600.0
"""Seconds ahead that an assertion may end."""
SKEW: Final = 60.0
_CREDENTIALS: Final = ("client_id", "client_secret", "client_assertion", "client_assertion_type")


def comes_alone(request: Request, form: Form) -> bool:
    """Whether a request says nothing of a client."""
    return request.header("authorization") is None and not any(
        form.one(name) for name in _CREDENTIALS
    )


async def authenticate(office: Office, request: Request, form: Form) -> Client:
    """The client that sent *request*. Raises `Refused`: `invalid_client` if it did not prove it."""
    header = request.header("authorization")
    secret = form.one("client_secret")
    assertion = form.one("client_assertion")
    if sum(each is not None for each in (header, secret, assertion)) > 1:
        raise Refused("invalid_request", "A client proves itself in one way, not in several")
    if header is not None:
        return await _by_secret(office, *_basic(office, header, form.one("client_id")))
    if assertion is not None:
        return await _by_key(office, form, assertion)
    if secret is not None:
        return await _by_secret(office, form.needed("client_id"), secret)
    client = await office.clients.find(form.needed("client_id"))
    if client is None or client.confidential:
        raise _unproven(office)
    return client


def _unproven(office: Office) -> Refused:
    # Which of the two it was, the client or its proof, is not told.
    challenge = written("Basic", {"realm": office.url, "charset": "UTF-8"})
    return Refused(
        "invalid_client",
        "The client is unknown, or did not prove itself as it registered to",
        401,
        [(b"www-authenticate", challenge.encode("latin-1"))],
    )


def _basic(office: Office, header: str, named: str | None) -> tuple[str, str]:
    scheme, _, blob = header.partition(" ")
    try:
        if scheme.lower() != "basic":
            raise ValueError
        pair = base64.b64decode(blob.strip(), validate=True).decode()
        name, colon, secret = (unquote_plus(part, errors="strict") for part in pair.partition(":"))
        if not colon:
            raise ValueError
    except (binascii.Error, ValueError):
        raise _unproven(office) from None
    if named is not None and named != name:
        raise Refused("invalid_request", "The client_id is not that of the Authorization header")
    return name, secret


async def _by_secret(office: Office, id: str, secret: str) -> Client:
    client = await office.clients.find(id)
    kept = client.secret_hash if client is not None else None
    # Compared with something in any case: the time does not tell which clients there are.
    good = same(fingerprint("secret", secret), kept or fingerprint("nobody"))
    if client is None or kept is None or not good:
        raise _unproven(office)
    return client


async def _by_key(office: Office, form: Form, assertion: str) -> Client:
    if form.one("client_assertion_type") != ASSERTION_TYPE:
        raise Refused("invalid_request", f"client_assertion_type must be {ASSERTION_TYPE}")
    try:
        name = peek(assertion).text("iss")
        if name is None or form.one("client_id") not in (name, None):
            raise BadToken("It is not the assertion of that client")
        client = await office.clients.find(name)
        if client is None or client.auth != "private_key_jwt":
            raise _unproven(office)
        # Tokens of other kinds name their kind; none of them is a client's proof.
        types = ("", "jwt", "client-authentication+jwt")
        found = await office.remote.verify(assertion, client.keys, client.jwks_uri, types)
        now = office.clock()
        check_times(found, now, skew=SKEW)
        end = found.number("exp") or 0.0
        if found.text("sub") != name:
            raise BadToken("Its subject is not its client")
        if len(found.audiences) != 1 or found.audiences[0] not in (
            office.url,
            office.place("token"),
        ):
            raise BadToken("It is meant for another server")
        number = found.text("jti")
        if end > now + ASSERTION_MOST or not number:
            raise BadToken("It is good for too long, or has no id (jti)")
        if not await office.once("assertion", name, number, ttl=end - now + 2 * SKEW):
            raise BadToken("It came before")
    except BadToken as error:
        refused = _unproven(office)
        raise Refused(
            "invalid_client", f"The assertion does not hold. {error}", 401, refused.headers
        ) from None
    return client
