"""The skills a server offers (SEP-2640, the extension io.modelcontextprotocol/skills)."""

from __future__ import annotations

import asyncio
import logging
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.joined import Joined
from tests.peers import soon
from tests.server.test_folders import skill, write

from interlock import Client, RpcError, Server
from interlock.errors import INVALID_PARAMS, METHOD_NOT_FOUND, RegistrationError, ResourceNotFound
from interlock.server import skills as room
from interlock.server.folders import Folder, Seen
from interlock.wire.meta import CacheHints, PagedParams, Params
from interlock.wire.resources import Resource
from interlock.wire.skills import GetSkillParams, ReadResourceDirectoryParams


async def ask(client: Client, method: str, params: Params) -> dict[str, Any]:
    return msgspec.json.decode((await client.request(method, params)).body)


async def entries(client: Client) -> list[dict[str, Any]]:
    return (await ask(client, "skills/list", PagedParams()))["skills"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    skill(tmp_path / "git", more="license: MIT\n")
    write(tmp_path / "git/references/a b.md", "# Hello\r\n")
    write(tmp_path / "git/logo.png", b"\x89PNG\xff")
    skill(tmp_path / "acme/refunds")
    return tmp_path


@pytest.fixture
def server(home: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setattr(room, "FRESH", 0.0)
    server = Server("s", page_size=1)
    server.skills(home, cache=CacheHints(ttl_ms=7000, scope="public"))
    return server


async def test_the_extension_is_declared_with_its_settings_inline(joined: Joined, server: Server):
    async with joined(server, "modern") as client:
        assert client.capabilities.extensions == {
            "io.modelcontextprotocol/skills": {"directoryRead": True}
        }
        assert client.capabilities.resources is not None
    async with joined(Server("bare"), "modern") as client:
        assert client.capabilities.extensions is None
        with pytest.raises(RpcError) as caught:
            await ask(client, "skills/list", PagedParams())
        assert caught.value.code == METHOD_NOT_FOUND


async def test_legacy_clients_see_the_files_and_nothing_else(joined: Joined, server: Server):
    async with joined(server, "legacy") as client:
        assert client.capabilities.extensions is None
        assert "skill://git/SKILL.md" in [each.uri for each in await client.list_resources()]
        assert (await client.read_resource("skill://git/references/a%20b.md")).contents


async def test_skills_are_listed_in_pages_with_hints(joined: Joined, server: Server):
    async with joined(server, "modern") as client:
        first = await ask(client, "skills/list", PagedParams())
        second = await ask(client, "skills/list", PagedParams(cursor=first["nextCursor"]))
    assert [page["skills"][0]["uri"] for page in (first, second)] == [
        "skill://acme/refunds/SKILL.md",
        "skill://git/SKILL.md",
    ]
    assert "nextCursor" not in second
    assert (first["ttlMs"], first["cacheScope"]) == (0, "private")


async def test_one_skill_is_described_as_in_the_list(joined: Joined, home: Path):
    server = Server("s")
    server.skills(home)
    async with joined(server, "modern") as client:
        for entry in await entries(client):
            result = await ask(client, "skills/get", GetSkillParams(uri=entry["uri"]))
            assert result["skill"] == entry
            assert "nextCursor" not in result
            assert {"ttlMs", "cacheScope"} <= result.keys()
        for uri in ("skill://git", "skill://git/logo.png", "skill://none/SKILL.md", ""):
            with pytest.raises(RpcError) as caught:
                await ask(client, "skills/get", GetSkillParams(uri=uri))
            assert caught.value.code == INVALID_PARAMS


async def test_files_are_resources_byte_for_byte(joined: Joined, server: Server, era: str):
    async with joined(server, era) as client:
        (found,) = (await client.read_resource("skill://git/references/a%20b.md")).contents
        assert (found.text, found.mime_type) == ("# Hello\r\n", "text/markdown")
        result = await client.read_resource("skill://git/logo.png")
        (found,) = result.contents
        assert (found.blob, found.mime_type) == ("iVBORw==", "image/png") or found.blob
        if era != "legacy":
            assert (result.ttl_ms, result.cache_scope) == (7000, "public")
        listed = {each.uri: each for each in await client.list_resources()}
    main = listed["skill://git/SKILL.md"]
    assert (main.name, main.description, main.mime_type) == (
        "git",
        "What it is for",
        "text/markdown",
    )
    assert len(listed) == 2, "only the SKILL.md of each skill is listed"


@pytest.mark.parametrize(
    "uri",
    [
        "skill://git/none",
        "skill://git",
        "skill://git/",
        "skill://git/../../secret",
        "skill://git/%2e%2e/%2e%2e/secret",
        "skill://git/..%2f..%2fsecret",
        "skill://git/references/a%20b.md/",
        "skill://git//logo.png",
        "skill:///git/logo.png",
        "skill:////etc/passwd",
        "skill://GIT/logo.png",
        "skill://git/logo.png%00",
    ],
)
async def test_only_what_was_found_is_given(
    joined: Joined, server: Server, home: Path, era: str, uri: str
):
    write(home.parent / "secret", "s3cret")
    async with joined(server, era) as client:
        with pytest.raises(ResourceNotFound):
            await client.read_resource(uri)


async def test_directories_show_their_direct_children(joined: Joined, server: Server):
    async with joined(server, "modern") as client:

        async def children(uri: str) -> list[Any]:
            result = await ask(
                client, "resources/directory/read", ReadResourceDirectoryParams(uri=uri)
            )
            assert result.keys() <= {"resources", "resultType", "_meta"}
            return result["resources"]

        git = await children("skill://git")
        assert [(each["uri"], each["name"], each.get("mimeType")) for each in git] == [
            ("skill://git/SKILL.md", "git", "text/markdown"),
            ("skill://git/logo.png", "logo.png", "image/png"),
            ("skill://git/references", "references", "inode/directory"),
        ]
        (leaf,) = await children("skill://git/references")
        assert (leaf["uri"], leaf["name"]) == ("skill://git/references/a%20b.md", "a b.md")
        assert [each["uri"] for each in await children("skill://acme")] == ["skill://acme/refunds"]
        for uri in ("skill://git/SKILL.md", "skill://none", "skill://git/", "skill://"):
            with pytest.raises(RpcError) as caught:
                await children(uri)
            assert caught.value.code == INVALID_PARAMS
        params = ReadResourceDirectoryParams(uri="skill://git", cursor="x")
        with pytest.raises(RpcError, match="Invalid cursor"):
            await ask(client, "resources/directory/read", params)


async def test_what_happens_on_disk_is_followed(
    joined: Joined, home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(room, "FRESH", 0.0)
    server = Server("s")
    server.skills(home)
    async with joined(server, "modern") as client:

        async def listed() -> list[str]:
            return [each["uri"].split("/")[-2] for each in await entries(client)]

        assert await listed() == ["refunds", "git"]
        skill(home / "new")
        assert await listed() == ["refunds", "git", "new"]
        assert "skill://new/SKILL.md" in [each.uri for each in await client.list_resources()]
        before = (await entries(client))[1]
        write(home / "git/logo.png", b"another")
        after = (await entries(client))[1]
        assert before["resources"] != after["resources"]
        (home / "new/SKILL.md").unlink()
        assert await listed() == ["refunds", "git"]
        assert "skill://new/SKILL.md" not in [each.uri for each in await client.list_resources()]
        with pytest.raises(ResourceNotFound):
            await client.read_resource("skill://new/SKILL.md")
        with caplog.at_level(logging.WARNING, "interlock.skills"):
            write(home / "git/SKILL.md", "broken")
            assert await listed() == ["refunds"]
        assert "not offered any more" in caplog.text
        for each in home.rglob("*"):
            if each.is_file():
                each.unlink()
        assert await listed() == []


async def test_what_was_seen_for_a_caller_who_left_is_offered_to_the_next(
    joined: Joined, home: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(room, "FRESH", 0.0)
    server = Server("s", workers=1)
    server.skills(home)
    reached, released = asyncio.Event(), threading.Event()
    loop, look = asyncio.get_running_loop(), Folder.look

    def slow(folder: Folder) -> Seen:
        loop.call_soon_threadsafe(reached.set)
        released.wait(10)
        return look(folder)

    async with joined(server, "modern") as client:
        skill(home / "new")
        monkeypatch.setattr(Folder, "look", slow)
        leaving = asyncio.create_task(entries(client))
        await soon(reached.wait())
        leaving.cancel()
        await asyncio.wait([leaving])
        released.set()

        async def three() -> None:
            while len(await entries(client)) < 3:
                pass

        await soon(three())


async def test_a_folder_is_looked_at_once_a_second_at_most(joined: Joined, home: Path):
    server = Server("s")
    server.skills(home)
    async with joined(server, "modern") as client:
        skill(home / "new")
        assert len(await entries(client)) == 2


async def test_of_two_folders_that_hold_one_skill_the_first_counts(
    joined: Joined, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    skill(tmp_path / "a/git")
    skill(tmp_path / "b/git", more="license: MIT\n")
    server = Server("s")
    server.skills(tmp_path / "a")
    server.skills(tmp_path / "b")
    server.skills(tmp_path / "b", prefix="team")
    async with joined(server, "modern") as client:
        first, other = await entries(client)
    assert "license" not in first["frontmatter"]
    assert other["uri"] == "skill://team/git/SKILL.md"
    assert "two folders hold skill://git/SKILL.md" in caplog.text


@pytest.mark.parametrize("what", ["nothing", "file", "bad", "prefix"])
def test_what_cannot_be_offered_is_refused_at_once(tmp_path: Path, what: str):
    path, prefix = tmp_path / "home", ""
    if what == "file":
        path.write_text("")
    elif what == "bad":
        skill(path / "git", name="gti")
    elif what == "prefix":
        skill(path / "git")
        prefix = ".."
    with pytest.raises(RegistrationError):
        Server("s").skills(path, prefix=prefix)


def test_an_empty_folder_offers_nothing_yet(tmp_path: Path):
    server = Server("s")
    server.skills(tmp_path)
    assert server.capabilities.extensions is not None
    assert server.capabilities.resources is not None
    assert [each.listed for each in server.resources.resources] == list[Resource]()
