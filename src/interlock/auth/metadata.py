"""What the parties of OAuth publish about themselves, where it stands, and what in it must agree.

Protected resources (RFC 9728), authorization servers (RFC 8414 and OpenID Discovery), clients (RFC
7591, and documents that a client's id points to). Read tolerantly, except where safety hangs on it:
identifiers are compared as they were written, character by character, and never parsed anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, TypeAlias, TypeVar
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from interlock.errors import AuthorizationFailed, ConfigError

RESOURCE_PATH: Final = "/.well-known/oauth-protected-resource"
SERVER_PATH: Final = "/.well-known/oauth-authorization-server"
OPENID_PATH: Final = "/.well-known/openid-configuration"
LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")

CODE: Final = "authorization_code"
REFRESH: Final = "refresh_token"
CLIENT_CREDENTIALS: Final = "client_credentials"
JWT_BEARER: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TOKEN_EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
ID_JAG: Final = "urn:ietf:params:oauth:token-type:id-jag"
ID_TOKEN: Final = "urn:ietf:params:oauth:token-type:id_token"
ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"
ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ID_JAG_PROFILE: Final = "urn:ietf:params:oauth:grant-profile:id-jag"

T = TypeVar("T", bound=Struct)

ClientAuth: TypeAlias = Literal[
    "none", "client_secret_basic", "client_secret_post", "private_key_jwt"
]


class ProtectedResource(Struct, frozen=True, omit_defaults=True):
    """What a server that wants tokens says of itself (RFC 9728 § 2)."""

    resource: str
    authorization_servers: list[str] = []
    scopes_supported: list[str] | None = None
    bearer_methods_supported: list[str] | None = None
    resource_name: str | None = None
    resource_documentation: str | None = None
    dpop_signing_alg_values_supported: list[str] | None = None
    dpop_bound_access_tokens_required: bool | None = None


class AuthorizationServer(Struct, frozen=True, omit_defaults=True):
    """What an authorization server says of itself (RFC 8414 § 2, OpenID Discovery § 3)."""

    issuer: str
    authorization_endpoint: str | None = None
    token_endpoint: str | None = None
    registration_endpoint: str | None = None
    revocation_endpoint: str | None = None
    introspection_endpoint: str | None = None
    jwks_uri: str | None = None
    scopes_supported: list[str] | None = None
    response_types_supported: list[str] | None = None
    response_modes_supported: list[str] | None = None
    grant_types_supported: list[str] | None = None
    token_endpoint_auth_methods_supported: list[str] | None = None
    token_endpoint_auth_signing_alg_values_supported: list[str] | None = None
    revocation_endpoint_auth_methods_supported: list[str] | None = None
    introspection_endpoint_auth_methods_supported: list[str] | None = None
    code_challenge_methods_supported: list[str] | None = None
    authorization_response_iss_parameter_supported: bool | None = None
    client_id_metadata_document_supported: bool | None = None
    dpop_signing_alg_values_supported: list[str] | None = None
    authorization_grant_profiles_supported: list[str] | None = None
    service_documentation: str | None = None


class ClientMetadata(Struct, frozen=True, omit_defaults=True):
    """What a client says of itself, when it registers or in the document that its id points to."""

    client_id: str | None = None
    client_name: str | None = None
    redirect_uris: list[str] = []
    grant_types: list[str] | None = None
    response_types: list[str] | None = None
    token_endpoint_auth_method: str | None = None
    application_type: str | None = None
    scope: str | None = None
    client_uri: str | None = None
    logo_uri: str | None = None
    jwks: dict[str, Any] | None = None
    jwks_uri: str | None = None
    software_id: str | None = None
    software_version: str | None = None


class Registered(Struct, frozen=True, omit_defaults=True):
    """What a registration comes to (RFC 7591 § 3.2.1): who a client is at one issuer."""

    client_id: str
    client_secret: str | None = None
    client_secret_expires_at: float | None = None
    token_endpoint_auth_method: str | None = None
    redirect_uris: list[str] | None = None

    def __repr__(self) -> str:
        return f"Registered({self.client_id!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("client_id", self.client_id)]


def canonical(url: str) -> str:
    """*url* as the identifier of a resource (RFC 8707 § 2): scheme and host in lower case, no
    fragment, no slash at its end unless there is nothing else. Raises `ConfigError`.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        parts = None
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"{_shown(url)!r} is no URL of a server: https://host/path is expected")
    if "#" in url or parts.username is not None:
        raise ConfigError(
            f"{_shown(url)!r} identifies no resource: no fragment and no user may be in it"
        )
    path = parts.path.rstrip("/")
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme}://{parts.netloc.lower()}{path}{query}"


def origin(url: str) -> str:
    """Scheme, host and port of a URL; raises `AuthorizationFailed` for what is none."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        parts = None
    if parts is None or not parts.scheme or not parts.netloc:
        raise AuthorizationFailed(f"{url[:200]!r} is no URL")
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def is_loopback(url: str) -> bool:
    """Whether a URL names this machine by one of the names that say so."""
    try:
        return urlsplit(url).hostname in LOOPBACK
    except ValueError:
        return False


def well_known(url: str, path: str) -> str:
    """Where the document *path* of *url* stands: between its host and its own path (RFC 8414 § 3)."""
    parts = urlsplit(url)
    own = parts.path.rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path}{own}"


def resource_places(url: str) -> list[str]:
    """Where the metadata of the resource at *url* may stand, in the order they are tried."""
    places = [well_known(url, RESOURCE_PATH), origin(url) + RESOURCE_PATH]
    return list(dict.fromkeys(places))


def server_places(issuer: str) -> list[str]:
    """Where the metadata of an authorization server may stand, in the order they are tried."""
    places = [well_known(issuer, SERVER_PATH), well_known(issuer, OPENID_PATH)]
    if urlsplit(issuer).path.rstrip("/"):
        places.append(issuer.rstrip("/") + OPENID_PATH)
    return places


def covers(resource: str, url: str) -> bool:
    """Whether the resource that metadata is about is the server at *url*, or holds it."""
    try:
        theirs, ours = urlsplit(canonical(resource)), urlsplit(canonical(url))
    except ConfigError:
        return False
    if (theirs.scheme, theirs.netloc) != (ours.scheme, ours.netloc):
        return False
    if theirs.query and theirs.query != ours.query:
        return False
    path = theirs.path.rstrip("/")
    return ours.path == path or ours.path.startswith(path + "/")


def read_resource(data: bytes, place: str) -> ProtectedResource:
    """The metadata of a resource; raises `AuthorizationFailed` if *data* is none."""
    return _read(data, ProtectedResource, place, "protected resource metadata")


def read_server(data: bytes, place: str, issuer: str | None) -> AuthorizationServer:
    """The metadata of *issuer*, which it must say that it is of, in the same letters (§ 3.3); of
    whichever issuer it says with None, for a *place* that a person named.
    """
    found = _read(data, AuthorizationServer, place, "authorization server metadata")
    if issuer is not None and found.issuer != issuer:
        raise AuthorizationFailed(
            f"{place} is the metadata of {found.issuer[:200]!r}, not of {issuer!r}; it is not used"
        )
    return found


def read_client(data: bytes, place: str) -> ClientMetadata:
    """The document of a client, whose id must be the URL it came from."""
    found = _read(data, ClientMetadata, place, "client metadata")
    if found.client_id != place:
        raise AuthorizationFailed(f"{place} is the document of another client id")
    return found


def read_registered(data: bytes, place: str) -> Registered:
    return _read(data, Registered, place, "registered client")


def _read(data: bytes, type: type[T], place: str, what: str) -> T:
    try:
        fields = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise AuthorizationFailed(f"{place} is no {what}: a JSON object is expected")
    try:
        return msgspec.convert(_known(fields), type)  # pyright: ignore[reportUnknownArgumentType]
    except msgspec.ValidationError as error:
        raise AuthorizationFailed(f"{place} is no {what}: {error}") from None


def _shown(url: str) -> str:
    # A password may stand before the host.
    return url.rpartition("@")[2][:200]


def _known(fields: dict[Any, Any]) -> dict[Any, Any]:
    # Many write null for what they do not have.
    return {name: value for name, value in fields.items() if value is not None}


def chosen_auth(
    offered: Sequence[str] | None, *, secret: bool, key: bool, told: str | None = None
) -> ClientAuth:
    """How a client proves itself at a token endpoint that takes *offered*.

    *told* is what the registration said, which counts. Without a word from anybody a secret goes
    into the `Authorization` header (RFC 8414 § 2).
    """
    ways: list[ClientAuth] = []
    if key:
        ways.append("private_key_jwt")
    if secret:
        # In the body first, which OAuth 2.1 has every server take (§ 2.4.1).
        ways.extend(("client_secret_post", "client_secret_basic"))
    if not ways or told == "none":
        return "none"
    for way in ways:
        if told == way:
            return way
    for way in ways:
        if offered is not None and way in offered:
            return way
    return "client_secret_basic" if ways[0] == "client_secret_post" else ways[0]
