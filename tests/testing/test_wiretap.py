from __future__ import annotations

import json
from typing import Any

import pytest
from tests.official import complaint
from tests.peers import ask, hello, modern, reply, say

from interlock.testing.wiretap import Side, Violation, Wiretap
from interlock.wire.meta import SERVER_INFO
from interlock.wire.versions import LATEST_LEGACY, LATEST_MODERN, Revision

ME = {SERVER_INFO: {"name": "x", "version": "1"}}
FINE: dict[str, Any] = {"content": [], "resultType": "complete", "_meta": ME}
GREETING: dict[str, Any] = {
    "protocolVersion": "2025-06-18",
    "capabilities": {},
    "serverInfo": {"name": "x", "version": "1"},
}
CALL = modern("tools/call", 1, {"name": "x"})


def tap(revision: Revision = LATEST_MODERN) -> Wiretap:
    return Wiretap(complaint, revision)


def greeted() -> Wiretap:
    heard = tap()
    heard.hear("client", hello("2025-06-18", 1))
    heard.hear("server", reply(1, GREETING))
    return heard


def test_a_conversation_as_it_should_be_is_heard_in_silence():
    heard = tap()
    heard.hear("client", CALL)
    assert heard.unanswered("client") == [1]
    progress = {"progressToken": 1, "progress": 1}
    heard.hear("server", say("notifications/progress", progress))
    heard.hear("server", reply(1, FINE))
    assert heard.unanswered("client") == []
    assert heard.heard == 3


def test_the_handshake_settles_which_revision_follows():
    heard = greeted()
    assert heard.revision.name == "2025-06-18"
    heard.hear("client", say("notifications/initialized"))
    heard.hear("client", ask("tools/call", 2, {"name": "x"}))
    heard.hear("server", ask("roots/list", 2))
    heard.hear("client", reply(2, {"roots": []}))
    heard.hear("server", reply(2, {"content": []}))


def test_both_eras_may_share_one_wire():
    heard = greeted()
    heard.hear("client", modern("tools/list", 9))
    heard.hear("client", ask("tools/list", 10))
    listed: dict[str, Any] = {
        "tools": [],
        "ttlMs": 0,
        "cacheScope": "private",
        "resultType": "complete",
    }
    heard.hear("server", reply(9, {**listed, "_meta": ME}))
    heard.hear("server", reply(10, {"tools": []}))


def test_a_question_in_place_of_an_answer_is_held_to_its_own_schema():
    heard = tap()
    heard.hear("client", CALL)
    heard.hear(
        "server", reply(1, {"resultType": "input_required", "requestState": "s", "_meta": ME})
    )


def test_an_error_that_could_not_name_its_request_is_allowed():
    body = b'{"jsonrpc":"2.0","error":{"code":-32700,"message":"x"}}'
    for revision in (LATEST_MODERN, LATEST_LEGACY):
        tap(revision).hear("server", body)
    old = greeted()
    old.hear("server", body)


@pytest.mark.parametrize(
    ("side", "data"),
    [
        ("server", b"hello"),
        ("server", b"[]"),
        ("client", ask("tools/list")),
        ("client", modern("ping")),
        ("client", modern("tools/call")),
        ("client", b'{"jsonrpc":"1.0","id":5,"method":"tools/list"}'),
        ("server", ask("roots/list")),
        ("server", reply(7, FINE)),
        ("client", reply(7, {})),
        ("server", say("notifications/nonsense")),
        ("server", say("notifications/progress", {"progress": 1})),
        ("server", b'{"jsonrpc":"2.0","error":{"message":"x"}}'),
    ],
)
def test_what_may_not_be_said_is_a_violation(side: Side, data: bytes):
    with pytest.raises(Violation):
        tap().hear(side, data)


@pytest.mark.parametrize(
    "answer",
    [
        reply(1, {"content": []}),
        reply(1, {**FINE, "content": 1}),
        reply(1, {**FINE, "_meta": {}}),
        reply(1, {**FINE, "resultType": "input_required", "requestState": 5}),
        reply(1, None),
        reply("1", FINE),
        b'{"jsonrpc":"2.0","id":1,"error":{"code":1.5,"message":"x"}}',
        b'{"jsonrpc":"2.0","id":1}',
    ],
)
def test_a_wrong_answer_is_a_violation(answer: bytes):
    heard = tap()
    heard.hear("client", CALL)
    with pytest.raises(Violation):
        heard.hear("server", answer)


def test_one_request_has_one_answer_and_an_open_id_is_taken():
    heard = tap()
    heard.hear("client", CALL)
    with pytest.raises(Violation, match="while it was open"):
        heard.hear("client", CALL)
    heard.hear("server", reply(1, FINE))
    with pytest.raises(Violation, match="nobody asked"):
        heard.hear("server", reply(1, FINE))


@pytest.mark.parametrize("more", [{"resultType": "complete"}, {"ttlMs": 0}, {"_meta": ME}])
def test_a_legacy_peer_is_told_nothing_that_its_revision_does_not_know(more: dict[str, Any]):
    heard = greeted()
    heard.hear("client", ask("tools/list", 2))
    with pytest.raises(Violation, match="does not know"):
        heard.hear(
            "server",
            json.dumps({"jsonrpc": "2.0", "id": 2, "result": {"tools": [], **more}}).encode(),
        )


def test_only_who_is_judged_can_be_wrong():
    heard = Wiretap(complaint, LATEST_LEGACY, judged=["server"])
    for nonsense in (b"hello", b"[]", b"7", b'{"id":1}', b'{"id":{},"method":1}', reply(5, 1)):
        heard.hear("client", nonsense)
    heard.hear("server", b'{"jsonrpc":"2.0","error":{"code":-32700,"message":"x"}}')
    # What was no request may be answered with an error under its id all the same.
    heard.hear("server", b'{"jsonrpc":"2.0","id":1,"error":{"code":-32600,"message":"x"}}')
    with pytest.raises(Violation, match="nobody asked"):
        heard.hear("server", b'{"jsonrpc":"2.0","id":9,"error":{"code":-32600,"message":"x"}}')
    with pytest.raises(Violation, match="id of null"):
        heard.hear("server", b'{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"x"}}')


@pytest.mark.parametrize("results_first", [True, False])
def test_an_id_that_a_peer_used_twice_gets_both_its_answers(results_first: bool):
    heard = Wiretap(complaint, LATEST_LEGACY, judged=["server"])
    heard.hear("client", hello("2025-06-18", 0))
    heard.hear("server", reply(0, GREETING))
    heard.hear("client", ask("tools/call", 1, {"name": "x"}))
    heard.hear("client", ask("ping", 1))
    refusal = b'{"jsonrpc":"2.0","id":1,"error":{"code":-32600,"message":"x"}}'
    answers = [reply(1, {"content": []}), refusal]
    for answer in answers if results_first else reversed(answers):
        heard.hear("server", answer)
    assert heard.unanswered("client") == []


def test_an_error_does_not_tell_which_of_two_requests_it_is_to():
    heard = Wiretap(complaint, LATEST_LEGACY, judged=["server"])
    heard.hear("client", ask("tools/call", 1, {"name": "x"}))
    heard.hear("client", ask("ping", 1))
    # The first was refused before the server had read the second.
    heard.hear("server", b'{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"x"}}')
    heard.hear("server", reply(1, {}))
    assert heard.unanswered("client") == []
    with pytest.raises(Violation, match="nobody asked"):
        heard.hear("server", reply(1, {}))


def test_of_two_requests_the_one_that_takes_anything_is_thought_of_last():
    heard = Wiretap(complaint, LATEST_LEGACY, judged=["server"])
    heard.hear("client", ask("ping", 1))
    heard.hear("client", ask("tools/call", 1, {"name": "x"}))
    heard.hear("server", reply(1, {"content": []}))
    heard.hear("server", reply(1, {}))
    assert heard.unanswered("client") == []


def test_an_id_is_told_apart_by_its_type():
    heard = tap()
    heard.hear("client", modern("tools/call", 1, {"name": "x"}))
    heard.hear("client", modern("tools/call", "1", {"name": "x"}))
    assert heard.unanswered("client") == [1, "1"]


def test_an_array_belongs_to_the_one_revision_that_has_them():
    heard = Wiretap(complaint, LATEST_LEGACY)
    heard.hear("client", hello("2025-03-26", 0))
    heard.hear("server", reply(0, {**GREETING, "protocolVersion": "2025-03-26"}))
    heard.hear("client", b"[" + ask("ping", 1) + b"," + ask("ping", 2) + b"]")
    heard.hear("server", b"[" + reply(2, {}) + b"," + reply(1, {}) + b"]")
    assert heard.unanswered("client") == []
    with pytest.raises(Violation):
        heard.hear("client", b"[]")
    with pytest.raises(Violation, match="an array"):
        greeted().hear("client", b"[" + ask("ping", 1) + b"]")


def test_before_a_handshake_whoever_speaks_modern_is_taken_at_their_word():
    heard = Wiretap(complaint, LATEST_LEGACY)
    heard.hear("client", CALL)
    with pytest.raises(Violation):
        heard.hear("client", ask("ping", 2))
    heard.hear("client", hello("2025-06-18", 3))
    heard.hear("server", reply(3, GREETING))
    heard.hear("client", ask("ping", 4))
    listening = {"_meta": {"io.modelcontextprotocol/subscriptionId": 1}}
    heard.hear("server", say("notifications/tools/list_changed", listening))


def test_a_result_of_no_method_is_a_violation():
    heard = Wiretap(complaint, LATEST_LEGACY, judged=["server"])
    heard.hear("client", ask("no/such", 1))
    with pytest.raises(Violation, match="no method"):
        heard.hear("server", reply(1, {}))


def test_what_the_listener_cannot_read_may_be_answered_beside_what_it_could():
    heard = Wiretap(complaint, LATEST_LEGACY, judged=["server"])
    deep = b"[" * 5000 + b"]" * 5000
    heard.hear("client", ask("tools/call", 1, {"name": "x"}))
    heard.hear("client", b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":%b}}' % deep)
    heard.hear("server", reply(1, {}))
    heard.hear("server", reply(1, {"content": []}))
    heard.hear("client", b"no JSON at all")
    with pytest.raises(Violation, match="nobody asked"):
        heard.hear("server", b'{"jsonrpc":"2.0","id":1,"error":{"code":-32600,"message":"x"}}')


def test_what_the_listener_cannot_read_may_be_answered_once():
    heard = Wiretap(complaint, LATEST_LEGACY, judged=["server"])
    deep = b"[" * 200_000 + b"]" * 200_000
    heard.hear("client", b'{"jsonrpc":"2.0","id":1,"method":"x","params":{"x":%b}}' % deep)
    heard.hear("server", reply(1, {}))
    with pytest.raises(Violation, match="nobody asked"):
        heard.hear("server", reply(1, {}))
