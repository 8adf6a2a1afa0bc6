"""`interlock login`, and what is done without another one from then on."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Generator
from pathlib import Path

import pytest
from tests.cli.conftest import PYTHON, TIME, Run, Up, write_config
from tests.cli.logins import Diary, Program, Visits

from interlock import Server
from interlock.transport.http.asgi import App


@pytest.fixture
def diary() -> Generator[Diary]:
    with Diary() as diary:
        yield diary


@pytest.fixture
def visits(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Visits:
    return Visits(folder, monkeypatch)


def called(run: Run) -> str:
    done = run("call", "diary.whose")
    assert done.code == 0, done.err
    return done.out


def test_a_login_by_name_in_a_browser_is_the_only_one(
    run: Run, folder: Path, diary: Diary, visits: Visits
):
    write_config(folder, diary=diary.entry)
    done = run("login", "diary")
    assert (done.code, visits.count) == (0, 1), done.err
    assert done.out == (
        f"Logged in to diary by 127.0.0.1:{diary.office}; it offers 1 tool.\n"
        "To end it: interlock logout diary\n"
    )
    assert f"You are sent to 127.0.0.1:{diary.office} to log in." in done.err
    assert called(run) == "ada's\n"
    elsewhere = Program("call", "diary.whose", stdin=subprocess.DEVNULL).end()
    assert (elsewhere.code, elsewhere.out) == (0, "ada's\n")
    assert visits.count == 1


def test_a_login_by_url_needs_no_configuration(run: Run, diary: Diary, visits: Visits):
    done = run("login", diary.url, "--json")
    assert done.code == 0, done.err
    told = done.json
    assert told.pop("expires") > time.time()
    assert told == {
        "server": diary.url,
        "url": diary.url,
        "login": True,
        "issuer": diary.issuer_url,
        "already": False,
        "scopes": ["offline_access", "read"],
        "renewed": True,
        "tools": 1,
    }


def test_whoever_is_logged_in_is_told_so_and_no_page_is_opened(
    run: Run, folder: Path, diary: Diary, visits: Visits
):
    write_config(folder, diary=diary.entry)
    run("login", "diary")
    done = run("login", "diary")
    assert (done.code, visits.count) == (0, 1)
    assert done.out.startswith("You are logged in already to diary by ")
    visits.ends(diary.url)
    # That it was renewed on the way is no login.
    assert run("login", "diary").out.startswith("You are logged in already to diary by ")
    assert run("login", "diary", "--json").json["already"] is True
    assert visits.count == 1


def test_again_logs_in_anew(run: Run, folder: Path, diary: Diary, visits: Visits):
    write_config(folder, diary=diary.entry)
    run("login", "diary")
    done = run("login", "diary", "--again", "--scope", "write", "--json")
    assert (done.code, visits.count) == (0, 2), done.err
    assert sorted(done.json["scopes"]) == ["offline_access", "read", "write"]
    assert called(run) == "ada's\n"


def test_an_access_token_that_ended_is_renewed_without_anybody(
    run: Run, folder: Path, diary: Diary, visits: Visits
):
    write_config(folder, diary=diary.entry)
    run("login", "diary")
    visits.ends(diary.url)  # Known here beforehand.
    assert called(run) == "ada's\n"
    diary.clock.turn(700)  # Known only to the server.
    assert called(run) == "ada's\n"
    diary.clock.turn(700)
    elsewhere = Program("call", "diary.whose", stdin=subprocess.DEVNULL).end()
    assert (elsewhere.code, elsewhere.out) == (0, "ada's\n")
    assert visits.count == 1


def test_what_the_server_took_back_is_told_with_what_to_type(
    run: Run, folder: Path, diary: Diary, visits: Visits
):
    write_config(folder, diary=diary.entry)
    run("login", "diary")
    diary.clock.turn(40 * 24 * 3600)
    done = run("call", "diary.whose")
    assert (done.code, done.out) == (1, "")
    assert "needs a login" in done.err
    assert "interlock login diary" in done.err
    assert run("login", "diary").code == 0
    assert visits.count == 2
    assert called(run) == "ada's\n"


def test_a_server_that_wants_no_login_is_told_so(
    run: Run, folder: Path, diary: Diary, visits: Visits
):
    server = Server("open")

    @server.tool
    async def ping() -> str:
        return "pong"

    url = diary.serve(App(server))
    write_config(folder, open={"type": "http", "url": url})
    done = run("login", "open")
    assert (done.code, visits.count) == (0, 0)
    assert done.out == "open wants no login: it answered without one, with 1 tool.\n"
    told = run("login", url, "--json").json
    assert told == {"server": url, "url": url, "login": False, "tools": 1}
    again = run("login", "open", "--again")
    assert (again.code, visits.count) == (1, 0)


def test_a_login_that_is_refused_is_a_failure_and_nothing_is_kept(
    run: Run, folder: Path, diary: Diary, visits: Visits
):
    write_config(folder, diary=diary.entry)
    visits.denies()
    done = run("login", "diary")
    assert (done.code, done.out, visits.count) == (1, "", 1)
    assert "The login was refused at" in done.err
    assert "The person did not allow it" in done.err
    assert "Traceback" not in done.err
    assert visits.kept() == []


@pytest.mark.parametrize(
    ("typed", "code", "words"),
    [
        ("program", 2, "program is a program; logins are for servers at http(s) URLs."),
        ("socket", 2, "socket is reached over WebSocket; logins are for servers at http(s) URLs."),
        ("token", 2, "token has an Authorization header in .mcp.json"),
        ("never", 2, "never is never logged in to"),
        ("tokn", 2, "Did you mean 'token'?"),
        ("unnamed", 3, "The server 'unnamed' is not in use."),
        ("ws://127.0.0.1:9/mcp", 2, "reached over WebSocket"),
        ("ftp://127.0.0.1/mcp", 2, "is no URL of a server"),
        ("https://ada:s3cret@x.test/mcp", 2, "user"),
        ("http://x.test/mcp", 3, "https:// is expected"),
        ("http://127.0.0.1:9/mcp", 1, "127.0.0.1:9"),
    ],
)
@pytest.mark.parametrize("command", ["login", "logout"])
def test_what_cannot_be_logged_in_to_is_told(
    run: Run, folder: Path, visits: Visits, command: str, typed: str, code: int, words: str
):
    write_config(
        folder,
        program=TIME,
        socket={"type": "ws", "url": "ws://127.0.0.1:9/mcp"},
        token={"type": "http", "url": "http://x.test", "headers": {"authorization": "Bearer x"}},
        never={"type": "http", "url": "https://x.test/mcp", "oauth": False},
        unnamed={"url": "http://127.0.0.1:9/mcp"},
    )
    done = run(command, typed)
    if command == "logout" and typed.startswith("http://"):
        assert (done.code, done.out) == (0, f"There was no login to {typed}.\n")
        return
    assert (done.code, done.out, visits.count) == (code, "", 0), done.err
    assert words in done.err
    assert "s3cret" not in done.err
    assert "itself failed" not in done.err


def test_without_a_configuration_a_name_is_exit_3(run: Run, visits: Visits):
    done = run("login", "diary")
    assert (done.code, done.out) == (3, "")
    assert "there is no .mcp.json" in done.err


# Without a browser here.


def test_the_address_that_a_browser_elsewhere_ended_at_can_be_pasted(
    folder: Path, diary: Diary, visits: Visits
):
    write_config(folder, diary=diary.entry)
    program = Program("login", "diary", "--no-browser")
    page = program.said(r"Open this page in a browser, on any machine: (http\S+)")[1]
    program.type("what?")
    program.said("That is not it: ")
    program.type(visits.elsewhere(page))
    done = program.end()
    assert done.code == 0, done.err
    assert done.out.startswith("Logged in to diary by ")
    assert [login.url for login in visits.kept()] == [diary.url]


def test_where_nothing_can_be_pasted_that_is_told(folder: Path, diary: Diary, visits: Visits):
    write_config(folder, diary=diary.entry)
    done = Program("login", "diary", "--no-browser", stdin=subprocess.DEVNULL).end()
    assert (done.code, done.out) == (1, "")
    assert "Nothing more can be read: the login was not finished." in done.err
    # As `<&-` leaves it.
    line = 'exec "$0" -m interlock login diary --no-browser <&-'
    closed = subprocess.run(
        ["sh", "-c", line, PYTHON["command"]], capture_output=True, text=True, check=False
    )
    assert (closed.returncode, closed.stdout) == (2, "")
    assert "--no-browser reads an address from stdin, which is closed." in closed.stderr
    assert visits.kept() == []


@pytest.mark.parametrize("words", [(), ("--no-browser",)])
def test_ctrl_c_ends_the_wait_for_a_person_at_once(
    folder: Path, diary: Diary, visits: Visits, words: tuple[str, ...]
):
    write_config(folder, diary=diary.entry)
    visits.takes_for_ever()
    program = Program("login", "diary", *words)
    program.said("open this page|Open this page")
    began = time.monotonic()
    program.interrupt()
    done = program.end()
    assert time.monotonic() - began < 2  # Measured at 0.2; the rest is for busy machines.
    assert (done.code, done.out) == (130, "")
    assert done.err.endswith("Interrupted.\n")
    assert "Traceback" not in done.err
    assert visits.kept() == []
    assert diary.logins() == 0


# With a gateway.


def test_a_gateway_that_runs_goes_on_with_a_login_at_once_and_lets_go_of_it(
    run: Run, folder: Path, diary: Diary, visits: Visits
):
    write_config(folder, diary=diary.entry, time=TIME)
    up = Up(folder)
    try:
        assert up.servers["diary"]["state"] == "needs login"
        assert up.servers["time"]["state"] == "running"
        done = run("call", "diary.whose")
        assert done.code == 1
        assert "interlock login diary" in done.err
        done = run("login", "diary")
        assert "The gateway that runs here uses it from now on.\n" in done.out
        up.wait_for("running", "diary")
        assert called(run) == "ada's\n"
        diary.clock.turn(700)
        assert called(run) == "ada's\n"
        done = run("logout", "diary")
        assert done.out == ("Logged out of diary.\nThe gateway that runs here has let go of it.\n")
        told = {one["name"]: one for one in run("list", "--json").json["servers"]}
        assert told["diary"]["state"] == "needs login"
        assert diary.logins() == 0
        # By its URL it is noticed as well, with the next call.
        run("login", diary.url)
        assert called(run) == "ada's\n"
        assert visits.count == 2
    finally:
        assert up.end() == 0
