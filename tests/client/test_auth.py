"""A client that shows who it is: through logins, over every transport, without losing its patience."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from tests.auth.guarded import Guarded, Hourglass, guarded
from tests.auth.world import Answered
from tests.peers import soon
from tests.spec.marking import requirement

from interlock import Client, Server
from interlock.auth.credentials import Credentials
from interlock.auth.oauth import ClientCredentials, OAuth
from interlock.client.target import Command, Url
from interlock.errors import (
    AuthorizationFailed,
    ConfigError,
    HttpError,
    LoginNeeded,
    StoreError,
    TimedOut,
)

PATIENCE = 3.0
LONG = 4.0
"""Seconds: longer than what is waited for, and shorter than the server keeps connections."""


@pytest.fixture
async def here() -> AsyncGenerator[Guarded]:
    async with guarded() as made:
        yield made


@requirement("CF-07")
@pytest.mark.parametrize("revision", ["modern", "legacy"])
async def test_a_client_logs_in_and_shows_its_token_with_everything(here: Guarded, revision: str):
    """2026-07-28 § Token Requirements: also the standing stream and the farewell of a session."""
    async with here.client(revision=revision) as client:
        assert (await soon(client.call_tool("ping"))).text == "pong"
    assert here.shown[0] is None
    assert set(here.shown[1:]) == {"Bearer access-1"}
    if revision == "legacy":
        assert {method for method, _ in here.heard} == {"POST", "GET", "DELETE"}
    assert len(here.person.visits) == 1


async def test_a_token_that_is_refused_later_is_renewed_beneath_a_call(here: Guarded):
    async with here.client() as client:
        here.issuer.valid.clear()
        assert (await soon(client.call_tool("ping"))).text == "pong"
    assert here.shown[-1] == "Bearer access-2"
    assert len(here.person.visits) == 1


async def test_a_second_client_needs_no_login(here: Guarded):
    auth = here.oauth()
    for _ in range(2):
        async with here.client(auth) as client:
            await soon(client.call_tool("ping"))
    async with here.client(here.oauth(visitors=None)) as client:
        await soon(client.call_tool("ping"))
    assert len(here.person.visits) == 1
    assert here.shown.count(None) == 1


@pytest.mark.parametrize("revision", ["modern", "legacy", "auto"])
async def test_where_nobody_is_connecting_says_that_a_login_is_needed(here: Guarded, revision: str):
    with pytest.raises(LoginNeeded, match="needs a login"):
        await soon(here.client(here.oauth(visitors=None), revision=revision).connect())


async def test_what_a_login_failed_with_is_what_connecting_raises(here: Guarded):
    here.person.answers(code=None, error="access_denied")
    with pytest.raises(AuthorizationFailed, match="refused") as refused:
        await soon(here.client().connect())
    assert refused.value.error == "access_denied"


async def test_a_server_that_takes_nothing_is_an_http_error(here: Guarded):
    here.refuses = lambda method, shown: 401
    with pytest.raises(HttpError) as refused:
        await soon(here.client().connect())
    assert refused.value.status == 401
    assert len(here.person.visits) == 1


@pytest.mark.parametrize("options", [{}, {"sse_path": "/mcp", "path": "/nowhere"}])
async def test_the_time_of_a_person_is_not_that_of_connecting(options: dict[str, Any]):
    async with guarded(**options) as here:
        glass = Hourglass()
        here.person.free.clear()
        target = Url(here.url, transport="sse" if options else "http")
        client = Client(target, auth=here.oauth(), connect_timeout=PATIENCE)
        connecting = asyncio.create_task(client.connect())
        await soon(here.person.there.wait())
        await glass.turn(LONG)
        assert not connecting.done()
        here.person.free.set()
        await soon(connecting)
        await soon(client.call_tool("ping"))
        await soon(client.close())


async def test_the_time_of_a_server_is_that_of_connecting(here: Guarded):
    reached, glass = asyncio.Event(), Hourglass()

    async def silent(it: Any) -> Answered:
        reached.set()
        await asyncio.Event().wait()
        return Answered()

    here.issuer.instead["/described"] = silent
    connecting = asyncio.create_task(here.client(connect_timeout=PATIENCE).connect())
    await soon(reached.wait())
    await glass.turn(LONG)
    with pytest.raises(TimedOut, match="was not ready within 3 s"):
        await soon(connecting)


async def test_the_time_of_a_person_is_not_that_of_a_call(here: Guarded):
    auth, glass = here.oauth(), Hourglass()
    async with here.client(auth, timeout=PATIENCE) as client:
        here.issuer.valid.clear()
        here.issuer.refreshable.clear()
        here.person.there.clear()
        here.person.free.clear()
        calling = asyncio.create_task(client.call_tool("ping"))
        await soon(here.person.there.wait())
        other = asyncio.create_task(client.call_tool("ping"))
        await glass.turn(LONG)
        assert not calling.done()
        assert not other.done()
        here.person.free.set()
        assert (await soon(calling)).text == "pong"
        assert (await soon(other)).text == "pong"


async def test_after_a_person_was_waited_for_patience_runs_again(here: Guarded):
    glass = Hourglass()
    async with here.client(timeout=PATIENCE) as client:
        await soon(never_answered(here, client, glass))


async def never_answered(here: Guarded, client: Client, glass: Hourglass) -> None:
    """Call what answers never, and see that it is not waited for."""
    reached = asyncio.Event()

    @here.server.tool
    async def slow() -> str:
        reached.set()
        await asyncio.Event().wait()
        return "at last"

    calling = asyncio.create_task(client.call_tool("slow"))
    await reached.wait()
    await glass.turn(LONG)
    with pytest.raises(TimedOut):
        await calling


async def test_who_connects_while_another_waits_for_the_person_waits_too(here: Guarded):
    glass = Hourglass()
    here.person.free.clear()
    auth = here.oauth()
    one, two = (here.client(auth, connect_timeout=PATIENCE, timeout=PATIENCE) for _ in range(2))
    first = asyncio.create_task(one.connect())
    await soon(here.person.there.wait())
    second = asyncio.create_task(two.connect())
    await glass.turn(LONG)
    here.person.free.set()
    await soon(asyncio.gather(first, second))
    await soon(never_answered(here, two, glass))
    await soon(asyncio.gather(one.close(), two.close()))


async def test_the_time_of_a_person_is_not_that_of_a_session_begun_anew(here: Guarded):
    auth, glass = here.oauth(), Hourglass()
    async with here.client(auth, revision="legacy", connect_timeout=PATIENCE) as client:
        known, forgotten = here.refuses, [True]

        def refuses(method: str, shown: str | None) -> int | None:
            if method == "POST" and forgotten:
                forgotten.clear()
                here.issuer.valid.clear()
                here.issuer.refreshable.clear()
                return 404
            return known(method, shown)

        here.refuses = refuses
        here.person.there.clear()
        here.person.free.clear()
        calling = asyncio.create_task(client.call_tool("ping"))
        await soon(here.person.there.wait())
        await glass.turn(LONG)
        assert not calling.done()
        here.person.free.set()
        assert (await soon(calling)).text == "pong"


async def test_closing_a_session_sends_nobody_to_a_login(here: Guarded):
    client = here.client(revision="legacy")
    await soon(client.connect())
    here.refuses = lambda method, shown: 401 if method == "DELETE" else None
    await soon(client.close())
    assert here.heard[-1] == ("DELETE", "Bearer access-1")
    assert len(here.person.visits) == 1


async def test_credentials_that_fail_do_not_keep_a_client_from_closing(here: Guarded):
    fails = False

    class Failing(Credentials):
        async def find(self, url: str, principal: str = "") -> Any:
            if fails:
                raise StoreError("the disk is gone")
            return await super().find(url, principal)

    kept = Failing.in_memory(clock=here.clock)
    auth = OAuth(kept, visitors=here.person, clock=here.clock)
    client = Client(here.url, auth=auth, revision="legacy")
    await soon(client.connect())
    fails = True
    here.clock.turn(4000)
    with pytest.raises(StoreError, match="the disk is gone"):
        await soon(client.call_tool("ping"))
    await soon(client.close())
    await kept.close()


async def test_what_was_kept_for_whom_we_were_is_forgotten_with_a_login(here: Guarded):
    """T16: another person may have logged in."""
    async with here.client() as client:
        assert [tool.name for tool in await soon(client.list_tools())] == ["ping"]
        here.issuer.valid.clear()
        here.issuer.refreshable.clear()
        await soon(client.call_tool("ping"))

        @here.server.tool
        async def more() -> str:
            return "more"

        assert {tool.name for tool in await soon(client.list_tools())} == {"ping", "more"}


async def test_an_event_stream_of_2024_is_logged_in_to():
    async with guarded(sse_path="/mcp", path="/nowhere") as here:
        client = Client(Url(here.url, transport="sse"), auth=here.oauth())
        async with client:
            assert (await soon(client.call_tool("ping"))).text == "pong"
        assert {shown for _, shown in here.heard[1:]} == {"Bearer access-1"}


@requirement("XC-01")
async def test_a_program_says_which_extension_it_uses(here: Guarded):
    """Extension oauth-client-credentials: in the client's capabilities."""
    here.issuer.metadata = {"token_endpoint_auth_methods_supported": ["client_secret_basic"]}
    auth = ClientCredentials("program", "secret-word", clock=here.clock)
    async with Client(here.url, auth=auth) as client:
        await soon(client.call_tool("ping"))
    way = "io.modelcontextprotocol/oauth-client-credentials"
    extensions = Client(here.url, auth=auth)._wish.capabilities.extensions  # pyright: ignore[reportPrivateUsage] -- what is declared is on the wire only
    assert way in (extensions or {})


@requirement("AU-01")
@pytest.mark.parametrize(
    ("target", "words"),
    [
        (["python", "server.py"], "for a server at an http"),
        (Command("server"), "for a server at an http"),
        ("ws://127.0.0.1:1/mcp", "for a server at an http"),
        (Url("wss://127.0.0.1:1/mcp"), "for a server at an http"),
        (Server("here"), "for a server at an http"),
        (Url("https://a.example", {"Authorization": "Bearer hunter2"}), "has an Authorization"),
        (Url("https://a.example", {"AUTHORIZATION": "Bearer hunter2"}), "has an Authorization"),
    ],
    ids=[
        "a list",
        "a command",
        "a socket",
        "a socket's URL",
        "a server",
        "a header",
        "in capitals",
    ],
)
def test_who_we_are_is_shown_at_urls_and_in_one_way(target: Any, words: str):
    with pytest.raises(ConfigError, match=words) as refused:
        Client(target, auth=OAuth(Credentials.in_memory()))
    assert "hunter2" not in str(refused.value)


@requirement("CF-10", "CF-12")
@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://mcp.example/mcp", "has no TLS"),
        ("https://me:hunter2@mcp.example/mcp", "no user may be in it"),
    ],
)
async def test_a_url_that_no_token_can_be_sent_to_is_refused(url: str, words: str):
    with pytest.raises(ConfigError, match=words) as refused:
        await soon(Client(url, auth=OAuth(Credentials.in_memory())).connect())
    assert "hunter2" not in str(refused.value)


async def test_a_standing_stream_outlives_credentials_that_cannot_be_read(
    here: Guarded, caplog: pytest.LogCaptureFixture
):
    """Nobody waits for what runs in the background, so nobody would hear of its failure."""
    fails, failed = False, asyncio.Event()

    class Failing(Credentials):
        async def find(self, url: str, principal: str = "") -> Any:
            if fails:
                failed.set()
                raise StoreError("the disk is gone")
            return await super().find(url, principal)

    kept = Failing.in_memory(clock=here.clock)
    auth = OAuth(kept, visitors=here.person, clock=here.clock)
    ends = asyncio.Event()
    client = Client(here.url, auth=auth, revision="legacy")

    async def stream(scope: Any, receive: Any, send: Any) -> None:
        if scope["method"] != "GET":
            return await here.app(scope, receive, send)
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b": hello\n\n", "more_body": True})
        await ends.wait()
        await send({"type": "http.response.body", "body": b""})
        return None

    here.instead = stream
    await soon(client.connect())
    fails = True
    here.clock.turn(4000)
    ends.set()
    glass = Hourglass()
    while not failed.is_set():
        await glass.turn(1)
    fails = False
    assert (await soon(client.call_tool("ping"))).text == "pong"
    await soon(client.close())
    await kept.close()
    assert "never retrieved" not in caplog.text
