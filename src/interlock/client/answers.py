"""What the user of a client will answer when a server asks: elicitation, sampling, roots."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

from msgspec import Struct

from interlock.errors import METHOD_NOT_FOUND, RpcError
from interlock.protocol.call import Call, Handler
from interlock.wire.inputs import (
    CreateMessageParams,
    CreateMessageResult,
    ElicitParams,
    ElicitResult,
    ListRootsResult,
    Root,
)
from interlock.wire.meta import ClientCapabilities, EmptyResult, Implementation, Result

OnElicit: TypeAlias = Callable[[ElicitParams], Awaitable[ElicitResult]]
OnSample: TypeAlias = Callable[[CreateMessageParams], Awaitable[CreateMessageResult]]


class Answers(Struct, frozen=True):
    """The callbacks a client was given; what has none is not declared, and refused if asked.

    *roots* are file URIs, with or without a name.
    """

    elicit: OnElicit | None = None
    sample: OnSample | None = None
    roots: Sequence[str | Root] | None = None

    @property
    def capabilities(self) -> ClientCapabilities:
        """What these callbacks allow a client to declare."""
        return ClientCapabilities(
            elicitation={"form": {}} if self.elicit is not None else None,
            sampling={} if self.sample is not None else None,
            roots={} if self.roots is not None else None,
        )


class AnswerDesk:
    """The service at a client's end: what a server may ask, answered by the user's callbacks."""

    def __init__(self, info: Implementation, answers: Answers) -> None:
        self.info = info
        self._answers = answers
        self.handle: Handler = self._handle

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    async def _handle(self, call: Call) -> Result:
        answers = self._answers
        params: Any = call.params
        match call.method:
            case "ping":
                return EmptyResult()
            case "elicitation/create" if answers.elicit is not None:
                return with_defaults(params, await answers.elicit(params))
            case "sampling/createMessage" if answers.sample is not None:
                return await answers.sample(params)
            case "roots/list" if answers.roots is not None:
                return ListRootsResult(
                    roots=[r if isinstance(r, Root) else Root(uri=r) for r in answers.roots]
                )
            case method:
                raise RpcError(METHOD_NOT_FOUND, f"This client did not declare {method}")


def with_defaults(asked: ElicitParams, answer: ElicitResult) -> ElicitResult:
    """An accepted form with the defaults of what was left out (SEP-1034)."""
    if answer.action != "accept" or asked.requested_schema is None:
        return answer
    content = dict(answer.content or {})
    for name, schema in asked.requested_schema.get("properties", {}).items():
        if name not in content and isinstance(schema, dict) and "default" in schema:
            content[name] = schema["default"]
    return ElicitResult(action="accept", content=content)
