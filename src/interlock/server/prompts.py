"""The prompts a server has, and how one is filled in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from interlock.errors import INVALID_PARAMS, RpcError
from interlock.protocol.call import Call
from interlock.server.context import Context
from interlock.server.function import BLOCKS, BadArguments, Function, Signature
from interlock.server.shelf import Shelf
from interlock.server.threads import Threads
from interlock.wire.content import Text
from interlock.wire.inputs import InputRequired
from interlock.wire.jsonrpc import encode
from interlock.wire.meta import Result
from interlock.wire.prompts import GetPromptResult, Prompt, PromptArgument, PromptMessage


class FunctionPrompt:
    """A function that writes the messages of a prompt."""

    def __init__(self, function: Function, listed: Prompt) -> None:
        self.listed = listed
        self.key = listed.name
        self.function = function
        self.signature = Signature(function)
        if listed.arguments is None:
            listed.arguments = _listed(self.signature) or None


class Prompts:
    """The shelf of prompts, and the way of a get to one of them."""

    def __init__(
        self, shelf: Shelf[FunctionPrompt], context: Callable[[Call], Context], threads: Threads
    ) -> None:
        self.shelf = shelf
        self._context = context
        self._threads = threads

    async def get(self, call: Call) -> Result:
        params: Any = call.params
        prompt = self.shelf.get(params.name)
        if prompt is None:
            raise RpcError(INVALID_PARAMS, f"Unknown prompt: {params.name!r}")
        signature = prompt.signature
        try:
            values = signature.arguments.from_strings(params.arguments or {})
        except BadArguments as error:
            raise RpcError(
                INVALID_PARAMS, f"Invalid arguments for the prompt {prompt.key}: {error}"
            ) from None
        args, named = signature.bind(values, lambda: self._context(call))
        if signature.is_async:
            value = await prompt.function(*args, **named)
        else:
            value = await self._threads.run(call, prompt.function, *args, **named)
        if isinstance(value, (GetPromptResult, InputRequired)):
            return value
        return GetPromptResult(messages=_messages(value), description=prompt.listed.description)


def _listed(signature: Signature) -> list[PromptArgument]:
    properties = signature.arguments.schema.get("properties", {})
    return [
        PromptArgument(
            name=name,
            description=properties.get(name, {}).get("description"),
            required=name in signature.arguments.required,
        )
        for name in signature.arguments.names
    ]


def _messages(value: Any) -> list[PromptMessage]:
    items: list[Any] = value if isinstance(value, (list, tuple)) else [value]  # type: ignore[assignment]
    return [_message(item) for item in items]


def _message(item: Any) -> PromptMessage:
    if isinstance(item, PromptMessage):
        return item
    if isinstance(item, BLOCKS):
        return PromptMessage(role="user", content=item)  # type: ignore[arg-type]
    text = item if isinstance(item, str) else encode(item).decode()
    return PromptMessage(role="user", content=Text(text=text))
