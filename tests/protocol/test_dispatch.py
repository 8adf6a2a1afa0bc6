from __future__ import annotations

import asyncio
import json
import logging
import tracemalloc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from msgspec import Raw
from tests.official import complaint
from tests.peers import Desk, said

from interlock.errors import MissingCapability, ResourceNotFound, RpcError
from interlock.protocol.call import Call
from interlock.protocol.dispatch import Dispatch
from interlock.protocol.session import Envelope
from interlock.wire.inputs import InputRequired
from interlock.wire.meta import (
    SERVER_INFO,
    CacheableResult,
    ClientCapabilities,
    EmptyResult,
    Params,
    RawResult,
    Result,
)
from interlock.wire.methods import BY_NAME
from interlock.wire.resources import ReadResourceResult
from interlock.wire.tools import CallToolParams, CallToolResult, ListToolsResult
from interlock.wire.versions import ALL, LATEST_MODERN, Revision
from interlock.wire.versions import BY_NAME as REVISIONS

LEGACY_NAME = "2025-11-25"


def call(
    revision: Revision | str = LATEST_MODERN,
    method: str = "tools/call",
    capabilities: ClientCapabilities | None = None,
) -> Call:
    row = BY_NAME[method]
    if isinstance(revision, str):
        revision = REVISIONS[revision]
    params = CallToolParams(name="x") if method == "tools/call" else Params()
    envelope = Envelope(revision, capabilities=capabilities or ClientCapabilities())
    return Call(row, params, envelope, id=7)


def answering(result: Any) -> Callable[[Call], Awaitable[Result]]:
    async def answer(call: Call) -> Result:
        if isinstance(result, BaseException):
            raise result
        return result

    return answer


async def respond(asked: Call, result: Any) -> tuple[dict[str, Any], int]:
    desk = Desk()
    desk.handle = answering(result)
    body, status = await Dispatch(desk).respond(asked)
    message = json.loads(body)
    revision = asked.envelope.revision.name
    definition = "JSONRPCError" if "error" in message else "JSONRPCResponse"
    if revision >= "2025-11-25":
        definition = "JSONRPCErrorResponse" if "error" in message else "JSONRPCResultResponse"
    assert complaint(revision, definition, message) is None
    assert message["id"] == asked.id
    return message, status


async def result_of(asked: Call, result: Any) -> dict[str, Any]:
    message, status = await respond(asked, result)
    assert status == 200
    return message["result"]


async def code_of(asked: Call, result: Any) -> tuple[int, int]:
    message, status = await respond(asked, result)
    return message["error"]["code"], status


@pytest.mark.parametrize("revision", ALL, ids=str)
async def test_a_result_has_the_stamps_of_its_era_and_of_no_other(revision: Revision):
    result = await result_of(call(revision), said("hi"))
    assert result["content"] == [{"type": "text", "text": "hi"}]
    assert complaint(revision.name, "CallToolResult", result) is None
    assert ("resultType" in result) == revision.modern
    assert ("_meta" in result) == revision.modern


@pytest.mark.parametrize("revision", ALL, ids=str)
async def test_an_empty_result_is_stamped_too(revision: Revision):
    result = await result_of(call(revision), EmptyResult())
    assert ("resultType" in result) == revision.modern


async def test_a_modern_result_says_who_answered_beside_what_the_handler_said():
    result = await result_of(call(), CallToolResult(content=[], meta={"com.example/a": 1}))
    assert result["_meta"] == {
        "com.example/a": 1,
        SERVER_INFO: {"name": "desk", "version": "1"},
    }
    assert (await result_of(call(LEGACY_NAME), CallToolResult(content=[], meta={"a": 1})))[
        "_meta"
    ] == {"a": 1}


@pytest.mark.parametrize("hints", [(None, None), (5000, "public"), (0, "private"), (5, None)])
async def test_a_cacheable_result_always_says_how_long_and_for_whom(hints: tuple[Any, Any]):
    ttl, scope = hints
    listed = ListToolsResult(tools=[], ttl_ms=ttl, cache_scope=scope)
    result = await result_of(call(method="tools/list"), listed)
    expected = (ttl, scope) if None not in hints else (0, "private")
    assert (result["ttlMs"], result["cacheScope"]) == expected
    legacy = await result_of(call(LEGACY_NAME, "tools/list"), listed)
    assert legacy == {"tools": []}


async def test_bytes_encoded_before_are_stamped_and_not_read():
    body = b'{"tools":[],"ttlMs":1,"cacheScope":"public"}'
    result = await result_of(call(method="tools/list"), RawResult(body=body))
    assert (result["resultType"], result["ttlMs"]) == ("complete", 1)
    assert await result_of(call(LEGACY_NAME, "tools/list"), RawResult(body=b'{"tools":[]}')) == {
        "tools": []
    }


async def test_a_relayed_result_changes_its_stamps_with_the_era():
    theirs: dict[str, Any] = {
        "content": [],
        "unknown": {"kept": True},
        "resultType": "complete",
        "_meta": {SERVER_INFO: {"name": "other", "version": "9"}, "com.example/a": 1},
    }
    relayed = RawResult(body=Raw(json.dumps(theirs).encode()), relayed=True)
    modern = await result_of(call(), relayed)
    assert modern["_meta"][SERVER_INFO]["name"] == "desk"
    assert (modern["unknown"], modern["_meta"]["com.example/a"]) == ({"kept": True}, 1)
    legacy = await result_of(call(LEGACY_NAME), relayed)
    assert legacy == {
        "content": [],
        "unknown": {"kept": True},
        "_meta": {"com.example/a": 1},
    }
    plain = RawResult(body=Raw(b'{"content":[]}'), relayed=True)
    assert (await result_of(call(), plain))["resultType"] == "complete"
    assert await result_of(call(LEGACY_NAME), plain) == {"content": []}


LARGE = b'{"content":[{"type":"text","text":"%b"}]}' % (b"x" * 4_000_000)


@pytest.mark.parametrize("relayed", [False, True])
@pytest.mark.parametrize("revision", ALL, ids=str)
async def test_a_large_result_is_copied_once(revision: Revision, relayed: bool):
    """What is relayed may be forty megabytes, for several callers at once."""
    desk = Desk()
    desk.handle = answering(RawResult(body=Raw(LARGE), relayed=relayed))
    asked, dispatch = call(revision), Dispatch(desk)
    tracemalloc.start()
    try:
        body, _ = await dispatch.respond(asked)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert json.loads(body)["result"]["content"] == json.loads(LARGE)["content"]
    assert peak < 1.8 * len(LARGE)


@pytest.mark.parametrize("revision", ALL, ids=str)
async def test_a_large_result_of_ours_is_encoded_and_copied_once(revision: Revision):
    desk = Desk()
    desk.handle = answering(said("x" * 4_000_000))
    asked, dispatch = call(revision), Dispatch(desk)
    tracemalloc.start()
    try:
        body, _ = await dispatch.respond(asked)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(json.loads(body)["result"]["content"][0]["text"]) == 4_000_000
    assert peak < 2.7 * len(body)


async def test_a_relayed_result_stays_as_it_was_for_who_else_has_it():
    fields = {"content": Raw(b"[]"), "resultType": Raw(b'"complete"'), "_meta": Raw(b'{"a":1}')}
    relayed = RawResult(body=Raw(b"unread"), relayed=True, fields=dict(fields))
    for revision in (call(), call(LEGACY_NAME)):
        result = await result_of(revision, relayed)
        assert (result["content"], result["_meta"]["a"]) == ([], 1)
        assert relayed.fields == fields


async def test_a_relayed_list_without_hints_is_not_to_be_kept():
    relayed = RawResult(body=Raw(b'{"tools":[]}'), relayed=True)
    result = await result_of(call(method="tools/list"), relayed)
    assert (result["ttlMs"], result["cacheScope"]) == (0, "private")


ASKS: dict[str, Any] = {
    "method": "elicitation/create",
    "params": {"message": "?", "requestedSchema": {}},
}
VISIT: dict[str, Any] = {
    "method": "elicitation/create",
    "params": {"message": "?", "mode": "url", "url": "u"},
}
SAMPLE: dict[str, Any] = {
    "method": "sampling/createMessage",
    "params": {"messages": [], "maxTokens": 1},
}
TOOLED: dict[str, Any] = {"method": "sampling/createMessage", "params": {"tools": [{}]}}
ROOTS: dict[str, Any] = {"method": "roots/list"}
FORMS = ClientCapabilities(elicitation={})


async def test_a_question_goes_to_a_modern_client_that_can_be_asked():
    asks = InputRequired(input_requests={"q": ASKS}, request_state="s")
    result = await result_of(call(capabilities=FORMS), asks)
    assert result["resultType"] == "input_required"
    assert result["inputRequests"] == {"q": ASKS}
    assert SERVER_INFO in result["_meta"]
    assert "ttlMs" not in await result_of(call(method="resources/read", capabilities=FORMS), asks)


@pytest.mark.parametrize(
    ("question", "declared", "missing"),
    [
        (ASKS, ClientCapabilities(), {"elicitation": {"form": {}}}),
        (ASKS, ClientCapabilities(elicitation={"form": {}}), None),
        (ASKS, ClientCapabilities(elicitation={"url": {}}), {"elicitation": {"form": {}}}),
        (VISIT, FORMS, {"elicitation": {"url": {}}}),
        (VISIT, ClientCapabilities(elicitation={"url": {}}), None),
        (SAMPLE, ClientCapabilities(), {"sampling": {}}),
        (SAMPLE, ClientCapabilities(sampling={}), None),
        (TOOLED, ClientCapabilities(sampling={}), {"sampling": {"tools": {}}}),
        (TOOLED, ClientCapabilities(sampling={"tools": {}}), None),
        (ROOTS, ClientCapabilities(), {"roots": {}}),
        (ROOTS, ClientCapabilities(roots={}), None),
    ],
)
async def test_what_a_client_did_not_declare_it_is_not_asked(
    question: dict[str, Any], declared: ClientCapabilities, missing: Any
):
    asks = InputRequired(input_requests={"q": question})
    message, status = await respond(call(capabilities=declared), asks)
    if missing is None:
        assert message["result"]["resultType"] == "input_required"
    else:
        assert (message["error"]["code"], status) == (-32021, 400)
        assert message["error"]["data"] == {"requiredCapabilities": missing}


@pytest.mark.parametrize(
    "asks",
    [
        InputRequired(input_requests={"q": ASKS}),
        RawResult(body=Raw(b'{"resultType":"input_required","requestState":"s"}'), relayed=True),
        RawResult(body=Raw(b'{"resultType":"task","task":{}}'), relayed=True),
    ],
)
async def test_a_question_that_a_legacy_client_cannot_be_asked_is_a_clear_error(asks: Result):
    message, _ = await respond(call(LEGACY_NAME), asks)
    assert message["error"]["code"] == -32600
    assert "2025-11-25 client cannot be asked" in message["error"]["message"]


@pytest.mark.parametrize(
    ("code", "modern", "legacy"),
    [
        (-32600, (-32600, 400), (-32600, 200)),
        (-32601, (-32601, 404), (-32601, 200)),
        (-32602, (-32602, 200), (-32602, 200)),
        (-32603, (-32603, 200), (-32603, 200)),
        (-32002, (-32602, 200), (-32002, 200)),
        (-32042, (-32600, 400), (-32042, 200)),
        (-32020, (-32020, 400), (-32600, 200)),
        (-32021, (-32021, 400), (-32600, 200)),
        (-32022, (-32022, 400), (-32600, 200)),
        # What the protocol keeps for itself is sent to nobody whom it was promised to.
        (-32000, (-32603, 200), (-32000, 200)),
        (-32005, (-32603, 200), (-32005, 200)),
        (-32050, (-32603, 200), (-32050, 200)),
        (-32099, (-32603, 200), (-32099, 200)),
        (-32100, (-32100, 200), (-32100, 200)),
        (-1, (-1, 200), (-1, 200)),
        (42, (42, 200), (42, 200)),
    ],
)
async def test_an_error_s_code_and_status_are_those_of_its_era(
    code: int, modern: tuple[int, int], legacy: tuple[int, int]
):
    assert await code_of(call(), RpcError(code, "no")) == modern
    assert await code_of(call(LEGACY_NAME), RpcError(code, "no")) == legacy


async def test_not_found_has_a_code_of_its_own_only_in_the_legacy_era():
    gone = ResourceNotFound("a:b")
    assert await code_of(call(method="resources/read"), gone) == (-32602, 200)
    assert await code_of(call(LEGACY_NAME, "resources/read"), gone) == (-32002, 200)
    bad = RpcError(-32602, "no", {"why": "other"})
    assert await code_of(call(LEGACY_NAME, "resources/read"), bad) == (-32602, 200)


async def test_an_error_carries_its_data():
    message, _ = await respond(call(), MissingCapability({"sampling": {}}))
    assert message["error"]["data"] == {"requiredCapabilities": {"sampling": {}}}
    message, _ = await respond(call(), RpcError(1, "no"))
    assert "data" not in message["error"]


class Stranger(Result):
    thing: Any


@pytest.mark.parametrize(
    "outcome",
    [
        ValueError("the password is hunter2"),
        SystemExit(2),
        ExceptionGroup("hunter2", [ValueError("hunter2")]),
        None,
        5,
        "hunter2",
        {"content": []},
        Stranger(thing=object()),
        Stranger(thing="\ud800"),
        CallToolResult(content=[], structured_content={1: object()}),
        RawResult(body=b"hunter2", relayed=True),
        RpcError(1, "no", data=object()),
        RpcError(1, "\ud800"),
        InputRequired(),
        InputRequired(input_requests={"q": {"method": "hunter2"}}),
    ],
    ids=lambda value: repr(value).partition(" at 0x")[0][:60],
)
@pytest.mark.parametrize("revision", [LEGACY_NAME, "2026-07-28"])
async def test_whatever_a_handler_does_its_caller_gets_one_answer_that_tells_nothing(
    outcome: Any, revision: str, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.ERROR, "interlock"):
        message, status = await respond(call(revision), outcome)
    if isinstance(outcome, InputRequired) and revision == LEGACY_NAME:
        assert message["error"]["code"] == -32600
        return
    assert (message["error"]["code"], status) == (-32603, 200)
    assert "hunter2" not in json.dumps(message)
    incident = message["error"]["message"].rpartition(" ")[2].rstrip(")")
    assert incident in caplog.text


async def test_a_question_in_answer_to_a_method_that_cannot_ask_is_our_own_mistake():
    asks = InputRequired(request_state="s")
    assert await code_of(call(method="tools/list"), asks) == (-32603, 200)


async def test_only_cancellation_comes_out():
    with pytest.raises(asyncio.CancelledError):
        await respond(call(), asyncio.CancelledError())


async def test_hints_of_a_read_are_stamped_like_those_of_a_list():
    result = await result_of(
        call(method="resources/read"),
        ReadResourceResult(contents=[], ttl_ms=9, cache_scope="public"),
    )
    assert (result["ttlMs"], result["cacheScope"]) == (9, "public")
    assert issubclass(ReadResourceResult, CacheableResult)
