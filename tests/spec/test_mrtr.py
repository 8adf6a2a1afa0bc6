"""§8 Multi round-trip requests: what a server asks before it answers."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from tests.peers import MODERN, Json, modern, soon
from tests.spec.fronting import front
from tests.spec.marking import requirement
from tests.spec.scripts import SAID, Asked, Script, meet
from tests.spec.ways import Answer, Peer, Way

from interlock import Context, RpcError, Server
from interlock.errors import INVALID_PARAMS, InvalidMessage
from interlock.protocol.call import Call, Handler, Principal
from interlock.protocol.dispatch import Dispatch, admit
from interlock.protocol.sealing import Keyring
from interlock.wire.content import Text
from interlock.wire.inputs import ElicitParams, InputRequired
from interlock.wire.jsonrpc import Message, read
from interlock.wire.meta import CLIENT_CAPABILITIES, Result
from interlock.wire.methods import TO_SERVER
from interlock.wire.tools import CallToolParams, CallToolResult, Tool

ALL: Json = {"elicitation": {"form": {}, "url": {}}, "sampling": {"tools": {}}, "roots": {}}
NAME: Json = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
ADA: Json = {"action": "accept", "content": {"name": "Ada"}}
HERE: Json = {"roots": [{"uri": "file:///here"}]}
WHO: Json = {"method": "elicitation/create", "params": {"message": "Who?", "requestedSchema": NAME}}
QUESTION: Json = {"resultType": "input_required", "inputRequests": {"who": WHO}}
SECRET = "s" * 32


class Asker(Server):
    """Asks in every way there is."""

    def __init__(self, **options: Any) -> None:
        super().__init__("asker", **options)
        self.runs = 0
        self.ended = asyncio.Event()
        for tool in (self.ask, self.both, self.visit, self.tools_of_model, self.low):
            self.tool(tool)
        self.prompt(self.greet)
        self.resource("note://{name}")(self.note)

    async def ask(self, ctx: Context, greeting: str = "Hello") -> str:
        self.runs += 1
        try:
            name = await ctx.elicit("Who?", NAME, key="who")
            if not name.accepted:
                return f"nobody ({name.action})"
            sure = await ctx.elicit("Sure?", NAME, key="sure")
            return f"{greeting} {(name.content or {})['name']} {sure.action}"
        except asyncio.CancelledError:
            self.ended.set()
            raise

    async def both(self, ctx: Context) -> str:
        roots, name = await asyncio.gather(
            ctx.roots(key="roots"), ctx.elicit("Who?", NAME, key="who")
        )
        return f"{roots[0].uri} {(name.content or {})['name']}"

    async def visit(self, ctx: Context) -> str:
        return str(await ctx.elicit_url("Pay", "https://pay.example.com/1", key="pay"))

    async def tools_of_model(self, ctx: Context) -> str:
        tools = [Tool(name="t", input_schema={"type": "object"})]
        return (await ctx.sample("Hi", max_tokens=5, tools=tools, key="model")).model

    async def low(self, ctx: Context) -> CallToolResult | InputRequired:
        assert isinstance(ctx.call.params, CallToolParams)
        state = ctx.call.params.request_state
        if state is None:
            return InputRequired(request_state="mine")
        return CallToolResult(content=[Text(text=state)])

    async def greet(self, ctx: Context) -> str:
        return f"Hello {(await ctx.elicit('Who?', NAME, key='who')).action}"

    async def note(self, ctx: Context, name: str) -> str:
        return f"{name} {(await ctx.elicit('Who?', NAME, key='who')).action}"


async def call(
    peer: Peer, name: str, responses: Any = ..., state: Any = ..., **more: Any
) -> Answer:
    params: Json = {"name": name, "inputResponses": responses, "requestState": state, **more}
    return await peer.ask("tools/call", {k: v for k, v in params.items() if v is not ...})


async def asked(peer: Peer, name: str, *args: Any, **more: Any) -> tuple[Json, str]:
    """The questions of a call, and its state."""
    result = (await call(peer, name, *args, **more)).result
    assert result["resultType"] == "input_required"
    return result["inputRequests"], result["requestState"]


async def text(peer: Peer, name: str, *args: Any, **more: Any) -> str:
    result = (await call(peer, name, *args, **more)).result
    assert result["resultType"] == "complete"
    return result["content"][0]["text"]


# What a server asks.


@requirement("MR-01")
async def test_input_is_required_by_three_methods_and_by_no_other(way: Way):
    """Only tools/call, prompts/get and resources/read may be answered with `input_required`.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/patterns/mrtr.mdx
    """

    def curious(handle: Handler) -> Handler:
        async def always(call: Call) -> Result:
            if call.method.endswith("/list"):
                return InputRequired(request_state="x")
            return await handle(call)

        return always

    async with way.join(Asker(middleware=[curious]), capabilities=ALL) as peer:
        for method, params in [
            ("tools/call", {"name": "ask"}),
            ("prompts/get", {"name": "greet"}),
            ("resources/read", {"uri": "note://one"}),
        ]:
            result = (await peer.ask(method, params)).result
            assert result["resultType"] == "input_required"
            assert result["inputRequests"].keys() == {"who"}
            again = {"inputResponses": {"who": ADA}, "requestState": result["requestState"]}
            assert (await peer.ask(method, {**params, **again})).result
        for method in ("tools/list", "resources/list", "prompts/list"):
            assert (await peer.ask(method)).code == -32603


@requirement("MR-01")
async def test_a_client_takes_no_question_where_there_is_none(way: Way):
    """Only tools/call, prompts/get and resources/read may be answered with `input_required`.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/patterns/mrtr.mdx
    """
    script = Script(way.revision, {"prompts/list": QUESTION})
    async with meet(way, script, on_elicit=fill) as client:
        with pytest.raises(InvalidMessage):
            await client.list_prompts()
    assert len(script.of("prompts/list")) == 1


@requirement("MR-02", "MR-03")
async def test_a_question_is_a_request_under_a_key_of_its_own(way: Way):
    """`input_required` has questions, a state, or both.
    Questions are a map from unique keys to requests of elicitation, sampling or roots.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/patterns/mrtr.mdx
    """
    async with way.join(Asker(), capabilities=ALL) as peer:
        questions, state = await asked(peer, "both")
        assert questions["who"] == WHO | {"params": {**WHO["params"], **questions["who"]["params"]}}
        assert questions["roots"]["method"] == "roots/list"
        assert questions.keys() == {"who", "roots"}
        for question in questions.values():
            assert question.keys() <= {"method", "params"}
        assert await text(peer, "both", {"who": ADA, "roots": HERE}, state) == "file:///here Ada"


@requirement("MR-02")
async def test_a_question_may_be_a_state_alone_and_never_nothing(way: Way):
    """`input_required` has questions, a state, or both.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/patterns/mrtr.mdx
    """
    server = Asker()

    @server.tool
    async def empty() -> CallToolResult | InputRequired:
        return InputRequired()

    async with way.join(server, capabilities=ALL) as peer:
        result = (await call(peer, "low")).result
        assert (result["requestState"], result.get("inputRequests")) == ("mine", None)
        assert await text(peer, "low", ..., "mine") == "mine"
        assert "error" in (await call(peer, "empty")).message


@requirement("MR-03")
async def test_nothing_but_elicitation_sampling_and_roots_is_asked(way: Way):
    """Questions are a map from unique keys to requests of elicitation, sampling or roots.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/patterns/mrtr.mdx
    """
    server = Asker()

    @server.tool
    async def odd() -> CallToolResult | InputRequired:
        return InputRequired(input_requests={"x": {"method": "tools/list", "params": {}}})

    async with way.join(server, capabilities=ALL) as peer:
        assert "error" in (await call(peer, "odd")).message


@requirement("MR-04", "ST-07")
async def test_nothing_is_asked_that_this_request_did_not_declare(way: Way):
    """Nothing is asked that this request did not declare.
    A server relies on no capability that this request does not declare; what it cannot do
    without is refused with -32021.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/patterns/mrtr.mdx
    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/index.mdx
    """
    cases: list[tuple[str, Json, Json]] = [
        ("ask", {}, {"elicitation": {"form": {}}}),
        ("ask", {"elicitation": {"url": {}}}, {"elicitation": {"form": {}}}),
        ("visit", {"elicitation": {}}, {"elicitation": {"url": {}}}),
        ("visit", {"elicitation": {"form": {}}}, {"elicitation": {"url": {}}}),
        ("tools_of_model", {"sampling": {}}, {"sampling": {"tools": {}}}),
    ]
    for name, declared, missing in cases:
        async with way.join(Asker(), capabilities=declared) as peer:
            answer = await call(peer, name)
            assert answer.code == -32021, (name, declared)
            assert answer.error["data"]["requiredCapabilities"] == missing
    async with way.join(Asker(), capabilities={"elicitation": {}}) as peer:
        assert (await asked(peer, "ask"))[0]  # An empty object is a form.


@requirement("MR-05")
async def test_a_call_whose_client_never_comes_back_ends(way: Way):
    """A server does not count on the client's coming back.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/patterns/mrtr.mdx
    """
    server = Asker(parked_seconds=0.01)
    async with way.join(server, capabilities=ALL) as peer:
        await asked(peer, "ask")
        await soon(server.ended.wait())


@requirement("MR-05")
async def test_a_server_may_ask_again_and_again(way: Way):
    """A server does not count on the client's coming back.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/patterns/mrtr.mdx
    """
    async with way.join(Asker(), capabilities=ALL) as peer:
        _, first = await asked(peer, "ask")
        questions, second = await asked(peer, "ask", {"who": ADA}, first)
        assert questions.keys() == {"sure"}
        assert await text(peer, "ask", {"sure": ADA}, second) == "Hello Ada accept"


# State.


@requirement("MR-06")
async def test_a_state_that_was_changed_is_refused(way: Way):
    """State that decides anything is protected, and refused where it was changed.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/patterns/mrtr.mdx
    """
    async with way.join(Asker(), capabilities=ALL) as peer:
        _, state = await asked(peer, "ask")
        middle = len(state) // 2
        other = "A" if state[middle] != "A" else "B"
        for wrong in (
            state[:middle] + other + state[middle + 1 :],
            state[:-2],
            state + "A",
            "",
            "parked.il1.AAAA",
            "made up",
        ):
            assert (await call(peer, "ask", {"who": ADA}, wrong)).code == INVALID_PARAMS
        assert (await asked(peer, "ask", {"who": ADA}, state))[0]


@requirement("MR-07")
async def test_a_state_is_good_for_its_own_request_only(way: Way):
    """State is bound to who asked, to the request and to a time.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/patterns/mrtr.mdx
    """
    async with way.join(Asker(), capabilities=ALL) as peer:
        _, state = await asked(peer, "ask", arguments={"greeting": "Hi"})
        for name, arguments in (("ask", {"greeting": "Bye"}), ("ask", {}), ("both", {})):
            answer = await call(peer, name, {"who": ADA}, state, arguments=arguments)
            assert answer.code == INVALID_PARAMS
        asked_prompt = {"name": "greet", "inputResponses": {"who": ADA}, "requestState": state}
        assert (await peer.ask("prompts/get", asked_prompt)).code == INVALID_PARAMS


@requirement("MR-07")
async def test_a_state_is_good_for_a_while_and_for_one_use(way: Way):
    """State is bound to who asked, to the request and to a time.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/patterns/mrtr.mdx
    """
    now = 1000.0
    server = Asker(keyring=Keyring(SECRET, clock=lambda: now))
    async with way.join(server, capabilities=ALL) as peer:
        _, late = await asked(peer, "ask")
        _, used = await asked(peer, "ask")
        await asked(peer, "ask", {"who": ADA}, used)
        assert (await call(peer, "ask", {"who": ADA}, used)).code == INVALID_PARAMS
        now += 100_000
        assert (await call(peer, "ask", {"who": ADA}, late)).code == INVALID_PARAMS


@requirement("MR-07")
async def test_a_state_is_good_for_whoever_was_asked():
    """State is bound to who asked, to the request and to a time.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/patterns/mrtr.mdx
    """
    dispatch = Dispatch(Asker())

    async def sent(who: str, **more: Any) -> Json:
        params = {"name": "ask", **more}
        message = read(modern("tools/call", 1, params, **{CLIENT_CAPABILITIES: ALL}))
        assert isinstance(message, Message)
        principal = Principal(issuer="https://issuer.example.com", subject=who)
        taken = admit(message, TO_SERVER, principal=principal)
        assert isinstance(taken, Call)
        return json.loads((await dispatch.respond(taken))[0])

    state = (await sent("ada"))["result"]["requestState"]
    responses = {"who": ADA}
    stolen = await sent("eve", requestState=state, inputResponses=responses)
    assert stolen["error"]["code"] == INVALID_PARAMS
    assert "result" in await sent("ada", requestState=state, inputResponses=responses)


@requirement("MR-08", "ST-03", "MR-15")
async def test_another_worker_with_the_same_key_goes_on(way: Way):
    """Several workers share the keys that seal state, and keys can be changed.
    State across requests is named in parameters: handles, requestState, task ids.
    A handler that runs again gets earlier answers by their keys, not by order.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/patterns/mrtr.mdx
    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/index.mdx
    """
    one, two, stranger = (Asker(keyring=Keyring(key)) for key in (SECRET, SECRET, "x" * 32))
    async with way.join(one, capabilities=ALL) as here, way.join(two, capabilities=ALL) as there:
        _, first = await asked(here, "ask")
        _, second = await asked(there, "ask", {"who": ADA}, first)
        assert await text(here, "ask", {"sure": ADA}, second) == "Hello Ada accept"
        async with way.join(stranger, capabilities=ALL) as elsewhere:
            assert (await call(elsewhere, "ask", {"sure": ADA}, second)).code == INVALID_PARAMS


# Answers.


@requirement("MR-12")
async def test_strange_answers_are_ignored_and_missing_or_malformed_ones_asked_for_again(way: Way):
    """Unknown answers are ignored, missing ones asked for again, malformed ones refused.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/patterns/mrtr.mdx
    """
    async with way.join(Asker(), capabilities=ALL) as peer:
        _, state = await asked(peer, "ask")
        questions, state = await asked(peer, "ask", {"strange": ADA}, state)
        assert questions.keys() == {"who"}
        for wrong in (5, {"action": "maybe"}, {"action": "accept", "content": {"name": 5}}, HERE):
            answer = await call(peer, "ask", {"who": wrong}, state)
            if "error" in answer.message:
                assert answer.code == INVALID_PARAMS
                _, state = await asked(peer, "ask")
            else:
                assert answer.result["inputRequests"].keys() == {"who"}
                state = answer.result["requestState"]
        questions, state = await asked(peer, "ask", {"who": ADA, "strange": 5}, state)
        assert questions.keys() == {"sure"}


@requirement("MR-13", "EL-13")
@pytest.mark.parametrize("action", ["decline", "cancel"])
async def test_a_no_is_an_answer(way: Way, action: str):
    """Declining is an ordinary answer.
    A server deals with a no, a cancellation and a failure.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/patterns/mrtr.mdx
    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/client/elicitation.mdx
    """
    async with way.join(Asker(), capabilities=ALL) as peer:
        _, state = await asked(peer, "ask")
        said = await text(peer, "ask", {"who": {"action": action}}, state)
        assert said == f"nobody ({action})"


# What a client does.


async def fill(question: ElicitParams) -> Json:
    return {"name": f"answer to {question.message}"}


@requirement("MR-09", "MR-10")
async def test_a_client_answers_everything_and_asks_again_under_a_new_id(way: Way):
    """The client answers every question before it retries.
    A retry is the same request under a new id, with answers under their keys and the state
    unchanged if there was one.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/patterns/mrtr.mdx
    """
    state = 'é "\\u0041" \\ opaque'
    hard: Json = {**QUESTION, "requestState": state}
    hard["inputRequests"] = {"who": WHO, "ü": WHO, "where": {"method": "roots/list"}}

    async def ask(asked: Asked) -> None:
        await asked.result(SAID if "inputResponses" in asked.params else hard)

    script = Script(way.revision, {"tools/call": ask})
    async with meet(way, script, on_elicit=fill, roots=["file:///here"]) as client:
        result = await client.call_tool("tool", {"a": 1}, meta={"com.example/x": 1})
        assert result.text == "said"
    first, second = script.of("tools/call")
    assert first.id != second.id
    assert second.params["name"] == first.params["name"]
    assert second.params["arguments"] == first.params["arguments"]
    assert second.params["requestState"] == state
    accepted = {"action": "accept", "content": {"name": "answer to Who?"}}
    where = second.params["inputResponses"].pop("where")
    assert second.params["inputResponses"] == {"who": accepted, "ü": accepted}
    assert where["roots"][0]["uri"] == "file:///here"
    assert second.meta[CLIENT_CAPABILITIES] == first.meta[CLIENT_CAPABILITIES]


@requirement("MR-09", "MR-10")
async def test_a_client_sends_no_state_where_it_got_none_and_no_answers_where_nothing_was_asked(
    way: Way,
):
    """The client answers every question before it retries.
    A retry is the same request under a new id, with answers under their keys and the state
    unchanged if there was one.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/patterns/mrtr.mdx
    """

    async def ask(asked: Asked) -> None:
        count = len(script.of("tools/call"))
        bare = {"resultType": "input_required", "requestState": "s2"}
        await asked.result([QUESTION, bare, SAID][count - 1])

    script = Script(way.revision, {"tools/call": ask})
    async with meet(way, script, on_elicit=fill) as client:
        await client.call_tool("tool")
    first, second, third = [heard.params for heard in script.of("tools/call")]
    assert not {"requestState", "inputResponses"} & first.keys()
    assert "requestState" not in second
    assert second["inputResponses"]
    assert third["requestState"] == "s2"
    assert "inputResponses" not in third


@requirement("MR-11")
async def test_a_client_uses_answers_and_state_for_their_own_request_only(way: Way):
    """Answers and state are used for their own request only.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/patterns/mrtr.mdx
    """

    async def ask(asked: Asked) -> None:
        mine = f"state of {asked.params['name']}"
        again = "inputResponses" in asked.params
        await asked.result(SAID if again else {**QUESTION, "requestState": mine})

    script = Script(way.revision, {"tools/call": ask})
    async with meet(way, script, on_elicit=fill) as client:
        await asyncio.gather(*(client.call_tool(f"t{number}") for number in range(5)))
        await client.call_tool("t0")
    for heard in script.of("tools/call"):
        state = heard.params.get("requestState")
        assert state in (None, f"state of {heard.params['name']}")
        assert ("inputResponses" in heard.params) == (state is not None)
    assert len(script.of("tools/call")) == 12


@requirement("MR-03", "MR-04")
async def test_a_client_answers_nothing_that_it_did_not_declare(way: Way):
    """Questions are a map from unique keys to requests of elicitation, sampling or roots.
    Nothing is asked that this request did not declare.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/patterns/mrtr.mdx
    """
    script = Script(way.revision)
    async with meet(way, script, on_elicit=fill) as client:
        for method in ("roots/list", "sampling/createMessage", "tools/list", "odd"):
            question: Json = {"x": {"method": method, "params": {"messages": [], "maxTokens": 1}}}
            script.answers["tools/call"] = {**QUESTION, "inputRequests": question}
            with pytest.raises((RpcError, InvalidMessage)):
                await client.call_tool("tool")
    assert not [heard for heard in script.heard if "inputResponses" in heard.params]


@requirement("MR-14")
async def test_a_client_does_not_answer_for_ever(way: Way):
    """A client bounds how often it is asked for one request.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/patterns/mrtr.mdx
    """
    script = Script(way.revision, {"tools/call": QUESTION})
    async with meet(way, script, on_elicit=fill) as client:
        with pytest.raises(InvalidMessage, match="given up"):
            await client.call_tool("tool")
    assert 2 <= len(script.of("tools/call")) <= 20


@requirement("MR-16")
async def test_a_gateway_asks_its_caller_only_what_that_declared_and_keeps_states_apart(
    way: Way, tmp_path: Any
):
    """A gateway hands questions on only where its caller declared them, and gives no upstream
    another's state.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/patterns/mrtr.mdx
    """

    async def ask(asked: Asked) -> None:
        again = "inputResponses" in asked.params
        await asked.result(SAID if again else {**QUESTION, "requestState": "of upstream"})

    one, two = (Script(MODERN, {"tools/call": ask}) for _ in range(2))
    async with front(tmp_path, one=one, two=two) as gateway:
        async with way.join(gateway) as mute:
            assert (await call(mute, "one__tool")).error
        async with way.join(gateway, capabilities={"elicitation": {}}) as peer:
            questions, state = await asked(peer, "one__tool")
            assert [question["method"] for question in questions.values()] == ["elicitation/create"]
            assert state != "of upstream"
            responses = dict.fromkeys(questions, ADA)
            assert (await call(peer, "two__tool", responses, state)).code == INVALID_PARAMS
            assert await text(peer, "one__tool", responses, state) == "said"
    assert one.of("tools/call")[-1].params["requestState"] == "of upstream"
    assert not [heard for heard in two.heard if "requestState" in heard.params]
