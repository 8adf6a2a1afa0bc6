"""Whose question, log line or ended visit it is, where the transport does not tell."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from msgspec import Raw
from tests.gateway.test_relay import Ear
from tests.peers import soon

from interlock.errors import INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND, RpcError
from interlock.gateway.audience import Audience
from interlock.gateway.desk import VISITS, RelayDesk, visits_of
from interlock.gateway.relay import EVERYTHING, Relay
from interlock.protocol.call import LOCAL, Call, Principal
from interlock.protocol.outlet import Outlet
from interlock.protocol.session import Envelope, Session
from interlock.wire.inputs import ELICIT, ROOTS, ElicitParams, ListRootsParams
from interlock.wire.lifecycle import InitializeParams, SetLevelParams
from interlock.wire.meta import ClientCapabilities, Implementation, LogLevel, RawResult, Wire
from interlock.wire.methods import BY_NAME
from interlock.wire.notices import ELICITED, MESSAGE
from interlock.wire.tools import CallToolParams
from interlock.wire.versions import LATEST_LEGACY, LATEST_MODERN

ADA, BOB = Principal("ada"), Principal("bob")
LINE = Raw(b'{"level":"warning","data":"x"}')
FORM: dict[str, Any] = {"message": "Who?", "requestedSchema": {"type": "object", "properties": {}}}


def a_session(revision: str = "2025-11-25", standing: Outlet | None = None) -> Session:
    session = Session(standing=standing if standing is not None else Ear())
    me = Implementation(name="tests", version="1")
    session.open(
        InitializeParams(protocol_version=revision, capabilities=EVERYTHING, client_info=me)
    )
    return session


def a_relay(
    desk: RelayDesk,
    *,
    can: ClientCapabilities = EVERYTHING,
    principal: Principal = LOCAL,
    session: Session | None = None,
) -> tuple[Relay, Ear]:
    """The relay of a call that runs, and what its caller hears."""
    ear = Ear()
    revision = LATEST_MODERN if session is None else session.envelope.revision
    envelope = Envelope(revision, capabilities=can, log_level="debug")
    params = CallToolParams(name="t")
    row = BY_NAME["tools/call"]
    relay = Relay(Call(row, params, envelope, principal, ear, session=session), "mail")
    desk.running[relay] = None
    return relay, ear


def asked(method: str, params: dict[str, Any] | None = None, on: Outlet | None = None) -> Call:
    row = BY_NAME[method]
    raw = msgspec.json.encode(params or {})
    return Call(row, row.decoder.decode(raw), Envelope(LATEST_LEGACY), raw=Raw(raw), asked_on=on)


# Questions.


async def test_a_question_goes_to_the_call_on_whose_stream_it_came() -> None:
    desk = RelayDesk()
    first, ear = a_relay(desk, principal=ADA)
    _, other = a_relay(desk, principal=BOB)
    await desk.handle(asked(ELICIT, FORM, first))
    assert [method for method, _ in ear.heard] == [ELICIT]
    assert other.heard == []


async def test_over_a_pipe_it_goes_to_the_newest_that_can_answer() -> None:
    desk = RelayDesk()
    _, oldest = a_relay(desk)
    _, able = a_relay(desk)
    _, unable = a_relay(desk, can=ClientCapabilities(roots={}))
    await desk.handle(asked(ELICIT, FORM))
    assert (len(oldest.heard), len(able.heard), len(unable.heard)) == (0, 1, 0)


class Slow(Ear):
    """A caller that thinks before it answers."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()
        self.answers = asyncio.Event()

    async def ask(self, method: str, params: Wire | Raw, *, key: str = "") -> Raw:
        self.notify(method, params)
        self.asked.set()
        await self.answers.wait()
        return Raw(b'{"action":"decline"}')


def slow_relays(desk: RelayDesk, count: int) -> list[tuple[Relay, Slow]]:
    found: list[tuple[Relay, Slow]] = []
    for _ in range(count):
        relay, _ = a_relay(desk)
        ear = relay.call.outlet = Slow()
        found.append((relay, ear))
    return found


async def test_over_a_pipe_questions_at_once_go_to_different_calls() -> None:
    """A modern caller hears of its question when its call is answered: none must wait for another."""
    desk = RelayDesk()
    callers = slow_relays(desk, 3)
    asking = [asyncio.ensure_future(desk.handle(asked(ELICIT, FORM))) for _ in range(3)]
    for _, ear in callers:
        await soon(ear.asked.wait())
        ear.answers.set()
    assert [len(ear.heard) for _, ear in callers] == [1, 1, 1]
    await soon(asyncio.gather(*asking))
    assert desk.asking == {}


async def test_a_question_ends_with_the_call_that_it_belongs_to() -> None:
    desk = RelayDesk()
    ((relay, ear),) = slow_relays(desk, 1)
    asking = asyncio.ensure_future(desk.handle(asked(ELICIT, FORM, relay)))
    await soon(ear.asked.wait())
    del desk.running[relay]
    desk.over(relay)
    with pytest.raises(RpcError, match="over before"):
        await soon(asking)
    assert desk.asking == {}


async def test_over_a_pipe_it_is_asked_of_another_when_a_call_has_ended() -> None:
    """It was not the ended call's, if the server still waits."""
    desk = RelayDesk()
    (_, first), (newest, second) = slow_relays(desk, 2)
    asking = asyncio.ensure_future(desk.handle(asked(ELICIT, FORM)))
    await soon(second.asked.wait())
    del desk.running[newest]
    desk.over(newest)
    await soon(first.asked.wait())
    first.answers.set()
    answer = await soon(asking)
    assert isinstance(answer, RawResult)
    assert bytes(answer.body) == b'{"action":"decline"}'


async def test_a_question_that_its_server_takes_back_is_taken_back() -> None:
    desk = RelayDesk()
    ((_, ear),) = slow_relays(desk, 1)
    asking = asyncio.ensure_future(desk.handle(asked(ELICIT, FORM)))
    await soon(ear.asked.wait())
    asking.cancel()
    await asyncio.wait([asking])
    assert asking.cancelled()
    assert desk.asking == {}


async def test_over_a_pipe_nobody_is_asked_what_may_be_anothers() -> None:
    desk = RelayDesk()
    ears = [a_relay(desk, principal=principal)[1] for principal in (ADA, BOB)]
    with pytest.raises(RpcError, match="one of several callers") as refusal:
        await desk.handle(asked(ELICIT, FORM))
    assert refusal.value.code == INVALID_REQUEST
    assert [ear.heard for ear in ears] == [[], []]


@pytest.mark.parametrize(("runs", "code"), [(False, METHOD_NOT_FOUND), (True, INVALID_PARAMS)])
async def test_a_question_that_nobody_can_answer_gets_an_error(runs: bool, code: int) -> None:
    desk = RelayDesk()
    if runs:
        a_relay(desk, can=ClientCapabilities())
    with pytest.raises(RpcError) as refusal:
        await desk.handle(asked(ROOTS))
    assert refusal.value.code == code


async def test_a_modern_server_asks_nobody_here() -> None:
    with pytest.raises(RpcError):
        await RelayDesk().ask(ROOTS, Raw(msgspec.json.encode(ListRootsParams())), "k")


# Log lines.


async def test_a_line_goes_to_all_that_run_as_long_as_they_are_one_principals() -> None:
    unheard: list[Raw] = []
    desk = RelayDesk(unheard.append)
    first, second = (a_relay(desk, principal=ADA)[1] for _ in range(2))
    desk.logged(LINE)
    assert [ear.heard[0][0] for ear in (first, second)] == [MESSAGE, MESSAGE]
    _, other = a_relay(desk, principal=BOB)
    desk.logged(LINE)
    assert (len(first.heard), len(second.heard), other.heard) == (1, 1, [])
    assert unheard == []


async def set_level(audience: Audience, session: Session, level: LogLevel, who: Principal) -> None:
    params = SetLevelParams(level=level)
    row = BY_NAME["logging/setLevel"]
    await audience.set_level(Call(row, params, session.envelope, who, session=session))


async def test_a_line_of_no_call_goes_to_the_sessions_that_asked_for_its_level() -> None:
    audience = Audience()
    ears = {level: Ear() for level in ("debug", "warning", "error", "")}
    sessions = {level: a_session(standing=ear) for level, ear in ears.items()}
    for level in ("debug", "warning", "error"):
        await set_level(audience, sessions[level], level, ADA)
        await set_level(audience, sessions[level], level, ADA)
    RelayDesk(audience.hear).logged(LINE)
    audience.hear(Raw(b'{"level":"loud"}'))
    assert {level: len(ear.heard) for level, ear in ears.items()} == {
        "debug": 1,
        "warning": 1,
        "error": 0,
        "": 0,
    }
    for session in sessions.values():
        session.close()
    assert len(audience) == 0


async def test_a_line_of_no_call_goes_to_nobody_where_it_may_be_anothers() -> None:
    audience, ears = Audience(), (Ear(), Ear())
    for ear, principal in zip(ears, (ADA, BOB), strict=True):
        await set_level(audience, a_session(standing=ear), "debug", principal)
    audience.hear(LINE)
    assert [ear.heard for ear in ears] == [[], []]


# Visits.


def visit(number: str) -> dict[str, Any]:
    where = {"mode": "url", "url": "https://login.example", "message": "Log in"}
    return {**where, "elicitationId": number}


async def test_the_end_of_a_visit_is_told_on_the_call_and_after_it_in_the_session() -> None:
    desk = RelayDesk()
    standing = Ear()
    relay, ear = a_relay(desk, session=a_session(standing=standing))
    for number in ("1", "2"):
        await desk.handle(asked(ELICIT, visit(number), relay))
    desk.visited("1")
    desk.visited("1")
    del desk.running[relay]
    desk.visited("2")
    assert ear.heard[2:] == [(ELICITED, {"elicitationId": "1"})]
    assert standing.heard == [(ELICITED, {"elicitationId": "2"})]


@pytest.mark.parametrize("session", [None, a_session("2025-06-18")], ids=["modern", "2025-06-18"])
async def test_the_end_of_a_visit_is_told_to_nobody_who_has_no_words_for_it(
    session: Session | None,
) -> None:
    desk = RelayDesk()
    relay, ear = a_relay(desk, session=session)
    if session is None:
        await desk.handle(asked(ELICIT, visit("1"), relay))
    desk.refused(relay.call, RpcError(-32042, "no", {"elicitations": [visit("1")]}))
    desk.visited("1")
    assert ELICITED not in [method for method, _ in ear.heard]


async def test_the_end_of_a_visit_that_an_error_asked_for_is_told_in_the_session() -> None:
    desk, standing = RelayDesk(), Ear()
    relay, _ = a_relay(desk, session=a_session(standing=standing))
    desk.refused(relay.call, RpcError(-32042, "no", {"elicitations": [visit("1"), visit("2")]}))
    desk.visited("2")
    assert standing.heard == [(ELICITED, {"elicitationId": "2"})]


async def test_only_so_many_visits_are_remembered() -> None:
    desk, standing = RelayDesk(), Ear()
    relay, _ = a_relay(desk, session=a_session(standing=standing))
    for number in range(VISITS + 1):
        error = RpcError(-32042, "no", {"elicitations": [visit(str(number))]})
        desk.refused(relay.call, error)
    desk.visited("0")
    desk.visited(str(VISITS))
    assert len(standing.heard) == 1


@pytest.mark.parametrize(
    "error",
    [
        RpcError(-32000, "no", {"elicitations": [visit("1")]}),
        RpcError(-32042, "no"),
        RpcError(-32042, "no", {"elicitations": {}}),
        RpcError(-32042, "no", {"elicitations": [{"url": 7}]}),
        RpcError(-32042, "no", {"elicitations": [{**visit("1"), "mode": "form"}]}),
    ],
)
def test_an_error_that_sends_nobody_anywhere_is_an_error(error: RpcError) -> None:
    assert visits_of(error) == []


def test_an_error_says_where_to_go() -> None:
    error = RpcError(-32042, "no", {"elicitations": [visit(str(n)) for n in range(100)]})
    visits = visits_of(error)
    assert len(visits) == 16
    assert isinstance(visits[0], ElicitParams)
    assert (visits[0].url, visits[0].elicitation_id) == ("https://login.example", "0")
