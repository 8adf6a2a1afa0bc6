"""How clients show who they are: people who log in, and programs in their own ways."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from io import StringIO
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from rich.console import Console
from tests.auth.desk import Desk, Reply, refusal
from tests.auth.world import Answered, Asked, Issuer, World, asked, world
from tests.peers import soon
from tests.spec.marking import requirement

from interlock.auth import dpop
from interlock.auth.credentials import Credentials
from interlock.auth.jwt import SigningKey, peek, verify
from interlock.auth.metadata import ID_JAG, Registered, canonical
from interlock.auth.oauth import (
    Authorizing,
    ClientCredentials,
    EnterpriseManaged,
    OAuth,
    WorkloadIdentity,
)
from interlock.errors import AuthorizationFailed, ConfigError, LoginNeeded
from interlock.transport.http.engine import Request

SECRET = "secret-of-the-program"
JAG = {"issued_token_type": ID_JAG, "token_type": "N_A"}


@pytest.fixture
async def here() -> AsyncGenerator[World]:
    async with world() as made:
        yield made


async def sent(here: World, way: Authorizing, times: int = 1) -> int:
    """The status of the last of some requests."""
    engine = way.around(here.desk, here.url)
    status = 0
    for _ in range(times):
        status = (await soon(engine.send(here.post()))).status
    return status


# People.


@requirement("CF-02", "CF-07")
async def test_a_first_login_goes_from_a_refusal_to_a_token(here: World):
    here.challenge = f'Bearer resource_metadata="{here.issuer.url}/described", scope="a"'
    here.issuer.instead["/described"] = lambda it: Answered(here.issuer.resources["/mcp"])
    assert await sent(here, here.oauth(name="Somebody"), times=2) == 200
    assert here.desk.shown == [None, "Bearer access-1", "Bearer access-1"]
    assert [(it.method, it.path) for it in here.issuer.asked] == [
        ("GET", "/described"),
        ("GET", "/.well-known/oauth-authorization-server"),
        ("POST", "/register"),
        ("POST", "/token"),
    ]
    said = asked(here.person.visits[0])
    assert said["resource"] == here.url
    assert said["scope"] == "a"
    assert said["client_id"] == "client-1"
    assert json.loads(here.issuer.at("/register")[0].body)["client_name"] == "Somebody"
    assert here.issuer.at("/token")[0].form["resource"] == here.url


async def test_a_login_is_kept_for_whom_it_is_of(here: World):
    await sent(here, here.oauth(principal="ann"))
    with pytest.raises(LoginNeeded):
        await sent(here, here.oauth(principal="bob", visitors=None))
    assert await sent(here, here.oauth(principal="ann", visitors=None)) == 200


async def test_where_nobody_is_a_login_is_needed(here: World):
    with pytest.raises(LoginNeeded, match="needs a login") as needed:
        await sent(here, here.oauth(visitors=None))
    assert needed.value.url == here.url
    assert here.issuer.asked == []


async def test_a_registration_is_used_again_and_so_is_its_port(here: World):
    await sent(here, here.oauth())
    await here.credentials.drop(here.url)
    await sent(here, here.oauth())
    assert len(here.issuer.at("/register")) == 1
    assert here.person.ports == [None, 4711]


async def test_a_browser_that_comes_back_elsewhere_is_another_registration(here: World):
    await sent(here, here.oauth())
    await here.credentials.drop(here.url)
    here.person.redirect_uri = "http://127.0.0.1:9999/callback"
    await sent(here, here.oauth())
    assert len(here.issuer.at("/register")) == 2


async def test_a_client_that_was_registered_by_hand_is_used_as_it_is(here: World):
    here.issuer.metadata = {"token_endpoint_auth_methods_supported": ["client_secret_basic"]}
    way = here.oauth(client_id="by-hand", client_secret=SECRET, issuer=here.issuer.url)
    assert await sent(here, way) == 200
    assert here.issuer.at("/register") == []
    assert here.issuer.at("/token")[0].basic == f"by-hand:{SECRET}"
    here.issuer.valid.clear()
    assert await sent(here, way) == 200
    assert here.issuer.at("/token")[1].basic == f"by-hand:{SECRET}"


@requirement("CR-04")
async def test_a_client_that_was_registered_elsewhere_is_shown_to_nobody(here: World):
    way = here.oauth(client_id="by-hand", client_secret=SECRET, issuer="https://as.example")
    with pytest.raises(AuthorizationFailed, match="registered at https://as") as refused:
        await sent(here, way)
    assert here.person.visits == []
    assert here.issuer.at("/token") == []
    assert SECRET not in str(refused.value)


@requirement("CR-02")
async def test_a_client_with_a_document_registers_nowhere(here: World):
    here.issuer.metadata = {"client_id_metadata_document_supported": True}
    document = "https://client.example/id.json"
    assert await sent(here, here.oauth(document=document)) == 200
    assert here.issuer.at("/register") == []
    assert asked(here.person.visits[0])["client_id"] == document


@requirement("CD-03", "CD-07", "CR-04")
async def test_a_server_may_move_to_another_authorization_server(here: World):
    """2026-07-28 § Client Registration: what one issuer gave is never shown to another."""
    way = here.oauth()
    await sent(here, way)
    async with Issuer().serving() as other:
        other.given = 100
        here.issuer.resources["/mcp"]["authorization_servers"] = [other.url]
        here.issuer.valid.clear()
        here.issuer.tokens = {"access_token": "access-old-2"}
        here.desk.answering = lambda it: (
            Reply()
            if it.headers.get("authorization") == "Bearer access-101"
            else Reply(401, {"www-authenticate": "Bearer"})
        )
        assert await sent(here, way) == 200
        assert len(other.at("/register")) == 1
        assert other.grants == ["authorization_code"]
        assert not [it for it in other.asked if b"refresh" in it.body and it.path == "/token"]
        assert {it.issuer for it in await here.credentials.list()} == {here.issuer.url, other.url}


@requirement("CD-03")
async def test_the_authorization_server_that_was_logged_in_to_stays_the_one(here: World):
    way = here.oauth()
    await sent(here, way)
    async with Issuer().serving() as other:
        here.issuer.resources["/mcp"]["authorization_servers"] = [other.url, here.issuer.url]
        here.issuer.valid.clear()
        here.issuer.refreshable.clear()
        assert await sent(here, way) == 200
        assert other.asked == []


async def test_a_login_serves_all_servers_of_its_resource(here: World):
    whole = {"resource": here.issuer.url, "authorization_servers": [here.issuer.url]}
    here.issuer.resources = {"/one": whole, "/two": whole}
    way = here.oauth()
    for path in ("/one", "/two", "/two"):
        url = f"{here.issuer.url}{path}"
        response = await soon(way.around(here.desk, url).send(here.post(url)))
        assert response.status == 200
    assert len(here.person.visits) == 1
    assert here.desk.shown == [None, "Bearer access-1", None, "Bearer access-1", "Bearer access-1"]


async def test_a_login_that_allows_less_does_not_serve_another_server(here: World):
    whole = {"resource": here.issuer.url, "authorization_servers": [here.issuer.url]}
    here.issuer.resources = {"/one": whole, "/two": whole}
    way = here.oauth()
    for path, scope in (("/one", "a"), ("/two", "b")):
        here.challenge = f'Bearer scope="{scope}"'
        url = f"{here.issuer.url}{path}"
        await soon(way.around(here.desk, url).send(here.post(url)))
    assert len(here.person.visits) == 2


@requirement("CF-12")
async def test_a_server_beside_it_gets_no_token_of_another_resource(here: World):
    here.issuer.describes("/other")
    way = here.oauth()
    await sent(here, way)
    url = f"{here.issuer.url}/other"
    await soon(way.around(here.desk, url).send(here.post(url)))
    assert here.desk.shown == [None, "Bearer access-1", None, "Bearer access-2"]
    assert [asked(visit)["resource"] for visit in here.person.visits] == [here.url, url]


@requirement("XD-01")
async def test_a_token_is_bound_where_both_sides_can(here: World):
    here.issuer.metadata = {"dpop_signing_alg_values_supported": ["RS256", "EdDSA"]}
    here.issuer.resources["/mcp"]["dpop_signing_alg_values_supported"] = ["EdDSA"]
    assert await sent(here, here.oauth()) == 200
    request = here.desk.sent[-1]
    proof = dpop.check(
        request.headers["dpop"], "POST", here.url, now=here.clock(), token="access-1"
    )
    assert request.headers["authorization"] == "DPoP access-1"
    assert proof.issued_at == here.clock.now
    assert peek(request.headers["dpop"]).header["alg"] == "EdDSA"


@pytest.mark.parametrize(("wanted", "bound"), [(None, False), (False, False), (True, True)])
async def test_whether_a_token_is_bound_can_be_said(here: World, wanted: bool | None, bound: bool):
    here.issuer.metadata = {"dpop_signing_alg_values_supported": ["ES256"]}
    await sent(here, here.oauth(dpop=wanted))
    assert here.desk.shown[-1] == ("DPoP access-1" if bound else "Bearer access-1")


@pytest.mark.parametrize("algorithms", [[], ["HS256"], ["none"], ["ES256K"]])
async def test_where_a_token_has_to_be_bound_and_cannot_nobody_logs_in(
    here: World, algorithms: list[str]
):
    here.issuer.metadata = {"dpop_signing_alg_values_supported": algorithms}
    with pytest.raises(AuthorizationFailed, match="binds no tokens to keys of ours"):
        await sent(here, here.oauth(dpop=True))
    assert here.person.visits == []


async def test_a_login_can_be_asked_for_and_taken_back(here: World):
    way = here.oauth()
    grant = await soon(way.log_in(here.url))
    assert grant.access_token == "access-1"
    assert await sent(here, way) == 200
    assert here.desk.shown == ["Bearer access-1"]
    assert await soon(way.log_out(here.url)) is True
    assert here.issuer.at("/revoke")[0].form == {"token": "refresh-1", "client_id": "client-1"}
    assert await here.credentials.list() == []
    assert await soon(way.log_out(here.url)) is False
    with pytest.raises(LoginNeeded):
        await sent(here, here.oauth(visitors=None))


async def test_a_login_that_is_asked_for_is_a_new_one(here: World):
    way = here.oauth()
    await soon(way.log_in(here.url))
    assert (await soon(way.log_in(here.url))).access_token == "access-2"
    assert len(here.person.visits) == 2


async def test_a_logout_that_its_issuer_does_not_hear_of_is_one_here(here: World):
    way = here.oauth()
    await soon(way.log_in(here.url))
    here.issuer.instead["/revoke"] = lambda it: Answered(status=503)
    with pytest.raises(AuthorizationFailed, match="HTTP 503"):
        await soon(way.log_out(here.url))
    assert await here.credentials.list() == []


async def test_a_logout_where_nothing_can_be_revoked_only_forgets(here: World):
    here.issuer.metadata = {"revocation_endpoint": None}
    way = here.oauth()
    await soon(way.log_in(here.url))
    assert await soon(way.log_out(here.url)) is True
    assert here.issuer.at("/revoke") == []


async def test_a_logout_while_a_refresh_is_under_way_stays_one(here: World):
    way = here.oauth()
    engine = way.around(here.desk, here.url)
    await soon(engine.send(here.post()))
    here.issuer.valid.clear()
    reached, go = asyncio.Event(), asyncio.Event()

    async def slow(it: Asked) -> Answered:
        reached.set()
        await go.wait()
        return here.issuer.give(it)

    here.issuer.instead["/token"] = slow
    sending = asyncio.create_task(engine.send(here.post()))
    await soon(reached.wait())
    leaving = asyncio.create_task(way.log_out(here.url))
    await asyncio.sleep(0)
    go.set()
    await soon(asyncio.gather(sending, leaving))
    assert await here.credentials.list() == []
    assert here.issuer.at("/revoke")[0].form["token"] == "refresh-2"


async def test_a_logout_ends_a_login_under_way(here: World):
    here.person.free.clear()
    way = here.oauth()
    sending = asyncio.create_task(sent(here, way))
    await soon(here.person.there.wait())
    assert await soon(way.log_out(here.url)) is False
    with pytest.raises(AuthorizationFailed, match="was ended here"):
        await soon(sending)
    here.person.free.set()
    assert await here.credentials.list() == []


async def test_a_place_that_a_person_named_is_gone_to(here: World):
    async with Issuer().serving() as other:
        here.issuer.resources = {}
        place = f"{other.url}/metadata"
        other.instead["/metadata"] = lambda it: Answered(other.described())
        here.desk.answering = lambda it: Reply() if "authorization" in it.headers else Reply(401)
        assert await sent(here, here.oauth(metadata_url=place)) == 200
        assert other.grants == ["authorization_code"]


@pytest.mark.parametrize(
    "more",
    [
        {"client_secret": "s"},
        {"document": "http://client.example/id"},
        {"metadata_url": "https://[a/"},
        {"metadata_url": "metadata"},
    ],
)
def test_what_cannot_be_is_said_at_once(more: dict[str, Any]):
    with pytest.raises(ConfigError):
        OAuth(Credentials.in_memory(), **more)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://mcp.example/mcp", "has no TLS"),
        ("http://10.0.0.5/mcp", "has no TLS"),
        ("HTTP://mcp.example/mcp", "has no TLS"),
        ("https://me:hunter2-word@mcp.example/mcp", "no fragment and no user"),
        ("https://mcp.example/mcp#a", "no fragment and no user"),
        ("ws://mcp.example/mcp", "no URL of a server"),
        ("mcp", "no URL of a server"),
    ],
)
def test_a_url_that_no_token_can_be_sent_to_is_refused(url: str, words: str):
    """RFC 6750 § 5.3: MUST always use TLS."""
    with pytest.raises(ConfigError, match=words) as refused:
        OAuth(Credentials.in_memory()).around(Desk(), url)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("url", ["http://LAN.example/mcp", "http://10.0.0.5:80/mcp"])
async def test_a_host_that_an_operator_allows_needs_no_tls(url: str):
    OAuth(Credentials.in_memory(), allowed=["lan.EXAMPLE", "10.0.0.5"]).around(Desk(), url)


async def test_a_place_that_describes_an_issuer_is_none_for_tokens_without_tls():
    way = OAuth(Credentials.in_memory(), metadata_url="https://mcp.example/issuer")
    with pytest.raises(ConfigError, match="has no TLS"):
        way.around(Desk(), "http://mcp.example/mcp")


async def test_a_client_registered_by_hand_is_not_shown_to_an_issuer_that_its_server_names_later(
    here: World,
):
    """2026-07-28 § Client Registration: what one issuer gave is never shown to another."""
    way = here.oauth(client_id="by-hand", client_secret=SECRET)
    await sent(here, way)
    async with Issuer().serving() as other:
        here.issuer.resources["/mcp"]["authorization_servers"] = [other.url]
        here.issuer.valid.clear()
        here.issuer.refreshable.clear()
        with pytest.raises(AuthorizationFailed, match="not shown to another") as refused:
            await sent(here, here.oauth(client_id="by-hand", client_secret=SECRET))
        assert SECRET not in str(refused.value)
        assert len(here.person.visits) == 1
        assert other.at("/token") == []
        here.issuer.resources["/mcp"]["authorization_servers"] = [other.url]
        fresh = here.oauth(client_id="by-hand", client_secret=SECRET, issuer=other.url)
        other.given = 100
        here.desk.answering = lambda it: Reply() if "authorization" in it.headers else Reply(401)
        assert await sent(here, fresh) == 200


# Programs.


def pem() -> str:
    key = generate_private_key(SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@requirement("XC-02")
@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
async def test_a_program_with_a_secret(here: World, method: str):
    """Extension oauth-client-credentials."""
    here.issuer.metadata = {
        "token_endpoint_auth_methods_supported": [method],
        "scopes_supported": ["a", "offline_access"],
    }
    here.challenge = 'Bearer scope="a"'
    way = ClientCredentials("program", SECRET, issuer=here.issuer.url, clock=here.clock)
    assert await sent(here, way, times=2) == 200
    token = here.issuer.at("/token")[0]
    expected = {
        "grant_type": "client_credentials",
        "resource": here.url,
        "scope": "a",
        "client_id": "program",
    }
    if method == "client_secret_basic":
        assert token.basic == f"program:{SECRET}"
        assert token.form == expected
    else:
        assert token.form == {**expected, "client_secret": SECRET}
        assert "authorization" not in token.headers
    assert len(here.issuer.at("/token")) == 1


@requirement("XC-02")
async def test_a_program_with_a_key(here: World):
    private = pem()
    here.issuer.metadata = {"token_endpoint_auth_methods_supported": ["private_key_jwt"]}
    way = ClientCredentials("program", private_key=private, clock=here.clock)
    assert await sent(here, way) == 200
    form = here.issuer.at("/token")[0].form
    public = SigningKey.from_pem(private, "ES256").public
    claims = verify(form["client_assertion"], [public]).claims
    assert (claims["iss"], claims["aud"]) == ("program", here.issuer.url)


@requirement("XC-02")
async def test_a_programs_token_is_got_anew_when_it_is_over(here: World):
    way = ClientCredentials("program", SECRET, clock=here.clock)
    await sent(here, way)
    here.clock.turn(3600)
    assert await sent(here, way) == 200
    assert here.desk.shown == [None, "Bearer access-1", None, "Bearer access-2"]
    here.issuer.valid.clear()
    assert await sent(here, way) == 200
    assert here.issuer.grants == ["client_credentials"] * 3
    assert not [it for it in here.issuer.at("/token") if "refresh_token" in it.form]


async def test_a_program_asks_for_more_where_more_is_needed(here: World):
    here.challenge = 'Bearer scope="a"'
    way = ClientCredentials("program", SECRET, clock=here.clock)
    await sent(here, way)
    forbids = refusal(403, error="insufficient_scope", scope="b")
    here.wants = lambda it: forbids if here.issuer.given < 2 else None
    assert await sent(here, way) == 200
    assert set(here.issuer.at("/token")[1].form["scope"].split()) == {"a", "b"}


async def test_a_program_that_is_not_taken_asks_no_more(here: World):
    here.issuer.instead["/token"] = lambda it: Answered({"error": "invalid_client"}, 401)
    way = ClientCredentials("program", SECRET, clock=here.clock)
    with pytest.raises(AuthorizationFailed, match="invalid_client") as refused:
        await sent(here, way)
    assert refused.value.error == "invalid_client"
    assert len(here.issuer.at("/token")) == 1


async def test_a_programs_secret_goes_to_its_issuer_only(here: World):
    way = ClientCredentials("program", SECRET, issuer="https://as.example", clock=here.clock)
    with pytest.raises(AuthorizationFailed, match="is registered at https://as"):
        await sent(here, way)
    assert here.issuer.at("/token") == []


@pytest.mark.parametrize(
    "way",
    [
        lambda: ClientCredentials("program", SECRET),
        lambda: WorkloadIdentity("token-of-the-platform"),
    ],
    ids=["a secret", "a platform's word"],
)
async def test_what_proves_a_program_goes_to_the_first_issuer_that_took_it_alone(
    here: World, way: Callable[[], Authorizing]
):
    """A server that falls to somebody else names an issuer of theirs, and asks nobody."""
    made = way()
    assert await sent(here, made) == 200
    async with Issuer().serving() as other:
        here.issuer.resources["/mcp"]["authorization_servers"] = [other.url]
        here.issuer.valid.clear()
        with pytest.raises(AuthorizationFailed, match="not shown to another"):
            await sent(here, made)
        assert other.at("/token") == []


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"client_secret": "s", "private_key": "k"},
        {"private_key": "letters"},
        {"private_key": pem(), "algorithm": "RS256"},
        {"private_key": pem(), "algorithm": "HS256"},
    ],
    ids=["nothing", "both", "no key", "another kind", "no algorithm"],
)
def test_a_program_proves_itself_in_one_way(more: dict[str, Any]):
    with pytest.raises(ConfigError):
        ClientCredentials("program", **more)


def enterprise(here: World, **more: Any) -> EnterpriseManaged:
    said: dict[str, Any] = {
        "id_token": "id-token-of-ann",
        "token_endpoint": f"{here.issuer.url}/idp",
        "provider_client_id": "at-idp",
        "clock": here.clock,
        **more,
    }
    return EnterpriseManaged("at-as", SECRET, **said)


@requirement("XE-01", "XE-02")
async def test_an_employee_is_vouched_for(here: World):
    """Extension enterprise-managed-authorization."""
    here.issuer.metadata = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
    here.issuer.instead["/idp"] = lambda it: Answered({"access_token": "jag", **JAG})
    assert await sent(here, enterprise(here, provider_client_secret="idp-word")) == 200
    idp, token = here.issuer.at("/idp")[0], here.issuer.at("/token")[0]
    assert idp.basic == "at-idp:idp-word"
    assert (idp.form["subject_token"], idp.form["audience"]) == (
        "id-token-of-ann",
        here.issuer.url,
    )
    assert (token.form["assertion"], token.form["client_id"]) == ("jag", "at-as")
    assert token.form["client_secret"] == SECRET
    assert b"id-token-of-ann" not in token.body
    assert b"idp-word" not in token.body
    assert here.person.visits == []


@requirement("XE-01")
@pytest.mark.parametrize(
    "more",
    [
        {"issued_token_type": "urn:ietf:params:oauth:token-type:id_token"},
        {"issued_token_type": None},
        {"access_token": None},
        {"token_type": "mac"},
    ],
)
async def test_what_is_no_assertion_is_shown_to_nobody(here: World, more: dict[str, Any]):
    answer = {"access_token": "jag", **JAG, **more}
    here.issuer.instead["/idp"] = lambda it: Answered(answer)
    with pytest.raises(AuthorizationFailed, match="/idp gave"):
        await sent(here, enterprise(here))
    assert here.issuer.at("/token") == []


@requirement("XE-04")
async def test_a_provider_that_refuses_is_quoted_without_what_it_was_shown(here: World):
    here.issuer.instead["/idp"] = lambda it: Answered(
        {"error": "invalid_grant", "error_description": f"bad {it.form['subject_token']}"}, 400
    )
    with pytest.raises(AuthorizationFailed, match="invalid_grant: bad …"):
        await sent(here, enterprise(here))


@requirement("XW-01", "XW-02")
async def test_a_workloads_token_is_read_anew_each_time(here: World, tmp_path: Path):
    """Extension auth/wif: platforms replace it."""
    file = tmp_path / "token"
    file.write_text("workload-1\n")
    way = WorkloadIdentity(file, clock=here.clock)
    await sent(here, way)
    file.write_text("workload-2\n")
    here.issuer.valid.clear()
    assert await sent(here, way) == 200
    forms = [it.form for it in here.issuer.at("/token")]
    assert [form["assertion"] for form in forms] == ["workload-1", "workload-2"]
    assert "client_id" not in forms[0]
    assert forms[0]["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"


async def test_a_workloads_token_may_come_of_a_function(here: World):
    async def later() -> str:
        return "workload-b"

    for secret, expected in (
        ("workload", "workload"),
        (lambda: "workload-a", "workload-a"),
        (later, "workload-b"),
    ):
        await sent(here, WorkloadIdentity(secret, client_id="w", clock=here.clock))
        assert here.issuer.at("/token")[-1].form["assertion"] == expected


@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff\xfe", b"a" * 70_000])
async def test_a_file_without_a_token_says_so(here: World, tmp_path: Path, content: bytes | None):
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match="token"):
        await sent(here, WorkloadIdentity(file, clock=here.clock))
    assert here.issuer.at("/token") == []


@requirement("XW-02")
@pytest.mark.parametrize("word", ["invalid_grant", "invalid_scope", "unauthorized_client"])
async def test_a_workload_that_is_refused_tries_nothing_else(here: World, word: str):
    here.issuer.instead["/token"] = lambda it: Answered({"error": word}, 400)
    with pytest.raises(AuthorizationFailed, match=word):
        await sent(here, WorkloadIdentity("workload", clock=here.clock))
    assert len(here.issuer.at("/token")) == 1


async def test_a_workload_is_known_to_its_issuer_only(here: World):
    way = WorkloadIdentity("workload", issuer="https://as.example", clock=here.clock)
    with pytest.raises(AuthorizationFailed, match="is known to https://as"):
        await sent(here, way)
    assert here.issuer.at("/token") == []


@requirement("XC-01")
def test_each_way_says_what_the_protocol_calls_it():
    assert OAuth.extensions == ()
    assert ClientCredentials.extensions == ("io.modelcontextprotocol/oauth-client-credentials",)
    assert EnterpriseManaged.extensions == (
        "io.modelcontextprotocol/enterprise-managed-authorization",
    )
    assert WorkloadIdentity.extensions == ("io.modelcontextprotocol/auth/wif",)


async def test_one_way_serves_many_servers_each_with_its_own_pass(here: World):
    here.issuer.describes("/other")
    way = ClientCredentials("program", SECRET, clock=here.clock)
    other = f"{here.issuer.url}/other"
    for url in (here.url, other, here.url):
        await soon(way.around(here.desk, url).send(here.post(url)))
    resources = [it.form["resource"] for it in here.issuer.at("/token")]
    assert resources == [canonical(here.url), other]
    await soon(way.close())


@requirement("XE-04", "SEC-15")
async def test_nothing_secret_is_shown_by_accident(here: World):
    private = pem()
    here.issuer.metadata = {"dpop_signing_alg_values_supported": ["ES256"]}
    way = here.oauth(client_id="c", client_secret=SECRET, dpop=True)
    engine = way.around(here.desk, here.url)
    await soon(engine.send(Request("POST", here.url, {}, b"{}")))
    grant = await here.credentials.find(here.url)
    assert grant is not None
    assert grant.dpop is not None
    secrets = [SECRET, "access-1", "refresh-1", "workload-1", "id-token-of-ann", grant.dpop["d"]]
    things = [
        way,
        engine,
        grant,
        way.identity,
        here.credentials,
        Registered("c", SECRET),
        ClientCredentials("c", SECRET),
        ClientCredentials("c", private_key=private),
        WorkloadIdentity("workload-1"),
        enterprise(here),
        here.desk.sent[-1],
    ]
    out = StringIO()
    Console(file=out, width=1000).print(*things)
    shown = out.getvalue() + "".join(map(repr, things)) + "".join(map(str, things))
    assert not [secret for secret in [*secrets, *private.split("\n")[1:-2]] if secret in shown]
    assert msgspec.json.encode(grant).count(b"access-1") == 1
