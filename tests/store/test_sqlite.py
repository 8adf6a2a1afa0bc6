"""What the file promises beyond the contract: who may read it, and what it survives."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from interlock.errors import ConfigError, NotConnected, StoreError
from interlock.store import sqlite, sqlite_file
from interlock.store.sqlite import SqliteStore
from interlock.testing.clock import Clock
from interlock.testing.store import Ear


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "kept" / "store.db"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def store(path: Path, clock: Clock) -> AsyncGenerator[SqliteStore]:
    store = SqliteStore(path, clock=clock)
    await store.open()
    yield store
    await store.close()


def rows(path: Path, table: str) -> int:
    db = sqlite3.connect(path)
    try:
        return db.execute(f"select count(*) from {table}").fetchone()[0]
    finally:
        db.close()


async def test_nobody_else_may_read_what_is_kept(store: SqliteStore, path: Path):
    await store.table("t").put("a", b"secret")
    beside = sorted(path.parent.iterdir())
    assert [each.name for each in beside] == ["store.db", "store.db-shm", "store.db-wal"]
    for each in beside:
        assert stat.S_IMODE(each.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_what_was_kept_is_there_after_a_restart(path: Path):
    first = SqliteStore(path)
    await first.open()
    version = await first.table("t").put("a", b"x", ttl=1000)
    await first.journal("j").append("s", b"y")
    await first.close()

    second = SqliteStore(path)
    await second.open()
    kept = await second.table("t").get("a")
    assert kept is not None
    assert (kept.value, kept.version) == (b"x", version)
    assert await second.journal("j").append("s", b"z") == 2
    await second.close()


WRITER = """
import asyncio, sys
from interlock.store.sqlite import SqliteStore

async def main():
    store = SqliteStore(sys.argv[1])
    await store.open()
    table, journal = store.table("t"), store.journal("j")
    async def write():
        n = 0
        while True:
            n += 1
            await asyncio.gather(
                table.put("last", b"%d" % n), table.put(f"k{n % 50}", b"x" * 20000),
                journal.append("s", b"%d" % n), store.bus.publish("t", b"%d" % n),
            )
            if n == 20:
                print("writing", flush=True)
    await write()

asyncio.run(main())
"""


async def test_a_killed_writer_leaves_a_whole_file(path: Path):
    for _ in range(3):
        writer = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", WRITER, str(path)), stdout=subprocess.PIPE
        )
        assert writer.stdout is not None
        assert await writer.stdout.readline() == b"writing\n"
        writer.kill()
        assert await writer.wait() == -signal.SIGKILL

        store = SqliteStore(path)
        await store.open()
        last = await store.table("t").get("last")
        assert last is not None
        assert int(last.value) >= 20
        records = await store.journal("j").read("s", limit=10**6)
        assert [record.sequence for record in records] == list(range(1, len(records) + 1))
        assert await store.table("t").put("last", b"0") is not None
        await store.close()
        db = sqlite3.connect(path)
        assert db.execute("pragma integrity_check").fetchone() == ("ok",)
        db.close()


COUNTER = """
import asyncio, sys
from interlock.store.sqlite import SqliteStore

async def main():
    store = SqliteStore(sys.argv[1])
    print("ready", flush=True)
    sys.stdin.readline()
    await store.open()
    table = store.table("t")
    await table.put("count", b"0", version=0)
    for _ in range(40):
        while True:
            entry = await table.get("count")
            if await table.put("count", b"%d" % (int(entry.value) + 1), version=entry.version):
                break
        await store.bus.publish("t", sys.argv[2].encode())
    await store.close()

asyncio.run(main())
"""


async def test_processes_that_open_a_new_file_at_once_share_it(path: Path):
    many = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", COUNTER, str(path), str(n)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for n in range(4)
    ]
    for each in many:
        assert each.stdout is not None
        assert await each.stdout.readline() == b"ready\n"
    await asyncio.gather(*[each.communicate(b"\n") for each in many])
    assert [each.returncode for each in many] == [0] * 4

    store = SqliteStore(path)
    await store.open()
    count = await store.table("t").get("count")
    assert count is not None
    assert count.value == b"160"
    await store.close()


async def test_what_another_process_says_is_heard_here(store: SqliteStore, path: Path):
    ear = Ear()
    await store.bus.subscribe("t", ear)
    other = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", COUNTER, str(path), "hello"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    await other.communicate(b"\n")
    assert other.returncode == 0
    assert await ear.heard(40) == [b"hello"] * 40


async def swept(store: SqliteStore) -> None:
    """Something is done after which the file is swept, and something after that."""
    await store.table("t").get("any")
    await store.table("t").get("any")


async def test_what_expired_leaves_the_file_a_batch_at_a_time(
    path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sqlite_file, "SWEEP", 0.0)
    monkeypatch.setattr(sqlite_file, "BATCH", 10)
    store = SqliteStore(path, clock=clock)
    await store.open()
    table, journal = store.table("t"), store.journal("j")
    for n in range(95):
        await table.put(str(n), b"x", ttl=10)
    await table.put("kept", b"x", ttl=1000)
    await journal.append("s", b"x", ttl=10)
    await journal.append("kept", b"x")
    clock.turn(11)
    await table.get("kept")
    assert 60 < rows(path, "kept") <= 96
    for _ in range(10):
        await swept(store)
    assert rows(path, "kept") == 1
    assert (rows(path, "stream"), rows(path, "record")) == (1, 1)
    await store.close()


async def test_old_messages_leave_the_file(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sqlite_file, "SWEEP", 0.0)
    store = SqliteStore(path)
    await store.open()
    await store.bus.publish("t", b"1")
    await swept(store)
    assert rows(path, "message") == 1
    monkeypatch.setattr(sqlite_file, "FRESH", -1.0)
    await swept(store)
    assert rows(path, "message") == 0
    await store.close()


async def test_a_file_that_another_holds_is_waited_for_so_long_and_blocks_nobody(
    store: SqliteStore, path: Path
):
    table = store.table("t")
    await table.put("a", b"x")
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("begin immediate")
    writing = asyncio.ensure_future(table.put("a", b"y"))
    await asyncio.sleep(0)
    assert not writing.done()
    holder.execute("commit")
    assert await writing is not None
    holder.close()


async def test_a_file_that_another_does_not_let_go_of_is_a_store_error(
    path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sqlite_file, "BUSY", 0.01)
    store = SqliteStore(path)
    await store.open()
    table = store.table("t")
    await table.put("a", b"x")
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("begin immediate")
    for write in (table.put("a", b"y"), table.touch("a", 5), store.journal("j").append("s", b"")):
        with pytest.raises(StoreError, match="locked"):
            await write
    found = await table.get("a")
    assert found is not None
    assert found.value == b"x"

    late = SqliteStore(path)
    with pytest.raises(StoreError, match="locked"):
        await late.open()
    holder.execute("rollback")
    holder.close()
    await late.open()
    await late.close()
    assert await table.put("a", b"y") is not None
    await store.close()


async def test_operations_wait_a_bounded_time_for_those_before_them(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
):
    table = store.table("t")
    monkeypatch.setattr(sqlite, "WAITING", -1.0)
    with pytest.raises(StoreError, match="too slow"):
        await table.get("a")
    monkeypatch.setattr(sqlite, "CROWD", 0)
    with pytest.raises(StoreError, match="try again"):
        await table.get("a")


async def test_what_is_cancelled_before_it_began_is_not_done(store: SqliteStore, path: Path):
    table = store.table("t")
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("begin immediate")
    first = asyncio.ensure_future(table.put("a", b"1"))
    second = asyncio.ensure_future(table.put("b", b"2"))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.wait([second])
    holder.execute("rollback")
    holder.close()
    await first
    assert await table.keys() == ["a"]


async def test_a_subscription_given_up_halfway_leaves_nothing(store: SqliteStore):
    ear = Ear()
    subscribing = asyncio.ensure_future(store.bus.subscribe("t", ear))
    await asyncio.sleep(0)
    subscribing.cancel()
    await asyncio.wait([subscribing])
    await store.bus.publish("t", b"x")
    assert ear.messages == []


async def test_an_unopened_store_says_so(path: Path):
    store = SqliteStore(path)
    with pytest.raises(NotConnected, match="not open"):
        await store.table("t").get("a")
    with pytest.raises(NotConnected, match="not open"):
        await store.bus.publish("t", b"")
    assert not path.exists()


FULL = """
import asyncio, os, resource, signal, sys
from interlock.errors import StoreError
from interlock.store.sqlite import SqliteStore

async def main():
    store = SqliteStore(sys.argv[1])
    await store.open()
    table = store.table("t")
    await table.put("a", b"x")
    # As on a full disk: what the file has it keeps, but it grows no more.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, most))
    failed = 0
    for n in range(50):
        try:
            await table.put(str(n), os.urandom(50_000))
        except StoreError:
            failed += 1
    assert failed > 30, failed
    assert (await table.get("a")).value == b"x"
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    assert await table.put("a", b"y" * 500_000) is not None
    await store.close()
    await store.open()
    assert len((await table.get("a")).value) == 500_000
    await store.close()

asyncio.run(main())
"""


async def test_a_full_disk_is_a_store_error_until_there_is_room_again(path: Path):
    done = await asyncio.create_subprocess_exec(sys.executable, "-c", FULL, str(path))
    assert await done.wait() == 0


READ_ONLY = """
import asyncio, ctypes, os, sys
from interlock.errors import ConfigError
from interlock.store.sqlite import SqliteStore

if len(sys.argv) == 2 and os.geteuid() == 0 and sys.platform == "linux":
    # Nothing is read-only for root, unless it does without that.
    drop, dac_override = 24, 1
    ctypes.CDLL(None).prctl(drop, dac_override, 0, 0, 0)
    os.execv(sys.executable, [sys.executable, "-c", sys.orig_argv[2], sys.argv[1], "again"])

async def main():
    store = SqliteStore(sys.argv[1])
    try:
        await store.open()
    except ConfigError as error:
        assert "readonly" in str(error), error
    else:
        raise AssertionError("it can be written")

asyncio.run(main())
"""


async def test_a_file_that_cannot_be_written_is_refused_when_it_is_opened(path: Path):
    store = SqliteStore(path)
    await store.open()
    await store.close()
    path.chmod(0o400)
    done = await asyncio.create_subprocess_exec(sys.executable, "-c", READ_ONLY, str(path))
    assert await done.wait() == 0


def test_a_store_in_memory_is_another_one():
    with pytest.raises(ConfigError, match="MemoryStore"):
        SqliteStore(":memory:")


@pytest.mark.parametrize("what", ["text", "database", "newer", "folder", "nowhere"])
async def test_a_file_that_cannot_be_a_store_is_left_alone(tmp_path: Path, what: str):
    path = tmp_path / "it"
    match what:
        case "text":
            path.write_text("no database, and longer than the header of one " * 100)
        case "database" | "newer":
            db = sqlite3.connect(path)
            if what == "database":
                db.execute("create table mine (a)")
            else:
                db.execute("pragma user_version = 99")
            db.close()
        case "folder":
            path.mkdir()
        case _:
            path.write_text("")
            path = path / "store.db"
    store = SqliteStore(path)
    for _ in range(2):
        with pytest.raises(ConfigError, match="it"):
            await store.open()
    if what == "database":
        db = sqlite3.connect(path)
        assert db.execute("select name from sqlite_master").fetchall() == [("mine",)]
        db.close()


async def test_a_store_may_be_opened_by_many_at_once_and_left_by_one(path: Path):
    store = SqliteStore(path)
    opening = [asyncio.ensure_future(store.open()) for _ in range(3)]
    await asyncio.sleep(0)
    opening[0].cancel()
    await asyncio.wait(opening)
    await store.close()
    await store.table("t").put("a", b"x")
    await store.close()
    with pytest.raises(NotConnected):
        await store.table("t").get("a")
