"""What is said without being asked: progress, log, cancelled, changed; and how to ask for it."""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

from msgspec import field

from interlock.wire.meta import LogLevel, Params, Result, Wire

PROGRESS: Final = "notifications/progress"
MESSAGE: Final = "notifications/message"
CANCELLED: Final = "notifications/cancelled"
INITIALIZED: Final = "notifications/initialized"
TOOLS_CHANGED: Final = "notifications/tools/list_changed"
PROMPTS_CHANGED: Final = "notifications/prompts/list_changed"
RESOURCES_CHANGED: Final = "notifications/resources/list_changed"
RESOURCE_UPDATED: Final = "notifications/resources/updated"
ELICITED: Final = "notifications/elicitation/complete"
ACKNOWLEDGED: Final = "notifications/subscriptions/acknowledged"

Kind: TypeAlias = Literal["tools", "prompts", "resources"]
LIST_CHANGED: Final[dict[Kind, str]] = {
    "tools": TOOLS_CHANGED,
    "prompts": PROMPTS_CHANGED,
    "resources": RESOURCES_CHANGED,
}


class Notice(Wire):
    """The base of a notification's params."""

    meta: dict[str, Any] | None = field(default=None, name="_meta")


class ProgressNotice(Notice):
    """*progress* only ever grows; *total* may be unknown."""

    progress_token: int | str
    progress: float
    total: float | None = None
    message: str | None = None


class LogNotice(Notice):
    level: LogLevel
    data: Any
    logger: str | None = None


class CancelledNotice(Notice):
    request_id: int | str
    reason: str | None = None


class ChangedNotice(Notice):
    """A list changed; which one is in the method's name."""


class UpdatedNotice(Notice):
    uri: str


class ElicitedNotice(Notice):
    """What a person was sent to visit is done there (2025-11-25)."""

    elicitation_id: str


class Filter(Wire):
    """Which changes a listener wants, and in the acknowledgement, which it will get."""

    tools_list_changed: bool = False
    prompts_list_changed: bool = False
    resources_list_changed: bool = False
    resource_subscriptions: list[str] | None = None
    task_ids: list[str] | None = None
    """Of the extension io.modelcontextprotocol/tasks."""


class ListenParams(Params):
    """Of `subscriptions/listen` (modern)."""

    notifications: Filter


class ListenResult(Result):
    """The last message of a subscription that the server ends."""


class AcknowledgedNotice(Notice):
    notifications: Filter
