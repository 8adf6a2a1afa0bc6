"""What an access token says to a resource server, and what finds that out."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol

from msgspec import Struct


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
