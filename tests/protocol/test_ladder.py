"""The ladder as a table over both eras, and that `admit` takes what no rung of it breaks under."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from tests.peers import LEGACY, MODERN, ask, hello, meta, modern

from interlock.errors import (
    HEADER_MISMATCH,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    UNSUPPORTED_VERSION,
)
from interlock.protocol.call import Call
from interlock.protocol.dispatch import admit
from interlock.protocol.ladder import Mirror, Refusal, Table, refusal
from interlock.protocol.session import Session
from interlock.wire.jsonrpc import Message, read
from interlock.wire.lifecycle import InitializeParams
from interlock.wire.meta import (
    CLIENT_CAPABILITIES,
    CLIENT_INFO,
    LOG_LEVEL,
    PROTOCOL_VERSION,
    ClientCapabilities,
    Implementation,
)
from interlock.wire.methods import BY_NAME, TO_CLIENT, TO_SERVER

CALL: dict[str, Any] = {"name": "echo", "arguments": {}}
NO_VERSION = {PROTOCOL_VERSION: ...}


def message(data: bytes) -> Message:
    taken = read(data)
    assert type(taken) is Message
    return taken


def greeted(version: str = "2025-11-25") -> Session:
    session = Session()
    session.open(
        InitializeParams(
            protocol_version=version,
            capabilities=ClientCapabilities(),
            client_info=Implementation(name="x", version="1"),
        )
    )
    return session


def mirror(method: str | None, name: str | None = None, version: str | None = MODERN) -> Mirror:
    return Mirror(version, method, name)


def judge(
    data: bytes,
    mirror: Mirror | None = None,
    session: Session | Refusal | None = None,
    table: Table = TO_SERVER,
) -> tuple[int, int] | None:
    """The code and status a request is refused with; None if it is taken. Both ways must agree."""
    asked = message(data)
    row = BY_NAME.get(str(asked.method))
    found = refusal(asked, row, table, mirror, session)
    taken = admit(asked, table, mirror, session)
    if found is None:
        assert type(taken) is Call
        return None
    assert taken == found
    assert found.id == asked.id
    return found.code, found.status


def keys(**changed: Any) -> dict[str, Any]:
    """Params of a modern `tools/list` whose `_meta` has *changed*."""
    return {"_meta": {k: v for k, v in {**meta(), **changed}.items() if v is not ...}}


BAD_PARAMS = (INVALID_PARAMS, 400)
BAD_HEADERS = (HEADER_MISMATCH, 400)
BAD_VERSION = (UNSUPPORTED_VERSION, 400)
NO_METHOD = (METHOD_NOT_FOUND, 404)


@pytest.mark.parametrize(
    ("method", "params", "verdict"),
    [
        ("tools/list", keys(), None),
        ("tools/list", keys(**{CLIENT_INFO: ...}), None),
        ("tools/list", keys(**{LOG_LEVEL: "debug"}), None),
        ("tools/list", keys(progressToken=0), None),
        ("tools/list", keys(progressToken="x"), None),
        ("tools/list", keys(**{"com.example/unknown": [1]}), None),
        ("tools/list", {**keys(), "cursor": ""}, None),
        ("tools/list", {**keys(), "unknown": 1}, None),
        ("server/discover", keys(), None),
        ("subscriptions/listen", {**keys(), "notifications": {}}, None),
        # The shape of `_meta`.
        ("tools/list", {"_meta": {PROTOCOL_VERSION: MODERN}}, BAD_PARAMS),
        (
            "tools/list",
            {"_meta": {PROTOCOL_VERSION: 20260728, CLIENT_CAPABILITIES: {}}},
            BAD_PARAMS,
        ),
        ("tools/list", {"_meta": {PROTOCOL_VERSION: None, CLIENT_CAPABILITIES: {}}}, BAD_PARAMS),
        ("tools/list", keys(**{CLIENT_CAPABILITIES: None}), BAD_PARAMS),
        ("tools/list", keys(**{CLIENT_CAPABILITIES: []}), BAD_PARAMS),
        ("tools/list", keys(**{CLIENT_CAPABILITIES: {"sampling": 1}}), BAD_PARAMS),
        ("tools/list", keys(**{CLIENT_INFO: "x"}), BAD_PARAMS),
        ("tools/list", keys(**{CLIENT_INFO: {}}), BAD_PARAMS),
        ("tools/list", keys(**{LOG_LEVEL: "loud"}), BAD_PARAMS),
        ("tools/list", keys(progressToken=1.5), BAD_PARAMS),
        ("tools/list", keys(progressToken=[]), BAD_PARAMS),
        # Version, before method and params.
        ("tools/list", keys(**{PROTOCOL_VERSION: "2025-11-25"}), BAD_VERSION),
        ("tools/list", keys(**{PROTOCOL_VERSION: "2099-01-01"}), BAD_VERSION),
        ("tools/list", keys(**{PROTOCOL_VERSION: ""}), BAD_VERSION),
        ("nonsense", keys(**{PROTOCOL_VERSION: "2099-01-01"}), BAD_VERSION),
        ("tools/call", keys(**{PROTOCOL_VERSION: "2099-01-01"}), BAD_VERSION),
        # Method: also the legacy ones, which this era does not have.
        ("nonsense", keys(), NO_METHOD),
        ("", keys(), NO_METHOD),
        ("ping", keys(), NO_METHOD),
        ("initialize", keys(), NO_METHOD),
        ("logging/setLevel", keys(), NO_METHOD),
        ("resources/subscribe", keys(), NO_METHOD),
        ("sampling/createMessage", keys(), NO_METHOD),
        ("roots/list", keys(), NO_METHOD),
        # Params.
        ("tools/call", keys(), BAD_PARAMS),
        ("tools/call", {**keys(), "name": 1}, BAD_PARAMS),
        ("tools/call", {**keys(), "name": None}, BAD_PARAMS),
        ("tools/list", {**keys(), "cursor": 1}, BAD_PARAMS),
        ("resources/read", {**keys(), "name": "x"}, BAD_PARAMS),
        ("resources/read", {**keys(), "uri": ["x"]}, BAD_PARAMS),
        ("prompts/get", {**keys(), "name": "x", "arguments": {"a": 1}}, BAD_PARAMS),
        ("subscriptions/listen", keys(), BAD_PARAMS),
        ("subscriptions/listen", {**keys(), "notifications": {"toolsListChanged": 1}}, BAD_PARAMS),
        ("completion/complete", {**keys(), "ref": {}, "argument": {}}, BAD_PARAMS),
    ],
    ids=lambda value: repr(value)[:70] if not isinstance(value, str) else value,
)
def test_a_modern_request_is_judged_rung_by_rung(
    method: str, params: Any, verdict: tuple[int, int] | None
):
    data = ask(method, params=params)
    assert judge(data) == verdict
    assert judge(data, session=Session()) == verdict
    assert judge(data, session=greeted()) == verdict
    assert judge(data, session=Refusal(-32001, "gone", status=404)) == verdict


@pytest.mark.parametrize(
    ("mirrored", "verdict"),
    [
        (mirror("tools/call", "echo"), None),
        (mirror("tools/call", "echo", None), BAD_HEADERS),
        (mirror("tools/call", "echo", "2025-11-25"), BAD_HEADERS),
        (mirror("tools/call", "echo", "2099-01-01"), BAD_HEADERS),
        (mirror(None, "echo"), BAD_HEADERS),
        (mirror("tools/list", "echo"), BAD_HEADERS),
        (mirror("Tools/Call", "echo"), BAD_HEADERS),
        (mirror("tools/call"), BAD_HEADERS),
        (mirror("tools/call", ""), BAD_HEADERS),
        (mirror("tools/call", "Echo"), BAD_HEADERS),
        (Mirror(MODERN, "tools/call", "", "Mcp-Name: bad Base64"), BAD_HEADERS),
    ],
    ids=repr,
)
def test_headers_must_repeat_what_the_body_says(mirrored: Mirror, verdict: tuple[int, int] | None):
    assert judge(modern("tools/call", params=CALL), mirrored) == verdict


def test_headers_come_after_the_shape_of_meta_and_before_version_method_and_params():
    wrong = mirror("tools/list", "x", "2099-01-01")
    assert judge(ask("tools/call", params={**CALL, **keys(**{CLIENT_CAPABILITIES: 1})}), wrong) == (
        BAD_PARAMS
    )
    assert judge(modern("tools/call", params=CALL, version="1999-01-01"), wrong) == BAD_HEADERS
    assert judge(modern("nonsense"), wrong) == BAD_HEADERS
    assert judge(modern("tools/call"), wrong) == BAD_HEADERS


def test_a_name_header_matters_only_where_a_name_is_mirrored():
    assert judge(modern("tools/list"), mirror("tools/list", "whatever")) is None
    broken = Mirror(MODERN, "tools/list", "", "Mcp-Name: bad Base64")
    assert judge(modern("tools/list"), broken) is None


def test_a_name_that_is_no_string_is_a_fault_of_params_and_not_of_headers():
    assert judge(modern("tools/call", params={"name": 1}), mirror("tools/call", "1")) == BAD_PARAMS


def test_a_modern_header_without_modern_meta_is_a_modern_request_that_lacks_it():
    for session in (None, greeted()):
        assert judge(ask("tools/list"), mirror("tools/list"), session) == BAD_PARAMS
        assert judge(ask("nonsense"), mirror("nonsense"), session) == BAD_PARAMS


def test_a_method_of_modern_revisions_only_is_a_modern_request_where_nobody_greeted():
    for session in (None, Session()):
        assert judge(ask("server/discover"), None, session) == BAD_PARAMS
    assert judge(ask("server/discover"), None, greeted()) == (METHOD_NOT_FOUND, 200)


def test_what_declares_capabilities_without_a_version_is_half_a_modern_request():
    """2026-07-28 § Base protocol: a request without the version it must name is -32602."""
    half = ask("tools/list", params={"_meta": meta(**NO_VERSION)})
    for session in (None, Session()):
        assert judge(half, None, session) == BAD_PARAMS
    assert judge(half, None, greeted()) is None


@pytest.mark.parametrize("params", [None, [], 1, "x", {"_meta": 1}, {"_meta": []}])
def test_params_that_are_no_object_are_refused_in_both_eras(params: Any):
    assert judge(ask("tools/list", params=params), mirror("tools/list")) == BAD_PARAMS
    assert judge(ask("tools/list", params=params), None, greeted()) == (INVALID_PARAMS, 200)


def test_an_unsupported_version_names_those_that_are_supported():
    refused = admit(message(modern("tools/list", version="2099-01-01")), TO_SERVER)
    assert type(refused) is Refusal
    assert refused.data == {"supported": [MODERN], "requested": "2099-01-01"}


NO_SESSION = (INVALID_REQUEST, 400)
LEGACY_PARAMS = (INVALID_PARAMS, 200)
LEGACY_METHOD = (METHOD_NOT_FOUND, 200)


@pytest.mark.parametrize(
    ("session", "data", "verdict"),
    [
        (None, ask("tools/list"), NO_SESSION),
        (None, ask("ping"), NO_SESSION),
        (None, ask("nonsense"), NO_SESSION),
        (None, hello(), NO_SESSION),
        (Refusal(-32001, "gone", status=404), ask("tools/list"), (-32001, 404)),
        (Refusal(-32001, "gone", status=404), hello(), (-32001, 404)),
        (Session, hello(), None),
        (Session, ask("ping"), None),
        (Session, ask("tools/list"), NO_SESSION),
        (Session, ask("nonsense"), NO_SESSION),
        (Session, ask("initialize"), LEGACY_PARAMS),
        (Session, ask("initialize", params={}), LEGACY_PARAMS),
        (Session, ask("initialize", params={"protocolVersion": 1}), LEGACY_PARAMS),
        (Session, hello(capabilities={"roots": 1}), LEGACY_PARAMS),
        (greeted, hello(), NO_SESSION),
        (greeted, ask("initialize"), NO_SESSION),
        (greeted, ask("ping"), None),
        (greeted, ask("ping", params={}), None),
        (greeted, ask("tools/list"), None),
        (greeted, ask("tools/list", params={"_meta": {"progressToken": 1}}), None),
        (greeted, ask("tools/list", params={"cursor": 5}), LEGACY_PARAMS),
        (greeted, ask("tools/call", params=CALL), None),
        (greeted, ask("tools/call"), LEGACY_PARAMS),
        (greeted, ask("tools/call", params={"name": 5}), LEGACY_PARAMS),
        (greeted, ask("logging/setLevel", params={"level": "debug"}), None),
        (greeted, ask("logging/setLevel", params={"level": "loud"}), LEGACY_PARAMS),
        (greeted, ask("resources/subscribe", params={"uri": "a:b"}), None),
        (greeted, ask("nonsense"), LEGACY_METHOD),
        (greeted, ask("server/discover"), LEGACY_METHOD),
        (greeted, ask("subscriptions/listen"), LEGACY_METHOD),
        (greeted, ask("sampling/createMessage"), LEGACY_METHOD),
    ],
    ids=lambda value: repr(value).partition(" at 0x")[0][:70],
)
def test_a_legacy_request_is_judged_rung_by_rung(
    session: Any, data: bytes, verdict: tuple[int, int] | None
):
    def fresh() -> Any:
        return session() if callable(session) else session

    asked = message(data)
    found = refusal(asked, BY_NAME.get(str(asked.method)), TO_SERVER, None, fresh())
    assert judge(data, None, fresh()) == verdict
    assert (found is None) == (verdict is None)


@pytest.mark.parametrize(
    ("header", "verdict"),
    [
        (None, None),
        ("2025-06-18", None),
        ("2025-11-25", NO_SESSION),
        ("2024-11-05", NO_SESSION),
        ("2099-01-01", NO_SESSION),
        ("", NO_SESSION),
    ],
)
def test_the_version_header_must_be_the_one_that_the_session_settled_on(
    header: str | None, verdict: tuple[int, int] | None
):
    session = greeted("2025-06-18")
    assert judge(ask("tools/list"), mirror(None, version=header), session) == verdict


@pytest.mark.parametrize("header", [None, *LEGACY, MODERN, "2099-01-01"])
def test_initialize_is_taken_whatever_its_header_says(header: str | None):
    assert judge(hello(), mirror(None, version=header), Session()) is None


def test_methods_are_those_of_the_session_s_revision():
    elicit = ask("elicitation/create", params={"message": "?"})
    assert judge(elicit, None, greeted("2025-06-18"), TO_CLIENT) is None
    assert judge(elicit, None, greeted("2025-03-26"), TO_CLIENT) == LEGACY_METHOD


def test_the_ladder_and_the_straight_way_agree_on_everything():
    """Every combination of era, method, params, headers and session; `judge` compares both ways."""
    bodies: list[Any] = [
        ...,
        {},
        [],
        None,
        CALL,
        keys(),
        {**keys(), **CALL},
        {**keys(**{PROTOCOL_VERSION: "2025-11-25"}), **CALL},
        {**keys(**{CLIENT_CAPABILITIES: 5}), **CALL},
        {"uri": "a:b", **keys()},
        {"uri": "a:b"},
        json.loads(hello())["params"],
        {**json.loads(hello())["params"], **keys()},
    ]
    methods = [
        "initialize",
        "ping",
        "tools/list",
        "tools/call",
        "resources/read",
        "server/discover",
    ]
    versions = (None, MODERN, "2025-11-25", "2025-06-18", "x")
    mirrors = [None, *(mirror("tools/call", "echo", version) for version in versions)]
    mirrors += [mirror(None, None, MODERN), Mirror(MODERN, "tools/call", "", "Mcp-Name: broken")]
    sessions = [lambda: None, Session, greeted, lambda: Refusal(-32001, "gone", status=404)]
    verdicts = {
        _agree(ask(method, params=body), mirrored, session)
        for method, body, mirrored, session in itertools.product(
            [*methods, "nonsense"], bodies, mirrors, sessions
        )
    }
    assert len(verdicts) > 8


def _agree(data: bytes, mirrored: Mirror | None, session: Any) -> tuple[int, int] | None:
    # `admit` opens the session it takes an initialize in, so each way gets a session of its own.
    asked = message(data)
    found = refusal(asked, BY_NAME.get(str(asked.method)), TO_SERVER, mirrored, session())
    taken = admit(asked, TO_SERVER, mirrored, session())
    if found is None:
        assert type(taken) is Call, (data, mirrored, taken)
        return None
    assert taken == found, (data, mirrored)
    return found.code, found.status
