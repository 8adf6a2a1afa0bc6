"""Open the way to a target and settle the era.

A client finds out what a server speaks by asking: `server/discover` first. A modern server answers
it; anything a legacy server does instead (an error of whatever code, silence, exiting) leads to
`initialize` (2026-07-28 § Versioning, Compatibility). No single error code decides.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any, Final, cast

import msgspec
from msgspec import Raw, Struct

from interlock.client.answers import Desk
from interlock.client.target import Command, Opener, Url
from interlock.errors import (
    HEADER_MISMATCH,
    MISSING_CAPABILITY,
    UNSUPPORTED_VERSION,
    ConfigError,
    ConnectFailed,
    ConnectionLost,
    InvalidMessage,
    PeerError,
    RpcError,
    TimedOut,
)
from interlock.protocol.call import Service
from interlock.protocol.dispatch import Dispatch
from interlock.protocol.exchange import Exchange
from interlock.protocol.outgoing import Outgoing
from interlock.protocol.session import Envelope, Session
from interlock.transport.channel import Channel
from interlock.transport.duplex import Duplex, Waiting, serve
from interlock.transport.http.client import HttpError, HttpLink, HttpRpcError
from interlock.transport.http.engine import AiohttpEngine
from interlock.transport.link import Link
from interlock.transport.memory import pair
from interlock.transport.process import ProcessChannel
from interlock.transport.warden import Warden
from interlock.wire.jsonrpc import UNREADABLE
from interlock.wire.lifecycle import DiscoverResult, InitializeParams, InitializeResult
from interlock.wire.meta import (
    ClientCapabilities,
    Implementation,
    Params,
)
from interlock.wire.methods import DISCOVER, INITIALIZE, TO_CLIENT
from interlock.wire.notices import INITIALIZED, ChangedNotice
from interlock.wire.versions import LATEST_LEGACY, LATEST_MODERN, LEGACY, MODERN, Revision

log: Final = logging.getLogger("interlock.client")

PROBE_SECONDS: Final = 3.0
"""Patience with a first question: a modern server that starts slowly must not be taken for a
legacy one, and a legacy one that ignores the question must not be waited for too long."""

_discovered: Final = msgspec.json.Decoder(DiscoverResult)
_initialized: Final = msgspec.json.Decoder(InitializeResult)


class Wish(Struct, frozen=True):
    """How to connect, whatever the target.

    *modern* and *legacy* are what may be settled on; one of them may be None. *on_notice* gets
    notifications that belong to no call, *on_stderr* what a started program writes there,
    *on_noise* what a peer sends that is no message. *timeout* is for all of connecting, *probe*
    for how long silence after `server/discover` may last before `initialize` is sent as well.
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
    warden: Warden | None = None

    def envelope(self, revision: Revision) -> Envelope:
        return Envelope(revision, self.info, self.capabilities)


async def open_link(target: Url | Command | Service | Opener, wish: Wish) -> Link:
    """Connect and settle the era, within the wish's timeout.

    Raises `ConnectFailed` or a subclass of `PeerError` that says why, leaving nothing running.
    """
    try:
        async with asyncio.timeout(wish.timeout):
            if isinstance(target, Url):
                return await _over_http(target, wish)
            if isinstance(target, Command):
                return await _over_channel(lambda: _start(target, wish), wish)
            if isinstance(target, Callable):
                return await _over_channel(target, wish)
            return await _over_channel(lambda: _join(target), wish)
    except TimeoutError:
        raise TimedOut(
            f"{wish.name} was not ready within {wish.timeout:g} s; give it longer if it installs "
            "something when it first starts"
        ) from None


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


# Over a channel: a child process, or a service in this process.


class ChannelLink:
    """A link over a duplex channel, with the task that reads it."""

    def __init__(self, channel: Channel, wish: Wish) -> None:
        self.greeting: InitializeResult | DiscoverResult
        self._wish = wish
        self._session = Session()
        self._exchange: Exchange[Waiting] = Exchange(TO_CLIENT, None)
        self.duplex = Duplex(
            channel,
            self._exchange,
            Dispatch(wish.desk),
            on_notice=wish.on_notice,
            on_noise=wish.on_noise,
        )
        self.handle = self.duplex.handle
        self.notify = self.duplex.notify
        self.envelope = wish.envelope(wish.modern or LATEST_LEGACY)
        self._channel = channel
        self._reading = asyncio.create_task(self._read(), name=f"interlock {wish.name}")
        self._closing = False

    async def wait_lost(self) -> Exception | None:
        await asyncio.wait([self._reading])
        return None if self._closing else self._channel.failure()

    async def close(self) -> None:
        self._closing = True
        await self._channel.close()
        self._reading.cancel()
        await asyncio.wait([self._reading])

    async def discover(self, revision: Revision) -> None:
        raw = await self.duplex.ask(DISCOVER, _discovery(self._wish, revision))
        self.settle(revision, _discovery_of(raw, revision, self._wish))

    async def initialize(self, revision: Revision) -> None:
        raw = await self.duplex.ask(INITIALIZE, _handshake(self._wish, revision))
        greeting = _greeted(raw, self._wish)
        settled = LEGACY[greeting.protocol_version]
        # What the server may ask of us goes by the revision and capabilities we settled on.
        self._session.open(_handshake(self._wish, settled))
        self._session.initialized()
        self._exchange.session = self._session
        self.settle(settled, greeting)
        self.duplex.notify(INITIALIZED, ChangedNotice())

    def settle(self, revision: Revision, greeting: InitializeResult | DiscoverResult) -> None:
        self.envelope = self._wish.envelope(revision)
        self.duplex.outgoing = Outgoing(self.envelope)
        self.greeting = greeting

    async def _read(self) -> None:
        # Why the channel ended is the channel's to tell; here it only has ended.
        with contextlib.suppress(PeerError):
            await self.duplex.run()


async def _over_channel(opener: Opener, wish: Wish) -> Link:
    link = ChannelLink(await opener(), wish)
    try:
        if wish.modern is None:
            assert wish.legacy is not None
            await link.initialize(wish.legacy)
        elif wish.legacy is None:
            await link.discover(wish.modern)
        else:
            await _settle_by_asking(link, wish, wish.modern, wish.legacy)
    except ConnectionLost:
        await link.close()
        if wish.modern is None or wish.legacy is None:
            raise
    except (RpcError, *UNREADABLE) as error:
        await link.close()
        raise _refused(wish, error) from error
    except BaseException:
        await link.close()
        raise
    else:
        return link
    # Some servers exit at a first message they do not know. Start again, and ask nothing.
    return await _over_channel(opener, msgspec.structs.replace(wish, modern=None))


async def _settle_by_asking(
    link: ChannelLink, wish: Wish, modern: Revision, legacy: Revision
) -> None:
    """Ask `server/discover`; where that leads to nothing, greet as a legacy client."""
    probe = asyncio.create_task(link.discover(modern))
    handshake: asyncio.Task[None] | None = None
    try:
        await asyncio.wait([probe], timeout=wish.probe)
        if not probe.done():
            # Silent, or slow to start: whichever of the two it answers well first decides.
            handshake = asyncio.create_task(link.initialize(legacy))
            await asyncio.wait([probe, handshake], return_when=asyncio.FIRST_COMPLETED)
            if not probe.done() and handshake.exception() is not None:
                # A slow modern server refuses the one and may still answer the other.
                await asyncio.wait([probe], timeout=wish.probe)
            if not probe.done():
                return await handshake
        try:
            return probe.result()
        except RpcError as error:
            _stays_modern(error, wish)
        except (InvalidMessage, _Elsewhere, *UNREADABLE):
            pass  # An answer that is none of a modern server we can speak with.
        if handshake is None:
            return await link.initialize(legacy)
        return await handshake
    finally:
        for task in (probe, handshake):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
                if not task.cancelled():
                    task.exception()  # Read: the one that decided was raised or returned above.


class _Elsewhere(Exception):
    """A server answered `server/discover`, to say that it speaks other revisions than ours."""


def _refused(wish: Wish, error: Exception) -> ConnectFailed:
    hint = ""
    if wish.legacy is None:
        hint = f". It may not speak {wish.modern}: revision='auto' finds out what it does speak"
    elif wish.modern is None:
        hint = ". It may have no handshake any more: revision='auto' finds out what it speaks"
    return ConnectFailed(f"{wish.name} did not complete the handshake: {error}{hint}")


def _stays_modern(error: RpcError, wish: Wish) -> None:
    """Raise what a modern server's refusal means; return if the peer seems a legacy one."""
    if error.code in (HEADER_MISMATCH, MISSING_CAPABILITY):
        raise error
    supported = _supported(error)
    if supported and not any(version in LEGACY for version in supported):
        ours = wish.modern.name if wish.modern is not None else ""
        if ours not in supported:
            raise ConnectFailed(
                f"{wish.name} speaks {', '.join(supported)}; we speak {ours} and "
                f"{', '.join(LEGACY)}"
            )


def _supported(error: RpcError) -> list[str]:
    """The revisions that a refusal names."""
    data: Any = error.data
    if error.code != UNSUPPORTED_VERSION or not isinstance(data, dict):
        return []
    named: Any = cast("dict[str, Any]", data).get("supported")
    if not isinstance(named, list):
        return []
    return [version for version in cast("list[Any]", named) if isinstance(version, str)]


async def _start(target: Command, wish: Wish) -> Channel:
    return await ProcessChannel.start(
        target.command,
        target.args,
        env=target.env,
        cwd=target.cwd,
        name=wish.name,
        on_stderr=wish.on_stderr,
        warden=wish.warden,
    )


class _JoinedChannel:
    """Our end of a pair whose other end is served in this process."""

    def __init__(self, channel: Channel, service: Service, serving: asyncio.Task[None]) -> None:
        self._channel = channel
        self._service = service
        self._serving = serving
        self.receive = channel.receive
        self.send = channel.send
        self.drain = channel.drain
        self.failure = channel.failure
        self._closed = False

    @property
    def backlog(self) -> int:
        return self._channel.backlog

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        await self._channel.close()
        self._serving.cancel()
        await asyncio.wait([self._serving])
        if not self._serving.cancelled() and (error := self._serving.exception()) is not None:
            log.error("%s failed to serve", self._service.info.name, exc_info=error)
        await self._service.stop()


async def _join(service: Service) -> Channel:
    await service.start()
    ours, theirs = pair()
    serving = asyncio.create_task(serve(service, theirs), name=f"interlock {service.info.name}")
    return _JoinedChannel(ours, service, serving)


# Over HTTP.


class _HttpLink(HttpLink):
    """An `HttpLink` that remembers what it was greeted with."""

    greeting: InitializeResult | DiscoverResult

    @property
    def envelope(self) -> Envelope:
        assert self.outgoing is not None
        return self.outgoing.envelope


async def _over_http(target: Url, wish: Wish) -> Link:
    link = _HttpLink(
        target.url,
        AiohttpEngine(),
        Dispatch(wish.desk),
        headers=target.headers,
        on_notice=wish.on_notice,
    )
    try:
        if wish.modern is not None and await _discovers(link, wish, wish.modern):
            return link
        if wish.legacy is None:
            raise ConnectFailed(f"{wish.name} does not speak {wish.modern}")
        params = _handshake(wish, wish.legacy)
        raw, session_id = await link.ask(INITIALIZE, params)
        greeting = _greeted(raw, wish)
        settled = LEGACY[greeting.protocol_version]
        session = Session()
        session.open(_handshake(wish, settled))
        session.initialized()
        link.keep_session(session_id)
        link.settle(Outgoing(wish.envelope(settled)), session)
        link.greeting = greeting
        await link.tell(b'{"jsonrpc":"2.0","method":"%b"}' % INITIALIZED.encode())
        link.listen()
        return link
    except (RpcError, *UNREADABLE) as error:
        await link.close()
        raise _refused(wish, error) from error
    except BaseException:
        await link.close()
        raise


async def _discovers(link: _HttpLink, wish: Wish, revision: Revision) -> bool:
    """Whether the URL answers `server/discover`. Outages and log-ins are no evidence of an era."""
    for attempt in range(2):
        try:
            raw, _ = await link.ask(DISCOVER, _discovery(wish, revision), revision=revision)
            greeting = _discovery_of(raw, revision, wish)
        except RpcError as error:
            if revision.name in _supported(error) and attempt == 0:
                continue
            if isinstance(error, HttpRpcError) and error.status in (401, 403, 500, 502, 503, 504):
                raise ConnectFailed(f"{wish.name}: {error}") from error
            _stays_modern(error, wish)
            return False
        except HttpError as error:
            if error.status in (401, 403) or error.status >= 500 or error.status < 400:
                raise
            return False
        except (InvalidMessage, _Elsewhere, *UNREADABLE):
            return False
        link.settle(Outgoing(wish.envelope(revision)))
        link.greeting = greeting
        return True
    return False


def _discovery_of(raw: Raw, revision: Revision, wish: Wish) -> DiscoverResult:
    greeting = _discovered.decode(raw)
    offered = greeting.supported_versions
    if offered and revision.name not in offered:
        if wish.legacy is not None and any(version in LEGACY for version in offered):
            raise _Elsewhere
        raise ConnectFailed(
            f"{wish.name} speaks {', '.join(offered)}; we speak {revision} and {', '.join(LEGACY)}"
        )
    return greeting


def _discovery(wish: Wish, revision: Revision) -> Raw:
    return Raw(Outgoing(wish.envelope(revision)).stamped(Params()))


def _handshake(wish: Wish, revision: Revision) -> InitializeParams:
    return InitializeParams(
        protocol_version=revision.name,
        capabilities=wish.capabilities,
        client_info=wish.info,
    )


def _greeted(raw: Raw, wish: Wish) -> InitializeResult:
    greeting = _initialized.decode(raw)
    if greeting.protocol_version not in LEGACY:
        raise ConnectFailed(
            f"{wish.name} wants to speak {greeting.protocol_version!r}; we speak "
            f"{', '.join(LEGACY)} with a handshake"
        )
    return greeting
