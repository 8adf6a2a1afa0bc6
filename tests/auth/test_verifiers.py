"""Whether a token is good: by its signature, and by asking."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any
from urllib.parse import parse_qs

import pytest
from tests.auth.tokens import ISSUER, NOW, RESOURCE, Issuer, Web
from tests.peers import soon
from tests.spec.marking import requirement

from interlock.auth import jwks
from interlock.auth.verifiers import (
    ASKED_AT_MOST,
    AccessToken,
    IntrospectionVerifier,
    JwtVerifier,
    StaticVerifier,
    meant_for,
)
from interlock.errors import AuthorizationFailed, ConfigError, PeerError
from interlock.testing.clock import Clock

ASK = "https://login.example.com/introspect"


@pytest.fixture
def web() -> Web:
    return Web()


@pytest.fixture
def issuer(web: Web) -> Issuer:
    return Issuer(web)


@pytest.fixture
def clock() -> Clock:
    return Clock(NOW)


@pytest.fixture
def verifier(web: Web, clock: Clock) -> JwtVerifier:
    return JwtVerifier(ISSUER, RESOURCE, fetcher=web, clock=clock)


async def test_a_good_token_says_who_and_what(verifier: JwtVerifier, issuer: Issuer):
    token = issuer.token(scope="files:read files:write")
    found = await verifier.verify_token(token)
    assert found is not None
    assert (found.subject, found.issuer, found.client_id) == ("ada", ISSUER, "editor")
    assert set(found.scopes) == {"files:read", "files:write"}
    assert found.expires_at == NOW + 600
    assert found.token == token
    assert found.jkt is None
    assert token not in repr(found)


@requirement("RS9-08", "RS9-10", "RS9-11")
@pytest.mark.parametrize(
    "claims",
    [
        {"scope": ..., "scp": ["files:read"]},
        {"scope": ..., "scp": "files:read"},
        {"aud": ["https://other.example", RESOURCE]},
        {"aud": "https://API.example.com/mcp/"},
        {"exp": NOW - 59},
        {"nbf": NOW + 59, "iat": NOW + 59},
        {"client_id": ..., "azp": "editor"},
        {"token_use": "access"},
    ],
)
async def test_tokens_are_written_in_several_ways(
    verifier: JwtVerifier, issuer: Issuer, claims: dict[str, Any]
):
    found = await verifier.verify_token(issuer.token(**claims))
    assert found is not None
    assert (set(found.scopes), found.client_id) == ({"files:read"}, "editor")


@requirement("RS9-08", "RS9-10")
@pytest.mark.parametrize(
    "claims",
    [
        {"iss": ISSUER + "/"},
        {"iss": ISSUER.upper()},
        {"iss": ...},
        {"aud": "https://api.example.com/other"},
        {"aud": "https://api.example.com"},
        {"aud": ...},
        {"aud": [1, None]},
        {"exp": NOW - 60},
        {"exp": ...},
        {"exp": "later"},
        {"nbf": NOW + 61},
        {"iat": NOW + 61},
        {"at_hash": "x"},
        {"typ": "ID"},
        {"token_use": "id"},
    ],
)
async def test_a_token_of_another_or_for_another_or_of_another_time_is_not_good(
    verifier: JwtVerifier, issuer: Issuer, claims: dict[str, Any]
):
    assert await verifier.verify_token(issuer.token(**claims)) is None


@requirement("RS9-10")
@pytest.mark.parametrize(
    ("typ", "good"),
    [
        ("at+jwt", True),
        ("application/at+jwt", True),
        ("AT+JWT", True),
        ("JWT", True),
        (None, True),
        ("dpop+jwt", False),
        ("logout+jwt", False),
        ("oauth-id-jag+jwt", False),
    ],
)
async def test_what_is_signed_for_something_else_is_no_access_token(
    verifier: JwtVerifier, issuer: Issuer, typ: str | None, good: bool
):
    found = await verifier.verify_token(issuer.token({"typ": typ}))
    assert (found is not None) is good


@requirement("RS9-10")
async def test_what_another_key_signed_is_not_good(verifier: JwtVerifier, web: Web, issuer: Issuer):
    assert await verifier.verify_token(issuer.token()) is not None
    stranger = Issuer(Web())
    assert await verifier.verify_token(stranger.token({"kid": issuer.key.kid})) is None
    assert await verifier.verify_token(stranger.token()) is None


@pytest.mark.parametrize("token", ["", "a.b.c", "opaque", "e30.e30.", "x" * 100_000])
async def test_what_is_no_token_at_all_costs_no_fetch(verifier: JwtVerifier, web: Web, token: str):
    assert await verifier.verify_token(token) is None
    assert not web.asked


async def test_an_unsigned_token_is_none(verifier: JwtVerifier, issuer: Issuer):
    def letters(part: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()

    claims = {"iss": ISSUER, "aud": RESOURCE, "sub": "ada", "exp": NOW + 600}
    token = f"{letters({'alg': 'none'})}.{letters(claims)}."
    assert await verifier.verify_token(token) is None


@requirement("RS9-10")
async def test_a_new_key_is_fetched_once_for_the_tokens_it_signs(
    verifier: JwtVerifier, web: Web, issuer: Issuer, clock: Clock
):
    old = issuer.token(exp=NOW + 1000)
    assert await verifier.verify_token(old) is not None
    count = len(web.asked)
    issuer.rotate()
    clock.turn(jwks.PAUSE)
    assert await verifier.verify_token(issuer.token(exp=NOW + 1000)) is not None
    assert len(web.asked) == count + 2
    assert await verifier.verify_token(old) is None
    assert len(web.asked) == count + 2


async def test_when_keys_cannot_be_had_it_is_not_the_tokens_fault(
    verifier: JwtVerifier, web: Web, issuer: Issuer
):
    web.down = True
    with pytest.raises(PeerError):
        await verifier.verify_token(issuer.token())


async def test_each_of_several_issuers_signs_for_itself_only(web: Web, clock: Clock):
    one, two = Issuer(web), Issuer(web, "https://other.example.com")
    verifier = JwtVerifier([one.issuer, two.issuer], RESOURCE, fetcher=web, clock=clock)
    for issuer in (one, two):
        found = await verifier.verify_token(issuer.token())
        assert found is not None
        assert found.issuer == issuer.issuer
    assert await verifier.verify_token(one.token(iss=two.issuer)) is None
    await verifier.close()


@requirement("RS9-10")
async def test_only_algorithms_that_are_named_are_taken(web: Web, issuer: Issuer, clock: Clock):
    verifier = JwtVerifier(
        ISSUER, RESOURCE, issuer.jwks_url, algorithms=["RS256"], fetcher=web, clock=clock
    )
    assert await verifier.verify_token(issuer.token()) is None


@pytest.mark.parametrize(
    "options",
    [
        {"issuer": [], "audience": RESOURCE},
        {"issuer": ISSUER, "audience": []},
        {"issuer": [ISSUER, "https://b.example"], "audience": RESOURCE, "jwks_url": "https://x/"},
        {"issuer": ISSUER, "audience": RESOURCE, "algorithms": ["HS256"]},
        {"issuer": ISSUER, "audience": RESOURCE, "algorithms": ["none"]},
    ],
)
def test_what_cannot_be_verified_by_is_refused(options: dict[str, Any]):
    with pytest.raises(ConfigError):
        JwtVerifier(**options)


async def test_a_bound_token_says_to_which_key(verifier: JwtVerifier, issuer: Issuer):
    found = await verifier.verify_token(issuer.token(cnf={"jkt": "thumb"}))
    assert found is not None
    assert found.jkt == "thumb"


@requirement("RS9-08", "RS9-11")
def test_audiences_are_compared_as_urls_where_they_are_some():
    assert meant_for("my-api", ["my-api"])
    assert not meant_for("my-api/", ["my-api"])
    assert meant_for("https://A.example/", ["https://a.example"])


# Asking.


def asking(web: Web, clock: Clock, **options: Any) -> IntrospectionVerifier:
    options = {"audience": RESOURCE, **options}
    return IntrospectionVerifier(ASK, "us & them", "sec:ret", fetcher=web, clock=clock, **options)


def active(**more: Any) -> dict[str, Any]:
    said = {
        "active": True,
        "aud": RESOURCE,
        "sub": "ada",
        "client_id": "editor",
        "scope": "files:read",
        "iss": ISSUER,
        "exp": NOW + 600,
        **more,
    }
    return {name: value for name, value in said.items() if value is not ...}


@requirement("RS9-10")
async def test_the_endpoint_is_asked_as_one_of_its_clients_and_once_in_a_while(
    web: Web, clock: Clock
):
    web.put(ASK, active())
    verifier = asking(web, clock)
    for _ in range(3):
        found = await verifier.verify_token("opaque")
        assert found is not None
        assert (found.subject, found.issuer, found.client_id) == ("ada", ISSUER, "editor")
    (request,) = web.asked
    assert request.method == "POST"
    assert parse_qs((request.body or b"").decode()) == {
        "token": ["opaque"],
        "token_type_hint": ["access_token"],
    }
    given = base64.b64decode(request.headers["authorization"].removeprefix("Basic "))
    assert given == b"us+%26+them:sec%3Aret"
    assert "sec" not in repr(verifier)
    clock.turn(30)
    await verifier.verify_token("opaque")
    assert len(web.asked) == 2


@requirement("RS9-08", "RS9-10")
@pytest.mark.parametrize(
    "said",
    [
        {"active": False},
        {},
        active(active="true"),
        active(aud="https://other.example"),
        active(aud=...),
        active(exp=NOW - 61),
        active(nbf=NOW + 61),
        active(iss="https://evil.example"),
    ],
)
async def test_what_is_not_active_or_not_for_us_is_not_good_and_not_asked_about_again(
    web: Web, clock: Clock, said: dict[str, Any]
):
    web.put(ASK, said)
    verifier = asking(web, clock, issuer=ISSUER)
    for _ in range(3):
        assert await verifier.verify_token("opaque") is None
    assert len(web.asked) == 1


async def test_an_endpoint_may_judge_the_audience_itself(web: Web, clock: Clock):
    web.put(ASK, {"active": True, "client_id": "editor"})
    found = await asking(web, clock, audience=None, issuer=ISSUER).verify_token("opaque")
    assert found is not None
    assert (found.issuer, found.scopes, found.expires_at) == (ISSUER, (), None)


async def test_an_answer_is_kept_no_longer_than_the_token_lives(web: Web, clock: Clock):
    web.put(ASK, active(exp=NOW + 5))
    verifier = asking(web, clock)
    assert await verifier.verify_token("opaque") is not None
    clock.turn(5)
    web.put(ASK, {"active": False})
    assert await verifier.verify_token("opaque") is None


@pytest.mark.parametrize(
    ("page", "status"), [(b"nonsense", 200), ([], 200), ({"error": "x"}, 401), ({}, 500)]
)
async def test_an_endpoint_that_does_not_answer_says_nothing_of_the_token(
    web: Web, clock: Clock, page: Any, status: int
):
    web.put(ASK, page, status)
    verifier = asking(web, clock)
    with pytest.raises(AuthorizationFailed) as caught:
        await verifier.verify_token("opaque")
    assert "opaque" not in str(caught.value)
    web.put(ASK, active())
    assert await verifier.verify_token("opaque") is not None


async def test_whoever_asks_about_one_token_at_once_asks_once(web: Web, clock: Clock):
    web.put(ASK, active())
    web.gate = asyncio.Event()
    verifier = asking(web, clock)
    first, *others = [asyncio.create_task(verifier.verify_token("opaque")) for _ in range(10)]
    await asyncio.sleep(0)
    first.cancel()
    web.gate.set()
    assert all(await soon(asyncio.gather(*others)))
    assert len(web.asked) == 1


async def test_no_more_is_asked_at_once_than_the_endpoint_should_bear(web: Web, clock: Clock):
    web.put(ASK, active())
    web.gate = asyncio.Event()
    verifier = asking(web, clock)
    tasks = [
        asyncio.create_task(verifier.verify_token(str(number))) for number in range(ASKED_AT_MOST)
    ]
    await asyncio.sleep(0)
    with pytest.raises(AuthorizationFailed, match="too much"):
        await verifier.verify_token("one more")
    web.gate.set()
    await soon(asyncio.gather(*tasks))
    await verifier.close()


async def test_answers_are_kept_within_bounds(web: Web, clock: Clock):
    web.pages[ASK] = lambda request: (200, active(sub=str(request.body)))
    verifier = asking(web, clock, limit=3)
    for number in range(10):
        await verifier.verify_token(str(number))
    for number in (9, 8, 7):
        await verifier.verify_token(str(number))
    assert len(web.asked) == 10
    await verifier.verify_token("0")
    assert len(web.asked) == 11


async def test_tokens_may_be_known_beforehand():
    verifier = StaticVerifier({"letmein": AccessToken("letmein", "tests", ["a"])})
    found = await verifier.verify_token("letmein")
    assert found is not None
    assert found.client_id == "tests"
    assert await verifier.verify_token("other") is None
    assert "letmein" not in repr(verifier)


def test_a_token_is_not_shown_where_what_it_says_is_printed():
    token = AccessToken("opaque", claims={"jti": "opaque"})
    assert "opaque" not in repr(token)
    assert "opaque" not in str(list(token.__rich_repr__()))
