"""A way to a server over a channel: a program's pipes, a socket, a service in this process."""

from __future__ import annotations

import asyncio
import contextlib

import msgspec

from interlock.client.greeting import (
    Elsewhere,
    Wish,
    discovery,
    hello,
    read_discovery,
    read_greeting,
    refused,
    stays_modern,
)
from interlock.client.target import Opener
from interlock.errors import ConnectionLost, InvalidMessage, PeerError, RpcError
from interlock.protocol.dispatch import Dispatch
from interlock.protocol.exchange import Exchange
from interlock.protocol.outgoing import Outgoing
from interlock.protocol.session import Session
from interlock.transport.channel import Channel
from interlock.transport.duplex import Duplex, Waiting
from interlock.transport.link import Link
from interlock.wire.jsonrpc import UNREADABLE
from interlock.wire.lifecycle import DiscoverResult, InitializeResult
from interlock.wire.methods import DISCOVER, INITIALIZE, TO_CLIENT
from interlock.wire.notices import INITIALIZED, ChangedNotice
from interlock.wire.versions import LATEST_LEGACY, LEGACY, Revision


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
        raw = await self.duplex.ask(DISCOVER, discovery(self._wish, revision))
        self.settle(revision, read_discovery(raw, revision, self._wish))

    async def initialize(self, revision: Revision) -> None:
        raw = await self.duplex.ask(INITIALIZE, hello(self._wish, revision))
        greeting = read_greeting(raw, self._wish)
        settled = LEGACY[greeting.protocol_version]
        # What the server may ask of us goes by the revision and capabilities we settled on.
        self._session.open(hello(self._wish, settled))
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


async def over_channel(opener: Opener, wish: Wish) -> Link:
    """Open a channel and settle the era over it; opens a second one if the first ends at once."""
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
        raise refused(wish, error) from error
    except BaseException:
        await link.close()
        raise
    else:
        return link
    # Some servers exit at a first message they do not know. Start again, and ask nothing.
    return await over_channel(opener, msgspec.structs.replace(wish, modern=None))


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
            stays_modern(error, wish)
        except (InvalidMessage, Elsewhere, *UNREADABLE):
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
