"""The pass to one server: kept, renewed in time, obtained once however many need it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from tests.auth.desk import Reply, refusal
from tests.auth.world import Answered, Asked, World, world
from tests.peers import soon
from tests.spec.marking import requirement

from interlock.auth import dpop
from interlock.auth.credentials import Credentials
from interlock.auth.holding import EARLY, SPARED
from interlock.auth.oauth import LOGINS, LOGINS_WITHIN
from interlock.errors import AuthorizationFailed, StoreError
from interlock.transport.http.engine import Request


@pytest.fixture
async def here() -> AsyncGenerator[World]:
    async with world() as made:
        yield made


async def logged_in(here: World, **more: Any) -> Any:
    """An engine through which a first request has gone."""
    engine = here.engine(here.oauth(**more))
    assert (await soon(engine.send(here.post()))).status == 200
    return engine


async def until_it_fails(here: World, engine: Any) -> None:
    for _ in range(100):
        await engine.send(here.post())


async def test_a_token_is_renewed_before_it_ends(here: World):
    engine = await logged_in(here)
    here.clock.turn(3600 - EARLY - 1)
    await engine.send(here.post())
    here.clock.turn(1)
    await soon(engine.send(here.post()))
    assert here.desk.shown == [None, "Bearer access-1", "Bearer access-1", "Bearer access-2"]
    assert here.issuer.grants == ["authorization_code", "refresh_token"]
    assert here.issuer.at("/token")[1].form["resource"] == here.url
    assert len(here.person.visits) == 1


async def test_a_token_of_a_short_life_is_not_renewed_with_each_request(here: World):
    here.issuer.tokens = {"expires_in": 20}
    engine = await logged_in(here)
    here.clock.turn(9)
    await engine.send(here.post())
    assert here.issuer.grants == ["authorization_code"]
    here.clock.turn(1)
    await soon(engine.send(here.post()))
    assert here.issuer.grants == ["authorization_code", "refresh_token"]


async def test_a_token_without_an_end_is_renewed_when_it_is_refused(here: World):
    here.issuer.tokens = {}
    engine = await logged_in(here)
    here.clock.turn(10**7)
    assert (await engine.send(here.post())).status == 200
    here.issuer.valid.clear()
    assert (await soon(engine.send(here.post()))).status == 200
    assert here.desk.shown[-2:] == ["Bearer access-1", "Bearer access-2"]
    assert len(here.person.visits) == 1


@requirement("CF-09")
async def test_the_refresh_token_is_replaced_by_each_that_comes(here: World):
    engine = await logged_in(here)
    for _ in range(3):
        here.issuer.valid.clear()
        await soon(engine.send(here.post()))
    sent = [asked.form.get("refresh_token") for asked in here.issuer.at("/token")]
    assert sent == [None, "refresh-1", "refresh-2", "refresh-3"]


@requirement("CF-09")
async def test_a_refresh_token_that_is_not_replaced_stays(here: World):
    """RFC 6749 § 6."""
    engine = await logged_in(here)
    here.issuer.instead["/token"] = lambda asked: Answered(
        {"access_token": "access-new", "token_type": "Bearer"}
    )
    here.issuer.valid = {"access-new"}
    await soon(engine.send(here.post()))
    grant = await here.credentials.find(here.url)
    assert grant is not None
    assert (grant.access_token, grant.refresh_token) == ("access-new", "refresh-1")


async def test_who_comes_after_a_restart_needs_no_browser(here: World):
    await logged_in(here)
    engine = here.engine(here.oauth(visitors=None))
    await engine.send(here.post())
    here.clock.turn(4000)
    assert (await soon(engine.send(here.post()))).status == 200
    assert here.desk.shown == [None, "Bearer access-1", "Bearer access-1", "Bearer access-2"]


async def test_fifty_that_are_refused_at_once_send_a_person_once(here: World):
    here.person.free.clear()
    engine = here.engine()
    requests = [asyncio.create_task(engine.send(here.post())) for _ in range(50)]
    await soon(here.person.there.wait())
    here.person.free.set()
    responses = await soon(asyncio.gather(*requests))
    assert {response.status for response in responses} == {200}
    assert len(here.person.visits) == 1
    assert here.issuer.grants == ["authorization_code"]


@requirement("CF-09")
async def test_fifty_whose_token_is_over_refresh_once(here: World):
    engine = await logged_in(here)
    here.issuer.valid.clear()
    responses = await soon(asyncio.gather(*(engine.send(here.post()) for _ in range(50))))
    assert {response.status for response in responses} == {200}
    here.clock.turn(4000)
    responses = await soon(asyncio.gather(*(engine.send(here.post()) for _ in range(50))))
    assert {response.status for response in responses} == {200}
    assert here.issuer.grants == ["authorization_code", "refresh_token", "refresh_token"]


async def test_fifty_of_a_person_who_refuses_are_refused_at_once(here: World):
    here.person.free.clear()
    here.person.answers(code=None, error="access_denied")
    engine = here.engine()
    requests = [asyncio.create_task(engine.send(here.post())) for _ in range(50)]
    await soon(here.person.there.wait())
    here.person.free.set()
    failed = await soon(asyncio.gather(*requests, return_exceptions=True))
    assert {type(error) for error in failed} == {AuthorizationFailed}
    assert len(here.person.visits) == 1
    here.person.instead = None
    assert (await soon(engine.send(here.post()))).status == 200


async def test_fifty_of_an_issuer_that_is_down_ask_it_once(here: World):
    engine = await logged_in(here)
    here.issuer.valid.clear()
    reached, go = asyncio.Event(), asyncio.Event()

    async def down(asked: Asked) -> Answered:
        reached.set()
        await go.wait()
        return Answered(status=503)

    here.issuer.instead["/token"] = down
    requests = [asyncio.create_task(engine.send(here.post())) for _ in range(50)]
    await soon(reached.wait())
    go.set()
    failed = await soon(asyncio.gather(*requests, return_exceptions=True))
    assert {type(error) for error in failed} == {AuthorizationFailed}
    assert here.issuer.grants == ["authorization_code", "refresh_token"]
    assert len(here.person.visits) == 1


@requirement("CF-09")
async def test_processes_that_share_credentials_refresh_once(here: World):
    engines = [here.engine(here.oauth()) for _ in range(5)]
    assert (await soon(engines[0].send(here.post()))).status == 200
    for engine in engines:
        await soon(engine.send(here.post()))
    here.issuer.valid.clear()
    await soon(asyncio.gather(*(engine.send(here.post()) for engine in engines)))
    assert here.issuer.grants == ["authorization_code", "refresh_token"]


async def test_a_token_that_somebody_else_renewed_is_used(here: World):
    one, other = await logged_in(here), here.engine(here.oauth())
    await other.send(here.post())
    here.issuer.valid.clear()
    await soon(one.send(here.post()))
    await soon(other.send(here.post()))
    assert here.desk.shown[-2:] == ["Bearer access-1", "Bearer access-2"]
    assert here.issuer.grants == ["authorization_code", "refresh_token"]


@requirement("CF-09")
async def test_a_refresh_token_that_is_over_leads_to_one_login(
    here: World, caplog: pytest.LogCaptureFixture
):
    engine = await logged_in(here)
    here.issuer.valid.clear()
    here.issuer.refreshable.clear()
    with caplog.at_level(logging.DEBUG, "interlock"):
        assert (await soon(engine.send(here.post()))).status == 200
    assert here.issuer.grants == ["authorization_code", "refresh_token", "authorization_code"]
    assert len(here.person.visits) == 2
    assert len(here.issuer.at("/register")) == 1
    assert "refresh-1" not in caplog.text
    assert "access-1" not in caplog.text


@requirement("CD-07", "CR-04")
async def test_a_client_that_is_not_known_any_more_registers_again(here: World):
    """2026-07-28 § Client Registration."""
    engine = await logged_in(here)
    here.issuer.valid.clear()
    real = here.issuer.give
    answers = [Answered({"error": "invalid_client"}, 401)]
    here.issuer.instead["/token"] = lambda asked: answers.pop() if answers else real(asked)
    assert (await soon(engine.send(here.post()))).status == 200
    assert len(here.issuer.at("/register")) == 2


async def test_an_issuer_that_is_down_sends_nobody_to_a_login(here: World):
    engine = await logged_in(here)
    here.issuer.valid.clear()
    here.issuer.instead["/token"] = lambda asked: Answered(status=503)
    with pytest.raises(AuthorizationFailed, match="HTTP 503"):
        await soon(engine.send(here.post()))
    del here.issuer.instead["/token"]
    assert (await soon(engine.send(here.post()))).status == 200
    assert len(here.person.visits) == 1


async def test_a_token_that_is_still_good_is_used_while_its_issuer_is_down(
    here: World, caplog: pytest.LogCaptureFixture
):
    engine = await logged_in(here)
    here.issuer.instead["/token"] = lambda asked: Answered(status=503)
    here.clock.turn(3600 - EARLY + 1)
    for _ in range(5):
        assert (await soon(engine.send(here.post()))).status == 200
    assert here.issuer.grants == ["authorization_code", "refresh_token"]
    here.clock.turn(SPARED)
    assert (await soon(engine.send(here.post()))).status == 200
    assert here.issuer.grants == ["authorization_code", "refresh_token", "refresh_token"]
    here.clock.turn(EARLY)
    with pytest.raises(AuthorizationFailed, match="HTTP 503"):
        await soon(engine.send(here.post()))
    assert "not renewed yet" in caplog.text


async def test_what_a_refresh_token_was_traded_for_is_kept_though_nobody_waits(here: World):
    engine = await logged_in(here)
    here.issuer.valid.clear()
    reached, go = asyncio.Event(), asyncio.Event()

    async def slow(asked: Asked) -> Answered:
        reached.set()
        await go.wait()
        return here.issuer.give(asked)

    here.issuer.instead["/token"] = slow
    sending = asyncio.create_task(engine.send(here.post()))
    await soon(reached.wait())
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    closing = asyncio.create_task(engine.close())
    await asyncio.sleep(0)
    assert not closing.done()
    go.set()
    await soon(closing)
    grant = await here.credentials.find(here.url)
    assert grant is not None
    assert (grant.access_token, grant.refresh_token) == ("access-2", "refresh-2")


async def test_a_login_goes_on_though_who_asked_for_it_has_left(here: World):
    here.person.free.clear()
    engine = here.engine()
    sending = asyncio.create_task(engine.send(here.post()))
    await soon(here.person.there.wait())
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    again = asyncio.create_task(engine.send(here.post()))
    here.person.free.set()
    assert (await soon(again)).status == 200
    assert len(here.person.visits) == 1


async def test_closing_ends_a_login_and_says_so(here: World):
    here.person.free.clear()
    way = here.oauth()
    sending = asyncio.create_task(here.engine(way).send(here.post()))
    await soon(here.person.there.wait())
    await soon(way.close())
    with pytest.raises(AuthorizationFailed, match="was ended here"):
        await soon(sending)
    assert here.issuer.grants == []


def forbids(*scopes: str) -> Reply:
    return refusal(403, error="insufficient_scope", scope=" ".join(scopes))


@requirement("CF-08")
async def test_more_is_asked_for_together_with_what_was_asked_for_before(here: World):
    """2026-07-28 § Scope Challenge Handling."""
    here.challenge = 'Bearer scope="a"'
    engine = await logged_in(here)
    here.wants = lambda request: forbids("b") if len(here.person.visits) < 2 else None
    assert (await soon(engine.send(here.post()))).status == 200
    assert here.person.scopes() == [{"a"}, {"a", "b"}]
    after = here.engine(here.oauth())
    here.wants = lambda request: forbids("c") if len(here.person.visits) < 3 else None
    assert (await soon(after.send(here.post()))).status == 200
    assert here.person.scopes()[-1] == {"a", "b", "c"}


@requirement("CF-08")
async def test_what_was_asked_for_and_not_given_is_not_asked_for_again(here: World):
    engine = await logged_in(here)
    here.wants = lambda request: forbids("b")
    for _ in range(3):
        assert (await soon(engine.send(here.post()))).status == 403
    assert len(here.person.visits) == 2


@requirement("CF-08")
async def test_ever_new_scopes_are_asked_for_a_few_times(here: World):
    engine = await logged_in(here)
    number = iter(range(1000))
    here.wants = lambda request: forbids(f"s{next(number)}")
    assert (await soon(engine.send(here.post()))).status == 403
    assert len(here.person.visits) == 4
    with pytest.raises(AuthorizationFailed, match="wanted 10 logins within 10 minutes"):
        await soon(until_it_fails(here, engine))
    assert len(here.person.visits) == LOGINS
    here.clock.turn(LOGINS_WITHIN)
    here.wants = lambda request: None
    here.issuer.valid.clear()
    here.issuer.refreshable.clear()
    assert (await soon(engine.send(here.post()))).status == 200


@requirement("CF-06")
async def test_a_server_that_takes_no_token_for_long_asks_nobody_for_ever(here: World):
    here.issuer.tokens = {"refresh_token": None}
    engine = await logged_in(here)
    refused: list[Request] = []

    def first_of_each(request: Request) -> Reply | None:
        refused.append(request)
        return refusal() if len(refused) % 2 else None

    here.wants = first_of_each
    with pytest.raises(AuthorizationFailed, match="nobody is asked for now"):
        await soon(until_it_fails(here, engine))
    assert len(here.person.visits) == LOGINS


@requirement("SEC-12")
async def test_a_scope_that_a_person_refused_is_not_asked_for_again(here: World):
    """SEC-12: what was denied is remembered, in whatever company it is asked for."""
    engine = await logged_in(here)
    here.person.answers(code=None, error="access_denied")
    wanted = ["b"]
    here.wants = lambda request: forbids(*wanted)
    with pytest.raises(AuthorizationFailed, match="refused"):
        await soon(engine.send(here.post()))
    for more in ([], ["c"], ["d", "e"]):
        wanted[:] = ["b", *more]
        assert (await soon(engine.send(here.post()))).status == 403
    assert len(here.person.visits) == 2
    wanted[:] = ["f"]
    with pytest.raises(AuthorizationFailed, match="refused"):
        await soon(engine.send(here.post()))


@pytest.mark.parametrize(
    "reply",
    [
        Reply(403),
        refusal(403),
        refusal(403, scope="b"),
        refusal(403, error="insufficient_scope"),
        refusal(403, error="invalid_token", scope="b"),
    ],
)
async def test_a_refusal_that_names_nothing_that_would_help_is_handed_over(
    here: World, reply: Reply
):
    engine = await logged_in(here)
    here.wants = lambda request: reply
    assert (await soon(engine.send(here.post()))).status == 403
    assert len(here.person.visits) == 1


async def test_a_server_that_refuses_what_was_obtained_for_it_asks_once(here: World):
    here.wants = lambda request: refusal()
    assert (await soon(here.engine().send(here.post()))).status == 401
    assert len(here.person.visits) == 1
    assert here.issuer.grants == ["authorization_code"]


def proofs(here: World) -> list[dpop.Proof]:
    return [
        dpop.check(
            request.headers["dpop"],
            request.method,
            request.url,
            now=here.clock(),
            token=request.headers["authorization"].removeprefix("DPoP "),
        )
        for request in here.desk.sent
        if "dpop" in request.headers
    ]


@requirement("XD-01")
async def test_bound_tokens_stay_bound_to_their_key(here: World):
    """RFC 9449 §§ 5, 7; the clock that was handed over is the one that proofs tell."""
    here.issuer.metadata = {"dpop_signing_alg_values_supported": ["ES256"]}
    here.challenge = 'DPoP algs="ES256"'
    engine = await logged_in(here)
    here.issuer.valid.clear()
    await soon(engine.send(here.post()))
    after = here.engine(here.oauth(visitors=None))
    await soon(after.send(here.post()))
    assert len({proof.thumbprint for proof in proofs(here)}) == 1
    assert len({proof.id for proof in proofs(here)}) == len(proofs(here)) == 4
    keys = {
        dpop.check(
            asked.headers["dpop"], "POST", f"{here.issuer.url}/token", now=here.clock()
        ).thumbprint
        for asked in here.issuer.at("/token")
    }
    assert keys == {proofs(here)[0].thumbprint}


async def test_a_bound_token_is_not_traded_for_one_that_is_not(here: World):
    here.issuer.metadata = {"dpop_signing_alg_values_supported": ["ES256"]}
    engine = await logged_in(here, dpop=True)
    here.issuer.valid.clear()
    here.issuer.tokens = {"token_type": "Bearer"}
    with pytest.raises(AuthorizationFailed, match="not bound to our key"):
        await soon(engine.send(here.post()))


async def test_who_listens_hears_when_a_person_is_waited_for(here: World):
    heard: list[bool] = []
    here.person.free.clear()
    engine = here.oauth().around(here.desk, here.url, heard.append)
    sending = asyncio.create_task(engine.send(here.post()))
    await soon(here.person.there.wait())
    assert heard == [True]
    here.person.free.set()
    await soon(sending)
    assert heard == [True, False]
    await engine.close()
    assert heard == [True, False]


async def test_who_comes_while_a_person_is_waited_for_hears_of_it_with_its_first_request(
    here: World,
):
    """Else it would hear the end of what it knows nothing of, and count wrongly ever after."""
    heard: list[bool] = []
    here.person.free.clear()
    way = here.oauth()
    first = asyncio.create_task(here.engine(way).send(here.post()))
    await soon(here.person.there.wait())
    engine = way.around(here.desk, here.url, heard.append)
    idle: list[bool] = []
    way.around(here.desk, here.url, idle.append)
    second = asyncio.create_task(engine.send(here.post()))
    await asyncio.sleep(0)
    assert heard == [True]
    here.person.free.set()
    await soon(asyncio.gather(first, second))
    assert heard == [True, False]
    assert idle == []


async def test_who_leaves_while_a_person_is_waited_for_hears_that_it_is_over(here: World):
    heard: list[bool] = []
    here.person.free.clear()
    way = here.oauth()
    engine = way.around(here.desk, here.url, heard.append)
    sending = asyncio.create_task(engine.send(here.post()))
    await soon(here.person.there.wait())
    await soon(engine.close())
    assert heard == [True, False]
    here.person.free.set()
    await soon(sending)
    assert heard == [True, False]


async def test_credentials_that_cannot_be_read_say_so(here: World, tmp_path: Any):
    async with Credentials.at(tmp_path, {"INTERLOCK_KEYRING": "off"}, clock=here.clock) as kept:
        engine = here.engine(here.oauth(credentials=kept))
        assert (await soon(engine.send(here.post()))).status == 200

    class Broken(Credentials):
        async def find(self, url: str, principal: str = "") -> Any:
            raise StoreError("the disk is full")

    broken = Broken.in_memory()
    with pytest.raises(StoreError, match="the disk is full"):
        await soon(here.engine(here.oauth(credentials=broken)).send(here.post()))
