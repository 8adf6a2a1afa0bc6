"""§18 Skills: folders of instructions, described to the byte."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from tests.peers import MODERN, Json
from tests.spec.asking import offered, read
from tests.spec.marking import requirement
from tests.spec.scripts import Asked, Script, meet
from tests.spec.ways import Way

from interlock import Server
from interlock.client.skills import Skills
from interlock.errors import INVALID_PARAMS, METHOD_NOT_FOUND, RegistrationError, Unverified
from interlock.wire.skills import EXTENSION

SKILL = "---\nname: refunds\ndescription: Pay back what was bought.\nlevel: 3\n---\nPay it back.\n"
HELP = "Ask first."
URI = "skill://acme/refunds/SKILL.md"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    home = tmp_path / "acme" / "refunds"
    (home / "more").mkdir(parents=True)
    (home / "SKILL.md").write_text(SKILL)
    (home / "more" / "help.md").write_text(HELP)
    return tmp_path


def skilled(folder: Path) -> Server:
    server = Server("s")
    server.skills(folder)
    return server


def digest(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def entry(text: str = SKILL, help: str = HELP) -> Json:
    return {
        "uri": URI,
        "frontmatter": {
            "name": "refunds",
            "description": "Pay back what was bought.",
            "level": 3,
        },
        "resources": [
            {"uri": URI, "digest": digest(text), "size": len(text)},
            {
                "uri": "skill://acme/refunds/more/help.md",
                "digest": digest(help),
                "size": len(help),
            },
        ],
    }


@requirement("SK-01", revisions=[MODERN])
async def test_skills_are_an_extension_beside_resources(way: Way, folder: Path):
    """Skills are an extension, beside the resources capability.

    https://github.com/modelcontextprotocol/conformance/tree/main/src/scenarios
    """
    async with way.join(skilled(folder)) as peer:
        declared = await offered(peer)
        assert declared["extensions"][EXTENSION] in ({}, {"directoryRead": True})
        assert "resources" in declared
    async with way.join(Server("none")) as peer:
        assert EXTENSION not in (await offered(peer)).get("extensions", {})
        assert (await peer.ask("skills/list", {})).code == METHOD_NOT_FOUND


@requirement("SK-02", revisions=[MODERN])
async def test_a_skill_is_described_by_its_frontmatter_and_every_file(way: Way, folder: Path):
    """skills/list and skills/get give URI, frontmatter and resources with digest and size.

    https://github.com/modelcontextprotocol/conformance/tree/main/src/scenarios
    """
    async with way.join(skilled(folder)) as peer:
        listed = (await peer.ask("skills/list", {})).result
        assert listed["skills"] == [entry()]
        assert ("ttlMs" in listed and "cacheScope" in listed) == way.modern
        assert (await peer.ask("skills/get", {"uri": URI})).result["skill"] == entry()
        unknown = {"uri": "skill://acme/none/SKILL.md"}
        assert (await peer.ask("skills/get", unknown)).code == INVALID_PARAMS
        for file, text in zip(entry()["resources"], (SKILL, HELP), strict=True):
            (contents,) = await read(peer, file["uri"])
            assert contents["text"] == text


@requirement("SK-03", revisions=[MODERN])
@pytest.mark.parametrize("name", ["Refunds", "re funds", "other", "-refunds", "a" * 65])
def test_a_skill_is_called_as_its_folder_is_in_small_letters(folder: Path, name: str):
    """The URI of a skill ends in its name and SKILL.md; number and size are bounded.

    https://github.com/modelcontextprotocol/conformance/tree/main/src/scenarios
    """
    home = folder / "acme" / "refunds"
    (home / "SKILL.md").write_text(SKILL.replace("name: refunds", f"name: {name}"))
    with pytest.raises(RegistrationError):
        skilled(folder)


@requirement("SK-03")
def test_the_files_of_a_skill_are_bounded_in_number_and_size(folder: Path):
    """The URI of a skill ends in its name and SKILL.md; number and size are bounded.

    https://github.com/modelcontextprotocol/conformance/tree/main/src/scenarios
    """
    home = folder / "acme" / "refunds"
    with (home / "large.bin").open("wb") as file:
        file.truncate(16 * 1024 * 1024)
    with pytest.raises(RegistrationError):
        skilled(folder)
    (home / "large.bin").unlink()
    for number in range(511):
        (home / f"{number}.txt").touch()
    with pytest.raises(RegistrationError):
        skilled(folder)
    (home / "0.txt").unlink()
    skilled(folder)


@requirement("SK-04", revisions=[MODERN])
async def test_a_directory_lists_what_is_directly_in_it(way: Way, folder: Path):
    """resources/directory/read lists what is directly in a directory.

    https://github.com/modelcontextprotocol/conformance/tree/main/src/scenarios
    """
    async with way.join(skilled(folder)) as peer:

        async def children(uri: str) -> list[tuple[str, str]]:
            answer = await peer.ask("resources/directory/read", {"uri": uri})
            return [(each["uri"], each["mimeType"]) for each in answer.result["resources"]]

        assert await children("skill://acme") == [("skill://acme/refunds", "inode/directory")]
        assert sorted(await children("skill://acme/refunds")) == [
            (URI, "text/markdown"),
            ("skill://acme/refunds/more", "inode/directory"),
        ]
        for uri in (URI, "skill://acme/none", "file:///etc", "skill://acme/.."):
            answer = await peer.ask("resources/directory/read", {"uri": uri})
            assert answer.code == INVALID_PARAMS


def serving(way: Way, files: dict[str, str], listed: Json) -> Script:
    """A server by script that lists one skill, and serves *files*."""

    async def give(asked: Asked) -> None:
        uri = asked.params["uri"]
        contents: list[Any] = [{"uri": uri, "text": files[uri]}]
        await asked.result({"contents": contents, "ttlMs": 0, "cacheScope": "private"})

    hints = {"ttlMs": 0, "cacheScope": "private"} if way.modern else {}
    answers: dict[str, Any] = {
        "skills/list": {"skills": [listed], **hints},
        "resources/read": give,
    }
    return Script(
        way.revision, answers, capabilities={"resources": {}, "extensions": {EXTENSION: {}}}
    )


@requirement("SK-05", revisions=[MODERN])
async def test_a_client_fetches_nothing_ahead_and_what_is_right_when_it_is_wanted(way: Way):
    """A client fetches nothing ahead, and checks size, digest and frontmatter.

    https://github.com/modelcontextprotocol/conformance/tree/main/src/scenarios
    """
    files = {URI: SKILL, "skill://acme/refunds/more/help.md": HELP}
    script = serving(way, files, entry())
    async with meet(way, script) as client:
        skills = Skills(client)
        (skill,) = await skills.list()
        assert script.of("resources/read") == []
        loaded = await skills.load(skill)
        assert loaded.text == SKILL
        assert [each.params["uri"] for each in script.of("resources/read")] == [URI]
        assert await loaded.read("more/help.md") == HELP.encode()


@requirement("SK-05", revisions=[MODERN])
@pytest.mark.parametrize(
    ("main", "help"),
    [
        (SKILL.replace("back", "bakk"), HELP),
        (SKILL + "\n", HELP),
        (SKILL.replace("level: 3", "level: 4"), HELP),
        (SKILL, "Never ask."),
        (SKILL, "Ask later."),
    ],
    ids=["changed", "longer", "frontmatter", "changed file", "longer file"],
)
async def test_a_client_stops_at_what_was_not_announced(way: Way, main: str, help: str):
    """A client fetches nothing ahead, and checks size, digest and frontmatter.

    https://github.com/modelcontextprotocol/conformance/tree/main/src/scenarios
    """
    files = {URI: main, "skill://acme/refunds/more/help.md": help}
    # Where it is the frontmatter that differs, size and digest are those of what is served.
    listed = entry(main) if "level: 4" in main else entry()
    async with meet(way, serving(way, files, listed)) as client:
        skills = Skills(client)
        (skill,) = await skills.list()

        async def use() -> None:
            loaded = await skills.load(skill)
            await loaded.read("more/help.md")

        with pytest.raises(Unverified):
            await use()


@requirement("SK-05", revisions=[MODERN])
async def test_a_client_reads_no_file_that_the_skill_did_not_name(way: Way):
    """A client fetches nothing ahead, and checks size, digest and frontmatter.

    https://github.com/modelcontextprotocol/conformance/tree/main/src/scenarios
    """
    script = serving(way, {URI: SKILL}, entry())
    async with meet(way, script) as client:
        skills = Skills(client)
        (skill,) = await skills.list()
        loaded = await skills.load(skill)
        for path in ("other.md", "../SKILL.md", "file:///etc/passwd", "skill://acme/x/SKILL.md"):
            with pytest.raises(Unverified):
                await loaded.read(path)
    assert len(script.of("resources/read")) == 1
