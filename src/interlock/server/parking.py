"""Hold a running call that asked, for a client that will retry.

A modern client cannot be sent a request: it is answered with the question and calls again with what
it was told (2026-07-28 § MRTR). So a handler that may ask runs as a task of its own, apart from the
request that waits for it. When it asks, the request is answered `input_required` with a sealed
ticket, and the task stays where it stands; the retry finds it by its ticket and waits on. Nothing
before the question runs twice.

Where the task is gone (too many are parked, too much time went by, another worker got the retry)
the handler runs again from the top: what was answered so far, and what it kept by `Context.once`,
came back in the sealed state and is there before it is asked for.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from interlock.errors import INVALID_REQUEST, RpcError
from interlock.protocol.call import Call
from interlock.protocol.outlet import SILENT, Outlet
from interlock.protocol.sealing import Keyring, Unsealed, binding, digest, unusable
from interlock.server.forms import complaint
from interlock.server.function import Signature
from interlock.transport.eager import eagerly
from interlock.wire.decoding import Decoder
from interlock.wire.inputs import ASKED, ElicitParams, ElicitResult, InputRequired
from interlock.wire.jsonrpc import UNREADABLE, encode
from interlock.wire.meta import ClientCapabilities, Result, Wire

log: Final = logging.getLogger("interlock.parking")

LIMIT: Final = 1000
BYTES: Final = 64 * 1024 * 1024
"""How many calls may be parked at once, and how many bytes their requests may have together. Beyond
either the oldest has to run again if it is retried."""
SECONDS: Final = 600.0
"""How long a parked call waits for its client, and a ticket is good for."""
QUESTIONS: Final = 64
"""How many questions one call may have open at once."""
ROUNDS: Final = 64
"""How often one call may be answered with questions before it is given up."""
ENDING: Final = 2.0
"""Seconds that parked handlers get to end when their server stops."""

Run = Callable[[Call], Awaitable[Result]]

_elicit: Final = Decoder(ElicitParams)
_decoders: Final = {name: Decoder(type_) for name, type_ in ASKED.items()}


class _State(Struct):
    """What travels sealed: enough to find the parked call, or to run it again."""

    ticket: str
    rounds: int = 0
    asked: list[str] = []
    answers: dict[str, Raw] = {}
    kept: dict[str, Raw] = {}


TICKET: Final = "parked."
"""What our tickets begin with. Any other state is a handler's own, or nobody's."""

_state: Final = Decoder(_State)


class _Question(Struct):
    method: str
    params: Raw
    answer: asyncio.Future[Raw]


class Held:
    """A handler that runs apart from the requests that wait for it, and the outlet of its call.

    *call* is the handler's own, kept up to date with the request that waits at the moment.
    """

    def __init__(self, call: Call, state: _State, *, foreign: bool = False) -> None:
        """*foreign* says that the call came with a state which is the handler's own to read."""
        self.call = msgspec.structs.replace(call, outlet=self, kept=state.kept)
        self.answers = state.answers
        self.kept = state.kept
        self.rounds = state.rounds
        self.questions: dict[str, _Question] = {}
        self.task: asyncio.Task[Result] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.may_part = False
        self.weight = 0
        self._given: set[str] = set()
        self._outlet: Outlet = call.outlet
        self._waiter: asyncio.Future[None] | None = None
        self._parting: Result | None = None
        self._foreign = foreign

    # As the outlet of the handler's call.

    def notify(self, method: str, params: Wire | Raw) -> None:
        self._outlet.notify(method, params)

    async def drain(self) -> None:
        await self._outlet.drain()

    def close_stream(self, retry: float) -> None:
        self._outlet.close_stream(retry)

    async def ask(self, method: str, params: Wire | Raw, *, key: str = "") -> Raw:
        if self._foreign:
            # It was not made for a question that is asked this way.
            raise unusable(self.call, "it is not of our making")
        data = params if isinstance(params, Raw) else Raw(encode(params))
        name = self._name(method, data, key)
        answer = self.answers.get(name)
        if answer is not None and fits(method, data, answer):
            self._given.add(name)
            return answer
        if len(self.questions) >= QUESTIONS:
            raise RpcError(INVALID_REQUEST, f"More than {QUESTIONS} questions at once")
        loop = asyncio.get_running_loop()
        question = self.questions[name] = _Question(method, data, loop.create_future())
        self._wake()
        try:
            return await question.answer
        finally:
            self.questions.pop(name, None)

    def part(self, result: Result, outlet: Outlet) -> None:
        """Answer the request that waits with *result*, and go on without it, with *outlet*.

        Only where it `may_part`: other requests know no such answer. Whoever parts a handler from
        its request is the one who waits for it from then on.
        """
        self.call.outlet = outlet
        self._parting = result
        self._wake()

    # As a call that is waited for.

    def attach(self, call: Call) -> None:
        """Let the handler speak to the request that waits now."""
        own = self.call
        own.params, own.raw, own.id = call.params, call.raw, call.id
        own.envelope, own.deadline, own.fields = call.envelope, call.deadline, call.fields
        self._outlet = call.outlet

    def detach(self) -> None:
        self._outlet = SILENT

    def start(self, run: Run) -> None:
        self.task = eagerly(_run(run, self.call), asyncio.get_running_loop())
        self.task.add_done_callback(self._done)

    async def settled(self) -> Result | None:
        """Wait until the handler is done or has asked; its result, None if it asks."""
        task = self.task
        assert task is not None
        while not task.done() and self._parting is None:
            if self.questions:
                return None
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        # It may have ended in the very step in which it parted; the request was promised the rest.
        return self._parting if self._parting is not None else task.result()

    def take(self, responses: dict[str, Raw]) -> None:
        """Hand the handler what its client answered; what does not fit is as good as missing."""
        for key, question in list(self.questions.items()):
            answer = responses.get(key)
            if question.answer.done():
                continue  # It was withdrawn at this moment.
            if answer is not None and fits(question.method, question.params, answer):
                self.answers[key] = Raw(bytes(answer))  # Not the whole message that it came in.
                self._given.add(key)
                del self.questions[key]
                question.answer.set_result(self.answers[key])

    def cancel(self) -> None:
        """Have the handler end; what it asked is withdrawn with it."""
        self.call.cancelled = True
        if self.task is not None:
            self.task.cancel()

    def _name(self, method: str, params: Raw, key: str) -> str:
        """What a question is called: the same when the handler asks it in another run.

        One that was answered in this run is another question when it is asked again.
        """
        stem = key or f"{method.partition('/')[0]}-{digest(params).hex()[:12]}"
        name, count = stem, 1
        while name in self.questions or name in self._given:
            count += 1
            name = f"{stem}-{count}"
        return name

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _done(self, task: asyncio.Task[Result]) -> None:
        if not task.cancelled():
            task.exception()  # Read: it may end while nobody waits for it.
        self._wake()


class Parking:
    """The held calls of one service.

    *keyring* seals the tickets: workers that serve one endpoint need the same. At most *limit*
    calls are parked, each for *seconds* at most.
    """

    def __init__(self, keyring: Keyring, *, limit: int = LIMIT, seconds: float = SECONDS) -> None:
        self._keyring = keyring
        self._limit = limit
        self._seconds = seconds
        self._parked: dict[str, Held] = {}
        self._weight = 0
        self._used: dict[str, None] = {}
        self._ending: set[asyncio.Task[Result]] = set()

    def __len__(self) -> int:
        return len(self._parked)

    async def answer(
        self, call: Call, signature: Signature, run: Run, *, apart: bool = False
    ) -> Result:
        """Run a call of a function that may ask, or that came with a state; held where it must be.

        A legacy client is asked on the call's stream, and a client that nothing can be asked of
        not at all: there the handler runs as any other does, unless it may want to be *apart* from
        its request for another reason: to `part` from it.
        """
        params: Any = call.params
        state: str | None = params.request_state
        if call.session is not None:
            return await run(call)
        asks = signature.wants_context and askable(call.envelope.capabilities)
        if state is None and not (asks or apart):
            return await run(call)
        ours = state is None or state.startswith(TICKET)
        if not ours and not signature.may_return(InputRequired):
            raise unusable(call, "it is not of our making")
        return await self.hold(call, run, apart=apart)

    async def hold(self, call: Call, run: Run, *, apart: bool = False) -> Result:
        """Answer a modern *call* by running it apart: its result, or what it asks for.

        *run* is given the call that the handler is to see. Cancelling it ends the handler.
        """
        held = self._found(call)
        held.may_part = apart
        if held.task is None:
            held.start(run)
        try:
            result = await held.settled()
            if result is None:
                # Let everyone ask who is about to: questions that are asked at once go out at once.
                await asyncio.sleep(0)
                result = await held.settled()
        except asyncio.CancelledError:
            held.cancel()
            if held.task is not None:
                await asyncio.wait([held.task])
            raise
        return result if result is not None else self._park(held)

    async def end(self) -> None:
        """End every parked call, in `ENDING` seconds at most."""
        for ticket in list(self._parked):
            self._drop(ticket)
        if self._ending:
            _, deaf = await asyncio.wait(self._ending, timeout=ENDING)
            if deaf:
                log.warning("%d parked calls go on though they were cancelled", len(deaf))

    def _found(self, call: Call) -> Held:
        """What *call* goes on with: a new run, one that is parked, or one anew with old answers."""
        params: Any = call.params
        sealed: str | None = params.request_state
        if sealed is None or not sealed.startswith(TICKET):
            return Held(call, _State(""), foreign=sealed is not None)
        try:
            opened = self._keyring.open(sealed[len(TICKET) :], bound=binding(call))
            state = _state.decode(opened)
        except Unsealed as why:
            raise unusable(call, str(why)) from None
        if state.ticket in self._used:
            raise unusable(call, "it was used before")
        self._mark(state.ticket)
        responses: dict[str, Raw] = params.input_responses or {}
        held = self._take(state.ticket)
        if held is not None:
            held.attach(call)
            held.take(responses)
            return held
        for key in state.asked:
            if key in responses:
                state.answers[key] = Raw(bytes(responses[key]))
        return Held(call, state)

    def _park(self, held: Held) -> InputRequired:
        held.rounds += 1
        if held.rounds > ROUNDS:
            self._let_go(held)
            raise RpcError(INVALID_REQUEST, f"This call was answered {ROUNDS} times with questions")
        ticket = os.urandom(16).hex()
        state = _State(ticket, held.rounds, list(held.questions), held.answers, held.kept)
        asked = {
            key: {"method": question.method, "params": msgspec.json.decode(question.params)}
            for key, question in held.questions.items()
        }
        try:
            sealed = TICKET + self._keyring.seal(
                encode(state), bound=binding(held.call), ttl=self._seconds
            )
        except ValueError as error:
            self._let_go(held)
            raise RpcError(INVALID_REQUEST, f"This call cannot ask any more: {error}") from None
        held.detach()
        held.weight = len(held.call.raw)
        loop = asyncio.get_running_loop()
        held.timer = loop.call_later(self._seconds, self._drop, ticket)
        self._parked[ticket] = held
        self._weight += held.weight
        while len(self._parked) > self._limit or self._weight > BYTES:
            self._drop(next(iter(self._parked)))
        return InputRequired(input_requests=asked, request_state=sealed)

    def _take(self, ticket: str) -> Held | None:
        held = self._parked.pop(ticket, None)
        if held is not None:
            self._weight -= held.weight
            if held.timer is not None:
                held.timer.cancel()
        return held

    def _drop(self, ticket: str) -> None:
        held = self._take(ticket)
        if held is not None:
            self._let_go(held)

    def _let_go(self, held: Held) -> None:
        """End a handler that nobody waits for."""
        held.cancel()
        task = held.task
        if task is not None and not task.done():
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    def _mark(self, ticket: str) -> None:
        self._used[ticket] = None
        while len(self._used) > 4 * self._limit:
            del self._used[next(iter(self._used))]


def askable(capabilities: ClientCapabilities) -> bool:
    """Whether there is anything that a client may be asked."""
    return (
        capabilities.elicitation is not None
        or capabilities.sampling is not None
        or capabilities.roots is not None
    )


def fits(method: str, params: Raw, answer: Raw) -> bool:
    """Whether *answer* is one to this question: of its type, and where it is a form, of its form."""
    try:
        read = _decoders[method].decode(answer)
        if not isinstance(read, ElicitResult) or read.action != "accept":
            return True
        form = _elicit.decode(params).requested_schema
    except UNREADABLE:
        return False
    return form is None or complaint(form, read.content) is None


async def _run(run: Run, call: Call) -> Result:
    return await run(call)
