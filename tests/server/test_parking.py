"""A handler that asks waits where it stands for the retry; where it is gone, it runs again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from dataclasses import dataclass
from typing import Any

import pytest
from msgspec import Raw
from tests.peers import Json, meta, modern, soon
from tests.transport.http.host import Host

from interlock import Context, RpcError, Server
from interlock.errors import INVALID_PARAMS, MISSING_CAPABILITY
from interlock.protocol.call import LOCAL, Call, Principal
from interlock.protocol.dispatch import Dispatch, admit
from interlock.protocol.sealing import Keyring
from interlock.server import parking
from interlock.transport.http.asgi import App
from interlock.wire.inputs import InputRequired
from interlock.wire.jsonrpc import Message, read
from interlock.wire.meta import CLIENT_CAPABILITIES
from interlock.wire.methods import TO_SERVER

ALL: Json = {"elicitation": {"form": {}, "url": {}}, "sampling": {"tools": {}}, "roots": {}}
NAME: Json = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
SECRET = "s" * 32


class Caller:
    """A modern client without a memory of its own: it sends what it is told to."""

    def __init__(self, server: Server, principal: Principal = LOCAL) -> None:
        self.dispatch = Dispatch(server)
        self.principal = principal
        self._last = 0

    async def __call__(
        self,
        name: str = "ask",
        arguments: Json | None = None,
        responses: Any = None,
        state: str | None = None,
        *,
        method: str = "tools/call",
        capabilities: Json = ALL,
        **members: Any,
    ) -> Json:
        """The whole answer to one request."""
        self._last += 1
        params: Json = {"name": name, **members}
        if method == "tools/call":
            params["arguments"] = arguments or {}
        if responses is not None:
            params["inputResponses"] = responses
        if state is not None:
            params["requestState"] = state
        data = modern(method, self._last, params, **{CLIENT_CAPABILITIES: capabilities})
        message = read(data)
        assert isinstance(message, Message)
        call = admit(message, TO_SERVER, principal=self.principal)
        assert isinstance(call, Call), call
        body, _ = await soon(self.dispatch.respond(call))
        return json.loads(body)

    async def asked(self, *args: Any, **options: Any) -> tuple[Json, str]:
        """The questions of a call that asks, and its state."""
        result = (await self(*args, **options))["result"]
        assert result["resultType"] == "input_required", result
        return result["inputRequests"], result["requestState"]

    async def text(self, *args: Any, **options: Any) -> str:
        result = (await self(*args, **options))["result"]
        assert result["resultType"] == "complete", result
        return result["content"][0]["text"]

    async def error(self, *args: Any, **options: Any) -> Json:
        return (await self(*args, **options))["error"]


def accept(**content: Any) -> Json:
    return {"action": "accept", "content": content}


class Counter:
    def __init__(self) -> None:
        self.runs = 0

    def __call__(self) -> int:
        self.runs += 1
        return self.runs


def a_server(effect: Counter, **options: Any) -> Server:
    """A tool with a side effect, then a question, then another, then a result."""
    server = Server("s", **options)

    @server.tool
    async def ask(ctx: Context, greeting: str = "Hello") -> str:
        number = await ctx.once("effect", effect)
        name = await ctx.elicit("Who?", NAME, key="who")
        sure = await ctx.elicit(f"Is {name.content} right?", NAME, key="sure")
        assert name.content
        return f"{greeting} {name.content['name']} {sure.action} {number}"

    return server


def two_workers() -> tuple[Counter, Caller, Caller]:
    effect = Counter()
    return (
        effect,
        Caller(a_server(effect, keyring=Keyring(SECRET))),
        Caller(a_server(effect, keyring=Keyring(SECRET))),
    )


async def test_a_handler_goes_on_where_it_asked():
    """Ours (house.md §6): nothing before the question runs twice."""
    effect, before = Counter(), Counter()
    server = Server("s")

    @server.tool
    async def ask(ctx: Context) -> str:
        before()
        name = await ctx.elicit("Who?", NAME, key="who")
        assert name.content
        sure = await ctx.confirm("Sure?", key="sure")
        return f"{name.content['name']} {sure} {effect()}"

    caller = Caller(server)
    questions, state = await caller.asked()
    assert questions == {
        "who": {
            "method": "elicitation/create",
            "params": {"message": "Who?", "requestedSchema": NAME},
        }
    }
    questions, state = await caller.asked(responses={"who": accept(name="Ada")}, state=state)
    assert list(questions) == ["sure"]
    assert await caller.text(responses={"sure": accept()}, state=state) == "Ada True 1"
    assert (before.runs, effect.runs) == (1, 1)


async def test_questions_asked_at_once_go_out_at_once():
    server = Server("s")

    @server.tool
    async def ask(ctx: Context) -> str:
        name, roots = await asyncio.gather(
            ctx.elicit("Who?", NAME, key="who"), ctx.roots(key="where")
        )
        return f"{name.action} {[root.uri for root in roots]}"

    caller = Caller(server)
    questions, state = await caller.asked()
    assert set(questions) == {"who", "where"}
    # One answer of two: the other is asked again, and only it (§ MRTR).
    questions, state = await caller.asked(responses={"who": {"action": "decline"}}, state=state)
    assert set(questions) == {"where"}
    where = {"roots": [{"uri": "file:///a"}]}
    assert await caller.text(responses={"where": where}, state=state) == "decline ['file:///a']"


@pytest.mark.parametrize(
    "responses",
    [None, {}, {"other": {}}, {"who": 12345}, {"who": {"action": "maybe"}}, {"who": []}],
    ids=str,
)
async def test_a_missing_or_malformed_answer_is_asked_for_again(responses: Any):
    """2026-07-28 § MRTR: the server asks again, and does not go on with what it has not got."""
    caller = Caller(a_server(Counter()))
    _, state = await caller.asked()
    questions, state = await caller.asked(responses=responses, state=state)
    assert list(questions) == ["who"]


def a_stubborn_server(**options: Any) -> Server:
    """A tool that asks the same until it likes the answer."""
    server = Server("s", **options)

    @server.tool
    async def ask(ctx: Context) -> str:
        said: list[str] = []
        while "yes" not in said:
            answer = await ctx.elicit("Who?", NAME)
            assert answer.content
            said.append(answer.content["name"])
        return " ".join(said)

    return server


async def test_what_is_asked_again_word_for_word_is_another_question():
    """Or a handler that asks until it likes the answer would be given the same one for ever."""
    caller = Caller(a_stubborn_server())
    (first,), state = await caller.asked()
    (second,), state = await caller.asked(responses={first: accept(name="no")}, state=state)
    assert second != first
    assert await caller.text(responses={second: accept(name="yes")}, state=state) == "no yes"


async def test_what_was_asked_twice_is_answered_twice_in_another_run():
    one, other = (Caller(a_stubborn_server(keyring=Keyring(SECRET))) for _ in range(2))
    (first,), state = await one.asked()
    (second,), state = await other.asked(responses={first: accept(name="no")}, state=state)
    (third,), state = await one.asked(responses={second: accept(name="maybe")}, state=state)
    text = await other.text(responses={third: accept(name="yes")}, state=state)
    assert text == "no maybe yes"


async def test_a_retry_that_reaches_another_worker_runs_again_with_the_answers_it_had():
    effect, one, other = two_workers()
    _, state = await one.asked()
    questions, state = await other.asked(responses={"who": accept(name="Ada")}, state=state)
    assert list(questions) == ["sure"]
    text = await one.text(responses={"sure": {"action": "cancel"}}, state=state)
    assert text == "Hello Ada cancel 1"
    assert effect.runs == 1


async def test_a_malformed_answer_that_reaches_another_worker_is_asked_for_again():
    _, one, other = two_workers()
    _, state = await one.asked()
    questions, _ = await other.asked(responses={"who": 12345}, state=state)
    assert list(questions) == ["who"]


async def test_what_is_kept_once_travels_where_the_client_cannot_read_it():
    server = Server("s")

    @server.tool
    async def ask(ctx: Context) -> str:
        async def order() -> dict[str, str]:
            return {"card": "4111"}

        kept = await ctx.once("order", order)
        await ctx.confirm("Sure?")
        return kept["card"]

    caller = Caller(server)
    questions, state = await caller.asked()
    assert "4111" not in state
    assert await caller.text(responses=dict.fromkeys(questions, accept()), state=state) == "4111"


async def test_the_oldest_of_too_many_parked_calls_runs_again():
    effect = Counter()
    caller = Caller(a_server(effect, parked=1))
    _, first = await caller.asked()
    await caller.asked()
    assert effect.runs == 2
    await caller.asked(responses={"who": accept(name="Ada")}, state=first)
    assert effect.runs == 2  # It ran again, and what it had kept was not done again.


async def test_what_is_parked_is_bounded_in_bytes_too(monkeypatch: pytest.MonkeyPatch):
    """A parked call has no connection left that its client would have to keep open for it."""
    monkeypatch.setattr(parking, "BYTES", 3000)
    effect = Counter()
    server = a_server(effect)
    caller = Caller(server)
    greeting: Json = {"greeting": "x" * 1000}
    _, first = await caller.asked("ask", greeting)
    await caller.asked("ask", greeting)
    assert len(server._parking) == 2  # pyright: ignore[reportPrivateUsage]
    await caller.asked("ask", greeting)
    assert len(server._parking) == 2  # pyright: ignore[reportPrivateUsage]
    _, state = await caller.asked("ask", greeting, responses={"who": accept(name="A")}, state=first)
    sure: Json = {"sure": {"action": "cancel"}}
    text = await caller.text("ask", greeting, responses=sure, state=state)
    assert text.endswith("A cancel 1")
    assert effect.runs == 3
    _, state = await caller.asked("ask", {"greeting": "y" * 5000})
    assert len(server._parking) == 0  # pyright: ignore[reportPrivateUsage]


async def test_a_server_that_parks_nothing_runs_every_call_again():
    effect = Counter()
    server = a_server(effect, parked=0)
    caller = Caller(server)
    _, state = await caller.asked()
    assert len(server._parking) == 0  # pyright: ignore[reportPrivateUsage]
    _, state = await caller.asked(responses={"who": accept(name="Ada")}, state=state)
    text = await caller.text(responses={"sure": {"action": "cancel"}}, state=state)
    assert text == "Hello Ada cancel 1"


async def test_a_client_that_never_comes_back_costs_nothing_after_the_limit():
    ended = asyncio.Event()
    server = Server("s", parked_seconds=0.01)

    @server.tool
    async def ask(ctx: Context) -> str:
        try:
            await ctx.confirm("Sure?")
        finally:
            ended.set()
        return "done"

    caller = Caller(server)
    _, state = await caller.asked()
    await soon(ended.wait())
    error = await caller.error(responses={}, state=state)
    assert error["code"] == INVALID_PARAMS  # Its ticket is over as well.
    assert len(server._parking) == 0  # pyright: ignore[reportPrivateUsage]


async def test_stopping_a_server_ends_what_it_parked():
    ended = asyncio.Event()
    server = Server("s")

    @server.tool
    async def ask(ctx: Context) -> str:
        try:
            await ctx.confirm("Sure?")
        finally:
            ended.set()
        return "done"

    await server.start()
    await Caller(server).asked()
    await server.stop()
    assert ended.is_set()


async def test_a_handler_that_does_not_end_keeps_no_server_from_stopping(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(parking, "ENDING", 0.01)
    free = asyncio.Event()
    server = Server("s")

    @server.tool
    async def ask(ctx: Context) -> str:
        with contextlib.suppress(asyncio.CancelledError):
            await ctx.confirm("Sure?")
        await free.wait()
        return "done"

    await server.start()
    for _ in range(3):
        await Caller(server).asked()
    await soon(server.stop())
    assert "3 parked calls" in caplog.text
    free.set()


class Steps:
    """A tool that is led through its steps while it is parked, and says when it has made one."""

    def __init__(self) -> None:
        self.on = asyncio.Event()
        self.made = asyncio.Event()

    async def take(self) -> None:
        self.on.set()
        await soon(self.made.wait())


async def test_a_handler_that_is_done_while_it_is_parked_answers_the_retry():
    server, steps = Server("s"), Steps()

    @server.tool
    async def ask(ctx: Context) -> str:
        asking = asyncio.create_task(ctx.confirm("Sure?"))
        await steps.on.wait()
        asking.cancel()
        steps.made.set()
        return "without"

    caller = Caller(server)
    _, state = await caller.asked()
    await steps.take()
    assert await caller.text(responses={}, state=state) == "without"
    assert len(server._parking) == 0  # pyright: ignore[reportPrivateUsage]


async def test_a_handler_that_raises_while_it_is_parked_fails_the_retry():
    server, steps = Server("s"), Steps()

    @server.prompt
    async def ask(ctx: Context) -> str:
        async with asyncio.TaskGroup() as group:
            group.create_task(ctx.confirm("Sure?"))
            await steps.on.wait()
            steps.made.set()
            raise RpcError(7, "no")

    caller = Caller(server)
    _, state = await caller.asked(method="prompts/get")
    await steps.take()
    error = await caller.error(method="prompts/get", responses={}, state=state)
    assert error["code"] == -32603


async def test_a_question_that_is_withdrawn_before_it_is_sent_is_not_asked():
    server = Server("s")

    @server.tool
    async def ask(ctx: Context) -> str:
        asking = asyncio.create_task(ctx.confirm("Sure?", key="first"))
        await asyncio.sleep(0)
        asking.cancel()
        return f"{await ctx.confirm('Really?', key='second')}"

    caller = Caller(server)
    questions, state = await caller.asked()
    assert list(questions) == ["second"]
    assert await caller.text(responses={"second": accept()}, state=state) == "True"


async def test_an_answer_to_what_is_withdrawn_at_that_moment_is_not_taken():
    server, asking = Server("s"), list[asyncio.Task[Any]]()

    @server.tool
    async def ask(ctx: Context) -> str:
        asking.append(asyncio.create_task(ctx.call.outlet.ask("roots/list", Raw(b"{}"))))
        await asyncio.wait(asking)
        return "withdrawn" if asking[0].cancelled() else "answered"

    call = Caller(server)
    (question,), state = await call.asked()
    asking[0].cancel()
    assert await call.text(responses={question: {"roots": []}}, state=state) == "withdrawn"


async def test_a_question_that_is_asked_instead_while_parked_is_asked_at_the_retry():
    server, steps = Server("s"), Steps()

    @server.tool
    async def ask(ctx: Context) -> str:
        asking = asyncio.create_task(ctx.confirm("Sure?", key="first"))
        await steps.on.wait()
        asking.cancel()
        await asyncio.wait([asking])
        steps.made.set()
        return f"{await ctx.confirm('Really?', key='second')}"

    caller = Caller(server)
    questions, state = await caller.asked()
    assert list(questions) == ["first"]
    await steps.take()
    questions, state = await caller.asked(responses={"first": accept()}, state=state)
    assert list(questions) == ["second"]
    assert await caller.text(responses={"second": accept()}, state=state) == "True"


async def test_a_client_that_leaves_during_its_retry_ends_the_handler():
    """2026-07-28 § Streamable HTTP: closing the stream cancels, whichever request of a call it is."""
    asked, ended = asyncio.Event(), asyncio.Event()
    server = Server("s")

    @server.tool
    async def ask(ctx: Context) -> str:
        try:
            await ctx.confirm("Sure?", key="sure")
            asked.set()
            await asyncio.Event().wait()
        finally:
            assert ctx.cancelled
            ended.set()
        return "done"

    app = App(server)
    host = Host(app)

    def call(**members: Any) -> bytes:
        params: Json = {"name": "ask", "arguments": {}, **members}
        return modern("tools/call", 1, params, **{CLIENT_CAPABILITIES: ALL})

    result = (await host.modern(call()).json())["result"]
    answers = {"sure": accept()}
    retry = host.modern(call(inputResponses=answers, requestState=result["requestState"]))
    await soon(asked.wait())
    retry.leave()
    await soon(retry.task)
    assert ended.is_set()
    assert len(server._parking) == 0  # pyright: ignore[reportPrivateUsage]
    # What was answered is spent with it: the client begins anew, and is asked again.
    again = host.modern(call(inputResponses=answers, requestState=result["requestState"]))
    assert (await again.json())["error"]["code"] == INVALID_PARAMS
    await app.stop()


async def test_a_call_that_is_cancelled_ends_its_handler():
    started, ended = asyncio.Event(), asyncio.Event()
    server = Server("s")

    @server.tool
    async def ask(ctx: Context) -> str:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return "done"

    call = asyncio.create_task(Caller(server)())
    await soon(started.wait())
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert ended.is_set()


@pytest.mark.parametrize("how", ["tampered", "foreign", "elsewhere", "others", "twice", "garbage"])
async def test_a_state_that_was_not_given_for_this_call_is_refused(
    how: str, caplog: pytest.LogCaptureFixture
):
    """2026-07-28 § MRTR: bound to principal, method, parameters and time; -32602, and a log line."""
    effect = Counter()
    server = a_server(effect, keyring=Keyring(SECRET))
    caller = Caller(server)
    _, state = await caller.asked()
    arguments: Json = {}
    match how:
        case "tampered":
            state = state[:-8] + ("A" if state[-8] != "A" else "B") + state[-7:]
        case "foreign":
            _, state = await Caller(a_server(effect)).asked()
        case "elsewhere":
            arguments = {"greeting": "Bye"}
        case "others":
            caller = Caller(server, Principal(subject="eve"))
        case "twice":
            await caller.asked(responses={"who": accept(name="Ada")}, state=state)
        case _:
            state = "garbage"
    with caplog.at_level(logging.WARNING, "interlock.sealing"):
        error = await caller.error(
            "ask", arguments, responses={"who": accept(name="Eve")}, state=state
        )
    assert error["code"] == INVALID_PARAMS
    assert "requestState" in error["message"]
    assert "refused" in caplog.text
    assert state not in caplog.text


async def test_a_tool_that_never_asks_takes_no_state():
    server = Server("s")

    @server.tool
    async def plain() -> str:
        return "ran"

    error = await Caller(server).error("plain", state="anything")
    assert error["code"] == INVALID_PARAMS


async def test_the_retry_may_be_written_differently():
    """Order and white space of JSON are nobody's promise."""
    caller = Caller(a_server(Counter()))
    _, state = await caller.asked("ask", {"greeting": "Hi"})
    data = (
        b'{"jsonrpc":"2.0","id":9,"method":"tools/call","params":'
        + json.dumps(
            {
                "requestState": state,
                "arguments": {"greeting": "Hi"},
                "inputResponses": {"who": accept(name="Ada")},
                "name": "ask",
                "_meta": meta(**{CLIENT_CAPABILITIES: ALL}),
            },
            indent=3,
        ).encode()
    )
    message = read(data + b"}")
    assert isinstance(message, Message)
    call = admit(message, TO_SERVER)
    assert isinstance(call, Call)
    body, _ = await caller.dispatch.respond(call)
    assert json.loads(body)["result"]["resultType"] == "input_required"


async def test_prompts_and_resources_ask_as_well():
    server = Server("s")

    @server.prompt
    async def ask(ctx: Context) -> str:
        return f"{await ctx.confirm('Sure?', key='sure')}"

    @server.resource("x://{who}")
    async def read_it(who: str, ctx: Context) -> str:
        return f"{who} {await ctx.confirm('Sure?', key='sure')}"

    caller = Caller(server)
    answers = {"sure": accept()}
    _, state = await caller.asked("ask", method="prompts/get")
    result = await caller("ask", method="prompts/get", responses=answers, state=state)
    assert result["result"]["messages"][0]["content"]["text"] == "True"
    _, state = await caller.asked(method="resources/read", uri="x://ada")
    result = await caller(method="resources/read", uri="x://ada", responses=answers, state=state)
    assert result["result"]["contents"][0]["text"] == "ada True"


@pytest.mark.parametrize("declared", [{}, {"elicitation": {"url": {}}}])
async def test_a_client_is_not_asked_what_it_did_not_declare(declared: Json):
    """2026-07-28 § MRTR: -32021 with what is missing."""
    caller = Caller(a_server(Counter()))
    error = await caller.error(capabilities=declared)
    assert error["code"] == MISSING_CAPABILITY
    assert error["data"] == {"requiredCapabilities": {"elicitation": {"form": {}}}}


async def test_a_declaration_without_parts_is_one_of_forms():
    questions, _ = await Caller(a_server(Counter())).asked(capabilities={"elicitation": {}})
    assert list(questions) == ["who"]


async def test_the_low_level_way_seals_its_own_state():
    server = Server("s")

    @server.tool
    async def ask(ctx: Context) -> str | InputRequired:
        state = ctx.unseal()
        if state is None:
            return InputRequired(request_state=ctx.seal(b"step 1"))
        return state.decode()

    caller = Caller(server)
    result = (await caller())["result"]
    assert await caller.text(state=result["requestState"]) == "step 1"
    error = await caller.error(state=result["requestState"] + "A")
    assert error["code"] == INVALID_PARAMS


async def test_a_form_is_a_type():
    @dataclass
    class Person:
        name: str
        age: int = 30

    server = Server("s")

    @server.tool
    async def ask(ctx: Context) -> str:
        person = await ctx.elicit("Who?", Person, key="who")
        assert person.content is not None
        return f"{type(person.content).__name__} {person.content.age}"

    caller = Caller(server)
    questions, state = await caller.asked()
    assert questions["who"]["params"]["requestedSchema"] == {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "age": {"type": "integer", "default": 30},
        },
        "required": ["name"],
    }
    answer = {"who": accept(name="Ada", age=36)}
    assert await caller.text(responses=answer, state=state) == "Person 36"


async def test_a_handler_that_raises_after_an_answer_says_so():
    server = Server("s")

    @server.tool
    async def ask(ctx: Context) -> str:
        await ctx.confirm("Sure?", key="sure")
        raise RpcError(7, "no")

    caller = Caller(server)
    _, state = await caller.asked()
    assert (await caller.error(responses={"sure": accept()}, state=state))["code"] == 7


async def test_a_handler_may_wait_with_a_limit_across_the_question():
    """The handler has a task of its own: `asyncio.timeout` around a question is its own too."""
    server = Server("s")

    @server.tool
    async def ask(ctx: Context) -> str:
        async with asyncio.timeout(30):
            return f"{await ctx.confirm('Sure?', key='sure')}"

    caller = Caller(server)
    _, state = await caller.asked()
    assert await caller.text(responses={"sure": accept()}, state=state) == "True"


async def test_a_form_that_was_filled_in_wrongly_is_asked_for_again():
    """2026-07-28 § MRTR: what is not what was asked for is not an answer."""
    caller = Caller(a_server(Counter()))
    _, state = await caller.asked()
    questions, state = await caller.asked(responses={"who": accept(name=7)}, state=state)
    assert list(questions) == ["who"]
    questions, state = await caller.asked(responses={"who": accept()}, state=state)
    assert list(questions) == ["who"]
    questions, _ = await caller.asked(responses={"who": accept(name="Ada")}, state=state)
    assert list(questions) == ["sure"]
