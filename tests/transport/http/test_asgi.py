"""The endpoint in both eras, asked in this process as an HTTP server would."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.official import complaint
from tests.peers import (
    LATEST,
    LEGACY,
    MODERN,
    Desk,
    Latch,
    ask,
    echo,
    hello,
    modern,
    reply,
    said,
    say,
    soon,
)
from tests.transport.http.host import Asked, Host

from interlock.protocol.call import Call
from interlock.protocol.exchange import RUNNING_LIMIT
from interlock.testing.wiretap import Wiretap
from interlock.transport.http.asgi import App
from interlock.transport.http.hardening import SAFE, UNKEPT
from interlock.transport.http.sessions import Sessions
from interlock.transport.http.streams import Keep
from interlock.wire import sse
from interlock.wire.meta import Params, Result
from interlock.wire.notices import MESSAGE, LogNotice
from interlock.wire.versions import LATEST_LEGACY

HI = {"name": "echo", "arguments": {"text": "hi"}}


async def chatty(call: Call) -> Result:
    for word in ("one", "two"):
        call.outlet.notify(MESSAGE, LogNotice(level="info", data=word))
        await call.outlet.drain()
    return said("done")


async def curious(call: Call) -> Result:
    return said(bytes(await call.outlet.ask("roots/list", Params())).decode())


@asynccontextmanager
async def serving(**tools: Any) -> AsyncGenerator[Host]:
    app = App(Desk(echo=echo, chatty=chatty, curious=curious, **tools))
    yield Host(app)
    await app.stop()


async def told(asked: Asked) -> tuple[int, Any]:
    """Status and JSON of a whole response."""
    message = await asked.json()
    return asked.status, message


# Modern.


async def test_a_modern_call_is_answered_with_json():
    async with serving() as host:
        data = modern("tools/call", 1, HI)
        tap = Wiretap(complaint)
        tap.hear("client", data)
        asked = host.modern(data)
        body = await asked.whole()
        tap.hear("server", body)
        assert asked.status == 200
        assert asked.headers["content-type"] == "application/json"
        safe = {name.decode() for name, _ in (*SAFE, UNKEPT)}
        assert set(asked.headers) == {"content-type", "content-length"} | safe
        assert json.loads(body)["id"] == 1


@pytest.mark.parametrize("number", [0, "", "a", -1, 2**60])
async def test_an_id_comes_back_as_it_was(number: Any):
    async with serving() as host:
        _, message = await told(host.modern(modern("tools/list", number)))
        assert message["id"] == number
        assert type(message["id"]) is type(number)


async def test_notices_of_a_modern_call_come_before_its_answer_on_its_own_stream():
    async with serving() as host:
        data = modern("tools/call", 1, {"name": "chatty"})
        tap = Wiretap(complaint)
        tap.hear("client", data)
        asked = await host.modern(data).begun()
        assert asked.headers["content-type"] == "text/event-stream"
        for method in (MESSAGE, MESSAGE, None):
            event = await asked.event()
            assert event.id is None
            tap.hear("server", event.data)
            assert json.loads(event.data).get("method") == method
        assert await asked.piece() == b""
        assert asked.finished


async def test_a_modern_request_ignores_sessions_and_makes_none():
    async with serving() as host:
        session = await host.greet(hello())
        for name in (session, "gone"):
            asked = host.modern(modern("tools/call", 1, HI), mcp_session_id=name)
            assert (await told(asked))[0] == 200
            assert "mcp-session-id" not in asked.headers


async def test_a_modern_client_that_leaves_cancels_its_call():
    latch = Latch()
    async with serving(latch=latch) as host:
        asked = host.modern(modern("tools/call", 1, {"name": "latch"}))
        await soon(latch.reached.wait())
        asked.leave()
        await soon(latch.cancelled.wait())
        await soon(asked.task)
        assert asked.status == 0
        assert latch.calls[0].cancelled


async def test_a_modern_client_cannot_be_asked():
    async with serving() as host:
        _, message = await told(host.modern(modern("tools/call", 1, {"name": "curious"})))
        assert message["error"]["code"] == -32601


async def test_the_same_id_may_run_twice_at_once_where_nothing_is_remembered():
    latch = Latch()
    async with serving(latch=latch) as host:
        held = [host.modern(modern("tools/call", 1, {"name": "latch"})) for _ in range(3)]
        await soon(latch.reached.wait())
        latch.go.set()
        for asked in held:
            assert (await told(asked))[0] == 200


async def test_a_handler_that_cancels_itself_is_answered():
    async def lost(call: Call) -> Result:
        nobody = asyncio.get_running_loop().create_future()
        nobody.cancel()
        await nobody
        raise AssertionError

    async def lost_at_once(call: Call) -> Result:
        raise asyncio.CancelledError

    async with serving(lost=lost, lost_at_once=lost_at_once) as host:
        for name in ("lost", "lost_at_once"):
            _, message = await told(host.modern(modern("tools/call", 1, {"name": name})))
            assert message["error"]["code"] == -32603


async def test_a_handler_sees_its_own_task_and_may_set_itself_a_time():
    async def impatient(call: Call) -> Result:
        try:
            async with asyncio.timeout(0.001):
                await asyncio.Event().wait()
        except TimeoutError:
            return said("gave up")
        raise AssertionError

    async with serving(impatient=impatient) as host:
        _, message = await told(host.modern(modern("tools/call", 1, {"name": "impatient"})))
        assert message["result"]["content"][0]["text"] == "gave up"


async def test_silence_turns_an_answer_into_a_stream():
    latch = Latch()
    host = Host(App(Desk(latch=latch), keep_alive=0))
    asked = await host.modern(modern("tools/call", 1, {"name": "latch"})).begun()
    assert asked.headers["content-type"] == "text/event-stream"
    assert (await asked.piece()).startswith(b":")
    latch.go.set()
    assert (await asked.message())["id"] == 1
    await soon(asked.task)


# What is refused.


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example.com"}, 403),
        ({"origin": "https://evil.example.com"}, 403),
        ({"host": None}, 403),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": None}, 415),
        ({"content-encoding": "gzip"}, 415),
        ({"accept": "text/html"}, 406),
        ({"content-length": "99999999999"}, 413),
        ({"content-length": "many"}, 400),
    ],
)
async def test_what_must_not_go_on_is_refused_before_it_is_read(
    headers: dict[str, str | None], status: int
):
    async with serving() as host:
        found, message = await told(host.post(modern("tools/list"), headers))
        assert (found, message["error"]["code"]) == (status, -32600)
        assert "id" not in message
        assert (await told(host.modern(modern("tools/list"))))[0] == 200


@pytest.mark.parametrize("length", [None, "5000"])
async def test_a_body_over_the_limit_is_refused_with_and_without_saying_so(length: str | None):
    host = Host(App(Desk(), body_limit=1000))
    parts = [b'{"jsonrpc":', b" " * 600, b" " * 600, b" " * 600]
    asked = host.post(parts, {"content-length": length})
    assert (await told(asked))[0] == 413
    whole = host.post(b" " * 2000, {"content-length": None})
    assert (await told(whole))[0] == 413
    exact = modern("tools/list")
    exact += b" " * (1000 - len(exact))
    assert (await told(host.modern(exact)))[0] == 200


async def test_a_body_in_pieces_is_put_together():
    async with serving() as host:
        data = modern("tools/call", 1, HI)
        pieces = [data[i : i + 7] for i in range(0, len(data), 7)]
        asked = host.post([*pieces, b""], {**dict(host_headers(data))})
        assert (await told(asked))[0] == 200


def host_headers(data: bytes) -> list[tuple[str, str]]:
    message = json.loads(data)
    return [
        ("mcp-protocol-version", MODERN),
        ("mcp-method", message["method"]),
        ("mcp-name", message["params"]["name"]),
    ]


@pytest.mark.parametrize("pieces", [[], [b'{"json'], [b'{"json', b"rpc"]])
async def test_a_client_that_leaves_before_it_has_said_all_is_not_answered(pieces: list[bytes]):
    async with serving() as host:
        asked = host.post([*pieces, b""] if pieces else [])
        if pieces:
            asked._incoming._queue.pop()  # type: ignore[attr-defined]
        asked.leave()
        await soon(asked.task)
        assert asked.status == 0


@pytest.mark.parametrize(
    ("path", "status"),
    [("/mcp", 200), ("/mcp/", 200), ("/", 404), ("/mcp/x", 404), ("/mcpx", 404), ("", 404)],
)
async def test_it_is_served_at_its_path_with_and_without_a_slash(path: str, status: int):
    async with serving() as host:
        data = modern("tools/list")
        headers: dict[str, str | None] = {
            "mcp-protocol-version": MODERN,
            "mcp-method": "tools/list",
        }
        found, message = await told(host.open("POST", data, headers, path))
        assert found == status
        assert ("error" in message) == (status == 404)


@pytest.mark.parametrize(
    ("root", "path", "status"),
    [
        ("/api", "/api", 200),
        ("/api", "/api/", 200),
        ("/api", "/api/mcp", 200),
        ("/api", "/api/mcp/", 200),
        ("/api", "/mcp", 200),
        ("/api", "/api/other", 404),
        ("/api", "/apis", 404),
        ("/m", "/mcp", 200),
        ("/mcp/", "/mcp", 200),
    ],
)
async def test_mounted_under_a_prefix_it_answers_there_too(root: str, path: str, status: int):
    host = Host(App(Desk()), root)
    headers: dict[str, str | None] = {"mcp-protocol-version": MODERN, "mcp-method": "tools/list"}
    assert (await told(host.open("POST", modern("tools/list"), headers, path)))[0] == status


async def test_it_can_be_served_at_the_root():
    host = Host(App(Desk(), path="/"))
    headers: dict[str, str | None] = {"mcp-protocol-version": MODERN, "mcp-method": "tools/list"}
    assert (await told(host.open("POST", modern("tools/list"), headers, "/")))[0] == 200
    assert (await told(host.open("POST", modern("tools/list"), headers, "/x")))[0] == 404


@pytest.mark.parametrize("method", ["PUT", "PATCH", "TRACE", "CONNECT", "BREW"])
async def test_other_methods_are_refused_with_those_that_are_served(method: str):
    async with serving() as host:
        asked = host.open(method)
        assert (await told(asked))[0] == 405
        assert asked.headers["allow"] == "POST, GET, DELETE, OPTIONS"


async def test_head_is_refused_without_a_body():
    async with serving() as host:
        asked = host.open("HEAD")
        assert await asked.whole() == b""
        assert asked.status == 405


async def test_a_page_of_an_allowed_origin_may_read_what_it_gets():
    async with serving() as host:
        origin = "http://localhost:6274"
        asked = host.open("OPTIONS", b"", {"origin": origin})
        await asked.whole()
        assert asked.status == 204
        assert asked.headers["access-control-allow-origin"] == origin
        assert "POST" in asked.headers["access-control-allow-methods"]
        plain = host.open("OPTIONS")
        await plain.whole()
        assert (plain.status, plain.headers["allow"]) == (204, "POST, GET, DELETE, OPTIONS")
        for headers in ({}, {"accept": "text/html"}, {"mcp-method": "x"}):
            found = host.modern(modern("tools/list"), **{"origin": origin, **headers})
            await found.json()
            assert found.headers["access-control-allow-origin"] == origin
            assert "Mcp-Session-Id" in found.headers["access-control-expose-headers"]


# Legacy.


@pytest.mark.parametrize("version", LEGACY)
async def test_a_legacy_client_gets_a_session_and_its_calls_answered(version: str):
    async with serving() as host:
        tap = Wiretap(complaint, LATEST_LEGACY)
        data = hello(version)
        tap.hear("client", data)
        asked = host.post(data)
        body = await asked.whole()
        tap.hear("server", body)
        session = asked.headers["mcp-session-id"]
        ready = say("notifications/initialized")
        tap.hear("client", ready)
        assert await host.legacy(session, ready).whole() == b""
        for method, params in (("ping", {}), ("tools/list", {}), ("tools/call", HI)):
            data = ask(method, method, params)
            tap.hear("client", data)
            tap.hear("server", await host.legacy(session, data).whole())
        assert tap.unanswered("client") == []


async def test_without_a_session_a_legacy_request_is_told_to_begin():
    async with serving() as host:
        status, message = await told(host.post(ask("tools/list")))
        assert (status, message["error"]["code"], message["id"]) == (400, -32600, 1)
        assert "initialize" in message["error"]["message"]


async def test_a_session_that_is_not_there_is_a_404_whatever_is_sent():
    async with serving() as host:
        for asked in (
            host.legacy("gone", ask("tools/list")),
            host.legacy("gone", hello()),
            host.legacy("gone", say("notifications/initialized")),
            host.legacy("gone", reply("s1", {})),
            host.open("GET", b"", {"mcp-session-id": "gone"}),
            host.open("DELETE", b"", {"mcp-session-id": "gone"}),
        ):
            assert (await told(asked))[0] == 404


async def test_a_client_that_says_too_much_of_itself_gets_no_session():
    async with serving() as host:
        for size, status in ((1000, 200), (100_000, 413)):
            greeting = hello(capabilities={"experimental": {"x": {"y": "z" * size}}})
            asked = host.post(greeting)
            await asked.whole()
            assert asked.status == status
            assert ("mcp-session-id" in asked.headers) == (status == 200)
        assert len(host.app.sessions) == 1  # type: ignore[attr-defined]


async def test_sessions_are_strangers_to_one_another():
    latch = Latch()
    async with serving(latch=latch) as host:
        one, two = await host.greet(hello()), await host.greet(hello("2025-03-26"))
        assert one != two
        held = host.legacy(one, ask("tools/call", 7, {"name": "latch"}))
        await soon(latch.reached.wait())
        await host.legacy(two, say("notifications/cancelled", {"requestId": 7})).whole()
        assert (await told(host.legacy(two, ask("ping", 7))))[0] == 200
        latch.go.set()
        assert (await told(held))[0] == 200


async def test_a_second_handshake_and_a_wrong_version_header_are_refused():
    async with serving() as host:
        session = await host.greet(hello("2025-06-18"))
        assert (await told(host.legacy(session, hello())))[0] == 400
        for version, status in (
            ("2025-06-18", 200),
            ("2025-11-25", 400),
            ("2099-01-01", 400),
            (MODERN, 400),
        ):
            asked = host.legacy(session, ask("ping"), mcp_protocol_version=version)
            assert (await told(asked))[0] == status


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_an_unknown_version_header_is_refused_everywhere(method: str):
    async with serving() as host:
        session = await host.greet(hello())
        headers = {"mcp-session-id": session, "mcp-protocol-version": "2099-01-01"}
        assert (await told(host.open(method, b"", headers)))[0] == 400
        notice = host.post(say("notifications/initialized"), headers)
        assert (await told(notice))[0] == 400
        assert (await told(host.legacy(session, ask("ping"))))[0] == 200


async def test_notifications_are_taken_with_202_and_nothing_else():
    async with serving() as host:
        session = await host.greet(hello())
        for asked in (
            host.legacy(session, say("notifications/initialized")),
            host.legacy(session, say("notifications/unknown", {"x": 1})),
            host.legacy(session, say("notifications/cancelled", {"requestId": "nobody"})),
            host.legacy(session, say("notifications/cancelled", {"requestId": []})),
            host.legacy(session, say("notifications/cancelled")),
            host.legacy(session, reply("s99", {})),
            host.legacy(session, reply(5, {})),
            host.post(say("notifications/unknown")),
        ):
            assert await asked.whole() == b""
            assert asked.status == 202


async def test_an_answer_without_a_session_belongs_nowhere():
    async with serving() as host:
        assert (await told(host.post(reply("s1", {}))))[0] == 400


async def test_a_question_in_the_middle_of_a_call_is_answered_by_another_post():
    async with serving() as host:
        tap = Wiretap(complaint, LATEST_LEGACY)
        session = await host.greet(hello(capabilities={"roots": {}}))
        data = ask("tools/call", 1, {"name": "curious"})
        tap.hear("client", data)
        asked = await host.legacy(session, data).begun()
        event = await asked.event()
        tap.hear("server", event.data)
        question = json.loads(event.data)
        answer = reply(question["id"], {"roots": [{"uri": "file:///x"}]})
        tap.hear("client", answer)
        posted = host.legacy(session, answer)
        assert await posted.whole() == b""
        assert posted.status == 202
        last = await asked.event()
        tap.hear("server", last.data)
        assert "file:///x" in json.loads(last.data)["result"]["content"][0]["text"]
        assert await asked.piece() == b""


async def test_a_legacy_call_is_cancelled_by_a_notification_and_its_response_ends():
    latch = Latch()
    async with serving(latch=latch) as host:
        session = await host.greet(hello())
        for number in (1, 0, ""):
            latch.reached.clear()
            asked = host.legacy(session, ask("tools/call", number, {"name": "latch"}))
            await soon(latch.reached.wait())
            cancel = host.legacy(session, say("notifications/cancelled", {"requestId": number}))
            await cancel.whole()
            assert await asked.whole() == b""
            assert asked.status == 202
            assert latch.calls[-1].cancelled
        assert (await told(host.legacy(session, ask("ping", 1))))[0] == 200


async def test_a_stream_that_was_begun_ends_without_an_answer_when_its_call_is_cancelled():
    reached = asyncio.Event()

    async def slow(call: Call) -> Result:
        call.outlet.notify(MESSAGE, LogNotice(level="info", data="begun"))
        reached.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with serving(slow=slow) as host:
        session = await host.greet(hello())
        asked = host.legacy(session, ask("tools/call", 1, {"name": "slow"}))
        await soon(reached.wait())
        await host.legacy(session, say("notifications/cancelled", {"requestId": 1})).whole()
        body = await asked.whole()
        assert b"begun" in body
        assert b'"id"' not in body


async def test_a_question_that_is_answered_with_no_message_is_at_its_end():
    async with serving() as host:
        for version in ("2025-03-26", LATEST):
            session = await host.greet(hello(version, capabilities={"roots": {}}))
            asked = host.legacy(session, ask("tools/call", 1, {"name": "curious"}))
            question = await asked.message()
            wrong = json.dumps({"id": question["id"], "result": {"roots": []}}).encode()
            if version == "2025-03-26":
                wrong = b"[%b]" % wrong
            refused = host.legacy(session, wrong)
            assert b"-32600" in await refused.whole()
            assert (await asked.message())["error"]["code"] == -32602


async def test_a_call_that_is_cancelled_while_it_asks_withdraws_its_question():
    async with serving() as host:
        tap = Wiretap(complaint, LATEST_LEGACY)
        session = await host.greet(hello(capabilities={"roots": {}}))
        asked = host.legacy(session, ask("tools/call", 1, {"name": "curious"}))
        question = await asked.message()
        tap.hear("server", json.dumps(question).encode())
        await host.legacy(session, say("notifications/cancelled", {"requestId": 1})).whole()
        event = await asked.event()
        tap.hear("server", event.data)
        assert json.loads(event.data)["params"]["requestId"] == question["id"]
        assert await asked.piece() == b""
        late = host.legacy(session, reply(question["id"], {"roots": []}))
        await late.whole()
        assert late.status == 202


async def test_a_legacy_client_that_leaves_cancels_nothing():
    latch = Latch()
    async with serving(latch=latch) as host:
        session = await host.greet(hello())
        asked = host.legacy(session, ask("tools/call", 1, {"name": "latch"}))
        await soon(latch.reached.wait())
        asked.leave()
        status, message = await told(host.legacy(session, ask("ping", 1)))
        assert (status, message["error"]["code"]) == (200, -32600) or status == 400
        latch.go.set()
        await soon(asked.task)
        assert not latch.cancelled.is_set()
        assert (await told(host.legacy(session, ask("ping", 1))))[0] == 200


async def test_a_question_to_a_legacy_client_that_does_not_come_back_fails():
    failed = asyncio.Event()

    async def asks(call: Call) -> Result:
        try:
            await call.outlet.ask("roots/list", Params())
        finally:
            failed.set()
        raise AssertionError

    host = Host(App(Desk(asks=asks), sessions=Sessions(keep=Keep(patience=0))))
    session = await host.greet(hello())
    asked = await host.legacy(session, ask("tools/call", 1, {"name": "asks"})).begun()
    await asked.event()
    asked.leave()
    await soon(failed.wait())
    await soon(asked.task)


async def test_an_id_in_use_is_refused_and_free_again_after():
    latch = Latch()
    async with serving(latch=latch) as host:
        session = await host.greet(hello())
        held = host.legacy(session, ask("tools/call", 1, {"name": "latch"}))
        await soon(latch.reached.wait())
        status, message = await told(host.legacy(session, ask("ping", 1)))
        assert (status, message["id"], message["error"]["code"]) == (400, 1, -32600)
        assert (await told(host.legacy(session, ask("ping", "1"))))[0] == 200
        latch.go.set()
        await held.whole()
        assert (await told(host.legacy(session, ask("ping", 1))))[0] == 200


async def test_calls_at_once_are_bounded_in_a_session():
    class Run:
        def cancel(self) -> None: ...

    async with serving() as host:
        name = await host.greet(hello())
        session = await host.app.sessions.find(name)  # type: ignore[attr-defined]
        session.running = {n: Run() for n in range(RUNNING_LIMIT)}
        assert (await told(host.legacy(name, ask("ping", "more"))))[0] == 429
        session.running.clear()
        assert (await told(host.legacy(name, ask("ping", "more"))))[0] == 200


async def test_the_standing_stream_carries_what_belongs_to_no_call():
    latch = Latch()
    async with serving(latch=latch) as host:
        session = await host.greet(hello())
        latch.go.set()
        await host.legacy(session, ask("tools/call", 1, {"name": "latch"})).whole()
        standing = latch.calls[0].session
        assert standing is not None
        asked = await host.open("GET", b"", {"mcp-session-id": session}).begun()
        assert asked.status == 200
        assert asked.headers["content-type"] == "text/event-stream"
        assert (await asked.any_event()).data == b""
        standing.standing.notify("notifications/tools/list_changed", Params())
        assert (await asked.message())["method"] == "notifications/tools/list_changed"
        asked.leave()
        await soon(asked.task)


async def test_a_second_standing_stream_takes_the_place_of_the_first():
    async with serving() as host:
        session = await host.greet(hello())
        first = await host.open("GET", b"", {"mcp-session-id": session}).begun()
        await first.piece()
        second = await host.open("GET", b"", {"mcp-session-id": session}).begun()
        assert await first.piece() == b""
        assert first.finished
        found = await host.app.sessions.find(session)  # type: ignore[attr-defined]
        found.standing.notify("notifications/x", Params())
        assert (await second.message())["method"] == "notifications/x"
        first.leave()
        await soon(first.task)
        found.standing.notify("notifications/y", Params())
        assert (await second.message())["method"] == "notifications/y"
        second.leave()
        await soon(second.task)
        assert not found.busy


async def test_a_standing_stream_says_that_it_lives():
    host = Host(App(Desk(), keep_alive=0.001))
    session = await host.greet(hello("2025-06-18"))
    asked = await host.open("GET", b"", {"mcp-session-id": session}).begun()
    for _ in range(3):
        assert (await asked.piece()).startswith(b":")
    asked.leave()
    await soon(asked.task)


# Coming back to a stream.


def resume(host: Host, session: str, last: str | None) -> Asked:
    assert last is not None
    return host.open("GET", b"", {"mcp-session-id": session, "last-event-id": last})


def slowly(latch: Latch) -> Any:
    """A tool that says something, waits, says more and answers."""

    async def run(call: Call) -> Result:
        call.outlet.notify(MESSAGE, LogNotice(level="info", data="before"))
        await latch(call)
        call.outlet.notify(MESSAGE, LogNotice(level="info", data="after"))
        return said("done")

    return run


@pytest.mark.parametrize("version", LEGACY)
async def test_events_of_a_session_have_ids_of_their_own_and_tell_their_stream(version: str):
    async with serving() as host:
        session = await host.greet(hello(version))
        ids: list[list[str | None]] = []
        for number in range(3):
            asked = host.legacy(session, ask("tools/call", number, {"name": "chatty"}))
            events = sse.Reader().feed(await asked.whole())
            ids.append([event.id for event in events])
        everything = [name for names in ids for name in names]
        assert None not in everything
        assert len(set(everything)) == len(everything)
        assert len({str(name).rsplit("-", 1)[0] for name in everything}) == 3


@pytest.mark.parametrize("version", LEGACY)
async def test_a_stream_is_primed_for_those_who_know_what_that_means(version: str):
    async with serving() as host:
        session = await host.greet(hello(version))
        asked = await host.legacy(session, ask("tools/call", 1, {"name": "chatty"})).begun()
        first = await asked.any_event()
        standing = await host.open("GET", b"", {"mcp-session-id": session}).begun()
        opening = await standing.piece()
        if version == "2025-11-25":
            assert first.id
            assert first.data == b""
            assert b"id: " in opening
        else:
            assert json.loads(first.data)["method"] == MESSAGE
            assert opening.startswith(b":")
        standing.leave()
        await asked.whole()
        await soon(standing.task)


async def test_a_call_whose_stream_was_lost_goes_on_and_is_heard_by_who_comes_back():
    latch = Latch()
    async with serving(slow=slowly(latch)) as host:
        session = await host.greet(hello())
        asked = await host.legacy(session, ask("tools/call", 1, {"name": "slow"})).begun()
        heard = await asked.event()
        asked.leave()
        await soon(latch.reached.wait())
        back = await resume(host, session, heard.id).begun()
        assert (back.status, back.headers["content-type"]) == (200, "text/event-stream")
        assert not latch.cancelled.is_set()
        latch.go.set()
        assert (await back.message())["params"]["data"] == "after"
        assert (await back.message())["id"] == 1
        assert await back.piece() == b""
        assert back.finished
        await soon(asked.task)


async def test_an_answer_waits_for_who_comes_back_after_it():
    latch = Latch()
    async with serving(slow=slowly(latch)) as host:
        session = await host.greet(hello("2025-06-18"))
        asked = await host.legacy(session, ask("tools/call", 1, {"name": "slow"})).begun()
        heard = await asked.event()
        asked.leave()
        latch.go.set()
        await soon(asked.task)
        for _ in range(2):  # What went out may be lost again.
            back = await resume(host, session, heard.id).begun()
            assert (await back.message())["params"]["data"] == "after"
            assert (await back.message())["id"] == 1
            await back.whole()


async def test_who_comes_back_while_the_first_stream_still_seems_open_takes_its_place():
    latch = Latch()
    async with serving(slow=slowly(latch)) as host:
        session = await host.greet(hello())
        asked = await host.legacy(session, ask("tools/call", 1, {"name": "slow"})).begun()
        heard = await asked.event()
        back = await resume(host, session, heard.id).begun()
        assert await asked.piece() == b""
        assert asked.finished
        third = await resume(host, session, heard.id).begun()
        assert await back.whole() == b": \n\n"
        latch.go.set()
        assert (await third.message())["params"]["data"] == "after"
        assert (await third.message())["id"] == 1
        await third.whole()
        await soon(asked.task)


async def test_a_question_is_answered_by_a_client_that_came_back():
    async with serving() as host:
        session = await host.greet(hello(capabilities={"roots": {}}))
        asked = await host.legacy(session, ask("tools/call", 1, {"name": "curious"})).begun()
        first = await asked.any_event()
        asked.leave()
        back = await resume(host, session, first.id).begun()
        question = await back.message()
        assert question["method"] == "roots/list"
        await host.legacy(session, reply(question["id"], {"roots": []})).whole()
        assert (await back.message())["id"] == 1
        await back.whole()
        await soon(asked.task)


async def test_a_stream_that_was_resumed_tells_nothing_of_others():
    latch = Latch()
    async with serving(slow=slowly(latch)) as host:
        session = await host.greet(hello())
        asked = [host.legacy(session, ask("tools/call", n, {"name": "slow"})) for n in (1, 2)]
        places = [await each.event() for each in asked]
        for each in asked:
            each.leave()
        latch.go.set()
        for each in asked:
            await soon(each.task)
        for number, place in zip((1, 2), places, strict=True):
            back = resume(host, session, place.id)
            events = sse.Reader().feed(await back.whole())
            assert json.loads(events[-1].data)["id"] == number
            assert len(events) == 2


async def test_a_standing_stream_is_resumed_with_what_came_in_between():
    async with serving() as host:
        name = await host.greet(hello())
        session = await host.app.sessions.find(name)  # type: ignore[attr-defined]
        asked = await host.open("GET", b"", {"mcp-session-id": name}).begun()
        first = await asked.any_event()
        asked.leave()
        await soon(asked.task)
        session.standing.notify("notifications/tools/list_changed", Params())
        back = await resume(host, name, first.id).begun()
        assert (await back.message())["method"] == "notifications/tools/list_changed"
        session.standing.notify("notifications/prompts/list_changed", Params())
        assert (await back.message())["method"] == "notifications/prompts/list_changed"
        back.leave()
        await soon(back.task)
        session.standing.notify("notifications/resources/list_changed", Params())
        fresh = await host.open("GET", b"", {"mcp-session-id": name}).begun()
        session.standing.notify("notifications/tools/list_changed", Params())
        for kind in ("resources", "tools"):
            assert (await fresh.message())["method"] == f"notifications/{kind}/list_changed"
        fresh.leave()
        await soon(fresh.task)


async def test_a_place_that_is_not_there_is_refused_and_the_session_goes_on():
    latch = Latch()
    async with serving(slow=slowly(latch)) as host:
        mine, other = await host.greet(hello()), await host.greet(hello())
        asked = await host.legacy(mine, ask("tools/call", 1, {"name": "slow"})).begun()
        place = await asked.event()
        assert place.id is not None
        for session, last in (
            (other, place.id),
            (mine, place.id + "9"),
            (mine, "nonsense"),
            (mine, ""),
        ):
            status, message = await told(resume(host, session, last))
            assert (status, message["error"]["code"]) == (400, -32600)
        latch.go.set()
        await asked.whole()
        assert (await told(host.legacy(mine, ask("ping"))))[0] == 200


async def test_a_cancelled_call_s_stream_ends_for_who_comes_back():
    latch = Latch()
    async with serving(slow=slowly(latch)) as host:
        session = await host.greet(hello())
        asked = await host.legacy(session, ask("tools/call", 1, {"name": "slow"})).begun()
        place = await asked.event()
        asked.leave()
        back = await resume(host, session, place.id).begun()
        await host.legacy(session, say("notifications/cancelled", {"requestId": 1})).whole()
        assert sse.Reader().feed(await back.whole()) == []
        assert latch.cancelled.is_set()
        await soon(asked.task)


# A handler that closes its stream and goes on (SEP-1699).


def resting(latch: Latch) -> Any:
    async def run(call: Call) -> Result:
        call.outlet.close_stream(0.25)
        return await latch(call)

    return run


async def test_a_handler_may_let_its_client_fetch_the_answer_later():
    latch = Latch()
    async with serving(resting=resting(latch)) as host:
        session = await host.greet(hello())
        asked = await host.legacy(session, ask("tools/call", 1, {"name": "resting"})).begun()
        first, second = await asked.any_event(), await asked.any_event()
        assert (first.data, second.data) == (b"", b"")
        assert first.id
        assert second.retry == 250
        assert await asked.piece() == b""
        assert asked.finished
        back = await resume(host, session, second.id).begun()
        latch.go.set()
        assert (await back.message())["id"] == 1
        await back.whole()
        await soon(asked.task)


@pytest.mark.parametrize("version", [*LEGACY[:-1], MODERN])
async def test_a_client_that_could_not_come_back_keeps_its_stream(version: str):
    latch = Latch()
    latch.go.set()
    async with serving(resting=resting(latch)) as host:
        if version == MODERN:
            asked = host.modern(modern("tools/call", 1, {"name": "resting"}))
        else:
            session = await host.greet(hello(version))
            asked = host.legacy(session, ask("tools/call", 1, {"name": "resting"}))
        assert (await told(asked))[1]["id"] == 1


async def test_a_client_that_takes_no_stream_is_simply_answered():
    latch = Latch()
    latch.go.set()
    async with serving(resting=resting(latch)) as host:
        session = await host.greet(hello())
        data = ask("tools/call", 1, {"name": "resting"})
        asked = host.legacy(session, data, accept="application/json")
        assert (await told(asked))[1]["id"] == 1


async def test_silence_gives_a_legacy_client_a_place_to_come_back_to():
    latch = Latch()
    host = Host(App(Desk(latch=latch), keep_alive=0))
    session = await host.greet(hello())
    asked = await host.legacy(session, ask("tools/call", 1, {"name": "latch"})).begun()
    place = await asked.any_event()
    assert place.data == b""
    assert (await asked.piece()).startswith(b":")
    asked.leave()
    latch.go.set()
    await soon(asked.task)
    back = resume(host, session, place.id)
    assert b'"id":1' in await back.whole()


async def test_modern_streams_say_that_they_live_and_never_have_ids():
    latch = Latch()
    host = Host(App(Desk(slow=slowly(latch)), keep_alive=0))
    asked = await host.modern(modern("tools/call", 1, {"name": "slow"})).begun()
    pieces = [await asked.piece() for _ in range(5)]
    assert pieces[-1].startswith(b":")
    latch.go.set()
    body = b"".join(pieces) + await asked.whole()
    assert b"id:" not in body
    assert b"retry:" not in body
    assert len(sse.Reader().feed(body)) == 3


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 405),
        ({"mcp-session-id": "S", "mcp-protocol-version": MODERN}, 405),
        ({"mcp-session-id": "S", "accept": "application/json"}, 406),
    ],
)
async def test_get_without_a_session_to_stand_in_is_refused(headers: dict[str, str], status: int):
    async with serving() as host:
        name = await host.greet(hello())
        sent = {key: name if value == "S" else value for key, value in headers.items()}
        asked = host.open("GET", b"", sent)
        assert (await told(asked))[0] == status
        assert ("allow" in asked.headers) == (status == 405)


async def test_delete_ends_a_session_its_streams_and_its_calls():
    latch = Latch()
    async with serving(latch=latch) as host:
        session = await host.greet(hello(capabilities={"roots": {}}))
        standing = await host.open("GET", b"", {"mcp-session-id": session}).begun()
        await standing.piece()
        held = host.legacy(session, ask("tools/call", 1, {"name": "latch"}))
        asking = await host.legacy(session, ask("tools/call", 2, {"name": "curious"})).begun()
        await asking.event()
        await soon(latch.reached.wait())
        deleted = host.open("DELETE", b"", {"mcp-session-id": session})
        await deleted.whole()
        assert deleted.status == 204
        assert await standing.piece() == b""
        assert await held.whole() == b""
        assert await asking.piece() == b""
        assert latch.cancelled.is_set()
        assert (await told(host.legacy(session, ask("ping"))))[0] == 404


async def test_delete_without_a_session_is_refused():
    async with serving() as host:
        session = await host.greet(hello())
        for headers in ({}, {"mcp-session-id": session, "mcp-protocol-version": MODERN}):
            assert (await told(host.open("DELETE", b"", headers)))[0] == 405
        assert (await told(host.legacy(session, ask("ping"))))[0] == 200


async def test_an_idle_session_is_gone():
    now = [0.0]
    host = Host(App(Desk(), sessions=Sessions(idle=60, clock=lambda: now[0])))
    session = await host.greet(hello())
    now[0] = 59
    assert (await told(host.legacy(session, ask("ping"))))[0] == 200
    now[0] = 120
    assert (await told(host.legacy(session, ask("ping"))))[0] == 404


async def test_a_connection_that_breaks_is_no_failure_of_ours():
    latch = Latch()
    async with serving(latch=latch) as host:
        session = await host.greet(hello())
        standing = await host.open("GET", b"", {"mcp-session-id": session}).begun()
        await standing.piece()
        held = host.modern(modern("tools/call", 1, {"name": "latch"}))
        await soon(latch.reached.wait())
        refused = host.open("PUT")
        for asked in (standing, held, refused):
            asked.broken = True
        found = await host.app.sessions.find(session)  # type: ignore[attr-defined]
        found.standing.notify("notifications/x", Params())
        latch.go.set()
        for asked in (standing, held, refused):
            await soon(asked.task)
        assert not found.busy
        assert (await told(host.legacy(session, ask("ping"))))[0] == 200


async def test_a_request_that_its_host_cancels_is_cancelled():
    latch = Latch()
    async with serving(latch=latch) as host:
        asked = host.modern(modern("tools/call", 1, {"name": "latch"}))
        await soon(latch.reached.wait())
        asked.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked.task
        assert latch.cancelled.is_set()
        assert asked.status == 0
        assert host.app.attended == set()  # type: ignore[attr-defined]


# The end.


async def test_closing_answers_everything_that_is_open_and_refuses_what_comes_after():
    latch = Latch()
    listening = Latch()
    app = App(Desk(latch=latch, curious=curious, **{"subscriptions/listen": listening}))
    host = Host(app)
    session = await host.greet(hello(capabilities={"roots": {}}))
    standing = await host.open("GET", b"", {"mcp-session-id": session}).begun()
    await standing.piece()
    held = host.modern(modern("tools/call", 1, {"name": "latch"}))
    old = host.legacy(session, ask("tools/call", 2, {"name": "latch"}))
    asking = await host.legacy(session, ask("tools/call", 3, {"name": "curious"})).begun()
    await asking.event()
    listen = host.modern(modern("subscriptions/listen", 4, {"notifications": {}}))
    await soon(latch.reached.wait())
    await soon(listening.reached.wait())
    app.close()
    assert (await told(held))[0] == 503
    assert (await told(old))[0] == 503
    assert (await asking.message())["error"]["code"] == -32603
    assert await standing.piece() == b""
    _, ended = await told(listen)
    assert complaint(MODERN, "SubscriptionsListenResult", ended["result"]) is None
    assert ended["result"]["_meta"]["io.modelcontextprotocol/subscriptionId"] == 4
    late = host.modern(modern("tools/list"))
    assert (await told(late))[0] == 503
    assert late.headers["connection"] == "close"
    await app.stop()
    await app.start()
    assert (await told(host.modern(modern("tools/list"))))[0] == 200
    await app.stop()


async def test_a_body_that_comes_while_the_server_closes_starts_no_call():
    latch, waiting, closed = Latch(), asyncio.Event(), asyncio.Event()
    app = App(Desk(latch=latch))

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        async def late() -> Any:
            waiting.set()
            await closed.wait()
            return await receive()

        await app(scope, late, send)

    asked = Host(slow).modern(modern("tools/call", 1, {"name": "latch"}))
    await soon(waiting.wait())
    app.close()
    closed.set()
    assert (await told(asked))[0] == 503
    assert not latch.calls
    await app.stop()


async def test_a_websocket_is_closed_and_anything_else_ignored():
    sent: list[MutableMapping[str, Any]] = []

    async def send(event: MutableMapping[str, Any]) -> None:
        sent.append(event)

    async def receive() -> MutableMapping[str, Any]:
        raise AssertionError

    app = App(Desk())
    await app({"type": "websocket"}, receive, send)
    await app({"type": "carrier pigeon"}, receive, send)
    assert [event["type"] for event in sent] == ["websocket.close"]
