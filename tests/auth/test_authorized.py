"""An engine that says who we are: to one origin, with each request, a few times at most."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from io import StringIO

import pytest
from multidict import CIMultiDict
from rich.console import Console
from tests.auth.desk import Desk, Reply, refusal
from tests.peers import soon
from tests.spec.marking import requirement

from interlock.auth import dpop
from interlock.auth.authorized import TRIES, AuthorizedEngine, Pass, Refused
from interlock.auth.challenge import Challenge
from interlock.auth.jwt import SigningKey
from interlock.errors import AuthorizationFailed
from interlock.transport.http.engine import Request

URL = "https://mcp.example/mcp"
POST = Request("POST", URL, {"accept": "x"}, b"{}")
NOW = 1_000_000.0
KEY = SigningKey.generate()


class Purse:
    """Holds a pass, and gets the next of *others* where it is refused."""

    def __init__(self, held: Pass | None = None, others: Sequence[Pass | None] = ()) -> None:
        self.held = held
        self.others = list(others)
        self.refusals: list[tuple[Pass | None, Refused]] = []

    async def current(self) -> Pass | None:
        return self.held

    async def answer(self, used: Pass | None, refused: Refused) -> Pass | None:
        self.refusals.append((used, refused))
        return self.others.pop(0) if self.others else None


def engine(desk: Desk, purse: Purse, url: str = URL) -> AuthorizedEngine:
    return AuthorizedEngine(desk, url, purse, lambda: NOW)


@requirement("CF-07")
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_a_token_goes_with_every_request(method: str):
    """2026-07-28 § Token Requirements: in every HTTP request, and in the header."""
    desk = Desk()
    for _ in range(2):
        await engine(desk, Purse(Pass("token"))).send(Request(method, URL, {"accept": "x"}))
    assert desk.shown == ["Bearer token"] * 2
    assert all(request.url == URL and request.headers["accept"] == "x" for request in desk.sent)


async def test_without_a_pass_a_request_stays_as_it_is():
    desk = Desk()
    await engine(desk, Purse()).send(POST)
    assert desk.sent == [POST]


@pytest.mark.parametrize(
    "url",
    [
        "https://mcp.example/elsewhere?a=b",
        "https://mcp.example:443/mcp",
        "HTTPS://MCP.Example/mcp",
    ],
)
async def test_the_same_origin_has_it_however_it_is_written(url: str):
    desk = Desk()
    await engine(desk, Purse(Pass("token"))).send(Request("POST", url, {}))
    assert desk.shown == ["Bearer token"]


@requirement("CF-12")
@pytest.mark.parametrize(
    "url",
    [
        "http://mcp.example/mcp",
        "https://mcp.example:8443/mcp",
        "https://mcp.example.evil.example/mcp",
        "https://evil.example/https://mcp.example/mcp",
        "https://mcp.example@evil.example/mcp",
        "https://user:word@mcp.example/mcp",
        "https://evil.example\\@mcp.example/mcp",
        "https://sub.mcp.example/mcp",
        "https://mcp.example./mcp",
        "https://[mcp.example/mcp",
        "https://mcp.example:port/mcp",
        "https:///mcp",
        "mcp",
        "",
    ],
)
async def test_no_other_origin_is_shown_a_token_or_asked_anything(url: str):
    desk, purse = Desk(lambda request: refusal()), Purse(Pass("token"))
    response = await engine(desk, purse).send(Request("POST", url, {}))
    assert response.status == 401
    assert desk.shown == [None]
    assert purse.refusals == []


@requirement("CF-12")
async def test_a_redirect_is_handed_over_and_not_followed():
    desk = Desk(lambda request: Reply(307, {"location": "https://evil.example/"}))
    response = await engine(desk, Purse(Pass("token"))).send(POST)
    assert response.status == 307
    assert len(desk.sent) == 1


async def test_a_request_that_is_refused_is_sent_again_with_another_pass():
    replies = [refusal(scope="a b", resource_metadata="https://mcp.example/m"), Reply()]
    desk, purse = Desk(lambda request: replies.pop(0)), Purse(Pass("one"), [Pass("two")])
    response = await engine(desk, purse).send(POST)
    assert response.status == 200
    assert desk.shown == ["Bearer one", "Bearer two"]
    assert [request.body for request in desk.sent] == [b"{}", b"{}"]
    used, refused = purse.refusals[0]
    assert used == Pass("one")
    assert (refused.status, refused.scopes, refused.tries) == (401, ("a", "b"), 0)
    assert refused.challenges[0].parameters["resource_metadata"] == "https://mcp.example/m"
    assert [reply.closed for reply in desk.replies] == [1, 0]


@requirement("CF-08")
@pytest.mark.parametrize("status", [401, 403])
async def test_a_server_that_refuses_everything_is_asked_a_few_times(status: int):
    desk = Desk(lambda request: refusal(status, error="insufficient_scope"))
    purse = Purse(None, [Pass(str(number)) for number in range(100)])
    response = await engine(desk, purse).send(POST)
    assert response.status == status
    assert len(desk.sent) == TRIES + 1
    assert [refused.tries for _, refused in purse.refusals] == [0, 1, 2]
    assert [reply.closed for reply in desk.replies] == [1, 1, 1, 0]


@pytest.mark.parametrize("status", [400, 404, 405, 407, 429, 500, 302])
async def test_other_errors_are_nobodys_business(status: int):
    purse = Purse(Pass("token"), [Pass("other")])
    response = await engine(Desk(lambda request: refusal(status)), purse).send(POST)
    assert response.status == status
    assert purse.refusals == []


async def test_where_there_is_no_other_pass_the_refusal_is_handed_over_unread():
    desk = Desk(lambda request: refusal())
    response = await engine(desk, Purse(Pass("token"))).send(POST)
    assert response.status == 401
    assert desk.replies[0].closed == 0


async def test_nobody_logs_in_for_a_farewell():
    desk, purse = Desk(lambda request: refusal()), Purse(Pass("token"), [Pass("other")])
    response = await engine(desk, purse).send(Request("DELETE", URL, {}))
    assert response.status == 401
    assert desk.shown == ["Bearer token"]
    assert purse.refusals == []


async def test_all_headers_of_a_challenge_are_read():
    headers = CIMultiDict(
        [("WWW-Authenticate", "Negotiate"), ("www-authenticate", 'DPoP algs="a"')]
    )
    desk, purse = Desk(lambda request: Reply(401, headers)), Purse()
    await engine(desk, purse).send(POST)
    assert [each.scheme for each in purse.refusals[0][1].challenges] == ["negotiate", "dpop"]


async def test_an_engine_of_another_library_may_have_plain_headers():
    reply = Reply(401)
    reply.headers = {"www-authenticate": "Bearer scope=a"}
    purse = Purse()
    await engine(Desk(lambda request: reply), purse).send(POST)
    assert purse.refusals[0][1].scopes == ("a",)
    reply.headers = {}
    await engine(Desk(lambda request: reply), purse).send(POST)
    assert purse.refusals[1][1].challenges == []


async def test_a_failure_or_a_cancellation_leaves_no_response_open():
    class Failing(Purse):
        async def answer(self, used: Pass | None, refused: Refused) -> Pass | None:
            reached.set()
            if fails:
                raise AuthorizationFailed("no")
            await asyncio.Event().wait()
            return None

    for fails in (True, False):
        reached = asyncio.Event()
        desk = Desk(lambda request: refusal())
        sending = asyncio.create_task(engine(desk, Failing()).send(POST))
        await soon(reached.wait())
        sending.cancel()
        with pytest.raises(AuthorizationFailed if fails else asyncio.CancelledError):
            await soon(sending)
        assert desk.replies[0].closed == 1


async def test_closing_it_closes_what_it_is_around():
    desk = Desk()
    await engine(desk, Purse()).close()
    assert desk.closed


def proofs(desk: Desk) -> list[dpop.Proof]:
    return [
        dpop.check(request.headers["dpop"], request.method, request.url, now=NOW, token="token")
        for request in desk.sent
    ]


@requirement("XD-01")
async def test_a_bound_token_comes_with_a_proof_made_for_each_request():
    """RFC 9449 § 4.2."""
    desk = Desk()
    way = engine(desk, Purse(Pass("token", KEY)))
    for method in ("POST", "POST", "GET", "DELETE"):
        await way.send(Request(method, f"{URL}?a=b", {}))
    assert desk.shown == ["DPoP token"] * 4
    assert len({proof.id for proof in proofs(desk)}) == 4
    assert {proof.thumbprint for proof in proofs(desk)} == {KEY.thumbprint}


def wants_nonce(nonce: str) -> Reply:
    challenge = 'DPoP error="use_dpop_nonce", algs="ES256"'
    return Reply(401, {"www-authenticate": challenge, "dpop-nonce": nonce})


@requirement("XD-02")
async def test_a_nonce_that_is_wanted_is_given_without_asking_anybody():
    """RFC 9449 § 9."""
    replies = [wants_nonce("n-1"), Reply(200, {"dpop-nonce": "n-2"}), Reply()]
    desk, purse = Desk(lambda request: replies.pop(0)), Purse(Pass("token", KEY))
    way = engine(desk, purse)
    assert (await way.send(POST)).status == 200
    await way.send(POST)
    assert [proof.nonce for proof in proofs(desk)] == [None, "n-1", "n-2"]
    assert purse.refusals == []
    assert desk.replies[0].closed == 1


@requirement("XD-02")
async def test_a_server_that_always_wants_another_nonce_is_asked_twice():
    number = iter(range(100))
    desk = Desk(lambda request: wants_nonce(f"n-{next(number)}"))
    purse = Purse(Pass("token", KEY), [Pass("other", KEY)])
    assert (await engine(desk, purse).send(POST)).status == 401
    assert len(desk.sent) == 2
    assert purse.refusals == []


@pytest.mark.parametrize("nonce", ["", "a b", "é", "\udcff", 'a"', "n" * 5000])
async def test_what_is_no_nonce_is_not_given(nonce: str):
    desk = Desk(lambda request: wants_nonce(nonce))
    assert (await engine(desk, Purse(Pass("token", KEY))).send(POST)).status == 401
    assert [proof.nonce for proof in proofs(desk)] == [None]


async def test_a_nonce_without_a_key_is_an_ordinary_refusal():
    desk, purse = Desk(lambda request: wants_nonce("n")), Purse(Pass("token"))
    await engine(desk, purse).send(POST)
    assert len(purse.refusals) == 1
    assert desk.shown == ["Bearer token"]


def test_scopes_that_are_none_are_not_asked_for():
    many = " ".join(f"s{number}" for number in range(5000))
    found = Refused(403, [Challenge("bearer", {"scope": 'a a "b" \udcff é c'})]).scopes
    assert found == ("a", "c")
    assert len(Refused(403, [Challenge("bearer", {"scope": many})]).scopes) == 100


def test_a_pass_is_not_shown():
    held = Pass("token-word", KEY)
    out = StringIO()
    Console(file=out).print(held, [held])
    text = out.getvalue() + repr(held) + repr(POST)
    assert "token-word" not in text
    assert KEY.to_jwk()["d"] not in text
