"""Grants and registrations under their issuer: kept, found, replaced, refreshed once, never lost."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import msgspec
import pytest
from tests.auth.refresher import URL
from tests.spec.marking import requirement

from interlock.auth import credentials as room
from interlock.auth.credentials import Credentials, Grant, Login, open_credentials, state_folder
from interlock.auth.keeping import DATABASE, FILE
from interlock.auth.metadata import Registered
from interlock.errors import ConfigError, NotConnected, StoreError
from interlock.testing.clock import Clock

OFF = {"INTERLOCK_KEYRING": "off"}
ISSUER = "https://login.example.com/tenant"
SECRETS = ("at-secret", "rt-secret", "client-secret", "dpop-secret")


def grant(**changed: Any) -> Grant:
    fields: dict[str, Any] = {
        "issuer": ISSUER,
        "resource": URL,
        "client": Registered("client-1", client_secret="client-secret"),
        "token_endpoint": f"{ISSUER}/token",
        "revocation_endpoint": f"{ISSUER}/revoke",
        "auth_method": "client_secret_basic",
        "access_token": "at-secret",
        "token_type": "DPoP",
        "expires_at": 1234.5,
        "refresh_token": "rt-secret",
        "scopes": ("read",),
        "asked": ("read", "write"),
        "dpop": {"kty": "EC", "d": "dpop-secret"},
        "dpop_algorithm": "ES256",
        "obtained_at": 1000.0,
    }
    return Grant(**{**fields, **changed})


@pytest.fixture(params=["memory", "folder"])
async def credentials(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncGenerator[Credentials]:
    made = Credentials.in_memory() if request.param == "memory" else at(tmp_path / "state")
    async with made:
        yield made


def at(folder: Path) -> Credentials:
    return Credentials.at(folder, OFF)


# Grants.


async def test_a_grant_is_found_whole_by_its_server(credentials: Credentials):
    assert await credentials.find(URL) is None
    await credentials.keep(URL, "", grant())
    assert await credentials.find(URL) == grant()
    assert await credentials.find("HTTPS://FILES.example.com/mcp/") == grant(), "the same server"
    assert await credentials.find("https://files.example.com/other") is None


@requirement("CF-10")
async def test_each_principal_has_their_own(credentials: Credentials):
    """T16: what one caller of a gateway was granted is no other's."""
    await credentials.keep(URL, "ada", grant(access_token="ada's"))
    await credentials.keep(URL, "bob", grant(access_token="bob's"))
    assert await credentials.find(URL) is None
    found = await credentials.find(URL, "ada"), await credentials.find(URL, "bob")
    assert [each.access_token for each in found if each] == ["ada's", "bob's"]
    assert await credentials.drop(URL, "bob") == [grant(access_token="bob's")]
    assert await credentials.find(URL, "ada") is not None


@requirement("CF-12", "CR-04")
async def test_a_server_that_changes_its_issuer_does_not_get_the_other_ones_tokens(
    credentials: Credentials,
):
    """2026-07-28 § Authorization: credentials are kept by issuer (CR-04, T17)."""
    await credentials.keep(URL, "", grant())
    other = "https://other.example.com"
    assert await credentials.held(other, URL) is None
    await credentials.keep(URL, "", grant(issuer=other, access_token="new"))
    found = await credentials.find(URL)
    assert found is not None
    assert (found.issuer, found.access_token) == (other, "new")
    assert await credentials.held(ISSUER, URL) == grant()
    assert await credentials.held(ISSUER + "/", URL) is None, "compared as written"
    current = {login.issuer: login.current for login in await credentials.list()}
    assert current == {ISSUER: False, other: True}
    assert {each.issuer for each in await credentials.drop(URL)} == {ISSUER, other}
    assert await credentials.list() == []


async def test_servers_of_one_resource_may_share_a_grant(credentials: Credentials):
    origin = "https://files.example.com"
    await credentials.keep(f"{origin}/a", "", grant(resource=origin))
    shared = await credentials.held(ISSUER, origin)
    assert shared is not None
    await credentials.keep(f"{origin}/b", "", shared)
    await credentials.keep(f"{origin}/b", "", grant(resource=origin, access_token="newer"))
    found = await credentials.find(f"{origin}/a")
    assert found is not None
    assert found.access_token == "newer"
    await credentials.drop(f"{origin}/a")
    assert await credentials.find(f"{origin}/b") is None


async def test_a_grant_refused_is_discarded_unless_a_newer_one_took_its_place(
    credentials: Credentials,
):
    await credentials.keep(URL, "", grant())
    assert not await credentials.discard("", grant(access_token="older"))
    assert await credentials.find(URL) == grant()
    assert await credentials.discard("", grant())
    assert not await credentials.discard("", grant())
    assert await credentials.find(URL) is None
    await credentials.keep(URL, "", grant())
    assert await credentials.find(URL) == grant()


async def test_what_is_listed_has_no_secret(credentials: Credentials):
    await credentials.keep(URL, "", grant())
    await credentials.keep("https://a.example.com", "ada", grant(refresh_token=None))
    logins = await credentials.list()
    assert [(each.url, each.principal, each.refreshable) for each in logins] == [
        ("https://a.example.com", "ada", False),
        (URL, "", True),
    ]
    assert logins[1] == Login(
        url=URL,
        principal="",
        issuer=ISSUER,
        resource=URL,
        scopes=("read",),
        token_type="DPoP",
        grant_type="authorization_code",
        obtained_at=1000.0,
        expires_at=1234.5,
        refreshable=True,
        current=True,
    )
    assert not any(secret in msgspec.json.encode(logins).decode() for secret in SECRETS)


def test_a_grant_shows_no_secret():
    for shown in (repr(grant()), str(grant()), f"{grant()}", repr(grant().__rich_repr__())):
        assert ISSUER in shown
        assert not any(secret in shown for secret in SECRETS)


async def test_dropping_nothing_is_no_fault(credentials: Credentials):
    assert await credentials.drop(URL) == []


async def test_only_so_many_grants_are_kept(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(room, "GRANTS", 2)
    credentials = Credentials.in_memory()
    for name in ("ada", "bob"):
        await credentials.keep(URL, name, grant())
    with pytest.raises(StoreError, match="2 grants"):
        await credentials.keep(URL, "eve", grant())
    await credentials.keep(URL, "ada", grant(access_token="newer"))


async def test_keeping_that_is_cancelled_is_done_first(tmp_path: Path):
    """Ours: a refresh token was traded for what is kept here, and is worth nothing any more."""
    async with at(tmp_path) as credentials:
        await credentials.keep(URL, "", grant())
        keeping = asyncio.create_task(credentials.keep(URL, "", grant(refresh_token="newer")))
        await asyncio.sleep(0)
        keeping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await keeping
        found = await credentials.find(URL)
        assert found is not None
        assert found.refresh_token == "newer"


# Registrations.


@requirement("CR-04")
async def test_a_registration_belongs_to_an_issuer_and_its_redirects(credentials: Credentials):
    client = Registered("one", client_secret="s")
    redirects = ["http://127.0.0.1/a", "http://127.0.0.1/b"]
    await credentials.register(ISSUER, client, redirects)
    assert await credentials.registered(ISSUER, redirects[::-1]) == client
    assert await credentials.registered(ISSUER, redirects[:1]) is None
    assert await credentials.registered(ISSUER) is None
    assert await credentials.registered("https://other.example.com", redirects) is None


@requirement("CR-04")
async def test_an_issuer_that_knows_us_no_longer_is_forgotten_whole(credentials: Credentials):
    for redirects in ([], ["http://127.0.0.1/a"]):
        await credentials.register(ISSUER, Registered("one"), redirects)
        await credentials.register(ISSUER + "2", Registered("two"), redirects)
    await credentials.forget_registration(ISSUER)
    assert await credentials.registered(ISSUER) is None
    assert await credentials.registered(ISSUER, ["http://127.0.0.1/a"]) is None
    assert await credentials.registered(ISSUER + "2") == Registered("two")


async def test_a_registration_whose_secret_is_over_is_none():
    clock = Clock()
    credentials = Credentials.in_memory(clock=clock)
    ends = clock() + 60
    await credentials.register("a", Registered("a", client_secret_expires_at=ends))
    await credentials.register("b", Registered("b", client_secret_expires_at=0))
    assert await credentials.registered("a") is not None
    clock.turn(60)
    assert await credentials.registered("a") is None
    assert await credentials.registered("b") is not None, "0 is for ever (RFC 7591 § 3.2.1)"


async def test_registrations_have_bounds_and_the_newest_is_there(
    monkeypatch: pytest.MonkeyPatch,
):
    """Any server may name ever new issuers."""
    monkeypatch.setattr(room, "REGISTRATIONS", 3)
    credentials = Credentials.in_memory()
    issuers = [f"https://{number}.example.com" for number in range(6)]
    for issuer in issuers:
        await credentials.register(issuer, Registered("x"))
        assert await credentials.registered(issuer) is not None
    assert sum([await credentials.registered(each) is not None for each in issuers]) == 3


# The folder.


async def test_what_is_kept_is_there_for_the_next_process(tmp_path: Path):
    for _ in range(2):
        async with at(tmp_path) as credentials:
            await credentials.keep(URL, "", grant())
    async with at(tmp_path) as credentials:
        assert await credentials.find(URL) == grant()
        assert await credentials.describe() == (
            f"credentials in {tmp_path / DATABASE}, encrypted; "
            f"key in {tmp_path / FILE} (mode 0600), as INTERLOCK_KEYRING was off"
        )


async def test_what_was_closed_opens_again_when_it_is_used(credentials: Credentials):
    await credentials.close()
    await credentials.keep(URL, "", grant())
    await credentials.close()
    await credentials.close()
    assert await credentials.find(URL) == grant()


@requirement("CF-10")
async def test_the_folder_is_ours_alone_and_tells_nothing(tmp_path: Path):
    folder = tmp_path / "a" / "state"
    async with at(folder) as credentials:
        await credentials.keep(URL, "ada lovelace", grant())
        await credentials.register(ISSUER, Registered("client-1", client_secret="client-secret"))
        async with credentials.turn(ISSUER, URL, "ada lovelace"):
            files = [path for path in folder.rglob("*") if path.is_file()]
            assert len(files) >= 3
            for path in files:
                assert path.stat().st_mode & 0o077 == 0
                for word in (*SECRETS, "example.com", "ada lovelace", "client-1"):
                    assert word.encode() not in path.read_bytes()
                    assert word not in path.name
    assert folder.stat().st_mode & 0o777 == 0o700


@requirement("CF-10")
async def test_records_cannot_be_swapped(tmp_path: Path):
    """Whoever can write the database gets nobody another's token with it."""
    async with at(tmp_path) as credentials:
        await credentials.keep(URL, "ada", grant())
        await credentials.keep(URL, "eve", grant())
    with contextlib.closing(sqlite3.connect(tmp_path / DATABASE)) as db:
        [one, two] = db.execute("select version, value from kept where key like 'grant:%'")
        db.execute("update kept set value = ? where version = ?", (one[1], two[0]))
        db.execute("update kept set value = ? where version = ?", (two[1], one[0]))
        db.commit()
    async with at(tmp_path) as credentials:
        for name in ("ada", "eve"):
            with pytest.raises(ConfigError, match="log in again"):
                await credentials.find(URL, name)


async def test_another_key_is_an_error_and_not_a_new_beginning(tmp_path: Path):
    for name in ("one", "two"):
        async with at(tmp_path / name) as credentials:
            await credentials.keep(URL, "", grant())
    (tmp_path / "one" / FILE).replace(tmp_path / "two" / FILE)
    async with at(tmp_path / "two") as credentials:
        with pytest.raises(ConfigError, match=r"another key.*log in again"):
            await credentials.find(URL)
    async with at(tmp_path / "one") as credentials:
        with pytest.raises(ConfigError, match="is gone"):
            await credentials.find(URL)


def test_another_event_loop_is_told_so(tmp_path: Path):
    credentials = at(tmp_path)
    with asyncio.Runner() as one, asyncio.Runner() as other:
        one.run(credentials.keep(URL, "", grant()))
        with pytest.raises(NotConnected, match="another event loop"):
            other.run(credentials.find(URL))
        one.run(credentials.close())
        assert other.run(credentials.find(URL)) == grant()
        other.run(credentials.close())


@pytest.mark.parametrize(
    ("platform", "environ", "folder"),
    [
        ("linux", {"HOME": "/home/ada"}, "/home/ada/.local/state/interlock"),
        ("linux", {"HOME": "/home/ada", "XDG_STATE_HOME": "/var/x"}, "/var/x/interlock"),
        ("linux", {"HOME": "/h", "XDG_STATE_HOME": "relative"}, "/h/.local/state/interlock"),
        ("darwin", {"HOME": "/Users/ada"}, "/Users/ada/Library/Application Support/interlock"),
        ("win32", {"HOME": "/u", "LOCALAPPDATA": "/u/Local"}, "/u/Local/interlock"),
        ("win32", {"HOME": "/u"}, "/u/AppData/Local/interlock"),
        ("linux", {"HOME": "/h", "INTERLOCK_STATE": "/elsewhere"}, "/elsewhere"),
    ],
)
def test_the_folder_is_where_the_platform_has_such(
    platform: str, environ: dict[str, str], folder: str
):
    assert state_folder(environ, platform=platform) == Path(folder)


async def test_the_default_folder_is_the_environments(tmp_path: Path):
    environ = {**OFF, "INTERLOCK_STATE": str(tmp_path / "state")}
    async with open_credentials(environ=environ) as credentials:
        await credentials.keep(URL, "", grant())
    async with open_credentials(tmp_path / "state", OFF) as credentials:
        assert await credentials.find(URL) == grant()


def test_nothing_heavy_is_loaded_before_it_is_needed():
    code = "import sys, interlock.auth.credentials; print({'keyring', 'sqlite3', 'cryptography'}"
    code += " & {name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout == b"set()\n"


# Refreshing.


class TokenEndpoint:
    """Counts refreshes; a refresh token is good until the one it was traded for is used."""

    def __init__(self) -> None:
        self.url = ""
        self.count = 0
        self.good = ["rt-secret"]
        self.asked = asyncio.Event()
        self.answering = asyncio.Event()
        self.answering.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length: ")[2].split(b"\r\n")[0])
            form = parse_qs((await reader.readexactly(length)).decode())
            self.asked.set()
            await self.answering.wait()
            status, body = self.answer(form["refresh_token"][0])
            writer.write(f"HTTP/1.1 {status} x\r\ncontent-length: {len(body)}\r\n\r\n".encode())
            writer.write(body)
            await writer.drain()
        writer.close()

    def answer(self, token: str) -> tuple[int, bytes]:
        if token not in self.good:
            return 400, b'{"error": "invalid_grant"}'
        self.count += 1
        new = f"rt-{self.count}"
        self.good = [token, new]
        return 200, msgspec.json.encode({"access_token": f"at-{self.count}", "refresh_token": new})


@pytest.fixture
async def endpoint() -> AsyncGenerator[TokenEndpoint]:
    made = TokenEndpoint()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = "http://{}:{}/token".format(*server.sockets[0].getsockname())
    yield made
    made.answering.set()
    server.close()
    await server.wait_closed()


class Refresher:
    """The program of `refresher.py`, held and let go step by step."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def says(self) -> str:
        assert self.process.stdout is not None
        return (await self.process.stdout.readline()).decode().strip()

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")


@pytest.fixture
async def started(tmp_path: Path, endpoint: TokenEndpoint) -> AsyncGenerator[list[Refresher]]:
    """Two programs that have found the same grant, which is to be refreshed."""
    async with at(tmp_path) as credentials:
        await credentials.keep(URL, "", grant(token_endpoint=endpoint.url))
    program = Path(__file__).with_name("refresher.py")
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, str(program), str(tmp_path), endpoint.url),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        for _ in range(2)
    ]
    refreshers = [Refresher(process) for process in processes]
    for refresher in refreshers:
        assert await refresher.says() == "found"
    yield refreshers
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


@requirement("CF-09")
@pytest.mark.parametrize("point", ["before the request", "while waiting", "before the put"])
async def test_a_refresh_that_is_killed_loses_no_refresh_token(
    point: str, started: list[Refresher], endpoint: TokenEndpoint, tmp_path: Path
):
    """Ours: `kill -9` at any point leaves a refresh token that works, and lets the next refresh."""
    victim, heir = started
    victim.go()
    assert await victim.says() == "before the request"
    if point == "while waiting":
        endpoint.answering.clear()
    if point != "before the request":
        victim.go()
        await endpoint.asked.wait()
    if point == "before the put":
        assert await victim.says() == point
    os.kill(victim.process.pid, signal.SIGKILL)
    await victim.process.wait()
    async with at(tmp_path) as credentials:
        found = await credentials.find(URL)
    assert found is not None
    assert found.refresh_token == "rt-secret"
    endpoint.answering.set()

    heir.go()
    assert await heir.says() == "before the request"
    heir.go()
    assert await heir.says() == "before the put"
    heir.go()
    assert await heir.says() == f"has at-{endpoint.count}"
    async with at(tmp_path) as credentials:
        found = await credentials.find(URL)
    assert found is not None
    assert found.refresh_token == f"rt-{endpoint.count}"


@requirement("CF-09")
async def test_two_processes_refresh_once(
    started: list[Refresher], endpoint: TokenEndpoint, tmp_path: Path
):
    """CF-09: single flight per issuer, resource and person; the second takes what the first got."""
    said: list[list[str]] = []

    async def through(refresher: Refresher) -> None:
        steps: list[str] = []
        said.append(steps)
        while not (steps and steps[-1].startswith("has ")):
            refresher.go()
            steps.append(await refresher.says())

    await asyncio.gather(*map(through, started))
    assert sorted(said) == [["before the request", "before the put", "has at-1"], ["has at-1"]]
    assert endpoint.count == 1


async def test_tasks_refresh_once(credentials: Credentials):
    await credentials.keep(URL, "", grant())
    endpoint = TokenEndpoint()

    async def refresh() -> str:
        async with credentials.turn(ISSUER, URL, ""):
            held = await credentials.held(ISSUER, URL)
            assert held is not None
            assert held.refresh_token is not None
            if held.access_token == "at-secret":
                await asyncio.sleep(0)
                answer = msgspec.json.decode(endpoint.answer(held.refresh_token)[1])
                held = msgspec.structs.replace(held, **answer)
                await credentials.keep(URL, "", held)
            return held.access_token

    assert await asyncio.gather(*(refresh() for _ in range(5))) == ["at-1"] * 5
    assert endpoint.count == 1
