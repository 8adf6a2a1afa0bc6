"""Clients that register themselves (RFC 7591): anybody may, so they get little, and are forgotten
unless a person lets them in.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from interlock.auth.issuer.clients import REDIRECTS, Client, given_keys, is_native, shown
from interlock.auth.issuer.office import Office
from interlock.auth.issuer.records import fingerprint, handle
from interlock.auth.issuer.redirects import fault
from interlock.auth.issuer.requests import Request
from interlock.auth.issuer.responses import Refused, Response, answer
from interlock.auth.jwt import BadToken
from interlock.auth.metadata import CODE, REFRESH, ClientAuth, ClientMetadata

BODY_LIMIT: Final = 16 * 1024
AT_MOST: Final = 10_000
"""Clients that may be registered at the same time."""
_METHODS: Final[dict[str, ClientAuth]] = {
    "none": "none",
    "client_secret_basic": "client_secret_basic",
    "client_secret_post": "client_secret_post",
    "private_key_jwt": "private_key_jwt",
}


async def register(office: Office, request: Request) -> Response:
    """Make a client of what it says of itself; no more of that is kept than is used."""
    said = _read(request)
    if said.application_type not in ("native", "web", None):
        raise _bad("application_type is native or web")
    native = is_native(said)
    if not 1 <= len(said.redirect_uris) <= REDIRECTS:
        raise Refused("invalid_redirect_uri", f"1 to {REDIRECTS} redirect URIs are expected")
    for uri in said.redirect_uris:
        if (why := fault(uri, native=native, schemes=office.clients.schemes)) is not None:
            raise Refused("invalid_redirect_uri", why)
    grants = tuple(each for each in (CODE, REFRESH) if each in (said.grant_types or [CODE]))
    if CODE not in grants:
        raise _bad(f"Who registers itself may use {CODE} and {REFRESH}, and needs the first")
    if "code" not in (said.response_types or ["code"]):
        raise _bad("response_types must contain code")
    method = _METHODS.get(said.token_endpoint_auth_method or "client_secret_basic")
    if method is None:
        raise _bad(f"token_endpoint_auth_method is one of {', '.join(_METHODS)}")
    secret = handle() if method.startswith("client_secret") else None
    client = Client(
        id=handle()[:22],
        name=shown(said.client_name or ""),
        redirect_uris=tuple(said.redirect_uris),
        grants=grants,
        auth=method,
        secret_hash=fingerprint("secret", secret) if secret is not None else None,
        keys=_keys(said, method),
        native=native,
        origin="registered",
    )
    if await office.clients.registered.table.count() >= AT_MOST:
        raise Refused(
            "temporarily_unavailable",
            "Too many clients are registered here; try again later, or use a client id that is the "
            "URL of a document",
            503,
        )
    await office.clients.registered.put(client.id, client, office.lifetimes.idle_client, 0)
    return answer(_told(office, client, secret), 201)


def _read(request: Request) -> ClientMetadata:
    if request.media_type != "application/json":
        raise _bad("The Content-Type must be application/json")
    if len(request.body) > BODY_LIMIT:
        raise Refused("invalid_client_metadata", f"At most {BODY_LIMIT} bytes are taken", 413)
    try:
        fields = msgspec.json.decode(request.body, type=dict[str, Any])
        present = {name: value for name, value in fields.items() if value is not None}
        return msgspec.convert(present, ClientMetadata)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise _bad("A JSON object of client metadata is expected (RFC 7591)") from None


def _keys(said: ClientMetadata, method: ClientAuth) -> tuple[dict[str, Any], ...]:
    if method != "private_key_jwt":
        return ()
    try:
        keys = given_keys(said)
    except BadToken as error:
        raise _bad(str(error)) from None
    if not keys:
        raise _bad("private_key_jwt needs the client's public keys in jwks")
    return keys


def _told(office: Office, client: Client, secret: str | None) -> dict[str, Any]:
    said: dict[str, Any] = {
        "client_id": client.id,
        "client_id_issued_at": int(office.clock()),
        "redirect_uris": client.redirect_uris,
        "grant_types": client.grants,
        "response_types": ["code"],
        "token_endpoint_auth_method": client.auth,
        "application_type": "native" if client.native else "web",
    }
    if client.name:
        said["client_name"] = client.name
    if secret is not None:
        said |= {"client_secret": secret, "client_secret_expires_at": 0}
    if client.keys:
        said["jwks"] = {"keys": client.keys}
    return said


def _bad(why: str) -> Refused:
    return Refused("invalid_client_metadata", why)
