"""What servers, authorization servers and browsers may do to a client that logs in, row by row.

Everything of ours is as it is in use: an `OAuth` around an engine, and the guarded fetcher over
sockets of this machine. Each row says who does what, and what becomes of it; and nowhere may a
token, a code or a secret arrive where it is not for, or stand in what is raised.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Any, TypeAlias

import pytest
from msgspec import Struct
from tests.auth.desk import Reply, refusal
from tests.auth.guarded import guarded
from tests.auth.world import Answered, Asked, Issuer, World, asked, world
from tests.peers import soon
from tests.spec.marking import requirement

from interlock import Client
from interlock.auth.authorized import TRIES
from interlock.auth.credentials import Credentials
from interlock.auth.metadata import Registered
from interlock.auth.oauth import LOGINS, ClientCredentials, EnterpriseManaged, OAuth
from interlock.auth.steps import Visit, Visited
from interlock.client.target import Url
from interlock.errors import (
    AuthorizationFailed,
    ConnectFailed,
    InterlockError,
    PeerError,
    UnsafeUrl,
)

SECRET = "secret-of-the-client"
Does: TypeAlias = Callable[[World], None]


class Attack(Struct):
    """*does* makes somebody misbehave; *then* what comes of it: an error that says *words*, or the
    status that is handed over. With *later* there was an honest login before. *visits* are the
    pages that a person was sent to in the end.
    """

    name: str
    does: Does
    then: type[InterlockError] | int
    words: str = ""
    later: bool = False
    visits: int | None = None
    options: dict[str, Any] = {}


# Who does what.


def server(**more: Any) -> Does:
    """The server says of itself..."""
    return lambda here: here.issuer.resources["/mcp"].update(more)


def issuer(**more: Any) -> Does:
    """The authorization server says of itself..."""
    return lambda here: here.issuer.metadata.update(more)


def named(change: Callable[[str], str]) -> Does:
    """The authorization server calls itself by another spelling of its name."""
    return lambda here: here.issuer.metadata.update(issuer=change(here.issuer.url))


def answers(path: str, body: Any = b"", status: int = 200, **headers: str) -> Does:
    def does(here: World) -> None:
        here.issuer.instead[path] = lambda it: Answered(body, status, headers)

    return does


def registers(**more: Any) -> Does:
    return answers("/register", {"client_id": "client-1", **more}, 201)


def gives(**more: Any) -> Does:
    """The token endpoint gives, instead of what it should..."""
    return lambda here: here.issuer.tokens.update(more)


def echoes(word: str, *fields: str) -> Does:
    """The token endpoint refuses, and says what it was sent."""

    def refuse(it: Asked) -> Answered:
        text = " ".join(it.form.get(field, "") for field in fields)
        return Answered({"error": word, "error_description": f"\x1b[2J {text}"}, 400)

    return lambda here: here.issuer.instead.update({"/token": refuse})


def comes_back(**more: str | None) -> Does:
    return lambda here: here.person.answers(**more)


def challenges(text: str) -> Does:
    def does(here: World) -> None:
        here.challenge = text

    return does


def refuses(reply: Callable[[], Reply]) -> Does:
    """The server takes no token, whosever it is."""

    def does(here: World) -> None:
        here.desk.answering = lambda request: reply()

    return does


def all_of(*several: Does) -> Does:
    def does(here: World) -> None:
        for each in several:
            each(here)

    return does


PROMISES = issuer(authorization_response_iss_parameter_supported=True)
BINDS = issuer(dpop_signing_alg_values_supported=["ES256"])
RESOURCE = "/.well-known/oauth-protected-resource/mcp"
METADATA = "/.well-known/oauth-authorization-server"
NESTED = b'{"resource":' + b"[" * 50_000 + b"]" * 50_000 + b"}"
ABOUT = "no token is asked for"
NO_HTTPS = "is no https URL"
FAILED = AuthorizationFailed


def of(change: Callable[[str], str]) -> Does:
    """The server's metadata is about another spelling of its URL."""
    return lambda here: here.issuer.resources["/mcp"].update(resource=change(here.url))


def points(path: str) -> Does:
    """Whatever is asked for at *path* is sent on to somebody else, who listens."""

    def does(here: World) -> None:
        evil = f"{other(here).url}/caught"
        answers(path, status=307, location=evil)(here)

    return does


def other(here: World) -> Issuer:
    assert here.other is not None
    return here.other


def belongs_to_other(here: World) -> None:
    here.issuer.resources["/mcp"]["authorization_servers"] = [other(here).url]


def new_scopes() -> Does:
    numbers = iter(range(10_000))

    def does(here: World) -> None:
        here.wants = lambda request: refusal(
            403, error="insufficient_scope", scope=f"s{next(numbers)}"
        )

    return does


def nonces() -> Reply:
    challenge = 'DPoP error="use_dpop_nonce"'
    return Reply(401, {"www-authenticate": challenge, "dpop-nonce": "another"})


ATTACKS = [
    # What the server says of itself.
    Attack("resource of another host", server(resource="https://bank.example/mcp"), FAILED, ABOUT),
    Attack(
        "resource of another port",
        of(lambda it: it.replace("127.0.0.1:", "127.0.0.1:1")),
        FAILED,
        ABOUT,
    ),
    Attack(
        "resource of another scheme", of(lambda it: it.replace("http:", "https:")), FAILED, ABOUT
    ),
    Attack("resource in another case", of(lambda it: it.replace("mcp", "MCP")), FAILED, ABOUT),
    Attack("resource percent-encoded", of(lambda it: it.replace("mcp", "%6dcp")), FAILED, ABOUT),
    Attack("resource beneath us", of(lambda it: f"{it}/deeper"), FAILED, ABOUT),
    Attack("resource beside us", of(lambda it: f"{it}2"), FAILED, ABOUT),
    Attack("resource with a user", of(lambda it: it.replace("//", "//a@")), FAILED, ABOUT),
    Attack("resource with a fragment", of(lambda it: f"{it}#a"), FAILED, ABOUT),
    Attack("resource that is no URL", server(resource="https://["), FAILED, ABOUT),
    Attack("resource null", server(resource=None), FAILED, "is no protected resource metadata"),
    Attack("resource a number", server(resource=7), FAILED, "is no protected resource metadata"),
    Attack("metadata no JSON", answers(RESOURCE, b"<html>"), FAILED, "a JSON object is expected"),
    Attack("metadata a list", answers(RESOURCE, []), FAILED, "a JSON object is expected"),
    Attack("metadata nested deeply", answers(RESOURCE, NESTED), FAILED, "is no protected"),
    Attack(
        "metadata of a megabyte", answers(RESOURCE, b" " * 2**20), FAILED, "more than the 262144"
    ),
    Attack("metadata not at home", answers(RESOURCE, status=503), FAILED, "try again later"),
    Attack("no issuer", server(authorization_servers=[]), FAILED, "names no authorization server"),
    Attack("issuers null", server(authorization_servers=None), FAILED, "names no authorization"),
    Attack("issuers no list", server(authorization_servers="https://a"), FAILED, "is no protected"),
    Attack("issuer relative", server(authorization_servers=["/as"]), FAILED, NO_HTTPS),
    Attack(
        "a thousand issuers",
        server(authorization_servers=["http://a.example"] * 1000),
        FAILED,
        NO_HTTPS,
    ),
    Attack(
        "issuer javascript", server(authorization_servers=["javascript:alert(1)"]), FAILED, NO_HTTPS
    ),
    Attack("issuer a file", server(authorization_servers=["file:///etc/passwd"]), FAILED, NO_HTTPS),
    Attack(
        "issuer without TLS", server(authorization_servers=["http://as.example"]), FAILED, NO_HTTPS
    ),
    Attack(
        "issuer almost this machine",
        server(authorization_servers=["http://127.0.0.1.evil.example"]),
        FAILED,
        NO_HTTPS,
    ),
    Attack(
        "issuer with a user",
        server(authorization_servers=["https://a:b@as.example"]),
        FAILED,
        NO_HTTPS,
    ),
    Attack(
        "issuer with a query",
        server(authorization_servers=["https://as.example?a"]),
        FAILED,
        NO_HTTPS,
    ),
    Attack(
        "issuer not to be parsed", server(authorization_servers=["https://[as"]), FAILED, NO_HTTPS
    ),
    Attack(
        "issuer with a new line",
        server(authorization_servers=["https://as.example/\r\nx: y"]),
        FAILED,
        NO_HTTPS,
    ),
    Attack(
        "issuer of a cloud's metadata",
        server(authorization_servers=["https://169.254.169.254"]),
        UnsafeUrl,
        "not public",
    ),
    Attack(
        "issuer in disguise",
        server(authorization_servers=["https://0x7f.1"]),
        UnsafeUrl,
        "in disguise",
    ),
    # What its authorization server says of itself.
    Attack("issuer with a slash", named(lambda it: f"{it}/"), FAILED, "it is not used"),
    Attack("issuer in capitals", named(lambda it: it.upper()), FAILED, "it is not used"),
    Attack(
        "issuer without its port", named(lambda it: it.rpartition(":")[0]), FAILED, "it is not used"
    ),
    Attack(
        "issuer percent-encoded", named(lambda it: it.replace("1", "%31")), FAILED, "it is not used"
    ),
    Attack(
        "issuer of somebody else",
        named(lambda it: "https://bank.example"),
        FAILED,
        "it is not used",
    ),
    Attack("issuer nameless", issuer(issuer=None), FAILED, "is no authorization server metadata"),
    Attack("PKCE unknown", issuer(code_challenge_methods_supported=None), FAILED, "PKCE with S256"),
    Attack(
        "PKCE plain", issuer(code_challenge_methods_supported=["plain"]), FAILED, "PKCE with S256"
    ),
    Attack(
        "token endpoint without TLS",
        issuer(token_endpoint="http://a.example/t"),
        FAILED,
        "The token_endpoint",
    ),
    Attack("token endpoint missing", issuer(token_endpoint=None), FAILED, "no token endpoint"),
    Attack(
        "token endpoint within",
        issuer(token_endpoint="https://10.0.0.1/t"),
        UnsafeUrl,
        "not public",
    ),
    Attack(
        "page javascript",
        issuer(authorization_endpoint="javascript:alert(1)"),
        FAILED,
        "The authorization_endpoint",
    ),
    Attack(
        "page a file",
        issuer(authorization_endpoint="file:///etc/passwd"),
        FAILED,
        "The authorization_endpoint",
    ),
    Attack(
        "page a command (CVE-2025-6514)",
        issuer(authorization_endpoint="https://a.example/`calc`"),
        FAILED,
        "The authorization_endpoint",
    ),
    Attack(
        "page a quoted command",
        issuer(authorization_endpoint='https://a.example/" & calc'),
        FAILED,
        "The authorization_endpoint",
    ),
    Attack(
        "page an option",
        issuer(authorization_endpoint="--renderer-cmd-prefix=calc"),
        FAILED,
        "The authorization_endpoint",
    ),
    Attack(
        "page not to be parsed",
        issuer(authorization_endpoint="https://[a/"),
        FAILED,
        "The authorization_endpoint",
    ),
    Attack(
        "page with our state",
        issuer(authorization_endpoint="https://a.example/?state=x"),
        FAILED,
        "for this login to say",
    ),
    Attack(
        "page with a redirect",
        issuer(authorization_endpoint="https://a.example/?redirect%5Furi=x"),
        FAILED,
        "for this login to say",
    ),
    Attack("page missing", issuer(authorization_endpoint=None), FAILED, "lets nobody log in"),
    Attack(
        "revocation a file",
        issuer(revocation_endpoint="file:///etc/passwd"),
        FAILED,
        "The revocation_endpoint",
    ),
    Attack(
        "registration a file",
        issuer(registration_endpoint="file:///etc/passwd"),
        FAILED,
        "The registration_endpoint",
    ),
    Attack(
        "metadata sent on within",
        answers(METADATA, status=302, location="http://169.254.169.254/"),
        UnsafeUrl,
    ),
    Attack(
        "metadata sent on to a file",
        answers(METADATA, status=302, location="file:///etc/passwd"),
        UnsafeUrl,
    ),
    Attack(
        "metadata sent round",
        answers(METADATA, status=302, location=METADATA),
        FAILED,
        "publishes no metadata",
    ),
    # Registration.
    Attack(
        "registered for another redirect",
        registers(redirect_uris=["https://evil.example/"]),
        FAILED,
        "other redirect URIs",
    ),
    Attack(
        "registered without an id", registers(client_id=None), FAILED, "is no registered client"
    ),
    Attack(
        "registered with an empty id",
        registers(client_id=""),
        FAILED,
        "a client id that cannot be used",
    ),
    Attack(
        "registered with new lines",
        registers(client_id="a\r\nb"),
        FAILED,
        "a client id that cannot be used",
    ),
    Attack(
        "registered with an endless id",
        registers(client_id="a" * 100_000),
        FAILED,
        "a client id that cannot",
    ),
    Attack("registration sent on", points("/register"), FAILED, "HTTP 307"),
    Attack(
        "registration refused in colour",
        answers("/register", {"error": "no", "error_description": "\x1b[31mred"}, 400),
        FAILED,
        r"refused with no:  \[31mred",
    ),
    # The browser.
    Attack("state of another login", comes_back(state="other"), FAILED, "another login", visits=1),
    Attack("state missing", comes_back(state=None), FAILED, "another login", visits=1),
    Attack("state not ASCII", comes_back(state="ß"), FAILED, "another login", visits=1),
    Attack(
        "iss of somebody else", comes_back(iss="https://evil.example"), FAILED, "(iss)", visits=1
    ),
    Attack(
        "iss promised and missing",
        all_of(PROMISES, comes_back()),
        FAILED,
        "always says so (iss)",
        visits=1,
    ),
    Attack("iss empty", comes_back(iss=""), FAILED, "(iss)", visits=1),
    Attack(
        "error of somebody else",
        comes_back(
            iss="https://evil.example", error="access_denied", error_description="call 555-1234"
        ),
        FAILED,
        "does not come from",
        visits=1,
    ),
    Attack(
        "error in colour",
        comes_back(error="access_denied", error_description="\x1b[31mred"),
        FAILED,
        r"refused at .*:  \[31mred",
        visits=1,
    ),
    Attack("code missing", comes_back(code=None), FAILED, "without a code", visits=1),
    # The token endpoint.
    Attack("tokens sent on", points("/token"), FAILED, "HTTP 307", visits=1),
    Attack(
        "token of no type", gives(token_type=None), FAILED, "of a type that is not known", visits=1
    ),
    Attack(
        "token of an unknown type",
        gives(token_type="mac"),
        FAILED,
        "of a type that is not known",
        visits=1,
    ),
    Attack(
        "token bound to nobody's key",
        gives(token_type="DPoP"),
        FAILED,
        "a key that was never shown",
        visits=1,
    ),
    Attack(
        "token not bound",
        all_of(BINDS, challenges("DPoP"), gives(token_type="Bearer")),
        FAILED,
        "not bound to our key",
        visits=1,
    ),
    Attack("token missing", gives(access_token=None), FAILED, "no access token", visits=1),
    Attack(
        "token with new lines",
        gives(access_token="a\r\nHost: evil"),
        FAILED,
        "no access token",
        visits=1,
    ),
    Attack("token not ASCII", gives(access_token="ß"), FAILED, "no access token", visits=1),
    Attack(
        "token of a megabyte",
        gives(access_token="a" * 2**20),
        FAILED,
        "more than the 262144",
        visits=1,
    ),
    Attack("token of 20 KB", gives(access_token="a" * 20_000), FAILED, "no access token", visits=1),
    Attack(
        "refresh token with new lines",
        gives(refresh_token="a\r\nb"),
        FAILED,
        "a refresh token that cannot",
        visits=1,
    ),
    Attack(
        "tokens no JSON", answers("/token", b"access_token=a"), FAILED, "no access token", visits=1
    ),
    Attack(
        "code and verifier said back",
        echoes("invalid_grant", "code", "code_verifier"),
        FAILED,
        "invalid_grant:",
        visits=1,
    ),
    Attack(
        "endless nonces for proofs",
        all_of(
            BINDS,
            challenges("DPoP"),
            answers("/token", {"error": "use_dpop_nonce"}, 400, **{"dpop-nonce": "n"}),
        ),
        FAILED,
        "use_dpop_nonce",
        visits=1,
    ),
    # A refresh.
    Attack(
        "refresh without a token",
        answers("/token", {"token_type": "Bearer"}),
        FAILED,
        "no access token",
        True,
        1,
    ),
    Attack(
        "refresh token said back",
        echoes("invalid_request", "refresh_token"),
        FAILED,
        r"invalid_request:  \[2J …$",
        True,
        1,
    ),
    Attack("refresh sent on", points("/token"), FAILED, "HTTP 307", True, 1),
    Attack(
        "refresh of another type",
        answers("/token", {"access_token": "a", "token_type": "mac"}),
        FAILED,
        "of a type that",
        True,
        1,
    ),
    # The server, once it was logged in to.
    Attack("endless 401", refuses(refusal), 401, visits=1),
    Attack("endless 403", refuses(lambda: refusal(403, error="insufficient_scope")), 403, visits=0),
    Attack(
        "endless 403 for one scope",
        refuses(lambda: refusal(403, error="insufficient_scope", scope="a")),
        403,
        visits=1,
    ),
    Attack("ever new scopes", new_scopes(), 403, visits=1 + TRIES - 1),
    Attack("endless nonces", refuses(nonces), 401, visits=1),
    Attack(
        "challenge of garbage",
        all_of(
            challenges('"=,\\x00 ,,= Bearer"='),
            refuses(lambda: Reply(401, {"www-authenticate": '"=,, Bearer"='})),
        ),
        401,
        visits=1,
    ),
    Attack(
        "challenge of a megabyte",
        refuses(lambda: Reply(401, {"www-authenticate": f'Bearer scope="{"a" * 2**20}"'})),
        401,
        visits=1,
    ),
    Attack(
        "thousands of challenges",
        refuses(lambda: Reply(401, {"www-authenticate": "Bearer, " * 5000})),
        401,
        visits=1,
    ),
    Attack(
        "thousands of scopes",
        challenges('Bearer scope="' + " ".join(f"s{n}" for n in range(1500)) + '"'),
        200,
        visits=1,
    ),
    Attack("scopes that are none", challenges('Bearer scope="a \\"b\\" \udcff é"'), 200, visits=1),
    Attack(
        "a redirect",
        refuses(lambda: Reply(307, {"location": "https://evil.example/"})),
        307,
        visits=0,
    ),
    # Clients that are known.
    Attack(
        "wanted at another issuer",
        lambda here: None,
        FAILED,
        "is registered at https://as.example",
        visits=0,
        options={"client_id": "by-hand", "client_secret": SECRET, "issuer": "https://as.example"},
    ),
    Attack(
        "moved to another issuer",
        belongs_to_other,
        FAILED,
        "wants tokens of",
        visits=0,
        options={"client_id": "by-hand", "client_secret": SECRET, "issuer": "home"},
    ),
]


@pytest.fixture
async def here() -> AsyncGenerator[World]:
    async with world() as made, Issuer().serving() as evil:
        made.other = evil
        yield made


def secrets(here: World) -> set[str]:
    """All that nobody but its issuer and its server is to see."""
    found = {"code-1", SECRET, *here.issuer.valid}
    for it in here.issuer.at("/token"):
        found.update(it.form.get(name, "") for name in ("refresh_token", "code_verifier"))
    return found - {""}


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda it: it.name)
async def test_nothing_is_gained_by(attack: Attack, here: World):
    options = dict(attack.options)
    if options.get("issuer") == "home":
        options["issuer"] = here.issuer.url
    engine = here.engine(here.oauth(**options))
    if attack.later:
        assert (await soon(engine.send(here.post()))).status == 200
        here.issuer.valid.clear()
    attack.does(here)
    if isinstance(attack.then, int):
        assert (await soon(engine.send(here.post()))).status == attack.then
    else:
        with pytest.raises(attack.then) as raised:
            await soon(engine.send(here.post()))
        text = f"{raised.value} {raised.value!r}"
        assert not [secret for secret in secrets(here) if secret in text]
        assert raised.match(attack.words.replace("(iss)", r"\(iss\)"))
        assert "555-1234" not in text
        assert "\x1b" not in str(raised.value)
    assert len(here.person.visits) == (attack.visits or 0)
    assert other(here).asked == [] or all(
        it.path != "/caught" and not [each for each in secrets(here) if each.encode() in it.body]
        for it in other(here).asked
    )
    assert len(here.desk.sent) <= 2 + TRIES


def test_there_are_as_many_attacks_as_names():
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS) >= 60


@pytest.mark.parametrize(
    ("name", "values"),
    [("state", 2), ("iss", 2), ("code", 2), ("error", 2)],
)
async def test_nothing_is_gained_by_saying_twice(name: str, values: int, here: World):
    said = {"iss": here.issuer.url, "code": "code-1", "error": "a"}

    def visit(step: Visit) -> Visited:
        found: dict[str, tuple[str, ...]] = {"code": ("code-1",), "state": (asked(step)["state"],)}
        found[name] = (found.get(name) or (said[name],)) * values
        return Visited(found)

    here.person.instead = visit
    with pytest.raises(AuthorizationFailed, match=f"{name} more than once"):
        await soon(here.engine().send(here.post()))
    assert here.issuer.at("/token") == []


PUBLIC = "https://mcp.example/mcp"
WITHIN = [
    ("http://169.254.169.254/latest/meta-data/", "not public"),
    ("https://169.254.169.254/latest/meta-data/", "not public"),
    ("https://10.0.0.1/", "not public"),
    ("https://127.0.0.1/", "not public"),
    ("https://[::1]/", "not public"),
    ("https://[::ffff:169.254.169.254]/", "not public"),
    ("https://[fd00::1]/", "not public"),
    ("https://localhost/", "this machine"),
    ("http://localhost:8080/", "this machine"),
    ("https://2130706433/", "in disguise"),
    ("https://0x7f.0.0.1/", "in disguise"),
    ("https://0177.0.0.1/", "in disguise|not public|no address"),
    ("http://mcp.example/", "without encryption"),
    ("https://mcp.example@169.254.169.254/", "with a user in it"),
    ("https://169.254.169.254\\@mcp.example/", "with a user in it"),
    ("file:///etc/passwd", "is not gone to"),
    ("javascript:alert(1)", "is not gone to"),
    ("data:application/json,{}", "characters|is not gone to"),
    ("gopher://127.0.0.1:6379/_", "is not gone to"),
    ("//mcp.example/", "is not gone to|no host"),
    ("metadata", "is not gone to"),
    ("https://mcp.example:0/", "no port"),
    ("https://[::1/", "no host"),
]


@requirement("SEC-05")
@pytest.mark.parametrize(("place", "words"), WITHIN, ids=lambda it: str(it)[:40])
async def test_a_public_server_leads_nowhere_within(place: str, words: str, here: World):
    """SEC-05, T11."""
    here.desk.answering = lambda request: refusal(resource_metadata=place)
    engine = here.engine(url=PUBLIC)
    with pytest.raises(UnsafeUrl, match=words):
        await soon(engine.send(here.post(PUBLIC)))
    assert here.issuer.asked == []


@requirement("CF-12")
async def test_a_second_server_does_not_get_the_first_ones_token(here: World):
    """T17: it names the first one's issuer, and its resource or its own."""
    way = here.oauth()
    await soon(here.engine(way).send(here.post()))
    second = f"{other(here).url}/mcp"
    for claimed in (here.url, here.issuer.url):
        other(here).resources["/mcp"] = {
            "resource": claimed,
            "authorization_servers": [here.issuer.url],
        }
        with pytest.raises(AuthorizationFailed, match="no token is asked for"):
            await soon(here.engine(way, second).send(here.post(second)))
    other(here).describes("/mcp", authorization_servers=[here.issuer.url])
    await soon(here.engine(way, second).send(here.post(second)))
    shown = [it.headers.get("authorization") for it in here.desk.sent if it.url == second]
    assert shown == [None, None, None, "Bearer access-2"]
    assert here.issuer.at("/token")[-1].form["resource"] == second


async def test_a_secret_that_is_over_is_not_sent(here: World):
    expired = Registered("old", SECRET, here.clock() - 1, redirect_uris=[here.person.redirect_uri])
    await here.credentials.register(here.issuer.url, expired)
    await soon(here.engine().send(here.post()))
    assert len(here.issuer.at("/register")) == 1
    assert SECRET.encode() not in b"".join(it.body for it in here.issuer.asked)


async def test_an_id_token_is_no_assertion(here: World):
    here.issuer.instead["/idp"] = lambda it: Answered(
        {
            "access_token": it.form["subject_token"],
            "token_type": "N_A",
            "issued_token_type": "urn:ietf:params:oauth:token-type:id_token",
        }
    )
    way = EnterpriseManaged(
        "client",
        SECRET,
        id_token="id-token-of-ann",
        token_endpoint=f"{here.issuer.url}/idp",
        provider_client_id="at-idp",
        clock=here.clock,
    )
    with pytest.raises(AuthorizationFailed, match="something else than"):
        await soon(way.around(here.desk, here.url).send(here.post()))
    assert here.issuer.at("/token") == []


async def test_a_program_is_not_led_to_another_issuer(here: World):
    belongs_to_other(here)
    way = ClientCredentials("program", SECRET, issuer=here.issuer.url, clock=here.clock)
    with pytest.raises(AuthorizationFailed, match="is not used there"):
        await soon(way.around(here.desk, here.url).send(here.post()))
    assert other(here).at("/token") == []


async def test_a_server_that_wants_logins_without_end_gets_a_few(here: World):
    here.issuer.tokens = {"refresh_token": None}
    engine, number = here.engine(), iter(range(1000))
    here.wants = lambda request: refusal() if next(number) % 2 else None

    async def go_on() -> None:
        for _ in range(100):
            await engine.send(here.post())

    with pytest.raises(AuthorizationFailed, match=f"wanted {LOGINS} logins"):
        await soon(go_on())
    assert len(here.person.visits) == LOGINS


# With the whole client.


@requirement("CF-12")
async def test_a_token_does_not_follow_a_redirect_of_the_server():
    async with guarded() as here, guarded() as evil:
        async with here.client():
            pass

        async def moved(scope: Any, receive: Any, send: Any) -> None:
            headers = [(b"location", evil.url.encode()), (b"content-length", b"0")]
            await send({"type": "http.response.start", "status": 307, "headers": headers})
            await send({"type": "http.response.body", "body": b""})

        here.instead = moved
        with pytest.raises(PeerError, match="redirects to"):
            await soon(here.client().connect())
        assert evil.heard == []


@requirement("CF-12")
@pytest.mark.parametrize(
    ("endpoint", "words"),
    [
        ("https://evil.example/messages", "another origin"),
        ("//evil.example/messages", "another origin"),
        ("http://user:word@{host}/messages", "no URL"),
        ("http://[evil/messages", "no URL"),
        ("javascript:alert(1)", "another origin"),
    ],
)
async def test_messages_of_2024_go_to_no_other_origin(endpoint: str, words: str):
    async with guarded() as here:

        async def stream(scope: Any, receive: Any, send: Any) -> None:
            place = endpoint.format(host=here.url.split("/")[2])
            headers = [(b"content-type", b"text/event-stream")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            body = f"event: endpoint\ndata: {place}\n\n".encode()
            await send({"type": "http.response.body", "body": body})

        here.instead = stream
        client = Client(Url(here.url, transport="sse"), auth=here.oauth())
        with pytest.raises(ConnectFailed, match=words):
            await soon(client.connect())
        assert {method for method, _ in here.heard} == {"GET"}


async def test_a_header_that_is_no_text_is_no_trouble():
    async with guarded() as here:
        place = f'resource_metadata="{here.issuer.url}/described"'.encode()
        here.challenge = b'Bearer scope="\xff\xfe a", ' + place
        async with here.client() as client:
            assert (await soon(client.call_tool("ping"))).text == "pong"
        assert here.person.scopes() == [{"a"}]


@requirement("CF-10")
async def test_nothing_is_shown_without_tls():
    auth = OAuth(Credentials.in_memory())
    with pytest.raises(InterlockError, match="has no TLS"):
        await soon(Client("http://mcp.example/mcp", auth=auth).connect())
