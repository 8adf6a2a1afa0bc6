"""What every endpoint works with: what was decided, who is known, and what is kept."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from msgspec import Struct

from interlock.auth.issuer.clients import Client, Clients
from interlock.auth.issuer.keys import Keys
from interlock.auth.issuer.people import Attempts, People, Person, Session
from interlock.auth.issuer.records import Records, fingerprint
from interlock.auth.issuer.remote import Fetcher, Remote
from interlock.auth.issuer.responses import Refused
from interlock.auth.issuer.settings import (
    Downstream,
    Lifetimes,
    Resource,
    Resources,
    Trusted,
    issuer_parts,
    served,
)
from interlock.store.ports import Store

ENDPOINTS: Final = (
    "authorize",
    "decide",
    "token",
    "register",
    "revoke",
    "introspect",
    "jwks",
)
OFFLINE: Final = "offline_access"
OPENID: Final = "openid"


class Wish(Struct, frozen=True, kw_only=True):
    """What a client asked a person for, as it was checked: nothing else can be consented to."""

    client_id: str
    redirect_uri: str
    state: str | None
    resource: str
    scopes: tuple[str, ...]
    challenge: str
    nonce: str | None
    jkt: str | None
    """The key that the code is bound to (RFC 9449 § 10)."""
    browser: str
    """The fingerprint of the browser that was shown the page."""

    def __repr__(self) -> str:
        return f"Wish({self.client_id!r}, {self.resource!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("client_id", self.client_id), ("resource", self.resource)]


class Code(Struct, frozen=True, kw_only=True):
    """What a person allowed, until the client comes for it; *used* from then on."""

    wish: Wish
    subject: str
    since: float
    until: float
    family: str
    used: bool = False


class Family(Struct, frozen=True, kw_only=True):
    """All tokens that one consent led to. They are good while it is kept.

    *current* is the fingerprint of the newest refresh token, which has not been used; *previous*
    of the one that it was given for, which is good until it is.
    """

    client_id: str
    subject: str
    resource: str
    scopes: tuple[str, ...]
    since: float
    """When the person signed in."""
    jkt: str | None = None
    current: str | None = None
    previous: str | None = None


class Office:
    """Everything that is known to the issuer *url*."""

    def __init__(
        self,
        url: str,
        *,
        store: Store,
        people: Sequence[Person],
        resources: Resources,
        clients: Iterable[Client],
        fetcher: Fetcher | None,
        trusted: Iterable[Trusted],
        downstream: Iterable[Downstream],
        registration: bool,
        documents: Callable[[str], bool] | None,
        schemes: Collection[str],
        dpop_nonces: bool,
        secret: bytes | str | None,
        lifetimes: Lifetimes,
        clock: Callable[[], float],
    ) -> None:
        self.url = url
        self.origin, self.path = issuer_parts(url)
        self.clock = clock
        self.lifetimes = lifetimes
        self.resources = resources
        self.registration = registration
        self.documents = documents is not None
        self.dpop_nonces = dpop_nonces
        self.store = store
        self.trusted: Mapping[str, Trusted] = {each.issuer: each for each in trusted}
        self.downstream: Mapping[str, Downstream] = {each.issuer: each for each in downstream}
        given = tuple(clients)
        named = {each.jwks_uri for each in (*self.trusted.values(), *given)}
        self.remote = Remote(fetcher, clock, known=[url for url in named if url is not None])
        self.keys = Keys(store.table(f"issuer keys {url}"), lifetimes, clock, secret)
        self.wishes = Records(store.table(f"issuer wishes {url}"), Wish)
        self.codes = Records(store.table(f"issuer codes {url}"), Code)
        self.families = Records(store.table(f"issuer families {url}"), Family)
        self.seen = store.table(f"issuer seen {url}")
        """What may come once, and access tokens that were revoked."""
        registered = Records(store.table(f"issuer clients {url}"), Client)
        self.clients = Clients(
            given, registered, self.remote, trusts=documents, schemes=frozenset(schemes)
        )
        self.people = People(
            people,
            Records(store.table(f"issuer sessions {url}"), Session),
            Records(store.table(f"issuer attempts {url}"), Attempts),
            lifetimes=lifetimes,
            clock=clock,
            secure=url.startswith("https:"),
            port=urlsplit(url).port,
        )

    def place(self, endpoint: str) -> str:
        """The URL of an endpoint."""
        return f"{self.origin}{self.path}/{endpoint}"

    def resource(self, url: str) -> Resource:
        """The resource that *url* names; raises `Refused` if it is none of ours."""
        found = served(self.resources, url)
        if found is None:
            raise Refused("invalid_target", "That resource is not served here")
        return found

    def only_resource(self) -> Resource | None:
        """The resource that is meant if none is named: the one, if there is one only."""
        if callable(self.resources) or len(self.resources) != 1:
            return None
        return self.resources[0]

    def target(self, named: Sequence[str]) -> Resource:
        """The resource of a request that names these."""
        if len(named) > 1:
            raise Refused("invalid_target", "A token is made for one resource at a time")
        if named:
            return self.resource(named[0])
        only = self.only_resource()
        if only is None:
            raise Refused("invalid_target", "The parameter resource is missing (RFC 8707)")
        return only

    def names(self, resource: str, given: str) -> bool:
        """Whether a client that writes *given* means *resource*."""
        found = None if given == resource else served(self.resources, given)
        return given == resource or (found is not None and found.url == resource)

    def granted(
        self, asked: str | None, resource: Resource, most: frozenset[str] | None
    ) -> tuple[str, ...]:
        """The scopes a request gets: of those it names the ones offered, or what is usual.

        Raises `Refused` if it names some and none of them is.
        """
        usual = resource.default if resource.default is not None else tuple(resource.scopes)
        offered = {*resource.scopes, *usual}
        if most is not None:
            offered &= most
        if asked is None:
            return tuple(sorted(offered & set(usual)))
        wanted = set(asked.split())
        found = wanted & offered
        if not found and offered:
            raise Refused("invalid_scope", "None of these scopes is offered for that resource")
        return tuple(sorted(found))

    async def once(self, what: str, *parts: str, ttl: float) -> bool:
        """Whether this is the first time that *parts* come; remembered for *ttl* seconds."""
        key = f"{what} {fingerprint(*parts)}"
        return await self.seen.put(key, b"", ttl=ttl, version=0) is not None
