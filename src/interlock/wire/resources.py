"""Resources and their templates: listed, read, watched."""

from __future__ import annotations

from typing import Any

from msgspec import Raw, field

from interlock.wire.content import ResourceContents
from interlock.wire.meta import Annotations, CacheableResult, Icon, PagedResult, Params, Wire


class Resource(Wire):
    """A resource as listed; *size* is in bytes, before any encoding."""

    uri: str
    name: str
    title: str | None = None
    description: str | None = None
    mime_type: str | None = None
    size: int | None = None
    icons: list[Icon] | None = None
    annotations: Annotations | None = None
    meta: dict[str, Any] | None = field(default=None, name="_meta")


class ResourceTemplate(Wire):
    """A family of resources; *uri_template* follows RFC 6570."""

    uri_template: str
    name: str
    title: str | None = None
    description: str | None = None
    mime_type: str | None = None
    icons: list[Icon] | None = None
    annotations: Annotations | None = None
    meta: dict[str, Any] | None = field(default=None, name="_meta")


class ListResourcesResult(PagedResult):
    resources: list[Resource]


class ListResourceTemplatesResult(PagedResult):
    resource_templates: list[ResourceTemplate]


class ReadResourceParams(Params):
    uri: str
    input_responses: dict[str, Raw] | None = None
    request_state: str | None = None


class ReadResourceResult(CacheableResult):
    contents: list[ResourceContents]


class SubscribeParams(Params):
    """Of `resources/subscribe` and `resources/unsubscribe` (legacy)."""

    uri: str
