"""What a conversation of OAuth consists of: requests to be sent, and pages for a person to visit.

A conversation is a generator that yields steps and is sent what came of them, so that it needs
neither a network nor a browser to be tried: a test is a list of answers.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any, TypeAlias, TypeVar

from msgspec import Struct

T = TypeVar("T")


class Fetch(Struct, frozen=True):
    """A request to be sent, through the guarded fetcher. Sent back: an `Answer`; redirects of a GET
    have been followed as far as they lead to safe places, those of a POST never are.
    """

    method: str
    url: str
    headers: Mapping[str, str] = {}
    body: bytes | None = None

    def __repr__(self) -> str:
        return f"Fetch({self.method} {self.url.partition('?')[0]})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("method", self.method), ("url", self.url.partition("?")[0])]


class Answer(Struct, frozen=True):
    """What came of a `Fetch`; *status* 0 if nothing did, and *body* then says why."""

    status: int
    headers: Mapping[str, str] = {}
    """By lower-case name."""
    body: bytes = b""

    def __repr__(self) -> str:
        return f"Answer({self.status})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("status", self.status)]


class Visit(Struct, frozen=True):
    """A page that a person is to open. Sent back: the `Visited` that their browser came back with.

    *redirect_uri* is where it is sent to, *issuer* and *scopes* are for telling the person.
    """

    url: str
    redirect_uri: str
    issuer: str
    scopes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Visit({self.url.partition('?')[0]})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("url", self.url.partition("?")[0])]


class Visited(Struct, frozen=True):
    """What a browser came back with: the query of the redirect, by name; a name that came more than
    once has more values than one.
    """

    parameters: Mapping[str, tuple[str, ...]]

    def __repr__(self) -> str:
        return f"Visited({', '.join(self.parameters)})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("parameters", list(self.parameters))]


Step: TypeAlias = Fetch | Visit
Sent: TypeAlias = Answer | Visited
Conversation: TypeAlias = Generator[Step, Sent, T]
