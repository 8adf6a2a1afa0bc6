"""Folders of skills on disk: what is part of one, what it says, and what is no skill."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from interlock.server import folders
from interlock.server.folders import BadSkill, Folder, Found
from interlock.wire.skills import BYTES, FILES


def write(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def skill(home: Path, name: str | None = None, more: str = "") -> Path:
    said = f"---\nname: {name or home.name}\ndescription: What it is for\n{more}---\nDo it.\n"
    return write(home / "SKILL.md", said)


def scan(path: Path, prefix: str = "") -> dict[str, Found]:
    """The skills of a folder, all of which must be good, by their URI."""
    folder = Folder(path, prefix)
    found, bad = folder.scan(folder.look())
    assert not bad, bad
    return {each.entry.uri: each for each in found}


def complaint(path: Path) -> str:
    folder = Folder(path)
    found, bad = folder.scan(folder.look())
    assert not found
    return str(bad[0])


def uris(found: Found) -> list[str]:
    assert isinstance(found.entry.resources, list)
    return [file.uri for file in found.entry.resources]


def test_a_skill_is_a_directory_with_a_skill_md_at_any_depth(tmp_path: Path):
    skill(tmp_path / "git")
    skill(tmp_path / "acme/billing/refunds")
    write(tmp_path / "notes/README.md", "no skill")
    assert list(scan(tmp_path)) == ["skill://acme/billing/refunds/SKILL.md", "skill://git/SKILL.md"]


def test_a_folder_may_be_a_skill_itself_and_have_a_prefix(tmp_path: Path):
    home = tmp_path / "git"
    skill(home)
    write(home / "a/b.txt", "x")
    (found,) = scan(home, "/team/tools/").values()
    assert uris(found) == ["skill://team/tools/git/SKILL.md", "skill://team/tools/git/a/b.txt"]


def test_an_entry_is_complete_with_the_digest_and_size_of_each_file(tmp_path: Path):
    main = skill(tmp_path / "git", more="license: MIT\nmetadata: {a: 1}\n")
    data = b"\xff\x00\r\n"
    write(tmp_path / "git/scripts/run.bin", data)
    (found,) = scan(tmp_path).values()
    assert found.entry.frontmatter == {
        "name": "git",
        "description": "What it is for",
        "license": "MIT",
        "metadata": {"a": 1},
    }
    assert isinstance(found.entry.resources, list)
    assert [(f.uri, f.digest, f.size) for f in found.entry.resources] == [
        (
            "skill://git/SKILL.md",
            "sha256:" + hashlib.sha256(main.read_bytes()).hexdigest(),
            main.stat().st_size,
        ),
        ("skill://git/scripts/run.bin", "sha256:" + hashlib.sha256(data).hexdigest(), 4),
    ]
    assert found.files["git/scripts/run.bin"].read() == data


def test_a_nested_skill_belongs_to_the_one_around_it_too(tmp_path: Path):
    skill(tmp_path / "a")
    skill(tmp_path / "a/b")
    skill(tmp_path / "a-z")
    found = scan(tmp_path)
    assert uris(found["skill://a/SKILL.md"]) == ["skill://a/SKILL.md", "skill://a/b/SKILL.md"]
    assert uris(found["skill://a/b/SKILL.md"]) == ["skill://a/b/SKILL.md"]
    assert uris(found["skill://a-z/SKILL.md"]) == ["skill://a-z/SKILL.md"]


def test_names_that_no_uri_can_hold_are_percent_encoded(tmp_path: Path):
    skill(tmp_path / "git")
    write(tmp_path / "git/a b/ä#?%.md", "x")
    (found,) = scan(tmp_path).values()
    assert uris(found)[1] == "skill://git/a%20b/%C3%A4%23%3F%25.md"
    assert "git/a b/ä#?%.md" in found.files


def test_links_and_hidden_files_are_no_part_of_a_skill(tmp_path: Path):
    """Nothing outside the folder is ever given (checklist SK-04), nor what tools keep inside it."""
    outside = write(tmp_path / "outside/secret.txt", "s3cret")
    home = tmp_path / "skills"
    skill(home / "git")
    (home / "git/link.txt").symlink_to(outside)
    (home / "git/linked").symlink_to(outside.parent, target_is_directory=True)
    (home / "linked-skill").symlink_to(home / "git", target_is_directory=True)
    write(home / "git/.env", "KEY=1")
    write(home / "git/.git/config", "x")
    skill(home / ".hidden")
    (found,) = scan(home).values()
    assert uris(found) == ["skill://git/SKILL.md"]


def test_a_file_that_became_something_else_is_not_read(tmp_path: Path):
    skill(tmp_path / "git")
    path = write(tmp_path / "git/a.txt", "x")
    (found,) = scan(tmp_path).values()
    file = found.files["git/a.txt"]
    outside = write(tmp_path / "outside.txt", "s3cret")
    path.unlink()
    assert file.read() is None
    path.symlink_to(outside)
    assert file.read() is None
    path.unlink()
    path.mkdir()
    assert file.read() is None
    path.rmdir()
    os.mkfifo(path)
    assert file.read() is None
    path.unlink()
    with path.open("wb") as large:
        large.truncate(BYTES + 1)
    assert file.read() is None


@pytest.mark.parametrize("able", [True, False], ids=["one by one", "where there is no better way"])
def test_a_directory_that_became_a_link_leads_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, able: bool
):
    """Between the look at a folder and the reading of a file anything may have happened to it."""
    if not able:
        monkeypatch.setattr(os, "supports_dir_fd", set[object]())
    write(tmp_path / "outside/inner/a.txt", "x")
    home = tmp_path / "skills"
    skill(home / "git")
    write(home / "git/deep/inner/a.txt", "x")
    (found,) = scan(home).values()
    file = found.files["git/deep/inner/a.txt"]
    assert file.read() == b"x"
    for directory in ("git/deep/inner", "git/deep"):
        moved = (home / directory).rename(tmp_path / "moved")
        (home / directory).symlink_to(
            tmp_path / "outside" / ("inner" if "inner" in directory else "")
        )
        assert file.read() is None
        (home / directory).unlink()
        moved.rename(home / directory)
    assert file.read() == b"x"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("no frontmatter", "two lines of '---'"),
        (b"---\nname: git\n\xff\n---\n", "is not UTF-8"),
        ("---\ndescription: x\n---\n", "got None"),
        ("---\nname: Git\ndescription: x\n---\n", "got 'Git'"),
        ("---\nname: gti\ndescription: x\n---\n", "calls itself 'gti', its directory 'git'"),
        ("---\nname: git\n---\n", "a description of 1 to 1024"),
        ("---\nname: git\ndescription: ''\n---\n", "a description of 1 to 1024"),
        ("---\nname: git\ndescription: [x]\n---\n", "a description of 1 to 1024"),
        (f"---\nname: git\ndescription: {'x' * 1025}\n---\n", "a description of 1 to 1024"),
        (
            "---\nname: git\ndescription: x\nmetadata: {io.modelcontextprotocol/x: 1}\n---\n",
            "the protocol's own",
        ),
    ],
)
def test_what_hosts_would_not_take_is_said(tmp_path: Path, text: str | bytes, why: str):
    write(tmp_path / "git/SKILL.md", text)
    said = complaint(tmp_path)
    assert why in said
    assert str(tmp_path / "git") in said


def test_the_limits_that_every_host_takes_are_kept(tmp_path: Path):
    skill(tmp_path / "many/git")
    for number in range(FILES - 1):
        write(tmp_path / f"many/git/{number}", "")
    assert len(uris(next(iter(scan(tmp_path / "many").values())))) == FILES
    write(tmp_path / "many/git/one-more", "")
    assert "has 513 files" in complaint(tmp_path / "many")
    skill(tmp_path / "large/git")
    with write(tmp_path / "large/git/data", "").open("wb") as file:
        file.truncate(BYTES)
    assert f"hosts take {FILES} files of {BYTES} bytes" in complaint(tmp_path / "large")


def test_a_folder_with_too_many_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(folders, "ALL_FILES", 2)
    for number in range(3):
        write(tmp_path / str(number), "")
    with pytest.raises(BadSkill, match="more than 2 files"):
        Folder(tmp_path).look()


def test_a_prefix_leads_nowhere_else(tmp_path: Path):
    with pytest.raises(BadSkill, match="cannot lead elsewhere"):
        Folder(tmp_path, "a/../b")


def test_a_file_is_read_again_only_if_it_changed(tmp_path: Path):
    main = skill(tmp_path / "git")
    folder = Folder(tmp_path)
    (first,), _ = folder.scan(folder.look())
    stamp = os.stat(main)  # noqa: PTH116  with its nanoseconds
    text = main.read_text().replace("Do it", "Do no")
    main.write_text(text)
    os.utime(main, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    (again,), _ = folder.scan(folder.look())
    assert again.entry == first.entry, "the same size, time and number: nobody could tell"
    os.utime(main, ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 1))
    (changed,), _ = folder.scan(folder.look())
    assert changed.entry != first.entry
