"""Who may come in at the gateway: whoever an authorization server says, ours or another."""

from __future__ import annotations

import os
from collections.abc import Mapping

from msgspec import Struct

from interlock.auth.bearer import Bearer
from interlock.auth.box import OWNER, boxed
from interlock.auth.issuer.people import Person
from interlock.auth.issuer.settings import Resource, issuer_parts
from interlock.auth.issuer.within import Within
from interlock.auth.jwks import Fetching
from interlock.auth.metadata import OPENID_PATH, SERVER_PATH, canonical, origin
from interlock.auth.settings import AuthSettings
from interlock.auth.verifiers import JwtVerifier
from interlock.errors import ConfigError
from interlock.protocol.call import Principal
from interlock.protocol.gate import Gate
from interlock.server.web import HttpApp

SCOPE = "servers"
"""What a token needs that our own issuer gives out."""
ISSUER_PATH = "/auth"
"""Where our own issuer stands, beside the endpoint."""


class Inbound(Struct, frozen=True):
    """A gate, and what belongs to it; *url* is what clients reach it at.

    *owner* is the principal that is this user: its logins to servers are those of the command line.
    *beside* is our own issuer at its paths, if it is ours; *person* signs in there.
    """

    gate: Gate
    issuer: str
    url: str
    owner: Principal | None = None
    person: Person | None = None
    beside: Mapping[str, HttpApp] = {}


async def by_our_issuer(url: str, environ: Mapping[str, str] = os.environ) -> Inbound:
    """The gateway at *url* with an authorization server of this user's at the same port."""
    canonical(url)
    place = origin(url) + ISSUER_PATH
    within = Within()
    gate = _gate(place, url, (SCOPE,), within)  # Before anything is kept: it may refuse the URL.
    issuer = within.issuer = await boxed(
        place,
        [Resource(url, {SCOPE: "Use the servers behind this gateway, as you"}, "your gateway")],
        environ,
    )
    return Inbound(
        gate,
        place,
        url,
        Principal(OWNER, place),
        issuer.people[0],
        {
            ISSUER_PATH: issuer,
            SERVER_PATH + ISSUER_PATH: issuer,
            OPENID_PATH + ISSUER_PATH: issuer,
        },
    )


def by_issuer(issuer: str, url: str, scopes: tuple[str, ...] = ()) -> Inbound:
    """The gateway at *url* for whoever *issuer* gives tokens for it, with *scopes* in them.

    Its tokens are JSON Web Tokens; what tells them from others is its metadata's keys.
    """
    return Inbound(_gate(issuer, url, scopes), issuer, url)


def _gate(issuer: str, url: str, scopes: tuple[str, ...], fetcher: Fetching | None = None) -> Gate:
    try:
        issuer_parts(issuer)
        settings = AuthSettings(
            issuer_url=issuer,
            resource_server_url=url,
            required_scopes=scopes,
            resource_name="Interlock gateway",
            dpop="allowed",
        )
    except ConfigError as error:
        # Which of the URLs it is, the error says; one may have a password in it, and is not repeated.
        raise ConfigError(f"The gateway cannot ask for tokens: {error}") from None
    return Bearer(settings, JwtVerifier(issuer, settings.resource, fetcher=fetcher))
