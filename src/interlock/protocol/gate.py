"""Who may come in: what a transport asks of each request before it reads what was sent, and the words
in which that is said.

The transport knows requests, the gate knows tokens; neither has to know the other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, Protocol, TypeAlias, final, runtime_checkable

from msgspec import Struct

from interlock.errors import ConfigError
from interlock.protocol.call import Principal
from interlock.wire.decoding import pattern

_SCOPE: Final = pattern(r"[\x21\x23-\x5b\x5d-\x7e]{1,200}")
"""One scope (RFC 6749 § 3.3), and no longer than anybody needs."""
_UNASKED: Final = "offline_access"
"""A scope that no resource asks for: it is between a client and its issuer (2026-07-28 §
Authorization)."""

RawHeaders: TypeAlias = Iterable[tuple[bytes, bytes]]
"""Names in lower case, and values, as they came."""


@final
class Denial(Struct, frozen=True):
    """A request that is not let in: the HTTP status, why in one sentence, and the headers that say
    what would be.
    """

    status: int
    reason: str
    headers: tuple[tuple[bytes, bytes], ...] = ()


@runtime_checkable
class Gate(Protocol):
    """Says who sends a request, each request anew: nothing that was said before lets one in."""

    @property
    def resource(self) -> str:
        """The URL of what it guards, as clients write it."""
        ...

    @property
    def documents(self) -> Mapping[str, bytes]:
        """JSON that is served to anybody, by path: what a client reads to learn how to come in."""
        ...

    async def admit(
        self, method: str, path: str, query: bytes, headers: RawHeaders
    ) -> Principal | Denial: ...

    def short(self, principal: Principal, scopes: Collection[str]) -> Denial:
        """What *principal* is told whose token does not allow *scopes*: to come back with more."""
        ...

    async def start(self) -> None:
        """Called once before the first request, in the loop that serves; may be called again."""
        ...

    async def stop(self) -> None: ...


class Admission(Protocol):
    """Who may come in, as a server's `auth=` says it: an `auth.settings.AuthSettings`."""

    @property
    def issuers(self) -> tuple[str, ...]: ...

    @property
    def resource(self) -> str: ...


class AccessToken(Struct, frozen=True):
    """What a token that was found good says.

    *expires_at* is when it ends, in Unix time, *leeway* how many seconds longer its verifier takes
    it. *resource* is whom it is meant for, None if its verifier has seen to that. *subject* is who
    granted it: together with *issuer* and *client_id* it is whom sessions and tasks belong to.
    *jkt* is the thumbprint of the key it is bound to (RFC 9449).
    """

    token: str
    client_id: str = ""
    scopes: Collection[str] = ()
    expires_at: float | None = None
    resource: str | None = None
    subject: str | None = None
    claims: Mapping[str, Any] | None = None
    issuer: str | None = None
    jkt: str | None = None
    leeway: float = 0.0

    def __repr__(self) -> str:
        return f"AccessToken(subject={self.subject!r}, client_id={self.client_id!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("subject", self.subject), ("client_id", self.client_id)]


class TokenVerifier(Protocol):
    """Finds out whether a token is good. Give one to `Server(auth=…, token_verifier=…)`.

    One that has to be closed has `async def close()`, which is called when nobody serves any more.
    """

    async def verify_token(self, token: str) -> AccessToken | None:
        """What *token* says; None if it is not good.

        Raises if that cannot be found out at the moment: callers are told to try again (503), not
        that their token is bad.
        """
        ...


def scope_names(scopes: Iterable[str]) -> frozenset[str]:
    """*scopes* as a set; raises `ConfigError` for what is none, or none that is asked for."""
    found = frozenset([scopes] if isinstance(scopes, str) else scopes)
    for scope in found:
        if not isinstance(scope, str) or not _SCOPE.fullmatch(scope):  # pyright: ignore[reportUnnecessaryIsInstance]  for callers without types
            raise ConfigError(
                f"{scope!r} is no scope: one word of printable ASCII is expected, as 'files:read'"
            )
    if _UNASKED in found:
        raise ConfigError(
            f"{_UNASKED} is between clients and their issuer; a server asks nobody for it"
        )
    return found
