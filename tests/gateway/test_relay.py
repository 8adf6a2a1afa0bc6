"""The way back of a relayed call: only what its caller asked to hear, under its caller's token."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import Raw

from interlock.errors import ConnectionLost, InvalidMessage, MissingCapability, RpcError
from interlock.gateway.relay import EVERYTHING, Relay, undeclared
from interlock.protocol.call import Call
from interlock.protocol.session import Envelope, Session
from interlock.wire.inputs import ELICIT, ROOTS, SAMPLE
from interlock.wire.meta import ClientCapabilities, LogLevel, RequestMeta, Wire
from interlock.wire.methods import BY_NAME
from interlock.wire.notices import MESSAGE, PROGRESS, TOOLS_CHANGED, ProgressNotice
from interlock.wire.tools import CallToolParams
from interlock.wire.versions import (
    ALL,
    LATEST_LEGACY,
    LATEST_MODERN,
    LEGACY,
    V2025_06_18,
    Revision,
)


class Ear:
    """An outlet that keeps what it is told."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, dict[str, Any]]] = []

    def notify(self, method: str, params: Wire | Raw) -> None:
        data = params if isinstance(params, Raw) else msgspec.json.encode(params)
        self.heard.append((method, msgspec.json.decode(data)))

    async def drain(self) -> None:
        self.heard.append(("drained", {}))

    async def ask(self, method: str, params: Wire | Raw, *, key: str = "") -> Raw:
        self.notify(method, params)
        return Raw(b"{}")

    def close_stream(self, retry: float) -> None:
        pass


def relay(
    token: str | None = None,
    *,
    revision: Revision = LATEST_MODERN,
    level: LogLevel | None = None,
    capabilities: ClientCapabilities | None = None,
    session: Session | None = None,
) -> tuple[Relay, Ear]:
    ear = Ear()
    call = Call(
        BY_NAME["tools/call"],
        CallToolParams(name="t", meta=RequestMeta(progress_token=token)),
        Envelope(revision, capabilities=capabilities or ClientCapabilities(), log_level=level),
        outlet=ear,
        session=session,
    )
    return Relay(call, "mail"), ear


def line(level: str) -> Raw:
    return Raw(msgspec.json.encode({"level": level, "data": "x", "later": 1}))


def test_progress_goes_under_the_callers_token() -> None:
    way, ear = relay("mine")
    way.notify(PROGRESS, ProgressNotice(progress_token=7, progress=0.5, total=1, message="half"))
    assert ear.heard == [
        (PROGRESS, {"progressToken": "mine", "progress": 0.5, "total": 1.0, "message": "half"})
    ]


def test_progress_nobody_asked_for_is_dropped() -> None:
    way, ear = relay()
    way.notify(PROGRESS, ProgressNotice(progress_token=7, progress=0.5))
    assert ear.heard == []


@pytest.mark.parametrize(
    ("revision", "level", "heard"),
    [
        (LATEST_MODERN, None, []),
        (LATEST_MODERN, "warning", ["warning", "error"]),
        (LATEST_LEGACY, None, ["info", "warning", "error"]),
        (LATEST_LEGACY, "error", ["error"]),
    ],
)
def test_log_lines_go_from_the_callers_level_on(
    revision: Revision, level: LogLevel | None, heard: list[str]
) -> None:
    """2026-07-28 § Logging: none unless the request asks; before it, the session's level."""
    way, ear = relay(revision=revision, level=level)
    for said in ("debug", "info", "warning", "error"):
        way.notify(MESSAGE, line(said))
    assert [notice["level"] for _, notice in ear.heard] == heard


def test_a_relayed_log_line_keeps_what_the_gateway_does_not_know() -> None:
    way, ear = relay(level="debug")
    way.notify(MESSAGE, line("info"))
    assert ear.heard == [(MESSAGE, {"level": "info", "data": "x", "later": 1})]


def test_what_cannot_be_read_or_does_not_belong_to_a_call_is_dropped() -> None:
    way, ear = relay("mine", level="debug")
    way.notify(MESSAGE, line("nonsense"))
    way.notify(MESSAGE, Raw(b"[]"))
    way.notify(TOOLS_CHANGED, Raw(b"{}"))
    assert ear.heard == []


async def test_draining_waits_for_the_caller() -> None:
    way, ear = relay()
    await way.drain()
    assert ear.heard == [("drained", {})]


FORM = Raw(b'{"message":"Who?","requestedSchema":{"type":"object","properties":{}}}')
URL = Raw(b'{"message":"Go","mode":"url","url":"https://x.example"}')
WITH_TOOLS = Raw(b'{"messages":[],"maxTokens":1,"tools":[{"name":"t"}]}')
WITHOUT_TOOLS = Raw(b'{"messages":[],"maxTokens":1}')
NOTHING = Raw(b"{}")


@pytest.mark.parametrize(
    ("declared", "method", "params", "missing"),
    [
        (ClientCapabilities(), ROOTS, NOTHING, {"roots": {}}),
        (ClientCapabilities(roots={}), ROOTS, NOTHING, {}),
        (ClientCapabilities(), ELICIT, FORM, {"elicitation": {"form": {}}}),
        (ClientCapabilities(elicitation={}), ELICIT, FORM, {}),
        (ClientCapabilities(elicitation={}), ELICIT, URL, {"elicitation": {"url": {}}}),
        (
            ClientCapabilities(elicitation={"url": {}}),
            ELICIT,
            FORM,
            {"elicitation": {"form": {}}},
        ),
        (ClientCapabilities(elicitation={"url": {}}), ELICIT, URL, {}),
        (ClientCapabilities(), SAMPLE, WITHOUT_TOOLS, {"sampling": {}}),
        (ClientCapabilities(sampling={}), SAMPLE, WITHOUT_TOOLS, {}),
        (ClientCapabilities(sampling={}), SAMPLE, WITH_TOOLS, {"sampling": {"tools": {}}}),
        (ClientCapabilities(sampling={"tools": {}}), SAMPLE, WITH_TOOLS, {}),
    ],
)
async def test_a_caller_is_asked_only_what_it_declared(
    declared: ClientCapabilities, method: str, params: Raw, missing: dict[str, Any]
) -> None:
    """2026-07-28 § MRTR: no question of a kind that the client did not declare."""
    way, ear = relay(capabilities=declared)
    if missing:
        with pytest.raises(MissingCapability) as refusal:
            await way.ask(method, params)
        assert refusal.value.data == {"requiredCapabilities": missing}
        assert ear.heard == []
    else:
        await way.ask(method, params)
        assert ear.heard[0][0] == method


@pytest.mark.parametrize("params", [URL, WITH_TOOLS], ids=["url", "tools"])
async def test_a_caller_is_asked_nothing_that_its_revision_has_no_words_for(params: Raw) -> None:
    """Whatever it declares: hosts that speak newer revisions too declare all they can do."""
    way, ear = relay(revision=LEGACY["2025-06-18"], capabilities=EVERYTHING)
    with pytest.raises(MissingCapability):
        await way.ask(ELICIT if params is URL else SAMPLE, params)
    assert ear.heard == []


@pytest.mark.parametrize(("method", "params"), [(ELICIT, Raw(b"[]")), ("ping", NOTHING)])
async def test_what_is_no_question_is_a_fault_of_the_server(method: str, params: Raw) -> None:
    way, ear = relay(capabilities=EVERYTHING)
    with pytest.raises(InvalidMessage):
        await way.ask(method, params)
    assert ear.heard == []


async def test_a_person_is_told_which_server_asks() -> None:
    """2026-07-28 § Elicitation: make clear which server is asking."""
    way, ear = relay(capabilities=EVERYTHING)
    await way.ask(ELICIT, FORM)
    assert ear.heard[0][1]["message"] == "[mail] Who?"
    await way.ask(SAMPLE, WITH_TOOLS)
    assert ear.heard[1][1] == msgspec.json.decode(WITH_TOOLS)


async def test_a_question_loses_what_belongs_to_the_hop_before() -> None:
    way, ear = relay(capabilities=EVERYTHING)
    await way.ask(ROOTS, Raw(b'{"_meta":{"progressToken":7,"x/y":1},"task":{"ttl":1}}'))
    await way.ask(ROOTS, Raw(b'{"_meta":{"progressToken":7}}'))
    assert [params for _, params in ear.heard] == [{"_meta": {"x/y": 1}}, {}]


async def test_a_visit_has_an_id_where_its_revision_wants_one_and_nowhere_else() -> None:
    """2025-11-25 § Elicitation, URL mode; 2026-07-28 has no such id."""
    known = Raw(b'{"message":"Go","mode":"url","url":"https://x.example","elicitationId":"7"}')
    way, ear = relay(revision=LATEST_LEGACY, capabilities=EVERYTHING, session=Session())
    await way.ask(ELICIT, URL)
    await way.ask(ELICIT, known)
    assert len(ear.heard[0][1]["elicitationId"]) > 8
    assert ear.heard[1][1]["elicitationId"] == "7"
    way, ear = relay(capabilities=EVERYTHING)
    await way.ask(ELICIT, known)
    assert "elicitationId" not in ear.heard[0][1]


async def test_a_caller_that_left_answers_with_an_error_and_no_incident() -> None:
    class Gone(Ear):
        async def ask(self, method: str, params: Wire | Raw, *, key: str = "") -> Raw:
            raise ConnectionLost("the client left before it answered")

    way, _ = relay(capabilities=EVERYTHING)
    way.call.outlet = Gone()
    with pytest.raises(RpcError, match="did not answer elicitation/create: the client left"):
        await way.ask(ELICIT, FORM)


def test_nobody_is_asked_what_their_revision_has_no_words_for():
    """Whatever they declare: hosts that speak newer revisions too declare all they can do."""
    able = ClientCapabilities(elicitation={"form": {}, "url": {}}, sampling={"tools": {}})
    questions = {
        "form": ("elicitation/create", b'{"message":"?"}'),
        "url": ("elicitation/create", b'{"mode":"url","message":"?"}'),
        "tools": ("sampling/createMessage", b'{"tools":[{}]}'),
    }
    may = {
        revision.name: [
            name
            for name, (method, params) in questions.items()
            if not undeclared(Envelope(revision, capabilities=able), method, Raw(params))
        ]
        for revision in ALL
    }
    assert may == {
        "2024-11-05": [],
        "2025-03-26": [],
        "2025-06-18": ["form"],
        "2025-11-25": ["form", "url", "tools"],
        "2026-07-28": ["form", "url", "tools"],
    }


SEVERAL = Raw(
    b'{"message":"?","requestedSchema":{"type":"object","properties":{"x":{"type":"array",'
    b'"items":{"type":"string","enum":["a","b"]}}}}}'
)


@pytest.mark.parametrize(("revision", "fine"), [(V2025_06_18, False), (LATEST_LEGACY, True)])
def test_an_older_caller_is_not_asked_for_several(revision: Revision, fine: bool) -> None:
    """2025-11-25 brought choices of several; before it they are no form."""
    envelope = Envelope(revision, capabilities=EVERYTHING)
    assert (not undeclared(envelope, "elicitation/create", SEVERAL)) is fine
    assert not undeclared(envelope, "elicitation/create", FORM)


async def test_an_older_caller_gets_one_block_a_message() -> None:
    blocks = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    messages = [{"role": "user", "content": blocks}, {"role": "user", "content": blocks[0]}]
    params = Raw(msgspec.json.encode({"messages": messages, "maxTokens": 1}))
    way, ear = relay(revision=V2025_06_18, capabilities=EVERYTHING)
    await way.ask("sampling/createMessage", params)
    heard = [message["content"] for message in ear.heard[0][1]["messages"]]
    assert heard == [blocks[0], blocks[1], blocks[0]]
