"""What is said to a server first, in either era, and what its answer means."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias, cast

import msgspec
from msgspec import Raw, Struct

from interlock.client.answers import Desk
from interlock.client.reading import without_bad_hints
from interlock.errors import (
    HEADER_MISMATCH,
    MISSING_CAPABILITY,
    UNSUPPORTED_VERSION,
    ConfigError,
    ConnectFailed,
    RpcError,
)
from interlock.protocol.outgoing import Outgoing
from interlock.protocol.session import Envelope
from interlock.transport.link import Guardian
from interlock.wire import tasks
from interlock.wire.lifecycle import DiscoverResult, InitializeParams, InitializeResult
from interlock.wire.meta import ClientCapabilities, Implementation, Params
from interlock.wire.versions import LATEST_LEGACY, LATEST_MODERN, LEGACY, MODERN, Revision

PROBE_SECONDS: Final = 3.0
"""Patience with a first question: a modern server that starts slowly must not be taken for a
legacy one, and a legacy one that ignores the question must not be waited for too long."""

OnPerson: TypeAlias = Callable[[bool], None]

_discovered: Final = msgspec.json.Decoder(DiscoverResult)
_initialized: Final = msgspec.json.Decoder(InitializeResult)


class Wish(Struct, frozen=True):
    """How to connect, whatever the target.

    *modern* and *legacy* are what may be settled on; one of them may be None. *on_notice* gets
    notifications that belong to no call, *on_stderr* what a started program writes there,
    *on_noise* what a peer sends that is no message. *timeout* is for all of connecting, *probe*
    for how long silence after `server/discover` may last before `initialize` is sent as well.
    *on_person* hears when a person is waited for, and when that is over.
    With *listening* somebody waits for notifications, whether or not calls are made.
    """

    name: str
    info: Implementation
    capabilities: ClientCapabilities
    desk: Desk
    modern: Revision | None = LATEST_MODERN
    legacy: Revision | None = LATEST_LEGACY
    timeout: float = 30.0
    probe: float = PROBE_SECONDS
    on_notice: Callable[[str, Raw], None] | None = None
    on_stderr: Callable[[str], None] | None = None
    on_noise: Callable[[str], None] | None = None
    on_person: OnPerson | None = None
    warden: Guardian | None = None
    listening: bool = False

    def envelope(self, revision: Revision) -> Envelope:
        capabilities = self.capabilities if revision.modern else tasks.without(self.capabilities)
        return Envelope(revision, self.info, capabilities)


def wished(revision: str) -> tuple[Revision | None, Revision | None]:
    """The modern and the legacy revision that a user's word allows: "auto", an era, or a date."""
    match revision:
        case "auto":
            return LATEST_MODERN, LATEST_LEGACY
        case "modern":
            return LATEST_MODERN, None
        case "legacy":
            return None, LATEST_LEGACY
        case name if name in MODERN:
            return MODERN[name], None
        case name if name in LEGACY:
            return None, LEGACY[name]
        case _:
            pass
    known = ", ".join([*LEGACY, *MODERN])
    raise ConfigError(f"{revision!r} is no revision: auto, modern, legacy or one of {known}")


class Elsewhere(Exception):
    """A server answered `server/discover`, to say that it speaks other revisions than ours."""


def refused(wish: Wish, error: Exception) -> ConnectFailed:
    hint = ""
    if wish.legacy is None:
        hint = f". It may not speak {wish.modern}: revision='auto' finds out what it does speak"
    elif wish.modern is None:
        hint = ". It may have no handshake any more: revision='auto' finds out what it speaks"
    return ConnectFailed(f"{wish.name} did not complete the handshake: {error}{hint}")


def stays_modern(error: RpcError, wish: Wish) -> None:
    """Raise what a modern server's refusal means; return if the peer seems a legacy one."""
    if error.code in (HEADER_MISMATCH, MISSING_CAPABILITY):
        raise error
    supported = supported_by(error)
    if supported and not any(version in LEGACY for version in supported):
        ours = wish.modern.name if wish.modern is not None else ""
        if ours not in supported:
            raise ConnectFailed(
                f"{wish.name} speaks {', '.join(supported)}; we speak {ours} and "
                f"{', '.join(LEGACY)}"
            )


def supported_by(error: RpcError) -> list[str]:
    """The revisions that a refusal names."""
    data: Any = error.data
    if error.code != UNSUPPORTED_VERSION or not isinstance(data, dict):
        return []
    named: Any = cast("dict[str, Any]", data).get("supported")
    if not isinstance(named, list):
        return []
    return [version for version in cast("list[Any]", named) if isinstance(version, str)]


def read_discovery(raw: Raw, revision: Revision, wish: Wish) -> DiscoverResult:
    try:
        greeting = _discovered.decode(raw)
    except msgspec.ValidationError:
        fields = without_bad_hints(msgspec.json.decode(raw, type=dict[str, Any]))
        greeting = msgspec.convert(fields, DiscoverResult)
    offered = greeting.supported_versions
    if offered and revision.name not in offered:
        if wish.legacy is not None and any(version in LEGACY for version in offered):
            raise Elsewhere
        raise ConnectFailed(
            f"{wish.name} speaks {', '.join(offered)}; we speak {revision} and {', '.join(LEGACY)}"
        )
    return greeting


def discovery(wish: Wish, revision: Revision) -> Raw:
    return Raw(Outgoing(wish.envelope(revision)).stamped(Params()))


def hello(wish: Wish, revision: Revision) -> InitializeParams:
    return InitializeParams(
        protocol_version=revision.name,
        capabilities=tasks.without(wish.capabilities),
        client_info=wish.info,
    )


def read_greeting(raw: Raw, wish: Wish) -> InitializeResult:
    greeting = _initialized.decode(raw)
    if greeting.protocol_version not in LEGACY:
        raise ConnectFailed(
            f"{wish.name} wants to speak {greeting.protocol_version!r}; we speak "
            f"{', '.join(LEGACY)} with a handshake"
        )
    return greeting
