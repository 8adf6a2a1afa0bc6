"""Who may ask for tokens: clients given in code, clients that registered themselves, and clients
whose id is the URL of a document about them.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct, structs

from interlock.auth.issuer.records import Records, fingerprint
from interlock.auth.issuer.redirects import fault, is_loopback
from interlock.auth.issuer.remote import Remote, public_keys
from interlock.auth.issuer.responses import Refused
from interlock.auth.jwt import BadToken, is_private
from interlock.auth.metadata import (
    CODE,
    JWT_BEARER,
    REFRESH,
    ClientAuth,
    ClientMetadata,
    read_client,
)
from interlock.errors import AuthorizationFailed, ConfigError

REDIRECTS: Final = 32
"""Redirect URIs that one client may have."""
NAME_LIMIT: Final = 80
ID_LIMIT: Final = 2048
SECRET_LEAST: Final = 16
_INVISIBLE: Final = ("Cc", "Cf", "Co", "Cs", "Zl", "Zp")


class Client(Struct, frozen=True, kw_only=True):
    """A client as it is known here. *scopes* are the most it gets, None for all that is offered;
    one that is a server with tokens made for it names its *resource*, and may look into them.
    """

    id: str
    name: str = ""
    redirect_uris: tuple[str, ...] = ()
    grants: tuple[str, ...] = (CODE, REFRESH)
    auth: ClientAuth = "none"
    secret_hash: str | None = None
    keys: tuple[dict[str, Any], ...] = ()
    jwks_uri: str | None = None
    scopes: frozenset[str] | None = None
    native: bool = True
    origin: Literal["known", "document", "registered"] = "known"
    resource: str | None = None
    targets: frozenset[str] = frozenset()
    """Resources that it may exchange tokens for (RFC 8693)."""

    def __post_init__(self) -> None:
        if self.auth == "private_key_jwt" and not self.keys and self.jwks_uri is None:
            raise ConfigError(f"The client {self.id!r} proves itself with keys that are not given")

    def __repr__(self) -> str:
        return f"Client({self.id!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("id", self.id)]

    @property
    def confidential(self) -> bool:
        return self.auth != "none"

    def with_secret(self, secret: str) -> Client:
        """The same client, proving itself with *secret*, of which a fingerprint is kept."""
        if len(secret) < SECRET_LEAST:
            raise ConfigError(f"The secret of {self.id!r} is short; {SECRET_LEAST} characters are")
        return structs.replace(
            self, auth="client_secret_basic", secret_hash=fingerprint("secret", secret)
        )


class Clients:
    """All clients. *trusts* says of a host whether documents on it make clients; None that no
    documents do.
    """

    def __init__(
        self,
        known: Iterable[Client],
        registered: Records[Client],
        remote: Remote,
        *,
        trusts: Callable[[str], bool] | None = None,
        schemes: frozenset[str] = frozenset(),
    ) -> None:
        self.registered = registered
        self.schemes = schemes
        self._known = {client.id: client for client in known}
        for client in self._known.values():
            for uri in client.redirect_uris:
                if (why := fault(uri, native=True, schemes=schemes)) is not None:
                    raise ConfigError(f"The client {client.id!r} cannot have {uri!r}: {why}")
        self._remote = remote
        self._trusts = trusts

    async def find(self, id: str) -> Client | None:
        """The client with that id. Raises `Refused` if its document cannot be used."""
        if len(id) > ID_LIMIT:
            return None
        if (known := self._known.get(id)) is not None:
            return known
        if id.startswith("https://"):
            return await self._documented(id)
        return await self.registered.get(id)

    async def used(self, client: Client, ttl: float) -> None:
        """Keep one that registered itself: somebody let it in."""
        if client.origin == "registered":
            await self.registered.table.touch(client.id, ttl)

    async def _documented(self, id: str) -> Client | None:
        if self._trusts is None or not _is_document(id):
            return None
        if not self._trusts(urlsplit(id).hostname or ""):
            raise Refused("invalid_client", "Clients of that host are not taken here", 401)
        try:
            found = read_client(await self._remote.get(id), id)
            return _described(id, found, self.schemes)
        except (AuthorizationFailed, BadToken):
            raise Refused(
                "invalid_client",
                "The document that the client_id points to is not to be had, or is about another",
                401,
            ) from None


def _is_document(id: str) -> bool:
    """Whether an id has the form of a document's URL (Client ID Metadata Document § 3)."""
    try:
        parts = urlsplit(id)
        _ = parts.port
    except ValueError:
        return False
    steps = parts.path.split("/")
    return (
        bool(parts.hostname)
        and parts.path not in ("", "/")
        and "#" not in id
        and "@" not in parts.netloc
        and not {".", ".."} & set(steps)
        and all("!" <= character <= "~" for character in id)
        and "\\" not in id
    )


def _described(id: str, document: ClientMetadata, schemes: frozenset[str]) -> Client:
    method = document.token_endpoint_auth_method or "none"
    if method not in ("none", "private_key_jwt"):
        # A secret that is published is none.
        raise AuthorizationFailed("The document names a way to prove itself that it cannot have")
    keys = given_keys(document)
    if method == "private_key_jwt" and not keys and not _is_https(document.jwks_uri):
        raise AuthorizationFailed("The document names no keys")
    native = is_native(document)
    uris = tuple(
        uri
        for uri in document.redirect_uris[:REDIRECTS]
        if fault(uri, native=native, schemes=schemes) is None
    )
    if not uris:
        raise AuthorizationFailed("The document names no redirect URI that can be used")
    return Client(
        id=id,
        name=shown(document.client_name or "") or (urlsplit(id).hostname or id),
        redirect_uris=uris,
        grants=tuple({CODE, REFRESH, JWT_BEARER} & set(document.grant_types or (CODE,))),
        auth="private_key_jwt" if method == "private_key_jwt" else "none",
        keys=keys,
        jwks_uri=document.jwks_uri if not keys and _is_https(document.jwks_uri) else None,
        native=native,
        origin="document",
    )


def given_keys(document: ClientMetadata) -> tuple[dict[str, Any], ...]:
    """The keys that a client gave along; raises `BadToken` if one of them is private."""
    if document.jwks is None:
        return ()
    keys = public_keys(msgspec.json.encode(document.jwks))
    if any(is_private(key) for key in keys):
        raise BadToken("The client gives a private key away")
    return tuple(dict(key) for key in keys)


def is_native(document: ClientMetadata) -> bool:
    """Whether a client runs on its person's machine. Many do not say so, and show it."""
    if document.application_type is not None:
        return document.application_type == "native"
    return any(is_loopback(uri) or not uri.startswith("http") for uri in document.redirect_uris)


def shown(name: str) -> str:
    """A name that somebody gave himself, fit to be shown: one line, nothing invisible, not long."""
    plain = "".join(
        " " if character.isspace() else character
        for character in name[: 10 * NAME_LIMIT]
        if character.isspace() or unicodedata.category(character) not in _INVISIBLE
    )
    plain = " ".join(plain.split())
    return plain if len(plain) <= NAME_LIMIT else plain[: NAME_LIMIT - 1] + "…"


def _is_https(url: str | None) -> bool:
    return url is not None and url.startswith("https://") and len(url) <= ID_LIMIT
