"""One loop that answers what a call asks for, and calls again."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import Raw

from interlock.errors import InvalidMessage, RpcError
from interlock.protocol.call import Call
from interlock.protocol.rounds import QUESTIONS, ROUNDS, asks, rounds
from interlock.protocol.session import Envelope
from interlock.wire.inputs import InputRequired
from interlock.wire.jsonrpc import encode
from interlock.wire.meta import PagedParams, RawResult
from interlock.wire.methods import BY_NAME
from interlock.wire.tools import CallToolParams
from interlock.wire.versions import LATEST_MODERN

DONE = RawResult(body=b'{"content":[]}', relayed=True)


def a_call() -> Call:
    params = CallToolParams(name="t", arguments=Raw(b'{"n": 1}'))
    return Call(BY_NAME["tools/call"], params, Envelope(LATEST_MODERN))


def asking(requests: Any = None, **members: Any) -> RawResult:
    body: dict[str, Any] = {"resultType": "input_required", **members}
    if requests is not None:
        body["inputRequests"] = requests
    return RawResult(body=encode(body), relayed=True, kind="input_required")


class Peer:
    """Answers calls with what it was given, and keeps them."""

    def __init__(self, *results: RawResult) -> None:
        self.results = list(results)
        self.calls: list[Call] = []

    async def handle(self, call: Call) -> RawResult:
        self.calls.append(call)
        return self.results.pop(0)

    def sent(self, index: int) -> dict[str, Any]:
        return msgspec.json.decode(encode(self.calls[index].fields))


async def yes(method: str, params: Raw, key: str) -> Raw:
    return Raw(encode({"asked": [method, key]}))


WHERE: dict[str, Any] = {"where": {"method": "roots/list", "params": {}}}


async def test_the_call_is_made_again_with_the_answers_under_their_keys():
    peer = Peer(DONE)
    assert await rounds(peer.handle, a_call(), asking(WHERE, requestState="é\u2028"), yes) is DONE
    assert peer.sent(0) == {
        "name": "t",
        "arguments": {"n": 1},
        "inputResponses": {"where": {"asked": ["roots/list", "where"]}},
        "requestState": "é\u2028",
    }
    params: Any = peer.calls[0].params
    assert params.request_state == "é\u2028"


async def test_the_state_goes_back_byte_for_byte():
    """2026-07-28 § MRTR: a client echoes it exactly as it came."""
    peer = Peer(DONE)
    body = b'{"resultType":"input_required","requestState":"\\u0061\\/b"}'
    first = RawResult(body=body, relayed=True, kind="input_required")
    await rounds(peer.handle, a_call(), first, yes)
    fields = peer.calls[0].fields
    assert fields is not None
    assert bytes(fields["requestState"]) == b'"\\u0061\\/b"'


async def test_no_state_is_sent_where_none_came_and_old_answers_are_not_sent_again():
    peer = Peer(asking({"b": WHERE["where"]}), DONE)
    await rounds(peer.handle, a_call(), asking(WHERE, requestState="one"), yes)
    assert "requestState" in peer.sent(0)
    assert "requestState" not in peer.sent(1)
    assert set(peer.sent(1)["inputResponses"]) == {"b"}


async def test_state_without_questions_is_answered_at_once():
    peer = Peer(DONE)
    await rounds(peer.handle, a_call(), asking(requestState="later"), yes)
    assert "inputResponses" not in peer.sent(0)


async def test_questions_that_never_end_are_given_up():
    peer = Peer(*[asking(WHERE) for _ in range(ROUNDS + 1)])
    with pytest.raises(InvalidMessage, match=f"more than {ROUNDS}"):
        await rounds(peer.handle, a_call(), asking(WHERE), yes)
    assert len(peer.calls) == ROUNDS


@pytest.mark.parametrize(
    ("first", "why"),
    [
        (asking(), "without saying"),
        (asking({}), "without saying"),
        (asking({"x": {"method": "tools/call"}}), "may ask for"),
        (asking([1]), "cannot be read"),
        (asking(WHERE, requestState=7), "cannot be read"),
        (asking({str(n): WHERE["where"] for n in range(QUESTIONS + 1)}), "questions"),
    ],
)
async def test_questions_nobody_can_answer_are_the_peers_mistake(first: RawResult, why: str):
    with pytest.raises(InvalidMessage, match=why):
        await rounds(Peer().handle, a_call(), first, yes)


async def test_a_method_that_may_not_ask_is_not_answered():
    peer = Peer(DONE)
    call = Call(BY_NAME["tools/list"], PagedParams(), Envelope(LATEST_MODERN))
    with pytest.raises(InvalidMessage, match="tools/list was answered with a question"):
        await rounds(peer.handle, call, asking(WHERE), yes)
    assert peer.calls == []


async def test_whoever_refuses_to_answer_ends_the_call():
    async def no(method: str, params: Raw, key: str) -> Raw:
        raise RpcError(-1, "User rejected")

    with pytest.raises(RpcError, match="User rejected"):
        await rounds(Peer().handle, a_call(), asking(WHERE), no)


def test_a_question_is_told_from_an_answer():
    assert asks(asking(WHERE))
    assert asks(InputRequired(request_state="x"))
    assert not asks(DONE)
