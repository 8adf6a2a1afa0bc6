"""Open the way to a target and settle the era.

A client finds out what a server speaks by asking: `server/discover` first. A modern server answers
it; anything a legacy server does instead (an error of whatever code, silence, exiting) leads to
`initialize` (2026-07-28 § Versioning, Compatibility). No single error code decides.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from interlock.client.greeting import Wish
from interlock.client.in_process import in_process
from interlock.client.over_channel import over_channel
from interlock.client.target import WEBSOCKET, Command, Opener, Url
from interlock.errors import TimedOut
from interlock.protocol.call import Service
from interlock.transport.channel import Channel
from interlock.transport.duplex import serve
from interlock.transport.link import Link
from interlock.transport.memory import pair

log: Final = logging.getLogger("interlock.client")


async def open_link(target: Url | Command | Service | Opener, wish: Wish) -> Link:
    """Connect and settle the era, within the wish's timeout.

    Raises `ConnectFailed` or a subclass of `PeerError` that says why, leaving nothing running.
    """
    try:
        async with asyncio.timeout(wish.timeout) as clock:
            if isinstance(target, Url):
                return await _over_url(target, wish, clock)
            if isinstance(target, Command):
                return await over_channel(lambda: _start(target, wish), wish)
            if isinstance(target, Callable):
                return await over_channel(target, wish)
            link = await in_process(target, wish)
            return link or await over_channel(lambda: _join(target), wish)
    except TimeoutError:
        raise TimedOut(
            f"{wish.name} was not ready within {wish.timeout:g} s; give it longer if it installs "
            "something when it first starts"
        ) from None


async def _over_url(target: Url, wish: Wish, clock: asyncio.Timeout) -> Link:
    # Kept out of programs that reach nothing by URL, with the HTTP library beneath.
    from interlock.client.over_http import over_http, over_sse, with_time_for_people
    from interlock.transport.websocket_client import open_websocket

    if urlsplit(target.url).scheme in WEBSOCKET:
        return await over_channel(lambda: open_websocket(target.url, target.headers), wish)
    wish = with_time_for_people(wish, clock)
    if target.transport == "sse":
        return await over_sse(target, wish)
    return await over_http(target, wish)


async def _start(target: Command, wish: Wish) -> Channel:
    # Kept out of programs that start no others, with what tells the kernel about children.
    from interlock.transport.process import ProcessChannel

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
