"""A Reply against a list of what was sent; time passes only where the test says how much."""

from __future__ import annotations

import asyncio
import json
from collections.abc import MutableMapping
from typing import Any

import pytest
from tests.peers import reply as answer
from tests.peers import soon

from interlock.errors import ConnectionLost, RpcError
from interlock.transport.channel import HIGH_WATER
from interlock.transport.http.plain import AsgiWay, Header
from interlock.transport.http.reply import Reply
from interlock.transport.http.sessions import HttpSession, Sessions
from interlock.transport.http.streams import Keep
from interlock.wire import sse
from interlock.wire.jsonrpc import Message, read
from interlock.wire.meta import Params
from interlock.wire.notices import MESSAGE, LogNotice

BODY = b'{"jsonrpc":"2.0","id":1,"result":{}}'
EXTRA: Header = (b"x-extra", b"1")


async def unheard() -> MutableMapping[str, Any]:
    raise AssertionError("nobody listens for the client here")


class Sent:
    """Where a reply is sent: it can be shut, and it can break."""

    def __init__(self) -> None:
        self.events: list[MutableMapping[str, Any]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.arrived = asyncio.Event()
        self.broken = False

    async def __call__(self, event: MutableMapping[str, Any]) -> None:
        if self.broken:
            raise BrokenPipeError
        await self.open.wait()
        self.events.append(event)
        self.arrived.set()

    @property
    def head(self) -> dict[bytes, bytes]:
        return dict(self.events[0]["headers"])

    @property
    def status(self) -> int:
        return self.events[0]["status"]

    @property
    def body(self) -> bytes:
        return b"".join(event["body"] for event in self.events[1:])

    @property
    def ended(self) -> bool:
        return not self.events[-1].get("more_body")


@pytest.fixture
async def sent() -> Sent:
    return Sent()


def reply(sent: Sent, **options: Any) -> Reply:
    return Reply(AsgiWay(unheard, sent), [EXTRA], **options)


def log(data: Any) -> LogNotice:
    return LogNotice(level="info", data=data)


async def test_an_answer_that_comes_first_is_json_with_its_status(sent: Sent):
    await reply(sent).finish(BODY, 404)
    assert (sent.status, sent.body, sent.ended) == (404, BODY, True)
    assert sent.head[b"content-type"] == b"application/json"
    assert sent.head[b"content-length"] == b"%d" % len(BODY)
    assert sent.head[b"x-extra"] == b"1"


async def test_a_notice_that_comes_first_makes_a_stream_that_ends_with_the_answer(sent: Sent):
    out = reply(sent)
    out.notify(MESSAGE, log("a"))
    out.notify(MESSAGE, log("b"))
    await out.drain()
    assert sent.status == 200
    assert sent.head[b"content-type"] == b"text/event-stream"
    assert sent.head[b"x-accel-buffering"] == b"no"
    assert sent.head[b"x-extra"] == b"1"
    assert not sent.ended
    await out.finish(BODY, 404)
    assert sent.ended
    lines = [line[6:] for line in sent.body.split(b"\n\n") if line]
    assert [json.loads(line).get("method") for line in lines] == [MESSAGE, MESSAGE, None]
    assert lines[-1] == BODY


async def test_a_notice_that_nobody_waited_for_still_goes_out_before_the_answer(sent: Sent):
    out = reply(sent)
    out.notify(MESSAGE, log("a"))
    await out.finish(BODY)
    assert sent.body.index(MESSAGE.encode()) < sent.body.index(BODY)
    assert sent.ended


async def test_a_client_that_takes_no_stream_hears_no_notices(sent: Sent):
    out = reply(sent, streams=False)
    out.notify(MESSAGE, log("a"))
    await out.drain()
    out.fill_silence()
    await out.finish(BODY)
    assert (sent.body, sent.head[b"content-type"]) == (BODY, b"application/json")


async def test_a_client_that_takes_only_a_stream_gets_one_and_errors_as_what_they_are(sent: Sent):
    await reply(sent, json=False).finish(BODY)
    assert sent.body == b"data: %b\n\n" % BODY
    refused = Sent()
    await reply(refused, json=False).finish(BODY, 400)
    assert (refused.status, refused.body) == (400, BODY)


async def test_nothing_is_said_after_the_answer(sent: Sent):
    out = reply(sent)
    await out.finish(BODY)
    out.notify(MESSAGE, log("late"))
    await out.drain()
    out.release()
    assert sent.body == BODY


async def test_a_call_that_was_cancelled_ends_without_an_answer(sent: Sent):
    await reply(sent).abandon()
    assert (sent.status, sent.body, sent.ended) == (202, b"", True)
    begun = Sent()
    out = reply(begun)
    out.notify(MESSAGE, log("a"))
    await out.abandon()
    assert begun.ended
    assert BODY not in begun.body


async def test_what_piles_up_for_a_client_that_does_not_read_is_bounded(sent: Sent):
    sent.open.clear()
    out = reply(sent)
    for _ in range(500):
        out.notify(MESSAGE, log("x" * 10_000))
    sent.open.set()
    await out.finish(BODY)
    assert len(sent.body) < HIGH_WATER + 50_000
    assert sent.body.endswith(b"data: %b\n\n" % BODY)


async def test_there_is_room_again_once_the_client_has_read(sent: Sent):
    out = reply(sent)
    for _ in range(3):
        out.notify(MESSAGE, log("x" * HIGH_WATER))
        out.notify(MESSAGE, log("too much"))
        await soon(out.drain())
    out.notify(MESSAGE, log("the end"))
    await out.finish(BODY)
    assert b"the end" in sent.body


async def test_silence_is_filled_for_as_long_as_it_lasts(sent: Sent):
    out = reply(sent, keep_alive=0)
    out.fill_silence()
    while len(sent.events) < 4:
        sent.arrived.clear()
        await soon(sent.arrived.wait())
    await out.finish(BODY)
    lines = sent.body.split(b"\n\n")
    assert lines[0].startswith(b":")
    assert lines[-2] == b"data: " + BODY
    count = len(sent.events)
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(sent.events) == count


async def test_silence_that_was_not_long_enough_leaves_a_plain_answer(sent: Sent):
    out = reply(sent, keep_alive=1000)
    out.fill_silence()
    await out.finish(BODY)
    assert sent.body == BODY


async def test_letting_go_stops_what_was_set_to_happen(sent: Sent):
    out = reply(sent, keep_alive=0)
    out.fill_silence()
    out.notify(MESSAGE, log("a"))
    out.release()
    out.release()
    for _ in range(5):
        await asyncio.sleep(0)
    assert sent.events == []


@pytest.mark.parametrize("begun", [False, True])
async def test_a_connection_that_breaks_is_no_failure_of_ours(sent: Sent, begun: bool):
    out = reply(sent)
    if begun:
        out.notify(MESSAGE, log("a"))
        await out.drain()
    sent.broken = True
    out.notify(MESSAGE, log("b"))
    await out.drain()
    await out.finish(BODY)
    assert out.dead


async def test_nothing_is_sent_to_a_client_that_left(sent: Sent):
    out = reply(sent)
    out.hang_up()
    out.notify(MESSAGE, log("a"))
    await out.drain()
    await out.finish(BODY)
    await out.abandon()
    assert sent.events == []


def message(data: bytes) -> Message:
    taken = read(data)
    assert type(taken) is Message
    return taken


def session() -> HttpSession:
    return Sessions().prepare()


async def test_a_question_goes_out_on_the_stream_and_its_answer_comes_by_the_session(sent: Sent):
    place = session()
    out = reply(sent, session=place)
    asking = asyncio.create_task(out.ask("roots/list", Params()))
    await soon(sent.arrived.wait())
    await soon(out.drain())
    (event,) = [event for event in sse.Reader().feed(sent.body) if event.data]
    question = json.loads(event.data)
    assert question["method"] == "roots/list"
    place.asked[question["id"]].set_result(message(answer(question["id"], {"roots": []})))
    assert bytes(await soon(asking)) == b'{"roots": []}'
    assert place.asked == {}


async def test_an_error_in_answer_to_a_question_is_raised(sent: Sent):
    place = session()
    asking = asyncio.create_task(reply(sent, session=place).ask("roots/list", Params()))
    await soon(sent.arrived.wait())
    (future,) = place.asked.values()
    future.set_result(message(b'{"jsonrpc":"2.0","id":"s1","error":{"code":-1,"message":"no"}}'))
    with pytest.raises(RpcError, match="no"):
        await soon(asking)


async def test_an_answer_that_is_no_result_is_an_error_too(sent: Sent):
    place = session()
    asking = asyncio.create_task(reply(sent, session=place).ask("roots/list", Params()))
    await soon(sent.arrived.wait())
    (future,) = place.asked.values()
    future.set_result(message(answer("s1", "no object")))
    with pytest.raises(RpcError, match="no result object"):
        await soon(asking)


def messages(sent: Sent) -> list[Any]:
    return [json.loads(event.data) for event in sse.Reader().feed(sent.body) if event.data]


async def test_a_question_whose_asker_is_cancelled_is_withdrawn(sent: Sent):
    """2025-11-25 § Cancellation: the sender says so when it is no more interested in an answer."""
    place = session()
    out = reply(sent, session=place)
    asking = asyncio.create_task(out.ask("roots/list", Params()))
    await soon(sent.arrived.wait())
    asking.cancel()
    await soon(asyncio.wait([asking]))
    await soon(out.abandon())
    question, cancelled = messages(sent)
    assert cancelled["method"] == "notifications/cancelled"
    assert cancelled["params"]["requestId"] == question["id"]
    assert place.asked == {}


async def test_it_is_withdrawn_once_though_the_call_is_answered_at_that_moment(sent: Sent):
    place = session()
    out = reply(sent, session=place)
    asking = asyncio.create_task(out.ask("roots/list", Params()))
    await soon(sent.arrived.wait())
    asking.cancel()
    await soon(out.finish(BODY))
    await soon(asyncio.wait([asking]))
    question, cancelled, last = messages(sent)
    assert cancelled["params"]["requestId"] == question["id"]
    assert last == json.loads(BODY)


async def test_a_question_that_was_answered_is_not_withdrawn(sent: Sent):
    place = session()
    out = reply(sent, session=place)
    asking = asyncio.create_task(out.ask("roots/list", Params()))
    await soon(sent.arrived.wait())
    (future,) = place.asked.values()
    future.set_result(message(answer("s1", {"roots": []})))
    asking.cancel()
    await soon(asyncio.wait([asking]))
    await soon(out.abandon())
    assert len(messages(sent)) == 1


async def test_a_question_that_a_call_leaves_behind_is_withdrawn_before_the_answer(sent: Sent):
    """SEP-2260: a question belongs to a call that runs."""
    place = session()
    out = reply(sent, session=place)
    asking = asyncio.create_task(out.ask("roots/list", Params()))
    await soon(sent.arrived.wait())
    await soon(out.finish(BODY))
    with pytest.raises(ConnectionLost, match="over"):
        await soon(asking)
    question, cancelled, last = messages(sent)
    assert cancelled["params"]["requestId"] == question["id"]
    assert last == json.loads(BODY)
    assert place.asked == {}


async def test_who_cannot_be_asked_is_not_asked(sent: Sent):
    for out in (reply(sent), reply(sent, session=session(), streams=False)):
        with pytest.raises(RpcError, match="no stream"):
            await out.ask("roots/list", Params())
    assert sent.events == []


async def test_a_question_to_a_client_that_left_for_good_or_was_answered_fails(sent: Sent):
    place = Sessions(keep=Keep(patience=0)).prepare()
    out = reply(sent, session=place)
    asking = asyncio.create_task(out.ask("roots/list", Params()))
    await soon(sent.arrived.wait())
    out.hang_up()
    with pytest.raises(ConnectionLost, match="left"):
        await soon(asking)
    assert place.asked == {}
    with pytest.raises(ConnectionLost):
        await out.ask("roots/list", Params())
    done = reply(Sent(), session=place)
    await done.finish(BODY)
    with pytest.raises(ConnectionLost):
        await done.ask("roots/list", Params())
