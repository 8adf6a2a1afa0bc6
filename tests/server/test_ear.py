"""One who hears of changes: what is due to them is told once, last, and as fast as they read."""

from __future__ import annotations

from tests.server.test_subscriptions import Reader, turns

from interlock.server.ear import Ear
from interlock.wire.meta import SUBSCRIPTION_ID
from interlock.wire.notices import (
    RESOURCE_UPDATED,
    TOOLS_CHANGED,
    ChangedNotice,
    UpdatedNotice,
)

NONE = frozenset[str]()


def an_ear(reader: Reader, id: int | None = None) -> Ear:
    return Ear(reader, frozenset({"tools"}), NONE, id)


async def test_what_is_due_twice_is_told_once_and_as_it_was_last():
    reader = Reader()
    ear = an_ear(reader)
    first, last = UpdatedNotice(uri="x://1"), UpdatedNotice(uri="x://1", meta={"a": 1})
    for notice in (first, UpdatedNotice(uri="x://2"), last):
        ear.owe(RESOURCE_UPDATED, notice.uri, notice)
    ear.tell()
    assert reader.sent == [(RESOURCE_UPDATED, "x://1"), (RESOURCE_UPDATED, "x://2")]
    ear.tell()
    assert len(reader.sent) == 2, "nothing is due any more"


async def test_a_subscription_hears_nothing_before_it_is_acknowledged_and_its_id_on_everything():
    reader = Reader()
    ear = an_ear(reader, id=7)
    notice = ChangedNotice(meta={"a": 1})
    ear.hear(TOOLS_CHANGED, "", notice)
    assert reader.sent == []
    assert notice.meta == {"a": 1, SUBSCRIPTION_ID: 7}
    ear.acknowledged()
    assert reader.sent == [(TOOLS_CHANGED, None)]


async def test_a_session_has_no_id_to_put_on_anything():
    reader = Reader()
    notice = ChangedNotice()
    an_ear(reader).hear(TOOLS_CHANGED, "", notice)
    assert notice.meta is None
    assert len(reader.sent) == 1


async def test_what_comes_while_nobody_reads_waits_for_the_reader():
    reader = Reader()
    ear = an_ear(reader)
    reader.reading.clear()
    for number in (1, 2, 1):
        ear.hear(RESOURCE_UPDATED, f"x://{number}", UpdatedNotice(uri=f"x://{number}"))
        await turns()
    assert reader.sent == []
    reader.reading.set()
    await turns()
    assert reader.sent == [(RESOURCE_UPDATED, "x://1"), (RESOURCE_UPDATED, "x://2")]
    assert ear.telling is None


async def test_whoever_leaves_is_told_nothing_more():
    reader = Reader()
    ear = an_ear(reader)
    reader.reading.clear()
    ear.hear(TOOLS_CHANGED, "", ChangedNotice())
    ear.leave()
    reader.reading.set()
    await turns()
    assert reader.sent == []
