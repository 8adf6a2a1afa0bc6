"""Questions on their way through the gateway: what may pass, and what a refusal asks for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
from msgspec import Raw
from tests.gateway.test_relay import Ear

from interlock.errors import INVALID_PARAMS, InvalidMessage, MissingCapability, RpcError
from interlock.gateway.asking import VISITED, WRAPPED, Asking
from interlock.gateway.catalog import Found
from interlock.gateway.relay import EVERYTHING
from interlock.protocol.call import Call
from interlock.protocol.sealing import Keyring
from interlock.protocol.session import Envelope
from interlock.wire.inputs import ELICIT
from interlock.wire.jsonrpc import encode
from interlock.wire.meta import ClientCapabilities, RawResult, Wire, members
from interlock.wire.methods import BY_NAME
from interlock.wire.versions import LATEST_MODERN

FOUND = Found("mail", "t")
ASKS: dict[str, Any] = {
    "q": {"method": ELICIT, "params": {"message": "Who?", "requestedSchema": {}}}
}
REFUSAL = RpcError(
    -32042,
    "Log in first",
    {
        "elicitations": [
            {"mode": "url", "url": f"https://login.example/{n}", "message": "Log in"}
            for n in range(2)
        ]
    },
)


class Visitor(Ear):
    """A caller that is asked at once, and answers everything the same way."""

    def __init__(self, action: str = "accept") -> None:
        super().__init__()
        self.action = action

    async def ask(self, method: str, params: Wire | Raw, *, key: str = "") -> Raw:
        self.notify(method, params)
        return Raw(encode({"action": self.action}))


def a_call(
    method: str = "tools/call",
    *,
    can: ClientCapabilities = EVERYTHING,
    ear: Ear | None = None,
    **params: Any,
) -> Call:
    row = BY_NAME[method]
    raw = encode({"name": "mail__t", **params})
    outlet = ear if ear is not None else Ear()
    envelope = Envelope(LATEST_MODERN, capabilities=can)
    return Call(row, row.decoder.decode(raw), envelope, outlet=outlet, raw=Raw(raw))


def an_asking(forward: Callable[[Call], Awaitable[RawResult]] | None = None) -> Asking:
    async def pass_on(found: Found, renamed: Call, call: Call) -> RawResult:
        assert forward is not None
        assert found == FOUND
        return await forward(renamed)

    return Asking(Keyring(), pass_on)


def asks(**result: Any) -> RawResult:
    return RawResult(body=Raw(encode(result)), relayed=True, kind="input_required")


def test_a_question_passes_with_the_servers_name_and_its_state_sealed() -> None:
    asking = an_asking()
    wrapped = asking.wrapped(FOUND, a_call(), asks(inputRequests=ASKS, requestState="theirs"))
    fields = members(wrapped.body)
    assert msgspec.json.decode(fields["inputRequests"])["q"]["params"]["message"] == "[mail] Who?"
    state = msgspec.json.decode(fields["requestState"])
    assert state.startswith(WRAPPED)
    assert "theirs" not in state


@pytest.mark.parametrize(
    "result",
    [
        {"inputRequests": [ASKS]},
        {"inputRequests": {"q": 5}},
        {"inputRequests": {"q": {}}},
        {"inputRequests": {"q": {"method": "ping"}}},
        {"inputRequests": {"q": {"method": ELICIT, "params": "Who?"}}},
        {"inputRequests": ASKS, "requestState": 5},
        {"requestState": "x" * 20_000_000},
    ],
    ids=["a list", "a number", "nothing", "no question", "no params", "no state", "too long"],
)
def test_what_cannot_be_read_passes_to_nobody(result: dict[str, Any]) -> None:
    with pytest.raises(InvalidMessage):
        an_asking().wrapped(FOUND, a_call(), asks(**result))


def test_questions_are_no_answer_to_what_may_not_ask() -> None:
    """2026-07-28 § MRTR: three methods may be answered with questions."""
    params: dict[str, Any] = {"ref": {"type": "ref/prompt", "name": "p"}}
    call = a_call("completion/complete", **params, argument={"name": "a", "value": ""})
    with pytest.raises(InvalidMessage, match="may not"):
        an_asking().wrapped(FOUND, call, asks(inputRequests=ASKS))


def test_one_question_that_was_not_declared_stops_them_all() -> None:
    undeclared = {**ASKS, "r": {"method": "roots/list"}}
    call = a_call(can=ClientCapabilities(elicitation={}))
    with pytest.raises(MissingCapability) as refusal:
        an_asking().wrapped(FOUND, call, asks(inputRequests=undeclared))
    assert refusal.value.data == {"requiredCapabilities": {"roots": {}}}


class Refusing:
    """A legacy server that refuses *times* times until somebody was somewhere."""

    def __init__(self, times: int) -> None:
        self.times = times
        self.calls = 0

    async def __call__(self, call: Call) -> RawResult:
        self.calls += 1
        if self.calls <= self.times:
            raise REFUSAL
        return RawResult(body=Raw(b'{"content":[]}'), relayed=True)


async def visit(server: Refusing, ear: Ear, can: ClientCapabilities = EVERYTHING) -> Any:
    asking = an_asking(server)
    return await asking.visiting(FOUND, a_call(can=can, ear=ear), {"name": "t"})


async def test_after_its_visits_a_call_is_made_again() -> None:
    server, ear = Refusing(2), Visitor()
    assert isinstance(await visit(server, ear), RawResult)
    assert server.calls == 3
    assert [params["url"][-1] for _, params in ear.heard] == ["0", "1", "0", "1"]


async def test_who_declines_a_visit_gets_the_refusal() -> None:
    server, ear = Refusing(1), Visitor("decline")
    with pytest.raises(RpcError, match="Log in first"):
        await visit(server, ear)
    assert server.calls == 1


async def test_visits_that_never_suffice_end() -> None:
    server, ear = Refusing(100), Visitor()
    with pytest.raises(RpcError, match="Log in first"):
        await visit(server, ear)
    assert server.calls == VISITED + 1


async def test_who_cannot_visit_anything_is_told_what_it_takes() -> None:
    server, ear = Refusing(1), Visitor()
    with pytest.raises(MissingCapability) as refusal:
        await visit(server, ear, ClientCapabilities(elicitation={}))
    assert refusal.value.data == {"requiredCapabilities": {"elicitation": {"url": {}}}}
    assert ear.heard == []


async def test_another_servers_state_is_refused() -> None:
    asking = an_asking(Refusing(0))
    call = a_call()
    other = asking.wrapped(Found("other", "t"), call, asks(requestState="theirs"))
    state = msgspec.json.decode(members(other.body)["requestState"])
    retry = a_call(requestState=state)
    with pytest.raises(RpcError) as refusal:
        await asking.relay(FOUND, retry, modern=True, name="t")
    assert refusal.value.code == INVALID_PARAMS
