from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from msgspec import Raw
from tests.peers import meta, reply

from interlock.errors import InvalidMessage, ResourceNotFound, RpcError
from interlock.protocol.call import Call
from interlock.protocol.outgoing import Outgoing, outcome
from interlock.protocol.session import Envelope
from interlock.wire.jsonrpc import Message, read
from interlock.wire.meta import ClientCapabilities, Implementation, Params
from interlock.wire.methods import BY_NAME
from interlock.wire.tools import CallToolParams
from interlock.wire.versions import LATEST_LEGACY, LATEST_MODERN, Revision

ME = Implementation(name="tests", version="1")


def outgoing(revision: Revision, client: Implementation | None = ME) -> Outgoing:
    return Outgoing(Envelope(revision, client, ClientCapabilities()))


def call(out: Outgoing, raw: Any = None, **changes: Any) -> Call:
    row = BY_NAME["tools/call"]
    made = Call(row, CallToolParams(name="x"), out.envelope)
    if raw is not None:
        made.raw = Raw(json.dumps(raw).encode())
    return msgspec.structs.replace(made, **changes)


def test_a_modern_request_carries_its_envelope():
    out = outgoing(LATEST_MODERN)
    assert json.loads(out.params(call(out))) == {"name": "x", "_meta": meta()}
    assert json.loads(out.params(call(out), token=5))["_meta"]["progressToken"] == 5
    assert json.loads(out.stamped(Params())) == {"_meta": meta()}


def test_a_client_that_does_not_say_who_it_is_sends_no_name():
    sent = json.loads(outgoing(LATEST_MODERN, None).stamped(Params()))
    assert list(sent["_meta"]) == [
        "io.modelcontextprotocol/protocolVersion",
        "io.modelcontextprotocol/clientCapabilities",
    ]


def test_a_legacy_request_carries_a_token_at_most():
    out = outgoing(LATEST_LEGACY)
    assert json.loads(out.params(call(out))) == {"name": "x"}
    assert json.loads(out.params(call(out), token="t")) == {
        "name": "x",
        "_meta": {"progressToken": "t"},
    }


def test_a_relayed_request_changes_the_keys_of_its_hop_and_keeps_the_rest():
    theirs = {
        "name": "x",
        "arguments": {"a": [1.0, None]},
        "unknown": True,
        "_meta": {**meta("2099-01-01"), "progressToken": "theirs", "com.example/trace": "kept"},
    }
    modern = outgoing(LATEST_MODERN)
    sent = json.loads(modern.params(call(modern, theirs), token=1))
    assert sent == {
        **theirs,
        "_meta": {**meta(), "progressToken": 1, "com.example/trace": "kept"},
    }
    legacy = outgoing(LATEST_LEGACY)
    sent = json.loads(legacy.params(call(legacy, theirs)))
    assert sent == {**theirs, "_meta": {"com.example/trace": "kept"}}
    bare = json.loads(legacy.params(call(legacy, {"name": "x", "_meta": meta()})))
    assert bare == {"name": "x"}


def test_a_member_that_was_replaced_goes_out_as_it_is_now():
    out = outgoing(LATEST_MODERN)
    renamed = call(out, {"name": "x", "new": True, "_meta": meta("2099-01-01")}).with_members(
        name="y"
    )
    assert json.loads(out.params(renamed, token="t")) == {
        "name": "y",
        "new": True,
        "_meta": {**meta(), "progressToken": "t"},
    }


def test_a_relayed_request_declares_what_its_own_client_declared():
    out = outgoing(LATEST_MODERN)
    theirs = Envelope(
        LATEST_LEGACY, Implementation(name="host", version="2"), ClientCapabilities(roots={})
    )
    sent = json.loads(out.params(call(out, envelope=theirs)))["_meta"]
    assert sent["io.modelcontextprotocol/clientCapabilities"] == {"roots": {}}
    assert sent["io.modelcontextprotocol/clientInfo"]["name"] == "tests"


def test_a_log_level_that_was_asked_for_is_asked_for_on():
    out = outgoing(LATEST_MODERN)
    loud = Envelope(LATEST_MODERN, ME, ClientCapabilities(), "debug")
    sent = json.loads(out.params(call(out, envelope=loud)))["_meta"]
    assert sent["io.modelcontextprotocol/logLevel"] == "debug"


def message(data: bytes) -> Message:
    taken = read(data)
    assert type(taken) is Message
    return taken


def failed(error: Any) -> Message:
    return message(json.dumps({"jsonrpc": "2.0", "id": 1, "error": error}).encode())


def test_a_result_is_handed_on_as_it_came():
    result = outcome(message(reply(1, {"content": [1.50]})), "tools/call", modern=True)
    assert bytes(result.body) == b'{"content": [1.5]}'
    assert result.relayed


@pytest.mark.parametrize("kind", ["complete", "input_required", "task"])
def test_every_kind_of_result_that_there_is_is_taken(kind: str):
    outcome(message(reply(1, {"resultType": kind})), "tools/call", modern=True)


@pytest.mark.parametrize("result", [1, "x", [], True, {"resultType": 1}])
def test_what_is_no_result_object_is_an_invalid_message(result: Any):
    with pytest.raises(InvalidMessage, match="tools/call"):
        outcome(message(reply(1, result)), "tools/call", modern=True)


def test_a_kind_of_result_that_is_not_known_is_no_answer():
    strange = message(reply(1, {"resultType": "strange"}))
    with pytest.raises(InvalidMessage, match="strange"):
        outcome(strange, "tools/call", modern=True)
    outcome(strange, "tools/call", modern=False)


def test_an_error_is_raised_with_all_it_says():
    with pytest.raises(RpcError) as caught:
        outcome(failed({"code": 5, "message": "no", "data": [1]}), "tools/call", modern=True)
    assert (caught.value.code, caught.value.message, caught.value.data) == (5, "no", [1])


@pytest.mark.parametrize("code", [-32002, -32602])
def test_a_missing_resource_is_known_by_its_uri_in_both_eras(code: int):
    error = failed({"code": code, "message": "?", "data": {"uri": "a:b"}})
    with pytest.raises(ResourceNotFound) as caught:
        outcome(error, "resources/read", modern=True)
    assert caught.value.uri == "a:b"
    for method, answer in (
        ("tools/call", error),
        ("resources/read", failed({"code": code, "message": "?", "data": {"uri": 1}})),
    ):
        with pytest.raises(RpcError) as plain:
            outcome(answer, method, modern=True)
        assert type(plain.value) is RpcError


def test_an_error_of_null_beside_a_result_is_none():
    both = message(b'{"jsonrpc":"2.0","id":1,"result":{},"error":null}')
    assert bytes(outcome(both, "ping", modern=False).body) == b"{}"


def test_a_malformed_error_is_an_error_all_the_same():
    with pytest.raises(RpcError, match="malformed"):
        outcome(failed("text"), "ping", modern=False)
