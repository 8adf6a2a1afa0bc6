"""Fetching what an issuer in this process publishes, and nothing else."""

from __future__ import annotations

import json

import pytest
from tests.auth.issuer.box import URL, Box

from interlock.auth.issuer.within import Within
from interlock.auth.jwks import Keys
from interlock.errors import ConnectFailed
from interlock.transport.http.engine import Request


def get(url: str) -> Request:
    return Request("GET", url, {})


async def test_its_documents_are_fetched_without_a_connection():
    box = Box()
    within = Within(box.issuer)
    found = await within.fetch(get(f"{URL}/jwks"), limit=1, seconds=0)
    assert (found.status, found.url) == (200, f"{URL}/jwks")
    assert found.headers["content-type"] == "application/json"
    assert json.loads(found.body)["keys"] == await Keys(URL, fetcher=within).current()
    missing = await within.fetch(get(f"{URL}/nothing"), limit=1, seconds=0)
    assert missing.status == 404


@pytest.mark.parametrize(
    "url", ["https://other.example/jwks", f"{URL}:444/jwks", "http://id.example.com/jwks"]
)
async def test_it_goes_nowhere_else(url: str):
    with pytest.raises(ConnectFailed, match="not of the issuer in this process"):
        await Within(Box().issuer).fetch(get(url), limit=1, seconds=1)
    with pytest.raises(ConnectFailed):
        await Within().fetch(get(f"{URL}/jwks"), limit=1, seconds=1)
