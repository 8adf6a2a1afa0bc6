"""What a server offers only to callers with certain scopes: seen by them, and done for them."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterable
from typing import Any, Literal

import pytest
from tests.peers import Json, ask, hello, modern, say, soon
from tests.spec.marking import requirement
from tests.transport.http.host import Asked, Host

from interlock import Client, Context, Server
from interlock.auth.settings import AuthSettings
from interlock.auth.verifiers import StaticVerifier
from interlock.errors import ConfigError, RegistrationError
from interlock.protocol.gate import AccessToken
from interlock.server import shelf as room
from interlock.transport.http.asgi import App
from interlock.wire.content import ResourceContents
from interlock.wire.meta import CacheHints
from interlock.wire.resources import ReadResourceResult

RESOURCE = "https://api.example.com/mcp"
AUTH = AuthSettings(
    issuer_url="https://login.example.com",
    resource_server_url=RESOURCE,
    implies={"files:admin": ["files:read", "files:write"]},
)
SCOPES = {
    "none": [],
    "reads": ["files:read"],
    "writes": ["files:write"],
    "both": ["files:read", "files:write"],
    "admin": ["files:admin"],
}


class AnyScopes:
    """Finds good any token that names its scopes, as "with+a+b"; for tests of many."""

    async def verify_token(self, token: str) -> AccessToken | None:
        return AccessToken(token, "tests", token.split("+")[1:])


VERIFIER = StaticVerifier(
    {name: AccessToken(name, "tests", scopes) for name, scopes in SCOPES.items()}
)


def files(**options: Any) -> Server:
    server = Server("files", auth=AUTH, token_verifier=VERIFIER, **options)

    @server.tool
    def look() -> str:
        return "a file"

    @server.tool(scopes=["files:read"])
    def read(ctx: Context) -> str:
        return f"read by {ctx.principal.client_id or 'us'}"

    @server.tool(scopes=["files:write", "files:read"])
    def write() -> str:
        return "written"

    @server.tool(scopes=["files:write"], list_without_scopes=True)
    def shown() -> str:
        return "done"

    @server.tool
    async def inside(ctx: Context, uri: str) -> str:
        return (await ctx.read_resource(uri))[0].text or ""

    @server.resource("file://open")
    def open_file() -> str:
        return "open"

    @server.resource("file://secret", scopes=["files:read"])
    def secret() -> str:
        return "secret"

    @server.resource("log://{day}", scopes=["files:read"])
    def log(day: str) -> str:
        return f"log of {day}"

    @server.prompt(scopes=["files:write"])
    def rewrite(style: str) -> str:
        return f"Rewrite it: {style}"

    @server.completer("rewrite", "style")
    def styles(typed: str) -> list[str]:
        return ["plain"]

    return server


@pytest.fixture
async def host() -> AsyncGenerator[Host]:
    app = App(files())
    yield Host(app)
    await app.stop()


def by(token: str) -> dict[str, str | None]:
    return {"authorization": f"Bearer {token}"}


async def listed(host: Host, token: str, what: str = "tools", member: str = "name") -> list[str]:
    answer = await host.modern(modern(f"{what}/list"), **by(token)).json()
    return [each[member] for each in answer["result"][what.rpartition("/")[2]]]


async def told(asked: Asked) -> tuple[int, Json, str]:
    message = await asked.json()
    return asked.status, message, asked.headers.get("www-authenticate", "")


def call(name: str, **arguments: Any) -> bytes:
    return modern("tools/call", 1, {"name": name, "arguments": arguments})


@requirement("RS9-06", "SEC-12")
@pytest.mark.parametrize(
    ("token", "tools"),
    [
        ("none", {"look", "shown", "inside"}),
        ("reads", {"look", "shown", "inside", "read"}),
        ("writes", {"look", "shown", "inside"}),
        ("both", {"look", "shown", "inside", "read", "write"}),
        ("admin", {"look", "shown", "inside", "read", "write"}),
    ],
)
async def test_a_list_has_what_its_caller_may_call_and_what_wants_to_be_seen(
    host: Host, token: str, tools: set[str]
):
    assert set(await listed(host, token)) == tools


async def test_resources_and_prompts_are_listed_alike(host: Host):
    assert await listed(host, "none", "resources", "uri") == ["file://open"]
    assert await listed(host, "reads", "resources", "uri") == ["file://open", "file://secret"]
    assert await listed(host, "reads", "prompts") == []
    assert await listed(host, "writes", "prompts") == ["rewrite"]
    templates = modern("resources/templates/list")
    for token, count in (("none", 0), ("reads", 1)):
        answer = await host.modern(templates, **by(token)).json()
        assert len(answer["result"]["resourceTemplates"]) == count


@requirement("RS9-05", "SEC-12")
@pytest.mark.parametrize(
    ("data", "scope"),
    [
        (call("read"), "files:read"),
        (call("write"), "files:read files:write"),
        (call("shown"), "files:write"),
        (call("inside", uri="file://secret"), "files:read"),
        (modern("resources/read", 1, {"uri": "file://secret"}), "files:read"),
        (modern("resources/read", 1, {"uri": "log://monday"}), "files:read"),
        (modern("prompts/get", 1, {"name": "rewrite", "arguments": {"style": "x"}}), "files:write"),
        (
            modern(
                "completion/complete",
                1,
                {
                    "ref": {"type": "ref/prompt", "name": "rewrite"},
                    "argument": {"name": "style", "value": ""},
                },
            ),
            "files:write",
        ),
    ],
)
async def test_who_may_not_is_told_what_to_ask_for_and_who_may_is_served(
    host: Host, data: bytes, scope: str
):
    status, message, challenge = await told(host.modern(data, **by("none")))
    assert status == 403
    assert message["error"]["data"] == {"error": "insufficient_scope", "scope": scope}
    assert 'error="insufficient_scope"' in challenge
    assert f'scope="{scope}"' in challenge
    for token in ("both", "admin"):
        status, message, challenge = await told(host.modern(data, **by(token)))
        assert status == 200
        assert "result" in message
        assert not message["result"].get("isError")
        assert not challenge


async def test_a_legacy_client_is_told_the_same(host: Host):
    asked = host.post(hello(), by("reads"))
    await asked.whole()
    session = asked.headers["mcp-session-id"]
    await host.legacy(session, say("notifications/initialized"), **by("reads")).whole()
    tools = await host.legacy(session, ask("tools/list", 1), **by("reads")).json()
    assert "write" not in [tool["name"] for tool in tools["result"]["tools"]]
    data = ask("tools/call", 2, {"name": "write"})
    status, message, challenge = await told(host.legacy(session, data, **by("reads")))
    assert (status, message["id"]) == (403, 2)
    assert 'scope="files:read files:write"' in challenge
    status, message, _ = await told(host.legacy(session, data, **by("both")))
    assert message["result"]["content"][0]["text"] == "written"


@pytest.mark.parametrize("uri", ["file://secret", "log://monday"])
async def test_what_may_not_be_read_is_not_watched_either(host: Host, uri: str):
    """When something changes is part of what it is."""
    wanted = {"notifications": {"resourceSubscriptions": ["file://open", uri]}}
    listen = modern("subscriptions/listen", 1, wanted)
    status, message, challenge = await told(host.modern(listen, **by("none")))
    assert (status, message["id"]) == (403, 1)
    assert 'scope="files:read"' in challenge
    stream = host.modern(listen, **by("reads"))
    honoured = (await stream.message())["params"]["notifications"]
    assert honoured["resourceSubscriptions"] == ["file://open", uri]
    stream.leave()

    asked = host.post(hello(), by("none"))
    await asked.whole()
    session = asked.headers["mcp-session-id"]
    await host.legacy(session, say("notifications/initialized"), **by("none")).whole()
    data = ask("resources/subscribe", 1, {"uri": uri})
    status, message, challenge = await told(host.legacy(session, data, **by("none")))
    assert (status, message["id"]) == (403, 1)
    assert 'scope="files:read"' in challenge
    status, message, _ = await told(host.legacy(session, data, **by("both")))
    assert (status, message["result"]) == (200, {})


async def test_what_is_not_there_yet_may_be_watched_by_anybody(host: Host):
    wanted = {"notifications": {"resourceSubscriptions": ["file://later"]}}
    stream = host.modern(modern("subscriptions/listen", 1, wanted), **by("none"))
    assert (await stream.message())["params"]["notifications"] == wanted["notifications"]
    stream.leave()


async def test_in_this_process_everything_may_be_done():
    async with Client(files()) as client:
        names = {tool.name async for tool in client.list_tools()}
        assert {"read", "write"} <= names
        assert (await client.call_tool("read")).text == "read by us"


async def test_a_handler_knows_who_calls(host: Host):
    message = await host.modern(call("read"), **by("reads")).json()
    assert message["result"]["content"][0]["text"] == "read by tests"


async def test_a_list_that_depends_on_who_asks_is_nobody_elses():
    public = CacheHints(60_000, "public")
    app = App(files(cache=public))
    host = Host(app)
    for what, scope in (("tools", "private"), ("resources", "private"), ("prompts", "private")):
        answer = await host.modern(modern(f"{what}/list"), **by("both")).json()
        assert (answer["result"]["ttlMs"], answer["result"]["cacheScope"]) == (60_000, scope)
    await app.stop()
    server = Server("s", auth=AUTH, token_verifier=VERIFIER, cache=public)
    server.tool(name="seen", scopes=["x"], list_without_scopes=True)(lambda: "")
    app = App(server)
    answer = await Host(app).modern(modern("tools/list"), **by("none")).json()
    assert answer["result"]["cacheScope"] == "public"
    await app.stop()


@pytest.mark.parametrize("given", [None, "public"])
async def test_what_was_read_with_a_scope_is_nobody_elses(given: Literal["public"] | None):
    """2026-07-28 § Caching: what is public may be handed to callers who have no such scope."""
    server = Server("s", auth=AUTH, token_verifier=VERIFIER, cache=CacheHints(60_000, "public"))

    @server.resource("file://secret", scopes=["files:read"])
    def secret() -> ReadResourceResult:
        contents = [ResourceContents.of("file://secret", "s")]
        return ReadResourceResult(contents=contents, cache_scope=given)

    @server.resource("file://open")
    def open_file() -> str:
        return "o"

    app = App(server)
    for uri, scope in (("file://secret", "private"), ("file://open", "public")):
        asked = modern("resources/read", params={"uri": uri})
        answer = await Host(app).modern(asked, **by("reads")).json()
        assert (answer["result"]["ttlMs"], answer["result"]["cacheScope"]) == (60_000, scope)
    await app.stop()


async def test_pages_leave_out_what_is_not_seen_and_lose_nothing_else():
    server = Server("s", auth=AUTH, token_verifier=VERIFIER, page_size=2)
    for number in range(9):
        scopes = ["files:read"] if number % 2 else []
        server.tool(name=f"t{number}", scopes=scopes)(lambda: "")
    app = App(server)
    host = Host(app)

    async def pages(token: str) -> Iterable[list[str]]:
        found: list[list[str]] = []
        params: Json = {}
        while True:
            answer = await host.modern(modern("tools/list", 1, params), **by(token)).json()
            found.append([tool["name"] for tool in answer["result"]["tools"]])
            if "nextCursor" not in answer["result"]:
                return found
            params = {"cursor": answer["result"]["nextCursor"]}

    assert await pages("none") == [["t0", "t2"], ["t4", "t6"], ["t8"]]
    assert await pages("reads") == [["t0", "t1"], ["t2", "t3"], ["t4", "t5"], ["t6", "t7"], ["t8"]]
    await app.stop()


async def test_a_list_is_encoded_once_for_all_who_see_the_same_and_within_bounds(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(room, "LISTS", 4)
    server = Server("s", auth=AUTH, token_verifier=AnyScopes())
    for name in "abcde":
        server.tool(name=name, scopes=[name])(lambda: "")
    app = App(server)
    host = Host(app)
    lists = server.tools.shelf._lists  # pyright: ignore[reportPrivateUsage]
    assert await listed(host, "x+a+other") == ["a"]
    assert await listed(host, "x+a") == ["a"]
    assert len(lists) == 1
    for scopes in ("b", "c", "d", "e", "a+b", "b+c", "c+d+e"):
        assert await listed(host, f"x+{scopes}") == scopes.split("+")
        assert len(lists) <= 4
    server.remove_tool("a")
    assert await listed(host, "x+a+b") == ["b"]
    await app.stop()


async def test_what_is_added_while_it_runs_is_seen_by_those_it_is_for(host: Host):
    server: Server = host.app.service  # type: ignore[attr-defined]
    before = await listed(host, "reads")

    @server.tool(scopes=["new"])
    def fresh() -> str:
        return ""

    assert await listed(host, "reads") == before
    document = host.open("GET", path="/.well-known/oauth-protected-resource")
    assert (await document.json())["scopes_supported"] == ["files:read", "files:write", "new"]


@requirement("RS9-07")
@pytest.mark.parametrize("scope", ["two words", "", "offline_access", 7])
def test_what_is_no_scope_is_refused_where_it_is_written(scope: Any):
    server = Server("s")
    for register in (
        server.tool(name="t", scopes=[scope]),
        server.resource("x://y", scopes=[scope]),
        server.prompt(name="p", scopes=[scope]),
    ):
        with pytest.raises(RegistrationError):
            register(lambda: "")


def test_a_verifier_without_a_word_on_whose_tokens_is_refused():
    with pytest.raises(ConfigError, match="AuthSettings"):
        Server("s", token_verifier=VERIFIER)


def test_a_server_without_auth_has_no_gate_and_one_with_it_has_one():
    assert Server("s").gate is None
    server = Server("s", auth=AUTH)
    assert server.gate is not None
    assert server.gate is server.gate
    assert server.gate.resource == RESOURCE


async def test_an_app_mounted_anywhere_asks_whom_its_server_wants_asked(host: Host):
    refused = host.modern(call("look"))
    await soon(refused.whole())
    assert refused.status == 401
    assert json.loads(await host.modern(call("look"), **by("none")).whole())["result"]
