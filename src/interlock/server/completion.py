"""Suggestions for the arguments of prompts and templates."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias

from interlock.errors import INVALID_PARAMS, RegistrationError, RpcError
from interlock.protocol.call import Call
from interlock.server.function import name_of
from interlock.server.threads import Threads
from interlock.wire.completion import (
    MOST,
    CompleteParams,
    CompleteResult,
    Completion,
    PromptReference,
)

Completer: TypeAlias = Callable[..., Any]
"""Takes what was typed and, if it wants, the arguments filled in already; gives values, best first."""

_POSITIONAL: Final = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.VAR_POSITIONAL,
)


class Completions:
    """Completers by what they complete: a prompt's name or a template's URI, and an argument.

    *arguments* gives the names of a reference's arguments, None where there is no such thing.
    """

    def __init__(self, arguments: Callable[[str], Iterable[str] | None], threads: Threads) -> None:
        self._arguments = arguments
        self._threads = threads
        self._completers: dict[tuple[str, str], tuple[Completer, bool, bool]] = {}

    def __len__(self) -> int:
        return len(self._completers)

    def add(self, reference: str, argument: str, completer: Completer) -> None:
        if (reference, argument) in self._completers:
            raise RegistrationError(f"{argument!r} of {reference!r} has a completer already")
        parameters = [
            p for p in inspect.signature(completer).parameters.values() if p.kind in _POSITIONAL
        ]
        if not parameters:
            raise RegistrationError(
                f"{name_of(completer)} must take what was typed, as in "
                f"def {name_of(completer)}(typed: str)"
            )
        wants_known = len(parameters) > 1 or parameters[0].kind is parameters[0].VAR_POSITIONAL
        is_async = inspect.iscoroutinefunction(completer)
        self._completers[reference, argument] = completer, wants_known, is_async

    async def complete(self, call: Call) -> CompleteResult:
        params = call.params
        assert isinstance(params, CompleteParams)
        ref = params.ref
        key = ref.name if isinstance(ref, PromptReference) else ref.uri
        argument = params.argument.name
        found = self._completers.get((key, argument))
        if found is None:
            names = self._arguments(key)
            if names is None:
                raise RpcError(INVALID_PARAMS, f"There is no prompt or template {key[:100]!r}")
            if argument not in names:
                raise RpcError(INVALID_PARAMS, f"{key} has no argument {argument[:100]!r}")
            return CompleteResult(completion=Completion(values=[]))
        completer, wants_known, is_async = found
        known: Mapping[str, str] = params.context.arguments if params.context is not None else {}
        given = (params.argument.value, known) if wants_known else (params.argument.value,)
        if is_async:
            suggested = await completer(*given)
        else:
            suggested = await self._threads.run(call, completer, *given)
        values = [str(value) for value in suggested]
        return CompleteResult(
            completion=Completion(
                values=values[:MOST], total=len(values), has_more=len(values) > MOST
            )
        )
