"""An issuer that is kept with this user's state: a restart ends nothing, and nobody else reads it."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from tests.auth.issuer.box import (
    BACK,
    RESOURCES,
    URL,
    Box,
    Browser,
    asked,
    body,
    claims,
    error,
    redeeming,
    refreshing,
    sent_back,
)

from interlock.auth.box import OWNER, boxed
from interlock.auth.credentials import open_credentials
from interlock.auth.issuer.issuer import Issuer
from interlock.auth.issuer.requests import Request
from interlock.errors import ConfigError


class Home:
    """The state of one user, in which boxed issuers are started again and again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environ = {"INTERLOCK_STATE": str(folder), "INTERLOCK_KEYRING": "off"}

    async def start(self, url: str = URL, before: Browser | None = None) -> Box:
        """A box with the issuer; the browser is the one of *before*, with its cookies."""
        box = Box()
        box.issuer = await boxed(url, RESOURCES, self.environ)
        await box.issuer.start()
        if before is not None:
            box.browser.cookies = before.cookies
        return box

    @property
    def files(self) -> list[Path]:
        return [path for path in self.folder.rglob("*") if path.is_file()]

    @property
    def written(self) -> bytes:
        return b"".join(path.read_bytes() for path in self.files)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "state")


async def registered(box: Box) -> str:
    said = await box.register(redirect_uris=[BACK], token_endpoint_auth_method="none")
    return body(said)["client_id"]


async def logged_in(box: Box, client: str, code: str = "") -> dict[str, Any]:
    """What a client gets that the owner allows; without *code* they are signed in already."""
    page = await box.browser.open(asked(client_id=client, scope="read offline_access"))
    came = await box.browser.answer(page, **({"code": code} if code else {}))
    assert came.status == 303, came.body
    said = await box.token(redeeming(sent_back(came)["code"], client_id=client))
    assert said.status == 200, said.body
    return body(said)


async def published(issuer: Issuer) -> Any:
    host = {"host": ("id.example.com",)}
    return body(await issuer.handle(Request("GET", "/jwks", "", host)))


async def test_a_restart_ends_no_login(home: Home):
    box = await home.start()
    code = box.issuer.people[0].code
    client = await registered(box)
    first = await logged_in(box, client, code)
    assert claims(first).text("sub") == OWNER
    keys = await published(box.issuer)
    await box.issuer.stop()

    again = await home.start(before=box.browser)
    assert await published(again.issuer) == keys
    said = await again.token(refreshing(first["refresh_token"], client_id=client))
    assert said.status == 200, said.body
    assert claims(body(said)).text("sub") == OWNER
    # The browser is signed in still, so nobody types the code, which is another one by now.
    assert again.issuer.people[0].code != code
    assert (await logged_in(again, client))["refresh_token"]
    # A token that was used stays used.
    used = await again.token(refreshing(body(said)["refresh_token"], client_id=client))
    assert used.status == 200
    await again.issuer.stop()
    last = await home.start()
    refused = await last.token(refreshing(first["refresh_token"], client_id=client))
    assert error(refused) == "invalid_grant"
    await last.issuer.stop()


async def test_the_code_of_before_signs_nobody_in(home: Home):
    box = await home.start()
    old = box.issuer.people[0].code
    await box.issuer.stop()
    again = await home.start()
    client = await registered(again)
    page = await again.browser.open(asked(client_id=client))
    came = await again.browser.answer(page, code=old)
    assert (came.status, came.header("location")) != (303, None)
    assert b"ticket" in came.body
    assert (await logged_in(again, client, again.issuer.people[0].code))["access_token"]
    await again.issuer.stop()


async def test_what_is_kept_is_for_its_user_alone_and_sealed(home: Home):
    box = await home.start()
    said = await logged_in(box, await registered(box), box.issuer.people[0].code)
    await box.issuer.stop()
    for folder in (home.folder, *(path for path in home.folder.rglob("*") if path.is_dir())):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700 or folder.name == "locks", folder
    [key] = [path for path in home.files if path.name == "key"]
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    written = home.written
    for secret in (said["access_token"], said["refresh_token"], box.issuer.people[0].code):
        assert secret.encode() not in written
    assert b'"d":' not in written  # What makes a key a private one.


async def test_credentials_can_be_kept_beside_it_whatever_the_umask(home: Home):
    before = os.umask(0o002)
    try:
        await boxed(URL, RESOURCES, home.environ)
        async with open_credentials(home.folder, environ=home.environ) as credentials:
            assert await credentials.list() == []
    finally:
        os.umask(before)


async def test_each_url_has_an_issuer_of_its_own(home: Home):
    one, other = await home.start(), await home.start(f"{URL}/other")
    said = await logged_in(one, await registered(one), one.issuer.people[0].code)
    host = {"host": ("id.example.com",)}
    keys = body(await other.issuer.handle(Request("GET", "/other/jwks", "", host)))
    theirs = {key["kid"] for key in keys["keys"]}
    assert theirs.isdisjoint(key["kid"] for key in (await published(one.issuer))["keys"])
    refused = await other.post("/other/token", refreshing(said["refresh_token"]))
    assert error(refused) == "invalid_client"
    await one.issuer.stop()
    await other.issuer.stop()


async def test_what_was_sealed_is_not_begun_anew_without_its_key(home: Home):
    box = await home.start()
    await box.issuer.stop()
    [key] = [path for path in home.files if path.name == "key"]
    key.unlink()
    with pytest.raises(ConfigError, match=r"key is gone"):
        await boxed(URL, RESOURCES, home.environ)


@pytest.mark.parametrize("name", ["127.0.0.1:4777", "localhost:4777", "[::1]:4777"])
async def test_a_proxy_may_reach_it_by_a_name_of_the_loopback(home: Home, name: str):
    box = await home.start()
    path = "/.well-known/oauth-authorization-server"
    said = body(await box.send("GET", path, headers={"host": name}))
    assert said["token_endpoint"] == f"{URL}/token"  # Whatever name it was asked by.
    other = await box.send("GET", path, headers={"host": "evil.example"})
    assert (other.status, error(other)) == (403, "invalid_request")
    await box.issuer.stop()


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "http://id.example.com",
        "http://0.0.0.0:4779",
        "https://id.example.com/?tenant=1",
        "https://id.example.com/#here",
        "https://ada:s3cret@id.example.com",
    ],
)
async def test_what_is_no_issuers_url_is_refused_before_anything_is_kept(home: Home, url: str):
    with pytest.raises(ConfigError) as caught:
        await boxed(url, RESOURCES, home.environ)
    assert "s3cret" not in str(caught.value)
    assert not home.folder.exists()


async def test_a_folder_that_others_can_write_to_is_refused(home: Home):
    box = await home.start()
    await box.issuer.stop()
    [key] = [path for path in home.files if path.name == "key"]
    key.parent.chmod(0o777)
    with pytest.raises(ConfigError, match="can be written by others"):
        await boxed(URL, RESOURCES, home.environ)
