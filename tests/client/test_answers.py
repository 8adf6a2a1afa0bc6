"""What a client answers when a legacy server asks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.joined import Joined

from interlock import Context, RpcError, Server
from interlock.client.answers import Answers, read_root, with_defaults
from interlock.errors import INVALID_PARAMS, METHOD_NOT_FOUND, ConfigError
from interlock.wire.content import Image, Text, ToolUse
from interlock.wire.inputs import (
    CreateMessageParams,
    CreateMessageResult,
    ElicitParams,
    ElicitResult,
    Root,
)
from interlock.wire.jsonrpc import encode
from interlock.wire.meta import ClientCapabilities
from interlock.wire.tools import Tool


async def never(params: Any) -> Any:
    raise AssertionError("not asked")


def test_only_what_has_a_callback_is_declared():
    assert Answers().capabilities == ClientCapabilities()
    assert Answers(elicit=never).capabilities == ClientCapabilities(elicitation={"form": {}})
    assert Answers(sample=never).capabilities == ClientCapabilities(sampling={})
    assert Answers(roots=[]).capabilities == ClientCapabilities(roots={})


@pytest.mark.parametrize(
    ("given", "uri", "name"),
    [
        ("file:///a%20b", "file:///a%20b", None),
        ("/a b/c", "file:///a%20b/c", "c"),
        (Path("/a/c"), "file:///a/c", "c"),
        (Root(uri="file:///x", name="X"), "file:///x", "X"),
    ],
)
def test_roots_are_paths_or_file_uris(given: Any, uri: str, name: str | None):
    assert read_root(given) == Root(uri=uri, name=name)


def test_a_relative_root_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert read_root("sub").uri == (tmp_path / "sub").as_uri()


@pytest.mark.parametrize(
    "root",
    [
        "https://example.com/",
        Root(uri="https://example.com/"),
        "file:///srv/../etc",
        Root(uri="file:///srv/%2e%2e/etc"),
    ],
)
def test_a_root_elsewhere_is_refused(root: str | Root):
    with pytest.raises(ConfigError, match="is no root"):
        read_root(root)


def test_the_way_up_is_followed_before_a_root_is_told():
    assert read_root("/srv/a/../b").uri == "file:///srv/b"


SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "default": "Ada"},
        "age": {"type": "integer", "default": 30},
        "city": {"type": "string"},
    },
}


def test_a_default_that_no_field_can_hold_is_left_out():
    """A server may write anything there; the answer is ours (§ Elicitation, ElicitResult)."""
    odd: list[Any] = [None, {"a": 1}, [1], [{"const": "x"}]]
    fine: list[Any] = ["", 0, 1.5, False, ["a", "b"], []]
    for default in (*odd, *fine):
        schema = {"type": "object", "properties": {"x": {"default": default}}}
        asked = ElicitParams(message="?", requested_schema=schema)
        content = with_defaults(asked, ElicitResult(action="accept")).content
        assert content == ({} if default in odd else {"x": default})


def test_an_accepted_form_has_the_defaults_of_what_was_left_out():
    """SEP-1034."""
    asked = ElicitParams(message="?", requested_schema=SCHEMA)
    answer = with_defaults(asked, ElicitResult(action="accept", content={"age": 7}))
    assert answer.content == {"age": 7, "name": "Ada"}
    assert with_defaults(asked, ElicitResult(action="accept")).content == {"name": "Ada", "age": 30}


def test_a_form_that_was_not_accepted_has_none():
    asked = ElicitParams(message="?", requested_schema=SCHEMA)
    for action in ("decline", "cancel"):
        assert with_defaults(asked, ElicitResult(action=action)).content is None


async def ask(joined: Joined, on_elicit: Any, **params: Any) -> Any:
    """What a server's `elicitation/create` is answered with."""
    server = Server("s")

    @server.tool
    async def ask(ctx: Context) -> str:
        answer = await ctx.call.outlet.ask(
            "elicitation/create", ElicitParams(message="?", **params)
        )
        return bytes(answer).decode()

    async with joined(server, "legacy", on_elicit=on_elicit) as client:
        return (await client.call_tool("ask")).text


@pytest.mark.parametrize(
    ("returned", "answer"),
    [
        (ElicitResult(action="cancel"), '{"action":"cancel"}'),
        ({"name": "Bob", "age": 1}, '{"action":"accept","content":{"name":"Bob","age":1}}'),
        ({}, '{"action":"accept","content":{"name":"Ada","age":30}}'),
        (None, '{"action":"decline"}'),
    ],
)
async def test_a_callback_may_return_what_is_plainest(joined: Joined, returned: Any, answer: str):
    async def on_elicit(params: ElicitParams) -> Any:
        return returned

    assert await ask(joined, on_elicit, requested_schema=SCHEMA) == answer


async def test_a_mode_that_was_not_declared_is_refused(joined: Joined):
    """-32602 (§ Elicitation)."""
    with pytest.raises(RpcError, match="did not declare elicitation by URL") as caught:
        await ask(joined, never, mode="url", url="https://example.com", elicitation_id="1")
    assert caught.value.code == INVALID_PARAMS


async def test_what_was_not_declared_is_refused_if_asked_all_the_same(joined: Joined):
    server = Server("s")

    @server.tool
    async def ask(ctx: Context) -> str:
        params = CreateMessageParams(messages=[], max_tokens=1)
        await ctx.call.outlet.ask("sampling/createMessage", params)
        return "unreachable"

    async with joined(server, "legacy") as client:
        with pytest.raises(RpcError, match="did not declare sampling/createMessage") as caught:
            await client.call_tool("ask")
        assert caught.value.code == METHOD_NOT_FOUND


async def test_a_callback_that_fails_tells_the_server_no_more_than_that(
    joined: Joined, caplog: pytest.LogCaptureFixture
):
    async def on_elicit(params: ElicitParams) -> Any:
        raise ValueError("hunter2")

    with pytest.raises(RpcError, match="Internal error") as caught:
        await ask(joined, on_elicit, requested_schema=SCHEMA)
    assert "hunter2" not in str(caught.value)
    assert "hunter2" in caplog.text


async def test_a_legacy_server_may_ping(joined: Joined):
    server = Server("s")

    @server.tool
    async def ask(ctx: Context) -> str:
        from interlock.wire.meta import Params

        return bytes(await ctx.call.outlet.ask("ping", Params())).decode()

    async with joined(server, "legacy") as client:
        assert (await client.call_tool("ask")).text == "{}"


async def test_sampling_gets_the_messages_and_gives_the_answer(joined: Joined):
    async def on_sample(params: CreateMessageParams) -> CreateMessageResult:
        (message,) = params.messages
        return CreateMessageResult(
            role="assistant", content=message.content, model="parrot", stop_reason="endTurn"
        )

    server = Server("s")

    @server.tool
    async def think(ctx: Context) -> str:
        answer = await ctx.sample("hi", max_tokens=3)
        assert isinstance(answer.content, Text)
        return f"{answer.content.text} {answer.model} {answer.stop_reason}"

    async with joined(server, "legacy", on_sample=on_sample) as client:
        assert (await client.call_tool("think")).text == "hi parrot endTurn"


def test_answers_encode_as_the_schema_wants():
    assert (
        encode(Answers(elicit=never, roots=[]).capabilities)
        == b'{"elicitation":{"form":{}},"roots":{}}'
    )


@pytest.mark.parametrize(
    ("content", "older"),
    [
        ([Text(text="a"), Text(text="b")], Text(text="a\nb")),
        ([Image.of(b"x", "image/png"), Text(text="a")], Text(text="a")),
        ([Image.of(b"x", "image/png")], Image.of(b"x", "image/png")),
        (list[Any](), Text(text="")),
        (Text(text="a"), Text(text="a")),
    ],
)
async def test_what_a_model_said_is_one_block_for_servers_that_take_no_more(
    joined: Joined, content: Any, older: Any
):
    """Lists came with 2025-11-25 (§ Sampling)."""

    async def on_sample(asked: CreateMessageParams) -> CreateMessageResult:
        return CreateMessageResult(role="assistant", content=content, model="m")

    got: list[Any] = []
    server = Server("s")

    @server.tool
    async def think(ctx: Context) -> None:
        got.append((await ctx.sample("hi", max_tokens=1)).content)

    for revision in ("2025-06-18", "2025-11-25"):
        async with joined(server, revision, on_sample=on_sample) as client:
            assert not (await client.call_tool("think")).is_error
    assert got == [older, content]


async def test_a_model_may_be_given_tools_where_that_was_said(joined: Joined, era: str):
    """2025-11-25 § Sampling: tools come only to a client that declared them."""
    asked: list[CreateMessageParams] = []

    async def sample(params: CreateMessageParams) -> CreateMessageResult:
        asked.append(params)
        use = ToolUse(id="1", name="look", input={})
        return CreateMessageResult(role="assistant", content=use, model="m", stop_reason="toolUse")

    server = Server("s")

    @server.tool
    async def think(ctx: Context) -> str:
        look = Tool(name="look", input_schema={"type": "object"})
        return str((await ctx.sample("Well?", max_tokens=9, tools=[look])).stop_reason)

    async with joined(server, era, on_sample=sample, sample_tools=True) as client:
        assert (await client.call_tool("think")).text == "toolUse"
    assert [tool["name"] for tool in asked[0].tools or ()] == ["look"]
    async with joined(server, era, on_sample=sample) as client:
        with pytest.raises(RpcError, match="sampling"):
            await client.call_tool("think")
