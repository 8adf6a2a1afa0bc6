"""Who may come in at a gateway: whom this user lets in, or whoever another issuer says."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import socket
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from html import unescape
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit
from urllib.request import HTTPCookieProcessor, ProxyHandler, Request, build_opener

import pytest
from tests.auth.world import Answered, Issuer
from tests.peers import modern

from interlock import Client, Context, Server
from interlock.auth.credentials import Credentials
from interlock.auth.dpop import prove
from interlock.auth.issuer.issuer import Issuer as OwnIssuer
from interlock.auth.issuer.requests import FORM
from interlock.auth.issuer.requests import Request as Asked
from interlock.auth.issuer.responses import Response
from interlock.auth.jwt import SigningKey, letters
from interlock.auth.metadata import RESOURCE_PATH, SERVER_PATH
from interlock.auth.oauth import OAuth
from interlock.auth.visitors import in_browser
from interlock.errors import AuthorizationFailed, ConfigError
from interlock.gateway.inbound import SCOPE, Inbound, by_issuer, by_our_issuer
from interlock.gateway.run import Doors
from interlock.protocol.call import Principal
from interlock.server.web import serve_http
from interlock.transport.http.asgi import App


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Person:
    """Opens pages, types a code, and allows or denies; without scripts, as a browser may be."""

    def __init__(self, code: str, choice: str = "allow") -> None:
        self.code = code
        self.choice = choice
        self.visits = 0
        self.shown = ""
        self.refused: int | None = None

    def __call__(self, url: str) -> bool:
        self.visits += 1
        browser = build_opener(ProxyHandler({}), HTTPCookieProcessor(CookieJar()))
        with browser.open(url, timeout=10) as page:
            self.shown = unescape(page.read().decode())
        [ticket] = re.findall('name="ticket" value="([^"]+)"', self.shown)
        [action] = re.findall('action="([^"]+)"', self.shown)
        form = {"ticket": ticket, "choice": self.choice, "code": self.code}
        answer = Request(urljoin(url, action), urlencode(form).encode())
        answer.add_header("Sec-Fetch-Site", "same-origin")
        try:
            browser.open(answer, timeout=10).close()
        except HTTPError as error:
            error.close()
            self.refused = error.code
        return True


@asynccontextmanager
async def door(inbound: Inbound, port: int) -> AsyncGenerator[None]:
    """What stands behind a gateway's door, served at *port*: it says who came in."""
    server = Server("door")

    @server.tool
    async def who(ctx: Context) -> list[str]:
        return [ctx.principal.subject, ctx.principal.issuer]

    endpoint, operator = App(server, gate=inbound.gate), App(Server("operator"), path="/control/x")
    listening = asyncio.Event()
    doors = Doors(endpoint, operator, inbound.beside)
    serving = asyncio.create_task(serve_http(doors, "127.0.0.1", port, lambda _: listening.set()))
    waiting = asyncio.create_task(listening.wait())
    await asyncio.wait([serving, waiting], return_when=asyncio.FIRST_COMPLETED)
    try:
        assert listening.is_set(), serving.exception()
        yield
    finally:
        waiting.cancel()
        serving.cancel()
        await asyncio.wait([serving, waiting])


async def ask(url: str, body: bytes | None = None, **headers: str) -> tuple[int, Any, Any]:
    """Status, headers and JSON of an answer to a stranger's request."""
    told = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
    if body is not None:
        told |= {
            "mcp-protocol-version": "2026-07-28",
            "mcp-method": "tools/call",
            "mcp-name": "who",
        }
    request = Request(url, body, {**told, **headers})

    def send() -> tuple[int, Any, Any]:
        opener = build_opener(ProxyHandler({}))
        try:
            with opener.open(request, timeout=10) as answer:
                return answer.status, answer.headers, json.loads(answer.read())
        except HTTPError as error:
            with error:
                return error.code, error.headers, json.loads(error.read())

    return await asyncio.to_thread(send)


WHO = modern("tools/call", 1, {"name": "who"})


class Here:
    """This user's state, and the port that their gateway is at."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/mcp"
        self.environ = {"INTERLOCK_STATE": str(folder), "INTERLOCK_KEYRING": "off"}

    async def inbound(self) -> Inbound:
        return await by_our_issuer(self.url, self.environ)


@pytest.fixture
def here(tmp_path: Path) -> Here:
    return Here(tmp_path / "state")


def code_of(inbound: Inbound) -> str:
    assert inbound.person is not None
    return inbound.person.code


async def called(url: str, credentials: Credentials, person: Person) -> list[str]:
    """Who it says that came in, by whatever login there is or comes to be."""
    oauth = OAuth(credentials, visitors=in_browser(lambda line: None, open=person))
    try:
        async with Client(url, auth=oauth) as client:
            return (await client.call_tool("who")).structured["result"]
    finally:
        await oauth.close()


# Our own issuer.


async def test_whoever_has_the_code_comes_in_and_is_this_user(here: Here):
    inbound = await here.inbound()
    person = Person(code_of(inbound))
    async with Credentials.in_memory() as credentials, door(inbound, here.port):
        subject, issuer = await called(here.url, credentials, person)
        assert await called(here.url, credentials, person) == [subject, issuer]
        assert inbound.owner == Principal(subject, issuer)
        assert issuer == inbound.issuer == f"http://127.0.0.1:{here.port}/auth"
    assert person.visits == 1
    assert "Use the servers behind this gateway, as you" in person.shown
    assert "your gateway" in person.shown


async def test_a_restart_ends_no_login_but_has_another_code(here: Here):
    first = await here.inbound()
    person = Person(code_of(first))
    async with Credentials.in_memory() as credentials:
        async with door(first, here.port):
            before = await called(here.url, credentials, person)
        again = await here.inbound()
        assert again.owner == first.owner
        assert code_of(again) != code_of(first)
        async with door(again, here.port):
            assert await called(here.url, credentials, person) == before
    assert person.visits == 1


@pytest.mark.parametrize("choice", ["allow", "deny"])
async def test_nobody_comes_in_without_the_code_or_against_the_will_of_who_has_it(
    here: Here, choice: str
):
    inbound = await here.inbound()
    guessed = choice == "allow"
    person = Person("0000-0000-0000" if guessed else code_of(inbound), choice)
    # Whoever typed a wrong code is not sent back: nobody is waited for once they have.
    visitors = in_browser(lambda line: None, timeout=0 if guessed else 10, open=person)
    async with Credentials.in_memory() as credentials, door(inbound, here.port):
        oauth = OAuth(credentials, visitors=visitors)
        said = "begin the login anew" if guessed else "The person did not allow it"
        with pytest.raises(AuthorizationFailed, match=said):
            async with Client(here.url, auth=oauth):
                pass
        await oauth.close()
        assert (person.visits, person.refused) == (1, 401 if guessed else None)
        assert await credentials.list() == []
        status, headers, _ = await ask(here.url, WHO)
        assert status == 401
        assert (
            f'resource_metadata="http://127.0.0.1:{here.port}{RESOURCE_PATH}/mcp"'
            in (headers["www-authenticate"])
        )
        assert (await ask(here.url, WHO, authorization="Bearer guessed"))[0] == 401


async def test_a_gateway_need_not_reach_itself_at_the_url_that_clients_use(here: Here):
    """Behind a tunnel or a proxy its name may lead nowhere from where it runs."""
    inbound = await by_our_issuer("https://gateway.test/mcp", here.environ)
    issuer = inbound.beside["/auth"]
    assert isinstance(issuer, OwnIssuer)
    back = "http://127.0.0.1:8123/callback"

    async def send(
        method: str, path: str, form: Mapping[str, Any] | bytes, query: str = "", **headers: str
    ) -> Response:
        data = form if isinstance(form, bytes) else urlencode(form).encode()
        told = {"host": "gateway.test", "content-type": FORM, "sec-fetch-site": "same-origin"}
        every = {name: (value,) for name, value in {**told, **headers}.items()}
        return await issuer.handle(Asked(method, f"/auth/{path}", query, every, data, "192.0.2.1"))

    about = {"redirect_uris": [back], "token_endpoint_auth_method": "none"}
    said = json.dumps(about).encode()
    registered = await send("POST", "register", said, **{"content-type": "application/json"})
    app = json.loads(registered.body)["client_id"]
    verifier = "v" * 43
    challenge = letters(hashlib.sha256(verifier.encode()).digest())
    wanted = {
        "response_type": "code",
        "client_id": app,
        "redirect_uri": back,
        "code_challenge": challenge,
        "code_challenge_method": "S256",
        "resource": inbound.url,
        "scope": SCOPE,
    }
    page = await send("GET", "authorize", b"", urlencode(wanted))
    [ticket] = re.findall('name="ticket" value="([^"]+)"', unescape(page.body.decode()))
    cookies = {"cookie": (page.header("set-cookie") or "").partition(";")[0]}
    form = {"ticket": ticket, "choice": "allow", "code": code_of(inbound)}
    allowed = await send("POST", "decide", form, origin="null", **cookies)
    code = parse_qs(urlsplit(allowed.header("location") or "").query)["code"][0]
    grant = {"grant_type": "authorization_code", "client_id": app, "code": code}
    given = await send("POST", "token", {**grant, "redirect_uri": back, "code_verifier": verifier})
    token = json.loads(given.body)["access_token"]
    headers = [(b"authorization", f"Bearer {token}".encode())]
    found = await inbound.gate.admit("POST", "/mcp", b"", headers)
    assert isinstance(found, Principal)
    assert inbound.owner == Principal(found.subject, found.issuer)
    await issuer.stop()


async def test_a_stranger_finds_the_issuer_by_what_is_published(here: Here):
    inbound = await here.inbound()
    root = f"http://127.0.0.1:{here.port}"
    async with door(inbound, here.port):
        _, _, resource = await ask(f"{root}{RESOURCE_PATH}/mcp")
        assert resource["resource"] == here.url
        assert resource["resource_name"] == "Interlock gateway"
        assert resource["scopes_supported"] == [SCOPE]
        [issuer] = resource["authorization_servers"]
        for place in (f"{SERVER_PATH}/auth", "/.well-known/openid-configuration/auth"):
            _, _, server = await ask(f"{root}{place}")
            assert server["issuer"] == issuer == inbound.issuer
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            assert server[name].startswith(f"{issuer}/")
        status, _, keys = await ask(server["jwks_uri"])
        assert status == 200
        assert all("d" not in key for key in keys["keys"])


async def test_a_proxy_before_it_may_tell_its_own_name_or_ours(here: Here):
    inbound = await by_our_issuer("https://gw.example/mcp", here.environ)
    root = f"http://127.0.0.1:{here.port}"
    places = (f"{RESOURCE_PATH}/mcp", f"{SERVER_PATH}/auth", "/auth/jwks")
    async with door(inbound, here.port):
        for host in ("gw.example", f"127.0.0.1:{here.port}"):
            for place in places:
                assert (await ask(root + place, host=host))[0] == 200, (host, place)
            assert (await ask(f"{root}/mcp", WHO, host=host))[0] == 401
        assert (await ask(f"{root}/auth/jwks", host="evil.example"))[0] == 403
        assert (await ask(f"{root}/mcp", WHO, host="evil.example"))[0] == 403
        _, _, resource = await ask(root + places[0])
        assert resource["authorization_servers"] == ["https://gw.example/auth"]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nonsense", "'nonsense' is no URL of a server"),
        ("", "'' is no URL of a server"),
        ("ftp://gw.example/mcp", "is no URL of a server"),
        ("http://gw.example/mcp", "https is expected, but on the loopback"),
        ("http://0.0.0.0:4777/mcp", "https is expected, but on the loopback"),
        ("https://gw.example/mcp#here", "no fragment"),
        ("https://ada:s3cret@gw.example/mcp", "no user"),
    ],
)
async def test_a_url_that_clients_cannot_use_is_refused_before_anything_is_kept(
    here: Here, url: str, words: str
):
    with pytest.raises(ConfigError) as caught:
        await by_our_issuer(url, here.environ)
    assert words in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert not here.folder.exists()


# Another's.


class Elsewhere:
    """An authorization server of somebody else's, and its tokens for the gateway at *url*."""

    def __init__(self, issuer: Issuer, url: str) -> None:
        self.key = SigningKey.generate()
        self.url = url
        self.issuer = issuer.url
        issuer.metadata = {"jwks_uri": f"{issuer.url}/jwks"}
        issuer.instead["/jwks"] = lambda asked: Answered({"keys": [self.key.public]})

    def token(self, **claims: Any) -> str:
        """A good one, but for what is said otherwise."""
        now = time.time()
        said: Mapping[str, Any] = {
            "iss": self.issuer,
            "aud": self.url,
            "sub": "ada",
            "client_id": "editor",
            "scope": "files notes",
            "iat": now,
            "exp": now + 600,
            **claims,
        }
        return self.key.sign(said, typ="at+jwt")


@asynccontextmanager
async def elsewhere(here: Here, *scopes: str) -> AsyncGenerator[Elsewhere]:
    async with Issuer().serving() as issuer:
        made = Elsewhere(issuer, here.url)
        async with door(by_issuer(made.issuer, here.url, scopes), here.port):
            yield made


async def test_whoever_an_issuer_says_comes_in_as_themselves(here: Here):
    async with elsewhere(here, "files") as it:
        for subject in ("ada", "bob"):
            shown = f"Bearer {it.token(sub=subject)}"
            status, _, said = await ask(here.url, WHO, authorization=shown)
            assert status == 200
            assert said["result"]["structuredContent"]["result"] == [subject, it.issuer]
    assert not here.folder.exists()  # Nothing of ours is needed for that.


@pytest.mark.parametrize(
    ("claims", "status", "error"),
    [
        ({"aud": "https://other.example/mcp"}, 401, "invalid_token"),
        ({"iss": "https://other.example"}, 401, "invalid_token"),
        ({"exp": 1_000_000_000}, 401, "invalid_token"),
        ({"scope": "notes"}, 403, "insufficient_scope"),
        ({"scope": ""}, 403, "insufficient_scope"),
    ],
)
async def test_a_token_that_does_not_say_so_lets_nobody_in(
    here: Here, claims: dict[str, Any], status: int, error: str
):
    async with elsewhere(here, "files") as it:
        shown = f"Bearer {it.token(**claims)}"
        found, headers, _ = await ask(here.url, WHO, authorization=shown)
        assert found == status
        assert f'error="{error}"' in headers["www-authenticate"]
        if status == 403:
            assert "files" in headers["www-authenticate"]
        it.key = SigningKey.generate()
        forged = f"Bearer {it.token()}"
        it.key = SigningKey.generate()
        assert (await ask(here.url, WHO, authorization=forged))[0] == 401


async def test_a_token_that_is_bound_to_a_key_needs_its_proof(here: Here):
    key = SigningKey.generate()
    async with elsewhere(here) as it:
        token = it.token(cnf={"jkt": key.thumbprint})
        assert (await ask(here.url, WHO, authorization=f"Bearer {token}"))[0] == 401
        assert (await ask(here.url, WHO, authorization=f"DPoP {token}"))[0] == 401
        proof = prove(key, "POST", here.url, now=time.time(), token=token)
        shown = {"authorization": f"DPoP {token}", "dpop": proof}
        assert (await ask(here.url, WHO, **shown))[0] == 200
        assert (await ask(here.url, WHO, **shown))[0] == 401  # A proof is good once.


def test_with_another_issuer_nobody_is_this_user_and_nothing_stands_beside():
    inbound = by_issuer("https://id.example/tenant", "https://gw.example/mcp", ("files",))
    assert (inbound.owner, inbound.person, inbound.beside) == (None, None, {})
    assert (inbound.issuer, inbound.url) == ("https://id.example/tenant", "https://gw.example/mcp")
    [place] = {path for path in inbound.gate.documents if path.endswith("/mcp")}
    said = json.loads(inbound.gate.documents[place])
    assert said["authorization_servers"] == ["https://id.example/tenant"]
    assert said["scopes_supported"] == ["files"]


@pytest.mark.parametrize(
    ("issuer", "url", "scopes", "words"),
    [
        ("LOCAL", "https://gw.example/mcp", (), "'LOCAL' is no URL"),
        ("", "https://gw.example/mcp", (), "'' is no URL"),
        ("http://id.example", "https://gw.example/mcp", (), "https is expected"),
        ("https://id.example/?q=1", "https://gw.example/mcp", (), "it has a query"),
        ("https://id.example/#here", "https://gw.example/mcp", (), "no fragment"),
        ("https://ada:s3cret@id.example", "https://gw.example/mcp", (), "no user"),
        ("https://id.example", "nonsense", (), "'nonsense' is no URL of a server"),
        ("https://id.example", "http://gw.example/mcp", (), "must be https"),
        ("https://id.example", "https://ada:s3cret@gw.example/mcp", (), "no user"),
        ("https://id.example", "https://gw.example/mcp", ("a b",), "'a b' is no scope"),
        ("https://id.example", "https://gw.example/mcp", ('a"b',), "is no scope"),
    ],
)
def test_what_cannot_be_is_told_without_what_may_be_secret_in_it(
    issuer: str, url: str, scopes: tuple[str, ...], words: str
):
    with pytest.raises(ConfigError, match="The gateway cannot ask for tokens: ") as caught:
        by_issuer(issuer, url, scopes)
    assert words in str(caught.value)
    assert "s3cret" not in str(caught.value)
