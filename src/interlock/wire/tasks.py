"""Tasks: calls that outlive their request. The extension, and the 2025 experiment it replaced.

The extension (`io.modelcontextprotocol/tasks`, SEP-2663, from 2026-07-28 on) lets a server answer
`tools/call` with a task of its own accord; its members are flat, and count in milliseconds by name.
In the experiment (2025-11-25) the caller asks for a task, the answer nests it, and its result is
fetched by `tasks/result`.
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Raw, UnsetType

from interlock.wire.jsonrpc import UNREADABLE, encode
from interlock.wire.meta import PREFIX, ClientCapabilities, Params, Result, Wire, members

EXTENSION: Final = PREFIX + "tasks"
RELATED: Final = PREFIX + "related-task"
"""The key of `_meta` that ties a message to its task, in the experiment."""

GET: Final = "tasks/get"
CANCEL: Final = "tasks/cancel"
UPDATE: Final = "tasks/update"
RESULT: Final = "tasks/result"
LIST: Final = "tasks/list"
CHANGED: Final = "notifications/tasks"
STATUS: Final = "notifications/tasks/status"

Status: TypeAlias = Literal["working", "input_required", "completed", "failed", "cancelled"]
TERMINAL: Final = frozenset({"completed", "failed", "cancelled"})
Support: TypeAlias = Literal["forbidden", "optional", "required"]
"""What `execution.taskSupport` of a listed tool says, in the experiment."""


class Augmentation(Wire):
    """`params.task` of the experiment: run this as a task, and keep it *ttl* milliseconds."""

    ttl: int | None = None


class TaskParams(Params):
    """Of every request about one task."""

    task_id: str


class UpdateTaskParams(TaskParams):
    """*input_responses* are results by the keys of the task's input requests."""

    input_responses: dict[str, Raw]


class Task(Result):
    """A task as either era writes it: what the other one calls differently is absent.

    Times are ISO 8601. *ttl* counts from creation; null is for ever. *input_requests* come with
    "input_required", *result* with "completed" and *error* with "failed", in the extension only.
    """

    task_id: str
    status: Status
    created_at: str
    last_updated_at: str
    status_message: str | None = None
    ttl_ms: int | UnsetType | None = UNSET
    poll_interval_ms: int | None = None
    ttl: int | UnsetType | None = UNSET
    poll_interval: int | None = None
    input_requests: dict[str, Any] | None = None
    result: Raw | UnsetType = UNSET
    error: Any = None


class CreateTaskResult(Task, tag_field="resultType", tag="task"):
    """The extension's answer to a call that became a task."""


class NestedTaskResult(Result):
    """The experiment's answer to a call that was to become one."""

    task: Task


class GetTaskResult(Task):
    pass


class CancelTaskResult(Task):
    """Of the experiment; the extension only acknowledges."""


class UpdateTaskResult(Result):
    pass


class GetTaskPayloadResult(Result):
    """Whatever the call itself would have been answered with."""


class ListTasksResult(Result):
    tasks: list[Task]
    next_cursor: str | None = None


def related(message: Raw | bytes, task_id: str) -> Raw:
    """Params, or a result, with the mark that ties them to a task, in place of one they have.

    Raises `msgspec.DecodeError` for what is no object.
    """
    fields = members(message)
    meta = members(fields.get("_meta", Raw()))
    meta[RELATED] = Raw(encode({"taskId": task_id}))
    fields["_meta"] = Raw(encode(meta))
    return Raw(encode(fields))


def unrelated(result: Raw | bytes) -> Raw | bytes:
    """A result without the mark that ties it to a task; one that cannot be read as it is."""
    try:
        fields = members(result)
        meta = members(fields.get("_meta", Raw()))
    except UNREADABLE:
        return result
    if meta.pop(RELATED, None) is None:
        return result
    del fields["_meta"]
    if meta:
        fields["_meta"] = Raw(encode(meta))
    return Raw(encode(fields))


def declared(capabilities: ClientCapabilities) -> bool:
    """Whether a client can take a task of the extension for an answer."""
    extensions = capabilities.extensions
    return extensions is not None and EXTENSION in extensions


def along(capabilities: ClientCapabilities) -> ClientCapabilities:
    """What a client can do, and tasks: for whoever follows them in its place."""
    if declared(capabilities):
        return capabilities
    extensions = {**(capabilities.extensions or {}), EXTENSION: {}}
    return msgspec.structs.replace(capabilities, extensions=extensions)


def without(capabilities: ClientCapabilities) -> ClientCapabilities:
    """What a client can do, but for tasks: for a revision that has another way to say them."""
    if not declared(capabilities):
        return capabilities
    others = {
        name: settings
        for name, settings in (capabilities.extensions or {}).items()
        if name != EXTENSION
    }
    return msgspec.structs.replace(capabilities, extensions=others or None)
