"""Bytes in, events out; and two exchanges joined by a wire made of lists."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.peers import ask, hello, modern, reply, say

from interlock.protocol.call import Call
from interlock.protocol.exchange import (
    RUNNING_LIMIT,
    Batch,
    Cancel,
    Exchange,
    Noise,
    Notice,
    Progress,
    Reply,
    Send,
    Spoilt,
    Told,
)
from interlock.protocol.session import Session, State
from interlock.wire.jsonrpc import failure, notification, request, success
from interlock.wire.meta import SUBSCRIPTION_ID
from interlock.wire.methods import TO_CLIENT, TO_SERVER


class Flag:
    """What a shell might keep for a running call."""

    def cancel(self) -> None:
        pass


def array(*messages: bytes) -> bytes:
    return b"[" + b", ".join(messages) + b"]"


def server() -> Exchange[str]:
    return Exchange(TO_SERVER, Session())


def greeted_server() -> Exchange[str]:
    exchange = server()
    assert type(exchange.receive(hello())) is Call
    return exchange


def client(session: Session | None = None) -> Exchange[str]:
    return Exchange(TO_CLIENT, session)


def greeted_client() -> Exchange[str]:
    session = Session()
    call = Exchange[str](TO_SERVER, session).receive(hello(capabilities={"roots": {}}))
    assert type(call) is Call
    return client(session)


def error_of(event: Any) -> tuple[Any, int]:
    assert type(event) is Send, event
    message = json.loads(event.data)
    return message.get("id"), message["error"]["code"]


@pytest.mark.parametrize("number", [0, 1, "", "a", 2**60])
def test_a_request_becomes_a_call_under_its_id(number: Any):
    exchange = greeted_server()
    for data in (modern("tools/list", number), ask("tools/list", number)):
        call = exchange.receive(data)
        assert type(call) is Call
        assert call.id == number
        assert type(call.id) is type(number)


def test_the_handshake_moves_the_session():
    exchange = greeted_server()
    assert exchange.session is not None
    assert exchange.session.state is State.GREETED
    assert exchange.receive(say("notifications/initialized")) is None
    assert exchange.session.state is State.READY


@pytest.mark.parametrize("number", [0, 1, "", "a"])
def test_an_id_is_taken_while_its_call_runs_and_free_again_after(number: Any):
    exchange = greeted_server()
    exchange.running[number] = Flag()
    assert error_of(exchange.receive(ask("ping", number))) == (number, -32600)
    assert error_of(exchange.receive(modern("tools/list", number))) == (number, -32600)
    del exchange.running[number]
    assert type(exchange.receive(ask("ping", number))) is Call


def test_an_id_of_another_type_is_another_id():
    exchange = greeted_server()
    exchange.running[1] = Flag()
    assert type(exchange.receive(ask("ping", "1"))) is Call


def test_calls_at_once_are_bounded():
    exchange = greeted_server()
    for number in range(RUNNING_LIMIT):
        exchange.running[number] = Flag()
    assert error_of(exchange.receive(ask("ping", "one more"))) == ("one more", -32600)
    del exchange.running[0]
    assert type(exchange.receive(ask("ping", "one more"))) is Call


def test_a_server_answers_what_is_no_message():
    exchange = server()
    assert error_of(exchange.receive(b"garbage")) == (None, -32700)
    assert error_of(exchange.receive(b'{"id":3,"method":"x"}')) == (3, -32600)
    assert error_of(exchange.receive(b'{"jsonrpc":"2.0","id":0}')) == (0, -32600)


@pytest.mark.parametrize(
    "data", [b"garbage", b"[]", b'{"jsonrpc":"2.0","id":9}', b'{"id":1,"method":"x"}', b"\xff"]
)
def test_a_client_answers_no_fault(data: bytes):
    for exchange in (client(), greeted_client()):
        exchange.waiting[1] = "ours"
        assert type(exchange.receive(data)) is Noise
        assert exchange.waiting == {1: "ours"}


def test_an_answer_that_is_none_spoils_its_request_at_once():
    exchange = client()
    exchange.waiting[1] = "ours"
    event = exchange.receive(b'{"jsonrpc":"2.0","id":1}')
    assert type(event) is Spoilt
    assert event.waiting == "ours"
    assert exchange.waiting == {}


@pytest.mark.parametrize("data", [b'{"id":1,"result":{}}', b'{"jsonrpc":"2.0","id":1}'])
def test_a_malformed_answer_to_a_server_s_question_is_the_end_of_it(data: bytes):
    """No error goes back: it would answer an answer, and the client asked nothing."""
    exchange = greeted_server()
    exchange.waiting[1] = "ours"
    event = exchange.receive(data)
    assert type(event) is Spoilt
    assert event.waiting == "ours"
    # A request that is as wrong is answered, also under the id of a question.
    exchange.waiting[1] = "ours"
    assert type(exchange.receive(b'{"id":1,"method":"ping"}')) is Send
    assert exchange.waiting == {1: "ours"}


@pytest.mark.parametrize("number", [0, 1, "", "a"])
def test_an_answer_goes_to_who_waits_for_it_once(number: Any):
    exchange = client()
    exchange.waiting[number] = "ours"
    event = exchange.receive(reply(number, {}))
    assert type(event) is Reply
    assert event.waiting == "ours"
    assert type(exchange.receive(reply(number, {}))) is Noise


@pytest.mark.parametrize(
    "data",
    [
        reply(2, {}),
        reply("1", {}),
        b'{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"x"}}',
        b'{"jsonrpc":"2.0","error":{"code":1,"message":"x"}}',
        b'{"jsonrpc":"2.0","result":{}}',
    ],
)
def test_answers_to_nothing_asked_are_noise_on_both_sides(data: bytes):
    for exchange in (client(), greeted_client(), greeted_server()):
        exchange.waiting[1] = "ours"
        assert type(exchange.receive(data)) is Noise
        assert exchange.waiting == {1: "ours"}


def test_progress_finds_who_waits_by_its_token():
    exchange = client()
    exchange.waiting[1] = "ours"
    event = exchange.receive(say("notifications/progress", {"progressToken": 1, "progress": 0.5}))
    assert type(event) is Progress
    assert (event.waiting, event.notice.progress) == ("ours", 0.5)
    late = say("notifications/progress", {"progressToken": 2, "progress": 1})
    assert exchange.receive(late) is None


def test_a_cancellation_finds_the_call_that_runs():
    exchange = greeted_server()
    flag = exchange.running["a"] = Flag()
    event = exchange.receive(say("notifications/cancelled", {"requestId": "a", "reason": "x"}))
    assert type(event) is Cancel
    assert event.running is flag
    assert exchange.receive(say("notifications/cancelled", {"requestId": "b"})) is None


def test_a_modern_server_may_end_what_it_was_asked_by_cancelling_it():
    exchange = client()
    exchange.waiting[4] = "listen"
    event = exchange.receive(say("notifications/cancelled", {"requestId": 4}))
    assert type(event) is Spoilt
    assert event.waiting == "listen"


def test_a_legacy_server_that_cancels_means_its_own_request_and_never_ours():
    exchange = greeted_client()
    exchange.waiting[4] = "ours"
    assert exchange.receive(say("notifications/cancelled", {"requestId": 4})) is None
    assert exchange.waiting == {4: "ours"}


@pytest.mark.parametrize("params", [..., None, [], {}, {"requestId": None}, {"requestId": 1.5}])
def test_malformed_notifications_are_noise(params: Any):
    for exchange in (greeted_server(), client(), greeted_client()):
        for method in ("notifications/cancelled", "notifications/progress"):
            assert type(exchange.receive(say(method, params))) is Noise


def test_any_other_notification_is_handed_on():
    for exchange in (greeted_server(), client()):
        event = exchange.receive(say("notifications/unknown", {"a": 1}))
        assert type(event) is Notice
        assert (event.method, bytes(event.params)) == ("notifications/unknown", b'{"a": 1}')


def test_a_client_without_a_session_is_asked_nothing():
    assert type(client().receive(ask("ping"))) is Noise
    assert type(client().receive(ask("roots/list"))) is Noise


def test_a_legacy_client_is_asked_what_its_revision_has():
    exchange = greeted_client()
    assert type(exchange.receive(ask("ping"))) is Call
    assert type(exchange.receive(ask("roots/list"))) is Call
    assert error_of(exchange.receive(ask("tools/list"))) == (1, -32601)


def test_ids_of_ours_are_never_used_twice():
    exchange = client()
    assert len({exchange.next_id() for _ in range(100)}) == 100


def test_both_sides_joined_ask_and_answer_each_other():
    """What one writes the other reads, in both directions at once, with ids that collide."""
    us, them = greeted_client(), greeted_server()
    number = us.next_id()
    us.waiting[number] = "tools/list of ours"
    call = them.receive(request(number, "tools/list"))
    assert type(call) is Call
    them.running[call.id] = Flag()

    question = them.next_id()
    assert question == number
    them.waiting[question] = "roots/list of theirs"
    asked = us.receive(request(question, "roots/list"))
    assert type(asked) is Call
    us.running[asked.id] = Flag()

    answer = them.receive(success(asked.id, b'{"roots":[]}'))
    assert type(answer) is Reply
    assert answer.waiting == "roots/list of theirs"
    told = us.receive(
        notification("notifications/progress", b'{"progressToken":%d,"progress":1}' % number)
    )
    assert type(told) is Progress
    end = us.receive(failure(call.id, -32603, "no"))
    assert type(end) is Reply
    assert end.waiting == "tools/list of ours"


def in_2025_03_26(table: Any) -> Exchange[str]:
    session = Session()
    assert type(Exchange[str](TO_SERVER, session).receive(hello("2025-03-26"))) is Call
    return Exchange(table, session)


def test_an_array_means_what_its_messages_mean_in_order():
    exchange = in_2025_03_26(TO_SERVER)
    exchange.waiting["q"] = "ours"
    exchange.running["run"] = flag = Flag()
    event = exchange.receive(
        array(
            ask("ping", 1),
            say("notifications/initialized"),
            reply("q", {}),
            ask("nonsense", 2),
            b"3",
            say("notifications/cancelled", {"requestId": "run"}),
            array(ask("ping", 4)),
        )
    )
    assert type(event) is Batch
    call, ready, answer, refused, fault, cancel, nested = event.events
    assert type(call) is Call
    assert call.id == 1
    assert ready is None
    assert exchange.session is not None
    assert exchange.session.state is State.READY
    assert type(answer) is Reply
    assert answer.waiting == "ours"
    assert error_of(refused) == (2, -32601)
    assert error_of(fault) == (None, -32600)
    assert type(cancel) is Cancel
    assert cancel.running is flag
    assert error_of(nested) == (None, -32600)


def test_a_modern_request_is_no_part_of_an_array():
    exchange = server()
    exchange.receive(hello("2025-03-26"))
    event = exchange.receive(array(modern("tools/list", 1), ask("tools/list", 2)))
    assert type(event) is Batch
    refused, call = event.events
    assert error_of(refused) == (1, -32600)
    assert type(call) is Call


def test_an_id_that_runs_since_earlier_in_the_array_is_in_use():
    exchange = in_2025_03_26(TO_SERVER)
    event = exchange.receive(array(ask("tools/list", 1), ask("tools/list", 1)))
    assert type(event) is Batch
    first = next(event.events)
    assert type(first) is Call
    exchange.running[first.id] = Flag()
    assert error_of(next(event.events)) == (1, -32600)


def test_initialize_is_no_part_of_an_array():
    exchange = in_2025_03_26(TO_SERVER)
    event = exchange.receive(array(hello("2025-03-26")))
    assert type(event) is Batch
    assert error_of(next(event.events)) == ("hello", -32600)
    assert error_of(server().receive(array(hello("2025-03-26")))) == (None, -32600)


@pytest.mark.parametrize("data", [b"[]", b"[" + b"1," * 200 + b"1]"])
def test_an_array_of_none_or_too_many_is_one_fault(data: bytes):
    assert error_of(in_2025_03_26(TO_SERVER).receive(data)) == (None, -32600)
    assert type(in_2025_03_26(TO_CLIENT).receive(data)) is Noise


@pytest.mark.parametrize("version", ["2024-11-05", "2025-06-18", "2025-11-25"])
def test_other_revisions_have_no_arrays(version: str):
    exchange = server()
    assert type(exchange.receive(hello(version))) is Call
    assert error_of(exchange.receive(array(ask("ping")))) == (None, -32600)
    assert type(client().receive(array(reply(1, {})))) is Noise


def test_a_client_takes_an_array_of_a_server_that_may_send_one():
    exchange = in_2025_03_26(TO_CLIENT)
    exchange.waiting[1] = "ours"
    event = exchange.receive(array(reply(1, {}), ask("ping", "q"), say("notifications/x"), b"{}"))
    assert type(event) is Batch
    assert [type(each) for each in event.events] == [Reply, Call, Notice, Noise]


@pytest.mark.parametrize("number", [1, "1"])
def test_a_notification_of_a_subscription_goes_to_the_call_that_it_names(number: Any):
    """2026-07-28 § stdio: several subscriptions on one pipe are told apart by their id."""
    exchange = client()
    exchange.waiting = {1: "one", "1": "other"}
    told = exchange.receive(say("notifications/x", {"_meta": {SUBSCRIPTION_ID: number}}))
    assert type(told) is Told
    assert (told.waiting, told.method) == (exchange.waiting[number], "notifications/x")
    lost = exchange.receive(say("notifications/x", {"_meta": {SUBSCRIPTION_ID: 2}}))
    assert type(lost) is Noise
    for meta in ({}, {SUBSCRIPTION_ID: None}, {SUBSCRIPTION_ID: 0.5}, 3):
        assert type(exchange.receive(say("notifications/x", {"_meta": meta}))) is Notice
    assert type(greeted_client().receive(say("n", {"_meta": {SUBSCRIPTION_ID: 1}}))) is Notice
