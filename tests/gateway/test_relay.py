"""The way back of a relayed call: only what its caller asked to hear, under its caller's token."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import Raw

from interlock.errors import RpcError
from interlock.gateway.relay import EVERYTHING, Relay
from interlock.protocol.call import Call
from interlock.protocol.session import Envelope
from interlock.wire.meta import ClientCapabilities, LogLevel, RequestMeta, Wire
from interlock.wire.methods import BY_NAME
from interlock.wire.notices import MESSAGE, PROGRESS, TOOLS_CHANGED, ProgressNotice
from interlock.wire.tools import CallToolParams
from interlock.wire.versions import LATEST_LEGACY, LATEST_MODERN, Revision


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
) -> tuple[Relay, Ear]:
    ear = Ear()
    call = Call(
        BY_NAME["tools/call"],
        CallToolParams(name="t", meta=RequestMeta(progress_token=token)),
        Envelope(revision, capabilities=capabilities or ClientCapabilities(), log_level=level),
        outlet=ear,
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


@pytest.mark.parametrize(
    ("declared", "method", "params", "fine"),
    [
        (ClientCapabilities(), "roots/list", Raw(b"{}"), False),
        (ClientCapabilities(roots={}), "roots/list", Raw(b"{}"), True),
        (ClientCapabilities(elicitation={}), "elicitation/create", FORM, True),
        (ClientCapabilities(elicitation={}), "elicitation/create", URL, False),
        (ClientCapabilities(elicitation={"url": {}}), "elicitation/create", FORM, False),
        (ClientCapabilities(elicitation={"url": {}}), "elicitation/create", URL, True),
        (ClientCapabilities(sampling={}), "sampling/createMessage", WITH_TOOLS, False),
        (ClientCapabilities(sampling={"tools": {}}), "sampling/createMessage", WITH_TOOLS, True),
        (EVERYTHING, "elicitation/create", Raw(b"[]"), False),
        (EVERYTHING, "ping", Raw(b"{}"), False),
    ],
)
async def test_a_caller_is_asked_only_what_it_declared(
    declared: ClientCapabilities, method: str, params: Raw, fine: bool
) -> None:
    way, ear = relay(capabilities=declared)
    assert way.may_ask(method, params) is fine
    if not fine:
        with pytest.raises(RpcError, match="does not answer"):
            await way.ask(method, params)
        assert ear.heard == []


async def test_a_person_is_told_which_server_asks() -> None:
    """2026-07-28 § Elicitation: make clear which server is asking."""
    way, ear = relay(capabilities=EVERYTHING)
    await way.ask("elicitation/create", FORM)
    assert ear.heard[0][1]["message"] == "[mail] Who?"
    await way.ask("sampling/createMessage", WITH_TOOLS)
    assert ear.heard[1][1] == msgspec.json.decode(WITH_TOOLS)
