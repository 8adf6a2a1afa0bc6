"""What a server says about who may come in: which issuers, for which resource, with which scopes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final, Literal, TypeAlias, cast
from urllib.parse import urlsplit

from interlock.auth.metadata import canonical, is_loopback
from interlock.errors import ConfigError
from interlock.protocol.gate import scope_names

Dpop: TypeAlias = Literal["off", "allowed", "required"]

REMEMBER: Final = 30.0
"""For how many seconds an opaque token that was found good is not asked about again."""


class AuthSettings:
    """Who may come in over HTTP. Give it to a `Server`, with what verifies tokens.

    *issuer_url* is the authorization server whose tokens are taken, or several; they are compared
    as they are written here, to the letter. *resource_server_url* is the URL that clients reach
    this server at, as they write it: tokens must be meant for it. Both are https, or on loopback.
    Every token needs all *required_scopes*; *scopes_supported* is what clients are told to exist,
    by default those and what tools need. *implies* names scopes that hold others:
    `{"files:write": ["files:read"]}`.

    *dpop* "allowed" takes tokens that are bound to a key too (RFC 9449), "required" takes no others,
    "off" takes none of them; with *dpop_nonces* proofs must be fresher than a clock alone can tell. *remember*
    is for how many seconds an opaque token that was found good is not asked about again: the time
    until a revocation is noticed; 0 remembers no token at all.
    """

    def __init__(
        self,
        *,
        issuer_url: object,
        resource_server_url: object = None,
        required_scopes: Iterable[str] | None = None,
        resource_name: str | None = None,
        service_documentation_url: object = None,
        scopes_supported: Iterable[str] | None = None,
        implies: Mapping[str, Collection[str]] | None = None,
        dpop: Dpop = "off",
        dpop_nonces: bool = False,
        remember: float = REMEMBER,
    ) -> None:
        """URLs may be text or anything whose `str` is one."""
        # As guides write it, perhaps a URL of a library's own type; strings are iterable too.
        several = isinstance(issuer_url, list | tuple | set | frozenset)
        given = cast("Iterable[object]", issuer_url) if several else (issuer_url,)
        self.issuers = tuple(str(each) for each in given)
        if not self.issuers:
            raise ConfigError("issuer_url= names no issuer: whose tokens are taken?")
        for issuer in self.issuers:
            _safe("issuer_url", issuer)
        if resource_server_url is None:
            raise ConfigError(
                "AuthSettings needs resource_server_url=: the URL that clients reach this server at, "
                "such as 'https://api.example.com/mcp'"
            )
        self.resource = canonical(str(resource_server_url))
        _safe("resource_server_url", self.resource)
        self.required = scope_names(required_scopes or ())
        self.resource_name = resource_name
        self.documentation = (
            str(service_documentation_url) if service_documentation_url is not None else None
        )
        self.supported = scope_names(scopes_supported) if scopes_supported is not None else None
        self.implied = _closed(implies or {})
        if dpop not in ("off", "allowed", "required"):
            raise ConfigError(f"dpop={dpop!r} is none of 'off', 'allowed', 'required'")
        self.dpop: Dpop = dpop
        self.dpop_nonces = dpop_nonces
        self.remember = remember

    def __repr__(self) -> str:
        return f"AuthSettings({self.resource!r}, issuers={self.issuers!r})"

    def expand(self, scopes: Iterable[str]) -> frozenset[str]:
        """*scopes*, and what they imply."""
        found = frozenset(scopes)
        for scope in found & self.implied.keys():
            found |= self.implied[scope]
        return found

    def reduce(self, scopes: Iterable[str]) -> frozenset[str]:
        """*scopes* without those that others among them imply."""
        found = frozenset(scopes)
        for scope in sorted(found & self.implied.keys()):
            if scope in found:  # Or another implies it, and it is that one that stays.
                found -= self.implied[scope] - {scope}
        return found


def _safe(argument: str, url: str) -> None:
    try:
        parts = urlsplit(url)
        named = bool(parts.hostname)
    except ValueError:
        parts, named = None, False
    if parts is None or not named or parts.scheme not in ("https", "http"):
        raise ConfigError(f"{argument}={url[:200]!r} is no URL: https://… is expected")
    if parts.scheme == "http" and not is_loopback(url):
        raise ConfigError(
            f"{argument}={url[:200]!r} must be https: tokens travel to it; only loopback may be http"
        )


def _closed(implies: Mapping[str, Collection[str]]) -> dict[str, frozenset[str]]:
    """*implies* with what is implied by what is implied, however far."""
    direct = {scope: scope_names(others) for scope, others in implies.items()}
    scope_names(direct)
    closed: dict[str, frozenset[str]] = {}
    for scope in direct:
        found: set[str] = set()
        ahead = [scope]
        while ahead:
            for other in direct.get(ahead.pop(), ()):
                if other not in found:
                    found.add(other)
                    ahead.append(other)
        closed[scope] = frozenset(found)
    return closed
