"""Who comes in at each of an endpoint's ways in, and whom what is begun there belongs to."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.peers import Desk, Json, Latch, ask, hello, modern, said, say, soon
from tests.spec.marking import requirement
from tests.transport.http.host import BOTH, Asked, Host

from interlock import Server
from interlock.auth.bearer import Bearer
from interlock.auth.settings import AuthSettings
from interlock.auth.verifiers import StaticVerifier
from interlock.errors import ConfigError, InsufficientScope
from interlock.protocol.call import Call, Principal
from interlock.protocol.gate import AccessToken, Denial, RawHeaders
from interlock.store.memory import MemoryStore
from interlock.transport.http.asgi import App
from interlock.transport.http.hardening import SAFE
from interlock.transport.http.sessions import Sessions
from interlock.wire.meta import Result
from interlock.wire.notices import MESSAGE, LogNotice

RESOURCE = "https://api.example.com/mcp"
DOCUMENT = "/.well-known/oauth-protected-resource"


def token(name: str, subject: str, *scopes: str) -> AccessToken:
    return AccessToken(name, "editor", scopes, subject=subject, issuer="https://i.example")


TOKENS = {
    each.token: each
    for each in (
        token("ada", "ada", "read"),
        token("ada-again", "ada", "read", "write"),
        token("ada-less", "ada"),
        token("bob", "bob", "read"),
    )
}
ADA = {"authorization": "Bearer ada"}
AGAIN = {"authorization": "Bearer ada-again"}
BOB = {"authorization": "Bearer bob"}


async def who(call: Call) -> Result:
    scopes = call.principal.scopes
    return said(f"{call.principal.subject} {sorted(scopes) if scopes is not None else 'all'}")


async def headers(call: Call) -> Result:
    assert call.mirror is not None
    return said(json.dumps([name.decode() for name, _ in call.mirror.headers]))


async def guarded(call: Call) -> Result:
    if call.principal.lacks(frozenset({"write"})):
        raise InsufficientScope({"write"})
    return said("done")


async def late(call: Call) -> Result:
    call.outlet.notify(MESSAGE, LogNotice(level="info", data="first"))
    await call.outlet.drain()
    return await guarded(call)


def bearer(resource: str = RESOURCE, **settings: Any) -> Bearer:
    auth = AuthSettings(issuer_url="https://i.example", resource_server_url=resource, **settings)
    return Bearer(auth, StaticVerifier(TOKENS))


@asynccontextmanager
async def serving(gate: Any = None, *, root: str = "", **options: Any) -> AsyncGenerator[Host]:
    desk = Desk(who=who, headers=headers, guarded=guarded, late=late, **options.pop("tools", {}))
    app = App(desk, gate=gate or bearer(), **options)
    yield Host(app, root)
    await app.stop()


def call(name: str, id: Any = 1) -> bytes:
    return modern("tools/call", id, {"name": name})


async def text(asked: Asked) -> str:
    message = await asked.json()
    assert asked.status == 200, message
    return message["result"]["content"][0]["text"]


async def greet(host: Host, given: Mapping[str, str | None] = ADA) -> str:
    asked = host.post(hello(), given)
    assert "result" in await asked.json()
    session = asked.headers["mcp-session-id"]
    told = host.post(say("notifications/initialized"), {**given, "mcp-session-id": session})
    await told.whole()
    assert told.status == 202
    return session


class Door:
    """A gate that lets everybody in, for *seconds* from then on."""

    def __init__(self, seconds: float = 0.05) -> None:
        self.resource = RESOURCE
        self.documents: Mapping[str, bytes] = {}
        self.seconds = seconds
        self.starts = self.stops = 0

    async def admit(
        self, method: str, path: str, query: bytes, headers: RawHeaders
    ) -> Principal | Denial:
        return Principal("ada", expires_at=time.time() + self.seconds)

    def short(self, principal: Principal, scopes: Collection[str]) -> Denial:
        return Denial(403, "too little")

    async def start(self) -> None:
        self.starts += 1

    async def stop(self) -> None:
        self.stops += 1


# Coming in.


@requirement("RS9-09", "HL-14")
async def test_who_comes_with_a_token_is_known_to_the_handler_in_both_eras():
    async with serving() as host:
        assert await text(host.modern(call("who"), **AGAIN)) == "ada ['read', 'write']"
        session = await greet(host)
        asked = host.legacy(session, ask("tools/call", 1, {"name": "who"}), **BOB)
        await asked.whole()
        assert asked.status == 404
        asked = host.legacy(session, ask("tools/call", 1, {"name": "who"}), **ADA)
        assert await text(asked) == "ada ['read']"


@requirement("RS9-02", "RS9-04", "RS9-09", "HL-14")
@pytest.mark.parametrize("path", ["/mcp", "/sse"])
@pytest.mark.parametrize("method", ["POST", "GET", "DELETE", "PUT", "HEAD"])
async def test_who_has_no_token_comes_in_nowhere_and_nothing_is_read(method: str, path: str):
    async with serving(sse_path="/sse") as host:
        for given in ({}, {"authorization": "Bearer forged"}):
            sent: list[Any] = []

            async def receive() -> Any:
                raise AssertionError("the body was asked for")

            async def send(event: Any, sent: list[Any] = sent) -> None:
                sent.append(event)

            names: dict[str, str] = {
                "host": "127.0.0.1",
                "accept": BOTH,
                "content-type": "application/json",
                "mcp-session-id": "x",
                **given,
            }
            raw = [(name.encode(), value.encode()) for name, value in names.items()]
            scope: Json = {"type": "http", "method": method, "path": path, "headers": raw}
            await host.app(scope, receive, send)
            start = sent[0]
            assert start["status"] == 401
            said = dict(start["headers"])[b"www-authenticate"].decode()
            assert 'resource_metadata="https://api.example.com/.well-known/' in said
            assert ("invalid_token" in said) is bool(given)


@requirement("RS9-13")
async def test_a_refusal_can_be_read_by_a_page_of_an_allowed_origin():
    async with serving(origins=["https://app.example"]) as host:
        asked = host.post(b"{}", {"origin": "https://app.example"})
        assert json.loads(await asked.whole())["error"]["message"]
        assert asked.status == 401
        assert asked.headers["access-control-allow-origin"] == "https://app.example"
        assert "WWW-Authenticate" in asked.headers["access-control-expose-headers"]


@requirement("RS9-13")
async def test_a_preflight_is_asked_before_anybody_can_say_who_they_are():
    async with serving(sse_path="/sse", origins=["https://app.example"]) as host:
        for path in ("/mcp", "/sse"):
            asked = host.open("OPTIONS", headers={"origin": "https://app.example"}, path=path)
            await asked.whole()
            assert asked.status == 204
            assert "Authorization" in asked.headers["access-control-allow-headers"]


async def test_a_page_that_may_not_come_is_not_asked_who_it_is():
    async with serving() as host:
        for more in ({"origin": "https://evil.example"}, {"host": "evil.example"}):
            asked = host.post(call("who"), {**ADA, **more})
            await asked.whole()
            assert asked.status == 403
            assert "www-authenticate" not in asked.headers


@pytest.mark.parametrize("name", ["api.example.com", "[2001:db8::1]:8443"])
async def test_the_host_that_the_resource_names_may_be_asked_for(name: str):
    async with serving(bearer(f"https://{name}/mcp")) as host:
        asked = host.modern(call("who"), host=name, **ADA)
        assert await text(asked) == "ada ['read']"


@requirement("RS9-04", "RS9-09")
async def test_a_token_in_a_url_is_refused():
    async with serving() as host:
        asked = host.open("POST", call("who"), ADA, "/mcp?access_token=ada")
        await asked.whole()
        assert asked.status == 400


async def test_when_tokens_cannot_be_verified_it_is_nobodys_fault():
    class Down:
        async def verify_token(self, token: str) -> AccessToken | None:
            raise TimeoutError

    gate = Bearer(bearer().settings, Down())
    async with serving(gate) as host:
        asked = host.modern(call("who"), **ADA)
        message = await asked.json()
        assert (asked.status, message["error"]["code"]) == (503, -32603)
        assert "www-authenticate" not in asked.headers
        assert asked.headers["retry-after"] == "5"


@requirement("SEC-04", "RS9-08")
async def test_no_token_goes_on_to_a_handler_but_mirrored_parameters_do():
    async with serving() as host:
        more = {"mcp-param-city": "Bern", "cookie": "a=b", "dpop": "x", **ADA}
        assert json.loads(await text(host.modern(call("headers"), **more))) == ["mcp-param-city"]


async def test_a_gate_starts_and_ends_with_its_service():
    door = Door()
    async with serving(door) as host:
        await host.modern(call("who")).whole()
        await host.modern(call("who")).whole()
        assert door.starts == 1
    assert door.stops == 1


async def test_what_needs_scopes_is_not_served_where_nobody_is_asked_for_any():
    server = Server("files")

    @server.tool(scopes=["write"])
    def wipe() -> str:
        return "wiped"

    with pytest.raises(ConfigError, match="AuthSettings"):
        await App(server).start()
    host = Host(App(server))
    asked = host.modern(call("wipe"))
    await asked.whole()
    assert asked.status == 503


async def test_what_comes_to_need_scopes_while_nobody_is_asked_is_open_to_nobody():
    server = Server("files")
    app = App(server)
    await app.start()

    @server.tool(scopes=["write"])
    def wipe() -> str:
        return "wiped"

    asked = Host(app).modern(call("wipe"))
    await asked.whole()
    assert asked.status == 403
    await app.stop()


async def test_what_a_service_calls_its_gate_is_one_only_if_it_lets_in():
    desk = Desk(who=who)
    desk.gate = asyncio.Event()  # type: ignore[attr-defined]  what others may call so
    app = App(desk)
    assert await text(Host(app).modern(call("who"))) == " []"
    await app.stop()


# The documents.


@requirement("RS9-01", "RS9-02", "RS9-13")
@pytest.mark.parametrize(
    ("root", "resource", "path"),
    [
        ("", RESOURCE, DOCUMENT),
        ("", RESOURCE, f"{DOCUMENT}/mcp"),
        ("", RESOURCE, f"{DOCUMENT}/mcp/"),
        ("/tenant", "https://api.example.com/tenant/mcp", f"{DOCUMENT}/tenant/mcp"),
        ("/tenant", "https://api.example.com/tenant/mcp", f"/tenant{DOCUMENT}/tenant/mcp"),
        ("/tenant", "https://api.example.com/tenant/mcp", f"/tenant{DOCUMENT}/mcp"),
        ("/tenant", "https://api.example.com/tenant/mcp", f"/tenant{DOCUMENT}"),
        ("/tenant", "https://api.example.com/tenant", f"/tenant{DOCUMENT}"),
    ],
)
async def test_anybody_may_read_how_to_come_in(root: str, resource: str, path: str):
    async with serving(bearer(resource), root=root) as host:
        asked = host.open("GET", headers={"origin": "https://any.example"}, path=path)
        assert (await asked.json())["resource"] == resource
        assert asked.status == 200
        assert asked.headers["access-control-allow-origin"] == "*"
        assert asked.headers["cache-control"].startswith("public")
        size = asked.headers["content-length"]
        head = host.open("HEAD", path=path)
        assert await head.whole() == b""
        assert (head.status, head.headers["content-length"]) == (200, size)
        options = host.open("OPTIONS", headers={"origin": "https://any.example"}, path=path)
        await options.whole()
        assert options.status == 204
        refused = host.open("POST", b"{}", path=path)
        await refused.whole()
        assert (refused.status, refused.headers["allow"]) == (405, "GET, HEAD, OPTIONS")


@pytest.mark.parametrize("path", ["/.well-known/", "/.well-known/other", f"{DOCUMENT}/other"])
async def test_no_other_document_is_there(path: str):
    async with serving() as host:
        asked = host.open("GET", path=path)
        await asked.whole()
        assert asked.status == 404


async def test_an_open_endpoint_has_no_documents():
    app = App(Desk())
    asked = Host(app).open("GET", path=DOCUMENT)
    await asked.whole()
    assert asked.status == 404


# Scopes.


@requirement("RS9-04", "RS9-05")
@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_who_lacks_scopes_is_told_which_to_ask_for(era: str):
    async with serving() as host:
        if era == "modern":
            asked = host.modern(call("guarded", "x"), **ADA)
        else:
            session = await greet(host)
            asked = host.legacy(session, ask("tools/call", "x", {"name": "guarded"}), **ADA)
        message = await asked.json()
        assert asked.status == 403
        assert (message["id"], message["error"]["code"]) == ("x", -32600)
        said = asked.headers["www-authenticate"]
        assert 'error="insufficient_scope"' in said
        assert 'scope="read write"' in said
        assert f'resource_metadata="https://api.example.com{DOCUMENT}/mcp"' in said


async def test_a_session_goes_on_with_a_token_of_the_same_person_that_allows_more():
    async with serving() as host:
        session = await greet(host)
        data = ask("tools/call", 1, {"name": "guarded"})
        asked = host.legacy(session, data, **ADA)
        await asked.whole()
        assert asked.status == 403
        assert await text(host.legacy(session, data, **AGAIN)) == "done"


async def test_on_a_stream_that_has_begun_too_little_scope_is_an_error_like_any_other():
    async with serving() as host:
        asked = await host.modern(call("late"), **ADA).begun()
        assert asked.status == 200
        assert (await asked.message())["method"] == MESSAGE
        error = (await asked.message())["error"]
        assert error["data"] == {"error": "insufficient_scope", "scope": "write"}


async def test_in_an_array_too_little_scope_is_one_answer_among_others():
    async with serving() as host:
        asked = host.post(hello("2025-03-26"), ADA)
        await asked.whole()
        session = asked.headers["mcp-session-id"]
        await host.legacy(session, say("notifications/initialized"), **ADA).whole()
        calls = [ask("tools/call", each, {"name": each}) for each in ("guarded", "who")]
        body = b"[" + b",".join(calls) + b"]"
        answers = {each["id"]: each for each in await host.legacy(session, body, **ADA).json()}
        assert answers["guarded"]["error"]["data"]["scope"] == "write"
        assert answers["who"]["result"]["content"][0]["text"] == "ada ['read']"
        refused, unknown = (host.legacy(each, body, **BOB) for each in (session, "never"))
        assert await refused.whole() == await unknown.whole()
        assert refused.status == unknown.status == 400


# Whom a session belongs to.


@requirement("HL-14")
async def test_another_principal_finds_no_session_whatever_they_ask():
    async with serving() as host:
        session = await greet(host)
        stolen = {"mcp-session-id": session, **BOB}
        unknown = {"mcp-session-id": "never", **BOB}
        stream = {"accept": "text/event-stream"}
        for method, body, more in [
            ("POST", ask("tools/list", 1), {}),
            ("POST", say("notifications/cancelled", {"requestId": 1}), {}),
            ("POST", b'{"jsonrpc":"2.0","id":"x","result":{}}', {}),
            ("GET", b"", stream),
            ("GET", b"", {**stream, "last-event-id": "aaaaaa-0-1"}),
            ("DELETE", b"", {}),
        ]:
            theirs = host.open(method, body, {**stolen, **more})
            none = host.open(method, body, {**unknown, **more})
            answers = [await each.whole() for each in (theirs, none)]
            assert theirs.status == none.status == 404
            assert answers[0] == answers[1]
        asked = host.legacy(session, ask("tools/call", 1, {"name": "who"}), **ADA)
        assert await text(asked) == "ada ['read']"


@requirement("HL-14", "RS9-10")
async def test_a_session_may_be_resumed_and_ended_by_who_began_it_with_any_token_of_theirs():
    async with serving() as host:
        session = await greet(host)
        given = {"mcp-session-id": session, "accept": "text/event-stream", **AGAIN}
        first = await host.open("GET", b"", given).begun()
        event = await first.any_event()
        first.leave()
        await soon(first.task)
        resumed = host.open("GET", b"", {**given, "last-event-id": event.id or ""})
        stolen = host.open("GET", b"", {**given, "last-event-id": event.id or "", **BOB})
        assert ((await resumed.begun()).status, (await stolen.begun()).status) == (200, 404)
        ended = host.open("DELETE", b"", {"mcp-session-id": session, **AGAIN})
        await ended.whole()
        assert ended.status == 204
        await soon(resumed.whole())


@requirement("HL-14")
async def test_a_session_belongs_to_who_began_it_in_every_process():
    table = MemoryStore().table("sessions")
    apps = [App(Desk(who=who), gate=bearer(), sessions=Sessions(table=table)) for _ in range(2)]
    one, two = (Host(app) for app in apps)
    session = await greet(one)
    data = ask("tools/call", 1, {"name": "who"})
    for host in (two, one):
        asked = host.legacy(session, data, **BOB)
        await asked.whole()
        assert asked.status == 404
        ended = host.open("DELETE", b"", {"mcp-session-id": session, **BOB})
        await ended.whole()
        assert ended.status == 404
        assert len(apps[1].sessions) == (0 if host is two else 1)
        assert await text(two.legacy(session, data, **ADA)) == "ada ['read']"
    for app in apps:
        await app.stop()


async def test_what_another_process_is_told_of_a_session_is_said_as_its_owner():
    table = MemoryStore().table("sessions")
    greeted: list[Principal] = []

    class Listening(Desk):
        async def _handle(self, call: Call) -> Result:
            if call.method == "initialize":
                greeted.append(call.principal)
            return await super()._handle(call)

    apps = [
        App(Listening(who=who), gate=bearer(), sessions=Sessions(table=table)) for _ in range(2)
    ]
    session = await greet(Host(apps[0]))
    await Host(apps[1]).legacy(session, ask("ping", 1), **ADA).whole()
    assert [each.subject for each in greeted] == ["ada", "ada"]
    for app in apps:
        await app.stop()


@requirement("HL-14")
async def test_who_may_not_come_in_does_not_keep_a_session_alive():
    now = [0.0]
    sessions = Sessions(idle=60, clock=lambda: now[0])
    async with serving(sessions=sessions) as host:
        session = await greet(host)
        now[0] = 50
        await host.legacy(session, ask("ping", 1), **BOB).whole()
        now[0] = 70
        asked = host.legacy(session, ask("ping", 1), **ADA)
        await asked.whole()
        assert asked.status == 404


# The transport of 2024.


async def sse(host: Host, given: Mapping[str, str | None]) -> tuple[Asked, str]:
    asked = await host.open(
        "GET", headers={"accept": "text/event-stream", **given}, path="/sse"
    ).begun()
    assert asked.status == 200
    return asked, (await asked.event()).data.decode()


async def test_a_stream_of_2024_belongs_to_who_opened_it():
    async with serving(sse_path="/sse") as host:
        asked, endpoint = await sse(host, AGAIN)

        async def post(body: bytes, given: Mapping[str, str | None]) -> Asked:
            posted = host.open("POST", body, given, endpoint)
            await posted.whole()
            return posted

        assert (await post(hello("2024-11-05"), BOB)).status == 404
        assert (await post(hello("2024-11-05"), {})).status == 401
        assert (await post(hello("2024-11-05"), AGAIN)).status == 202
        assert "result" in await asked.message()
        less = await post(ask("tools/call", 1, {"name": "who"}), ADA)
        assert less.status == 403
        assert 'scope="read write"' in less.headers["www-authenticate"]
        assert (await post(ask("tools/call", 1, {"name": "who"}), AGAIN)).status == 202
        message = await asked.message()
        assert message["result"]["content"][0]["text"] == "ada ['read', 'write']"
        asked.leave()
        await soon(asked.task)


# WebSockets.


class Socket:
    """A WebSocket that an ASGI server hands over."""

    def __init__(self, host: Host, given: Mapping[str, str]) -> None:
        self.sent: asyncio.Queue[Any] = asyncio.Queue()
        self.coming: asyncio.Queue[Any] = asyncio.Queue()
        self.coming.put_nowait({"type": "websocket.connect"})
        raw = [(b"host", b"127.0.0.1")]
        raw += [(name.encode(), value.encode()) for name, value in given.items()]
        scope: Json = {
            "type": "websocket",
            "path": "/mcp",
            "headers": raw,
            "query_string": b"",
            "subprotocols": ["mcp"],
            "extensions": {"websocket.http.response": {}},
        }
        self.task = asyncio.create_task(self._run(host, scope))

    async def _run(self, host: Host, scope: Json) -> None:
        await host.app(scope, self.coming.get, self.send)

    async def send(self, event: Any) -> None:
        self.sent.put_nowait(event)

    async def next(self) -> Any:
        return await soon(self.sent.get())


@requirement("AU-01")
async def test_a_websocket_is_opened_by_who_has_a_token():
    async with serving(websocket=True) as host:
        refused = Socket(host, {})
        start = await refused.next()
        assert (start["type"], start["status"]) == ("websocket.http.response.start", 401)
        assert b"www-authenticate" in dict(start["headers"])
        await soon(refused.task)
        socket = Socket(host, ADA)
        assert (await socket.next())["type"] == "websocket.accept"
        socket.coming.put_nowait({"type": "websocket.receive", "text": call("who").decode()})
        message = json.loads((await socket.next())["text"])
        assert message["result"]["content"][0]["text"] == "ada ['read']"
        socket.coming.put_nowait({"type": "websocket.disconnect"})
        await soon(socket.task)


# The end of a token.


@requirement("SU-08")
async def test_a_subscription_ends_with_its_token_and_says_so():
    server = Server("s")

    @server.tool
    def one() -> str:
        return "1"

    app = App(server, gate=Door())
    data = modern("subscriptions/listen", 7, {"notifications": {"toolsListChanged": True}})
    asked = await Host(app).modern(data).begun()
    assert (await asked.message())["method"] == "notifications/subscriptions/acknowledged"
    message = await asked.message()
    assert message["id"] == 7
    assert message["result"]["resultType"] == "complete"
    assert await asked.piece() == b""
    await soon(asked.task)
    await app.stop()


async def test_a_call_that_has_begun_is_answered_though_its_token_ends():
    latch = Latch()
    async with serving(Door(0), tools={"latch": latch}) as host:
        asked = host.modern(call("latch"))
        await soon(latch.reached.wait())
        latch.go.set()
        assert await text(asked) == "let go"


async def test_a_standing_stream_ends_with_its_token_and_may_be_resumed():
    async with serving(Door()) as host:
        session = await greet(host, {})
        given = {"mcp-session-id": session, "accept": "text/event-stream"}
        asked = await host.open("GET", b"", given).begun()
        event = await asked.any_event()
        await asked.whole()
        assert asked.finished
        again = await host.open("GET", b"", {**given, "last-event-id": event.id or ""}).begun()
        assert again.status == 200
        await again.whole()


async def test_a_stream_of_2024_ends_with_its_token():
    async with serving(Door(), sse_path="/sse") as host:
        asked, _ = await sse(host, {})
        await asked.whole()
        assert asked.finished


async def test_a_websocket_ends_with_its_token():
    async with serving(Door(), websocket=True) as host:
        socket = Socket(host, {})
        assert (await socket.next())["type"] == "websocket.accept"
        assert (await socket.next())["type"] == "websocket.close"
        await soon(socket.task)


# What browsers are told.


async def test_every_answer_tells_browsers_to_do_nothing_with_it():
    async with serving(sse_path="/sse", origins=["https://app.example"]) as host:
        session = await greet(host)
        stream = {"accept": "text/event-stream", **ADA}
        asked = [
            host.modern(call("who"), **ADA),
            host.modern(call("guarded"), **ADA),
            host.modern(call("late"), **AGAIN),
            host.post(b"nonsense", ADA),
            host.legacy(session, ask("tools/list", 1), **ADA),
            host.legacy(session, say("notifications/initialized"), **ADA),
            host.post(call("who")),
            host.post(call("who"), {"host": "evil.example"}),
            host.post(call("who"), {**ADA, "content-type": "text/plain"}),
            host.post(call("who"), {**ADA, "accept": "text/html"}),
            host.open("GET", b"", {**stream, "mcp-session-id": session}),
            host.open("GET", b"", stream),
            host.open("DELETE", b"", ADA),
            host.open("PUT", b"", ADA),
            host.open("HEAD", b"", ADA),
            host.open("OPTIONS"),
            host.open("OPTIONS", headers={"origin": "https://app.example"}),
            host.open("GET", path="/elsewhere"),
            host.open("GET", path=DOCUMENT),
            host.open("OPTIONS", path=DOCUMENT),
            host.open("GET", headers=stream, path="/sse"),
            host.open("POST", b"{}", ADA, "/sse"),
            host.open("POST", b"{}", ADA, "/sse?session_id=x"),
            host.open("OPTIONS", path="/sse"),
            host.open("PUT", b"", ADA, "/sse"),
        ]
        for each in asked:
            await each.begun()
            for name, value in SAFE:
                assert each.headers[name.decode()] == value.decode(), each.status
            assert each.headers["strict-transport-security"] == "max-age=31536000"
            assert (
                each.headers["cache-control"]
                in (
                    "no-store",
                    "no-cache, no-transform",
                    "public, max-age=300",
                )
                or each.status == 204
            )
            each.leave()
            await soon(each.task)
        host.app.close()  # type: ignore[attr-defined]
        closed = await host.modern(call("who"), **ADA).begun()
        assert closed.status == 503
        assert "content-security-policy" in closed.headers


async def test_without_encryption_none_is_demanded():
    async with serving(bearer("http://localhost:8000/mcp")) as host:
        asked = host.modern(call("who"), **ADA)
        await asked.whole()
        assert "strict-transport-security" not in asked.headers
