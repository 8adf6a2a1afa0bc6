from __future__ import annotations

import json

from msgspec import Raw

from interlock.protocol.call import LOCAL, Call, Handler, Principal, stack
from interlock.protocol.outlet import SILENT
from interlock.protocol.session import Envelope
from interlock.wire.meta import EmptyResult, Params, Result
from interlock.wire.methods import BY_NAME
from interlock.wire.tools import CallToolParams
from interlock.wire.versions import LATEST_MODERN


def call(raw: bytes = b"") -> Call:
    params = CallToolParams(name="x", arguments=Raw(b'{"a":1}'))
    return Call(BY_NAME["tools/call"], params, Envelope(LATEST_MODERN), raw=Raw(raw))


async def test_the_first_of_a_stack_sees_a_call_first_and_its_result_last():
    order: list[str] = []

    def layer(name: str):
        def wrap(handler: Handler) -> Handler:
            async def handle(call: Call) -> Result:
                order.append(f"{name} in")
                result = await handler(call)
                order.append(f"{name} out")
                return result

            return handle

        return wrap

    async def core(call: Call) -> Result:
        order.append("core")
        return EmptyResult()

    await stack(core, [layer("a"), layer("b")])(call())
    assert order == ["a in", "b in", "core", "b out", "a out"]
    assert stack(core, []) is core


def test_replacing_a_member_changes_what_is_read_and_what_is_sent():
    before = call(b'{"name":"x","arguments":{"a":1.50},"new":true}')
    after = before.with_members(name="y")
    assert isinstance(after.params, CallToolParams)
    assert after.params.name == "y"
    assert after.fields is not None
    assert bytes(after.fields["arguments"]) == b'{"a":1.50}'
    assert json.loads(bytes(after.fields["name"])) == "y"
    assert bytes(after.fields["new"]) == b"true"
    assert isinstance(before.params, CallToolParams)
    assert before.params.name == "x"


def test_a_call_made_here_has_its_members_too():
    after = call().with_members(name="y")
    assert after.fields is not None
    assert {name: bytes(value) for name, value in after.fields.items()} == {
        "name": b'"y"',
        "arguments": b'{"a":1}',
    }


async def test_a_call_says_who_asks_and_speaks_to_nobody_unless_told():
    made = call()
    assert (made.method, made.principal, made.outlet) == ("tools/call", LOCAL, SILENT)
    made.outlet.notify("x", Params())
    await made.outlet.drain()


def test_a_principal_is_who_it_is_whatever_its_token_allows():
    ada = Principal("ada", "https://issuer.example", "editor", frozenset({"read"}), 1.0)
    again = Principal("ada", "https://issuer.example", "editor")
    assert ada == again
    assert not ada != again  # noqa: SIM202  that is the operator that is tried
    assert hash(ada) == hash(again)
    for other in (Principal("bob", ada.issuer, ada.client_id), Principal("ada"), LOCAL, None):
        assert ada != other
        assert not ada == other  # noqa: SIM201  that one too


def test_a_principal_lacks_what_its_token_does_not_say_and_nothing_without_one():
    read, both = frozenset({"read"}), frozenset({"read", "write"})
    assert Principal(scopes=read).lacks(both)
    assert not Principal(scopes=both).lacks(read)
    assert not LOCAL.lacks(both)
