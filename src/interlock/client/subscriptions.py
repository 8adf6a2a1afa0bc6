"""Hear of changes from a modern server: one `subscriptions/listen`, kept open."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Final

from msgspec import Raw

from interlock.errors import PeerError, RpcError
from interlock.protocol.call import Call
from interlock.transport.link import Link
from interlock.wire.jsonrpc import encode
from interlock.wire.meta import Wire
from interlock.wire.methods import BY_NAME, LISTEN
from interlock.wire.notices import ACKNOWLEDGED, Filter, ListenParams

log: Final = logging.getLogger("interlock.client")

PAUSES: Final = (1.0, 2.0, 5.0, 15.0, 30.0)


class _Ear:
    """The outlet of a listen call: hands on what it hears."""

    def __init__(self, on_notice: Callable[[str, Raw], None]) -> None:
        self._on_notice = on_notice
        self.heard = False

    def notify(self, method: str, params: Wire | Raw) -> None:
        self.heard = True
        if method != ACKNOWLEDGED:
            self._on_notice(method, params if isinstance(params, Raw) else Raw(encode(params)))

    async def drain(self) -> None:
        pass

    async def ask(self, method: str, params: Wire | Raw) -> Raw:
        raise RpcError(-32601, f"{method} cannot be asked on a subscription")


async def listen(link: Link, filter: Filter, on_notice: Callable[[str, Raw], None]) -> None:
    """Listen until cancelled; what breaks off is opened again after growing pauses with jitter.

    Ends by itself if the server refuses, or ends the subscription with a result.
    """
    tries = 0
    while True:
        ear = _Ear(on_notice)
        call = Call(BY_NAME[LISTEN], ListenParams(notifications=filter), link.envelope, outlet=ear)
        try:
            await link.handle(call)
            return
        except RpcError as error:
            log.debug("no subscription: %s", error)
            return
        except PeerError as error:
            log.debug("subscription broke off: %s", error)
        tries = 0 if ear.heard else tries + 1
        pause = PAUSES[min(tries, len(PAUSES) - 1)]
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  jitter, no secret
