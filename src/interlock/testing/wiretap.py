"""Listen in on a conversation, and hold every message against what its revision allows.

What only the official JSON Schemas know is asked of a function that the tests bring along, so that
this room needs no validator of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal, TypeAlias

import msgspec

from interlock.wire.inputs import InputRequired
from interlock.wire.meta import PROTOCOL_VERSION, SERVER_INFO, Id, Result
from interlock.wire.methods import BY_NAME, INITIALIZE
from interlock.wire.notices import ListenResult
from interlock.wire.versions import BY_NAME as REVISIONS
from interlock.wire.versions import LATEST_MODERN, LEGACY, Revision

Side: TypeAlias = Literal["client", "server"]
Validate: TypeAlias = Callable[[str, str, Any], str | None]
"""From a revision, the name of a definition in its schema and a value to what is wrong with it."""

MODERN_ONLY: Final = ("resultType", "ttlMs", "cacheScope")
"""Members of results that legacy peers were never told of."""

_OLD: Final = ("2024-11-05", "2025-03-26", "2025-06-18")
_ERROR: Final = {
    name: "JSONRPCError" if name in _OLD else "JSONRPCErrorResponse" for name in REVISIONS
}
_RESPONSE: Final = {
    name: "JSONRPCResponse" if name in _OLD else "JSONRPCResultResponse" for name in REVISIONS
}
_RESULT: Final[dict[type[Result], str]] = {
    ListenResult: "SubscriptionsListenResult",
    InputRequired: "InputRequiredResult",
}
"""Definitions that are not called as our types are."""


_object: Final = msgspec.json.Decoder(dict[str, Any])


class Violation(AssertionError):
    """A message that its sender may not send."""


class Wiretap:
    """Hears both sides of one conversation and raises `Violation` for what may not be said.

    Which revision a message is of shows in a request's `_meta`, or was settled by `initialize`;
    until then, and for notifications in between, it is *revision*.
    """

    def __init__(self, validate: Validate, revision: Revision = LATEST_MODERN) -> None:
        self.revision = revision
        self.heard = 0
        self._validate = validate
        self._open: dict[tuple[Side, Id], tuple[str, Revision]] = {}

    def hear(self, side: Side, data: bytes) -> None:
        """Take one message that *side* sent."""
        self.heard += 1
        try:
            fields = _object.decode(data)
        except msgspec.DecodeError as error:
            raise Violation(f"{side} sent no JSON object: {error}: {data[:200]!r}") from None
        if "method" not in fields:
            self._answer(side, fields)
        elif "id" in fields:
            self._request(side, fields)
        else:
            self._check(side, self.revision, f"{side.title()}Notification", fields)

    def unanswered(self, side: Side) -> list[Id]:
        """The ids of requests of *side* that have no answer yet."""
        return [number for asker, number in self._open if asker == side]

    def _request(self, side: Side, fields: dict[str, Any]) -> None:
        method, number = fields["method"], fields["id"]
        meta = fields.get("params", {}).get("_meta", {})
        revision = REVISIONS.get(meta.get(PROTOCOL_VERSION), self.revision)
        if method == INITIALIZE:
            revision = LEGACY.get(fields["params"]["protocolVersion"], self.revision)
        if side == "server" and revision.modern:
            raise Violation(f"server asked {method} of a {revision} client")
        if (side, number) in self._open:
            raise Violation(f"{side} used the id {number!r} while it was open")
        self._open[side, number] = (method, revision)
        self._check(side, revision, f"{side.title()}Request", fields)

    def _answer(self, side: Side, fields: dict[str, Any]) -> None:
        asker: Side = "client" if side == "server" else "server"
        if "error" in fields and "id" not in fields:
            # The early schemas want an id even where there was none to read.
            self._check(side, self.revision, _ERROR[self.revision.name], {**fields, "id": 0})
            return
        asked = self._open.pop((asker, fields.get("id", "")), None)
        if asked is None:
            raise Violation(f"{side} answered what nobody asked: {fields}")
        method, revision = asked
        if "error" in fields:
            self._check(side, revision, _ERROR[revision.name], fields)
            return
        self._check(side, revision, _RESPONSE[revision.name], fields)
        self._result(side, method, revision, fields["result"])

    def _result(self, side: Side, method: str, revision: Revision, result: dict[str, Any]) -> None:
        if method == INITIALIZE:
            self.revision = LEGACY[result["protocolVersion"]]
        kind = BY_NAME[method].result
        if result.get("resultType") == "input_required":
            kind = InputRequired
        self._check(side, revision, _RESULT.get(kind, kind.__name__), result)
        meta = result.get("_meta", {})
        if revision.modern and side == "server" and SERVER_INFO not in meta:
            raise Violation(f"the result of {method} does not say who answered: {result}")
        strange = [name for name in MODERN_ONLY if name in result]
        if not revision.modern and (strange or SERVER_INFO in meta):
            raise Violation(f"the result of {method} has what {revision} does not know: {result}")

    def _check(self, side: Side, revision: Revision, definition: str, value: Any) -> None:
        complaint = self._validate(revision.name, definition, value)
        if complaint is not None:
            raise Violation(f"{side} sent no {definition} of {revision}: {complaint}\n{value}")
