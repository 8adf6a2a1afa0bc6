"""Tasks on the wire: both ways to write one, held against both official schemas."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from msgspec import Raw
from tests.official import complaint

from interlock.wire.jsonrpc import encode
from interlock.wire.meta import ClientCapabilities
from interlock.wire.methods import BY_NAME, TO_SERVER
from interlock.wire.tasks import (
    EXTENSION,
    RELATED,
    TERMINAL,
    Augmentation,
    CreateTaskResult,
    GetTaskResult,
    ListTasksResult,
    NestedTaskResult,
    Status,
    Task,
    TaskParams,
    UpdateTaskParams,
    declared,
    related,
    unrelated,
    without,
)
from interlock.wire.tools import CallToolParams

MODERN, EXPERIMENT = "2026-07-28", "2025-11-25"
AT: dict[str, Any] = {
    "created_at": "2026-11-21T11:06:53.931Z",
    "last_updated_at": "2026-11-21T11:06:53.931Z",
}
QUESTION: dict[str, Any] = {"method": "roots/list", "params": {}}
REST: dict[Status, dict[str, Any]] = {
    "working": {},
    "input_required": {"input_requests": {"a": QUESTION}},
    "completed": {"result": Raw(b'{"content":[]}')},
    "failed": {"error": {"code": -32603, "message": "no"}},
    "cancelled": {},
}


def stamped(value: Any) -> dict[str, Any]:
    return {"resultType": "complete", **json.loads(encode(value))}


@pytest.mark.parametrize("status", REST)
@pytest.mark.parametrize("ttl", [None, 60_000])
def test_each_status_is_written_as_the_extension_has_it(status: Status, ttl: int | None):
    task = GetTaskResult(
        task_id="t", status=status, ttl_ms=ttl, poll_interval_ms=200, **AT, **REST[status]
    )
    written = stamped(task)
    assert complaint(MODERN, "GetTaskResult", written) is None
    assert written["ttlMs"] == ttl
    assert not {"ttl", "pollInterval"} & written.keys()
    notice = {"jsonrpc": "2.0", "method": "notifications/tasks", "params": json.loads(encode(task))}
    assert complaint(MODERN, "ServerNotification", notice) is None
    assert msgspec.json.decode(encode(task), type=Task).status == status


@pytest.mark.parametrize("status", REST)
@pytest.mark.parametrize("ttl", [None, 60_000])
def test_each_status_is_written_as_the_experiment_has_it(status: Status, ttl: int | None):
    task = Task(task_id="t", status=status, ttl=ttl, poll_interval=200, **AT)
    written = json.loads(encode(task))
    for name in ("GetTaskResult", "CancelTaskResult"):
        assert complaint(EXPERIMENT, name, written) is None
    assert written["ttl"] == ttl
    assert not {"ttlMs", "pollIntervalMs"} & written.keys()
    status_notice = {"jsonrpc": "2.0", "method": "notifications/tasks/status", "params": written}
    assert complaint(EXPERIMENT, "ServerNotification", status_notice) is None
    listed = json.loads(encode(ListTasksResult(tasks=[task], next_cursor="c")))
    assert complaint(EXPERIMENT, "ListTasksResult", listed) is None


def test_a_call_that_became_a_task_says_so_flat_in_the_extension():
    created = CreateTaskResult(task_id="t", status="working", ttl_ms=None, **AT)
    written = json.loads(encode(created))
    assert complaint(MODERN, "CreateTaskResult", written) is None
    assert written["resultType"] == "task"
    assert written["taskId"] == "t"


def test_and_nested_in_the_experiment():
    created = NestedTaskResult(task=Task(task_id="t", status="working", ttl=None, **AT))
    written = json.loads(encode(created))
    assert complaint(EXPERIMENT, "CreateTaskResult", written) is None
    assert written.keys() == {"task"}


def test_requests_are_written_as_both_schemas_have_them():
    about: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "params": {"taskId": "t"}}
    assert json.loads(encode(TaskParams(task_id="t"))) == about["params"]
    for method in ("tasks/get", "tasks/cancel", "tasks/result"):
        assert complaint(EXPERIMENT, "ClientRequest", {**about, "method": method}) is None
    update = json.loads(encode(UpdateTaskParams(task_id="t", input_responses={"a": Raw(b"{}")})))
    assert update == {"taskId": "t", "inputResponses": {"a": {}}}
    call = CallToolParams(name="x", task=Raw(encode(Augmentation(ttl=5))))
    params = json.loads(encode(call))
    assert params == {"name": "x", "task": {"ttl": 5}}
    whole = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    assert complaint(EXPERIMENT, "ClientRequest", whole) is None


def test_the_methods_are_those_of_their_revisions():
    """TX-09: the extension has no list, and nothing that blocks."""
    of = {
        revision: {name for name in rows if name.startswith("tasks/")}
        for revision, rows in TO_SERVER.items()
    }
    assert of[EXPERIMENT] == {"tasks/get", "tasks/cancel", "tasks/result", "tasks/list"}
    assert of[MODERN] == {"tasks/get", "tasks/cancel", "tasks/update"}
    assert not any(of[revision] for revision in of if revision < EXPERIMENT)
    for name in of[MODERN]:
        assert BY_NAME[name].mirrored_member == "taskId"


def test_what_a_call_says_of_a_task_is_not_read_before_its_revision_is_known():
    for task in (b"5", b'{"ttl":"x"}', b"null", b'{"ttl":1}'):
        params = BY_NAME["tools/call"].decoder.decode(b'{"name":"x","task":%b}' % task)
        assert bytes(params.task) == task
    assert not BY_NAME["tools/call"].decoder.decode(b'{"name":"x"}').task


def test_what_a_client_declared_of_tasks():
    none = ClientCapabilities(extensions={"other": {}})
    both = ClientCapabilities(extensions={"other": {}, EXTENSION: {}}, sampling={})
    assert [declared(each) for each in (ClientCapabilities(), none, both)] == [False, False, True]
    assert without(both) == ClientCapabilities(extensions={"other": {}}, sampling={})
    assert without(none) is none
    alone = without(ClientCapabilities(extensions={EXTENSION: {}}))
    assert alone == ClientCapabilities()


def test_what_is_over_stays_over():
    assert set(REST) - TERMINAL == {"working", "input_required"}


MARK: dict[str, Any] = {RELATED: {"taskId": "t"}}


@pytest.mark.parametrize(
    ("bare", "marked"),
    [
        ({}, {"_meta": MARK}),
        ({"content": []}, {"content": [], "_meta": MARK}),
        ({"_meta": {"a": 1}}, {"_meta": {"a": 1, **MARK}}),
    ],
)
def test_a_message_is_tied_to_a_task_and_untied(bare: dict[str, Any], marked: dict[str, Any]):
    tied = related(encode(bare), "t")
    assert json.loads(bytes(tied)) == marked
    assert json.loads(bytes(unrelated(tied))) == bare
    assert json.loads(bytes(related(tied, "u")))["_meta"][RELATED] == {"taskId": "u"}


@pytest.mark.parametrize("body", [b'{"a":1}', b"[]", b'{"_meta":5}', b"{", b""])
def test_what_is_not_tied_or_cannot_be_read_stays_as_it_is(body: bytes):
    assert unrelated(body) == body
