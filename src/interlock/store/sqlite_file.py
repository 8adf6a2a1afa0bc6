"""What is done in a store's file: the SQL, for the one thread that may use it.

A value that is written again is deleted and inserted, so that its row's key, which only grows, is
its version.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Final, TypeVar

from interlock.errors import ConfigError, StoreError
from interlock.store.ports import Entry, Record

T = TypeVar("T")

log: Final = logging.getLogger("interlock.store")

BUSY: Final = 5.0
"""Seconds to wait for another process that writes."""
KNOWN: Final = 1
"""The layout of the file, as `user_version`."""
BATCH: Final = 500
"""How many expired rows are deleted, and how many messages heard, in one go."""
SWEEP: Final = 1.0
"""Seconds between two sweeps, unless there was more to sweep than a batch."""
FRESH: Final = 60.0
"""Seconds for which a message stays in the file, for processes that were late to look."""
AGAIN: Final = 0.005
"""Seconds between two tries of what waits for nobody."""

_LAYOUT: Final = """
create table kept (
    version integer primary key autoincrement, space text not null, key text not null,
    value blob not null, expires real, unique (space, key)
);
create index kept_expires on kept (expires) where expires is not null;
create table stream (
    id integer primary key, space text not null, name text not null,
    last integer not null, expires real, unique (space, name)
);
create index stream_expires on stream (expires) where expires is not null;
create table record (
    stream integer not null, sequence integer not null, value blob not null,
    primary key (stream, sequence)
);
create table message (
    id integer primary key autoincrement, teller blob not null, topic text not null,
    message blob not null, said real not null
);
"""
# Messages and versions must never get a number twice: hence autoincrement.


class File:
    """The file at *path*, closed until `open`. *clock* gives the time that a ttl is measured in."""

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        self.listening = False
        self._path = path
        self._clock = clock
        self._teller = os.urandom(8)
        self._connection: sqlite3.Connection | None = None
        self._heard = 0
        self._state: int | None = None
        self._next_sweep = 0.0

    def open(self) -> None:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Made here, since SQLite makes files that others can read; what it puts beside this
            # one gets the same mode. Never opened if it exists: closing it again would drop the
            # locks that another connection of this process has on it.
            with contextlib.suppress(FileExistsError):
                os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            self._connection = sqlite3.connect(self._path, timeout=BUSY, isolation_level=None)
            self._prepare()
        except OSError as error:
            raise ConfigError(
                f"{self._path} cannot be used as a store: {error.strerror or error}"
            ) from None
        except sqlite3.Error as error:
            self.close()
            if _busy(error):
                raise
            raise ConfigError(f"{self._path} cannot be used as a store: {error}") from None
        except ConfigError:
            self.close()
            raise

    def _prepare(self) -> None:
        db, until = self._db, time.monotonic() + BUSY
        while True:
            try:
                db.execute("pragma journal_mode = wal").fetchone()
                break
            except sqlite3.OperationalError as error:
                # Waits for nobody: of several who open a new file at once, one comes through.
                if not _busy(error) or time.monotonic() > until:
                    raise
                time.sleep(AGAIN)
        db.execute("pragma synchronous = normal")
        with self._writing():
            [layout] = db.execute("pragma user_version").fetchone()
            [tables] = db.execute("select count(*) from sqlite_master").fetchone()
            if layout > KNOWN:
                raise ConfigError(
                    f"{self._path} was written by a newer version (layout {layout}, this one "
                    f"knows {KNOWN}): update this program, or name another file"
                )
            if layout == 0:
                if tables:
                    raise ConfigError(
                        f"{self._path} is the database of something else: name another file"
                    )
                for statement in _LAYOUT.split(";"):
                    db.execute(statement)
            # Written again each time: a file that cannot be is found out here, not in the middle.
            db.execute(f"pragma user_version = {KNOWN}")

    def close(self) -> None:
        self.listening = False
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def do(self, work: Callable[[File], T]) -> T:
        """What *work* gives, done with this file; what the file cannot do raises `StoreError`."""
        try:
            return work(self)
        except sqlite3.Error as error:
            raise StoreError(f"{self._path}: {error}") from error

    @property
    def _db(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StoreError(f"{self._path} could not be opened")
        return self._connection

    @contextlib.contextmanager
    def _writing(self) -> Generator[None]:
        """One transaction, which nobody else writes during."""
        self._db.execute("begin immediate")
        try:
            yield
            self._db.execute("commit")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("rollback")
            raise

    # The table.

    def get(self, space: str, key: str) -> Entry | None:
        row = self._db.execute(
            "select value, version from kept where space = ? and key = ?"
            " and (expires is null or expires > ?)",
            (space, key, self._clock()),
        ).fetchone()
        return Entry(*row) if row is not None else None

    def put(
        self, space: str, key: str, value: bytes, ttl: float | None, version: int | None
    ) -> int | None:
        with self._writing():
            now = self._clock()
            old, lives = self._version(space, key, now)
            if version is not None and version != (old if lives else 0):
                return None
            self._db.execute("delete from kept where version = ?", (old,))
            return self._db.execute(
                "insert into kept (space, key, value, expires) values (?, ?, ?, ?)",
                (space, key, value, _end(now, ttl)),
            ).lastrowid

    def touch(self, space: str, key: str, ttl: float | None) -> bool:
        now = self._clock()
        done = self._db.execute(
            "update kept set expires = ? where space = ? and key = ?"
            " and (expires is null or expires > ?)",
            (_end(now, ttl), space, key, now),
        )
        return done.rowcount > 0

    def take(self, space: str, key: str) -> bytes | None:
        with self._writing():
            version, lives = self._version(space, key, self._clock())
            row = self._db.execute("select value from kept where version = ?", (version,))
            value: bytes | None = next((value for (value,) in row), None)
            self._db.execute("delete from kept where version = ?", (version,))
            return value if lives else None

    def keys(self, space: str, prefix: str, after: str, limit: int) -> list[str]:
        rows = self._db.execute(
            "select key from kept where space = ? and key >= ? and key < ? and key > ?"
            " and (expires is null or expires > ?) order by key limit ?",
            (space, prefix, _behind(prefix), after, self._clock(), limit),
        )
        return [key for (key,) in rows]

    def count(self, space: str, prefix: str) -> int:
        [number] = self._db.execute(
            "select count(*) from kept where space = ? and key >= ? and key < ?"
            " and (expires is null or expires > ?)",
            (space, prefix, _behind(prefix), self._clock()),
        ).fetchone()
        return number

    def _version(self, space: str, key: str, now: float) -> tuple[int, bool]:
        """Of the value under a key, and whether it still counts; 0 if there is none."""
        row = self._db.execute(
            "select version, expires from kept where space = ? and key = ?", (space, key)
        ).fetchone()
        if row is None:
            return 0, False
        version, expires = row
        return version, expires is None or expires > now

    # The journal.

    def append(self, space: str, stream: str, value: bytes, ttl: float | None) -> int:
        with self._writing():
            now = self._clock()
            row = self._db.execute(
                "select id, last, expires from stream where space = ? and name = ?", (space, stream)
            ).fetchone()
            if row is not None and row[2] is not None and row[2] <= now:
                self._forget(row[0])
                row = None
            if row is None:
                last = 1
                number = self._db.execute(
                    "insert into stream (space, name, last, expires) values (?, ?, 1, ?)",
                    (space, stream, _end(now, ttl)),
                ).lastrowid
            else:
                number, last = row[0], row[1] + 1
                self._db.execute(
                    "update stream set last = ?, expires = ? where id = ?",
                    (last, _end(now, ttl), number),
                )
            self._db.execute("insert into record values (?, ?, ?)", (number, last, value))
            return last

    def read(self, space: str, stream: str, after: int, limit: int) -> list[Record]:
        rows = self._db.execute(
            "select sequence, value from record join stream on stream.id = record.stream"
            " where space = ? and name = ? and (expires is null or expires > ?)"
            " and sequence > ? order by sequence limit ?",
            (space, stream, self._clock(), after, limit),
        )
        return [Record(*row) for row in rows]

    def trim(self, space: str, stream: str, before: int) -> None:
        self._db.execute(
            "delete from record where sequence < ? and stream ="
            " (select id from stream where space = ? and name = ?)",
            (before, space, stream),
        )

    def drop(self, space: str, stream: str) -> None:
        with self._writing():
            rows = self._db.execute(
                "select id from stream where space = ? and name = ?", (space, stream)
            )
            for (number,) in rows.fetchall():
                self._forget(number)

    def _forget(self, number: int) -> None:
        self._db.execute("delete from record where stream = ?", (number,))
        self._db.execute("delete from stream where id = ?", (number,))

    # The bus.

    def tell(self, topic: str, message: bytes) -> None:
        self._db.execute(
            "insert into message (teller, topic, message, said) values (?, ?, ?, ?)",
            (self._teller, topic, message, time.time()),
        )

    def listen(self) -> None:
        if not self.listening:
            self.listening = True
            self._state = None
            [self._heard] = self._db.execute("select ifnull(max(id), 0) from message").fetchone()

    def ignore(self) -> None:
        self.listening = False

    def look(self) -> list[tuple[str, bytes]]:
        """What other connections said since the last time; nothing if it cannot be read now."""
        if not self.listening:
            return []
        try:
            # Changes if somebody else has written; asking costs next to nothing.
            [state] = self._db.execute("pragma data_version").fetchone()
            if state == self._state:
                return []
            rows = self._db.execute(
                "select id, teller, topic, message from message where id > ? order by id limit ?",
                (self._heard, BATCH),
            ).fetchall()
        except sqlite3.Error as error:
            log.warning("%s: other processes are not heard: %s", self._path, error)
            return []
        self._state = state if len(rows) < BATCH else None
        if rows:
            self._heard = rows[-1][0]
        return [(topic, message) for _, teller, topic, message in rows if teller != self._teller]

    def sweep(self) -> None:
        """Delete a batch of what is over, if it is time to."""
        if self._connection is None or time.monotonic() < self._next_sweep:
            return
        self._next_sweep = time.monotonic() + SWEEP
        now, old = self._clock(), time.time() - FRESH
        try:
            versions = self._db.execute(
                "select version from kept where expires <= ? limit ?", (now, BATCH)
            ).fetchall()
            streams = self._db.execute(
                "select id from stream where expires <= ? limit ?", (now, BATCH // 10)
            ).fetchall()
            messages = self._db.execute(
                "select id from (select id, said from message order by id limit ?) where said <= ?",
                (BATCH, old),
            ).fetchall()
            if not (versions or streams or messages):
                return
            with self._writing():
                # Looked at again: another process may have given it more time meanwhile.
                still = "select id from stream where id = ? and expires <= ?"
                for (number,) in streams:
                    if self._db.execute(still, (number, now)).fetchone() is not None:
                        self._forget(number)
                self._db.executemany(
                    "delete from kept where version = ? and expires <= ?",
                    [(version, now) for (version,) in versions],
                )
                self._db.executemany("delete from message where id = ?", messages)
        except sqlite3.Error as error:
            log.warning("%s: what is over is kept until later: %s", self._path, error)
        else:
            if BATCH in (len(versions), len(messages)):
                self._next_sweep = 0.0


def _end(now: float, ttl: float | None) -> float | None:
    return None if ttl is None else now + ttl


def _busy(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
    )


def _behind(prefix: str) -> str | bytes:
    """What sorts right behind all strings that begin with *prefix*, as SQLite sorts."""
    rest = prefix.rstrip("\U0010ffff")
    if not rest:
        return b""  # A blob: behind every text.
    last = ord(rest[-1]) + 1
    return rest[:-1] + chr(0xE000 if last == 0xD800 else last)
