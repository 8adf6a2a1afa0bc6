"""A call as every room sees it; what handles one, and how handlers stack."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, Protocol, TypeAlias

import msgspec
from msgspec import Raw, Struct

from interlock.protocol.ladder import Mirror
from interlock.protocol.outlet import SILENT, Outlet
from interlock.protocol.session import Envelope, Session
from interlock.wire.jsonrpc import encode
from interlock.wire.meta import Id, Implementation, Params, Result, members
from interlock.wire.methods import Method


class Principal(Struct, frozen=True, eq=False):
    """Who asks, as authentication established it. The default is whoever runs this process.

    *scopes* are what the access token of this request allows, None for anything; *expires_at* is
    when it ends, in Unix time. Neither says who it is: a principal with another token is the same.
    """

    subject: str = ""
    issuer: str = ""
    client_id: str = ""
    scopes: frozenset[str] | None = None
    expires_at: float | None = None

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Principal)
            and self.subject == other.subject
            and self.issuer == other.issuer
            and self.client_id == other.client_id
        )

    def __ne__(self, other: object) -> bool:
        # Said though Python would derive it: a Struct has one of its own, which compares identity.
        return not self == other

    def __hash__(self) -> int:
        return hash((self.subject, self.issuer, self.client_id))

    def lacks(self, scopes: frozenset[str]) -> bool:
        """Whether its token allows less than all of *scopes*."""
        return self.scopes is not None and not scopes <= self.scopes


LOCAL: Final = Principal()
NO_SCOPES: Final[frozenset[str]] = frozenset()


class Call(Struct):
    """One request, as every room sees it.

    *params* is the row's type; what only the handler reads (a tool's arguments) stays raw inside.
    *raw* is params exactly as they came, for whoever relays them; empty for a call made here. Once
    members were replaced *fields* holds what is to be sent instead, each member still unread.
    *patience* is how many seconds without progress a sender waits for the answer, *deadline* the
    event loop's time at which it stops waiting whatever happens. *session* is set in the legacy
    era only. *cancelled* turns true when the caller has left; threads, which nobody can interrupt, look.
    *asked_on* is set for a question of a server's to its client, where the transport tells which
    call of the client's it belongs to: that call's outlet. *mirror* is what the headers of a
    modern call over HTTP repeat of it. *kept* are results that the handler kept by name, should it
    have to run again (`Context.once`). *needed* are the scopes that its caller had to have, and has
    to have again for what goes on of it afterwards. *missing* are the scopes that its caller would have needed,
    once it was answered so: a transport that has a way to ask for them does.
    """

    row: Method
    params: Params
    envelope: Envelope
    principal: Principal = LOCAL
    outlet: Outlet = SILENT
    deadline: float | None = None
    session: Session | None = None
    id: Id = 0
    raw: Raw = Raw()
    fields: dict[str, Raw] | None = None
    patience: float | None = None
    cancelled: bool = False
    asked_on: Outlet | None = None
    mirror: Mirror | None = None
    kept: dict[str, Raw] | None = None
    needed: frozenset[str] = NO_SCOPES
    missing: tuple[str, ...] = ()

    @property
    def method(self) -> str:
        return self.row.name

    def with_members(self, **changes: Any) -> Call:
        """This call with members of its params replaced, by their names on the wire."""
        fields = members(self.raw) if self.raw else members(encode(self.params))
        for name, value in changes.items():
            fields[name] = Raw(encode(value))
        return msgspec.structs.replace(
            self, params=msgspec.structs.replace(self.params, **changes), fields=fields
        )


Handler: TypeAlias = Callable[[Call], Awaitable[Result]]
Middleware: TypeAlias = Callable[[Handler], Handler]


class Service(Protocol):
    """Something that answers calls and can be served: a server, a gateway.

    `start` is called once before the first call, `stop` once after the last, both in the event
    loop that serves; a service that was stopped may be started again.
    """

    @property
    def info(self) -> Implementation: ...

    @property
    def handle(self) -> Handler: ...

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


def stack(handler: Handler, middleware: Iterable[Middleware]) -> Handler:
    """*handler* inside *middleware*: the first of them sees a call first and its result last."""
    for wrap in reversed(list(middleware)):
        handler = wrap(handler)
    return handler
