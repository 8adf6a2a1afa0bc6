"""The way back of a call through the gateway: what an upstream says and asks while it works on it."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Raw

from interlock.errors import INVALID_PARAMS, RpcError
from interlock.protocol.call import Call
from interlock.wire.inputs import ASKED, ELICIT, ROOTS, SAMPLE
from interlock.wire.jsonrpc import UNREADABLE, encode
from interlock.wire.meta import LOG_LEVELS, ClientCapabilities, Wire, members
from interlock.wire.notices import MESSAGE, PROGRESS, LogNotice, ProgressNotice

EVERYTHING: Final = ClientCapabilities(
    elicitation={"form": {}, "url": {}}, sampling={"tools": {}, "context": {}}, roots={}
)
"""What the gateway can do for a server of the handshake era: what its callers can, whoever they
will be. A caller that cannot after all is not asked; the server gets an error."""

_NEVER: Final = len(LOG_LEVELS)
_log: Final = msgspec.json.Decoder(LogNotice)
_text: Final = msgspec.json.Decoder(str)
_any: Final = msgspec.json.Decoder(dict[str, Any])


class Relay:
    """The outlet of a call upstream: hands on to the caller what the caller asked to hear.

    Progress goes under the caller's own token, and log lines from the caller's own level. What the
    server asks goes to the caller too, if it declared that it can be asked; a person is told which
    server it is.
    """

    __slots__ = ("_least", "call", "server")

    def __init__(self, call: Call, server: str = "") -> None:
        self.call = call
        self.server = server
        level = call.envelope.log_level
        if level is None and not call.envelope.revision.modern:
            level = "info"
        self._least = LOG_LEVELS.index(level) if level is not None else _NEVER

    def notify(self, method: str, params: Wire | Raw) -> None:
        if method == PROGRESS:
            # A call that asked goes on under the token of its retry.
            meta = self.call.params.meta
            token = meta.progress_token if meta is not None else None
            if token is not None and isinstance(params, ProgressNotice):
                notice = msgspec.structs.replace(params, progress_token=token, meta=None)
                self.call.outlet.notify(PROGRESS, notice)
        elif method == MESSAGE and isinstance(params, Raw):
            try:
                level = _log.decode(params).level
            except UNREADABLE:
                return
            if LOG_LEVELS.index(level) >= self._least:
                self.call.outlet.notify(MESSAGE, params)

    async def drain(self) -> None:
        await self.call.outlet.drain()

    async def ask(self, method: str, params: Wire | Raw, *, key: str = "") -> Raw:
        data = params if isinstance(params, Raw) else Raw(encode(params))
        if not self.may_ask(method, data):
            raise RpcError(
                INVALID_PARAMS, f"The client behind this gateway does not answer {method}"
            )
        return await self.call.outlet.ask(method, attributed(method, data, self.server), key=key)

    def close_stream(self, retry: float) -> None:
        pass

    def may_ask(self, method: str, params: Raw) -> bool:
        """Whether the caller declared that it answers this."""
        declared = self.call.envelope.capabilities
        if method == ROOTS:
            return declared.roots is not None
        if method not in ASKED:
            return False
        try:
            asked = _any.decode(params)
        except UNREADABLE:
            return False
        if method == SAMPLE:
            have = declared.sampling
            return have is not None and (not asked.get("tools") or "tools" in have)
        have, mode = declared.elicitation, asked.get("mode", "form")
        return have is not None and (mode in have or (mode == "form" and not have))


def attributed(method: str, params: Raw, server: str) -> Raw:
    """A question with the name of the server that asks it, where a person reads it (§ Elicitation:
    make clear which server asks).
    """
    if method != ELICIT or not server:
        return params
    try:
        fields = members(params)
        fields["message"] = Raw(encode(f"[{server}] {_text.decode(fields['message'])}"))
    except (KeyError, *UNREADABLE):
        return params  # Malformed; the client will say so better than we could.
    return Raw(encode(fields))
