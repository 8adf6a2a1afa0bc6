"""Arrays of messages over HTTP, in sessions of the one revision that has them and of others."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.peers import Desk, Latch, ask, echo, hello, modern, reply, said, say, soon
from tests.transport.http.host import Host, mirrored

from interlock.protocol.call import Call
from interlock.transport.http.asgi import App
from interlock.wire import sse
from interlock.wire.meta import Params, Result
from interlock.wire.notices import MESSAGE, LogNotice

VERSION = "2025-03-26"
HI = {"name": "echo", "arguments": {"text": "hi"}}


async def chatty(call: Call) -> Result:
    call.outlet.notify(MESSAGE, LogNotice(level="info", data="word"))
    await call.outlet.drain()
    return said("done")


async def curious(call: Call) -> Result:
    return said(bytes(await call.outlet.ask("roots/list", Params())).decode())


@asynccontextmanager
async def serving(**tools: Any) -> AsyncGenerator[Host]:
    app = App(Desk(echo=echo, chatty=chatty, curious=curious, **tools))
    yield Host(app)
    await app.stop()


def array(*messages: bytes) -> bytes:
    return b" [" + b", ".join(messages) + b"]"


def by_id(answers: list[Any]) -> dict[Any, Any]:
    return {each.get("id"): each for each in answers}


async def test_requests_in_an_array_are_answered_in_one_whatever_stands_between_them():
    async with serving() as host:
        session = await host.greet(hello(VERSION))
        asked = host.legacy(
            session,
            array(
                ask("tools/call", 1, HI),
                say("notifications/initialized"),
                ask("ping", "two"),
                reply("s99", {}),
                ask("nonsense", 3),
                ask("tools/call", 4, {"name": 5}),
                b"null",
                array(ask("ping", 6)),
            ),
        )
        answers = by_id(await asked.json())
        assert asked.status == 200
        assert answers[1]["result"]["content"][0]["text"] == '{"text": "hi"}'
        assert answers["two"]["result"] == {}
        assert answers[3]["error"]["code"] == -32601
        assert answers[4]["error"]["code"] == -32602
        assert answers[None]["error"]["code"] == -32600
        assert 6 not in answers


async def test_a_modern_request_is_no_part_of_an_array():
    """2026-07-28 § Streamable HTTP: the body of a POST is one request."""
    async with serving() as host:
        session = await host.greet(hello(VERSION))
        request = modern("tools/call", 2, HI)
        headers = {"mcp-session-id": session, **mirrored(request)}
        answers = by_id(await host.post(array(ask("ping", 1), request), headers).json())
        assert answers[2]["error"]["code"] == -32600
        assert "array" in answers[2]["error"]["message"]


async def test_an_array_that_asks_nothing_is_taken_with_202():
    async with serving() as host:
        session = await host.greet(hello(VERSION))
        asked = host.legacy(session, array(say("notifications/initialized"), reply("s1", {})))
        assert await asked.whole() == b""
        assert asked.status == 202


async def test_requests_of_an_array_run_at_once():
    latch = Latch()
    async with serving(latch=latch) as host:
        session = await host.greet(hello(VERSION))

        async def opens(call: Call) -> Result:
            latch.go.set()
            return said("open")

        host.app.service.tools["opens"] = opens  # type: ignore[attr-defined]
        held = ask("tools/call", 1, {"name": "latch"})
        asked = host.legacy(session, array(held, ask("tools/call", 2, {"name": "opens"})))
        assert set(by_id(await asked.json())) == {1, 2}


async def test_what_is_said_meanwhile_makes_a_stream_with_each_answer_an_event():
    async with serving() as host:
        session = await host.greet(hello(VERSION))
        calls = [ask("tools/call", number, {"name": "chatty"}) for number in (1, 2)]
        asked = await host.legacy(session, array(*calls)).begun()
        assert asked.headers["content-type"] == "text/event-stream"
        events = sse.Reader().feed(await asked.whole())
        heard = [json.loads(event.data) for event in events]
        assert [each.get("method") for each in heard[:2]] == [MESSAGE, MESSAGE]
        assert {each["id"] for each in heard[2:]} == {1, 2}
        back = host.open(
            "GET", b"", {"mcp-session-id": session, "last-event-id": str(events[1].id)}
        )
        again = sse.Reader().feed(await back.whole())
        assert [event.id for event in again] == [event.id for event in events[2:]]


async def test_a_question_of_a_call_in_an_array_is_answered_by_another_array():
    async with serving() as host:
        session = await host.greet(hello(VERSION, capabilities={"roots": {}}))
        asked = await host.legacy(
            session, array(ask("tools/call", 1, {"name": "curious"}), ask("ping", 2))
        ).begun()
        question = await asked.message()
        told = host.legacy(session, array(reply(question["id"], {"roots": []})))
        assert await told.whole() == b""
        assert {(await asked.message())["id"] for _ in range(2)} == {1, 2}


async def test_an_id_twice_in_an_array_or_in_use_runs_once():
    latch = Latch()
    async with serving(latch=latch) as host:
        session = await host.greet(hello(VERSION))
        held = ask("tools/call", 1, {"name": "latch"})
        asked = host.legacy(session, array(held, held))
        await soon(latch.reached.wait())
        other = host.legacy(session, array(ask("ping", 1), ask("ping", 2)))
        answers = by_id(await other.json())
        assert "in use" in answers[1]["error"]["message"]
        assert "result" in answers[2]
        latch.go.set()
        refused, answered = await asked.json()
        assert "twice" in refused["error"]["message"]
        assert "result" in answered
        assert len(latch.calls) == 1


async def test_calls_of_an_array_are_cancelled_one_by_one():
    latches = {"one": Latch(), "two": Latch()}
    async with serving(**latches) as host:
        session = await host.greet(hello(VERSION))
        held = [ask("tools/call", name, {"name": name}) for name in latches]
        for cancelled in (["one"], ["one", "two"]):
            asked = host.legacy(session, array(*held))
            for latch in latches.values():
                await soon(latch.reached.wait())
                latch.reached.clear()
            notices = [say("notifications/cancelled", {"requestId": name}) for name in cancelled]
            await host.legacy(session, array(*notices)).whole()
            if "two" in cancelled:
                assert await asked.whole() == b""
                assert asked.status == 202
            else:
                latches["two"].go.set()
                assert list(by_id(await asked.json())) == ["two"]
                latches["two"].go.clear()


async def test_closing_answers_each_call_of_an_array():
    latches = {"one": Latch(), "two": Latch()}
    async with serving(**latches) as host:
        session = await host.greet(hello(VERSION))
        held = [ask("tools/call", name, {"name": name}) for name in latches]
        asked = host.legacy(session, array(*held))
        for latch in latches.values():
            await soon(latch.reached.wait())
        host.app.close()  # type: ignore[attr-defined]
        answers = await asked.json()
        assert [each["error"]["code"] for each in answers] == [-32603, -32603]


async def test_a_client_that_leaves_cancels_no_call_of_an_array():
    latch = Latch()
    async with serving(latch=latch) as host:
        session = await host.greet(hello(VERSION))
        asked = host.legacy(session, array(ask("tools/call", 1, {"name": "latch"})))
        await soon(latch.reached.wait())
        asked.leave()
        latch.go.set()
        await soon(asked.task)
        assert not latch.cancelled.is_set()


async def test_silence_is_filled_once_however_many_calls_wait():
    latch = Latch()
    host = Host(App(Desk(latch=latch), keep_alive=0))
    session = await host.greet(hello(VERSION))
    held = [ask("tools/call", number, {"name": "latch"}) for number in range(10)]
    asked = await host.legacy(session, array(*held)).begun()
    assert (await asked.piece()).startswith(b":")
    latch.go.set()
    assert {(await asked.message())["id"] for _ in range(10)} == set(range(10))
    await soon(asked.task)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"[]", -32600),
        (b"[" + b"1," * 200 + b"1]", -32600),
        (array(hello(VERSION)), -32600),
        (b"[1,", -32700),
        (b"[" * 50_000, -32700),
    ],
    ids=["empty", "too many", "initialize", "cut off", "deep"],
)
async def test_an_array_that_cannot_be_taken_is_refused(body: bytes, code: int):
    async with serving() as host:
        session = await host.greet(hello(VERSION))
        said = await host.legacy(session, body).whole()
        assert b'"code":%d' % code in said
        assert "result" in await host.legacy(session, ask("ping")).json()


@pytest.mark.parametrize("version", ["2024-11-05", "2025-06-18", "2025-11-25", None])
async def test_no_other_revision_takes_an_array(version: str | None):
    async with serving() as host:
        body = array(ask("ping", 1))
        if version is None:
            asked = host.post(body)
        else:
            asked = host.legacy(await host.greet(hello(version)), body)
        answer = await asked.json()
        assert (asked.status, answer["error"]["code"]) == (400, -32600)


async def test_the_version_header_is_held_against_what_was_settled():
    async with serving() as host:
        session = await host.greet(hello(VERSION))
        body = array(ask("ping", 1))
        for version, found in ((VERSION, "result"), ("2025-06-18", "error")):
            asked = host.legacy(session, body, mcp_protocol_version=version)
            assert found in (await asked.json())[0]
        asked = host.legacy(session, body, mcp_protocol_version="2099-01-01")
        assert "error" in await asked.json()
        assert asked.status == 400
