"""Prompts: listed with their arguments, filled in with strings, in both eras."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from msgspec import Meta
from tests.joined import Joined

from interlock import Context, RpcError, Server
from interlock.errors import INVALID_PARAMS
from interlock.wire.content import Audio, Image, ResourceLink, Text
from interlock.wire.prompts import GetPromptResult, PromptArgument, PromptMessage


def user(text: str) -> PromptMessage:
    return PromptMessage(role="user", content=Text(text=text))


def assistant(text: str) -> PromptMessage:
    return PromptMessage(role="assistant", content=Text(text=text))


async def test_a_prompt_is_listed_with_its_arguments(joined: Joined, era: str):
    server = Server("s")

    @server.prompt(title="Review", meta={"example.com/x": 1})
    def review(
        code: Annotated[str, "what to look at"], depth: Annotated[int, Meta(title="Depth")] = 1
    ) -> str:
        """Review some code."""
        return code * depth

    @server.prompt
    def nothing() -> str:
        return ""

    async with joined(server, era) as client:
        listed, bare = await client.list_prompts()
    assert (listed.name, listed.title, listed.description) == (
        "review",
        "Review",
        "Review some code.",
    )
    assert listed.meta == {"example.com/x": 1}
    assert listed.arguments == [
        PromptArgument(name="code", description="what to look at", required=True),
        PromptArgument(name="depth", title="Depth", required=False),
    ]
    assert (bare.name, bare.arguments) == ("nothing", None)


@pytest.mark.parametrize(
    ("value", "messages"),
    [
        ("hi", [user("hi")]),
        (Text(text="hi"), [user("hi")]),
        (assistant("hi"), [assistant("hi")]),
        (["a", assistant("b")], [user("a"), assistant("b")]),
        ({"role": "assistant", "content": "hi"}, [assistant("hi")]),
        (
            [{"role": "user", "content": Image.of(b"x", "image/png")}],
            [PromptMessage(role="user", content=Image.of(b"x", "image/png"))],
        ),
        ({"role": "user", "content": {"type": "text", "text": "hi"}}, [user("hi")]),
        ({"a": 1}, [user('{"a":1}')]),
        ([], []),
    ],
)
async def test_what_a_function_gives_becomes_messages(
    joined: Joined, era: str, value: Any, messages: list[PromptMessage]
):
    server = Server("s")

    @server.prompt
    async def give() -> Any:
        """Give."""
        return value

    async with joined(server, era) as client:
        result = await client.get_prompt("give")
    assert result.messages == messages
    assert result.description == "Give."


async def test_a_whole_result_is_sent_as_it_is(joined: Joined, era: str):
    server = Server("s")

    @server.prompt
    def give(ctx: Context) -> GetPromptResult:
        return GetPromptResult(messages=[user("so")], description="just so")

    async with joined(server, era) as client:
        assert (await client.get_prompt("give")).description == "just so"


async def test_arguments_are_strings_and_arrive_as_what_was_declared(joined: Joined, era: str):
    server = Server("s")

    @server.prompt
    def ask(topic: str, times: int = 1, tags: list[str] | None = None) -> str:
        return f"{topic!r} {times} {tags}"

    async with joined(server, era) as client:
        result = await client.get_prompt("ask", {"topic": "5", "times": "3", "tags": '["a"]'})
        assert result.messages == [user("'5' 3 ['a']")]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({}, "missing required field `topic`"),
        ({"topic": "a", "times": "many"}, "Expected `int`, got `str`"),
        ({"topic": "a", "other": "b"}, "unknown field `other`"),
    ],
)
async def test_arguments_that_do_not_fit_are_refused(
    joined: Joined, era: str, arguments: dict[str, str], complaint: str
):
    """-32602 (§ Prompts, Error Handling)."""
    server = Server("s")

    @server.prompt
    def ask(topic: str, times: int = 1) -> str:
        return topic * times

    async with joined(server, era) as client:
        with pytest.raises(RpcError, match=complaint) as caught:
            await client.get_prompt("ask", arguments)
        assert caught.value.code == INVALID_PARAMS
        with pytest.raises(RpcError, match="Unknown prompt: 'nope'") as caught:
            await client.get_prompt("nope")
        assert caught.value.code == INVALID_PARAMS


async def test_older_clients_get_nothing_that_their_revision_does_not_know(joined: Joined):
    server = Server("s")

    @server.prompt
    def many() -> list[Any]:
        return [Audio.of(b"x", "audio/wav"), ResourceLink(uri="x://y", name="y")]

    for revision, kinds in [
        ("2024-11-05", [Text, Text]),
        ("2025-03-26", [Audio, Text]),
        ("2025-06-18", [Audio, ResourceLink]),
    ]:
        async with joined(server, revision) as client:
            result = await client.get_prompt("many")
            assert [type(message.content) for message in result.messages] == kinds
