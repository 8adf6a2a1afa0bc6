"""The server that the official suite looks at: one fixture for each thing it wants to see.

Names, texts and schemas are the suite's; `python tests/conformance/server.py --port N` serves them
at /mcp on the loopback.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hmac
import secrets
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec

from interlock import Context, RpcError, Server, ToolError, run
from interlock.errors import INVALID_PARAMS
from interlock.server.shape import Header
from interlock.wire.content import Audio, EmbeddedResource, Image, ResourceContents, Text
from interlock.wire.inputs import (
    CreateMessageResult,
    ElicitResult,
    InputRequired,
    ListRootsResult,
)
from interlock.wire.meta import CacheHints
from interlock.wire.prompts import GetPromptParams
from interlock.wire.tools import CallToolParams

IMAGE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNoaGj4DwAFhAKAjM1mJgAAAABJRU5ErkJggg=="
"""A PNG of one grey pixel."""

AUDIO = base64.b64encode(
    b"RIFF\x26\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x80\x3e\0\0\2\0\x10\0data\2\0\0\0\0\0"
).decode()
"""A WAV file of one silent sample."""

A = TypeVar("A")

PAUSE = 0.05
"""Seconds between notifications, which the suite wants to arrive one after another."""

NAMED = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
AGREED = {"type": "object", "properties": {"confirm": {"type": "boolean"}}}

server = Server(
    "interlock-conformance",
    version="1.0.0",
    instructions="Fixtures of the conformance suite; of no use to anyone else.",
    cache=CacheHints(ttl_ms=60_000, scope="public"),
)

server.skills(Path(__file__).parent / "skills")


# Tools that answer. The first one listed takes no argument: the suite calls it with none.


@server.tool
async def test_simple_text() -> str:
    """Answer with one text."""
    return "This is a simple text response for testing."


@server.tool
async def test_image_content() -> Image:
    """Answer with one image."""
    return Image(data=IMAGE, mime_type="image/png")


@server.tool
async def test_audio_content() -> Audio:
    """Answer with one recording."""
    return Audio(data=AUDIO, mime_type="audio/wav")


@server.tool
async def test_embedded_resource() -> EmbeddedResource:
    """Answer with a resource inside the message."""
    uri, text = "test://embedded-resource", "This is an embedded resource content."
    return EmbeddedResource(resource=ResourceContents.of(uri, text))


@server.tool
async def test_multiple_content_types() -> list[Text | Image | EmbeddedResource]:
    """Answer with a text, an image and a resource."""
    uri, text = "test://mixed-content-resource", '{"test":"data","value":123}'
    return [
        Text(text="Multiple content types test:"),
        Image(data=IMAGE, mime_type="image/png"),
        EmbeddedResource(resource=ResourceContents.of(uri, text, "application/json")),
    ]


@server.tool
async def test_tool_with_logging(ctx: Context) -> str:
    """Log three lines on the way to the answer."""
    for line in ("Tool execution started", "Tool processing data"):
        await ctx.info(line)
        await asyncio.sleep(PAUSE)
    await ctx.info("Tool execution completed")
    return "Logged three lines."


@server.tool
async def test_logging_tool(ctx: Context) -> str:
    """Log a line, which only those hear who asked for logs."""
    await ctx.info("Only for those who asked")
    return "Logged one line."


@server.tool
async def test_tool_with_progress(ctx: Context) -> str:
    """Report progress three times on the way to the answer."""
    for progress in (0, 50):
        await ctx.report_progress(progress, 100, f"Completed step {progress} of 100")
        await asyncio.sleep(PAUSE)
    await ctx.report_progress(100, 100, "Completed step 100 of 100")
    return "Reported three times."


@server.tool
async def test_reconnection(ctx: Context) -> str:
    """Let the client go, and answer when it has come back."""
    ctx.close_stream(0.1)
    await asyncio.sleep(PAUSE * 2)
    return "Reconnection test completed successfully"


@server.tool
async def test_error_handling() -> str:
    """Fail, and say so to the model."""
    raise ToolError("This tool intentionally returns an error for testing")


@server.tool(name="test_x_mcp_header")
async def repeat_region(
    region: Annotated[str, Header("Region")] = "",
) -> str:
    """Repeat an argument that clients also send as a header."""
    return f"region={region}"


@server.tool(
    input_schema={
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {
            "address": {
                "$anchor": "addressDef",
                "type": "object",
                "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
            }
        },
        "properties": {
            "name": {"type": "string"},
            "address": {"$ref": "#/$defs/address"},
            "contactMethod": {"type": "string", "enum": ["phone", "email"]},
            "phone": {"type": "string"},
            "email": {"type": "string"},
        },
        "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
        "if": {
            "properties": {"contactMethod": {"const": "phone"}},
            "required": ["contactMethod"],
        },
        "then": {"required": ["phone"]},
        "else": {"required": ["email"]},
        "additionalProperties": False,
    }
)
async def json_schema_2020_12_tool(
    name: str = "",
    address: dict[str, str] | None = None,
    contactMethod: str = "",  # noqa: N803  the suite's name
    phone: str = "",
    email: str = "",
) -> str:
    """Take arguments whose schema uses what is new in JSON Schema 2020-12."""
    return f"{name} by {contactMethod}: {phone or email}"


# Tools that change what is listed.


async def passing() -> str:
    """Be listed for a moment."""
    return "passing"


@server.tool
async def test_trigger_tool_change() -> str:
    """Add a tool and remove it."""
    server.tool(name="test_passing_tool")(passing)
    server.remove_tool("test_passing_tool")
    return "The list of tools changed."


@server.tool
async def test_trigger_prompt_change() -> str:
    """Add a prompt and remove it."""
    server.prompt(name="test_passing_prompt")(passing)
    server.remove_prompt("test_passing_prompt")
    return "The list of prompts changed."


# Tools that ask a legacy client in the middle of a call.


@server.tool
async def test_sampling(prompt: str, ctx: Context) -> str:
    """Let the client's model continue a prompt."""
    result = await ctx.sample(prompt, max_tokens=100)
    said = result.content.text if isinstance(result.content, Text) else ""
    return f"LLM response: {said}"


@server.tool
async def test_elicitation(message: str, ctx: Context) -> str:
    """Ask the person for a name and an address."""
    schema = {
        "type": "object",
        "properties": {
            "username": {"type": "string", "description": "A name to be called by"},
            "email": {"type": "string", "description": "An address to write to"},
        },
        "required": ["username", "email"],
    }
    return await elicited(ctx, message, schema)


@server.tool
async def test_elicitation_sep1034_defaults(ctx: Context) -> str:
    """Ask with a default for each primitive type."""
    properties = {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {
            "type": "string",
            "enum": ["active", "inactive", "pending"],
            "default": "active",
        },
        "verified": {"type": "boolean", "default": True},
    }
    schema = {"type": "object", "properties": properties}
    return await elicited(ctx, "Please review and confirm these values.", schema)


@server.tool
async def test_elicitation_sep1330_enums(ctx: Context) -> str:
    """Ask for a choice in each of the five forms there are."""
    # The suite always makes the same choices, those of the reference server's forms.
    options = ["option1", "option2", "option3"]
    titled = [{"const": f"value{n}", "title": f"Value {n}"} for n in (1, 2, 3)]
    properties = {
        "untitledSingle": {"type": "string", "enum": options},
        "titledSingle": {"type": "string", "oneOf": titled},
        "legacyEnum": {
            "type": "string",
            "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["Option 1", "Option 2", "Option 3"],
        },
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": options}},
        "titledMulti": {"type": "array", "items": {"anyOf": titled}},
    }
    schema = {"type": "object", "properties": properties}
    return await elicited(ctx, "Please choose.", schema)


async def elicited(ctx: Context, message: str, schema: dict[str, Any]) -> str:
    result = await ctx.elicit(message, schema)
    content = msgspec.json.encode(result.content).decode()
    return f"Elicitation result: action={result.action}, content={content}"


# Tools that ask a modern client by their result, and are called again.


def form(message: str, **properties: str) -> dict[str, Any]:
    """A question for a person, whose answer has these fields of these types."""
    schema = {
        "type": "object",
        "properties": {name: {"type": kind} for name, kind in properties.items()},
        "required": list(properties),
    }
    params = {"mode": "form", "message": message, "requestedSchema": schema}
    return {"method": "elicitation/create", "params": params}


def sampling(text: str, max_tokens: int) -> dict[str, Any]:
    """A question for the client's model."""
    messages = [{"role": "user", "content": {"type": "text", "text": text}}]
    params = {"messages": messages, "maxTokens": max_tokens}
    return {"method": "sampling/createMessage", "params": params}


NAME = form("What is your name?", name="string")
CONFIRM = form("Please confirm.", ok="boolean")
ROOTS: dict[str, Any] = {"method": "roots/list", "params": {}}

KEY = secrets.token_bytes(32)


def seal(state: str) -> str:
    """*state* in a form that a client can keep and cannot change."""
    return f"{state}.{hmac.new(KEY, state.encode(), 'sha256').hexdigest()}"


def unsealed(ctx: Context) -> str | None:
    """The state that came back, if one did; a call with a state we did not write is refused."""
    came = params(ctx).request_state
    if came is None:
        return None
    state = came.rpartition(".")[0]
    if not hmac.compare_digest(came.encode(), seal(state).encode()):
        raise RpcError(INVALID_PARAMS, "requestState is not what this server sent; start over")
    return state


def params(ctx: Context) -> CallToolParams | GetPromptParams:
    came = ctx.call.params
    assert isinstance(came, CallToolParams | GetPromptParams)
    return came


def answer(ctx: Context, key: str, kind: type[A]) -> A | None:
    """What the client answered under *key*; None if it did not, or with something else."""
    raw = (params(ctx).input_responses or {}).get(key)
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError:
        return None


def field(ctx: Context, key: str, name: str) -> Any:
    """One field of a form that was filled in under *key*."""
    result = answer(ctx, key, ElicitResult)
    return result.content.get(name) if result and result.content else None


@server.tool
async def test_input_required_result_elicitation(ctx: Context) -> str | InputRequired:
    """Greet by a name that is asked for."""
    name = field(ctx, "user_name", "name")
    if not isinstance(name, str):
        return InputRequired(input_requests={"user_name": NAME})
    return f"Hello, {name}!"


@server.tool
async def test_input_required_result_sampling(ctx: Context) -> str | InputRequired:
    """Ask the client's model for a capital."""
    result = answer(ctx, "capital_question", CreateMessageResult)
    if result is None or not isinstance(result.content, Text):
        question = sampling("What is the capital of France?", 100)
        return InputRequired(input_requests={"capital_question": question})
    return f"The model says: {result.content.text}"


@server.tool
async def test_input_required_result_list_roots(ctx: Context) -> str | InputRequired:
    """Ask where the client works."""
    result = answer(ctx, "client_roots", ListRootsResult)
    if result is None:
        return InputRequired(input_requests={"client_roots": ROOTS})
    return f"The client has {len(result.roots)} roots."


@server.tool
async def test_input_required_result_request_state(ctx: Context) -> str | InputRequired:
    """Ask for a confirmation, and have a state come back with it."""
    if unsealed(ctx) is None or field(ctx, "confirm", "ok") is None:
        return InputRequired(input_requests={"confirm": CONFIRM}, request_state=seal("asked"))
    return "state-ok: it came back as it was"


@server.tool
async def test_input_required_result_multiple_inputs(ctx: Context) -> str | InputRequired:
    """Ask three questions of three kinds at once."""
    asked = {
        "user_name": NAME,
        "greeting": sampling("Write a greeting.", 50),
        "client_roots": ROOTS,
    }
    answered = (
        answer(ctx, "user_name", ElicitResult),
        answer(ctx, "greeting", CreateMessageResult),
        answer(ctx, "client_roots", ListRootsResult),
    )
    if unsealed(ctx) is None or None in answered:
        return InputRequired(input_requests=asked, request_state=seal("asked"))
    return f"Hello, {field(ctx, 'user_name', 'name')}: all three answers are here."


@server.tool
async def test_input_required_result_multi_round(ctx: Context) -> str | InputRequired:
    """Ask twice, the second time for something else."""
    name, color = field(ctx, "step1", "name"), field(ctx, "step2", "color")
    state = unsealed(ctx)
    if state == "first" and isinstance(name, str):
        question = form("Which colour do you like?", color="string")
        return InputRequired(
            input_requests={"step2": question}, request_state=seal(f"second {name}")
        )
    if state is not None and state.startswith("second ") and isinstance(color, str):
        return f"{state.removeprefix('second ')} likes {color}."
    return InputRequired(input_requests={"step1": NAME}, request_state=seal("first"))


@server.tool
async def test_input_required_result_tampered_state(ctx: Context) -> str | InputRequired:
    """Ask for a confirmation, and refuse a state that was changed on its way."""
    if unsealed(ctx) is None:
        return InputRequired(input_requests={"confirm": CONFIRM}, request_state=seal("asked"))
    return "The state is as it was."


@server.tool
async def test_input_required_result_capabilities(ctx: Context) -> str | InputRequired:
    """Ask only what the client said it can answer."""
    can = ctx.envelope.capabilities
    asked: dict[str, dict[str, Any]] = {}
    if can.elicitation is not None:
        asked["user_name"] = NAME
    if can.sampling is not None:
        asked["greeting"] = sampling("Write a greeting.", 50)
    if can.roots is not None:
        asked["client_roots"] = ROOTS
    return InputRequired(input_requests=asked) if asked else "There is nothing to ask."


@server.tool
async def test_streaming_elicitation(ctx: Context) -> str | InputRequired:
    """Ask by the result, where an older server would have sent a request."""
    ctx.require(elicitation={})
    if answer(ctx, "user_name", ElicitResult) is None:
        return InputRequired(input_requests={"user_name": NAME})
    return "Thank you."


@server.tool
async def test_missing_capability(ctx: Context) -> str:
    """Refuse clients that cannot sample."""
    ctx.require(sampling={})
    return "The client can sample."


# Prompts.


# Tools that run as tasks, for clients that declare the extension.


@server.tool
async def greet(name: str) -> str:
    """Greet, at once and never as a task."""
    return f"Hello, {name}!"


@server.tool(task="optional")
async def slow_compute(seconds: float, label: str) -> str:
    """Take some seconds; with none, answer before there is a task."""
    await asyncio.sleep(seconds)
    return f"{label}: computed for {seconds:g} s"


@server.tool(task="required")
async def failing_job() -> str:
    """Fail after a while, as a tool does."""
    await asyncio.sleep(1)
    raise ToolError("The job failed, as it was meant to")


@server.tool(task="required")
async def protocol_error_job() -> str:
    """Fail as a request does."""
    raise RpcError(-32000, "The job cannot be done")


@server.tool(task="optional")
async def confirm_delete(filename: str, ctx: Context) -> str:
    """Ask one question on the way."""
    agreed = await ctx.elicit(f"Delete {filename}?", AGREED, key="confirm")
    return f"{filename}: {'deleted' if agreed.accepted else 'kept'}"


@server.tool(task="optional")
async def multi_input(ctx: Context) -> str:
    """Ask two questions at once."""
    answers = await asyncio.gather(
        ctx.elicit("What is your name?", NAMED, key="name"),
        ctx.elicit("Go on?", AGREED, key="confirm"),
    )
    return ", ".join(answer.action for answer in answers)


@server.tool(task="later")
async def test_tool_with_task(ctx: Context) -> str:
    """Ask first, and become a task then."""
    named = await ctx.elicit("What is your name?", NAMED, key="user_name")
    await ctx.become_task()
    await asyncio.sleep(PAUSE)
    return f"Hello, {(named.content or {}).get('name', 'whoever you are')}!"


@server.prompt
async def test_simple_prompt() -> str:
    """Say one thing."""
    return "This is a simple prompt for testing."


@server.prompt
async def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
    """Say what the arguments were."""
    return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"


@server.completer("test_prompt_with_arguments", "arg1")
async def suggestions(typed: str, known: object) -> list[str]:
    return [word for word in ("testValue1", "testValue2") if word.startswith(typed)]


@server.prompt
async def test_prompt_with_embedded_resource(
    resourceUri: str,  # noqa: N803  the suite's name
) -> list[EmbeddedResource | str]:
    """Put a resource into the message."""
    contents = ResourceContents.of(resourceUri, "Embedded resource content for testing.")
    return [EmbeddedResource(resource=contents), "Please look at the resource above."]


@server.prompt
async def test_prompt_with_image() -> list[Image | str]:
    """Put an image into the message."""
    return [Image(data=IMAGE, mime_type="image/png"), "Please look at the image above."]


@server.prompt
async def test_input_required_result_prompt(ctx: Context) -> str | InputRequired:
    """Ask for a context first."""
    context = field(ctx, "user_context", "context")
    if context is None:
        question = form("What is this about?", context="string")
        return InputRequired(input_requests={"user_context": question})
    return f"Consider this: {context}"


# Resources.


@server.resource("test://static-text", mime_type="text/plain")
async def static_text() -> str:
    """A text that never changes."""
    return "This is the content of the static text resource."


@server.resource("test://static-binary", mime_type="image/png")
async def static_binary() -> bytes:
    """An image that never changes."""
    return base64.b64decode(IMAGE)


@server.resource("test://template/{id}/data", mime_type="application/json")
async def template_data(id: str) -> dict[str, str]:
    """Data of an id."""
    return {"id": id, "data": f"Data for {id}"}


@server.resource("test://watched-resource", mime_type="text/plain")
async def watched() -> str:
    """A text that clients may watch."""
    return "Watched."


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    run(server, transport="http", host="127.0.0.1", port=parser.parse_args().port)
