"""Answer what a call asks for, then call again: one loop for both eras and both sides.

A client runs it with its user's callbacks, a gateway with the caller's outlet, and dispatch for a
handler that returns `InputRequired` to a legacy client, which is asked on the call's stream
(2026-07-28 § MRTR). The questions of one round are asked one after the other: a person answers them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias, TypeVar

import msgspec
from msgspec import Raw, Struct

from interlock.errors import InvalidMessage
from interlock.protocol.call import Call
from interlock.wire.decoding import Decoder
from interlock.wire.inputs import ASKED, InputRequired
from interlock.wire.jsonrpc import UNREADABLE, encode
from interlock.wire.meta import RawResult, Result, members

R = TypeVar("R", bound=Result)

ROUNDS: Final = 16
"""How often one call may be asked for input before it is given up."""
QUESTIONS: Final = 64
"""How much one answer may ask for at once."""

Ask: TypeAlias = Callable[[str, Raw, str], Awaitable[Raw]]
"""Asks a method with its params, under a key, and gives the bare result. What it raises ends the
call."""


class _Question(Struct):
    method: str
    params: Raw = Raw(b"{}")


class _Asks(Struct, rename="camel"):
    input_requests: dict[str, _Question] | None = None
    request_state: Raw = Raw()


_asks: Final = Decoder(_Asks)
_text: Final = Decoder(str)


def asks(result: Result) -> bool:
    """Whether *result* is a question rather than an answer."""
    if type(result) is RawResult:
        return result.kind == "input_required"
    return isinstance(result, InputRequired)


async def rounds(handle: Callable[[Call], Awaitable[R]], call: Call, result: R, ask: Ask) -> R:
    """Go on from *result*, a question of *call*'s, until there is an answer.

    *ask* is called for each input request; its state goes back as it came, and only where it came.
    Raises `InvalidMessage` for questions that cannot be read, of a kind that may not be asked, or
    that never end; and where a method was answered with one that may not be.
    """
    if not call.row.may_ask:
        raise InvalidMessage(f"{call.method} was answered with a question, which it may not be")
    for _ in range(ROUNDS):
        asked = _read(call, result)
        answers: dict[str, Raw] = {}
        for key, question in (asked.input_requests or {}).items():
            answers[key] = await ask(question.method, question.params, key)
        result = await handle(_again(call, answers, asked.request_state))
        if not asks(result):
            return result
    raise InvalidMessage(f"{call.method} asked for input more than {ROUNDS} times; it was given up")


def _read(call: Call, result: Result) -> _Asks:
    body = result.body if type(result) is RawResult else encode(result)
    try:
        asked = _asks.decode(body)
        if asked.request_state:
            _text.decode(asked.request_state)
    except UNREADABLE as error:
        raise InvalidMessage(
            f"{call.method} asked for input in a way that cannot be read: {error}"
        ) from None
    requests = asked.input_requests or {}
    if not requests and not asked.request_state:
        raise InvalidMessage(f"{call.method} asked for input without saying for which")
    if len(requests) > QUESTIONS:
        raise InvalidMessage(
            f"{call.method} asked {len(requests)} questions; {QUESTIONS} are taken"
        )
    for question in requests.values():
        if question.method not in ASKED:
            known = ", ".join(sorted(ASKED))
            raise InvalidMessage(
                f"{call.method} asked for {question.method!r} as input; it may ask for {known}"
            )
    return asked


def _again(call: Call, answers: dict[str, Raw], state: Raw) -> Call:
    """*call* with the answers of one round, and the state of that round byte for byte."""
    fields = dict(call.fields or members(call.raw or encode(call.params)))
    for stale in ("inputResponses", "requestState"):
        fields.pop(stale, None)
    if answers:
        fields["inputResponses"] = Raw(encode(answers))
    if state:
        fields["requestState"] = state
    params = msgspec.structs.replace(
        call.params,
        input_responses=answers or None,
        request_state=_text.decode(state) if state else None,
    )
    return msgspec.structs.replace(call, params=params, fields=fields)
