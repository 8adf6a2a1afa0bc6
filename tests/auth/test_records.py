"""A copied database says nothing, and a changed one is found out."""

from __future__ import annotations

import os

import pytest
from msgspec import Struct

from interlock.auth.records import SIZE_LIMIT, Records
from interlock.errors import ConfigError, StoreError
from interlock.store.memory import MemoryStore
from interlock.store.ports import Table

SECRET = os.urandom(32)


class Note(Struct):
    text: str


@pytest.fixture
def table() -> Table:
    return MemoryStore().table("records")


@pytest.fixture
def records(table: Table) -> Records:
    return Records(table, SECRET, "records here; key there")


async def test_a_record_reads_as_it_was_written_until_it_is_taken(records: Records):
    name = records.name("note:", "a")
    assert await records.read(name, Note) is None
    await records.write(name, Note("one"))
    await records.write(name, Note("two"))
    assert await records.has(name)
    assert await records.read(name, Note) == Note("two")
    assert await records.take(name, Note) == Note("two")
    assert await records.take(name, Note) is None
    assert not await records.has(name)


async def test_what_lies_in_the_table_tells_neither_name_nor_content(
    records: Records, table: Table
):
    await records.write(records.name("note:", "files.example.com"), Note("secret"))
    [name] = await table.keys()
    entry = await table.get(name)
    assert entry is not None
    assert "example" not in name
    assert b"secret" not in entry.value
    other = Records(table, os.urandom(32), "")
    assert other.name("note:", "files.example.com") != name, "nor can it be guessed at"


async def test_a_record_in_the_place_of_another_is_refused(records: Records, table: Table):
    one, two = records.name("note:", "one"), records.name("note:", "two")
    await records.write(one, Note("one"))
    entry = await table.get(one)
    assert entry is not None
    await table.put(two, entry.value)
    with pytest.raises(ConfigError, match=r"records here; key there.*log in again"):
        await records.read(two, Note)
    assert await records.read(one, Note) == Note("one")


@pytest.mark.parametrize("damage", [b"", b"short", b"x" * 100])
async def test_a_damaged_record_is_not_taken_for_missing(
    records: Records, table: Table, damage: bytes
):
    name = records.name("note:", "a")
    await table.put(name, damage)
    with pytest.raises(ConfigError, match="does not open"):
        await records.read(name, Note)
    with pytest.raises(ConfigError, match="does not open"):
        await records.all("note:", Note)


async def test_a_record_of_another_form_is_refused(records: Records):
    class Other(Struct):
        text: int

    name = records.name("note:", "a")
    await records.write(name, Other(1))
    with pytest.raises(ConfigError, match="this version"):
        await records.read(name, Note)


async def test_another_key_is_found_out_when_records_are_opened(records: Records, table: Table):
    await records.check()
    await records.check()
    await Records(table, SECRET, "").check()
    with pytest.raises(ConfigError, match="another key"):
        await Records(table, os.urandom(32), "").check()


async def test_a_record_is_taken_only_as_it_was_looked_at(table: Table):
    class Overtaken(Records):
        pass

    records = Overtaken(table, SECRET, "")
    name = records.name("note:", "a")
    await records.write(name, Note("old"))
    assert not await records.take_if(name, Note, lambda note: note.text == "new")
    # What another process writes between the look and the removal stays.
    entry = await table.get(name)
    await records.write(name, Note("new"))
    assert entry is not None
    assert await table.put(name, b"", ttl=0, version=entry.version) is None
    assert await records.take_if(name, Note, lambda note: note.text == "new")
    assert not await records.has(name)
    assert not await records.take_if(name, Note, lambda note: True)


async def test_all_of_a_kind_are_found_page_by_page(records: Records):
    for number in range(205):
        await records.write(records.name("note:", f"{number}"), Note(f"{number}"))
    await records.write(records.name("other:", "x"), Note("x"))
    found = {note.text for _, note in await records.all("note:", Note)}
    assert found == {f"{number}" for number in range(205)}
    assert await records.count("note:") == 205
    await records.take_first("note:")
    assert await records.count("note:") == 204


async def test_a_record_has_bounds(records: Records):
    name = records.name("note:", "a")
    with pytest.raises(StoreError, match=f"{SIZE_LIMIT} at most"):
        await records.write(name, Note("x" * SIZE_LIMIT))
    assert not await records.has(name)
