from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.auth.issuer.box import Box, body, redeeming, refreshing
from tests.spec.marking import requirement

from interlock.store.sqlite import SqliteStore
from interlock.testing.clock import Clock


async def two(path: Path) -> tuple[Box, Box]:
    """Two processes, as far as a store can tell."""
    clock = Clock(1_800_000_000.0)
    boxes = [Box(store=SqliteStore(path / "issuer.db", clock=clock), clock=clock) for _ in "ab"]
    for box in boxes:
        await box.issuer.start()
    return boxes[0], boxes[1]


async def test_of_two_processes_that_are_brought_one_code_at_once_at_most_one_gives_tokens(
    tmp_path: Path,
):
    one, other = await two(tmp_path)
    try:
        for _ in range(5):
            form = redeeming(await one.code())
            said = await asyncio.gather(one.token(form), other.token(form))
            given = [body(each) for each in said if each.status == 200]
            assert len(given) <= 1
            # Whichever was first: a code that came twice has given nothing that lasts.
            for tokens in given:
                again = await one.token(refreshing(tokens["refresh_token"]))
                assert again.status == 400
    finally:
        await one.issuer.stop()
        await other.issuer.stop()


async def test_a_process_goes_on_where_another_ended(tmp_path: Path):
    one, other = await two(tmp_path)
    try:
        said = await one.tokens()
        await one.issuer.stop()
        again = await other.token(refreshing(said["refresh_token"]))
        assert again.status == 200
        assert one.issuer.office.keys.public == other.issuer.office.keys.public
    finally:
        await one.issuer.stop()
        await other.issuer.stop()


@requirement("SEC-15")
async def test_the_store_is_told_no_code_no_token_and_no_secret(tmp_path: Path):
    one, other = await two(tmp_path)
    try:
        code = await one.code()
        said = body(await one.token(redeeming(code)))
    finally:
        await one.issuer.stop()
        await other.issuer.stop()
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    for secret in (code, said["access_token"], said["refresh_token"]):
        assert secret.encode() not in kept
    for cookie in one.browser.cookies.values():
        assert cookie.encode() not in kept


async def test_a_code_that_came_twice_is_told_to_the_operator_and_not_shown(
    caplog: pytest.LogCaptureFixture,
):
    box = Box()
    code = await box.code()
    await box.token(redeeming(code))
    await box.token(redeeming(code))
    assert "came twice" in caplog.text
    assert code not in caplog.text
