"""`interlock auth serve`: an authorization server of one's own, as a process."""

from __future__ import annotations

import json
import re
import socket
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Run, write_config
from tests.cli.logins import Neighbours, Program, Visits, free_port

from interlock import Context, Server
from interlock.auth.settings import AuthSettings
from interlock.transport.http.asgi import App

OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@pytest.fixture
def visits(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Visits:
    return Visits(folder, monkeypatch)


@contextmanager
def serving(*words: str) -> Generator[dict[str, Any]]:
    """What it says of itself with --json, while it serves."""
    program = Program("auth", "serve", *words, "--json")
    try:
        yield json.loads(program.said("{", out=True).string)
        program.interrupt()
        done = program.end()
        assert (done.code, done.out, done.err) == (0, "", "")
    finally:
        program.process.kill()


def got(url: str) -> Any:
    return json.loads(OPENER.open(url).read())


def test_a_person_gets_the_code_and_a_restart_ends_no_login(run: Run, folder: Path, visits: Visits):
    door, office = free_port(), free_port()
    url, issuer = f"http://127.0.0.1:{door}/mcp", f"http://127.0.0.1:{office}"
    auth = AuthSettings(issuer_url=issuer, resource_server_url=url, required_scopes=["read"])
    server = Server("diary", auth=auth)

    @server.tool
    async def whose(ctx: Context) -> str:
        return ctx.principal.subject

    write_config(folder, diary={"type": "http", "url": url})
    words = ("--resource", url, "--scope", "read", "--port", str(office))
    neighbours = Neighbours()
    try:
        neighbours.serve(App(server), door)
        with serving(*words) as told:
            assert (told["issuer"], told["resources"]) == (issuer, [url])
            keys = got(f"{issuer}/jwks")
            visits.signs_in_with(told["code"])
            done = run("login", "diary")
            assert done.code == 0, done.err
            assert run("call", "diary.whose").out == "owner\n"
        with serving(*words) as again:
            assert again["code"] != told["code"]
            assert got(f"{issuer}/jwks") == keys
            # What was given out before is good, and is renewed.
            assert run("call", "diary.whose").out == "owner\n"
            visits.ends(url)
            assert run("call", "diary.whose").out == "owner\n"
            assert visits.count == 1
            page = got(f"{issuer}/.well-known/oauth-authorization-server")
            assert page["scopes_supported"] == ["read", "offline_access"]
            assert run("logout", "diary").out == "Logged out of diary.\n"
    finally:
        neighbours.close()


def test_for_a_person_it_prints_lines(visits: Visits):
    port = free_port()
    program = Program(
        *("auth", "serve", "--resource", "http://127.0.0.1:1/mcp", "--port", str(port)),
        *("--url", "https://id.test"),
    )
    try:
        program.said("Authorization server: https://id.test$", out=True)
        code = program.said(r"Sign-in code: +(\S+)", out=True)[1]
        assert re.fullmatch(r"(\w{4}-){2}\w{4}", code)
        program.said("Makes tokens for:     http://127.0.0.1:1/mcp$", out=True)
        program.said("Ctrl-C ends it.", out=True)
        program.interrupt()
        assert program.end() == (0, "", "")
    finally:
        program.process.kill()


def test_a_port_that_is_taken_is_told(run: Run, visits: Visits):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = run("auth", "serve", "--resource", "http://127.0.0.1:1/mcp", "--port", str(port))
    assert (done.code, done.out) == (3, "")
    assert f"Something else listens on 127.0.0.1:{port}" in done.err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ((), 2, "--resource"),
        (("--resource", "nonsense"), 3, "'nonsense' is no URL of a server"),
        (("--resource", "http://127.0.0.1:1/mcp", "--url", "x"), 3, "'x' is no URL"),
        (("--resource", "http://127.0.0.1:1/mcp", "--url", "http://x.test"), 3, "https"),
        (("--resource", "http://127.0.0.1:1/mcp", "--port", "0"), 2, "--port"),
    ],
)
def test_what_cannot_be_is_told(
    run: Run, visits: Visits, words: tuple[str, ...], code: int, said: str
):
    done = run("auth", "serve", *words)
    assert (done.code, done.out) == (code, "")
    assert said in done.err
