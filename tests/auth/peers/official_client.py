"""The official Python client and its own OAuth: logs in to a server of ours and uses it.

Usage: official_client.py MODE URL CODE; CODE is the sign-in code that is typed. Prints what it got as
JSON. Runs in the environment of that library, not in ours.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import sys
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import (
    AuthorizationCodeResult,
    OAuthClientInformationFull,
    OAuthClientMetadata,
    OAuthToken,
)

MODE, URL, CODE = sys.argv[1:]
BACK = "http://127.0.0.1:3111/callback"


class Storage:
    def __init__(self) -> None:
        self.tokens: OAuthToken | None = None
        self.client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


class Person:
    """Opens a page, signs in, allows, and brings back where the browser was sent."""

    def __init__(self) -> None:
        self.logins = 0
        self.sent_to = ""

    async def open(self, url: str) -> None:
        self.logins += 1
        self.sent_to = await asyncio.to_thread(self._visit, url)

    async def back(self) -> AuthorizationCodeResult:
        query = parse_qs(urlsplit(self.sent_to).query)
        return AuthorizationCodeResult(
            code=query["code"][0], state=query["state"][0], iss=query["iss"][0]
        )

    def _visit(self, url: str) -> str:
        parts = urlsplit(url)
        page, headers = self._send(parts.netloc, "GET", f"{parts.path}?{parts.query}")
        ticket = re.search(r'name="ticket" value="([^"]+)"', page)
        action = re.search(r'action="([^"]+)"', page)
        assert ticket, page
        assert action, page
        cookie = "; ".join(
            value.partition(";")[0] for name, value in headers if name.lower() == "set-cookie"
        )
        form = {"ticket": unescape(ticket[1]), "code": CODE, "choice": "allow"}
        _, headers = self._send(parts.netloc, "POST", unescape(action[1]), form, cookie)
        return {name.lower(): value for name, value in headers}["location"]

    def _send(
        self, host: str, method: str, path: str, form: Any = None, cookie: str = ""
    ) -> tuple[str, list[tuple[str, str]]]:
        connection = http.client.HTTPConnection(host, timeout=10)
        headers = {"cookie": cookie} if cookie else {}
        if form:
            headers["content-type"] = "application/x-www-form-urlencoded"
        connection.request(method, path, urlencode(form) if form else None, headers)
        response = connection.getresponse()
        return response.read().decode(), response.getheaders()


async def main() -> None:
    person = Person()
    auth = OAuthClientProvider(
        URL,
        OAuthClientMetadata(redirect_uris=[BACK], client_name="official"),
        Storage(),
        redirect_handler=person.open,
        callback_handler=person.back,
    )
    async with httpx2.AsyncClient(auth=auth, timeout=20) as http_client:
        transport = streamable_http_client(URL, http_client=http_client)
        async with Client(transport, mode=MODE, read_timeout_seconds=20) as client:
            tools = sorted(tool.name for tool in (await client.list_tools()).tools)
            read = await client.call_tool("read", {})
            wrote = await client.call_tool("write", {"text": "Dear diary"})
            again = await client.call_tool("read", {})
    texts = [[block.text for block in one.content] for one in (read, wrote, again)]
    print(json.dumps({"tools": tools, "texts": texts, "logins": person.logins}))


asyncio.run(main())
