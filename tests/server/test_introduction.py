"""What a server says of itself, in each era, and what it keeps to itself there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from interlock.protocol.call import Call
from interlock.protocol.session import Envelope
from interlock.server.introduction import Introduction
from interlock.server.ledger import TaskLimits
from interlock.server.tasks import Tasks
from interlock.server.worker import Worker
from interlock.store.memory import MemoryStore
from interlock.wire.lifecycle import InitializeParams, ListCapability, ResourcesCapability
from interlock.wire.meta import CacheHints, ClientCapabilities, Implementation, Params
from interlock.wire.methods import BY_NAME
from interlock.wire.notices import Kind
from interlock.wire.versions import ALL, LATEST_MODERN, V2025_11_25, Revision

INFO = Implementation(name="s", version="1")
SKILLS, TASKS, UI = (f"io.modelcontextprotocol/{name}" for name in ("skills", "tasks", "ui"))


def an_introduction(
    offers: Iterable[Kind] = (), *, completes: bool = False, tasks: bool = False
) -> Introduction:
    return Introduction(
        INFO,
        "Be quick.",
        CacheHints(ttl_ms=5, scope="public"),
        offers,
        completes=lambda: completes,
        has_tasks=lambda: tasks,
    )


def greet(introduction: Introduction, revision: Revision, *, tasks: bool = False) -> Any:
    params = InitializeParams(
        protocol_version=revision.name, capabilities=ClientCapabilities(), client_info=INFO
    )
    call = Call(BY_NAME["initialize"], params, Envelope(revision))
    worker = Worker(MemoryStore(), TaskLimits(), lambda: tasks)
    return introduction.greet(call, Tasks(worker.ledger, lambda: tasks))


def test_only_what_there_is_is_offered():
    can = an_introduction().capabilities
    assert (can.tools, can.resources, can.prompts, can.completions) == (None,) * 4
    assert can.extensions is None
    can = an_introduction(("tools", "resources"), completes=True).capabilities
    assert can.tools == ListCapability(list_changed=True)
    assert can.resources == ResourcesCapability(subscribe=True, list_changed=True)
    assert (can.prompts, can.completions) == (None, {})


async def test_a_modern_client_is_told_with_hints_how_long_it_may_keep_it():
    introduction = an_introduction(tasks=True)
    introduction.extensions[UI] = {"mimeTypes": ["x/y"]}
    call = Call(BY_NAME["server/discover"], Params(), Envelope(LATEST_MODERN))
    result = await introduction.discover(call)
    assert result.supported_versions == [LATEST_MODERN.name]
    assert (result.instructions, result.ttl_ms, result.cache_scope) == ("Be quick.", 5, "public")
    assert result.capabilities.extensions == {UI: {"mimeTypes": ["x/y"]}, TASKS: {}}


@pytest.mark.parametrize("revision", [each for each in ALL if not each.modern], ids=str)
def test_a_legacy_client_is_told_of_no_extension_whose_methods_it_lacks(revision: Revision):
    introduction = an_introduction(tasks=True)
    introduction.extensions |= {UI: {}, SKILLS: {}}
    result = greet(introduction, revision, tasks=True)
    assert result.protocol_version == revision.name
    assert (result.server_info, result.instructions) == (INFO, "Be quick.")
    assert result.capabilities.extensions == {UI: {}}
    assert (result.capabilities.tasks is not None) == (revision == V2025_11_25)
    del introduction.extensions[UI]
    assert greet(introduction, revision).capabilities.extensions is None
