"""The way back of a call through the gateway: what an upstream says while it works on it."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Raw

from interlock.errors import METHOD_NOT_FOUND, RpcError
from interlock.protocol.call import Call
from interlock.wire.jsonrpc import UNREADABLE
from interlock.wire.meta import LOG_LEVELS, Wire
from interlock.wire.notices import MESSAGE, PROGRESS, LogNotice, ProgressNotice

_NEVER: Final = len(LOG_LEVELS)
_log: Final = msgspec.json.Decoder(LogNotice)


class Relay:
    """The outlet of a call upstream: hands on to the caller what the caller asked to hear.

    Progress goes under the caller's own token, and log lines from the caller's own level.
    """

    __slots__ = ("_call", "_least", "_token")

    def __init__(self, call: Call) -> None:
        meta = call.params.meta
        self._call = call
        self._token = meta.progress_token if meta is not None else None
        level = call.envelope.log_level
        if level is None and not call.envelope.revision.modern:
            level = "info"
        self._least = LOG_LEVELS.index(level) if level is not None else _NEVER

    def notify(self, method: str, params: Wire | Raw) -> None:
        if method == PROGRESS:
            if self._token is not None and isinstance(params, ProgressNotice):
                notice = msgspec.structs.replace(params, progress_token=self._token, meta=None)
                self._call.outlet.notify(PROGRESS, notice)
        elif method == MESSAGE and isinstance(params, Raw):
            try:
                level = _log.decode(params).level
            except UNREADABLE:
                return
            if LOG_LEVELS.index(level) >= self._least:
                self._call.outlet.notify(MESSAGE, params)

    async def drain(self) -> None:
        await self._call.outlet.drain()

    async def ask(self, method: str, params: Wire | Raw, *, key: str = "") -> Raw:
        raise RpcError(METHOD_NOT_FOUND, f"{method} is not relayed by this gateway yet")

    def close_stream(self, retry: float) -> None:
        pass
