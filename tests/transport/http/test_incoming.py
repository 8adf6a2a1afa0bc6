"""What comes on streams beside answers: who hears it, and what is answered in the background."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from msgspec import Raw
from tests.peers import Desk, ask, reply, say, soon
from tests.transport.test_duplex import Ear

from interlock.errors import ConnectionLost
from interlock.protocol.call import Call
from interlock.protocol.dispatch import Dispatch
from interlock.protocol.session import Session
from interlock.transport.http import incoming as room
from interlock.transport.http.incoming import Incoming, Question
from interlock.wire import sse
from interlock.wire.inputs import ListRootsResult
from interlock.wire.lifecycle import InitializeParams
from interlock.wire.meta import ClientCapabilities, Implementation, Result
from interlock.wire.notices import CANCELLED, MESSAGE, PROGRESS, TOOLS_CHANGED


class Bench:
    """An `Incoming` with everything it says and hears."""

    def __init__(self) -> None:
        self.notices: list[str] = []
        self.told: asyncio.Queue[Any] = asyncio.Queue()
        self.calls: list[Call] = []
        self.go = asyncio.Event()
        self.go.set()
        self.ended = asyncio.Event()
        self.fails = False
        desk = Desk()
        desk.handle = self._handle
        self.incoming = Incoming("http://it", Dispatch(desk), self._tell, self._hear)

    def legacy(self) -> Bench:
        session = Session()
        session.open(
            InitializeParams(
                protocol_version="2025-11-25",
                capabilities=ClientCapabilities(roots={}),
                client_info=Implementation(name="tests", version="1"),
            )
        )
        self.incoming.settle(session, modern=False)
        return self

    def modern(self) -> Bench:
        self.incoming.settle(None, modern=True)
        return self

    async def _handle(self, call: Call) -> Result:
        self.calls.append(call)
        try:
            await self.go.wait()
        finally:
            self.ended.set()
        return ListRootsResult(roots=[])

    async def _tell(self, body: bytes) -> None:
        if self.fails:
            raise ConnectionLost("gone")
        self.told.put_nowait(json.loads(body))

    def _hear(self, method: str, params: Raw) -> None:
        self.notices.append(method)

    def take(self, data: bytes, question: Question | None = None) -> Any:
        return self.incoming.take(sse.Event(data), question)


@pytest.fixture
async def bench() -> Bench:
    return Bench()


async def test_answers_are_given_back_and_nothing_else_is(bench: Bench):
    bench.modern()
    message = bench.take(reply(1, {}))
    assert message is not None
    assert Question(1, "x").is_answered_by(message)
    assert not Question("1", "x").is_answered_by(message)
    for data in (b"", b"nonsense", b"[]", say("notifications/x"), ask("ping")):
        assert bench.take(data) is None


async def test_an_error_without_an_id_answers_the_request_whose_response_it_came_in(bench: Bench):
    error = {"jsonrpc": "2.0", "error": {"code": 1, "message": "no"}}
    for body in (error, {**error, "id": None}):
        message = bench.take(json.dumps(body).encode())
        assert Question(7, "x").is_answered_by(message)


@pytest.mark.parametrize(
    ("era", "method", "to_call"),
    [
        ("modern", MESSAGE, True),
        ("modern", TOOLS_CHANGED, True),
        ("legacy", MESSAGE, True),
        ("legacy", TOOLS_CHANGED, False),
    ],
)
async def test_a_notice_on_a_calls_stream_is_heard_once(
    bench: Bench, era: str, method: str, to_call: bool
):
    getattr(bench, era)()
    ear = Ear()
    bench.take(say(method, {}), Question(1, "x", ear))
    assert [name for name, _ in ear.heard] == ([method] if to_call else [])
    assert bench.notices == ([] if to_call else [method])
    bench.take(say(method, {}))
    assert bench.notices[-1] == method


async def test_progress_reaches_its_call_and_renews_its_patience(bench: Bench):
    bench.modern()
    ear = Ear()
    question = Question(1, "x", ear)
    renewed: list[int] = []
    question.renew = lambda: renewed.append(1)
    bench.take(say(PROGRESS, {"progressToken": 1, "progress": 2}), question)
    bench.take(say(PROGRESS, {"progressToken": []}), question)
    bench.take(say(PROGRESS, {"progressToken": 1, "progress": 2}))
    assert [name for name, _ in ear.heard] == [PROGRESS]
    assert renewed == [1]
    assert bench.notices == []


async def test_a_question_is_answered_and_belongs_to_the_call_on_whose_stream_it_came(bench: Bench):
    bench.legacy()
    ear = Ear()
    bench.take(ask("roots/list", "q"), Question(1, "x", ear))
    bench.take(ask("roots/list", "r"))
    answers = [await soon(bench.told.get()) for _ in range(2)]
    assert answers == [{"jsonrpc": "2.0", "id": name, "result": {"roots": []}} for name in "qr"]
    assert [call.asked_on for call in bench.calls] == [ear, None]


async def test_a_call_knows_how_many_of_its_questions_are_open(bench: Bench):
    """For as long as there are any its patience does not run."""
    bench.legacy().go.clear()
    question = Question(1, "tools/call", Ear())
    renewed: list[int] = []
    question.renew = lambda: renewed.append(question.asked)
    for number in ("a", "b"):
        bench.take(ask("roots/list", number), question)
    assert renewed == [1, 2]
    bench.go.set()
    for _ in range(2):
        await soon(bench.told.get())
    await bench.incoming.close()
    await asyncio.sleep(0)  # What was answered is counted in the step after.
    assert renewed == [1, 2, 1, 0]


async def test_a_modern_server_asks_in_vain(bench: Bench):
    bench.modern()
    bench.take(ask("roots/list", "q"))
    await asyncio.sleep(0)
    assert bench.calls == []
    assert bench.told.empty()


async def test_a_question_may_be_taken_back(bench: Bench):
    bench.legacy()
    bench.go.clear()
    bench.take(ask("roots/list", "q"))
    await asyncio.sleep(0)
    bench.take(say(CANCELLED, {"requestId": "another"}))
    bench.take(say(CANCELLED, {"requestId": []}))
    assert not bench.ended.is_set()
    bench.take(say(CANCELLED, {"requestId": "q"}))
    await soon(bench.ended.wait())
    assert bench.told.empty()


async def test_what_runs_in_the_background_is_bounded_and_ends_with_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(room, "BACKGROUND_LIMIT", 3)
    bench.legacy()
    bench.go.clear()
    for number in range(10):
        bench.take(ask("roots/list", number))
    await asyncio.sleep(0)
    assert len(bench.calls) == 3
    await soon(bench.incoming.close())
    assert bench.ended.is_set()
    bench.take(ask("roots/list", 99))
    await asyncio.sleep(0)
    assert len(bench.calls) == 3


async def test_an_answer_that_cannot_be_sent_fails_nobody(bench: Bench):
    bench.legacy()
    bench.fails = True
    bench.take(ask("roots/list", "q"))
    await soon(bench.ended.wait())
    await soon(bench.incoming.close())
