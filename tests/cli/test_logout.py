"""`interlock logout`: gone here, and where it was made."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest
from tests.cli.conftest import Run, write_config
from tests.cli.logins import Diary, Visits


@pytest.fixture
def diary() -> Generator[Diary]:
    with Diary() as diary:
        yield diary


@pytest.fixture
def visits(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Visits:
    return Visits(folder, monkeypatch)


def test_the_login_is_forgotten_here_and_taken_back_at_its_issuer(
    run: Run, folder: Path, diary: Diary, visits: Visits
):
    write_config(folder, diary=diary.entry)
    run("login", "diary")
    assert diary.logins() == 1
    done = run("logout", "diary")
    assert (done.code, done.out, done.err) == (0, "Logged out of diary.\n", "")
    assert diary.logins() == 0
    assert visits.kept() == []
    assert "interlock login diary" in run("call", "diary.whose").err


def test_json_tells_what_there_was_and_what_became_of_it(run: Run, diary: Diary, visits: Visits):
    told = {"server": diary.url, "url": diary.url}
    assert run("logout", diary.url, "--json").json == {**told, "was": False, "revoked": False}
    run("login", diary.url)
    assert run("logout", diary.url, "--json").json == {**told, "was": True, "revoked": True}


def test_that_there_was_no_login_is_no_failure(run: Run, diary: Diary, visits: Visits):
    done = run("logout", diary.url)
    assert (done.code, done.out) == (0, f"There was no login to {diary.url}.\n")


def test_an_issuer_that_cannot_be_told_is_told_of(
    run: Run, folder: Path, diary: Diary, visits: Visits
):
    write_config(folder, diary=diary.entry)
    run("login", "diary")
    diary.issuer_goes()
    done = run("logout", "diary")
    assert (done.code, done.out) == (1, "Logged out of diary, here only.\n")
    assert "The login to diary is forgotten here, but its issuer could not be told." in done.err
    assert f"127.0.0.1:{diary.office}" in done.err
    assert visits.kept() == []


def test_json_says_so_too(run: Run, diary: Diary, visits: Visits):
    run("login", diary.url)
    diary.issuer_goes()
    done = run("logout", diary.url, "--json")
    assert done.code == 1
    assert (done.json["was"], done.json["revoked"]) == (True, False)


def test_the_login_of_one_person_is_not_that_of_another(run: Run, diary: Diary, visits: Visits):
    run("login", diary.url, "--for", "https://x.test#bob")
    assert run("logout", diary.url).out == f"There was no login to {diary.url}.\n"
    assert [login.principal for login in visits.kept()] == ["https://x.test#bob"]
    assert run("logout", diary.url, "--for", "https://x.test#bob").code == 0
    assert diary.logins() == 0
