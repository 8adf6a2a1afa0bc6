"""What a server says of itself: in the handshake, and to whoever asks what it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from interlock.protocol.call import Call
from interlock.server.tasks import Tasks
from interlock.wire import skills, tasks
from interlock.wire.lifecycle import (
    DiscoverResult,
    InitializeResult,
    ListCapability,
    ResourcesCapability,
    ServerCapabilities,
)
from interlock.wire.meta import CacheHints, Implementation
from interlock.wire.notices import Kind
from interlock.wire.versions import MODERN, V2025_11_25

_MODERN_ONLY: Final = frozenset({tasks.EXTENSION, skills.EXTENSION})
"""Extensions whose methods legacy revisions lack."""


class Introduction:
    """A server's identity, and what it offers at a moment.

    *offers* only ever grows: whoever came while there was something of a kind may rely on the kind.
    *completes* says whether anything is completed, *has_tasks* whether any tool may be a task.
    """

    def __init__(
        self,
        info: Implementation,
        instructions: str | None,
        hints: CacheHints,
        offers: Iterable[Kind],
        *,
        completes: Callable[[], bool],
        has_tasks: Callable[[], bool],
    ) -> None:
        self.info = info
        self.instructions = instructions
        self.offers: set[Kind] = set(offers)
        self.extensions: dict[str, dict[str, Any]] = {}
        """The settings of extensions in use, but for that of tasks."""
        self._hints = hints
        self._completes = completes
        self._has_tasks = has_tasks

    @property
    def capabilities(self) -> ServerCapabilities:
        """As a modern client is told."""
        offers = self.offers
        listed = ListCapability(list_changed=True)
        watched = ResourcesCapability(subscribe=True, list_changed=True)
        extensions = {**self.extensions, **({tasks.EXTENSION: {}} if self._has_tasks() else {})}
        return ServerCapabilities(
            tools=listed if "tools" in offers else None,
            resources=watched if "resources" in offers else None,
            prompts=listed if "prompts" in offers else None,
            completions={} if self._completes() else None,
            logging={},
            extensions=extensions or None,
        )

    def greet(self, call: Call, ours: Tasks) -> InitializeResult:
        """Answer a legacy `initialize`; tasks are an experiment of one revision there."""
        capabilities = self.capabilities
        if capabilities.extensions is not None:
            others = {
                name: settings
                for name, settings in capabilities.extensions.items()
                if name not in _MODERN_ONLY
            }
            experiment = self._has_tasks() and call.envelope.revision == V2025_11_25
            capabilities = msgspec.structs.replace(
                capabilities,
                extensions=others or None,
                tasks=ours.capability(call) if experiment else None,
            )
        return InitializeResult(
            protocol_version=call.envelope.revision.name,
            capabilities=capabilities,
            server_info=self.info,
            instructions=self.instructions,
        )

    async def discover(self, call: Call) -> DiscoverResult:
        """Answer `server/discover`."""
        return DiscoverResult(
            supported_versions=sorted(MODERN),
            capabilities=self.capabilities,
            instructions=self.instructions,
            ttl_ms=self._hints.ttl_ms,
            cache_scope=self._hints.scope,
        )
