"""The one table of the protocol: a row a method.

A method that an era does not have is a missing row, and so -32601 by absence. Adding a method is
adding a row; retiring a revision is deleting rows.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from msgspec import Struct

from interlock.wire import (
    completion,
    inputs,
    lifecycle,
    meta,
    notices,
    prompts,
    resources,
    skills,
    tasks,
    tools,
)
from interlock.wire.decoding import Decoder
from interlock.wire.versions import (
    ALL,
    V2024_11_05,
    V2025_06_18,
    V2025_11_25,
    V2026_07_28,
    Revision,
)


class Method(Struct, frozen=True):
    """What the protocol says of one request.

    *to* is the side that answers it; *since* and *last* bound its revisions; *mirrored* is the
    attribute of params that HTTP repeats in `Mcp-Name`, and *mirrored_member* its name on the wire;
    *may_ask* allows an `InputRequired` answer; *safe* says that sending it twice does what sending
    it once does.
    """

    name: str
    params: type[meta.Params]
    result: type[meta.Result]
    decoder: Decoder[Any]
    to: Literal["server", "client", "both"] = "server"
    since: Revision = V2024_11_05
    last: Revision = V2026_07_28
    mirrored: Literal["name", "uri", "task_id"] | None = None
    cacheable: bool = False
    may_ask: bool = False
    safe: bool = True

    @property
    def mirrored_member(self) -> str | None:
        return "taskId" if self.mirrored == "task_id" else self.mirrored


def _row(name: str, params: type[meta.Params], result: type[meta.Result], **columns: Any) -> Method:
    return Method(name, params, result, Decoder(params), **columns)


INITIALIZE: Final = "initialize"
DISCOVER: Final = "server/discover"
PING: Final = "ping"
LISTEN: Final = "subscriptions/listen"

_D: Final = V2025_11_25
_E: Final = V2026_07_28

ROWS: Final = (
    _row(INITIALIZE, lifecycle.InitializeParams, lifecycle.InitializeResult, last=_D, safe=False),
    _row(DISCOVER, meta.Params, lifecycle.DiscoverResult, since=_E, cacheable=True),
    _row(PING, meta.Params, meta.EmptyResult, to="both", last=_D),
    _row("tools/list", meta.PagedParams, tools.ListToolsResult, cacheable=True),
    _row(
        "tools/call",
        tools.CallToolParams,
        tools.CallToolResult,
        mirrored="name",
        may_ask=True,
        safe=False,
    ),
    _row("resources/list", meta.PagedParams, resources.ListResourcesResult, cacheable=True),
    _row(
        "resources/templates/list",
        meta.PagedParams,
        resources.ListResourceTemplatesResult,
        cacheable=True,
    ),
    _row(
        "resources/read",
        resources.ReadResourceParams,
        resources.ReadResourceResult,
        mirrored="uri",
        cacheable=True,
        may_ask=True,
    ),
    _row("resources/subscribe", resources.SubscribeParams, meta.EmptyResult, last=_D),
    _row("resources/unsubscribe", resources.SubscribeParams, meta.EmptyResult, last=_D),
    _row("prompts/list", meta.PagedParams, prompts.ListPromptsResult, cacheable=True),
    _row(
        "prompts/get",
        prompts.GetPromptParams,
        prompts.GetPromptResult,
        mirrored="name",
        may_ask=True,
    ),
    _row("completion/complete", completion.CompleteParams, completion.CompleteResult),
    _row("logging/setLevel", lifecycle.SetLevelParams, meta.EmptyResult, last=_D),
    _row(LISTEN, notices.ListenParams, notices.ListenResult, since=_E, safe=False),
    # Of tasks, the experiment's and the extension's: what both have they ask for in the same words.
    _row(tasks.GET, tasks.TaskParams, tasks.GetTaskResult, since=_D, mirrored="task_id"),
    _row(tasks.CANCEL, tasks.TaskParams, tasks.CancelTaskResult, since=_D, mirrored="task_id"),
    _row(
        tasks.UPDATE,
        tasks.UpdateTaskParams,
        tasks.UpdateTaskResult,
        since=_E,
        mirrored="task_id",
    ),
    _row(tasks.RESULT, tasks.TaskParams, tasks.GetTaskPayloadResult, since=_D, last=_D),
    _row(tasks.LIST, meta.PagedParams, tasks.ListTasksResult, since=_D, last=_D),
    # The extension io.modelcontextprotocol/skills.
    _row(skills.LIST, meta.PagedParams, skills.ListSkillsResult, since=_E, cacheable=True),
    _row(skills.GET, skills.GetSkillParams, skills.GetSkillResult, since=_E, cacheable=True),
    _row(
        skills.READ_DIRECTORY,
        skills.ReadResourceDirectoryParams,
        skills.ReadResourceDirectoryResult,
        since=_E,
    ),
    _row(
        "sampling/createMessage",
        inputs.CreateMessageParams,
        inputs.CreateMessageResult,
        to="client",
        last=_D,
        safe=False,
    ),
    _row(
        "elicitation/create",
        inputs.ElicitParams,
        inputs.ElicitResult,
        to="client",
        since=V2025_06_18,
        last=_D,
        safe=False,
    ),
    _row("roots/list", inputs.ListRootsParams, inputs.ListRootsResult, to="client", last=_D),
)

BY_NAME: Final = {row.name: row for row in ROWS}


def _answered_by(side: str) -> dict[str, dict[str, Method]]:
    return {
        revision.name: {
            row.name: row
            for row in ROWS
            if row.to in (side, "both") and row.since <= revision <= row.last
        }
        for revision in ALL
    }


TO_SERVER: Final = _answered_by("server")
"""By the revision's name, then the method's: what a server answers."""
TO_CLIENT: Final = _answered_by("client")
"""The same for what a client answers."""
