"""A Duplex at each end of a pair of memory channels, or a raw channel to say wrong things on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec
import pytest
from msgspec import Raw
from tests.official import complaint
from tests.peers import LATEST, Desk, Latch, ask, echo, hello, modern, reply, said, say, soon

from interlock.errors import ConnectionLost, InvalidMessage, RpcError, TimedOut
from interlock.protocol.call import Call
from interlock.protocol.dispatch import Dispatch
from interlock.protocol.exchange import Exchange
from interlock.protocol.outgoing import Outgoing
from interlock.protocol.session import Envelope, Session
from interlock.testing.wiretap import Wiretap
from interlock.transport import duplex as room
from interlock.transport.channel import HIGH_WATER, Channel
from interlock.transport.duplex import Duplex, Waiting, serve
from interlock.transport.memory import MemoryChannel, pair
from interlock.wire.content import Text
from interlock.wire.inputs import ListRootsResult, Root
from interlock.wire.lifecycle import InitializeParams
from interlock.wire.meta import ClientCapabilities, Implementation, Params, Result, Wire
from interlock.wire.methods import BY_NAME, TO_CLIENT
from interlock.wire.notices import MESSAGE, PROGRESS, LogNotice, ProgressNotice
from interlock.wire.tools import CallToolParams, CallToolResult
from interlock.wire.versions import LATEST_LEGACY, LATEST_MODERN, Revision

ME = Implementation(name="tests", version="1")
CAN = ClientCapabilities(roots={})


class Tapped:
    """A channel's client end with a wiretap on it."""

    def __init__(self, channel: MemoryChannel) -> None:
        self.tap = Wiretap(complaint)
        self.channel = channel
        self.drain = channel.drain
        self.close = channel.close
        self.failure = channel.failure

    @property
    def backlog(self) -> int:
        return self.channel.backlog

    def send(self, message: bytes) -> None:
        self.channel.send(message)
        self.tap.hear("client", message)

    async def receive(self) -> list[bytes]:
        batch = await self.channel.receive()
        for message in batch:
            self.tap.hear("server", message)
        return batch


class Ear:
    """An outlet that keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, Any]] = []
        self.arrived = asyncio.Event()

    def notify(self, method: str, params: Wire | Raw) -> None:
        self.heard.append((method, params))
        self.arrived.set()

    async def drain(self) -> None:
        pass

    async def ask(self, method: str, params: Wire | Raw, *, key: str = "") -> Raw:
        raise AssertionError(method)

    def close_stream(self, retry: float) -> None:
        pass


class Pair:
    """A client's duplex, and the desk served at the other end."""

    def __init__(self, client: Duplex, serving: asyncio.Task[None], tap: Wiretap) -> None:
        self.client = client
        self.serving = serving
        self.tap = tap

    def call(self, name: str, **options: Any) -> asyncio.Task[CallToolResult]:
        outgoing = self.client.outgoing
        assert outgoing is not None
        params = CallToolParams(name=name, arguments=Raw(b'{"n":1}'))
        made = Call(BY_NAME["tools/call"], params, outgoing.envelope)

        async def run() -> CallToolResult:
            result = await self.client.handle(msgspec.structs.replace(made, **options))
            return msgspec.json.decode(result.body, type=CallToolResult)

        return asyncio.create_task(run())


async def at_home(call: Call) -> Result:
    assert call.method == "roots/list"
    await asyncio.sleep(0)  # As whoever asks a person waits.
    return ListRootsResult(roots=[Root(uri="file:///here")])


@asynccontextmanager
async def joined(revision: Revision, desk: Desk) -> AsyncGenerator[Pair]:
    ours, theirs = pair()
    serving = asyncio.create_task(serve(desk, theirs))
    session = Session()
    tapped = Tapped(ours)
    exchange: Exchange[Waiting] = Exchange(TO_CLIENT, None if revision.modern else session)
    home = Desk()
    home.handle = at_home
    client = Duplex(tapped, exchange, Dispatch(home))
    reading = asyncio.create_task(client.run())
    if not revision.modern:
        greeting = InitializeParams(
            protocol_version=revision.name, capabilities=CAN, client_info=ME
        )
        await client.ask("initialize", greeting)
        session.open(greeting)
        client.notify("notifications/initialized", Params())
    client.outgoing = Outgoing(Envelope(revision, ME, CAN))
    yield Pair(client, serving, tapped.tap)
    await ours.close()
    await soon(asyncio.gather(reading, serving))


@pytest.fixture(params=[LATEST_LEGACY, LATEST_MODERN], ids=str)
def revision(request: pytest.FixtureRequest) -> Revision:
    return request.param


def text_of(result: CallToolResult) -> str:
    (block,) = result.content
    assert isinstance(block, Text)
    return block.text


async def test_a_call_comes_back_with_its_result(revision: Revision):
    async with joined(revision, Desk(echo=echo)) as both:
        assert text_of(await soon(both.call("echo"))) == '{"n":1}'
        with pytest.raises(RpcError, match="no tools/call"):
            await soon(both.call("nobody"))
        assert both.tap.unanswered("client") == []


async def test_many_calls_at_once_each_get_their_own_answer(revision: Revision):
    latch = Latch()
    async with joined(revision, Desk(latch=latch, echo=echo)) as both:
        held = [both.call("latch") for _ in range(50)]
        await soon(latch.reached.wait())
        assert text_of(await soon(both.call("echo"))) == '{"n":1}'
        latch.go.set()
        assert {text_of(answer) for answer in await soon(asyncio.gather(*held))} == {"let go"}


async def test_what_a_call_says_meanwhile_reaches_its_caller_and_nobody_else(revision: Revision):
    async def chatty(call: Call) -> Result:
        meta = call.params.meta
        assert meta is not None
        assert meta.progress_token is not None
        for step in (1, 2):
            notice = ProgressNotice(progress_token=meta.progress_token, progress=step)
            call.outlet.notify(PROGRESS, notice)
            await call.outlet.drain()
        return said("done")

    async with joined(revision, Desk(chatty=chatty)) as both:
        ears = Ear(), Ear()
        answers = [both.call("chatty", outlet=ear) for ear in ears]
        await soon(asyncio.gather(*answers))
        for ear in ears:
            assert [params.progress for _, params in ear.heard] == [1, 2]


async def test_cancelling_a_call_cancels_it_there_and_leaves_no_answer(revision: Revision):
    latch = Latch()
    async with joined(revision, Desk(latch=latch, echo=echo)) as both:
        held = both.call("latch")
        await soon(latch.reached.wait())
        held.cancel()
        with pytest.raises(asyncio.CancelledError):
            await held
        await soon(latch.cancelled.wait())
        await soon(both.call("echo"))
        assert len(both.tap.unanswered("client")) == 1
        assert both.client.exchange.waiting == {}


async def test_a_handler_that_survives_its_cancellation_still_answers_nobody():
    stubborn_ended = asyncio.Event()
    reached = asyncio.Event()

    async def stubborn(call: Call) -> Result:
        reached.set()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        assert call.cancelled
        stubborn_ended.set()
        return said("too late")

    ours, theirs = pair()
    serving = asyncio.create_task(serve(Desk(stubborn=stubborn), theirs))
    ours.send(modern("tools/call", 1, {"name": "stubborn"}))
    await soon(reached.wait())
    ours.send(say("notifications/cancelled", {"requestId": 1}))
    await soon(stubborn_ended.wait())
    ours.send(modern("tools/list", 2))
    (answer,) = await soon(ours.receive())
    assert json.loads(answer)["id"] == 2
    await ours.close()
    await soon(serving)


async def test_a_handler_that_cancels_itself_is_answered_with_an_internal_error(revision: Revision):
    async def lost(call: Call) -> Result:
        nobody = asyncio.get_running_loop().create_future()
        nobody.cancel()
        await nobody
        raise AssertionError

    async def lost_at_once(call: Call) -> Result:
        raise asyncio.CancelledError

    async with joined(revision, Desk(lost=lost, lost_at_once=lost_at_once, echo=echo)) as both:
        for name in ("lost", "lost_at_once"):
            with pytest.raises(RpcError, match="Internal error"):
                await soon(both.call(name))
        await soon(both.call("echo"))


async def test_an_answer_that_cannot_be_encoded_is_an_internal_error_and_never_a_hang(
    revision: Revision,
):
    async def odd(call: Call) -> Result:
        return CallToolResult(content=[], structured_content={"x": object()})

    async with joined(revision, Desk(odd=odd, echo=echo)) as both:
        with pytest.raises(RpcError, match="Internal error"):
            await soon(both.call("odd"))
        await soon(both.call("echo"))


async def test_patience_ends_a_call_that_says_nothing_and_tells_the_peer(revision: Revision):
    latch = Latch()
    async with joined(revision, Desk(latch=latch)) as both:
        with pytest.raises(TimedOut, match=r"no progress for 0\.01 s"):
            await soon(both.call("latch", patience=0.01))
        await soon(latch.cancelled.wait())


async def test_progress_renews_patience():
    """A turned clock: patience of five, progress at four, and the answer at eight."""
    loop = asyncio.get_running_loop()
    waiting = Waiting(1, "tools/call", Ear(), loop)
    now = loop.time()
    waiting.arm(5, None)
    assert waiting.timer is not None
    first = waiting.timer.when()
    assert first - now == pytest.approx(5, abs=0.1)
    waiting.renewed = now + 4
    waiting.timer.cancel()
    waiting._check()  # pyright: ignore[reportPrivateUsage]  the timer fires
    assert not waiting.future.done()
    assert waiting.timer.when() == pytest.approx(now + 9)
    waiting.disarm()


async def test_patience_does_not_run_while_the_peer_waits_for_us():
    """It asked something, and a person may take longer to answer than any server should."""
    loop = asyncio.get_running_loop()
    questions = {"who are you?"}
    waiting = Waiting(1, "tools/call", Ear(), loop, questions)
    waiting.arm(5, None)
    for expected in (False, True):
        assert waiting.timer is not None
        waiting.timer.cancel()
        waiting.renewed = loop.time() - 6
        waiting._check()  # pyright: ignore[reportPrivateUsage]  the timer fires
        assert waiting.future.done() == expected
        questions.clear()
    waiting.disarm()


async def test_patience_begins_anew_once_we_have_answered():
    before, after = Latch(), Latch()

    async def ask(call: Call) -> Result:
        await before(call)
        await call.outlet.ask("roots/list", Params())
        return await after(call)

    async with joined(LATEST_LEGACY, Desk(ask=ask)) as both:
        calling = both.call("ask", patience=1000)
        await soon(before.reached.wait())
        (waiting,) = both.client.exchange.waiting.values()
        began, waiting.renewed = waiting.renewed, 0.0
        before.go.set()
        await soon(after.reached.wait())
        assert waiting.renewed >= began
        after.go.set()
        await soon(calling)


async def test_progress_does_not_move_the_deadline(revision: Revision):
    async def busy(call: Call) -> Result:
        meta = call.params.meta
        assert meta is not None
        assert meta.progress_token is not None
        for step in range(1_000_000):
            notice = ProgressNotice(progress_token=meta.progress_token, progress=step)
            call.outlet.notify(PROGRESS, notice)
            await asyncio.sleep(0)
        raise AssertionError

    async with joined(revision, Desk(busy=busy)) as both:
        deadline = asyncio.get_running_loop().time() + 0.05
        with pytest.raises(TimedOut, match="deadline"):
            await soon(both.call("busy", patience=1000, deadline=deadline))


async def test_a_peer_that_never_reads_does_not_hold_a_call_beyond_its_patience():
    ours, _ = pair()
    ours.send(b"x" * (HIGH_WATER * 2))
    client = Duplex(ours, Exchange(TO_CLIENT), Dispatch(Desk()))
    with pytest.raises(TimedOut):
        await soon(client.ask("ping", Params(), patience=0.01))


async def test_a_late_answer_is_dropped(revision: Revision):
    async with joined(revision, Desk(echo=echo)) as both:
        with pytest.raises(TimedOut):
            await soon(both.call("echo", deadline=0.0))
        assert text_of(await soon(both.call("echo"))) == '{"n":1}'


@asynccontextmanager
async def client_of(channel: Channel, **options: Any) -> AsyncGenerator[Duplex]:
    """A client's duplex whose server is the test itself."""
    client = Duplex(channel, Exchange(TO_CLIENT), Dispatch(Desk()), **options)
    reading = asyncio.create_task(client.run())
    yield client
    await channel.close()
    await soon(reading)


async def test_what_a_server_asked_that_has_gone_is_answered_no_more(
    monkeypatch: pytest.MonkeyPatch,
):
    """Whoever runs the server waits for this end before it is started again."""
    monkeypatch.setattr(room, "GRACE", 3600)
    person, session = Latch(), Session()
    session.open(InitializeParams(protocol_version=LATEST, capabilities=CAN, client_info=ME))
    ours, theirs = pair()
    client = Duplex(ours, Exchange(TO_CLIENT, session), Dispatch(Desk(**{"roots/list": person})))
    reading = asyncio.create_task(client.run())
    theirs.send(ask("roots/list", "q"))
    await soon(person.reached.wait())
    await theirs.close()
    await soon(reading)
    assert person.cancelled.is_set()


async def test_a_peer_that_dies_fails_what_waits_with_its_reason():
    ours, theirs = pair()
    async with client_of(ours) as client:
        asked = asyncio.create_task(client.ask("ping", Params()))
        await soon(theirs.receive())
        await theirs.close()
        with pytest.raises(ConnectionLost, match="other end was closed"):
            await soon(asked)
        with pytest.raises(ConnectionLost):
            await soon(client.ask("ping", Params()))


async def test_garbage_and_answers_to_nothing_are_noise_and_change_nothing():
    noise: list[str] = []
    ours, theirs = pair()
    async with client_of(ours, on_noise=noise.append) as client:
        asked = asyncio.create_task(client.ask("ping", Params()))
        (data,) = await soon(theirs.receive())
        number = json.loads(data)["id"]
        for line in (b"Starting server...", b"\xff", b"[]", reply("other", {}), reply(99, {})):
            theirs.send(line)
        theirs.send(reply(number, {}))
        await soon(asked)
        assert len(noise) == 5


async def test_an_answer_that_is_none_fails_its_call_at_once():
    ours, theirs = pair()
    async with client_of(ours) as client:
        asked = asyncio.create_task(client.ask("ping", Params()))
        (data,) = await soon(theirs.receive())
        theirs.send(json.dumps({"jsonrpc": "2.0", "id": json.loads(data)["id"]}).encode())
        with pytest.raises(InvalidMessage, match="ping gets no answer"):
            await soon(asked)


async def test_notifications_that_belong_to_no_call_are_handed_on():
    heard: list[tuple[str, bytes]] = []
    arrived = asyncio.Event()

    def hear(method: str, params: Raw) -> None:
        heard.append((method, bytes(params)))
        arrived.set()

    ours, theirs = pair()
    async with client_of(ours, on_notice=hear):
        theirs.send(say("notifications/tools/list_changed"))
        await soon(arrived.wait())
    assert heard == [("notifications/tools/list_changed", b"")]


async def test_a_call_before_the_era_is_settled_is_refused():
    ours, _ = pair()
    client = Duplex(ours, Exchange(TO_CLIENT), Dispatch(Desk()))
    call = Call(BY_NAME["ping"], Params(), Envelope(LATEST_LEGACY))
    with pytest.raises(ConnectionLost, match="not settled"):
        await client.handle(call)


async def test_a_legacy_server_asks_in_the_middle_of_a_call():
    async def curious(call: Call) -> Result:
        roots = await call.outlet.ask("roots/list", Params())
        return said(bytes(roots).decode())

    async with joined(LATEST_LEGACY, Desk(curious=curious)) as both:
        assert "file:///here" in text_of(await soon(both.call("curious")))
    async with joined(LATEST_MODERN, Desk(curious=curious)) as both:
        with pytest.raises(RpcError, match="modern client"):
            await soon(both.call("curious"))


async def test_a_question_that_is_answered_with_no_result_fails_as_with_an_error():
    async def curious(call: Call) -> Result:
        with pytest.raises(RpcError, match="no result object"):
            await call.outlet.ask("roots/list", Params())
        return said("fine")

    ours, theirs = pair()
    serving = asyncio.create_task(serve(Desk(curious=curious), theirs))
    ours.send(hello(capabilities={"roots": {}}))
    await soon(ours.receive())
    ours.send(ask("tools/call", 1, {"name": "curious"}))
    (question,) = await soon(ours.receive())
    ours.send(reply(json.loads(question)["id"], "no object"))
    (answer,) = await soon(ours.receive())
    assert "fine" in str(json.loads(answer)["result"])
    await ours.close()
    await soon(serving)


async def test_a_question_dies_with_the_call_that_asked_it():
    async def curious(call: Call) -> Result:
        await call.outlet.ask("roots/list", Params())
        raise AssertionError

    ours, theirs = pair()
    serving = asyncio.create_task(serve(Desk(curious=curious), theirs))
    ours.send(hello(capabilities={"roots": {}}))
    await soon(ours.receive())
    ours.send(ask("tools/call", 1, {"name": "curious"}))
    (question,) = await soon(ours.receive())
    ours.send(say("notifications/cancelled", {"requestId": 1}))
    (cancelled,) = await soon(ours.receive())
    assert json.loads(cancelled)["method"] == "notifications/cancelled"
    assert json.loads(cancelled)["params"]["requestId"] == json.loads(question)["id"]
    await ours.close()
    await soon(serving)


async def test_a_question_that_a_call_leaves_behind_is_withdrawn():
    """SEP-2260: a question belongs to a call that runs."""
    asking: list[asyncio.Task[Raw]] = []

    async def hasty(call: Call) -> Result:
        asking.append(asyncio.create_task(call.outlet.ask("roots/list", Params())))
        await asyncio.sleep(0)
        return said("fine")

    ours, theirs = pair()
    serving = asyncio.create_task(serve(Desk(hasty=hasty), theirs))
    ours.send(hello(capabilities={"roots": {}}))
    await soon(ours.receive())
    ours.send(ask("tools/call", 1, {"name": "hasty"}))
    heard: list[Any] = []
    while len(heard) < 3:
        heard += [json.loads(each) for each in await soon(ours.receive())]
    question, answer, cancelled = heard
    assert answer["id"] == 1
    assert cancelled["method"] == "notifications/cancelled"
    assert cancelled["params"]["requestId"] == question["id"]
    with pytest.raises(ConnectionLost, match="over"):
        await soon(asking[0])
    await ours.close()
    await soon(serving)


async def test_a_question_that_is_answered_with_no_message_fails():
    async def curious(call: Call) -> Result:
        with pytest.raises(RpcError, match="gets no answer"):
            await call.outlet.ask("roots/list", Params())
        return said("fine")

    ours, theirs = pair()
    serving = asyncio.create_task(serve(Desk(curious=curious), theirs))
    ours.send(hello(capabilities={"roots": {}}))
    await soon(ours.receive())
    ours.send(ask("tools/call", 1, {"name": "curious"}))
    (question,) = await soon(ours.receive())
    ours.send(b'{"id":%d,"result":{"roots":[]}}' % json.loads(question)["id"])
    (answer,) = await soon(ours.receive())
    assert "fine" in str(json.loads(answer)["result"])
    await ours.close()
    await soon(serving)


async def test_outside_a_call_nothing_is_asked_and_after_it_nothing_is_said():
    calls: list[Call] = []

    async def leaky(call: Call) -> Result:
        calls.append(call)
        return said("x")

    async with joined(LATEST_LEGACY, Desk(leaky=leaky)) as both:
        await soon(both.call("leaky"))
        heard = both.tap.heard
        call = calls[0]
        call.outlet.notify(MESSAGE, LogNotice(level="info", data=1))
        await call.outlet.drain()
        with pytest.raises(ConnectionLost, match="after the call"):
            await call.outlet.ask("roots/list", Params())
        assert call.session is not None
        with pytest.raises(RpcError, match="only be asked during a call"):
            await call.session.standing.ask("roots/list", Params())
        await soon(both.call("leaky"))
        assert both.tap.heard == heard + 2


async def test_what_belongs_to_no_call_goes_over_the_session():
    calls: list[Call] = []

    async def known(call: Call) -> Result:
        calls.append(call)
        return said("x")

    ours, theirs = pair()
    serving = asyncio.create_task(serve(Desk(known=known), theirs))
    ours.send(hello())
    await soon(ours.receive())
    ours.send(ask("tools/call", 1, {"name": "known"}))
    await soon(ours.receive())
    session = calls[0].session
    assert session is not None
    session.standing.notify("notifications/tools/list_changed", Params())
    await session.standing.drain()
    assert await soon(ours.receive()) == [say_compact("notifications/tools/list_changed")]
    await ours.close()
    await soon(serving)


def say_compact(method: str) -> bytes:
    return b'{"jsonrpc":"2.0","method":"%b"}' % method.encode()


async def test_a_flood_of_notifications_to_a_peer_that_does_not_read_is_bounded():
    async def flood(call: Call) -> Result:
        for _ in range(400):
            call.outlet.notify(MESSAGE, LogNotice(level="info", data="x" * 10_000))
        return said("done")

    ours, theirs = pair()
    serving = asyncio.create_task(serve(Desk(flood=flood), theirs))
    ours.send(modern("tools/call", 1, {"name": "flood"}))
    messages: list[bytes] = []
    while not messages or b"done" not in messages[-1]:
        messages += await soon(ours.receive())
    assert sum(map(len, messages)) < HIGH_WATER + 50_000
    await ours.close()
    await soon(serving)


async def test_a_peer_that_asks_without_end_and_reads_nothing_is_not_read_either(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(room, "MESSAGE_LIMIT", HIGH_WATER)

    async def big(call: Call) -> Result:
        return said("x" * HIGH_WATER)

    ours, theirs = pair()
    serving = asyncio.create_task(serve(Desk(big=big), theirs))
    for number in range(12):
        ours.send(modern("tools/call", number, {"name": "big"}))
        for _ in range(10):
            await asyncio.sleep(0)
    assert ours.backlog > 0, "all was read, though nobody takes the answers"
    assert theirs.backlog < 6 * HIGH_WATER
    answers: list[bytes] = []
    while len(answers) < 12:
        answers += await soon(ours.receive())
    await ours.close()
    await soon(serving)


async def test_a_call_cancelled_in_the_breath_it_was_made_in_leaves_its_id_free():
    ours, theirs = pair()
    ours.send(modern("tools/call", 1, {"name": "latch"}))
    ours.send(say("notifications/cancelled", {"requestId": 1}))
    serving = asyncio.create_task(serve(Desk(latch=Latch(), echo=echo), theirs))
    for _ in range(10):
        await asyncio.sleep(0)
    ours.send(modern("tools/call", 1, {"name": "echo"}))
    (answer,) = await soon(ours.receive())
    assert json.loads(answer)["id"] == 1
    assert "result" in json.loads(answer)
    await ours.close()
    await soon(serving)


async def test_calls_that_run_when_the_peer_stops_sending_may_still_finish():
    latch = Latch()
    channel = OneWay([modern("tools/call", 1, {"name": "latch"})])
    serving = asyncio.create_task(serve(Desk(latch=latch), channel))
    await soon(latch.reached.wait())
    latch.go.set()
    await soon(serving)
    assert [json.loads(data)["id"] for data in channel.sent] == [1]
    assert channel.closed


async def test_what_does_not_finish_in_its_grace_is_cancelled(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(room, "GRACE", 0.01)
    latch = Latch()
    channel = OneWay([modern("tools/call", 1, {"name": "latch"})])
    await soon(serve(Desk(latch=latch), channel))
    assert latch.cancelled.is_set()
    assert channel.sent == []


async def test_subscriptions_get_no_grace():
    latch = Latch()
    desk = Desk(**{"subscriptions/listen": latch})
    channel = OneWay([modern("subscriptions/listen", 1, {"notifications": {}})])
    await asyncio.wait_for(serve(desk, channel), room.GRACE / 2)
    assert channel.sent == []


async def test_being_cancelled_ends_what_runs_at_once():
    latch = Latch()
    ours, theirs = pair()
    serving = asyncio.create_task(serve(Desk(latch=latch), theirs))
    ours.send(modern("tools/call", 1, {"name": "latch"}))
    await soon(latch.reached.wait())
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(serving, room.GRACE / 2)
    assert latch.cancelled.is_set()
    assert await soon(ours.receive()) == []


async def test_a_handler_runs_in_the_step_that_read_its_request_where_tasks_can_be_eager():
    order: list[str] = []

    async def quick(call: Call) -> Result:
        order.append(f"call {call.id}")
        return said("x")

    channel = OneWay([modern("tools/call", n, {"name": "quick"}) for n in range(3)])
    await soon(serve(Desk(quick=quick), channel))
    assert order == ["call 0", "call 1", "call 2"]
    assert [json.loads(data)["id"] for data in channel.sent] == [0, 1, 2]


class OneWay:
    """A channel whose peer said all it has to say: `server < requests`."""

    def __init__(self, messages: list[bytes]) -> None:
        self.messages = messages
        self.sent: list[bytes] = []
        self.closed = False
        self.backlog = 0

    async def receive(self) -> list[bytes]:
        batch, self.messages = self.messages, []
        return batch

    def send(self, message: bytes) -> None:
        self.sent.append(message)

    async def drain(self) -> None:
        pass

    async def close(self) -> None:
        self.closed = True

    def failure(self) -> Exception | None:
        return None


# Arrays of messages (2025-03-26).


def array(*messages: bytes) -> bytes:
    return b"[" + b",".join(messages) + b"]"


@asynccontextmanager
async def asked_in_arrays(desk: Desk, version: str = "2025-03-26") -> AsyncGenerator[MemoryChannel]:
    ours, theirs = pair()
    serving = asyncio.create_task(serve(desk, theirs))
    ours.send(hello(version))
    await soon(ours.receive())
    yield ours
    await ours.close()
    await soon(serving)


async def heard(channel: MemoryChannel) -> Any:
    (data,) = await soon(channel.receive())
    return json.loads(data)


async def test_requests_in_an_array_are_answered_in_one():
    latch = Latch()
    async with asked_in_arrays(Desk(latch=latch, echo=echo)) as ours:
        ours.send(
            array(
                ask("tools/call", 1, {"name": "latch"}),
                say("notifications/initialized"),
                ask("tools/call", 2, {"name": "echo"}),
                ask("nonsense", 3),
                b"true",
            )
        )
        await soon(latch.reached.wait())
        ours.send(ask("ping", "meanwhile"))
        assert (await heard(ours))["id"] == "meanwhile"
        latch.go.set()
        answers = await heard(ours)
        assert sorted(str(each.get("id")) for each in answers) == ["1", "2", "3", "None"]
        codes = [each["error"]["code"] for each in answers if "error" in each]
        assert sorted(codes) == [-32601, -32600]


async def test_an_array_that_asks_nothing_is_not_answered():
    async with asked_in_arrays(Desk()) as ours:
        ours.send(array(say("notifications/initialized"), say("notifications/unknown")))
        ours.send(ask("ping"))
        assert (await heard(ours))["id"] == 1


async def test_what_was_cancelled_is_left_out_of_the_answer():
    latch = Latch()
    async with asked_in_arrays(Desk(latch=latch)) as ours:
        held = [ask("tools/call", number, {"name": "latch"}) for number in (1, 2)]
        ours.send(array(*held, ask("ping", 3)))
        await soon(latch.reached.wait())
        for number in (1, 2):
            ours.send(say("notifications/cancelled", {"requestId": number}))
        assert [each["id"] for each in await heard(ours)] == [3]
        latch.reached.clear()
        ours.send(array(held[0]))
        await soon(latch.reached.wait())
        ours.send(array(say("notifications/cancelled", {"requestId": 1})))
        ours.send(ask("ping", 4))
        assert (await heard(ours))["id"] == 4


async def test_an_id_twice_in_one_array_runs_once():
    latch = Latch()
    async with asked_in_arrays(Desk(latch=latch)) as ours:
        held = ask("tools/call", 1, {"name": "latch"})
        ours.send(array(held, held))
        await soon(latch.reached.wait())
        latch.go.set()
        answers = await heard(ours)
        assert ["error" in each for each in answers] == [True, False]
        assert len(latch.calls) == 1


async def test_a_server_s_array_reaches_those_who_wait_and_its_questions_are_answered_in_one():
    ours, theirs = pair()
    session = Session()
    greeting = InitializeParams(protocol_version="2025-03-26", capabilities=CAN, client_info=ME)
    home = Desk()
    home.handle = at_home
    client = Duplex(ours, Exchange(TO_CLIENT, session), Dispatch(home))
    reading = asyncio.create_task(client.run())
    greeted = asyncio.create_task(client.ask("initialize", greeting))
    answer = {
        "protocolVersion": "2025-03-26",
        "capabilities": {},
        "serverInfo": {"name": "s", "version": "1"},
    }
    theirs.send(reply((await heard(theirs))["id"], answer))
    await soon(greeted)
    session.open(greeting)
    asking = [asyncio.create_task(client.ask("ping", Params())) for _ in range(2)]
    ids = [each["id"] for each in await heard_all(theirs, 2)]
    theirs.send(array(*(reply(number, {"n": number}) for number in ids), ask("roots/list", "q")))
    for number, asked in zip(ids, asking, strict=True):
        assert json.loads(bytes(await soon(asked))) == {"n": number}
    (answered,) = await heard(theirs)
    assert answered["id"] == "q"
    await ours.close()
    await soon(reading)


async def heard_all(channel: MemoryChannel, count: int) -> list[Any]:
    found: list[Any] = []
    while len(found) < count:
        found += [json.loads(data) for data in await soon(channel.receive())]
    return found
