"""Suggestions for the arguments of prompts and templates."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from interlock.errors import INVALID_PARAMS, RpcError
from interlock.protocol.call import Call
from interlock.server.threads import Threads
from interlock.wire.completion import (
    MOST,
    CompleteParams,
    CompleteResult,
    Completion,
    PromptReference,
)

Completer: TypeAlias = Callable[[str, Mapping[str, str]], Any]
"""Takes what was typed and the arguments filled in already; gives values, best first."""


class Completions:
    """Completers by what they complete: a prompt's name or a template's URI, and an argument."""

    def __init__(self, exists: Callable[[str], bool], threads: Threads) -> None:
        self._exists = exists
        self._threads = threads
        self._completers: dict[tuple[str, str], Completer] = {}

    def __len__(self) -> int:
        return len(self._completers)

    def add(self, reference: str, argument: str, completer: Completer) -> None:
        self._completers[reference, argument] = completer

    async def complete(self, call: Call) -> CompleteResult:
        params = call.params
        assert isinstance(params, CompleteParams)
        ref = params.ref
        key = ref.name if isinstance(ref, PromptReference) else ref.uri
        completer = self._completers.get((key, params.argument.name))
        if completer is None:
            if not self._exists(key):
                raise RpcError(INVALID_PARAMS, f"There is no prompt or template {key!r}")
            return CompleteResult(completion=Completion(values=[]))
        known = params.context.arguments if params.context is not None else {}
        if inspect.iscoroutinefunction(completer):
            found: Sequence[str] = await completer(params.argument.value, known)
        else:
            found = await self._threads.run(call, completer, params.argument.value, known)
        values = list(found)
        return CompleteResult(
            completion=Completion(
                values=values[:MOST], total=len(values), has_more=len(values) > MOST
            )
        )
