"""The HTTP client against the real endpoint in this process, and against servers that misbehave."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from msgspec import Raw
from tests.official import complaint
from tests.peers import Desk, Latch, ask, echo, reply, said, say, soon
from tests.transport.http.host import HostEngine, Requests
from tests.transport.test_duplex import Ear

from interlock.errors import (
    ConnectFailed,
    ConnectionLost,
    HttpError,
    HttpRpcError,
    InvalidMessage,
    RpcError,
    TimedOut,
    UsageError,
)
from interlock.protocol.call import Call
from interlock.protocol.dispatch import Dispatch
from interlock.protocol.outgoing import Outgoing
from interlock.protocol.session import Envelope, Session
from interlock.testing.wiretap import Wiretap
from interlock.transport.http import incoming, resuming
from interlock.transport.http.asgi import App
from interlock.transport.http.client import HttpLink, SessionForgotten
from interlock.transport.http.engine import Request
from interlock.wire import sse
from interlock.wire.inputs import ListRootsResult, Root
from interlock.wire.lifecycle import InitializeParams
from interlock.wire.meta import ClientCapabilities, Implementation, Params, RawResult, Result
from interlock.wire.methods import BY_NAME
from interlock.wire.notices import MESSAGE, PROGRESS, TOOLS_CHANGED, LogNotice, ProgressNotice
from interlock.wire.tools import CallToolParams
from interlock.wire.versions import BY_NAME as REVISIONS
from interlock.wire.versions import LATEST_LEGACY, LATEST_MODERN, Revision

URL = "http://127.0.0.1:4777/mcp"
ME = Implementation(name="tests", version="1")
CAN = ClientCapabilities(roots={})


async def at_home(call: Call) -> Result:
    return ListRootsResult(roots=[Root(uri="file:///here")])


def home() -> Dispatch:
    desk = Desk()
    desk.handle = at_home
    return Dispatch(desk)


def call(link: HttpLink, name: str = "echo", **options: Any) -> Call:
    assert link.outgoing is not None
    params = CallToolParams(name=name, arguments=Raw(b'{"n":1}'))
    made = Call(BY_NAME["tools/call"], params, link.outgoing.envelope)
    for key, value in options.items():
        setattr(made, key, value)
    return made


async def settle(link: HttpLink, revision: Revision) -> None:
    """Shake hands as `connect` does, where the revision wants it."""
    session = None
    if not revision.modern:
        params = InitializeParams(protocol_version=revision.name, capabilities=CAN, client_info=ME)
        _, name = await soon(link.ask("initialize", params))
        session = Session()
        session.open(params)
        link.keep_session(name)
    link.settle(Outgoing(Envelope(revision, ME, CAN)), session)


class TappedEngine(HostEngine):
    """An engine that holds what the client sends against the schemas."""

    def __init__(self, app: App) -> None:
        super().__init__(app)
        self.tap = Wiretap(complaint)

    async def send(self, request: Request) -> Any:
        if request.body:
            message = json.loads(request.body)
            if message.get("method") == "initialize":
                self.tap.revision = REVISIONS[message["params"]["protocolVersion"]]
            if "method" in message:
                self.tap.hear("client", request.body)
        return await super().send(request)


@asynccontextmanager
async def linked(
    revision: Revision, *, on_notice: Callable[[str, Raw], None] | None = None, **tools: Any
) -> AsyncGenerator[tuple[HttpLink, TappedEngine]]:
    app = App(Desk(echo=echo, **tools))
    engine = TappedEngine(app)
    link = HttpLink(URL, engine, home(), on_notice=on_notice, headers={"X-Extra": "1"})
    await settle(link, revision)
    yield link, engine
    await soon(link.close())
    await app.stop()


@pytest.fixture(params=[LATEST_LEGACY, LATEST_MODERN], ids=str)
def revision(request: pytest.FixtureRequest) -> Revision:
    return request.param


def text_of(result: RawResult) -> str:
    return json.loads(bytes(result.body))["content"][0]["text"]


async def test_a_call_comes_back_with_its_result(revision: Revision):
    async with linked(revision) as (link, engine):
        assert text_of(await soon(link.handle(call(link)))) == '{"n":1}'
        headers = engine.requests[-1].headers
        assert headers["accept"] == "application/json, text/event-stream"
        assert headers["x-extra"] == "1"
        assert headers["mcp-protocol-version"] == revision.name
        assert ("mcp-session-id" in headers) == (not revision.modern)
        assert headers.get("mcp-method") == ("tools/call" if revision.modern else None)
        assert headers.get("mcp-name") == ("echo" if revision.modern else None)


async def test_an_error_comes_back_as_it_was_raised(revision: Revision):
    async def failing(call: Call) -> Result:
        raise RpcError(42, "no", [1])

    async with linked(revision, failing=failing) as (link, _):
        with pytest.raises(RpcError) as caught:
            await soon(link.handle(call(link, "failing")))
        assert (caught.value.code, caught.value.data) == (42, [1])


async def test_an_error_with_an_http_status_says_both():
    async with linked(LATEST_MODERN) as (link, _):
        with pytest.raises(HttpRpcError) as caught:
            await soon(link.handle(call(link, "nobody")))
        assert (caught.value.code, caught.value.status) == (-32601, 404)


async def test_a_name_that_no_header_carries_is_encoded_or_is_our_own_mistake():
    async with linked(LATEST_MODERN, ümlaut=echo) as (link, engine):
        await soon(link.handle(call(link, "ümlaut")))
        assert engine.requests[-1].headers["mcp-name"] == "=?base64?w7xtbGF1dA==?="
        with pytest.raises(UsageError, match="surrogate"):
            await link.handle(call(link, "\ud800"))


async def test_what_a_call_says_meanwhile_reaches_its_caller(revision: Revision):
    async def chatty(call: Call) -> Result:
        meta = call.params.meta
        assert meta is not None
        assert meta.progress_token is not None
        notice = ProgressNotice(progress_token=meta.progress_token, progress=1)
        call.outlet.notify(PROGRESS, notice)
        call.outlet.notify(MESSAGE, LogNotice(level="info", data="hi"))
        call.outlet.notify(TOOLS_CHANGED, Params())
        return said("done")

    notices: list[str] = []
    async with linked(
        revision, chatty=chatty, on_notice=lambda method, _: notices.append(method)
    ) as (link, _):
        ear = Ear()
        await soon(link.handle(call(link, "chatty", outlet=ear)))
        # A change that a legacy server tells on a call's stream concerns everyone, and nobody twice.
        to_call = [TOOLS_CHANGED] if revision.modern else []
        assert [method for method, _ in ear.heard] == [PROGRESS, MESSAGE, *to_call]
        assert notices == ([] if revision.modern else [TOOLS_CHANGED])


async def test_a_question_of_a_legacy_server_is_answered():
    async def curious(call: Call) -> Result:
        return said(bytes(await call.outlet.ask("roots/list", Params())).decode())

    async with linked(LATEST_LEGACY, curious=curious) as (link, _):
        assert "file:///here" in text_of(await soon(link.handle(call(link, "curious"))))


async def test_cancelling_a_call_cancels_it_there(revision: Revision):
    latch = Latch()
    async with linked(revision, latch=latch) as (link, engine):
        for options in ({}, {"patience": 100.0}, {"deadline": 1e12}):
            latch.reached.clear()
            latch.cancelled.clear()
            held = asyncio.create_task(link.handle(call(link, "latch", **options)))
            await soon(latch.reached.wait())
            held.cancel()
            with pytest.raises(asyncio.CancelledError):
                await held
            await soon(latch.cancelled.wait())
        told = [b"notifications/cancelled" in (request.body or b"") for request in engine.requests]
        assert any(told) == (not revision.modern)


async def test_patience_ends_a_call_and_tells_the_server(revision: Revision):
    latch = Latch()
    async with linked(revision, latch=latch) as (link, _):
        with pytest.raises(TimedOut, match=r"0\.01 s without progress"):
            await soon(link.handle(call(link, "latch", patience=0.01)))
        await soon(latch.cancelled.wait())
        with pytest.raises(TimedOut, match="deadline"):
            await soon(link.handle(call(link, "latch", deadline=0.0)))


async def test_progress_renews_patience_up_to_the_deadline(revision: Revision):
    async def busy(call: Call) -> Result:
        meta = call.params.meta
        assert meta is not None
        assert meta.progress_token is not None
        for step in range(1_000_000):
            notice = ProgressNotice(progress_token=meta.progress_token, progress=step)
            call.outlet.notify(PROGRESS, notice)
            await asyncio.sleep(0)
        raise AssertionError

    async with linked(revision, busy=busy) as (link, _):
        end = asyncio.get_running_loop().time() + 0.1
        with pytest.raises(TimedOut, match="deadline"):
            await soon(link.handle(call(link, "busy", patience=0.05, deadline=end)))


async def test_closing_ends_a_legacy_session_and_nothing_of_a_modern_one(revision: Revision):
    async with linked(revision) as (link, engine):
        await soon(link.close())
        await soon(link.close())
        assert await soon(link.wait_lost()) is None
        assert engine.closed
        deleted = [request.method for request in engine.requests].count("DELETE")
        assert deleted == (0 if revision.modern else 1)


async def test_a_call_before_the_era_is_settled_is_refused():
    link = HttpLink(URL, HostEngine(App(Desk())), home())
    with pytest.raises(ConnectionLost, match="not settled"):
        await link.handle(Call(BY_NAME["ping"], Params(), Envelope(LATEST_LEGACY)))
    await link.close()


async def test_the_standing_stream_hands_on_what_belongs_to_no_call():
    heard = asyncio.Event()
    latch = Latch()
    latch.go.set()
    async with linked(LATEST_LEGACY, on_notice=lambda method, _: heard.set(), latch=latch) as (
        link,
        _,
    ):
        link.listen()
        await soon(link.handle(call(link, "latch")))
        session = latch.calls[0].session
        assert session is not None
        for _ in range(20):
            await asyncio.sleep(0)
        session.standing.notify("notifications/tools/list_changed", Params())
        await soon(heard.wait())


async def test_a_session_that_the_server_forgot_is_lost_and_not_ended_again():
    async with linked(LATEST_LEGACY) as (link, engine):
        app = engine.host.app
        app.sessions.close()  # type: ignore[attr-defined]
        with pytest.raises(ConnectionLost, match="does not know this session"):
            await soon(link.handle(call(link)))
        assert isinstance(await soon(link.wait_lost()), ConnectionLost)
        await link.close()
        assert engine.closed
        assert "DELETE" not in [request.method for request in engine.requests]


# Servers that misbehave.


class Odd:
    """An engine whose server is a script: a response for each request, in order."""

    def __init__(self, *script: Any) -> None:
        self.script = list(script)
        self.requests = Requests()
        self.drained = asyncio.Event()

    async def send(self, request: Request) -> OddResponse:
        self.requests.append(request)
        if not self.script:
            self.drained.set()
            await asyncio.Event().wait()
        step = self.script.pop(0)
        if isinstance(step, Exception):
            raise step
        return step

    async def close(self) -> None:
        pass


class OddResponse:
    def __init__(
        self, status: int, kind: str, *body: bytes, breaks: bool = False, **headers: str
    ) -> None:
        self.status = status
        self.headers: Mapping[str, str] = {"content-type": kind, **headers}
        self.body = body
        self.breaks = breaks
        self.closed = False

    async def pieces(self) -> AsyncIterator[bytes]:
        for piece in self.body:
            yield piece
        if self.breaks:
            raise ConnectionLost("it broke off")

    async def read(self, limit: int) -> bytes:
        data = b"".join(self.body)
        if len(data) > limit:
            raise InvalidMessage("too long")
        return data

    def close(self) -> None:
        self.closed = True


JSON = "application/json; charset=utf-8"
STREAM = "text/event-stream"
OK = b'{"jsonrpc":"2.0","id":1,"result":{"content":[]}}'
FAIL = {"code": 5, "message": "no"}


def failed(number: Any = ...) -> bytes:
    body = {"jsonrpc": "2.0", "id": number, "error": FAIL}
    return json.dumps(body if number is not ... else {"jsonrpc": "2.0", "error": FAIL}).encode()


@asynccontextmanager
async def odd(
    revision: Revision,
    *script: Any,
    on_notice: Callable[[str, Raw], None] | None = None,
    dispatch: Dispatch | None = None,
) -> AsyncGenerator[tuple[HttpLink, Odd]]:
    engine = Odd(*script)
    link = HttpLink(URL, engine, dispatch or home(), on_notice=on_notice)
    session = Session()
    session.open(InitializeParams(protocol_version=revision.name, capabilities=CAN, client_info=ME))
    link.settle(Outgoing(Envelope(revision, ME, CAN)), None if revision.modern else session)
    yield link, engine
    await soon(link.close())


async def outcome(*script: Any, revision: Revision = LATEST_MODERN) -> RawResult:
    async with odd(revision, *script) as (link, _):
        result = await soon(link.handle(call(link)))
        for response in script:
            assert response.closed
        return result


@pytest.mark.parametrize(
    "response",
    [
        OddResponse(200, JSON, OK),
        OddResponse(200, "Application/JSON", OK[:9], OK[9:]),
        OddResponse(201, JSON, OK),
        OddResponse(200, STREAM, sse.event(OK)),
        OddResponse(200, "Text/Event-Stream;x=y", b": alive\n\n", sse.event(OK)),
        OddResponse(200, STREAM, sse.event(b"garbage"), sse.event(OK)),
        OddResponse(200, STREAM, sse.event(b"", id="1", retry=5), sse.event(OK, id="2")),
        OddResponse(
            200, STREAM, sse.event(reply(99, {})), sse.event(reply("1", {})), sse.event(OK)
        ),
        OddResponse(200, STREAM, sse.event(say("notifications/unknown")), sse.event(OK)),
        OddResponse(200, STREAM, sse.event(say("notifications/progress", [])), sse.event(OK)),
        OddResponse(200, STREAM, sse.event(say("notifications/cancelled", [])), sse.event(OK)),
        OddResponse(200, STREAM, sse.event(ask("roots/list")), sse.event(OK)),
        OddResponse(200, STREAM, sse.event(ask("roots/list", None)), sse.event(OK)),
        OddResponse(200, STREAM, *(bytes([byte]) for byte in sse.event(OK))),
        OddResponse(200, STREAM, sse.event(OK), breaks=True),
    ],
    ids=lambda response: f"{response.headers['content-type']} {b''.join(response.body)[:60]!r}",
)
async def test_an_answer_is_found_whatever_else_comes(response: OddResponse):
    response.closed = False
    assert bytes((await outcome(response)).body) == b'{"content":[]}'


@pytest.mark.parametrize(
    ("response", "error"),
    [
        (OddResponse(200, JSON, b""), InvalidMessage),
        (OddResponse(200, JSON, b"<html>"), InvalidMessage),
        (OddResponse(200, JSON, b"[]"), InvalidMessage),
        (OddResponse(200, JSON, reply(2, {})), InvalidMessage),
        (OddResponse(200, JSON, reply("1", {})), InvalidMessage),
        (OddResponse(200, JSON, b'{"jsonrpc":"2.0","id":1}'), InvalidMessage),
        (OddResponse(200, JSON, b'{"jsonrpc":"2.0","result":{}}'), InvalidMessage),
        (OddResponse(200, JSON, reply(1, 5)), InvalidMessage),
        (OddResponse(200, JSON, ask("ping")), InvalidMessage),
        (OddResponse(200, JSON, say("x")), InvalidMessage),
        (OddResponse(200, "text/html", b"<html>"), InvalidMessage),
        (OddResponse(200, "", OK), InvalidMessage),
        (OddResponse(202, ""), InvalidMessage),
        (OddResponse(200, JSON, failed(1)), RpcError),
        (OddResponse(200, JSON, failed(None)), RpcError),
        (OddResponse(200, JSON, failed()), RpcError),
        (OddResponse(200, STREAM, sse.event(failed(None))), RpcError),
        (OddResponse(200, STREAM), ConnectionLost),
        (OddResponse(200, STREAM, sse.event(OK)[:-2]), ConnectionLost),
        (OddResponse(200, STREAM, sse.event(reply(2, {}))), ConnectionLost),
        (OddResponse(200, STREAM, sse.event(b"", id="7")), ConnectionLost),
        (OddResponse(200, STREAM, b": x\n\n", breaks=True), ConnectionLost),
        (OddResponse(400, JSON, failed(1)), HttpRpcError),
        (OddResponse(500, JSON, failed()), HttpRpcError),
        (OddResponse(400, STREAM, b""), HttpError),
        (OddResponse(401, "text/plain", b"who are you?"), HttpError),
        (OddResponse(404, "text/html", b"<html>"), HttpError),
        (OddResponse(500, JSON, b'{"detail":"oops"}'), HttpError),
        (OddResponse(502, JSON, b"{"), HttpError),
        (OddResponse(301, "", location="https://elsewhere.example/mcp"), HttpError),
        (OddResponse(307, ""), HttpError),
    ],
    ids=lambda value: (
        value.__name__
        if isinstance(value, type)
        else f"{value.status} {value.headers['content-type']} {b''.join(value.body)[:40]!r}"
    ),
)
async def test_what_is_no_answer_is_a_plain_typed_error(
    response: OddResponse, error: type[Exception]
):
    with pytest.raises(error) as caught:
        await outcome(response)
    assert type(caught.value) is error
    assert response.closed


async def test_a_redirect_is_named_and_not_followed():
    moved = OddResponse(308, "", location="https://elsewhere.example/mcp")
    with pytest.raises(HttpError, match=r"redirects to https://elsewhere\.example/mcp; use that"):
        await outcome(moved)


async def test_an_event_that_is_too_long_is_survived_and_explained(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(resuming, "MESSAGE_LIMIT", 200)
    long = sse.event(b"x" * 300)
    found = await outcome(OddResponse(200, STREAM, long + sse.event(OK)))
    assert bytes(found.body) == b'{"content":[]}'
    with pytest.raises(InvalidMessage, match="at most 200 bytes"):
        await outcome(OddResponse(200, STREAM, long))


async def test_the_engine_s_own_failures_come_through():
    for error in (ConnectFailed("nobody"), ConnectionLost("gone")):
        async with odd(LATEST_MODERN, error) as (link, _):
            with pytest.raises(type(error)):
                await link.handle(call(link))


async def test_a_modern_server_s_questions_are_not_answered():
    stream = OddResponse(200, STREAM, sse.event(ask("roots/list")), sse.event(OK))
    async with odd(LATEST_MODERN, stream) as (link, engine):
        await soon(link.handle(call(link)))
        assert len(engine.requests) == 1


async def test_a_legacy_server_s_wrong_questions_are_answered_with_errors():
    events = sse.event(ask("tools/list", "q")) + sse.event(ask("nonsense", "r")) + sse.event(OK)
    script = OddResponse(200, STREAM, events), OddResponse(202, ""), OddResponse(202, "")
    async with odd(LATEST_LEGACY, *script) as (link, engine):
        await soon(link.handle(call(link)))
        await engine.requests.number(3)
        answers = [json.loads(request.body or b"") for request in engine.requests[1:]]
        assert {answer["id"]: answer["error"]["code"] for answer in answers} == {
            "q": -32601,
            "r": -32601,
        }


async def test_a_legacy_server_may_take_its_question_back():
    begun = asyncio.Event()
    ended = asyncio.Event()

    async def slow(call: Call) -> Result:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError

    class Paused(OddResponse):
        async def pieces(self) -> AsyncIterator[bytes]:
            yield sse.event(ask("roots/list", "q"))
            await begun.wait()
            yield sse.event(say("notifications/cancelled", {"requestId": "other"}))
            yield sse.event(say("notifications/cancelled", {"requestId": "q"}))
            await ended.wait()
            yield sse.event(OK)

    desk = Desk()
    desk.handle = slow
    paused = Paused(200, STREAM)
    async with odd(LATEST_LEGACY, paused, dispatch=Dispatch(desk)) as (link, engine):
        await soon(link.handle(call(link)))
        assert len(engine.requests) == 1


async def test_discovery_is_asked_as_the_revision_it_asks_for():
    async with linked(LATEST_MODERN) as (link, engine):
        assert link.outgoing is not None
        raw = Raw(link.outgoing.stamped(Params()))
        found, session = await soon(link.ask("server/discover", raw, revision=LATEST_MODERN))
        assert json.loads(bytes(found))["supportedVersions"] == ["2026-07-28"]
        assert session is None
        assert engine.requests[-1].headers["mcp-method"] == "server/discover"


async def test_a_legacy_stream_that_breaks_off_is_resumed_where_it_broke():
    script = (
        OddResponse(200, STREAM, sse.event(b"", id="a-1", retry=1), breaks=True),
        OddResponse(200, STREAM, sse.event(say("notifications/x"), id="a-2")),
        OddResponse(200, STREAM, sse.event(OK, id="a-3")),
    )
    async with odd(LATEST_LEGACY, *script) as (link, engine):
        result = await soon(link.handle(call(link)))
        assert bytes(result.body) == b'{"content":[]}'
        assert [request.method for request in engine.requests] == ["POST", "GET", "GET"]
        resumed = [request.headers["last-event-id"] for request in engine.requests[1:]]
        assert resumed == ["a-1", "a-2"]
        assert "content-type" not in engine.requests[1].headers


async def test_resuming_without_anything_new_ends():
    def nothing() -> OddResponse:
        return OddResponse(200, STREAM)

    first = OddResponse(200, STREAM, sse.event(b"", id="a-1", retry=0))
    busy = OddResponse(503, JSON, b"{}")
    with pytest.raises(ConnectionLost, match="ended before"):
        await outcome(first, nothing(), busy, nothing(), revision=LATEST_LEGACY)


async def test_a_stream_that_cannot_be_resumed_is_asked_for_once():
    first = OddResponse(200, STREAM, sse.event(b"", id="a-1", retry=0))
    refused = OddResponse(405, JSON, b"{}")
    with pytest.raises(ConnectionLost, match="ended before"):
        await outcome(first, refused, revision=LATEST_LEGACY)


async def test_a_server_that_polls_is_asked_again_as_long_as_it_says_so():
    """2025-11-25 § Transports (SEP-1699): closing after a priming event is not failing."""

    def polls(retry: int = 0) -> OddResponse:
        return OddResponse(200, STREAM, sse.event(b"", id="a-1", retry=retry))

    def alive() -> OddResponse:
        return OddResponse(200, STREAM, sse.comment("alive"))

    script = [polls(), *(polls() for _ in range(10)), *(alive() for _ in range(10))]
    found = await outcome(*script, OddResponse(200, STREAM, sse.event(OK)), revision=LATEST_LEGACY)
    assert bytes(found.body) == b'{"content":[]}'


async def test_polling_ends_with_the_patience_of_the_call():
    script = [OddResponse(200, STREAM, sse.event(b"", id="a-1", retry=0)) for _ in range(1000)]
    async with odd(LATEST_LEGACY, *script) as (link, engine):
        with pytest.raises(TimedOut, match=r"0\.1 s without progress"):
            await soon(link.handle(call(link, patience=0.1)))
        with pytest.raises(TimedOut, match="deadline"):
            await soon(link.handle(call(link, deadline=asyncio.get_running_loop().time() + 0.1)))
        assert len(engine.requests) < 100


async def test_a_link_that_closes_resumes_nothing_any_more():
    polls = OddResponse(200, STREAM, sse.event(b"", id="a-1", retry=3_600_000))
    async with odd(LATEST_LEGACY, polls) as (link, engine):
        waits = asyncio.create_task(link.handle(call(link)))
        while not engine.requests:  # noqa: ASYNC110
            await asyncio.sleep(0)
        await soon(link.close())
        with pytest.raises(ConnectionLost, match="was left"):
            await soon(waits)


async def test_an_outage_while_resuming_is_survived():
    script = (
        OddResponse(200, STREAM, sse.event(b"", id="a-1", retry=1)),
        ConnectFailed("restarting"),
        OddResponse(200, STREAM, sse.event(OK, id="a-2")),
    )
    async with odd(LATEST_LEGACY, *script) as (link, _):
        assert bytes((await soon(link.handle(call(link)))).body) == b'{"content":[]}'


async def test_an_empty_id_says_that_there_is_nothing_to_resume_after():
    stream = sse.event(b"", id="a-1", retry=0) + b"id:\ndata:\n\n"
    with pytest.raises(ConnectionLost, match="ended before"):
        await outcome(OddResponse(200, STREAM, stream), revision=LATEST_LEGACY)


async def test_resuming_carries_the_session_and_the_version():
    script = (
        OddResponse(200, STREAM, sse.event(b"", id="a-1", retry=0)),
        OddResponse(200, STREAM, sse.event(OK)),
        OddResponse(204, ""),
    )
    async with odd(LATEST_LEGACY, *script) as (link, engine):
        link.keep_session("s-1")
        await soon(link.handle(call(link)))
        sent = engine.requests[1].headers
        assert (sent["mcp-session-id"], sent["mcp-protocol-version"]) == ("s-1", "2025-11-25")
        assert sent["accept"] == "text/event-stream"


async def test_a_session_that_is_gone_when_its_stream_is_resumed_had_taken_the_call():
    """Whoever calls must know: a 404 to the call itself means that it may be sent again."""
    primed = OddResponse(200, STREAM, sse.event(b"", id="a-1", retry=0))
    for script, taken in ((OddResponse(404, ""),), False), ((primed, OddResponse(404, "")), True):
        async with odd(LATEST_LEGACY, *script) as (link, _):
            link.keep_session("s")
            with pytest.raises(SessionForgotten) as caught:
                await soon(link.handle(call(link)))
            assert caught.value.taken == taken
            assert isinstance(await soon(link.wait_lost()), SessionForgotten)


async def test_a_link_that_retires_closes_once_its_calls_have_ended():
    latch = Latch()
    async with linked(LATEST_LEGACY, latch=latch) as (link, engine):
        held = asyncio.create_task(link.handle(call(link, "latch")))
        await soon(latch.reached.wait())
        retiring = asyncio.create_task(link.retire())
        await asyncio.sleep(0)
        assert not engine.closed
        latch.go.set()
        assert text_of(await soon(held)) == "let go"
        await soon(retiring)
        assert engine.closed


async def test_a_standing_stream_that_ends_is_opened_again_where_it_was():
    heard: list[str] = []
    script = (
        OddResponse(200, STREAM, sse.event(say("notifications/a"), id="5", retry=0)),
        ConnectionLost("for a moment"),
        OddResponse(200, STREAM, sse.event(say("notifications/b"), id="6", retry=0)),
        OddResponse(405, ""),
    )
    async with odd(LATEST_LEGACY, *script, on_notice=lambda method, _: heard.append(method)) as (
        link,
        engine,
    ):
        link.listen()
        await engine.requests.number(2)
        assert heard == ["notifications/a"]
        assert engine.requests[1].headers["last-event-id"] == "5"


@pytest.mark.parametrize(
    "response",
    [
        OddResponse(405, ""),
        OddResponse(401, ""),
        OddResponse(302, ""),
        OddResponse(200, JSON, b"{}"),
    ],
)
async def test_a_server_without_a_standing_stream_is_asked_once(response: OddResponse):
    async with odd(LATEST_LEGACY, response) as (link, engine):
        link.listen()
        assert link._standing is not None  # pyright: ignore[reportPrivateUsage]
        await soon(link._standing)  # pyright: ignore[reportPrivateUsage]
        assert len(engine.requests) == 1


async def test_a_standing_stream_whose_session_is_over_loses_the_link():
    async with odd(LATEST_LEGACY, OddResponse(404, "")) as (link, _):
        link.keep_session("s")
        link.listen()
        assert isinstance(await soon(link.wait_lost()), ConnectionLost)


async def test_what_goes_out_in_the_background_is_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(incoming, "BACKGROUND_LIMIT", 3)
    async with odd(LATEST_LEGACY) as (link, engine):
        for _ in range(10):
            link.notify("notifications/roots/list_changed", Params())
        await soon(engine.drained.wait())
        assert len(engine.requests) == 3
    link.notify("notifications/roots/list_changed", Params())
    assert len(engine.requests) == 3


async def test_a_notification_that_fails_fails_nobody():
    async with odd(
        LATEST_LEGACY, OddResponse(500, ""), ConnectionLost("x"), OddResponse(202, "")
    ) as (link, engine):
        for _ in range(3):
            link.notify("notifications/roots/list_changed", Params())
        await engine.requests.number(3)


async def test_asking_outside_an_era_ends_in_time():
    async with odd(LATEST_LEGACY) as (link, _):
        with pytest.raises(TimedOut, match="did not answer initialize"):
            await soon(link.ask("initialize", Params(), patience=0.01))
