"""What a person types for a server that may want a login, and what is made of it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.cli.conftest import TIME, Run, write_config
from tests.cli.logins import Diary, Program, Visits

from interlock.auth.credentials import Credentials, open_credentials
from interlock.auth.visitors import by_hand
from interlock.cli.problem import NOTHING, USAGE, Problem
from interlock.cli.remote import configured_somewhere, remote

CONFIG = Path(".mcp.json")


@pytest.fixture
def visits(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Visits:
    return Visits(folder, monkeypatch)


def entry(url: str = "https://x.test/mcp", **more: Any) -> dict[str, Any]:
    return {"type": "http", "url": url, **more}


@pytest.mark.parametrize("typed", ["https://x.test/mcp", "HTTPS://X.test/mcp", "http://[::1]:9"])
def test_a_url_is_a_server_without_any_configuration(folder: Path, typed: str):
    found = remote(typed, CONFIG)
    assert (found.name, found.url, found.config, found.port) == (typed, typed, None, None)


def test_a_url_stands_for_itself_though_the_configuration_has_more_to_say(folder: Path):
    write_config(folder, x=entry(oauth={"clientId": "us"}, headers={"X-Team": "a"}))
    found = remote("https://x.test/mcp", CONFIG)
    assert (found.config, found.entry.headers) == (None, {})
    assert remote("x", CONFIG).entry.headers == {"X-Team": "a"}


@pytest.mark.parametrize(
    "typed",
    [
        " https://x.test/mcp",
        "a server://x",
        "see https://ada:s3cret@x.test/mcp",
        "ftp://x.test",
        "https://",
        "://x",
        "https://x.test:port/mcp",
        "https://x.test/mcp#here",
        "https://ada:s3cret@x.test/mcp",
    ],
)
def test_what_is_no_url_of_a_server_is_wrong_usage(run: Run, visits: Visits, typed: str):
    for command in ("login", "logout"):
        done = run(command, typed)
        assert (done.code, done.out) == (USAGE, "")
        assert done.err.startswith("error: '")
        assert "itself failed" not in done.err
        assert "s3cret" not in done.err
    assert not visits.state.exists()


@pytest.mark.parametrize("scheme", ["ws", "wss", "WSS"])
def test_a_websocket_is_told_who_calls_in_another_way(folder: Path, scheme: str):
    with pytest.raises(Problem, match="reached over WebSocket") as caught:
        remote(f"{scheme}://x.test/mcp", CONFIG)
    assert caught.value.code == USAGE


def test_a_name_is_the_servers_of_its_file(folder: Path):
    (folder / "team").mkdir()
    path = write_config(folder / "team", x=entry(type="sse", headers={"X-Team": "a"}))
    found = remote("x", path)
    assert (found.name, found.url) == ("x", "https://x.test/mcp")
    assert found.config is not None
    assert found.config.path == path
    with pytest.raises(Problem) as caught:
        remote("x", CONFIG)
    assert caught.value.code == NOTHING


async def test_a_login_and_its_connection_are_as_the_entry_says(folder: Path):
    said = {"clientId": "us", "callbackPort": 4711, "scopes": "read"}
    sse = entry("https://y.test/sse", type="sse")
    write_config(folder, x=entry(headers={"X-Team": "a"}, oauth=said), y=sse, program=TIME)
    x, y = remote("x", CONFIG), remote("y", CONFIG)
    assert (x.port, y.port) == (4711, None)

    async def ask(question: str) -> str:
        raise AssertionError(question)

    visitors = by_hand(ask)
    async with Credentials.in_memory() as credentials:
        oauth = x.oauth(credentials, visitors, "https://id.test#bob", ("write",))
        assert oauth.identity.known is not None
        assert oauth.identity.known.client_id == "us"
        assert (oauth.scopes, oauth.principal) == (("read", "write"), "https://id.test#bob")
        assert oauth.visitors is visitors
        target = x.target(oauth)
        assert (target.url, target.transport) == ("https://x.test/mcp", "http")
        assert (target.headers, target.authorization) == ({"X-Team": "a"}, oauth)
        assert y.target(y.oauth(credentials)).transport == "sse"


def test_commands_about_logins_do_without_a_configuration(folder: Path):
    assert configured_somewhere(CONFIG) is None
    CONFIG.write_text("{")
    assert configured_somewhere(CONFIG) is None
    write_config(folder, program=TIME)
    found = configured_somewhere(CONFIG)
    assert found is not None
    assert list(found.servers) == ["program"]


# What `interlock login` makes of it where no browser is.


@pytest.fixture
def diary(visits: Visits) -> Generator[Diary]:
    with Diary() as diary:
        yield diary


@pytest.mark.parametrize("words", [("--port", "4711"), ()])
def test_a_login_by_hand_comes_back_to_the_port_that_its_server_knows(
    folder: Path, diary: Diary, visits: Visits, words: tuple[str, ...]
):
    port = 4711 if words else 4712  # Of the command, before that of the entry.
    write_config(folder, diary={**diary.entry, "oauth": {"callbackPort": 4712}})
    program = Program("login", "diary", "--no-browser", *words)
    page = program.said(r"Open this page in a browser, on any machine: (http\S+)")[1]
    ended = visits.elsewhere(page)
    assert ended.startswith(f"http://127.0.0.1:{port}/callback?")
    program.type(ended)
    done = program.end()
    assert done.code == 0, done.err
    assert done.out.startswith("Logged in to diary by ")


def test_what_is_pasted_may_be_no_text_at_all(
    folder: Path, diary: Diary, visits: Visits, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PYTHONIOENCODING", "utf-8:strict")
    write_config(folder, diary=diary.entry)
    program = Program("login", "diary", "--no-browser")
    program.said("Open this page in a browser")
    assert program.process.stdin is not None
    os.write(program.process.stdin.fileno(), b"\xff\xfe\n")
    done = program.end()
    assert (done.code, done.out) == (1, "")
    assert "Nothing more can be read: the login was not finished." in done.err
    assert visits.kept() == []


def test_three_wrong_answers_are_enough(folder: Path, diary: Diary, visits: Visits):
    write_config(folder, diary=diary.entry)
    program = Program("login", "diary", "--no-browser")
    program.said("Open this page in a browser")
    for _ in range(3):
        program.type("http://127.0.0.1:1/callback?code=1&state=x")
    done = program.end()
    assert (done.code, done.out) == (1, "")
    assert "3 times something else was pasted" in done.err
    assert visits.kept() == []


def test_a_login_that_cannot_be_renewed_says_so(
    run: Run, folder: Path, diary: Diary, visits: Visits
):
    write_config(folder, diary=diary.entry)
    assert "cannot be renewed" not in run("login", "diary").out

    async def as_one_that_gives_no_refresh_tokens() -> None:
        async with open_credentials(visits.state) as credentials:
            grant = await credentials.find(diary.url)
            assert grant is not None
            kept = msgspec.structs.replace(grant, refresh_token=None)
            await credentials.keep(diary.url, "", kept)

    asyncio.run(as_one_that_gives_no_refresh_tokens())
    done = run("login", "diary")
    assert "It cannot be renewed by itself: log in again when it has ended.\n" in done.out
    assert run("login", "diary", "--json").json["renewed"] is False
    assert visits.count == 1
