"""A program that refreshes a grant of a folder at a token endpoint, and can be held at each step.

It says each step before it takes it, and takes it once it is told a line.
"""

from __future__ import annotations

import asyncio
import http.client
import sys
from urllib.parse import urlencode, urlsplit

import msgspec

from interlock.auth.credentials import Credentials

URL = "https://files.example.com/mcp"


async def main(folder: str, token_endpoint: str) -> None:
    async with Credentials.at(folder, {"INTERLOCK_KEYRING": "off"}) as credentials:
        old = await credentials.find(URL)
        assert old is not None
        await step("found")
        async with credentials.turn(old.issuer, old.resource, ""):
            grant = await credentials.held(old.issuer, old.resource)
            assert grant is not None
            if grant.access_token == old.access_token:
                await step("before the request")
                answer = await asyncio.to_thread(refreshed, token_endpoint, grant.refresh_token)
                await step("before the put")
                grant = msgspec.structs.replace(grant, **answer)
                await credentials.keep(URL, "", grant)
    await step(f"has {grant.access_token}")


def refreshed(token_endpoint: str, refresh_token: str | None) -> dict[str, str]:
    connection = http.client.HTTPConnection(urlsplit(token_endpoint).netloc, timeout=30)
    body = urlencode({"grant_type": "refresh_token", "refresh_token": refresh_token})
    connection.request("POST", "/token", body)
    answer = connection.getresponse()
    assert answer.status == 200
    return msgspec.json.decode(answer.read(), type=dict[str, str])


async def step(name: str) -> None:
    sys.stdout.write(f"{name}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.readline)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
