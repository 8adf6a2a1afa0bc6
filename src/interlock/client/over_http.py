"""A way to a server at a URL: which of HTTP's transports it speaks, and in which era.

One that refuses the handshake of Streamable HTTP may be of 2024, when messages came on a stream of
their own (2026-07-28 § Streamable HTTP, Backwards Compatibility).
"""

from __future__ import annotations

import asyncio
import contextlib

import msgspec

from interlock.client.greeting import (
    Elsewhere,
    OnPerson,
    Wish,
    discovery,
    hello,
    read_discovery,
    read_greeting,
    refused,
    stays_modern,
    supported_by,
)
from interlock.client.over_channel import over_channel
from interlock.client.renewing import RenewingLink
from interlock.client.target import Url
from interlock.errors import (
    ConnectFailed,
    HttpError,
    HttpRpcError,
    InvalidMessage,
    PeerError,
    RpcError,
    TimedOut,
)
from interlock.protocol.dispatch import Dispatch
from interlock.protocol.outgoing import Outgoing
from interlock.protocol.session import Envelope, Session
from interlock.transport.http.client import HttpLink
from interlock.transport.http.engine import AiohttpEngine, Engine
from interlock.transport.http.sse2024_client import open_sse
from interlock.transport.link import Link
from interlock.wire.jsonrpc import UNREADABLE
from interlock.wire.lifecycle import DiscoverResult, InitializeResult
from interlock.wire.methods import DISCOVER, INITIALIZE
from interlock.wire.notices import INITIALIZED
from interlock.wire.versions import LEGACY, Revision


class _Link(HttpLink):
    """An `HttpLink` that remembers what it was greeted with."""

    greeting: InitializeResult | DiscoverResult

    @property
    def envelope(self) -> Envelope:
        assert self.outgoing is not None
        return self.outgoing.envelope


async def over_http(target: Url, wish: Wish) -> Link:
    """Find out what the server at a URL speaks, and speak it."""
    link = _link_to(target, wish)
    try:
        if wish.modern is not None and await _discovers(link, wish, wish.modern):
            return link
        if wish.legacy is None:
            raise ConnectFailed(f"{wish.name} does not speak {wish.modern}")
        await _greet(link, wish, wish.legacy)
    except HttpError as error:
        await link.close()
        if wish.legacy is None or not _may_be_of_2024(error):
            raise
        refusal = error
    except (RpcError, *UNREADABLE) as error:
        await link.close()
        raise refused(wish, error) from error
    except BaseException:
        await link.close()
        raise
    else:
        return _renewing(link, target, wish) if link.session_id is not None else link
    try:
        return await over_sse(target, wish)
    except HttpError as error:
        if error.status in (401, 403):
            raise
        raise _neither(wish, refusal, error) from error
    except ConnectFailed as error:
        raise _neither(wish, refusal, error) from error


async def over_sse(target: Url, wish: Wish) -> Link:
    """Speak the HTTP+SSE transport of 2024, in which only handshakes begin a conversation."""
    if wish.legacy is None:
        raise ConnectFailed(
            f"{wish.name} is reached over HTTP+SSE, which carries no {wish.modern}; "
            "revision='auto' speaks what it does carry"
        )
    return await over_channel(
        lambda: open_sse(target.url, _engine(target, wish.on_person), target.headers),
        msgspec.structs.replace(wish, modern=None),
    )


def with_time_for_people(wish: Wish, clock: asyncio.Timeout) -> Wish:
    """*wish*, whose time does not run while a person logs in, and begins anew afterwards."""
    loop = asyncio.get_running_loop()

    def on_person(waiting: bool) -> None:
        with contextlib.suppress(RuntimeError):  # It has run out, or connecting is over.
            clock.reschedule(None if waiting else loop.time() + wish.timeout)
        if wish.on_person is not None:
            wish.on_person(waiting)

    return msgspec.structs.replace(wish, on_person=on_person)


def _engine(target: Url, on_person: OnPerson | None) -> Engine:
    engine = AiohttpEngine()
    if target.authorization is None:
        return engine
    return target.authorization.around(engine, target.url, on_person)


def _link_to(target: Url, wish: Wish) -> _Link:
    link: _Link

    def on_person(waiting: bool) -> None:
        link.wait_for_person(waiting)
        if wish.on_person is not None:
            wish.on_person(waiting)

    link = _Link(
        target.url,
        _engine(target, on_person),
        Dispatch(wish.desk),
        headers=target.headers,
        on_notice=wish.on_notice,
    )
    return link


async def _greet(link: _Link, wish: Wish, revision: Revision) -> None:
    raw, session_id = await link.ask(INITIALIZE, hello(wish, revision))
    greeting = read_greeting(raw, wish)
    settled = LEGACY[greeting.protocol_version]
    session = Session()
    session.open(hello(wish, settled))
    session.initialized()
    link.keep_session(session_id)
    link.settle(Outgoing(wish.envelope(settled)), session)
    link.greeting = greeting
    await link.tell(b'{"jsonrpc":"2.0","method":"%b"}' % INITIALIZED.encode())
    link.listen()


def _renewing(link: _Link, target: Url, wish: Wish) -> Link:
    settled = link.envelope.revision

    async def again() -> _Link:
        clock = asyncio.timeout(wish.timeout)
        fresh = _link_to(target, with_time_for_people(wish, clock))
        try:
            async with clock:
                await _greet(fresh, wish, settled)
        except TimeoutError:
            await fresh.close()
            raise TimedOut(f"{wish.name} began no new session within {wish.timeout:g} s") from None
        except (RpcError, *UNREADABLE) as error:
            await fresh.close()
            raise refused(wish, error) from error
        except BaseException:
            await fresh.close()
            raise
        return fresh

    return RenewingLink(link, again, on_notice=wish.on_notice, listening=wish.listening)


def _may_be_of_2024(error: HttpError) -> bool:
    return 400 <= error.status < 500 and error.status not in (401, 403)


def _neither(wish: Wish, one: PeerError, other: PeerError) -> ConnectFailed:
    return ConnectFailed(
        f"{wish.name} speaks neither Streamable HTTP ({one}) nor the HTTP+SSE of 2024 ({other})"
    )


async def _discovers(link: _Link, wish: Wish, revision: Revision) -> bool:
    """Whether the URL answers `server/discover`. Outages and log-ins are no evidence of an era."""
    for attempt in range(2):
        try:
            raw, _ = await link.ask(DISCOVER, discovery(wish, revision), revision=revision)
            greeting = read_discovery(raw, revision, wish)
        except RpcError as error:
            if revision.name in supported_by(error) and attempt == 0:
                continue
            if isinstance(error, HttpRpcError) and error.status in (401, 403, 500, 502, 503, 504):
                raise ConnectFailed(f"{wish.name}: {error}") from error
            stays_modern(error, wish)
            return False
        except HttpError as error:
            if error.status in (401, 403) or error.status >= 500 or error.status < 400:
                raise
            return False
        except (InvalidMessage, Elsewhere, *UNREADABLE):
            return False
        link.settle(Outgoing(wish.envelope(revision)))
        link.greeting = greeting
        return True
    return False
