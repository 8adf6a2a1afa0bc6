"""§§20-22 Authorization as a whole: our client, our server and our issuer, over HTTP.

What each part does by itself is tried beside its room; those tests carry the rows they hold.
"""

from __future__ import annotations

import sys
import textwrap
import time
from urllib.parse import quote

from tests.auth.issuer.box import SERVICE_KEY, WEB_BACK, Box, Shelf, asked
from tests.auth.world import world
from tests.peers import LATEST, MODERN, modern, soon
from tests.spec.household import diary, household
from tests.spec.marking import HTTP, STDIO, requirement
from tests.spec.ways import Way
from tests.transport.http.host import Host

from interlock import Client
from interlock.auth.issuer.settings import Resource, Trusted
from interlock.auth.jwt import SigningKey, peek
from interlock.auth.oauth import ClientCredentials, WorkloadIdentity
from interlock.client.target import Command
from interlock.testing.clock import Clock
from interlock.transport.http.asgi import App

DOCUMENT = "https://client.example.org/app.json"
PLATFORM = "https://platform.example.net"
OTHER = "https://other.example.net/mcp"
KEYED = """
    import json, os, sys
    for line in sys.stdin:
        asked = json.loads(line)
        if "id" not in asked:
            continue
        result = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
                  "serverInfo": {"name": "keyed", "version": os.environ["API_KEY"]}}
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}), flush=True)
"""


@requirement("AU-02", "CF-07", over=[HTTP])
async def test_a_person_logs_in_at_an_issuer_whose_tokens_the_server_takes(way: Way):
    """An MCP server is a resource server of OAuth 2.1. The token goes into the header of every
    request, never into the query.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/authorization/index.mdx
    """
    async with household() as here:
        async with here.client(way.revision) as client:
            assert (await soon(client.call_tool("whoami"))).text == "anna"
        (token,) = {shown for shown in here.shown if shown is not None}
        assert here.shown == [None, *[token] * (len(here.shown) - 1)]
        assert len(here.shown) >= 3
        assert {heard.query for heard in here.door.heard} == {b""}
        assert peek(token.removeprefix("Bearer ")).audiences == (here.url,)
        assert {heard.headers.get("authorization") for heard in here.office.heard} == {None}
        # What it gives out itself is nothing: that is its issuer's.
        for path in ("/token", "/register", "/.well-known/oauth-authorization-server"):
            assert (await here.send("POST", path))[0] == 404


@requirement("AU-01", over=[STDIO])
async def test_over_pipes_nobody_is_asked_for_a_token(way: Way):
    """Authorization is for HTTP; programs take credentials from their environment.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/authorization/index.mdx
    """
    server = diary("https://api.example.com/mcp", "https://login.example.com")
    async with way.join(server) as peer:
        answer = await peer.ask("tools/call", {"name": "write", "arguments": {"text": "a"}})
        assert answer.result["content"][0]["text"] == "Written: a"


@requirement("AU-01", revisions=["2025-11-25"], over=[STDIO])
async def test_a_program_gets_its_credentials_by_its_environment(way: Way):
    """Authorization is for HTTP; programs take credentials from their environment.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/authorization/index.mdx
    """
    code = textwrap.dedent(KEYED)
    program = Command(sys.executable, ["-I", "-S", "-c", code], {"API_KEY": "of-the-program"})
    async with Client(program, revision=way.revision) as client:
        assert client.server_info is not None
        assert client.server_info.version == "of-the-program"


@requirement("RS9-09", "HL-14", over=[HTTP], revisions=[LATEST, MODERN])
async def test_to_have_a_session_lets_nobody_in(way: Way):
    """Every HTTP request is authorized by itself. A session is no proof of who is asking.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/authorization/index.mdx
    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/docs/2026-07-28/tutorials/security/security_best_practices.mdx
    """
    async with household() as here, here.client(way.revision) as client:
        await soon(client.call_tool("whoami"))
        session = here.door.at("/mcp")[-1].headers.get("mcp-session-id")
        assert (session is None) is way.modern
        given = {} if session is None else {"mcp-session-id": session}
        for method in ("POST", "GET", "DELETE"):
            status, headers = await here.send(method, "/mcp", **given)
            assert status == 401
            assert headers["www-authenticate"].startswith("Bearer resource_metadata=")
        assert (await soon(client.call_tool("whoami"))).text == "anna"


@requirement("RS9-08", over=[HTTP], revisions=[MODERN])
async def test_a_token_of_the_same_issuer_for_another_server_is_not_taken(way: Way):
    """Only tokens that were issued for this server are taken.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/authorization/index.mdx
    """
    other = Resource(OTHER, {"read": "Read something else"})
    async with household(others=[other]) as here:
        token = await here.service_token(OTHER)
        status, headers = await here.send("POST", "/mcp", authorization=f"Bearer {token}")
        assert status == 401
        assert 'error="invalid_token"' in headers["www-authenticate"]
        async with Client(here.url_with(await here.service_token(here.url))) as client:
            assert (await soon(client.call_tool("whoami"))).text == "service"


@requirement("RS9-06", over=[HTTP])
async def test_who_may_do_more_may_do_what_is_less(way: Way):
    """A broader scope contains the narrower.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/authorization/index.mdx
    """
    async with household() as here:
        token = await here.service_token(here.url, "write")
        status, headers = await here.send("POST", "/mcp", authorization=f"Bearer {token}")
        assert status == 403
        assert 'error="insufficient_scope"' in headers["www-authenticate"]
    async with household(settings={"implies": {"write": ["read"]}}) as here:
        token = await here.service_token(here.url, "write")
        async with Client(here.url_with(token), revision=way.revision) as client:
            assert (await soon(client.call_tool("whoami"))).text == "service"


@requirement("RS9-13", over=[HTTP], revisions=[MODERN])
async def test_a_page_may_read_how_to_come_in_and_which_session_it_has(way: Way):
    """Browsers may read what they need of the headers.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/authorization/index.mdx
    """
    page = "https://app.example"
    app = App(diary("https://api.example.com/mcp", "https://login.example.com"), origins=[page])
    refused = Host(app).post(modern("tools/list"), {"origin": page})
    await refused.whole()
    await app.stop()
    assert refused.status == 401
    exposed = {each.strip() for each in refused.headers["access-control-expose-headers"].split(",")}
    assert exposed >= {"WWW-Authenticate", "Mcp-Session-Id", "MCP-Protocol-Version"}


@requirement("CF-05", "CF-08", "RS9-05", "SEC-12", over=[HTTP], revisions=[LATEST, MODERN])
async def test_little_is_asked_for_first_and_more_when_it_is_needed(way: Way):
    """Which scopes are asked for: few and precise. A 403 says which scopes are lacking, and leads to
    a step up.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/authorization/index.mdx
    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/docs/2026-07-28/tutorials/security/security_best_practices.mdx
    """
    async with household() as here, here.client(way.revision) as client:
        assert (await soon(client.call_tool("whoami"))).text == "anna"
        assert here.anna.scopes() == [{"read", "offline_access"}]
        assert (await soon(client.call_tool("write", {"text": "a"}))).text == "Written: a"
        assert (await soon(client.call_tool("write", {"text": "b"}))).text == "Written: b"
        assert here.anna.scopes()[1:] == [{"read", "write", "offline_access"}]
        assert [heard.path for heard in here.office.heard].count("/register") == 1


@requirement("CF-09", "CF-02", over=[HTTP], revisions=[LATEST, MODERN])
async def test_a_token_is_renewed_with_a_refresh_token_that_is_replaced(way: Way):
    """Refresh tokens rotate. `resource` goes with every authorization and token request.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/authorization/security-considerations.mdx
    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/authorization/index.mdx
    """
    clock = Clock(time.time())
    async with household() as here, here.client(way.revision, here.oauth(clock=clock)) as client:
        await soon(client.call_tool("whoami"))
        first = await here.credentials.find(here.url)
        clock.turn(3600)
        assert (await soon(client.call_tool("whoami"))).text == "anna"
        second = await here.credentials.find(here.url)
        assert first is not None
        assert second is not None
        assert first.refresh_token != second.refresh_token
        assert peek(second.access_token).audiences == (here.url,)
        (visit,) = here.anna.visits
        assert f"resource={quote(here.url, safe='')}" in visit.url


@requirement("CF-06", over=[HTTP])
async def test_who_got_no_refresh_token_logs_in_again(way: Way):
    """Nobody counts on a refresh token.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/authorization/index.mdx
    """
    async with world() as here:
        here.issuer.tokens = {"refresh_token": None, "expires_in": 60}
        engine = here.engine()
        await soon(engine.send(here.post()))
        here.clock.turn(61)
        here.issuer.valid.clear()
        assert (await soon(engine.send(here.post()))).status == 200
        assert here.issuer.grants == ["authorization_code"] * 2


@requirement("CD-07", over=[HTTP], revisions=[MODERN])
async def test_what_was_found_out_is_kept_until_something_is_refused(way: Way):
    """Discovery is kept for a while.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/authorization/authorization-server-discovery.mdx
    """

    def found_out() -> int:
        return sum(it.method == "GET" for it in here.issuer.asked)

    async with world() as here:
        engine = here.engine()
        await soon(engine.send(here.post()))
        before = found_out()
        for _ in range(3):
            here.clock.turn(4000)
            assert (await soon(engine.send(here.post()))).status == 200
        assert here.issuer.grants == ["authorization_code", *["refresh_token"] * 3]
        assert found_out() == before
        here.issuer.valid.clear()
        here.issuer.refreshable.clear()
        assert (await soon(engine.send(here.post()))).status == 200
        assert found_out() > before


@requirement("CR-02", over=[HTTP])
async def test_a_client_with_a_document_is_let_in_where_it_never_was(way: Way):
    """A client's metadata document lives at its id.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/specification/2026-07-28/basic/authorization/client-registration.mdx
    """
    said = {
        "client_id": DOCUMENT,
        "client_name": "Documented app",
        "redirect_uris": ["http://127.0.0.1/callback"],
        "token_endpoint_auth_method": "none",
    }
    async with household(fetcher=Shelf({DOCUMENT: said})) as here:
        async with here.client(way.revision, here.oauth(document=DOCUMENT)) as client:
            assert (await soon(client.call_tool("whoami"))).text == "anna"
        (page,) = here.anna.pages
        assert "client.example.org" in page
        assert here.office.at("/register") == []


@requirement("SEC-01", over=[HTTP], revisions=[MODERN])
async def test_a_person_who_is_signed_in_is_asked_for_each_client(way: Way):
    """A proxy asks for consent client by client.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/docs/2026-07-28/tutorials/security/security_best_practices.mdx
    """
    box = Box()
    await box.code()
    for more, name in (
        ({}, "Some app"),
        ({"client_id": "web", "redirect_uri": WEB_BACK}, "Web app"),
    ):
        page = await box.browser.open(asked(**more))
        assert page.response.status == 200
        assert page.response.header("location") is None
        assert name in page.html
        assert "Signed in as <b>Anna</b>" in page.html


# Programs, and keys.


@requirement("XC-02", over=[HTTP])
async def test_a_program_lets_itself_in_with_its_key(way: Way):
    """A client without a user gets a token by itself.

    https://github.com/modelcontextprotocol/modelcontextprotocol/blob/main/docs/extensions/auth/oauth-client-credentials.mdx
    """
    async with household() as here:
        auth = ClientCredentials("service", private_key=SERVICE_KEY, issuer=here.issuer)
        async with here.client(way.revision, auth) as client:
            assert (await soon(client.call_tool("whoami"))).text == "service"
        assert here.anna.visits == []
        assert here.office.at("/register") == []


@requirement("XW-01", over=[HTTP])
async def test_a_workload_lets_itself_in_with_its_platforms_token(way: Way):
    """A workload exchanges its platform's token.

    https://github.com/modelcontextprotocol/conformance/tree/main/src/scenarios
    """
    key = SigningKey.generate()
    workloads = {"job/backup": frozenset({"read"})}
    trusted = Trusted(issuer=PLATFORM, keys=(key.public,), workloads=workloads)
    async with household(trusted=[trusted]) as here:
        word = {"iss": PLATFORM, "sub": "job/backup", "aud": here.issuer}
        auth = WorkloadIdentity(lambda: here.box.assertion(key, **word))
        async with here.client(way.revision, auth) as client:
            assert (await soon(client.call_tool("whoami"))).text == f"{PLATFORM}#job/backup"
        assert here.anna.visits == []


@requirement("XD-01", "XD-03", over=[HTTP])
async def test_a_bound_token_is_of_no_use_to_who_took_it(way: Way):
    """A token is bound to a key by proofs, and how a proof is checked.

    https://github.com/modelcontextprotocol/conformance/tree/main/src/scenarios
    """
    async with household(settings={"dpop": "required"}) as here:
        async with here.client(way.revision) as client:
            assert (await soon(client.call_tool("whoami"))).text == "anna"
        later = here.door.at("/mcp")[1:]
        proofs = [heard.headers["dpop"] for heard in later]
        assert len(set(proofs)) == len(proofs) >= 2
        (shown,) = {heard.shown for heard in later}
        assert shown is not None
        assert shown.startswith("DPoP ")
        bearer = shown.replace("DPoP", "Bearer")
        for given in (
            {"authorization": shown},
            {"authorization": shown, "dpop": proofs[0]},
            {"authorization": bearer},
            {"authorization": bearer, "dpop": proofs[0]},
        ):
            status, headers = await here.send("POST", "/mcp", **given)
            assert status == 401
            assert "DPoP" in headers["www-authenticate"]
