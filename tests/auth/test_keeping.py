"""One key for a state, kept where others do not read, and never replaced in silence."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Generator
from pathlib import Path

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.backends.chainer import ChainerBackend
from keyring.backends.fail import Keyring as NoKeyring
from keyring.backends.null import Keyring as NullKeyring

from interlock.auth import keeping
from interlock.auth.keeping import DATABASE, FILE, Key, unlock
from interlock.auth.turns import Turns
from interlock.errors import ConfigError

OFF = {"INTERLOCK_KEYRING": "off"}
ON = {"INTERLOCK_KEYRING": "on"}


class Desktop(KeyringBackend):
    """A keyring in this process, with keyring's own contract."""

    # Plain values are what most backends have.
    priority = 5.0  # pyright: ignore[reportAssignmentType]

    name = "Test Keyring"  # pyright: ignore[reportAssignmentType]

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.kept[service, username] = password


class PlaintextKeyring(Desktop):
    priority = 9.0


class Locked(Desktop):
    def set_password(self, service: str, username: str, password: str) -> None:
        raise RuntimeError(f"locked: {password}")


class Forgetful(Desktop):
    def get_password(self, service: str, username: str) -> str | None:
        return None


class Silent(Desktop):
    """As D-Bus is when nobody answers there."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = threading.Event()

    def set_password(self, service: str, username: str, password: str) -> None:
        self.answer.wait()

    def get_password(self, service: str, username: str) -> str | None:
        self.answer.wait()
        return None


@pytest.fixture(autouse=True)
def desktop() -> Generator[Desktop]:
    """No test sees the keyring of this machine."""
    backend = Desktop()
    keyring.set_keyring(backend)
    yield backend
    keyring.set_keyring(NoKeyring())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


async def opened(folder: Path, environ: dict[str, str] | None = None) -> Key:
    turns = Turns(folder / "locks")
    return await unlock(folder, environ or {}, turns, probe=5, patience=5)


async def test_a_keyring_has_the_key_if_there_is_one(folder: Path, desktop: Desktop):
    key = await opened(folder)
    assert len(key.secret) == 32
    assert key.place == "key in the keyring of Test"
    [(service, account)] = desktop.kept
    assert service == "interlock"
    assert desktop.kept[service, account] not in (folder / FILE).read_text()
    assert (await opened(folder)).secret == key.secret
    assert len(desktop.kept) == 1


async def test_without_one_a_file_has_it_that_is_ours_alone(folder: Path):
    keyring.set_keyring(NoKeyring())
    key = await opened(folder)
    file = folder / FILE
    assert key.place == f"key in {file} (mode 0600), as no keyring was found"
    assert (file.stat().st_mode & 0o777, folder.stat().st_mode & 0o777) == (0o600, 0o700)
    assert await opened(folder) == key
    assert sorted(path.name for path in folder.iterdir()) == [FILE, "locks"]


@pytest.mark.parametrize(
    ("backend", "why"),
    [
        (NullKeyring(), "no keyring was found"),
        (PlaintextKeyring(), "no keyring was found"),
        (Locked(), "the keyring failed (RuntimeError)"),
        (Forgetful(), "does not keep what it is given"),
    ],
    ids=lambda it: "" if isinstance(it, str) else type(it).__module__ + type(it).__name__,
)
async def test_a_keyring_that_keeps_no_secrets_is_none(
    folder: Path, backend: KeyringBackend, why: str
):
    keyring.set_keyring(backend)
    with pytest.raises(ConfigError) as refused:
        await opened(folder, ON)
    assert why in str(refused.value)
    assert not (folder / FILE).exists()
    key = await opened(folder)
    assert key.place.startswith(f"key in {folder / FILE} (mode 0600), as ")
    assert why in key.place


async def test_of_several_keyrings_one_that_keeps_secrets_is_taken(
    folder: Path, desktop: Desktop, monkeypatch: pytest.MonkeyPatch
):
    chain = [PlaintextKeyring(), desktop]
    monkeypatch.setattr(ChainerBackend, "backends", chain)
    keyring.set_keyring(ChainerBackend())
    key = await opened(folder)
    assert len(desktop.kept) == 1
    assert not chain[0].kept
    chain.insert(1, Desktop())  # Where another comes first now, the key is still found.
    assert (await opened(folder)).secret == key.secret


async def test_a_keyring_that_does_not_answer_is_waited_for_in_bounds(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    silent = Silent()
    keyring.set_keyring(silent)
    turns = Turns(folder / "locks")
    try:
        key = await unlock(folder, {}, turns, patience=0.02)
        assert "as the keyring did not answer within 0.02 seconds" in key.place
        (folder / FILE).unlink()

        def never() -> KeyringBackend:
            silent.answer.wait()
            return silent

        monkeypatch.setattr(keyring, "get_keyring", never)
        with pytest.raises(ConfigError, match=r"within 0\.02 seconds"):
            await unlock(folder, ON, turns, probe=0.02)
    finally:
        silent.answer.set()


async def test_off_means_that_no_keyring_is_looked_for(
    folder: Path, desktop: Desktop, monkeypatch: pytest.MonkeyPatch
):
    def looked() -> KeyringBackend:
        raise AssertionError

    monkeypatch.setattr(keyring, "get_keyring", looked)
    key = await opened(folder, OFF)
    assert key.place.endswith("as INTERLOCK_KEYRING was off")
    assert await opened(folder) == key
    assert not desktop.kept


async def test_another_word_than_on_and_off_is_refused(folder: Path):
    with pytest.raises(ConfigError, match='"on", "off"'):
        await opened(folder, {"INTERLOCK_KEYRING": "yes"})


async def test_a_state_is_opened_with_the_kind_of_key_it_was_begun_with(folder: Path):
    begun = await opened(folder, OFF)
    assert (await opened(folder)).secret == begun.secret, "though there is a keyring now"
    with pytest.raises(ConfigError, match="INTERLOCK_KEYRING is on, but"):
        await opened(folder, ON)


async def test_off_does_not_open_what_a_keyring_has_the_key_of(folder: Path, desktop: Desktop):
    await opened(folder)
    with pytest.raises(ConfigError, match="INTERLOCK_KEYRING is off, but"):
        await opened(folder, OFF)


async def test_a_key_gone_from_its_keyring_is_said_to_be_and_not_replaced(
    folder: Path, desktop: Desktop
):
    await opened(folder)
    desktop.kept.clear()
    with pytest.raises(ConfigError) as refused:
        await opened(folder)
    said = str(refused.value)
    assert "is gone from the keyring of" in said
    assert f"remove {folder / FILE} and {folder / DATABASE}, and log in again" in said
    assert not desktop.kept
    (folder / FILE).unlink()
    await opened(folder)  # As told.


async def test_a_key_that_is_none_is_as_good_as_gone(folder: Path, desktop: Desktop):
    await opened(folder)
    for nonsense in ("", "AAAA", "é"):
        desktop.kept = dict.fromkeys(desktop.kept, nonsense)
        with pytest.raises(ConfigError, match="is gone from the keyring of"):
            await opened(folder)


async def test_a_keyring_out_of_reach_is_told_apart_from_a_key_that_is_gone(folder: Path):
    await opened(folder)
    keyring.set_keyring(NoKeyring())
    with pytest.raises(ConfigError, match=r"but no keyring was found\. Start or unlock"):
        await opened(folder)


async def test_a_key_file_that_is_gone_is_not_replaced(folder: Path):
    await opened(folder, OFF)
    (folder / DATABASE).write_bytes(b"kept")
    (folder / FILE).unlink()
    with pytest.raises(ConfigError, match=r"is gone, and .* log in again"):
        await opened(folder, OFF)
    assert not (folder / FILE).exists()


@pytest.mark.parametrize("content", ["", "{", '{"kind": "file"}', '{"kind": "paper"}', "\xff"])
async def test_a_key_file_that_is_damaged_is_not_replaced(folder: Path, content: str):
    await opened(folder, OFF)
    (folder / FILE).write_text(content, encoding="latin-1")
    with pytest.raises(ConfigError, match="is damaged"):
        await opened(folder, OFF)
    assert (folder / FILE).read_text(encoding="latin-1") == content


async def test_a_key_of_another_length_is_refused(folder: Path):
    await opened(folder, OFF)
    (folder / FILE).write_text('{"kind": "file", "key": "AAAA", "why": ""}')
    with pytest.raises(ConfigError, match="no key of 32 bytes"):
        await opened(folder, OFF)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
async def test_a_key_file_that_others_may_read_is_refused(folder: Path, mode: int):
    await opened(folder, OFF)
    (folder / FILE).chmod(mode)
    with pytest.raises(ConfigError, match=f"has mode {mode:04o}.*chmod 600"):
        await opened(folder, OFF)
    (folder / FILE).chmod(0o600)
    await opened(folder, OFF)


async def test_a_key_file_or_folder_of_somebody_else_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    await opened(folder, OFF)
    us = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: us + 1)
    with pytest.raises(ConfigError, match=f"belongs to somebody else.*{us}"):
        await opened(folder, OFF)
    with pytest.raises(ConfigError, match=f"{FILE} belongs to somebody else"):
        keeping._only_ours(folder / FILE, (folder / FILE).stat())  # pyright: ignore[reportPrivateUsage]


async def test_a_key_file_that_is_a_link_or_no_file_is_refused(folder: Path, tmp_path: Path):
    await opened(folder, OFF)
    (folder / FILE).rename(tmp_path / "elsewhere")
    (folder / FILE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="A file of your own"):
        await opened(folder, OFF)
    (folder / FILE).unlink()
    (folder / FILE).mkdir()
    with pytest.raises(ConfigError, match="is no file"):
        await opened(folder, OFF)
    (folder / FILE).rmdir()
    os.mkfifo(folder / FILE)
    with pytest.raises(ConfigError, match="is no file"):
        await opened(folder, OFF)


async def test_a_folder_that_others_can_write_is_refused(folder: Path):
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(ConfigError, match="chmod 700"):
        await opened(folder, OFF)


async def test_a_folder_that_cannot_be_one_is_refused(folder: Path):
    folder.write_text("a file")
    with pytest.raises(ConfigError, match="INTERLOCK_STATE"):
        await opened(folder, OFF)


async def test_what_a_process_left_that_died_while_writing_is_no_key(folder: Path):
    await opened(folder, OFF)
    (folder / FILE).rename(folder / f"{FILE}.new")
    key = await opened(folder, OFF)
    assert await opened(folder, OFF) == key
    assert not (folder / f"{FILE}.new").exists()


async def test_tasks_that_begin_at_once_get_one_key(folder: Path, desktop: Desktop):
    keys = await asyncio.gather(*(opened(folder) for _ in range(5)))
    assert len({key.secret for key in keys}) == 1
    assert len(desktop.kept) == 1


BEGINNER = """
import asyncio, hashlib, sys
from pathlib import Path
from interlock.auth.keeping import unlock
from interlock.auth.turns import Turns

async def main():
    folder = Path(sys.argv[1])
    print("ready", flush=True)
    sys.stdin.readline()
    key = await unlock(folder, {"INTERLOCK_KEYRING": "off"}, Turns(folder / "locks"))
    print(hashlib.sha256(key.secret).hexdigest(), "keyring" in sys.modules, flush=True)

asyncio.run(main())
"""


async def test_processes_that_begin_at_once_get_one_key(folder: Path):
    children = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", BEGINNER, str(folder)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        for _ in range(4)
    ]
    for child in children:
        assert child.stdout is not None
        assert await child.stdout.readline() == b"ready\n"
    told = await asyncio.gather(*(child.communicate(b"go\n") for child in children))
    answers = {out.decode().split()[0] for out, _ in told}
    assert len(answers) == 1
    assert all(out.endswith(b" False\n") for out, _ in told), "keyring was not even imported"


async def test_a_key_shows_itself_nowhere(folder: Path):
    key = await opened(folder, OFF)
    file = keeping._read(folder)  # pyright: ignore[reportPrivateUsage]
    assert file is not None
    for shown in (repr(key), repr(file), repr(key.__rich_repr__()), repr(file.__rich_repr__())):
        assert repr(key.secret) not in shown
        assert "key=" not in shown
