"""Acting on a server's skills: nothing before it is needed, nothing that was not announced."""

from __future__ import annotations

import base64
import hashlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.joined import Joined
from tests.peers import Json
from tests.scripted import Peer, discovery
from tests.server.test_folders import skill, write

from interlock import Client, RpcError, Server
from interlock.client.skills import Skills, fault_of
from interlock.errors import InvalidMessage, Unverified, UsageError
from interlock.wire.content import ResourceContents
from interlock.wire.skills import BYTES, Skill, SkillFile

MAIN = "skill://git/SKILL.md"
FORM = "skill://git/references/FORM.md"
DONE: Json = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
TEXT = "---\nname: git\ndescription: What it is for\n---\nRead references/FORM.md.\n"


def file(uri: str, data: str | bytes) -> SkillFile:
    data = data.encode() if isinstance(data, str) else data
    return SkillFile(uri=uri, digest="sha256:" + hashlib.sha256(data).hexdigest(), size=len(data))


def entry(**changes: Any) -> Skill:
    fields: dict[str, Any] = {
        "uri": MAIN,
        "frontmatter": {"name": "git", "description": "What it is for"},
        "resources": [file(MAIN, TEXT), file(FORM, "a form")],
        **changes,
    }
    return Skill(**fields)


class Liar:
    """A server by script, which may announce one thing and give another."""

    def __init__(self) -> None:
        self.entries: list[Skill] = [entry()]
        self.files: dict[str, str | bytes] = {MAIN: TEXT, FORM: "a form"}
        self.contents: list[Json] | None = None
        """What every read is answered with instead."""
        self.reads: list[str] = []
        can: Json = {"resources": {}, "extensions": {"io.modelcontextprotocol/skills": {}}}
        self.peer = Peer(
            server_discover={**discovery(), "capabilities": can},
            skills_list=self._list,
            skills_get=self._get,
            resources_read=self._read,
        )

    async def _list(self, peer: Peer, message: Json) -> None:
        peer.reply(message, {**DONE, "skills": msgspec.to_builtins(self.entries)})

    async def _get(self, peer: Peer, message: Json) -> None:
        peer.reply(message, {**DONE, "skill": msgspec.to_builtins(self.entries[0])})

    async def _read(self, peer: Peer, message: Json) -> None:
        uri = message["params"]["uri"]
        self.reads.append(uri)
        contents = self.contents
        if contents is None:
            contents = [msgspec.to_builtins(ResourceContents.of(uri, self.files[uri]))]
        peer.reply(message, {**DONE, "contents": contents})


@pytest.fixture
def liar() -> Liar:
    return Liar()


@pytest.fixture
async def skills(liar: Liar) -> AsyncIterator[Skills]:
    async with Client(liar.peer.open, revision="modern") as client:
        yield Skills(client)


async def test_a_real_server_s_skills_are_listed_loaded_and_read(joined: Joined, tmp_path: Path):
    main = skill(tmp_path / "git", more="metadata: {version: '1'}\n")
    write(tmp_path / "git/references/a b.md", "# Hello\r\n")
    write(tmp_path / "git/logo.png", b"\x89PNG\xff")
    server = Server("s")
    server.skills(tmp_path)
    async with joined(server, "modern") as client:
        skills = Skills(client)
        assert skills.offered
        (listed,) = await skills.list()
        assert await skills.get(listed.uri) == listed
        loaded = await skills.load(listed)
        assert loaded.name == "git"
        assert loaded.text == main.read_text()
        assert await loaded.read("references/a%20b.md") == b"# Hello\r\n"
        assert await loaded.read("skill://git/logo.png") == b"\x89PNG\xff"
        found = [each.name for each in await skills.read_directory("skill://git")]
        assert found == ["git", "logo.png", "references"]
        with pytest.raises(RpcError, match="No skill is served"):
            await skills.get("skill://none/SKILL.md")


async def test_a_server_without_skills_is_not_asked(joined: Joined, era: str):
    async with joined(Server("s"), era) as client:
        skills = Skills(client)
        assert not skills.offered
        assert await skills.list() == []
        for ask in (skills.get(MAIN), skills.load(entry())):
            with pytest.raises(UsageError, match="did not say that it has skills"):
                await ask
        with pytest.raises(UsageError, match="does not say what its directories hold"):
            skills.read_directory("skill://git")
    assert not [message for message in joined.sent if b"skill" in message]


async def test_listing_and_getting_fetch_no_file(skills: Skills, liar: Liar):
    """SEP-2640 § Lazy Retrieval."""
    await skills.list()
    await skills.get(MAIN)
    assert liar.reads == []
    loaded = await skills.load(entry())
    assert liar.reads == [MAIN]
    await loaded.read("references/FORM.md")
    assert liar.reads == [MAIN, FORM]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (TEXT.replace("Read", "Ride"), "has the digest sha256:"),
        (TEXT + "more", "bytes, its entry says"),
    ],
)
async def test_a_skill_md_that_is_not_the_announced_one_is_not_loaded(
    skills: Skills, liar: Liar, text: str, why: str
):
    liar.files[MAIN] = text
    with pytest.raises(Unverified, match=why):
        await skills.load(entry())


@pytest.mark.parametrize(
    "frontmatter",
    [
        "name: git\ndescription: Something else",
        "name: git\ndescription: What it is for\nallowed-tools: Bash",
        "name: git",
        "name: [",
    ],
)
async def test_frontmatter_that_its_entry_does_not_show_is_not_loaded(
    skills: Skills, liar: Liar, frontmatter: str
):
    """Compared field by field, even where size and digest are right."""
    text = f"---\n{frontmatter}\n---\n"
    liar.files[MAIN] = text
    with pytest.raises(Unverified, match=r"its entry: |no frontmatter"):
        await skills.load(entry(resources=[file(MAIN, text)]))


async def test_files_are_verified_each_time_they_are_read(skills: Skills, liar: Liar):
    loaded = await skills.load(entry())
    assert await loaded.read(FORM) == b"a form"
    liar.files[FORM] = "A FORM"
    with pytest.raises(Unverified, match="digest"):
        await loaded.read(FORM)
    liar.files[FORM] = b"a form"
    assert await loaded.read(FORM) == b"a form"


@pytest.mark.parametrize(
    "path", ["scripts/run.py", "../other/SKILL.md", "skill://other/SKILL.md", "", "https://x/y"]
)
async def test_a_file_that_was_not_announced_is_not_even_asked_for(
    skills: Skills, liar: Liar, path: str
):
    loaded = await skills.load(entry())
    with pytest.raises(Unverified, match="no file of the skill as it was loaded"):
        await loaded.read(path)
    assert liar.reads == [MAIN]


async def test_a_dynamic_skill_is_loaded_only_by_whoever_wants_that(
    skills: Skills, liar: Liar, monkeypatch: pytest.MonkeyPatch
):
    dynamic = entry(resources="dynamic")
    with pytest.raises(Unverified, match="made up as it is read"):
        await skills.load(dynamic)
    loaded = await skills.load(dynamic, dynamic=True)
    assert await loaded.read("references/FORM.md") == b"a form"
    for path in ("skill://other/SKILL.md", "../other/SKILL.md"):
        with pytest.raises(Unverified, match="no file of the skill"):
            await loaded.read(path)
    liar.files[FORM] = b"x" * BYTES
    with pytest.raises(Unverified, match="larger than"):
        await loaded.read(FORM)
    liar.files[MAIN] = TEXT.replace("What", "Why")
    with pytest.raises(Unverified, match="something else of itself"):
        await skills.load(dynamic, dynamic=True)


DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"uri": "skill://git"}, "not the URI of a SKILL.md"),
        ({"uri": "skill://gti/SKILL.md"}, "its directory 'gti'"),
        ({"frontmatter": {"name": "git"}}, "no description"),
        ({"frontmatter": {"description": "x"}}, "no name"),
        ({"frontmatter": {"name": 1, "description": "x"}}, "no name"),
        ({"resources": []}, "do not name its SKILL.md"),
        ({"resources": [file(FORM, "")]}, "do not name its SKILL.md"),
        ({"resources": [file(MAIN, ""), file(MAIN, "")]}, "twice"),
        ({"resources": [file(MAIN, ""), file("skill://other/x", "")]}, "outside its directory"),
        ({"resources": [file(MAIN, ""), file("skill://git/../x", "")]}, "outside its directory"),
        ({"resources": [SkillFile(uri=MAIN, digest="md5:0", size=1)]}, "no digest"),
        ({"resources": [SkillFile(uri=MAIN, digest=DIGEST, size=-1)]}, "no size"),
        ({"resources": [SkillFile(uri=MAIN, digest=DIGEST, size=BYTES + 1)]}, "are taken"),
    ],
)
async def test_an_entry_that_no_host_may_load_is_left_out(
    skills: Skills, liar: Liar, caplog: pytest.LogCaptureFixture, changes: dict[str, Any], why: str
):
    bad = entry(**changes)
    assert why in (fault_of(bad) or "nothing")
    liar.entries = [bad, entry()]
    with caplog.at_level(logging.WARNING):
        assert await skills.list() == [entry()]
    assert why in caplog.text
    with pytest.raises(InvalidMessage, match="cannot be used"):
        await skills.get(MAIN)
    with pytest.raises(UsageError, match="cannot be used"):
        await skills.load(bad)
    assert liar.reads == []


async def test_an_answer_about_another_skill_is_no_answer(skills: Skills, liar: Liar):
    with pytest.raises(InvalidMessage, match="it is the entry of skill://git"):
        await skills.get("skill://other/SKILL.md")


async def test_contents_that_are_no_single_file_are_not_used(skills: Skills, liar: Liar):
    whole = {"uri": MAIN, "text": TEXT}
    wrong: list[tuple[list[Json], str]] = [
        ([], "with 0 files"),
        ([whole, whole], "with 2 files"),
        ([{"uri": MAIN, "blob": "?"}], "broken Base64"),
        ([{"uri": MAIN}], "has 0 bytes"),
    ]
    for contents, why in wrong:
        liar.contents = contents
        with pytest.raises(Unverified, match=why):
            await skills.load(entry())
    liar.contents = [{"uri": MAIN, "blob": base64.b64encode(TEXT.encode()).decode()}]
    assert (await skills.load(entry())).text == TEXT
