"""Listen in on a conversation, and hold every message against what its revision allows.

What only the official JSON Schemas know is asked of a function that the tests bring along, so that
this room needs no validator of its own. Where to listen is the matter of `listening`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from typing import Any, Final, Literal, TypeAlias, cast

import msgspec
from msgspec import Struct

from interlock.wire.inputs import InputRequired
from interlock.wire.jsonrpc import UNREADABLE
from interlock.wire.meta import (
    PROTOCOL_VERSION,
    SERVER_INFO,
    SUBSCRIPTION_ID,
    EmptyResult,
    Id,
    Result,
)
from interlock.wire.methods import BY_NAME, INITIALIZE
from interlock.wire.notices import ListenResult
from interlock.wire.tasks import CreateTaskResult, GetTaskPayloadResult
from interlock.wire.versions import BY_NAME as REVISIONS
from interlock.wire.versions import LATEST_MODERN, Revision, settle

Side: TypeAlias = Literal["client", "server"]
Validate: TypeAlias = Callable[[str, str, Any], str | None]
"""From a revision, the name of a definition in its schema and a value to what is wrong with it."""

BOTH: Final[tuple[Side, Side]] = ("client", "server")
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

_ANYTHING: Final = frozenset(
    row.name for row in BY_NAME.values() if row.result in (EmptyResult, GetTaskPayloadResult)
)

_any: Final = msgspec.json.Decoder()


class Violation(AssertionError):
    """A message that its sender may not send."""


class _Asked(Struct):
    """A request without its answer."""

    method: str
    revision: Revision


class _Open(Struct):
    """What has no answer yet under one id: several only where one was used twice.

    An error does not tell which of several it is to, so it is only counted.
    """

    asked: list[_Asked] = []
    refused: int = 0

    def close(self, index: int | None = None) -> None:
        """One of them was answered: which, if that shows."""
        if index is None:
            self.refused += 1
        else:
            del self.asked[index]
        if self.refused >= len(self.asked):
            self.asked.clear()
            self.refused = 0


class Wiretap:
    """Hears both sides of one conversation and raises `Violation` for what may not be said.

    Which revision a message is of shows in a request's `_meta`, or was settled by `initialize`;
    until then it is *revision*. Only the sides in *judged* are held to it: what the other one says
    is understood as far as that goes, and is never a violation.
    """

    def __init__(
        self,
        validate: Validate,
        revision: Revision = LATEST_MODERN,
        judged: Collection[Side] = BOTH,
    ) -> None:
        self.revision = revision
        self.judged = judged
        self.heard = 0
        self._validate = validate
        self._greeted = False
        """A handshake settled the revision of what does not name one."""
        self._met = False
        """Something modern was asked: both eras may share a wire."""
        self._open: dict[tuple[Side, type[Any], Id], _Open] = {}
        self._spoilt: Counter[Any] = Counter()
        """Ids of what was no request, which an error may name all the same."""
        self._lost = 0
        """Messages that could not be read, any of which may have asked for something."""

    def hear(self, side: Side, data: bytes) -> None:
        """Take one message that *side* sent."""
        self.heard += 1
        try:
            said = _any.decode(data)
        except UNREADABLE as error:
            self._refuse(side, f"no JSON: {error}", data[:200])
            # Nested so deep that only who stands on fewer floors can read it, or with a number that
            # only who must know it minds.
            self._lost += isinstance(error, RecursionError) or "out of range" in str(error)
            return
        if not isinstance(said, list):
            self._hear(side, said)
            return
        batch = cast("list[Any]", said)
        if not batch or not self.revision.batches:
            self._refuse(side, f"an array, which is no message of {self.revision}", batch)
        for each in batch:
            self._hear(side, each)

    def settle(self, revision: Revision) -> None:
        """What names no revision is of this one from now on."""
        self._greeted = True
        self.revision = revision

    def unanswered(self, side: Side) -> list[Id]:
        """The ids of requests of *side* that have no answer yet."""
        return [key[2] for key, found in self._open.items() if key[0] == side and found.asked]

    def _hear(self, side: Side, said: Any) -> None:
        if not isinstance(said, dict):
            self._refuse(side, "no JSON object", said)
            return
        fields = cast("dict[str, Any]", said)
        if "method" not in fields:
            self._answer(side, fields)
            if side not in self.judged and isinstance(fields.get("id"), int | str):
                self._spoilt[fields["id"]] += 1
        elif "id" in fields:
            self._request(side, fields)
        else:
            self._notice(side, fields)

    def _request(self, side: Side, fields: dict[str, Any]) -> None:
        method, number = fields["method"], fields["id"]
        params = _object(fields.get("params"))
        meta = _object(params.get("_meta"))
        revision = self._unnamed()
        if PROTOCOL_VERSION in meta:
            revision = _revision(meta[PROTOCOL_VERSION], LATEST_MODERN)
            self._met = True
        elif method == INITIALIZE:
            # A handshake is legacy, whatever it names.
            revision = settle(str(params.get("protocolVersion")))
        if side in self.judged:
            if side == "server" and revision.modern:
                raise Violation(f"server asked {method} of a {revision} client")
            if self._find(side, number).asked:
                raise Violation(f"{side} used the id {number!r} while it was open")
            self._check(side, revision, f"{side.title()}Request", fields)
        if isinstance(number, int | str):
            asked = _Asked(method if isinstance(method, str) else "", revision)
            self._open.setdefault((side, type(number), number), _Open()).asked.append(asked)

    def _notice(self, side: Side, fields: dict[str, Any]) -> None:
        if side not in self.judged:
            return
        named = SUBSCRIPTION_ID in _object(_object(fields.get("params")).get("_meta"))
        revision = LATEST_MODERN if named else self._unnamed()
        kind = f"{side.title()}Notification"
        # Notifications of the modern era rarely name it.
        if not self._met or self._validate(LATEST_MODERN.name, kind, fields) is not None:
            self._check(side, revision, kind, fields)

    def _answer(self, side: Side, fields: dict[str, Any]) -> None:
        number = fields.get("id")
        failed = "error" in fields
        judged = side in self.judged
        if failed and number is None:
            # The early schemas want an id even where there was none to read.
            if judged and "id" not in fields:
                self._check(side, self.revision, _ERROR[self.revision.name], {**fields, "id": 0})
            elif judged:
                raise Violation(f"{side} answered with an id of null: {fields}")
            return
        asker: Side = "client" if side == "server" else "server"
        found = self._find(asker, number)
        if not judged:
            if not failed and any(asked.method == INITIALIZE for asked in found.asked):
                self.settle(self._greeted_with(_object(fields.get("result"))))
            found.close()
        elif failed:
            self._failure(side, fields, found)
        else:
            self._success(side, fields, found)

    def _failure(self, side: Side, fields: dict[str, Any], found: _Open) -> None:
        """Hold an error against what it may be to: a request, what was none, what was not read."""
        revision = found.asked[-1].revision if found.asked else self._unnamed()
        self._check(side, revision, _ERROR[revision.name], fields)
        if isinstance(number := fields["id"], int | str) and self._spoilt[number] > 0:
            self._spoilt[number] -= 1
        elif found.asked:
            found.close()
        elif not self._answers_the_lost():
            raise Violation(f"{side} answered what nobody asked: {fields}")

    def _success(self, side: Side, fields: dict[str, Any], found: _Open) -> None:
        """Hold a result against the request it is to, or against each that it may be to."""
        complaint: Violation | None = None
        # What may be answered with anything is thought of last.
        choices = sorted(enumerate(found.asked), key=lambda each: each[1].method in _ANYTHING)
        for index, asked in choices:
            try:
                self._check(side, asked.revision, _RESPONSE[asked.revision.name], fields)
                self._result(side, asked, fields["result"])
            except Violation as violation:
                complaint = complaint or violation
            else:
                found.close(index)
                return
        if self._answers_the_lost():
            self._check(side, self.revision, _RESPONSE[self.revision.name], fields)
            return
        found.close()
        raise complaint or Violation(f"{side} answered what nobody asked: {fields}")

    def _answers_the_lost(self) -> bool:
        """Whether what fits nothing else may be the answer to what could not be read."""
        if self._lost == 0:
            return False
        self._lost -= 1
        return True

    def _result(self, side: Side, asked: _Asked, result: dict[str, Any]) -> None:
        method, revision = asked.method, asked.revision
        row = BY_NAME.get(method)
        if row is None:
            raise Violation(f"{side} answered {method!r}, which is no method, with {result}")
        kind = row.result
        if method == INITIALIZE:
            revision = self._greeted_with(result)
        elif revision.modern and result.get("resultType") == "input_required":
            kind = InputRequired
        elif method == "tools/call" and ("task" in result or result.get("resultType") == "task"):
            kind = CreateTaskResult
        self._check(side, revision, _RESULT.get(kind, kind.__name__), result)
        meta = result.get("_meta", {})
        if revision.modern and side == "server" and SERVER_INFO not in meta:
            raise Violation(f"the result of {method} does not say who answered: {result}")
        strange = [name for name in MODERN_ONLY if name in result]
        if not revision.modern and (strange or SERVER_INFO in meta):
            raise Violation(f"the result of {method} has what {revision} does not know: {result}")
        if method == INITIALIZE:
            self.settle(revision)

    def _greeted_with(self, greeting: dict[str, Any]) -> Revision:
        return _revision(greeting.get("protocolVersion"), self.revision)

    def _unnamed(self) -> Revision:
        """The revision of a message that names none."""
        return LATEST_MODERN if self._met and not self._greeted else self.revision

    def _find(self, asker: Side, number: Any) -> _Open:
        # Under its type too: to a dictionary True is 1.
        known = isinstance(number, int | str)
        return self._open.get((asker, type(number), number), _Open()) if known else _Open()

    def _refuse(self, side: Side, what: str, said: Any) -> None:
        if side in self.judged:
            raise Violation(f"{side} sent {what}: {said!r}")

    def _check(self, side: Side, revision: Revision, definition: str, value: Any) -> None:
        complaint = self._validate(revision.name, definition, value)
        if complaint is not None:
            raise Violation(f"{side} sent no {definition} of {revision}: {complaint}\n{value}")


def _object(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _revision(name: Any, otherwise: Revision) -> Revision:
    return REVISIONS.get(name, otherwise) if isinstance(name, str) else otherwise
