"""Where tokens for a server come from: what it says of itself, and what its authorization server does.

The order is the specification's (2026-07-28 § Authorization Server Discovery). What was found is
held against what it was looked for under: metadata that is about another resource, or another
issuer, ends the search; it is not passed over as if it had not been there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct

from interlock.auth.challenge import Challenge
from interlock.auth.metadata import (
    SERVER_PATH,
    AuthorizationServer,
    ProtectedResource,
    canonical,
    covers,
    is_loopback,
    origin,
    read_resource,
    read_server,
    resource_places,
    server_places,
)
from interlock.auth.requesting import unreached
from interlock.auth.steps import Answer, Conversation, Fetch
from interlock.errors import AuthorizationFailed
from interlock.transport.http.addresses import is_written

PKCE: Final = "S256"
SERVERS_AT_MOST: Final = 16
"""Authorization servers of one resource that are looked at."""
_JSON: Final = {"accept": "application/json"}
_OLD: Final = {"accept": "application/json", "mcp-protocol-version": "2025-03-26"}

Choose = Callable[[Sequence[str]], str]
"""Picks one of several authorization servers, by issuer."""


class Authority(Struct, frozen=True):
    """Who gives out tokens for a resource.

    *resource* is written as the server publishes it. *offered* are the scopes that the server says
    it has; None if it does not say. *dpop* is whether the resource knows proofs. *guessed* is
    an authorization server of 2025-03-26 without metadata, whose endpoints are where they were then.
    """

    resource: str
    server: AuthorizationServer
    offered: tuple[str, ...] | None = None
    dpop: bool = False
    guessed: bool = False

    @property
    def issuer(self) -> str:
        return self.server.issuer


def discover(
    url: str,
    challenges: Iterable[Challenge] = (),
    choose: Choose = lambda issuers: issuers[0],
    *,
    metadata_url: str | None = None,
) -> Conversation[Authority]:
    """Find out who gives out tokens for the server at *url*, which answered with *challenges*.

    *metadata_url* is where a person says that the authorization server describes itself: then it
    is that one, whichever the server names.

    Raises `AuthorizationFailed` where there is nobody, or nobody to be believed.
    """
    challenges = list(challenges)
    place = next(
        (found for each in challenges if (found := each.parameters.get("resource_metadata"))), None
    )
    described = yield from _resource(url, place)
    if metadata_url is not None:
        server = yield from _told_server(metadata_url)
        if described is None:
            return Authority(canonical(url), server)
    elif described is None:
        return (yield from _of_2025(url))
    else:
        issuers = described.authorization_servers[:SERVERS_AT_MOST]
        if not issuers:
            raise AuthorizationFailed(f"{url} names no authorization server; ask whoever runs it")
        server = yield from find_server(choose(issuers))
    knows_proofs = (
        any(each.scheme == "dpop" for each in challenges)
        or bool(described.dpop_signing_alg_values_supported)
        or described.dpop_bound_access_tokens_required is True
    )
    offered = described.scopes_supported
    return Authority(
        described.resource,
        server,
        tuple(offered) if offered is not None else None,
        dpop=knows_proofs,
    )


def find_server(issuer: str) -> Conversation[AuthorizationServer]:
    """The metadata of the authorization server *issuer*, wherever it keeps them."""
    # An issuer has no query: its metadata would have no place (RFC 8414 § 2).
    if not _secure(issuer) or "?" in issuer:
        raise AuthorizationFailed(f"The authorization server {issuer[:200]!r} is no https URL")
    tried: list[str] = []
    for place in server_places(issuer):
        answer = yield Fetch("GET", place, _JSON)
        assert isinstance(answer, Answer)
        if answer.status == 200:
            server = read_server(answer.body, place, issuer)
            _check_endpoints(server)
            return server
        _go_on(place, answer)
        tried.append(place)
    raise AuthorizationFailed(
        f"The authorization server {issuer} publishes no metadata; looked at {', '.join(tried)}"
    )


def _told_server(place: str) -> Conversation[AuthorizationServer]:
    """The authorization server that describes itself at *place*, which a person named."""
    if not _secure(place):
        raise AuthorizationFailed(f"The metadata URL {place[:200]!r} is no https URL")
    answer = yield Fetch("GET", place, _JSON)
    assert isinstance(answer, Answer)
    if answer.status != 200:
        _go_on(place, answer)
        raise AuthorizationFailed(f"{place} answers with HTTP {answer.status}: no metadata there")
    server = read_server(answer.body, place, None)
    if not _secure(server.issuer):
        raise AuthorizationFailed(f"{place} is of {server.issuer[:200]!r}, which is no https URL")
    _check_endpoints(server)
    return server


def require_pkce(authority: Authority) -> None:
    """Raise unless its codes are of no use to who catches one (2026-07-28 § Security
    Considerations, Authorization Code Protection).
    """
    methods = authority.server.code_challenge_methods_supported
    if not authority.guessed and PKCE not in (methods or ()):
        raise AuthorizationFailed(
            f"{authority.issuer} does not say that it knows PKCE with {PKCE}; it is not safe to log "
            "in there"
        )


def _resource(url: str, place: str | None) -> Conversation[ProtectedResource | None]:
    """What the server at *url* publishes of itself, at *place* or where it belongs; None if nothing."""
    places = [place] if place is not None else []
    places += [each for each in resource_places(url) if each != place]
    for each in places:
        answer = yield Fetch("GET", each, _JSON)
        assert isinstance(answer, Answer)
        if answer.status == 200:
            found = read_resource(answer.body, each)
            if not covers(found.resource, url):
                raise AuthorizationFailed(
                    f"{each} is about {found.resource[:200]!r}, which is not {url}; no token is "
                    "asked for"
                )
            return found
        _go_on(each, answer)
    return None


def _of_2025(url: str) -> Conversation[Authority]:
    """The authorization server of a server of 2025-03-26, which is at the server's own host."""
    issuer = origin(url)
    place = issuer + SERVER_PATH
    answer = yield Fetch("GET", place, _OLD)
    assert isinstance(answer, Answer)
    if answer.status == 200:
        server = read_server(answer.body, place, issuer)
        _check_endpoints(server)
        return Authority(canonical(url), server)
    _go_on(place, answer)
    server = AuthorizationServer(
        issuer,
        authorization_endpoint=f"{issuer}/authorize",
        token_endpoint=f"{issuer}/token",
        registration_endpoint=f"{issuer}/register",
    )
    _check_endpoints(server)
    return Authority(canonical(url), server, guessed=True)


def _go_on(place: str, answer: Answer) -> None:
    """Return if nothing stands at *place*; raise if nobody can tell at the moment."""
    if answer.status == 0:
        raise unreached(place, answer)
    if answer.status >= 500:
        raise AuthorizationFailed(f"{place} answers with HTTP {answer.status}; try again later")


def _check_endpoints(server: AuthorizationServer) -> None:
    for name in (
        "authorization_endpoint",
        "token_endpoint",
        "registration_endpoint",
        "revocation_endpoint",
    ):
        endpoint: str | None = getattr(server, name)
        if endpoint is not None and not _secure(endpoint):
            raise AuthorizationFailed(f"The {name} of {server.issuer} is no https URL")


def _secure(url: str) -> bool:
    """Whether *url* is one of TLS or of this machine, and can be read in one way only."""
    try:
        parts = urlsplit(url)
        plain = parts.port is None or parts.port > 0
    except ValueError:
        return False
    plain = plain and bool(parts.hostname) and parts.username is None and "#" not in url
    encrypted = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(url))
    return plain and encrypted and is_written(url)
