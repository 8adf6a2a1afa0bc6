"""Who a server is told that calls: nobody until it asks, then whoever logged in, else what to type."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.people import ISSUER, Diary, gateway_to, logged_in

from interlock import Client
from interlock.auth.credentials import Credentials, open_credentials
from interlock.auth.discovery import Authority, discover
from interlock.auth.keeping import DATABASE
from interlock.auth.oauth import OAuth
from interlock.auth.steps import Answer, Conversation, Fetch
from interlock.errors import AuthorizationFailed, LoginNeeded
from interlock.gateway.config import HttpServer, OAuthEntry, Server, StdioServer
from interlock.gateway.login import SCOPES_SHOWN, Login, Logins, login_to, may_want_login
from interlock.transport.http.engine import Engine, Request, Response

URL = "https://x.test/mcp"


def entry(**fields: Any) -> HttpServer:
    usual: dict[str, Any] = {"name": "x", "written": "x", "url": URL}
    return HttpServer(**(usual | fields))


@pytest.mark.parametrize(
    ("server", "may"),
    [
        (entry(), True),
        (entry(type="sse", headers={"X": "y"}), True),
        (entry(oauth=None), False),
        (entry(headers={"authorization": "Bearer x"}), False),
        (entry(type="ws", url="wss://x.test"), False),
        (entry(url="https://ada:secret@x.test/mcp"), False),
        (entry(url="${MISSING}/mcp"), False),
        (StdioServer(name="x", written="x", command="x"), False),
    ],
)
def test_a_server_may_want_a_login_if_nothing_says_otherwise(server: Server, may: bool) -> None:
    assert may_want_login(server) is may


async def test_a_login_is_as_its_entry_describes_it() -> None:
    said = OAuthEntry(
        client_id="us", client_secret="s3cret", scopes=("a",), metadata_url="https://i.test/m"
    )
    async with Credentials.in_memory() as credentials:
        oauth = login_to(entry(oauth=said), credentials, principal="p", scopes=("b",))
        assert oauth.identity.known is not None
        known = oauth.identity.known
        assert (known.client_id, known.client_secret) == ("us", "s3cret")
        assert (oauth.scopes, oauth.principal) == (("a", "b"), "p")
        assert oauth.metadata_url == "https://i.test/m"
        assert oauth.visitors is None
        assert login_to(entry(oauth=None), credentials).identity.known is None


# What is sent.


class Reply:
    """A response without a body."""

    def __init__(self, status: int) -> None:
        self.status = status
        self.headers: Mapping[str, str] = {}
        self.closed = False

    async def pieces(self) -> AsyncIterator[bytes]:
        for piece in ():
            yield piece

    async def read(self, limit: int) -> bytes:
        return b""

    def close(self) -> None:
        self.closed = True


class Wire:
    """An engine to a server that lets in whoever shows one of some tokens."""

    def __init__(self, *tokens: str, public: bool = False) -> None:
        self.tokens = {f"Bearer {token}" for token in tokens}
        self.public = public
        self.shown: list[str | None] = []
        self.replies: list[Reply] = []
        self.closed = False

    async def send(self, request: Request) -> Response:
        shown = request.headers.get("authorization")
        self.shown.append(shown)
        good = self.public or shown in self.tokens
        self.replies.append(Reply(200 if good else 401))
        return self.replies[-1]

    async def close(self) -> None:
        self.closed = True


async def send(engine: Engine) -> int:
    response = await engine.send(Request("POST", URL, {}))
    response.close()
    return response.status


async def test_a_server_that_does_not_ask_is_not_told_and_nothing_is_looked_up() -> None:
    async with Credentials.in_memory() as credentials:
        wire = Wire(public=True)
        engine = Login(entry(), Logins(credentials)).around(wire, URL)
        assert [await send(engine) for _ in range(3)] == [200] * 3
        await logged_in(credentials, URL, "", "later")
        assert await send(engine) == 200
        assert wire.shown == [None] * 4
        await engine.close()
        assert wire.closed


async def test_whoever_logged_in_is_shown_from_the_first_request_on() -> None:
    async with Credentials.in_memory() as credentials:
        await logged_in(credentials, URL, "", "mine")
        await logged_in(credentials, URL, "bob", "of-bob")
        wire = Wire("mine")
        engine = Login(entry(), Logins(credentials)).around(wire, URL)
        assert [await send(engine) for _ in range(2)] == [200] * 2
        assert wire.shown == ["Bearer mine"] * 2
        await engine.close()
        assert wire.closed


async def test_a_server_that_begins_to_ask_is_told_then() -> None:
    async with Credentials.in_memory() as credentials:
        wire = Wire("mine", public=True)
        engine = Login(entry(), Logins(credentials)).around(wire, URL)
        assert await send(engine) == 200
        wire.public = False
        await logged_in(credentials, URL, "", "mine")
        assert await send(engine) == 200
        assert wire.shown == [None, None, "Bearer mine"]
        assert all(reply.closed for reply in wire.replies)


async def test_without_a_login_the_request_says_that_one_is_needed() -> None:
    async with Credentials.in_memory() as credentials:
        login = Login(entry(), Logins(credentials))
        wire = Wire()
        with pytest.raises(LoginNeeded):
            await send(login.around(wire, URL))
        assert wire.shown == [None]
        assert wire.replies[0].closed
        assert not await login.appeared()
        await logged_in(credentials, URL, "", "mine")
        assert await login.appeared()


async def test_a_login_that_was_refused_counts_again_once_it_is_another() -> None:
    async with Credentials.in_memory() as credentials:
        await logged_in(credentials, URL, "", "old")
        login = Login(entry(), Logins(credentials))
        with pytest.raises(LoginNeeded):
            await send(login.around(Wire("new"), URL))
        assert not await login.appeared()
        await logged_in(credentials, URL, "", "new")
        assert await login.appeared()
        assert await send(login.around(Wire("new"), URL)) == 200
        await login.close()


# What a person reads.


@pytest.mark.parametrize(
    ("name", "principal", "command"),
    [
        ("notion", "", "interlock login notion"),
        ("my server", "", "interlock login 'my server'"),
        ("notion", "https://i.test#ada", "interlock login notion --for 'https://i.test#ada'"),
    ],
)
def test_what_to_type_is_said(name: str, principal: str, command: str) -> None:
    login = Login(entry(name=name), Logins(), principal)
    needed = login.needed(LoginNeeded(URL))
    assert str(needed) == f"server {name!r} needs a login: {command}"
    assert str(login.needed(needed)) == str(needed)


def test_what_a_login_lacks_is_named_but_only_what_can_be_a_scope() -> None:
    scopes = ["files:write", "$(reboot)", "two words", "\x1b[31m", *map(str, range(SCOPES_SHOWN))]
    needed = Login(entry(), Logins()).needed(LoginNeeded(URL, scopes=scopes))
    assert str(needed).startswith(
        "server 'x' wants a login that allows more: interlock login x --again "
        "--scope=files:write '--scope=$(reboot)' --scope=0 "
    )
    assert str(needed).count("--scope") == SCOPES_SHOWN


# Credentials on disk.


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "state"
    monkeypatch.setenv("INTERLOCK_STATE", str(folder))
    monkeypatch.setenv("INTERLOCK_KEYRING", "off")
    return folder


@pytest.mark.parametrize("public", [True, False])
async def test_nothing_is_made_on_disk_because_of_a_server(
    tmp_path: Path, state: Path, public: bool
) -> None:
    diary = Diary(public=public)
    async with diary.served() as url:
        gateway = gateway_to(tmp_path, {"diary": {"type": "http", "url": url}})
        async with Client(gateway) as client:
            assert bool(await client.list_tools()) is public
            assert gateway.status()[0].state == ("running" if public else "needs login")
    assert not state.exists()


async def test_the_logins_of_this_machine_are_used_once_there_are_any(
    tmp_path: Path, state: Path
) -> None:
    diary = Diary()
    diary.admit("owner", "mine")
    async with diary.served() as url:
        gateway = gateway_to(tmp_path, {"diary": {"type": "http", "url": url}})
        async with Client(gateway) as client:
            assert await client.list_tools() == []
            async with open_credentials(environ=os.environ) as credentials:
                await logged_in(credentials, url, "", "mine")
            assert (state / DATABASE).exists()
            assert (await client.call_tool("diary__whoami")).text == "owner"


# Where an authorization server describes itself, as a person says.


def metadata(issuer: str) -> bytes:
    return b'{"issuer":"%b","token_endpoint":"https://i.test/token"}' % issuer.encode()


def found(conversation: Conversation[Authority], answers: Mapping[str, Answer]) -> Authority:
    asked = next(conversation)
    while True:
        assert isinstance(asked, Fetch)
        try:
            asked = conversation.send(answers.get(asked.url, Answer(404)))
        except StopIteration as done:
            return done.value


RESOURCE = Answer(
    200, {}, b'{"resource":"https://x.test/mcp","authorization_servers":["https://other.test"]}'
)
PLACE = "https://x.test/.well-known/oauth-protected-resource/mcp"
TOLD = "https://elsewhere.test/metadata"


@pytest.mark.parametrize("answers", [{PLACE: RESOURCE}, {}])
def test_the_metadata_that_a_person_named_are_the_authorization_servers(
    answers: dict[str, Answer],
) -> None:
    answers = {**answers, TOLD: Answer(200, {}, metadata(ISSUER))}
    authority = found(discover(URL, metadata_url=TOLD), answers)
    assert (authority.issuer, authority.resource) == (ISSUER, URL)
    assert not authority.guessed


@pytest.mark.parametrize(
    ("url", "answer", "said"),
    [
        ("http://elsewhere.test/m", Answer(200, {}, metadata(ISSUER)), "is no https URL"),
        (TOLD, Answer(404), "answers with HTTP 404"),
        (TOLD, Answer(503), "try again later"),
        (TOLD, Answer(200, {}, metadata("http://plain.test")), "which is no https URL"),
        (TOLD, Answer(200, {}, b"<html>"), "is no authorization server metadata"),
    ],
)
def test_what_stands_there_instead_is_an_error(url: str, answer: Answer, said: str) -> None:
    with pytest.raises(AuthorizationFailed, match=said):
        found(discover(URL, metadata_url=url), {url: answer})


async def test_the_host_that_a_person_named_may_have_any_address() -> None:
    async with Credentials.in_memory() as credentials:
        oauth = OAuth(credentials, metadata_url="https://10.0.0.1:8443/m")
        assert oauth.allowed == ("10.0.0.1",)
