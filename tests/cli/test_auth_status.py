"""`interlock auth status`: what is kept, and where; nothing that is secret."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator
from pathlib import Path

import pytest
from tests.cli.conftest import Run, write_config
from tests.cli.logins import Diary, Visits

from interlock.auth.credentials import Grant, open_credentials
from interlock.auth.metadata import Registered


@pytest.fixture
def visits(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Visits:
    return Visits(folder, monkeypatch)


@pytest.fixture
def diary() -> Generator[Diary]:
    with Diary() as diary:
        yield diary


def keep(visits: Visits, url: str, principal: str = "", **more: object) -> None:
    usual: dict[str, object] = {
        "issuer": "https://id.test",
        "resource": url,
        "client": Registered("us"),
        "token_endpoint": "https://id.test/token",
        "access_token": "an-access-token-of-ours",
    }
    grant = Grant(**(usual | more))  # type: ignore[arg-type]  fields by their names

    async def kept() -> None:
        async with open_credentials(visits.state) as credentials:
            await credentials.keep(url, principal, grant)

    asyncio.run(kept())


def row(out: str, name: str) -> str:
    return next(line for line in out.splitlines() if line.startswith(f"{name} "))


def test_logins_are_shown_with_their_servers_names_and_where_they_are_kept(
    run: Run, folder: Path, diary: Diary, visits: Visits
):
    write_config(folder, diary=diary.entry)
    run("login", "diary")
    done = run("auth", "status")
    assert (done.code, done.err) == (0, "")
    assert row(done.out, "diary").split() == [
        *("diary", f"127.0.0.1:{diary.office}", "offline_access", "read"),
        *("renewed", "by", "itself"),
    ]
    *_, where = done.out.splitlines()
    assert where.startswith(f"Kept: credentials in {visits.state}/")
    assert "encrypted; key " in where
    assert run("auth").out == done.out


def test_json_holds_all_of_it(run: Run, folder: Path, diary: Diary, visits: Visits):
    write_config(folder, diary=diary.entry)
    run("login", "diary")
    told = run("auth", "status", "--json").json
    [login] = told["logins"]
    assert str(visits.state) in told["kept"]
    assert (login["server"], login["url"], login["issuer"]) == (
        *("diary", diary.url, diary.issuer_url),
    )
    assert login["refreshable"] is True
    assert login["expires_at"] > time.time()
    assert run("auth", "--json").json == told


def test_without_any_it_says_how_to_log_in(run: Run, visits: Visits):
    done = run("auth", "status")
    assert done.code == 0
    assert done.out.startswith(
        "No logins are kept. To log in to a server: interlock login SERVER\n"
    )
    assert f"Kept: credentials in {visits.state}/" in done.out
    assert run("auth", "status", "--json").json["logins"] == []


def test_each_login_says_how_long_it_is_good(run: Run, visits: Visits):
    now = time.time()
    keep(visits, "https://a.test/mcp")
    keep(visits, "https://b.test/mcp", expires_at=now - 1)
    keep(visits, "https://c.test/mcp", expires_at=now + 30 * 60 + 30)
    keep(visits, "https://d.test/mcp", expires_at=now + 5 * 3600 + 30)
    keep(visits, "https://e.test/mcp", "https://x.test#bob", expires_at=now, refresh_token="r")
    out = run("auth", "status").out
    assert row(out, "https://a.test/mcp").split()[3:] == [
        "until",
        "it",
        "is",
        "taken",
        "back",
        "you",
    ]
    assert row(out, "https://b.test/mcp").split()[3:] == [
        "has",
        "ended:",
        "log",
        "in",
        "again",
        "you",
    ]
    assert row(out, "https://c.test/mcp").split()[3:] == ["ends", "in", "30", "min", "you"]
    assert row(out, "https://d.test/mcp").split()[3:] == ["ends", "in", "5", "h", "you"]
    assert row(out, "https://e.test/mcp").split()[3:6] == ["renewed", "by", "itself"]
    assert "an-access-token-of-ours" not in out


def test_a_login_of_an_issuer_that_is_used_no_more_is_told_from_the_other(
    run: Run, folder: Path, visits: Visits
):
    # Spelled as a person may write it.
    write_config(folder, diary={"type": "http", "url": "https://DIARY.test/mcp"})
    keep(visits, "https://diary.test/mcp", issuer="https://old.test")
    keep(visits, "https://diary.test/mcp")
    rows = [line.split() for line in run("auth", "status").out.splitlines()]
    assert ["diary", "id.test", "–", "until", "it", "is", "taken", "back"] in rows
    assert ["diary", "old.test", "–", "not", "used", "any", "more"] in rows


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("auth", "stauts"), "Did you mean 'status'?"),
        (("auth", "--json", "status"), "--json goes behind the command"),
        (("auth", "status", "--jsno"), "No such option"),
    ],
)
def test_what_is_mistyped_is_told(run: Run, visits: Visits, words: tuple[str, ...], said: str):
    done = run(*words)
    assert (done.code, done.out) == (2, "")
    assert said in done.err


def test_the_help_names_the_commands(run: Run):
    out = run("auth", "--help").out
    assert "  status  Show which logins are kept, and where." in out
    assert "  serve   Run an authorization server on this machine." in out
    assert "interlock auth status --json" in out
