"""What whoever runs an authorization server decides: lifetimes, resources, who else is trusted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

from msgspec import Struct

from interlock.auth.jwt import Token, is_private
from interlock.auth.metadata import LOOPBACK, canonical
from interlock.errors import ConfigError

DAY: Final = 24 * 3600.0


class Lifetimes(Struct, frozen=True, kw_only=True):
    """How long things are good for, in seconds."""

    code: float = 60.0
    access: float = 600.0
    refresh: float = 30 * DAY
    """Since the last use."""
    page: float = 600.0
    """That a person may take to decide."""
    session: float = 8 * 3600.0
    """That a browser stays signed in."""
    key: float = 90 * DAY
    """That a key signs."""
    overlap: float = DAY
    """That a key is published before it signs and after it has: longer than anybody keeps a copy."""
    idle_client: float = DAY
    """That a client which registered itself may take to be used once."""
    client: float = 90 * DAY
    """Since the last use of a client that registered itself."""


class Resource(Struct, frozen=True):
    """A server that tokens are made for: its identifier, and its scopes in plain words.

    *default* is what a client gets that asks for no scope; all of them if that is None.
    """

    url: str
    scopes: Mapping[str, str] = {}
    name: str = ""
    default: tuple[str, ...] | None = None


Resources: TypeAlias = Sequence[Resource] | Callable[[str], Resource | None]
"""All that are served, or what finds one by the identifier a client gave."""


def account(token: Token) -> str:
    """Whom we take the subject of somebody else's token for: an account of its issuer's alone."""
    return f"{token.text('iss')}#{token.text('sub')}"


class Trusted(Struct, frozen=True, kw_only=True):
    """Somebody else whose assertions are taken (RFC 7523).

    *keys* are its public keys, or *jwks_uri* is where they are. With *people* it is an identity
    provider, whose ID-JAGs let clients act for its users; *subject* says who such a user is here.
    *workloads* are the subjects of its own that may come without any client, and their scopes.
    """

    issuer: str
    keys: tuple[Mapping[str, Any], ...] = ()
    jwks_uri: str | None = None
    people: bool = False
    subject: Callable[[Token], str | None] = account
    workloads: Mapping[str, frozenset[str]] = {}

    def __post_init__(self) -> None:
        if not self.keys and self.jwks_uri is None:
            raise ConfigError(f"How {self.issuer!r} signs is not known: give keys or jwks_uri")
        if any(is_private(key) for key in self.keys):
            raise ConfigError(f"The keys of {self.issuer!r} must be public ones")


class Downstream(Struct, frozen=True, kw_only=True):
    """Another authorization server, whose clients get ID-JAGs here: this one is its identity
    provider. *clients* says who ours are there, if not the same; *scopes* bounds what may be asked.
    """

    issuer: str
    resources: frozenset[str]
    scopes: frozenset[str] = frozenset()
    clients: Mapping[str, str] = {}


def issuer_parts(url: str) -> tuple[str, str]:
    """Origin and path of an issuer's identifier. Raises `ConfigError` if *url* cannot be one."""
    canonical(url)
    parts = urlsplit(url)
    if parts.query or "?" in url:
        raise ConfigError(f"{url!r} cannot be an issuer: it has a query (RFC 8414 § 2)")
    if parts.scheme != "https" and parts.hostname not in LOOPBACK:
        raise ConfigError(f"{url!r} cannot be an issuer: https is expected, but on the loopback")
    return f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")


def served(resources: Resources, url: str) -> Resource | None:
    """The resource that *url* names, whatever the case of its host and a slash at its end."""
    if callable(resources):
        return resources(url)
    try:
        wanted = canonical(url)
    except ConfigError:
        return None
    return next((each for each in resources if canonical(each.url) == wanted), None)
