"""The search for secrets in what the suite writes finds them: a search that cannot fail proves nothing."""

from __future__ import annotations

import base64
import logging
from collections.abc import AsyncGenerator

import pytest
from aiohttp import web
from tests.leaks import Leaks, leaks

from interlock.errors import AuthorizationFailed
from interlock.transport.http.engine import AiohttpEngine, Request

TOKEN = "a-token-of-some-length"
PAIR = base64.b64encode(b"client:a-secret-of-the-client").decode()


@pytest.fixture
async def token_endpoint() -> AsyncGenerator[str]:
    async def give(request: web.Request) -> web.Response:
        return web.json_response({"access_token": "given-out-just-now"})

    app = web.Application()
    app.router.add_post("/token", give)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/token"
    finally:
        await runner.cleanup()


async def test_what_is_sent_and_what_comes_back_is_learnt(token_endpoint: str):
    engine = AiohttpEngine()
    headers = {
        "authorization": f"Basic {PAIR}",
        "content-type": "application/x-www-form-urlencoded",
    }
    body = b"grant_type=refresh_token&refresh_token=once-it-was-fresh"
    response = await engine.send(Request("POST", token_endpoint, headers, body))
    await response.read(1000)
    response.close()
    await engine.close()
    assert leaks.secrets == {"a-secret-of-the-client", "once-it-was-fresh", "given-out-just-now"}


@pytest.mark.parametrize(
    "header", [{"authorization": f"Bearer {TOKEN}"}, {"authorization": f"DPoP {TOKEN}"}]
)
def test_a_token_in_a_header_is_learnt(header: dict[str, str]):
    own = Leaks()
    own.learn_headers(header)
    assert own.secrets == {TOKEN}


def test_a_code_in_a_redirect_and_a_cookie_are_learnt():
    own = Leaks()
    own.learn_headers({"location": "http://127.0.0.1/cb?code=this-is-the-code&state=abcdefghijklm"})
    own.learn_headers({"set-cookie": "session=this-is-the-cookie; Secure"})
    assert own.secrets == {"this-is-the-code", "this-is-the-cookie"}


def test_a_secret_in_a_log_is_found_and_not_repeated():
    own = Leaks()
    own.learn(TOKEN)
    try:
        raise ValueError(TOKEN)
    except ValueError:
        record = logging.LogRecord("some", logging.ERROR, "", 0, "it failed", (), None)
        record.exc_info = (ValueError, ValueError(TOKEN), None)
    own.emit(record)
    [told] = own.found()
    assert told.startswith("the log of some: it failed")
    assert TOKEN not in told


def test_a_secret_in_an_error_is_found():
    leaks.learn(TOKEN)
    AuthorizationFailed(f"it was refused: {TOKEN}")
    assert leaks.found() == ["an error: it was refused: <SECRET>"]
    leaks.secrets.clear()


def test_where_nothing_is_written_nothing_is_found():
    own = Leaks()
    own.learn(TOKEN)
    own.hear("a log", "nothing of it")
    assert own.found() == []
