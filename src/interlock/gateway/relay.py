"""The way back of a call through the gateway: what an upstream says and asks while it works on it."""

from __future__ import annotations

import os
from typing import Any, Final, cast

import msgspec
from msgspec import Raw, field

from interlock.errors import (
    INTERNAL_ERROR,
    InvalidMessage,
    MissingCapability,
    PeerError,
    RpcError,
)
from interlock.protocol.call import Call
from interlock.protocol.session import Envelope
from interlock.wire.inputs import ASKED, ELICIT, ROOTS, SAMPLE
from interlock.wire.jsonrpc import UNREADABLE, encode
from interlock.wire.meta import LOG_LEVELS, ClientCapabilities, Wire, carried, members
from interlock.wire.notices import MESSAGE, PROGRESS, LogNotice, ProgressNotice
from interlock.wire.versions import V2025_06_18, V2025_11_25

EVERYTHING: Final = ClientCapabilities(
    elicitation={"form": {}, "url": {}}, sampling={"tools": {}, "context": {}}, roots={}
)
"""What the gateway can do for a server of the handshake era: what its callers can, whoever they
will be. A caller that cannot after all is not asked; the server gets an error."""

_NEVER: Final = len(LOG_LEVELS)
_log: Final = msgspec.json.Decoder(LogNotice)
_text: Final = msgspec.json.Decoder(str)
_messages: Final = msgspec.json.Decoder(list[dict[str, Any]])
_any: Final = msgspec.json.Decoder(dict[str, Any])
_questions: Final = msgspec.json.Decoder(dict[str, dict[str, Raw]])
_NOTHING: Final = Raw(b"{}")


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
        """Ask the caller. Raises `MissingCapability` where it did not declare that it answers."""
        data = params if isinstance(params, Raw) else Raw(encode(params))
        call = self.call
        if missing := undeclared(call.envelope, method, data):
            raise MissingCapability(missing, f"The client behind this gateway answers no {method}")
        try:
            return await call.outlet.ask(method, worded(call, method, data, self.server), key=key)
        except PeerError as error:
            raise RpcError(
                INTERNAL_ERROR, f"The client behind this gateway did not answer {method}: {error}"
            ) from error

    def close_stream(self, retry: float) -> None:
        pass


def undeclared(envelope: Envelope, method: str, params: Raw) -> dict[str, Any]:
    """What a caller would have to declare, and did not, to be asked this; empty if it may be.

    Raises `InvalidMessage` for what nobody can be asked.
    """
    if method not in ASKED:
        raise InvalidMessage(f"{method} is nothing that a client can be asked")
    try:
        asked = _any.decode(params) if params else {}
    except UNREADABLE as error:
        raise InvalidMessage(f"{method} was asked in a way that cannot be read: {error}") from None
    # A client of several revisions declares all it can do; older ones have no words for the rest.
    wordless = envelope.revision < V2025_11_25
    if method == ROOTS:
        return {} if envelope.capabilities.roots is not None else {"roots": {}}
    if method == SAMPLE:
        have = envelope.capabilities.sampling
        if not (asked.get("tools") or asked.get("toolChoice")):
            return {} if have is not None else {"sampling": {}}
        able = have is not None and "tools" in have and not wordless
        return {} if able else {"sampling": {"tools": {}}}
    have, mode = envelope.capabilities.elicitation, asked.get("mode", "form")
    if envelope.revision < V2025_06_18:
        have = None
    if mode == "url":
        able = have is not None and mode in have and not wordless
        return {} if able else {"elicitation": {"url": {}}}
    # An empty declaration means forms, which were there before the word for them.
    able = have is not None and (not have or "form" in have)
    if wordless and _has_several(params):
        able = False  # A choice of several, which is no form yet.
    return {} if able else {"elicitation": {"form": {}}}


class _Member(Wire):
    kind: str = field(default="", name="type")


class _Form(Wire):
    properties: dict[str, _Member] = field(default_factory=dict[str, _Member])


class _Asked(Wire):
    requested_schema: _Form | None = None


_asked: Final = msgspec.json.Decoder(_Asked)


def _has_several(params: Raw) -> bool:
    """Whether a form has a choice of several, which came with 2025-11-25."""
    try:
        form = _asked.decode(params).requested_schema
    except UNREADABLE:
        return False
    return form is not None and any(each.kind == "array" for each in form.properties.values())


def reworded(call: Call, questions: Raw, server: str) -> Raw:
    """The `inputRequests` of a modern server as the caller is asked them.

    Raises `MissingCapability` for what the caller did not declare, which the server should not
    have asked, and `InvalidMessage` for what cannot be read.
    """
    try:
        asked = _questions.decode(questions)
        for question in asked.values():
            method = _text.decode(question["method"])
            params = question.get("params", _NOTHING)
            if missing := undeclared(call.envelope, method, params):
                raise MissingCapability(missing)
            question["params"] = worded(call, method, params, server)
    except (KeyError, *UNREADABLE) as error:
        raise InvalidMessage(f"its questions cannot be read: {error}") from None
    return Raw(encode(asked))


def worded(call: Call, method: str, params: Raw, server: str) -> Raw:
    """A question as the caller is asked it: in the words of its era, and a person is told which
    server asks (§ Elicitation).
    """
    try:
        fields = members(params)
        # What belongs to the hop before, or to tasks that were not offered there.
        kept = carried(fields.pop("_meta", None))
        if kept:
            fields["_meta"] = Raw(encode(kept))
        fields.pop("task", None)
        if method == SAMPLE and call.envelope.revision < V2025_11_25:
            messages = _messages.decode(fields["messages"])
            fields["messages"] = Raw(encode(_singly(messages)))
        if method == ELICIT:
            if server:
                message = f"[{server}] {_text.decode(fields['message'])}"
                fields["message"] = Raw(encode(message))
            if "url" in fields:
                # Only 2025-11-25 gives a visit an id, and there it must have one.
                if call.session is None:
                    fields.pop("elicitationId", None)
                else:
                    fields.setdefault("elicitationId", Raw(encode(os.urandom(12).hex())))
    except (KeyError, *UNREADABLE):
        return params  # Malformed; the client will say so better than we could.
    return Raw(encode(fields))


def _singly(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Messages with one block each, which is all they had up to 2025-06-18."""
    return [
        {**message, "content": block}
        for message in messages
        for block in (
            cast("list[Any]", message["content"])
            if isinstance(message.get("content"), list)
            else [message.get("content")]
        )
    ]
