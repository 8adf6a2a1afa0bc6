"""Grants, as conversations: the code a person brings back from a login, and those of machines.

No I/O: each yields the requests it wants sent, and the page it wants visited.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Iterable
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from interlock.auth.discovery import PKCE, Authority, require_pkce
from interlock.auth.jwt import letters
from interlock.auth.metadata import (
    CLIENT_CREDENTIALS,
    CODE,
    ID_JAG,
    ID_TOKEN,
    JWT_BEARER,
    REFRESH,
    TOKEN_EXCHANGE,
    AuthorizationServer,
)
from interlock.auth.registering import Standing
from interlock.auth.requesting import Counter, Tokens, shown, usable_scopes
from interlock.auth.steps import Conversation, Visit, Visited
from interlock.errors import AuthorizationFailed

OFFLINE: Final = "offline_access"


def wanted_scopes(
    authority: Authority,
    *,
    challenged: Iterable[str] = (),
    before: Iterable[str] = (),
    told: Iterable[str] = (),
    lasting: bool = True,
) -> tuple[str, ...]:
    """What to ask for: what was challenged for, else what the server has, else nothing.

    Together with what was asked for *before*, so that nothing is lost (2026-07-28 § Scope
    Challenge Handling), and what the user *told*. With *lasting* a refresh token is asked for,
    where there is a scope for it.
    """
    told = tuple(told)
    base = tuple(challenged) or told or (authority.offered or ())
    lasts = lasting and OFFLINE in (authority.server.scopes_supported or ())
    return usable_scopes([*told, *((OFFLINE,) if lasts else ()), *before, *base])


def log_in(
    authority: Authority,
    standing: Standing,
    counter: Counter,
    redirect_uri: str,
    scopes: tuple[str, ...],
) -> Conversation[Tokens]:
    """Have a person log in, and redeem what they bring back.

    The issuer, the state and the verifier are settled before the browser leaves; an answer that
    does not fit all of them goes no further (RFC 9207, RFC 7636).
    """
    require_pkce(authority)
    server = authority.server
    if server.authorization_endpoint is None:
        raise AuthorizationFailed(f"{server.issuer} lets nobody log in; it has no page for it")
    state, verifier = letters(os.urandom(32)), letters(os.urandom(48))
    query = {
        "response_type": "code",
        "client_id": standing.client.client_id,
        "redirect_uri": redirect_uri,
        "state": state,
        "code_challenge": letters(hashlib.sha256(verifier.encode()).digest()),
        "code_challenge_method": PKCE,
        "resource": authority.resource,
    }
    if scopes:
        query["scope"] = " ".join(scopes)
    if OFFLINE in scopes:
        query["prompt"] = "consent"  # OpenID Connect gives it for nothing less (Core § 11).
    visited = yield Visit(
        _with(server.authorization_endpoint, query), redirect_uri, server.issuer, scopes
    )
    assert isinstance(visited, Visited)
    code = redeemable(visited, state, server)
    return (
        yield from counter.request(
            {
                "grant_type": CODE,
                "code": code,
                "redirect_uri": redirect_uri,
                "code_verifier": verifier,
                "resource": authority.resource,
            }
        )
    )


def redeemable(visited: Visited, state: str, server: AuthorizationServer) -> str:
    """The code that a browser came back with; raises for what did not come of this login."""
    said = (_one(visited, "state") or "").encode(errors="replace")
    if not hmac.compare_digest(said, state.encode()):
        raise AuthorizationFailed("The browser came back from another login (state); try once more")
    issuer = _one(visited, "iss")
    # Before anything else it says is believed, errors included (2026-07-28 § Mix-Up Protection).
    if issuer is None and server.authorization_response_iss_parameter_supported:
        raise AuthorizationFailed(
            f"The answer does not say that it comes from {server.issuer}, which always says so (iss)"
        )
    if issuer is not None and issuer != server.issuer:
        raise AuthorizationFailed(f"The answer does not come from {server.issuer} (iss)")
    if (error := _one(visited, "error")) is not None:
        word = shown(error, [state])[:64]
        why = _one(visited, "error_description")
        added = f": {shown(why, [state])}" if why else ""
        text = "The login was refused" if word == "access_denied" else f"The login failed ({word})"
        raise AuthorizationFailed(f"{text} at {server.issuer}{added}", word)
    code = _one(visited, "code")
    if not code:
        raise AuthorizationFailed(f"{server.issuer} sent the browser back without a code")
    return code


def refresh(counter: Counter, token: str, resource: str) -> Conversation[Tokens]:
    """New tokens for an old refresh token, which may be good for nothing afterwards."""
    return (
        yield from counter.request(
            {"grant_type": REFRESH, "refresh_token": token, "resource": resource}
        )
    )


def client_credentials(
    authority: Authority, counter: Counter, scopes: tuple[str, ...]
) -> Conversation[Tokens]:
    """A token for a program in its own right (extension oauth-client-credentials)."""
    return (
        yield from counter.request(
            {
                "grant_type": CLIENT_CREDENTIALS,
                "resource": authority.resource,
                "scope": " ".join(scopes) or None,
            }
        )
    )


def vouched(
    authority: Authority, counter: Counter, assertion: str, scopes: tuple[str, ...]
) -> Conversation[Tokens]:
    """A token for what somebody else vouches for: an ID-JAG, or a workload's own token (RFC 7523)."""
    return (
        yield from counter.request(
            {
                "grant_type": JWT_BEARER,
                "assertion": assertion,
                "resource": authority.resource,
                "scope": " ".join(scopes) or None,
            }
        )
    )


def id_jag(
    authority: Authority, provider: Counter, id_token: str, scopes: tuple[str, ...]
) -> Conversation[str]:
    """What an enterprise's identity provider vouches for: its person, at this issuer (RFC 8693)."""
    tokens = yield from provider.request(
        {
            "grant_type": TOKEN_EXCHANGE,
            "requested_token_type": ID_JAG,
            "subject_token": id_token,
            "subject_token_type": ID_TOKEN,
            "audience": authority.issuer,
            "resource": authority.resource,
            "scope": " ".join(scopes) or None,
        },
        issued=ID_JAG,
    )
    return tokens.access_token


def _one(visited: Visited, name: str) -> str | None:
    values = visited.parameters.get(name, ())
    if len(values) > 1:
        raise AuthorizationFailed(f"The browser came back with {name} more than once")
    return values[0] if values else None


def _with(endpoint: str, query: dict[str, str]) -> str:
    # An endpoint may have a query of its own, which stays (RFC 6749 § 3.1). What is ours in it
    # would be there twice, and mean one thing to us and another to whoever reads it.
    own = urlsplit(endpoint).query
    for name in dict(parse_qsl(own, keep_blank_values=True)):
        if name in query:
            raise AuthorizationFailed(
                f"The authorization_endpoint at {endpoint.partition('?')[0]} has {name[:40]!r} in "
                "its query already, which is for this login to say"
            )
    joint = "&" if own else "?"
    return f"{endpoint}{joint}{urlencode(query)}"
