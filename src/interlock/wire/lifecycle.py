"""How two programs meet: the legacy handshake, modern discovery, and what a server can do."""

from __future__ import annotations

from typing import Any, Literal

from interlock.wire.meta import (
    CacheableResult,
    ClientCapabilities,
    Implementation,
    Params,
    Result,
    Wire,
)


class ListCapability(Wire, frozen=True):
    list_changed: bool = False


class ResourcesCapability(Wire, frozen=True):
    subscribe: bool = False
    list_changed: bool = False


class ServerCapabilities(Wire, frozen=True):
    """What a server offers; an absent key is a no."""

    tools: ListCapability | None = None
    resources: ResourcesCapability | None = None
    prompts: ListCapability | None = None
    completions: dict[str, Any] | None = None
    logging: dict[str, Any] | None = None
    tasks: dict[str, Any] | None = None
    extensions: dict[str, dict[str, Any]] | None = None
    experimental: dict[str, Any] | None = None


class InitializeParams(Params):
    protocol_version: str
    capabilities: ClientCapabilities
    client_info: Implementation


class InitializeResult(Result):
    protocol_version: str
    capabilities: ServerCapabilities
    server_info: Implementation
    instructions: str | None = None


class DiscoverResult(CacheableResult):
    supported_versions: list[str]
    capabilities: ServerCapabilities
    instructions: str | None = None


class SetLevelParams(Params):
    """Of `logging/setLevel` (legacy)."""

    level: Literal["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"]
