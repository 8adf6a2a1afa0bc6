"""§16 What a server asks of a client: elicitation, sampling, roots."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from tests.peers import LEGACY, Json, modern, soon
from tests.spec.asking import talk
from tests.spec.marking import requirement
from tests.spec.scripts import SAID, Asked, Heard, Script, meet
from tests.spec.ways import Answer, Way

from interlock import Client, Context, RpcError, Server
from interlock.errors import (
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    MISSING_CAPABILITY,
    ConfigError,
    InvalidMessage,
    UsageError,
)
from interlock.protocol.call import Call, Principal
from interlock.protocol.dispatch import Dispatch, admit
from interlock.wire.content import Text, ToolOutcome, ToolUse
from interlock.wire.inputs import (
    CreateMessageParams,
    CreateMessageResult,
    ElicitParams,
    ElicitResult,
    SamplingMessage,
)
from interlock.wire.jsonrpc import Message, read
from interlock.wire.meta import CLIENT_CAPABILITIES
from interlock.wire.methods import TO_SERVER
from interlock.wire.tools import Tool

SINCE_FORMS = ["2025-06-18", "2025-11-25", "2026-07-28"]
SINCE_URLS = ["2025-11-25", "2026-07-28"]
FORM: Json = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "title": "Name", "minLength": 1, "maxLength": 50},
        "email": {"type": "string", "format": "email"},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "score": {"type": "number"},
        "agreed": {"type": "boolean", "default": False},
        "size": {"type": "string", "enum": ["s", "m"]},
    },
    "required": ["name"],
}
MODELLED: Json = {"role": "assistant", "content": {"type": "text", "text": "hi"}, "model": "m"}


def asker() -> Server:
    server = Server("asker")

    @server.tool
    async def form(ctx: Context) -> str:
        answer = await ctx.elicit("Who are you?", FORM)
        return f"{answer.action} {json.dumps(answer.content)}"

    @server.tool
    async def visit(ctx: Context) -> str:
        return str(await ctx.elicit_url("Please log in.", "https://example.com/login?x=1"))

    @server.tool
    async def sample(ctx: Context) -> str:
        answer = await ctx.sample("Hello", max_tokens=10, system_prompt="Be kind.")
        return str(answer.content)

    @server.tool
    async def roots(ctx: Context) -> str:
        return ", ".join(root.uri for root in await ctx.roots())

    return server


def text(answer: Answer) -> str:
    return answer.result["content"][0]["text"]


def declared(heard: Heard) -> Json:
    """The capabilities in a message of our client."""
    return heard.params.get("capabilities") or heard.meta.get(CLIENT_CAPABILITIES) or {}


def refused(answer: Answer) -> bool:
    """Whether a call was refused because the client did not declare what it needs."""
    return "error" in answer.message and answer.code in (MISSING_CAPABILITY, -32600)


async def ask_client(
    way: Way, method: str, params: Json, **options: Any
) -> tuple[Json | Exception, Script]:
    """What our client answers to one question in the middle of a call, or why its call failed."""
    said: Json = {}

    async def call(asked: Asked) -> None:
        if way.modern and "inputResponses" not in asked.params:
            requests = {"q": {"method": method, "params": params}}
            await asked.result({"resultType": "input_required", "inputRequests": requests})
            return
        if way.modern:
            said.update(asked.params["inputResponses"]["q"])
        else:
            await asked.ask("question", method, params)
            answer = await script.hears(lambda heard: heard.id == "question")
            said.update(answer.message)
        await asked.result(SAID)

    script = Script(way.revision, {"tools/call": call})
    async with meet(way, script, **options) as client:
        try:
            await client.call_tool("tool")
        except (RpcError, InvalidMessage) as error:
            return error, script
    return said.get("result", said), script


async def agree(asked: ElicitParams) -> ElicitResult:
    return ElicitResult(action="accept", content={"name": "Ada"})


async def go(asked: ElicitParams) -> bool:
    return True


async def model(asked: CreateMessageParams) -> CreateMessageResult:
    return CreateMessageResult(role="assistant", content=Text(text="hi"), model="m")


# Elicitation.


@requirement("EL-01", revisions=SINCE_FORMS)
async def test_a_server_asks_only_in_the_modes_that_were_declared(way: Way):
    """Elicitation is declared with its modes, and only those are used.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/client/elicitation.mdx
    """
    allowed: list[tuple[Json, bool, bool]] = [
        ({}, False, False),
        ({"elicitation": {}}, True, False),
        ({"elicitation": {"form": {}}}, True, False),
        ({"elicitation": {"form": {}, "url": {}}}, True, True),
        ({"elicitation": {"url": {}}}, False, True),
    ]
    for capabilities, form, url in allowed:
        async with way.join(asker(), capabilities=capabilities) as peer:
            visits = url and way.revision in SINCE_URLS
            for name, may in (("form", form), ("visit", visits)):
                talked = await talk(peer, name, {"action": "decline"})
                assert bool(talked.questions) == may
                assert refused(talked.answer) != may


@requirement("EL-01")
async def test_a_client_declares_what_it_can_answer(way: Way):
    """Elicitation is declared with its modes, and only those are used.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/client/elicitation.mdx
    """
    cases: list[tuple[Json, Json | None]] = [
        ({}, None),
        ({"on_elicit": agree}, {"form": {}}),
        ({"on_elicit_url": go}, {"url": {}}),
        ({"on_elicit": agree, "on_elicit_url": go}, {"form": {}, "url": {}}),
    ]
    for options, expected in cases:
        script = Script(way.revision)
        async with meet(way, script, **options) as client:
            await client.list_tools()
        asked = script.of("tools/list" if way.modern else "initialize")
        assert declared(asked[0]).get("elicitation") == expected


@requirement("EL-01")
async def test_a_client_refuses_a_mode_it_did_not_declare(way: Way):
    """Elicitation is declared with its modes, and only those are used.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/client/elicitation.mdx
    """
    url = {"mode": "url", "message": "Go", "url": "https://example.com", "elicitationId": "1"}
    for params, options in (
        (url, {"on_elicit": agree}),
        ({"message": "Who?", "requestedSchema": FORM}, {"on_elicit_url": go}),
    ):
        answer, _ = await ask_client(way, "elicitation/create", params, **options)
        if way.modern:
            assert isinstance(answer, Exception)
        else:
            assert not isinstance(answer, Exception)
            assert answer["error"]["code"] == INVALID_PARAMS


@requirement("EL-02")
async def test_a_server_takes_each_answer_there_is(way: Way):
    """An answer accepts, declines or cancels; only an accepted form has content.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/client/elicitation.mdx
    """
    content: Json = {"name": "Ada", "age": 3, "agreed": True, "score": 1.5}
    async with way.join(asker(), capabilities={"elicitation": {}}) as peer:
        talked = await talk(peer, "form", {"action": "accept", "content": content})
        assert text(talked.answer) == f"accept {json.dumps(content)}"
        for action in ("decline", "cancel"):
            talked = await talk(peer, "form", {"action": action})
            assert text(talked.answer) == f"{action} null"


@requirement("EL-02", revisions=SINCE_FORMS)
async def test_a_client_sends_content_only_with_an_accepted_form(way: Way):
    """An answer accepts, declines or cancels; only an accepted form has content.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/client/elicitation.mdx
    """

    async def decline(asked: ElicitParams) -> None: ...

    async def cancel(asked: ElicitParams) -> ElicitResult:
        return ElicitResult(action="cancel")

    params = {"message": "Who?", "requestedSchema": FORM}
    answers = [
        (await ask_client(way, "elicitation/create", params, on_elicit=on_elicit))[0]
        for on_elicit in (agree, decline, cancel)
    ]
    assert answers == [
        {"action": "accept", "content": {"name": "Ada", "agreed": False}},
        {"action": "decline"},
        {"action": "cancel"},
    ]


@dataclass
class Person:
    name: str
    age: int = 30
    tall: bool = False
    size: Literal["s", "m"] = "s"


@requirement("EL-03")
async def test_a_form_is_flat_and_arrives_as_it_was_written(way: Way):
    """A form is a flat object of strings, numbers, booleans and choices.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/client/elicitation.mdx
    """
    server = asker()
    server.tool(name="nested")(_asking({"type": "object", "properties": {"a": {"type": "object"}}}))
    server.tool(name="list")(_asking({"type": "array", "items": {"type": "string"}}))

    @server.tool
    async def person(ctx: Context) -> str:
        return str((await ctx.elicit("Who?", Person)).content)

    async with way.join(server, capabilities={"elicitation": {}}) as peer:
        talked = await talk(peer, "form", {"action": "decline"})
        assert talked.questions[0]["params"]["requestedSchema"] == FORM
        for wrong in ("nested", "list"):
            assert (await talk(peer, wrong, {"action": "decline"})).questions == []
        filled = {"action": "accept", "content": {"name": "Ada", "size": "m"}}
        talked = await talk(peer, "person", filled)
        assert text(talked.answer) == str(Person("Ada", 30, tall=False, size="m"))
    schema = talked.questions[0]["params"]["requestedSchema"]
    assert {member: inner["type"] for member, inner in schema["properties"].items()} == {
        "name": "string",
        "age": "integer",
        "tall": "boolean",
        "size": "string",
    }


def _asking(schema: Json) -> Any:
    async def ask(ctx: Context) -> str:
        await ctx.elicit("What?", schema)
        return ""

    return ask


@requirement("EL-02", "EL-03", revisions=SINCE_FORMS)
async def test_several_are_chosen_only_where_that_is_known(way: Way):
    """An answer accepts, declines or cancels; only an accepted form has content.
    A form is a flat object of strings, numbers, booleans and choices.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/client/elicitation.mdx
    """
    several = {"type": "array", "items": {"type": "string", "enum": ["a", "b"]}}
    server = Server("s")

    @server.tool
    async def choose(ctx: Context) -> str:
        form: Json = {"type": "object", "properties": {"letters": several}}
        return str((await ctx.elicit("Which?", form)).content)

    chosen = {"action": "accept", "content": {"letters": ["a", "b"]}}
    async with way.join(server, capabilities={"elicitation": {}}) as peer:
        talked = await talk(peer, "choose", chosen)
    if way.revision in SINCE_URLS:
        assert text(talked.answer) == "{'letters': ['a', 'b']}"
    else:
        assert talked.questions == []
        assert refused(talked.answer)


@requirement("EL-04")
async def test_without_a_mode_it_is_a_form(way: Way):
    """Without a mode it is a form.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/client/elicitation.mdx
    """
    async with way.join(asker(), capabilities={"elicitation": {}}) as peer:
        talked = await talk(peer, "form", {"action": "decline"})
    assert talked.questions[0]["params"].get("mode", "form") == "form"
    shown: list[ElicitParams] = []

    async def show(asked: ElicitParams) -> None:
        shown.append(asked)

    for mode in ({}, {"mode": "form"}):
        params = {"message": "Who?", "requestedSchema": FORM, **mode}
        await ask_client(way, "elicitation/create", params, on_elicit=show)
    assert [asked.requested_schema for asked in shown] == [FORM, FORM]


@requirement("EL-05")
async def test_a_client_fills_in_defaults(way: Way):
    """Defaults are filled in; both sides validate the answer.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/client/elicitation.mdx
    """
    properties: Json = {
        "name": {"type": "string", "default": "Ada"},
        "agreed": {"type": "boolean", "default": True},
        "age": {"type": "integer"},
    }
    form = {"type": "object", "properties": properties}

    async def fill(asked: ElicitParams) -> Json:
        return {"agreed": False}

    params = {"message": "Who?", "requestedSchema": form}
    answer, _ = await ask_client(way, "elicitation/create", params, on_elicit=fill)
    assert answer == {"action": "accept", "content": {"name": "Ada", "agreed": False}}


@requirement("EL-05", revisions=SINCE_FORMS)
@pytest.mark.parametrize("content", [{}, {"name": 1}, {"name": "Ada", "size": "huge"}])
async def test_a_server_takes_no_answer_that_does_not_fit_the_form(way: Way, content: Json):
    """Defaults are filled in; both sides validate the answer.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/client/elicitation.mdx
    """
    given = [content, {"name": "Ada"}]
    async with way.join(asker(), capabilities={"elicitation": {}}) as peer:
        talked = await talk(
            peer, "form", lambda _: {"action": "accept", "content": given.pop(0) if given else {}}
        )
    if "error" in talked.answer.message:
        assert talked.answer.code == INVALID_PARAMS
    else:
        assert len(talked.questions) == 2
        assert text(talked.answer) == 'accept {"name": "Ada"}'


@requirement("EL-06", revisions=SINCE_URLS)
async def test_a_form_has_no_place_for_a_secret(way: Way):
    """Secrets are not asked for by form.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/client/elicitation.mdx
    """
    server = asker()
    secret = {"type": "string", "format": "password"}
    server.tool(name="login")(_asking({"type": "object", "properties": {"password": secret}}))
    async with way.join(server, capabilities={"elicitation": {"form": {}, "url": {}}}) as peer:
        assert (await talk(peer, "login", {"action": "decline"})).questions == []
        # By URL nothing of what is entered comes through the client.
        content = {"action": "accept", "content": {"password": "hunter2"}}
        assert text((await talk(peer, "visit", content)).answer) == "True"


@requirement("EL-07")
async def test_a_visit_has_a_message_and_a_url_and_is_agreed_to_without_content(way: Way):
    """A URL to visit comes with a message; accepting is consent only.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/client/elicitation.mdx
    """
    async with way.join(asker(), capabilities={"elicitation": {"url": {}}}) as peer:
        talked = await talk(peer, "visit", {"action": "accept"})
        assert text(talked.answer) == "True"
        assert text((await talk(peer, "visit", {"action": "decline"})).answer) == "False"
    params = talked.questions[0]["params"]
    assert bool(params.pop("elicitationId", None)) != way.modern
    assert params == {
        "mode": "url",
        "message": "Please log in.",
        "url": "https://example.com/login?x=1",
    }
    answer, _ = await ask_client(
        way,
        "elicitation/create",
        {**params, **({} if way.modern else {"elicitationId": "1"})},
        on_elicit_url=go,
    )
    assert answer == {"action": "accept"}


@requirement("EL-07", revisions=["2025-11-25"])
async def test_the_end_of_a_visit_is_told_by_its_id_and_an_unknown_id_is_ignored(way: Way):
    """A URL to visit comes with a message; accepting is consent only.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/client/elicitation.mdx
    """
    server = Server("s")

    @server.tool
    async def visit(ctx: Context) -> str:
        await ctx.elicit_url("Please log in.", "https://example.com/login")
        ctx.visited()
        return "welcome"

    async with way.join(server, capabilities={"elicitation": {"url": {}}}) as peer:
        begun = await peer.open("tools/call", {"name": "visit", "arguments": {}})
        asked = await begun.until(lambda said: said.get("method") == "elicitation/create")
        await peer.reply(asked, {"action": "accept"})
        told = await begun.until(lambda said: "elicitation/complete" in said.get("method", ""))
        assert told["params"]["elicitationId"] == asked["params"]["elicitationId"]

    async def call(asked: Asked) -> None:
        await asked.say("notifications/elicitation/complete", {"elicitationId": "nobody's"})
        await asked.result(SAID)

    async with meet(way, Script(way.revision, {"tools/call": call})) as client:
        assert (await client.call_tool("tool")).text == "said"


@requirement("EL-08", revisions=SINCE_URLS)
async def test_visits_that_must_come_first_may_be_listed_in_an_error_but_not_to_modern_clients(
    way: Way,
):
    """-32042 lists the URLs that must be visited first.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-11-25/client/elicitation.mdx
    """
    server = Server("s")
    visit = {
        "mode": "url",
        "elicitationId": "1",
        "url": "https://example.com/login",
        "message": "Please log in.",
    }

    @server.tool
    async def needs() -> str:
        raise RpcError(-32042, "Please log in first.", {"elicitations": [visit]})

    async with way.join(server, capabilities={"elicitation": {"url": {}}}) as peer:
        error = (await peer.ask("tools/call", {"name": "needs", "arguments": {}})).error
    if way.modern:
        assert error["code"] != -32042
    else:
        assert error["code"] == -32042
        assert error["data"] == {"elicitations": [visit]}


@requirement("EL-09")
@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "file:///etc/passwd",
        "data:text/html,x",
        "example.com",
        "https://ada:hunter2@example.com",
        "",
    ],
)
async def test_only_a_web_page_can_be_visited(way: Way, url: str):
    """Such a URL holds no data of the user and opens nothing by itself.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/client/elicitation.mdx
    """
    server = Server("s")
    refused: list[UsageError] = []

    @server.tool
    async def visit(ctx: Context) -> None:
        try:
            await ctx.elicit_url("Go", url)
        except UsageError as error:
            refused.append(error)

    async with way.join(server, capabilities={"elicitation": {"url": {}}}) as peer:
        assert (await talk(peer, "visit", {"action": "accept"})).questions == []
    assert refused


@requirement("EL-10")
async def test_a_url_is_shown_whole_and_nothing_is_fetched_or_agreed_to_before_a_person_did(
    way: Way,
):
    """A URL is shown whole, opened only with consent, out of the model's sight, and never fetched
    ahead.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/client/elicitation.mdx
    """
    visits: list[str] = []

    async def visited(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visits.append("someone came")
        writer.close()

    page = await asyncio.start_server(visited, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{page.sockets[0].getsockname()[1]}/{'x' * 2000}?a=1#b"
    shown: list[ElicitParams] = []

    async def show(asked: ElicitParams) -> bool:
        shown.append(asked)
        return False

    params = {"mode": "url", "message": "Go", "url": url, "elicitationId": "1"}
    answer, _ = await ask_client(way, "elicitation/create", params, on_elicit_url=show)
    page.close()
    assert [(asked.url, asked.message) for asked in shown] == [(url, "Go")]
    assert answer == {"action": "decline"}
    assert visits == []


@requirement("EL-11")
async def test_nothing_is_answered_before_the_person_did(way: Way):
    """The user sees which server asks, and can decline, cancel and review.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/client/elicitation.mdx
    """
    shown, decided = asyncio.Event(), asyncio.Event()

    async def show(asked: ElicitParams) -> ElicitResult:
        assert (asked.message, asked.requested_schema) == ("Who?", FORM)
        shown.set()
        await decided.wait()
        return ElicitResult(action="cancel")

    params = {"message": "Who?", "requestedSchema": FORM}
    asking = asyncio.create_task(ask_client(way, "elicitation/create", params, on_elicit=show))
    await soon(shown.wait())
    assert not asking.done()
    decided.set()
    answer, _ = await soon(asking)
    assert answer == {"action": "cancel"}


@requirement("EL-12", revisions=[revision for revision in SINCE_FORMS if revision in LEGACY])
async def test_an_answer_counts_only_from_the_session_that_was_asked(way: Way):
    """An answer is bound to the user who was asked.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/client/elicitation.mdx
    """
    can: Json = {"elicitation": {}}
    async with (
        way.serve(asker()) as join,
        join(capabilities=can) as one,
        join(capabilities=can) as two,
    ):
        begun = await one.open("tools/call", {"name": "form", "arguments": {}})
        asked = await begun.until(lambda said: "method" in said)
        await two.reply(asked, {"action": "accept", "content": {"name": "Eve"}})
        await one.reply(asked, {"action": "accept", "content": {"name": "Ada"}})
        assert "Ada" in text(await begun.answer())


@requirement("EL-12", revisions=["2026-07-28"])
async def test_an_answer_counts_only_from_the_user_who_was_asked(way: Way):
    """An answer is bound to the user who was asked.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/client/elicitation.mdx
    """
    dispatch = Dispatch(asker())
    capabilities: Json = {CLIENT_CAPABILITIES: {"elicitation": {}}}

    async def call(who: str, params: Json) -> Json:
        message = read(modern("tools/call", 1, {"name": "form", **params}, **capabilities))
        assert isinstance(message, Message)
        admitted = admit(message, TO_SERVER, principal=Principal(subject=who))
        assert isinstance(admitted, Call)
        return json.loads((await dispatch.respond(admitted))[0])

    asked = (await call("ada", {}))["result"]
    (key,) = asked["inputRequests"]
    content = {"name": "Ada"}
    again = {
        "requestState": asked["requestState"],
        "inputResponses": {key: {"action": "accept", "content": content}},
    }
    assert (await call("eve", again))["error"]["code"] == INVALID_PARAMS
    assert "Ada" in str((await call("ada", again))["result"]["content"])


@requirement("EL-13")
async def test_a_no_a_cancellation_and_a_failure_are_dealt_with(way: Way):
    """A server deals with a no, a cancellation and a failure.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/client/elicitation.mdx
    """
    server = Server("s")

    @server.tool
    async def form(ctx: Context) -> str:
        try:
            answer = await ctx.elicit("Who?", FORM)
        except RpcError as error:
            return f"failed: {error}"
        return "welcome" if answer.accepted else f"without you: {answer.action}"

    async with way.join(server, capabilities={"elicitation": {}}) as peer:
        for action in ("decline", "cancel"):
            talked = await talk(peer, "form", {"action": action})
            assert text(talked.answer) == f"without you: {action}"
        if not way.modern:
            begun = await peer.open("tools/call", {"name": "form", "arguments": {}})
            asked = await begun.until(lambda said: "method" in said)
            error = {"code": -32603, "message": "no screen"}
            body = {"jsonrpc": "2.0", "id": asked["id"], "error": error}
            await peer.send(json.dumps(body).encode())
            assert "failed: no screen" in text(await begun.answer())


# Sampling.


@requirement("SA-01")
async def test_a_server_samples_only_as_it_was_declared(way: Way):
    """Sampling is declared; tools and context only where they were.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/client/sampling.mdx
    """
    server = asker()
    look = Tool(name="look", input_schema={"type": "object"})

    @server.tool
    async def use(ctx: Context) -> str:
        return str(await ctx.sample("Hello", max_tokens=1, tools=[look]))

    @server.tool
    async def context(ctx: Context) -> str:
        return str(await ctx.sample("Hello", max_tokens=1, include_context="thisServer"))

    since_tools = way.revision in SINCE_URLS
    allowed: list[tuple[Json, bool, bool, bool]] = [
        ({}, False, False, False),
        ({"sampling": {}}, True, False, False),
        ({"sampling": {"tools": {}}}, True, since_tools, False),
        ({"sampling": {"context": {}}}, True, False, True),
    ]
    for capabilities, plain, tools, contexts in allowed:
        async with way.join(server, capabilities=capabilities) as peer:
            for name, may in (("sample", plain), ("use", tools), ("context", contexts)):
                talked = await talk(peer, name, MODELLED)
                assert bool(talked.questions) == may
                assert refused(talked.answer) != may


@requirement("SA-01")
async def test_a_client_declares_sampling_where_it_can(way: Way):
    """Sampling is declared; tools and context only where they were.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/client/sampling.mdx
    """
    cases: list[tuple[Json, Json | None]] = [({}, None), ({"on_sample": model}, {})]
    for options, expected in cases:
        script = Script(way.revision)
        async with meet(way, script, **options) as client:
            await client.list_tools()
        asked = script.of("tools/list" if way.modern else "initialize")
        assert declared(asked[0]).get("sampling") == expected


@requirement("SA-02")
async def test_what_is_sampled_has_messages_and_a_limit(way: Way):
    """A question has messages and a limit of tokens that is kept.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/client/sampling.mdx
    """
    async with way.join(asker(), capabilities={"sampling": {}}) as peer:
        (question,) = (await talk(peer, "sample", MODELLED)).questions
    assert question == {
        "method": "sampling/createMessage",
        "params": {
            "messages": [{"role": "user", "content": {"type": "text", "text": "Hello"}}],
            "maxTokens": 10,
            "systemPrompt": "Be kind.",
        },
    }


@requirement("SA-02")
async def test_a_client_hands_on_the_whole_question(way: Way):
    """A question has messages and a limit of tokens that is kept.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/client/sampling.mdx
    """
    params: Json = {
        "messages": [{"role": "user", "content": {"type": "text", "text": "Hello"}}],
        "maxTokens": 7,
        "systemPrompt": "Be kind.",
        "modelPreferences": {"hints": [{"name": "claude"}], "costPriority": 0.5},
        "temperature": 0.5,
        "stopSequences": ["."],
        "metadata": {"a": 1},
    }
    seen: list[CreateMessageParams] = []

    async def sample(asked: CreateMessageParams) -> CreateMessageResult:
        seen.append(asked)
        return await model(asked)

    await ask_client(way, "sampling/createMessage", params, on_sample=sample)
    assert seen == [
        CreateMessageParams(
            messages=[SamplingMessage(role="user", content=Text(text="Hello"))],
            max_tokens=7,
            system_prompt="Be kind.",
            model_preferences={"hints": [{"name": "claude"}], "costPriority": 0.5},
            temperature=0.5,
            stop_sequences=["."],
            metadata={"a": 1},
        )
    ]


@requirement("SA-03")
async def test_a_sample_says_role_content_model_and_why_it_stopped(way: Way):
    """An answer has role, content, model and why it stopped.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/client/sampling.mdx
    """

    async def sample(asked: CreateMessageParams) -> CreateMessageResult:
        return CreateMessageResult(
            role="assistant", content=Text(text="hi"), model="m", stop_reason="endTurn"
        )

    params: Json = {"messages": [], "maxTokens": 1}
    answer, _ = await ask_client(way, "sampling/createMessage", params, on_sample=sample)
    assert not isinstance(answer, Exception)
    assert answer == {**MODELLED, "stopReason": "endTurn"}
    async with way.join(asker(), capabilities={"sampling": {}}) as peer:
        assert "hi" in text((await talk(peer, "sample", answer)).answer)


@requirement("SA-03", "SA-02")
async def test_up_to_2025_06_18_a_message_is_one_block(way: Way):
    """An answer has role, content, model and why it stopped.
    A question has messages and a limit of tokens that is kept.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/client/sampling.mdx
    """
    several: list[Any] = [Text(text="a"), Text(text="b")]

    async def sample(asked: CreateMessageParams) -> CreateMessageResult:
        return CreateMessageResult(role="assistant", content=several, model="m")

    params: Json = {"messages": [], "maxTokens": 1}
    answer, _ = await ask_client(way, "sampling/createMessage", params, on_sample=sample)
    assert not isinstance(answer, Exception)
    assert isinstance(answer["content"], list) == (way.revision in SINCE_URLS)
    server = Server("s")

    @server.tool
    async def ask(ctx: Context) -> None:
        await ctx.sample([SamplingMessage(role="user", content=several)], max_tokens=1)

    async with way.join(server, capabilities={"sampling": {}}) as peer:
        (question,) = (await talk(peer, "ask", MODELLED)).questions
    messages = question["params"]["messages"]
    assert [isinstance(each["content"], list) for each in messages] == (
        [True] if way.revision in SINCE_URLS else [False, False]
    )


@requirement("SA-04")
async def test_a_use_of_a_tool_and_its_result_come_in_pairs(way: Way):
    """Results of tools stand alone in a message, and each use of a tool gets one.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/client/sampling.mdx
    """
    use = ToolUse(id="1", name="look", input={})
    result = ToolOutcome(tool_use_id="1", content=[])
    hello = SamplingMessage(role="user", content=Text(text="Hello"))
    used = SamplingMessage(role="assistant", content=[use])
    lists: dict[str, list[SamplingMessage]] = {
        "right": [hello, used, SamplingMessage(role="user", content=[result])],
        "mixed": [hello, used, SamplingMessage(role="user", content=[result, Text(text="and")])],
        "open": [hello, used, hello],
        "other": [
            hello,
            used,
            SamplingMessage(role="user", content=[ToolOutcome(tool_use_id="2", content=[])]),
        ],
    }
    server = Server("s")

    @server.tool
    async def sample(which: str, ctx: Context) -> str:
        look = Tool(name="look", input_schema={"type": "object"})
        try:
            await ctx.sample(lists[which], max_tokens=1, tools=[look])
        except UsageError:
            return "refused"
        return "sampled"

    async with way.join(server, capabilities={"sampling": {"tools": {}}}) as peer:
        for which in lists:
            talked = await talk(peer, "sample", MODELLED, which=which)
            assert text(talked.answer) == ("sampled" if which == "right" else "refused")


@requirement("SA-05")
async def test_a_person_who_refuses_is_an_error_of_their_own_where_there_is_one(way: Way):
    """A user who refuses is the error -1 in legacy revisions.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2025-11-25/client/sampling.mdx
    """

    async def refuse(asked: CreateMessageParams) -> CreateMessageResult:
        raise RpcError(-1, "User rejected sampling request")

    params: Json = {"messages": [], "maxTokens": 1}
    answer, script = await ask_client(way, "sampling/createMessage", params, on_sample=refuse)
    if way.modern:
        assert isinstance(answer, RpcError)
        assert len(script.of("tools/call")) == 1
    else:
        assert not isinstance(answer, Exception)
        assert answer["error"]["code"] == -1


@requirement("SA-06", revisions=["2026-07-28"])
async def test_a_client_is_not_asked_without_end(way: Way):
    """Sampling is approved by a person and bounded.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/client/sampling.mdx
    """
    sampled = 0

    async def sample(asked: CreateMessageParams) -> CreateMessageResult:
        nonlocal sampled
        sampled += 1
        return await model(asked)

    async def call(asked: Asked) -> None:
        params: Json = {"messages": [], "maxTokens": 1}
        question = {"method": "sampling/createMessage", "params": params}
        await asked.result({"resultType": "input_required", "inputRequests": {"q": question}})

    async with meet(way, Script(way.revision, {"tools/call": call}), on_sample=sample) as client:
        with pytest.raises(InvalidMessage):
            await client.call_tool("tool")
    assert 1 <= sampled <= 100


# Roots.


@requirement("RO-01")
async def test_a_client_declares_its_roots_and_tells_them_as_file_uris(way: Way, tmp_path: Path):
    """Roots are declared, file URIs, and refused with -32601 where they are not.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/client/roots.mdx
    """
    answer, script = await ask_client(way, "roots/list", {}, roots=[tmp_path, "file:///srv/data"])
    assert answer == {
        "roots": [
            {"uri": tmp_path.as_uri(), "name": tmp_path.name},
            {"uri": "file:///srv/data"},
        ]
    }
    asked = script.of("tools/call" if way.modern else "initialize")
    assert declared(asked[0])["roots"] == {}
    with pytest.raises(ConfigError):
        Client(script.open, roots=["https://example.com"])


@requirement("RO-01")
async def test_a_client_without_roots_refuses_to_list_them(way: Way):
    """Roots are declared, file URIs, and refused with -32601 where they are not.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/client/roots.mdx
    """
    answer, script = await ask_client(way, "roots/list", {})
    asked = script.of("tools/call" if way.modern else "initialize")
    assert "roots" not in declared(asked[0])
    if way.modern:
        assert isinstance(answer, Exception)
    else:
        assert not isinstance(answer, Exception)
        assert answer["error"]["code"] == METHOD_NOT_FOUND


@requirement("RO-01")
async def test_a_server_asks_for_roots_only_where_they_were_declared(way: Way):
    """Roots are declared, file URIs, and refused with -32601 where they are not.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/client/roots.mdx
    """
    roots = {"roots": [{"uri": "file:///srv", "name": "srv"}]}
    async with way.join(asker(), capabilities={"roots": {}}) as peer:
        assert text((await talk(peer, "roots", roots)).answer) == "file:///srv"
    async with way.join(asker()) as peer:
        talked = await talk(peer, "roots", roots)
        assert talked.questions == []
        assert refused(talked.answer)


@requirement("RO-02")
async def test_a_client_tells_no_root_that_it_was_not_given_and_whole_paths_only(
    way: Way, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Only roots that a user allowed are told, and paths are validated.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/client/roots.mdx
    """
    monkeypatch.chdir(tmp_path)
    answer, _ = await ask_client(way, "roots/list", {}, roots=["a/../b c"])
    assert not isinstance(answer, Exception)
    (root,) = answer["roots"]
    assert root["uri"].startswith(tmp_path.as_uri() + "/")
    assert ".." not in root["uri"]
    assert " " not in root["uri"]
