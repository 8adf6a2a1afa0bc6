"""The tasks server, as a client sees it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from interlock import Client
from interlock.errors import ResourceNotFound
from interlock.reference.tasks import FILE, server
from interlock.wire.content import Text
from interlock.wire.resources import SubscribeParams


@pytest.fixture
async def client() -> AsyncGenerator[Client]:
    async with Client(server) as client:
        yield client


async def call(client: Client, name: str, **arguments: Any) -> Any:
    result = await client.call_tool(name, arguments)
    assert not result.is_error, result.text
    return result.structured


async def test_a_task_is_created_open(client: Client):
    task = await call(client, "create_task", title="Write home", due="2026-12-24")
    expected = {"title": "Write home", "status": "open", "due": "2026-12-24", "notes": ""}
    assert task == {"id": 1, **expected}


async def test_what_is_due_first_is_listed_first_and_what_never_is_last(client: Client):
    await call(client, "create_task", title="some day")
    await call(client, "create_task", title="late", due="2026-12-24")
    await call(client, "create_task", title="soon", due="2026-12-01")
    listed = await call(client, "list_tasks")
    assert [task["title"] for task in listed["result"]] == ["soon", "late", "some day"]


async def test_a_status_filters_the_list(client: Client):
    await call(client, "create_task", title="one")
    await call(client, "create_task", title="two")
    await call(client, "update_task_status", id=1, status="done")
    listed = await call(client, "list_tasks", status="open")
    assert [task["title"] for task in listed["result"]] == ["two"]


async def test_a_deleted_task_is_shown_once_more_and_its_number_not_used_again(client: Client):
    await call(client, "create_task", title="one")
    assert (await call(client, "delete_task", id=1))["title"] == "one"
    assert (await call(client, "list_tasks"))["result"] == []
    assert (await call(client, "create_task", title="two"))["id"] == 2


@pytest.mark.parametrize("tool", ["update_task_status", "delete_task"])
async def test_a_number_without_a_task_is_refused_with_where_to_look(client: Client, tool: str):
    arguments = {"id": 7} | ({"status": "done"} if tool == "update_task_status" else {})
    result = await client.call_tool(tool, arguments)
    assert result.is_error
    assert result.text == "There is no task 7; list_tasks shows which there are"


@pytest.mark.parametrize(
    "arguments", [{"title": ""}, {"title": "x" * 201}, {"title": "x", "due": "tomorrow"}]
)
async def test_what_is_no_task_is_refused(client: Client, arguments: dict[str, str]):
    assert (await client.call_tool("create_task", arguments)).is_error


async def test_tasks_are_read_as_resources(client: Client):
    await call(client, "create_task", title="one")
    for uri in ("task://all", "task://1"):
        [contents] = (await client.read_resource(uri)).contents
        assert contents.mime_type == "application/json"
        assert "one" in str(json.loads(contents.text or ""))
    with pytest.raises(ResourceNotFound):
        await client.read_resource("task://2")


async def test_whoever_watches_a_task_hears_that_it_changed():
    heard = asyncio.Queue[str]()
    async with Client(server, revision="legacy", on_update=heard.put_nowait) as client:
        await call(client, "create_task", title="one")
        await client.request("resources/subscribe", SubscribeParams(uri="task://1"))
        await call(client, "update_task_status", id=1, status="doing")
        assert await heard.get() == "task://1"


async def test_the_weekly_review_holds_every_task(client: Client):
    await call(client, "create_task", title="one", due="2026-12-24")
    await call(client, "update_task_status", id=1, status="done")
    [message] = (await client.get_prompt("weekly_review")).messages
    assert isinstance(message.content, Text)
    assert "- 1. [done] one (due 2026-12-24)" in message.content.text


async def test_priorities_are_asked_for_what_is_left_and_the_hours_there_are(client: Client):
    await call(client, "create_task", title="left")
    await call(client, "create_task", title="finished")
    await call(client, "update_task_status", id=2, status="done")
    [message] = (await client.get_prompt("prioritize", {"hours": "2.5"})).messages
    assert isinstance(message.content, Text)
    assert "I have 2.5 hours" in message.content.text
    assert "left" in message.content.text
    assert "finished" not in message.content.text


async def test_in_memory_each_start_begins_empty():
    for _ in range(2):
        async with Client(server) as client:
            assert (await call(client, "create_task", title="one"))["id"] == 1


async def test_a_file_keeps_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(FILE, str(tmp_path / "tasks.db"))
    async with Client(server) as client:
        await call(client, "create_task", title="kept", due="2026-12-24")
    async with Client(server) as client:
        [task] = (await call(client, "list_tasks"))["result"]
        assert (task["title"], task["due"]) == ("kept", "2026-12-24")


async def test_it_runs_as_a_module_with_a_file(tmp_path: Path):
    file = tmp_path / "tasks.db"
    command = [sys.executable, "-m", "interlock.reference.tasks", "--file", str(file)]
    async with Client(command) as client:
        await call(client, "create_task", title="one")
    assert file.exists()
