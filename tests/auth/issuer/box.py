"""One box with an issuer on it, a browser before it, and apps that want in: no sockets, no waiting."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from html import unescape
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import msgspec

from interlock.auth.dpop import prove
from interlock.auth.issuer.clients import Client
from interlock.auth.issuer.issuer import Issuer
from interlock.auth.issuer.people import Person
from interlock.auth.issuer.requests import FORM, Request
from interlock.auth.issuer.responses import Response
from interlock.auth.issuer.settings import Resource
from interlock.auth.jwt import SigningKey, Token, letters, peek
from interlock.auth.metadata import CLIENT_CREDENTIALS, CODE, JWT_BEARER, REFRESH, TOKEN_EXCHANGE
from interlock.testing.clock import Clock
from interlock.transport.http.engine import Request as Outgoing
from interlock.transport.http.fetching import Fetched

URL = "https://id.example.com"
FILES = "https://files.example.com/mcp"
NOTES = "https://notes.example.com/mcp"
SIGN_IN = "open-sesame-42"
SECRET = "a-secret-of-the-service-itself"
VERIFIER = "v" * 43
BACK = "http://127.0.0.1:8123/callback"
WEB_BACK = "https://app.example.com/callback"

ANNA = Person("anna", "Anna", SIGN_IN)
RESOURCES = (
    Resource(FILES, {"read": "Read your files", "write": "Change your files"}, "Files", ("read",)),
    Resource(NOTES, {"read": "Read your notes", "pin": "Pin your notes"}, "Notes"),
)
SERVICE_KEY = SigningKey.generate()
APP_KEY = SigningKey.generate()
"""What apps prove themselves with by DPoP."""

APP = Client(id="app", name="Some app", redirect_uris=(BACK, "http://localhost:1/cb"))
WEB = Client(id="web", name="Web app", redirect_uris=(WEB_BACK,), native=False).with_secret(SECRET)
SERVICE = Client(
    id="service",
    grants=(CLIENT_CREDENTIALS, JWT_BEARER, TOKEN_EXCHANGE),
    auth="private_key_jwt",
    keys=(SERVICE_KEY.public,),
)
GATE = Client(
    id="gate",
    grants=(TOKEN_EXCHANGE,),
    resource=FILES,
    targets=frozenset({NOTES}),
).with_secret(SECRET)
CLIENTS = (APP, WEB, SERVICE, GATE)


class Page:
    """What a browser without scripts sees of a page: one form."""

    def __init__(self, response: Response) -> None:
        self.response = response
        self.html = response.body.decode()
        found = re.search(r'name="ticket" value="([^"]+)"', self.html)
        self.ticket = unescape(found[1]) if found else ""
        action = re.search(r'action="([^"]+)"', self.html)
        self.action = unescape(action[1]) if action else ""


class Browser:
    """Keeps cookies, as told to."""

    def __init__(self, box: Box, peer: str = "192.0.2.7") -> None:
        self.box = box
        self.cookies: dict[str, str] = {}
        self.peer = peer

    async def open(self, query: Mapping[str, str] | str) -> Page:
        text = query if isinstance(query, str) else urlencode(query)
        return Page(await self._send(Request("GET", "/authorize", text, self._headers())))

    async def answer(self, page: Page, choice: str = "allow", **fields: str) -> Response:
        form = {"ticket": page.ticket, "choice": choice, **fields}
        return await self.submit(form)

    async def submit(
        self, form: Mapping[str, str], headers: Mapping[str, str] | None = None
    ) -> Response:
        told = {"content-type": FORM, "origin": "null", "sec-fetch-site": "same-origin"}
        every = {**self._headers(), **{k: (v,) for k, v in {**told, **(headers or {})}.items()}}
        return await self._send(
            Request("POST", "/decide", "", every, urlencode(form).encode(), self.peer)
        )

    def _headers(self) -> dict[str, tuple[str, ...]]:
        pairs = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        return {"host": ("id.example.com",), **({"cookie": (pairs,)} if pairs else {})}

    async def _send(self, request: Request) -> Response:
        response = await self.box.issuer.handle(request)
        for name, value in response.headers:
            if name == b"set-cookie":
                pair = value.decode().partition(";")[0]
                found, _, text = pair.partition("=")
                self.cookies[found] = text
        return response


class Box:
    """An issuer whose time is `clock`'s. *settings* are the issuer's."""

    def __init__(self, url: str = URL, **settings: Any) -> None:
        self.clock = settings.pop("clock", None) or Clock(1_800_000_000.0)
        given: dict[str, Any] = {"resources": RESOURCES, "people": (ANNA,), "clients": CLIENTS}
        given["fetcher"] = Shelf({})
        self.issuer = Issuer(url, clock=self.clock, **{**given, **settings})
        self.browser = Browser(self)

    async def get(self, path: str, query: str = "") -> Response:
        return await self.send("GET", path, query=query)

    async def send(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        query: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        every = {"host": "id.example.com", **(headers or {})}
        named = {name: (value,) for name, value in every.items()}
        return await self.issuer.handle(Request(method, path, query, named, body, "192.0.2.9"))

    async def post(
        self, path: str, form: Mapping[str, str] | str, headers: Mapping[str, str] | None = None
    ) -> Response:
        text = form if isinstance(form, str) else urlencode(form)
        told = {"content-type": FORM, **(headers or {})}
        return await self.send("POST", path, text.encode(), headers=told)

    async def register(self, **said: Any) -> Response:
        told = {"content-type": "application/json"}
        return await self.send("POST", "/register", msgspec.json.encode(said), headers=told)

    async def token(
        self, form: Mapping[str, str], headers: Mapping[str, str] | None = None
    ) -> Response:
        return await self.post("/token", form, headers)

    async def code(self, browser: Browser | None = None, **changes: str) -> str:
        """A code that Anna gave; *changes* are to what was asked."""
        browser = browser or self.browser
        page = await browser.open(asked(**changes))
        response = await browser.answer(page, code=SIGN_IN)
        assert response.status == 303, page.html
        return sent_back(response)["code"]

    async def tokens(self, proof: SigningKey | None = None, **changes: str) -> dict[str, Any]:
        """What the app gets for a code."""
        code = await self.code(None, **changes)
        said = await self.token(redeeming(code), self.proof(proof))
        assert said.status == 200, said.body
        return body(said)

    def proof(
        self, key: SigningKey | None, *, nonce: str | None = None, url: str = f"{URL}/token"
    ) -> dict[str, str]:
        if key is None:
            return {}
        return {"dpop": prove(key, "POST", url, now=self.clock(), nonce=nonce)}

    def assertion(
        self, key: SigningKey = SERVICE_KEY, typ: str | None = None, **claims: Any
    ) -> str:
        """A client's proof of itself, or, with other *claims*, somebody else's word."""
        now = int(self.clock())
        usual = {"iss": "service", "sub": "service", "aud": URL, "jti": letters(os.urandom(9))}
        every = {**usual, "iat": now, "exp": now + 60, **claims}
        return key.sign({k: v for k, v in every.items() if v is not None}, typ=typ)


class Shelf:
    """A fetcher that knows some documents, and who asked for them."""

    def __init__(self, documents: Mapping[str, Any]) -> None:
        self.documents = dict(documents)
        self.asked: list[str] = []
        self.headers = {"content-type": "application/json"}
        self.moved: str | None = None

    async def fetch(self, request: Outgoing) -> Fetched:
        self.asked.append(request.url)
        found = self.documents.get(request.url)
        data = found if isinstance(found, bytes) else msgspec.json.encode(found)
        return Fetched(404 if found is None else 200, self.headers, data, self.moved or request.url)


def asked(**changes: str) -> dict[str, str]:
    """What a good app asks at the authorization endpoint; empty *changes* leave a parameter out."""
    usual = {
        "response_type": "code",
        "client_id": "app",
        "redirect_uri": BACK,
        "state": "st&te=1",
        "code_challenge": letters(hashlib.sha256(VERIFIER.encode()).digest()),
        "code_challenge_method": "S256",
        "resource": FILES,
        "scope": "read write",
    }
    return {name: value for name, value in {**usual, **changes}.items() if value}


def redeeming(code: str, **changes: str) -> dict[str, str]:
    usual = {
        "grant_type": CODE,
        "code": code,
        "redirect_uri": BACK,
        "client_id": "app",
        "code_verifier": VERIFIER,
        "resource": FILES,
    }
    return {name: value for name, value in {**usual, **changes}.items() if value}


def refreshing(token: str, **changes: str) -> dict[str, str]:
    return {"grant_type": REFRESH, "refresh_token": token, "client_id": "app", **changes}


def body(response: Response) -> dict[str, Any]:
    return msgspec.json.decode(response.body, type=dict[str, Any])


def error(response: Response) -> str:
    """OAuth's word for what went wrong; what is said with it has only letters that it may have."""
    said = body(response)
    about = str(said.get("error_description", ""))
    # RFC 6749 section 5.2: printable ASCII without quotes and backslashes.
    assert all(" " <= letter <= "~" and letter not in '"\\' for letter in about), about
    return str(said.get("error"))


def claims(said: Mapping[str, Any]) -> Token:
    return peek(said["access_token"])


def location(response: Response) -> str:
    where = response.header("location")
    assert where is not None
    return where


def sent_back(response: Response) -> dict[str, str]:
    """The parameters that a browser is sent back with, each of them once."""
    query = urlsplit(location(response)).query
    assert all(len(values) == 1 for values in parse_qs(query).values())
    return dict(parse_qsl(query, keep_blank_values=True))
