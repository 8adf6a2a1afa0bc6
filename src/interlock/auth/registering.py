"""Who we are at an authorization server: known to it beforehand, by a document, or registered now.

In the order of the specification (2026-07-28 § Client Registration). What one issuer knows us by is
never shown to another.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from interlock.auth.jwt import SigningKey
from interlock.auth.metadata import (
    CODE,
    REFRESH,
    AuthorizationServer,
    ClientAuth,
    ClientMetadata,
    Registered,
    chosen_auth,
    is_loopback,
    read_registered,
)
from interlock.auth.requesting import refused, unreached
from interlock.auth.steps import Answer, Conversation, Fetch
from interlock.errors import AuthorizationFailed, ConfigError

SOFTWARE: Final = "interlock"
_NAME: Final = re.compile(r"[\x20-\x7e]{1,2048}")
_SECRET: Final = re.compile(r"[\x20-\x7e]{1,4096}")


class Identity(Struct, frozen=True):
    """What a client can say of itself to an authorization server.

    *known* is a client that was registered by hand; with *issuer* it is that issuer's alone.
    *document* is the https URL of a client metadata document, which is then the client's id. *key*
    signs what proves us, where that is done by assertions.
    """

    name: str = "Interlock"
    known: Registered | None = None
    issuer: str | None = None
    document: str | None = None
    key: SigningKey | None = None

    def __post_init__(self) -> None:
        if self.document is not None:
            try:
                parts = urlsplit(self.document)
                usable = parts.scheme == "https" and parts.path not in ("", "/")
            except ValueError:
                usable = False
            if not usable or "#" in self.document:
                raise ConfigError(
                    f"{self.document!r} cannot be a client's id: the https URL of its document, with "
                    "a path, is expected"
                )


class Standing(Struct, frozen=True):
    """Who we are at one issuer, and how we prove it there. *fresh* is whether that is new."""

    client: Registered
    method: ClientAuth
    fresh: bool = False


def stand(
    server: AuthorizationServer,
    identity: Identity,
    redirect_uri: str,
    *,
    before: Registered | None = None,
    now: float,
) -> Conversation[Standing]:
    """Who *identity* is at *server*; *before* is what an earlier registration there came to."""
    if (standing := known(server, identity)) is not None:
        return standing
    if identity.document is not None and server.client_id_metadata_document_supported:
        method: ClientAuth = "private_key_jwt" if identity.key is not None else "none"
        return Standing(Registered(identity.document), method)
    if before is not None and _still_good(before, redirect_uri, now):
        return Standing(before, _method(server, before))
    if server.registration_endpoint is None:
        raise AuthorizationFailed(
            f"{server.issuer} registers no clients by itself: register one there by hand, with the "
            f"redirect URI {redirect_uri}, and give its client id"
        )
    registered = yield from _register(server, server.registration_endpoint, identity, redirect_uri)
    return Standing(registered, _method(server, registered), fresh=True)


def known(server: AuthorizationServer, identity: Identity) -> Standing | None:
    """Who we are where we were registered by hand; raises if that was at somebody else's."""
    if identity.known is None:
        return None
    if identity.issuer is not None and identity.issuer != server.issuer:
        raise AuthorizationFailed(
            f"The client {identity.known.client_id!r} is registered at {identity.issuer}, and the "
            f"server wants tokens of {server.issuer}; it is not used there"
        )
    return Standing(identity.known, _method(server, identity.known, identity.key))


def _check(registered: Registered, endpoint: str, redirect_uri: str) -> None:
    """Raise unless what came is a client of ours, in the letters that RFC 6749 has for one."""
    if not _NAME.fullmatch(registered.client_id):
        raise AuthorizationFailed(f"{endpoint} gave a client id that cannot be used")
    if registered.client_secret and not _SECRET.fullmatch(registered.client_secret):
        raise AuthorizationFailed(f"{endpoint} gave a client secret that cannot be used")
    if registered.redirect_uris is not None and redirect_uri not in registered.redirect_uris:
        raise AuthorizationFailed(
            f"{endpoint} registered this client for other redirect URIs than {redirect_uri}, which "
            "a login would not come back to; register one there by hand, and give its client id"
        )


def _method(
    server: AuthorizationServer, client: Registered, key: SigningKey | None = None
) -> ClientAuth:
    return chosen_auth(
        server.token_endpoint_auth_methods_supported,
        secret=bool(client.client_secret),
        key=key is not None,
        told=client.token_endpoint_auth_method,
    )


def _still_good(before: Registered, redirect_uri: str, now: float) -> bool:
    expires = before.client_secret_expires_at
    if before.client_secret and expires and expires <= now:
        return False
    return before.redirect_uris is None or redirect_uri in before.redirect_uris


def _register(
    server: AuthorizationServer, endpoint: str, identity: Identity, redirect_uri: str
) -> Conversation[Registered]:
    """Register by RFC 7591, as the kind of application that our redirect URI makes us."""
    offered = server.token_endpoint_auth_methods_supported
    method = "none"
    if offered is None:
        method = "client_secret_basic"
    elif "none" not in offered:
        usable = [each for each in ("client_secret_post", "client_secret_basic") if each in offered]
        if not usable:
            raise AuthorizationFailed(
                f"{server.issuer} takes none of the ways in which a registered client can prove "
                f"itself here; it takes {', '.join(offered)[:200]}"
            )
        method = usable[0]
    native = is_loopback(redirect_uri) or not redirect_uri.startswith("https://")
    metadata = ClientMetadata(
        client_name=identity.name,
        redirect_uris=[redirect_uri],
        grant_types=[CODE, REFRESH],
        response_types=["code"],
        token_endpoint_auth_method=method,
        application_type="native" if native else "web",
        software_id=SOFTWARE,
    )
    headers = {"accept": "application/json", "content-type": "application/json"}
    answer = yield Fetch("POST", endpoint, headers, msgspec.json.encode(metadata))
    assert isinstance(answer, Answer)
    if answer.status == 0:
        raise unreached(endpoint, answer)
    if answer.status not in (200, 201):
        error = refused(endpoint, answer, [])
        raise AuthorizationFailed(
            f"{error}. It registers no client like this one: register one by hand, with the "
            f"redirect URI {redirect_uri}, and give its client id",
            error.error,
        )
    registered = read_registered(answer.body, endpoint)
    _check(registered, endpoint, redirect_uri)
    if registered.token_endpoint_auth_method is None and registered.client_secret is None:
        registered = msgspec.structs.replace(registered, token_endpoint_auth_method="none")
    return msgspec.structs.replace(registered, redirect_uris=[redirect_uri])
