"""The prompts a server has, and how one is filled in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec

from interlock.errors import INVALID_PARAMS, InsufficientScope, RpcError
from interlock.protocol.call import NO_SCOPES, Call
from interlock.server.function import BLOCKS, Function, MakeContext, Signature
from interlock.server.older import known
from interlock.server.parking import Parking
from interlock.server.shape import BadArguments
from interlock.server.shelf import Shelf
from interlock.server.threads import Threads
from interlock.wire.content import Text
from interlock.wire.inputs import InputRequired
from interlock.wire.jsonrpc import encode
from interlock.wire.meta import CacheHints, Result
from interlock.wire.prompts import (
    GetPromptParams,
    GetPromptResult,
    Prompt,
    PromptArgument,
    PromptMessage,
)


class FunctionPrompt:
    """A function that writes the messages of a prompt. *scopes* are what a caller's token has to
    allow.
    """

    def __init__(
        self,
        function: Function,
        listed: Prompt,
        kept: CacheHints | None = None,
        scopes: frozenset[str] = NO_SCOPES,
    ) -> None:
        self.scopes = scopes
        self.listed = listed
        self.kept = kept
        self.key = listed.name
        self.function = function
        self.signature = Signature(function)
        if listed.arguments is None:
            listed.arguments = _listed(self.signature) or None


class Prompts:
    """The shelf of prompts, and the way of a get to one of them."""

    def __init__(
        self,
        shelf: Shelf[FunctionPrompt],
        context: MakeContext,
        threads: Threads,
        parking: Parking,
    ) -> None:
        self.shelf = shelf
        self._context = context
        self._threads = threads
        self._parking = parking

    async def get(self, call: Call) -> Result:
        params = call.params
        assert isinstance(params, GetPromptParams)
        prompt = self.shelf.get(params.name)
        if prompt is None:
            raise RpcError(INVALID_PARAMS, f"Unknown prompt: {params.name[:100]!r}")
        if prompt.scopes and call.principal.lacks(prompt.scopes):
            raise InsufficientScope(prompt.scopes)
        return await self._parking.answer(
            call, prompt.signature, lambda own: self._get(own, prompt, params)
        )

    async def _get(self, call: Call, prompt: FunctionPrompt, params: GetPromptParams) -> Result:
        signature = prompt.signature
        try:
            values = signature.arguments.from_strings(params.arguments or {})
        except BadArguments as error:
            raise RpcError(
                INVALID_PARAMS, f"Invalid arguments for the prompt {prompt.key}: {error}"
            ) from None
        value = await signature.answer(call, values, self._context, self._threads)
        if isinstance(value, InputRequired):
            return value
        if not isinstance(value, GetPromptResult):
            value = GetPromptResult(
                messages=_messages(value), description=prompt.listed.description
            )
        return _as_known(call, value)


def _listed(signature: Signature) -> list[PromptArgument]:
    properties = signature.arguments.schema.get("properties", {})
    return [
        PromptArgument(
            name=name,
            title=properties.get(name, {}).get("title"),
            description=properties.get(name, {}).get("description"),
            required=name in signature.arguments.required,
        )
        for name in signature.arguments.names
    ]


def _messages(value: Any) -> list[PromptMessage]:
    if isinstance(value, (list, tuple)):
        return [_message(item) for item in cast("Sequence[Any]", value)]
    return [_message(value)]


def _message(item: Any) -> PromptMessage:
    if isinstance(item, PromptMessage):
        return item
    if isinstance(item, BLOCKS):
        return PromptMessage(role="user", content=item)
    if isinstance(item, Mapping) and "role" in item:
        fields = dict(cast("Mapping[str, Any]", item))
        content = fields.get("content")
        if isinstance(content, str):
            fields["content"] = {"type": "text", "text": content}
        elif isinstance(content, BLOCKS):
            return PromptMessage(role=fields["role"], content=content)
        return msgspec.convert(fields, PromptMessage)
    text = item if isinstance(item, str) else encode(item).decode()
    return PromptMessage(role="user", content=Text(text=text))


def _as_known(call: Call, result: GetPromptResult) -> GetPromptResult:
    revision = call.envelope.revision
    if revision.modern:
        return result
    messages = [
        PromptMessage(role=message.role, content=known(revision, message.content))
        for message in result.messages
    ]
    return msgspec.structs.replace(result, messages=messages)
