"""`interlock up --auth`, as a process of its own: who is let in, and who need not ask."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, build_opener

import pytest
from tests.cli.conftest import TIME, Run, Up, write_config
from tests.cli.logins import Diary, Neighbours, Program, Visits, free_port

from interlock import Client, RpcError
from interlock.auth.issuer.clients import Client as Known
from interlock.auth.issuer.issuer import Issuer
from interlock.auth.issuer.settings import Resource
from interlock.auth.metadata import CLIENT_CREDENTIALS
from interlock.auth.oauth import ClientCredentials
from interlock.errors import PeerError

DOWN = {"type": "http", "url": "http://127.0.0.1:9/mcp"}
"""A server that costs no process; what is said of it is not what is tried here."""
SECRET = "a-secret-of-the-editor-itself"


@pytest.fixture
def visits(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Visits:
    return Visits(folder, monkeypatch)


@contextmanager
def up(folder: Path, *words: str) -> Generator[Up]:
    found = Up(folder, *words)
    try:
        yield found
    finally:
        code = found.end()
    assert code == 0


def tools(url: str, auth: ClientCredentials | None = None) -> set[str]:
    """What is offered to whoever comes with *auth*."""

    async def look() -> set[str]:
        async with Client(url, auth=auth) as client:
            return {tool.name async for tool in client.list_tools()}

    return asyncio.run(look())


def got(url: str, **headers: str) -> Any:
    opener = build_opener(ProxyHandler({}))
    opener.addheaders = list(headers.items())
    with opener.open(url, timeout=10) as answer:
        return json.load(answer)


# Whom this user lets in.


def test_whom_this_user_lets_in_comes_in_also_after_a_restart(
    run: Run, folder: Path, visits: Visits
):
    write_config(folder, time=TIME)
    port = free_port()
    words = ("--auth", "local", "--port", str(port))
    with up(folder, *words) as first:
        assert first.url == f"http://127.0.0.1:{port}/mcp"
        assert first.listening["issuer"] == f"http://127.0.0.1:{port}/auth"
        with pytest.raises(PeerError, match="An access token is needed"):
            tools(first.url)
        # The commands of this folder are this user's, who is not asked.
        assert run("call", "time.get_current_time", "timezone=Asia/Tokyo").code == 0
        assert visits.count == 0
        refused = run("up", *words)
        assert (refused.code, refused.out) == (3, "")
        assert f"A gateway already runs for this folder: {first.url}" in refused.err
        visits.signs_in_with(first.listening["code"])
        done = run("login", first.url)
        assert done.code == 0, done.err
        assert f"by 127.0.0.1:{port}; it offers 2 tools.\n" in done.out
    with up(folder, *words) as second:
        assert second.listening["code"] != first.listening["code"]
        done = run("login", second.url)
        assert done.out.startswith("You are logged in already to "), done.err
        assert visits.count == 1
        assert run("logout", second.url).out == f"Logged out of {second.url}.\n"


def test_whoever_is_let_in_is_this_user_to_the_servers_behind(
    run: Run, folder: Path, visits: Visits
):
    with Diary() as diary:
        write_config(folder, diary=diary.entry)
        assert run("login", "diary").code == 0  # To the server, before there is a gateway.
        port = free_port()
        with up(folder, "--auth", "local", "--port", str(port)) as it:
            assert it.servers["diary"]["state"] == "running"
            visits.signs_in_with(it.listening["code"])
            done = run("login", it.url, "--json")
            assert done.code == 0, done.err
            # With logins of their own it would offer them nothing yet.
            assert (done.json["tools"], done.json["scopes"]) == (1, ["offline_access", "servers"])
            assert run("call", "diary.whose").out == "ada's\n"
        assert visits.count == 2


def test_a_person_is_told_the_code_and_the_url_that_clients_use(folder: Path, visits: Visits):
    write_config(folder, down=DOWN)
    port = free_port()
    program = Program(
        *("up", "--auth", "local", "--port", str(port), "--url", "https://gw.test/mcp")
    )
    try:
        program.said(f"^Listening at http://127.0.0.1:{port}/mcp$", out=True)
        program.said("^Lets in whoever has a token of https://gw.test/auth$", out=True)
        code = program.said(r"^Sign-in code: (\S+)$", out=True)[1]
        assert re.fullmatch(r"(\w{4}-){2}\w{4}", code)
        program.said(r"^down +\w", out=True)
        program.said("^Endpoint: https://gw.test/mcp$", out=True)
        program.said(
            "^To use it: claude mcp add --transport http interlock https://gw.test/mcp$", out=True
        )
        program.said("^Ctrl-C ends it.$", out=True)
        place = f"http://127.0.0.1:{port}/.well-known/oauth-protected-resource/mcp"
        assert got(place, Host="gw.test")["resource"] == "https://gw.test/mcp"
        program.interrupt()
        done = program.end()
        assert (done.code, done.err) == (0, "")
    finally:
        program.process.kill()


# Whom another says.


class Office:
    """An authorization server, with one program that is known there."""

    def __init__(self, resource: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        scopes = {"files": "Use files", "notes": "Use notes"}
        editor = Known(id="editor", grants=(CLIENT_CREDENTIALS,)).with_secret(SECRET)
        self.issuer = Issuer(self.url, resources=[Resource(resource, scopes)], clients=[editor])

    def editor(self, *scopes: str) -> ClientCredentials:
        return ClientCredentials("editor", SECRET, issuer=self.url, scopes=scopes)


@pytest.fixture
def neighbours() -> Generator[Neighbours]:
    found = Neighbours()
    yield found
    found.close()


def test_tokens_of_another_issuer_let_in_if_they_have_every_scope(
    folder: Path, visits: Visits, neighbours: Neighbours
):
    write_config(folder, time=TIME)
    port = free_port()
    url = f"http://127.0.0.1:{port}/mcp"
    office = Office(url)
    neighbours.serve(office.issuer, office.port)
    words = ("--auth", office.url, "--scope", "files", "--scope", "notes", "--port", str(port))
    with up(folder, *words) as it:
        assert (it.listening["issuer"], it.url) == (office.url, url)
        assert "code" not in it.listening
        published = got(f"http://127.0.0.1:{port}/.well-known/oauth-protected-resource/mcp")
        assert published["authorization_servers"] == [office.url]
        assert published["scopes_supported"] == ["files", "notes"]
        with pytest.raises(PeerError, match="An access token is needed"):
            tools(it.url)
        # It asks for what it is told that it needs.
        assert "time__convert_time" in tools(it.url, office.editor())
    assert not visits.state.exists()  # Nothing of ours is needed for that.


def test_each_caller_that_another_vouches_for_has_logins_of_their_own(
    run: Run, folder: Path, visits: Visits, neighbours: Neighbours
):
    port = free_port()
    office = Office(f"http://127.0.0.1:{port}/mcp")
    neighbours.serve(office.issuer, office.port)

    def whose(url: str) -> str:
        async def call() -> str:
            async with Client(url, auth=office.editor()) as client:
                return (await client.call_tool("diary__whose")).text

        return asyncio.run(call())

    with Diary() as diary:
        write_config(folder, diary=diary.entry)
        assert run("login", "diary").code == 0
        with up(folder, "--auth", office.url, "--port", str(port)) as it:
            # This user is logged in; who comes from elsewhere is not this user.
            assert run("call", "diary.whose").out == "ada's\n"
            with pytest.raises(RpcError, match="interlock login diary --for") as caught:
                whose(it.url)
            [person] = re.findall(r"--for '?([^' ]+)", caught.value.message)
            assert person.startswith(office.url)
            assert run("login", "diary", "--for", person).code == 0
            assert whose(it.url) == "ada's"
            logins = {one.principal for one in visits.kept()}
            assert logins == {"", person}


def test_a_person_is_told_whose_tokens_let_in_and_no_code(folder: Path, visits: Visits):
    write_config(folder, down=DOWN)
    program = Program("up", "--auth", "https://id.test", "--port", "0", "--url", "https://gw.test")
    try:
        program.said("^Lets in whoever has a token of https://id.test$", out=True)
        program.said("^Endpoint: https://gw.test$", out=True)
        program.interrupt()
        done = program.end()
        assert (done.code, done.err) == (0, "")
        assert "Sign-in code" not in done.out
    finally:
        program.process.kill()


# What cannot be.


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--url", "https://gw.test"), 2, "--url and --scope are for --auth"),
        (("--scope", "files"), 2, "--url and --scope are for --auth"),
        (("--auth", "local", "--scope", "files"), 2, "--auth local has its own"),
        (("--auth", "local", "--port", "0"), 2, "give --port, or --url"),
        (("--auth", "https://id.test", "--port", "0"), 2, "give --port, or --url"),
        (("--auth", "LOCAL"), 3, "'LOCAL' is no URL of a server"),
        (("--auth", "http://id.test"), 3, "https is expected"),
        (("--auth", "https://id.test", "--scope", "a b"), 3, "'a b' is no scope"),
        (("--auth", "https://id.test", "--url", "gw.test"), 3, "'gw.test' is no URL"),
        (("--auth", "local", "--url", "gw.test"), 3, "'gw.test' is no URL"),
        (("--auth", "local", "--url", "http://gw.test/mcp"), 3, "https is expected"),
        (("--auth", "local", "--url", "https://ada:s3cret@gw.test/mcp"), 3, "no user"),
    ],
)
def test_what_cannot_be_is_told_and_nothing_is_kept(
    run: Run, folder: Path, visits: Visits, words: tuple[str, ...], code: int, said: str
):
    write_config(folder, down=DOWN)
    done = run("up", *words)
    assert (done.code, done.out) == (code, "")
    assert said in done.err
    assert "s3cret" not in done.err
    # Another URL would not help.
    assert "If clients reach it at another URL" not in done.err
    assert not visits.state.exists()
    assert not (folder / ".interlock").exists()


@pytest.mark.parametrize("who", ["local", "https://id.test"])
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_where_tokens_would_travel_in_the_open_the_url_of_clients_is_asked_for(
    run: Run, folder: Path, visits: Visits, who: str, host: str
):
    write_config(folder, down=DOWN)
    done = run("up", "--auth", who, "--host", host)
    assert (done.code, done.out) == (3, "")
    assert "https" in done.err
    assert "If clients reach it at another URL, say which: --url https://…" in done.err
    assert not visits.state.exists()
