"""§3 Versions, and programs that speak both eras or one of them."""

from __future__ import annotations

from typing import Any

import pytest
from tests.peers import LATEST, LEGACY, MODERN, Json, ask, hello, modern
from tests.spec.asking import listed, watch
from tests.spec.kitchen import Kitchen
from tests.spec.marking import HTTP, STDIO, requirement
from tests.spec.scripts import (
    Answer,
    Asked,
    Refusal,
    Script,
    discovery,
    meet,
)
from tests.spec.ways import Way

from interlock import RpcError
from interlock.errors import ConnectFailed, PeerError
from interlock.wire.meta import CLIENT_CAPABILITIES, PROTOCOL_VERSION

BOTH = [LATEST, MODERN]
OF_LEGACY = {"initialize", "notifications/initialized", "ping", "logging/setLevel"}


# Versions.


@requirement("VN-02")
async def test_a_client_whose_version_is_refused_takes_one_that_is_offered(way: Way):
    """A version that a server does not implement is refused with -32022 and a list; the client
    retries with one of it, or tells.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/versioning.mdx
    """

    async def once(asked: Asked) -> None:
        again = len(script.of("server/discover")) > 1
        wrong = Refusal(-32022, "no", {"supported": [MODERN], "requested": MODERN}, 400)
        await (asked.result(discovery()) if again else asked.refuse(wrong))

    script = Script(way.revision, {"server/discover": once})
    if way.transport == HTTP:
        async with meet(way, script, revision="auto") as client:
            assert client.revision == MODERN
    script.answers["server/discover"] = Refusal(
        -32022, "no", {"supported": ["2099-01-01"], "requested": MODERN}, 400
    )
    with pytest.raises(ConnectFailed, match="2099-01-01"):
        async with meet(way, script, revision="auto"):
            pass
    assert "initialize" not in script.methods


@requirement("VN-02", revisions=[LATEST])
async def test_a_client_whose_version_is_refused_by_a_legacy_server_greets_it(way: Way):
    """A version that a server does not implement is refused with -32022 and a list; the client
    retries with one of it, or tells.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/versioning.mdx
    """
    refusal = Refusal(-32022, "no", {"supported": [LATEST], "requested": MODERN}, 400)
    async with meet(way, Script(LATEST, {"server/discover": refusal}), revision="auto") as client:
        assert client.revision == LATEST


@requirement("VN-03")
async def test_a_server_can_be_discovered(way: Way):
    """Every server implements `server/discover`, whose result may be cached.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/discover.mdx
    """
    async with way.join(Kitchen(instructions="be kind")) as peer:
        result = (await peer.ask("server/discover")).result
        assert result["supportedVersions"] == [MODERN]
        assert result["capabilities"]["tools"] == {"listChanged": True}
        assert result["instructions"] == "be kind"
        assert type(result["ttlMs"]) is int
        assert result["cacheScope"] in ("public", "private")


@requirement("VN-04")
async def test_every_version_that_is_discovered_can_be_used_and_is_named_in_refusals(way: Way):
    """What discovery lists, the refusal of a version lists too, and a modern request may name.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/server/discover.mdx
    """
    async with way.join(Kitchen()) as peer:
        versions = (await peer.ask("server/discover")).result["supportedVersions"]
        for version in versions:
            headers = {"mcp-protocol-version": version}
            answer = await peer.ask("tools/list", headers=headers, meta={PROTOCOL_VERSION: version})
            assert answer.result
        wrong: Json = {PROTOCOL_VERSION: "1"}
        refusal = await peer.ask("tools/list", headers={"mcp-protocol-version": "1"}, meta=wrong)
        assert refusal.error["data"]["supported"] == versions


@requirement("VN-05", "VN-06")
async def test_extensions_are_settings_by_prefixed_names_and_strange_ones_change_nothing(way: Way):
    """Extensions are a map from prefixed identifiers to objects of settings.
    An extension that only one side knows changes nothing; extensions are off by default.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/versioning.mdx
    """
    can: Json = {"extensions": {"com.example/strange": {"on": True}, "com.example/other": {}}}
    async with way.join(Kitchen()) as peer:
        plain = (await peer.ask("tools/list")).result
        assert (await peer.ask("tools/list", meta={CLIENT_CAPABILITIES: can})).result == plain
        offered = (await peer.ask("server/discover")).result["capabilities"]
        for name, settings in offered.get("extensions", {}).items():
            assert "/" in name
            assert isinstance(settings, dict)


@requirement("VN-05", "VN-06")
async def test_a_client_uses_no_extension_because_a_server_has_it(way: Way):
    """Extensions are a map from prefixed identifiers to objects of settings.
    An extension that only one side knows changes nothing; extensions are off by default.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/versioning.mdx
    """
    can: Json = {"tools": {}, "extensions": {"com.example/strange": {"on": True}}}
    script = Script(way.revision, capabilities=can)
    async with meet(way, script) as client:
        assert (await client.call_tool("tool")).text == "said"
        declared = script.of("tools/call")[0].meta[CLIENT_CAPABILITIES].get("extensions", {})
        assert "com.example/strange" not in declared


# Servers of both eras.


@requirement("VN-01", "DS-01", "DS-02", revisions=[LATEST])
async def test_one_endpoint_serves_clients_of_every_revision_at_once(way: Way):
    """Modern is what carries its version in each request; legacy is what shakes hands.
    One endpoint, or one process, serves both eras at once.
    A request with modern `_meta` is served without state; `initialize` opens a legacy process
    or session.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/versioning.mdx
    """
    async with way.serve(Kitchen()) as join:
        legacy = [join(revision) for revision in LEGACY]
        async with (
            legacy[0] as a,
            legacy[1] as b,
            legacy[2] as c,
            legacy[3] as d,
            join(MODERN) as e,
        ):
            for peer in (a, b, c, d, e, a, e):
                assert (await listed(peer))[0]["name"] == "echo"


@requirement("DS-01", "DS-02", "DS-05", revisions=[MODERN], over=[STDIO])
async def test_both_eras_may_mix_on_one_pipe(way: Way):
    """One endpoint, or one process, serves both eras at once.
    A request with modern `_meta` is served without state; `initialize` opens a legacy process
    or session.
    Discovery does not settle the era of a process; both may mix.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/versioning.mdx
    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/stdio.mdx
    """
    async with way.join(Kitchen()) as peer:
        await peer.ask("server/discover")
        (greeted,) = await peer.send(hello(LATEST))
        assert greeted["result"]["protocolVersion"] == LATEST
        for _ in range(2):
            assert "ttlMs" in (await peer.ask("tools/list")).result
            (plain,) = await peer.send(ask("tools/list", "plain"))
            assert "ttlMs" not in plain["result"]


@requirement("DS-03", revisions=[LATEST], over=[HTTP])
async def test_over_http_the_body_decides_the_era(way: Way):
    """Over HTTP the body decides the era, whatever the method; only without any hint the header
    does.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/streamable-http.mdx
    """
    async with way.join(Kitchen()) as peer:

        async def sent(data: bytes, **headers: str | None) -> tuple[Any, int | None]:
            dashed = {name.replace("_", "-"): value for name, value in headers.items()}
            begun = await peer.begin(data, dashed)
            answer = await begun.answer()
            return answer.message.get("error", {}).get("code"), answer.status

        of_modern = {"mcp_protocol_version": MODERN, "mcp_method": "tools/list"}
        assert await sent(modern("tools/list"), **of_modern) == (None, 200)
        for method in ("initialize", "ping", "logging/setLevel", "resources/subscribe"):
            mirrored = {"mcp_protocol_version": MODERN, "mcp_method": method}
            assert await sent(modern(method), **mirrored) == (-32601, 404)
        anew: dict[str, str | None] = {"mcp_session_id": None, "mcp_protocol_version": None}
        assert await sent(hello(LATEST), **anew) == (None, 200)
        assert await sent(ask("tools/list")) == (None, 200)
        bare: dict[str, str | None] = {**anew, **of_modern}
        assert await sent(ask("tools/list", 1, {}), **bare) == (-32602, 400)


@requirement("DS-04", revisions=[MODERN], over=[HTTP])
@pytest.mark.parametrize("verb", ["GET", "DELETE"])
async def test_get_and_delete_belong_to_sessions(way: Way, verb: str):
    """GET and DELETE belong to legacy sessions, and are refused with 405 otherwise.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/streamable-http.mdx
    """
    async with way.join(Kitchen()) as peer:
        for headers in ({}, {"mcp-protocol-version": MODERN}):
            status, sent = await peer.bare(verb, headers)
            assert status == 405
            assert "POST" in sent["allow"]


@requirement("DS-07", revisions=BOTH)
async def test_a_method_of_the_other_era_does_not_exist(way: Way):
    """A method of the other era does not exist: -32601.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/versioning.mdx
    """
    strange = ["initialize", "ping", "logging/setLevel", "resources/subscribe"]
    if not way.modern:
        strange = ["server/discover", "subscriptions/listen"]
    async with way.join(Kitchen()) as peer:
        for method in strange:
            answer = await peer.ask(method)
            assert answer.code == -32601
            assert answer.status in (None, 404 if way.modern else 200)


@requirement("DS-08", revisions=BOTH)
async def test_one_handler_asks_clients_of_either_era(way: Way):
    """One handler serves both eras: legacy clients are asked by requests, modern ones by
    `input_required`.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/patterns/mrtr.mdx
    """
    async with way.join(Kitchen(), capabilities={"roots": {}}) as peer:
        roots: Json = {"roots": [{"uri": "file:///here"}]}
        begun = await peer.open("tools/call", {"name": "where"})
        if way.modern:
            required = (await begun.answer()).result
            ((key, question),) = required["inputRequests"].items()
            again: Json = {"name": "where", "requestState": required["requestState"]}
            begun = await peer.open("tools/call", {**again, "inputResponses": {key: roots}})
        else:
            question = await begun.until(lambda said: "id" in said and "method" in said)
            await peer.reply(question, roots)
        assert question["method"] == "roots/list"
        assert (await begun.answer()).result["content"][0]["text"] == "file:///here"


@requirement("DS-09", revisions=[LATEST])
async def test_one_change_reaches_clients_of_either_era(way: Way):
    """One change reaches legacy sessions and modern subscriptions alike.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/patterns/subscriptions.mdx
    """
    kitchen = Kitchen()
    async with way.serve(kitchen) as join, join(LATEST) as old, join(MODERN) as new:
        both = [
            await watch(old, "note://one", lists=True),
            await watch(new, "note://one", lists=True),
        ]
        kitchen.changed("prompts")
        kitchen.updated("note://one")
        for changes in both:
            await changes.until(
                lambda said: said.get("method") == "notifications/prompts/list_changed"
            )
            update = await changes.until(
                lambda said: said.get("method") == "notifications/resources/updated"
            )
            assert update["params"]["uri"] == "note://one"


# Clients of both eras.

ODD: list[Answer] = [
    *(Refusal(code) for code in (-32601, -32602, -32600, -32000, -32603, 404, 0)),
    {},
    {"tools": []},
    {"supportedVersions": 3},
]


@requirement("DC-01", revisions=BOTH)
async def test_a_client_asks_before_it_greets(way: Way):
    """Over stdio a client asks `server/discover` first; anything but a modern answer leads to
    `initialize`.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/stdio.mdx
    """
    script = Script(way.revision)
    async with meet(way, script, revision="auto") as client:
        assert client.revision == way.revision
    first = script.heard[0]
    assert first.method == "server/discover"
    assert first.meta[PROTOCOL_VERSION] == MODERN
    assert script.methods.count("initialize") == (0 if way.modern else 1)


@requirement("DC-01", "DC-02", "DC-03", revisions=[LATEST])
@pytest.mark.parametrize("answer", ODD, ids=[str(number) for number in range(len(ODD))])
async def test_whatever_is_no_modern_answer_leads_to_the_handshake(way: Way, answer: Answer):
    """Over stdio a client asks `server/discover` first; anything but a modern answer leads to
    `initialize`.
    The way back to `initialize` does not hang on one error code.
    Errors of any code, silence and an exit at the first message all lead to the handshake; late
    answers are dropped.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/stdio.mdx
    """
    script = Script(way.revision, {"server/discover": answer})
    async with meet(way, script, revision="auto") as client:
        assert client.revision == LATEST
        assert (await client.call_tool("tool")).text == "said"


@requirement("DC-01", revisions=[MODERN])
@pytest.mark.parametrize("code", [-32020, -32021])
async def test_an_error_of_a_modern_server_does_not_lead_to_the_handshake(way: Way, code: int):
    """Over stdio a client asks `server/discover` first; anything but a modern answer leads to
    `initialize`.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/stdio.mdx
    """
    data: Json | None = {"requiredCapabilities": {"roots": {}}} if code == -32021 else None
    script = Script(way.revision, {"server/discover": Refusal(code, "no", data, 400)})
    with pytest.raises((RpcError, ConnectFailed)):
        async with meet(way, script, revision="auto"):
            pass
    assert "initialize" not in script.methods


@requirement("DC-03", revisions=[LATEST], over=[STDIO])
async def test_a_server_that_exits_at_the_question_is_started_again_and_greeted(way: Way):
    """Errors of any code, silence and an exit at the first message all lead to the handshake; late
    answers are dropped.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/stdio.mdx
    """

    async def die(asked: Asked) -> None:
        assert script.channel is not None
        await script.channel.close()

    script = Script(way.revision, {"server/discover": die})
    async with meet(way, script, revision="auto") as client:
        assert client.revision == LATEST
        assert (await client.call_tool("tool")).text == "said"
    assert script.opened == 2


@requirement("DC-04", "DC-05", revisions=[LATEST], over=[HTTP])
@pytest.mark.parametrize("status", [400, 404, 405, 406, 422])
async def test_a_4xx_without_a_modern_error_is_a_legacy_server(way: Way, status: int):
    """Over HTTP a 400 is read before it is taken for a legacy server; 400, 404 or 405 to
    `initialize` leads to HTTP+SSE.
    Outages, 5xx, log-ins and redirects say nothing of an era.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/streamable-http.mdx
    """

    async def bare(asked: Asked) -> None:
        await asked.http.whole(status, b"what is this?", "text/plain")

    script = Script(way.revision, {"server/discover": bare})
    async with meet(way, script, revision="auto") as client:
        assert client.revision == LATEST


@requirement("DC-05", revisions=[LATEST], over=[HTTP])
@pytest.mark.parametrize("status", [301, 307, 401, 403, 500, 502, 503])
async def test_an_outage_or_a_log_in_says_nothing_of_an_era(way: Way, status: int):
    """Outages, 5xx, log-ins and redirects say nothing of an era.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/streamable-http.mdx
    """

    async def bare(asked: Asked) -> None:
        await asked.http.whole(status)

    script = Script(way.revision, {"server/discover": bare})
    with pytest.raises(PeerError):
        async with meet(way, script, revision="auto"):
            pass
    assert "initialize" not in script.methods


@requirement("DC-05", revisions=[MODERN], over=[HTTP])
async def test_a_404_with_an_error_of_json_rpc_is_a_server_without_the_method(way: Way):
    """Outages, 5xx, log-ins and redirects say nothing of an era.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/streamable-http.mdx
    """
    script = Script(way.revision, {"tools/call": Refusal(-32601, "no tools", status=404)})
    async with meet(way, script, revision="auto") as client:
        with pytest.raises(RpcError) as caught:
            await client.call_tool("tool")
        assert caught.value.code == -32601
    assert "initialize" not in script.methods


@requirement("DC-06", revisions=BOTH)
async def test_the_era_is_asked_for_once_a_connection(way: Way):
    """The era is remembered for a process or a URL.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/versioning.mdx
    """
    script = Script(way.revision)
    async with meet(way, script, revision="auto") as client:
        for _ in range(3):
            await client.call_tool("tool")
            await client.list_tools()
    assert script.methods.count("server/discover") == 1
    assert script.methods.count("initialize") <= 1


@requirement("DC-07", "DC-09", revisions=[LATEST])
async def test_a_client_that_is_modern_only_says_what_to_do_with_a_legacy_server(way: Way):
    """A client that is modern only probes too, so as to fail clearly.
    Every pair of eras either works or fails with an error that says what to do.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/stdio.mdx
    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/versioning.mdx
    """
    script = Script(way.revision)
    with pytest.raises(ConnectFailed, match=r"2026-07-28"):
        async with meet(way, script, revision="modern"):
            pass
    assert script.methods == ["server/discover"]


@requirement("DC-08", revisions=[MODERN])
async def test_a_modern_client_sends_nothing_of_the_handshake(way: Way):
    """A client of one era sends nothing of the other: no handshake, ping or DELETE there, no
    `_meta` keys or mirrored headers here.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/streamable-http.mdx
    """
    script = Script(way.revision, capabilities={"tools": {}, "logging": {}})
    async with meet(way, script, revision="auto", log_level="error") as client:
        await client.call_tool("tool")
    assert not OF_LEGACY & set(script.methods)
    assert {heard.verb for heard in script.heard} == {"POST"}
    for heard in script.heard:
        assert "mcp-session-id" not in heard.headers
        if way.transport == HTTP:
            assert heard.headers["mcp-protocol-version"] == MODERN


@requirement("DC-08", revisions=LEGACY)
async def test_a_legacy_client_sends_nothing_of_the_modern_era(way: Way):
    """A client of one era sends nothing of the other: no handshake, ping or DELETE there, no
    `_meta` keys or mirrored headers here.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/transports/streamable-http.mdx
    """
    script = Script(way.revision)
    async with meet(way, script) as client:
        await client.call_tool("tool")
        await client.list_tools()
    for heard in script.heard:
        assert not [key for key in heard.meta if key.startswith("io.modelcontextprotocol/")]
        assert not [name for name in heard.headers if name in ("mcp-method", "mcp-name")]


@requirement("DC-09", revisions=[MODERN])
async def test_a_legacy_client_is_refused_by_a_server_without_handshake(way: Way):
    """Every pair of eras either works or fails with an error that says what to do.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/versioning.mdx
    """
    script = Script(way.revision, {"initialize": Refusal(-32601, "no", None, 404)})
    with pytest.raises(ConnectFailed, match="revision='auto'"):
        async with meet(way, script, revision="legacy"):
            pass
