"""What must stay secret is looked for in everything that the suite writes.

Secrets are learnt where they cross the wire: from every request that our HTTP engine sends and every
answer that it gets, from every request that an endpoint or an authorization server of ours is sent,
and from what the latter gives out. Everything else that is written while a test runs, log lines at
every level, texts of errors, answers of endpoints, what is printed, is searched for them when it ends.
"""

from __future__ import annotations

import base64
import binascii
import logging
import re
from collections.abc import Generator, Iterable, Mapping, MutableMapping
from typing import Any, Final, cast
from urllib.parse import parse_qsl, unquote_plus

import msgspec
import pytest

from interlock.auth.issuer.issuer import Issuer
from interlock.auth.issuer.requests import Request as Asked
from interlock.auth.issuer.responses import Response as Given
from interlock.errors import InterlockError
from interlock.protocol.gate import RawHeaders
from interlock.transport.http.asgi import App
from interlock.transport.http.engine import AiohttpEngine, Request, Response
from interlock.transport.http.guards import Head
from interlock.transport.http.plain import Header, Receive, Scope, Send, Way

SHORTEST: Final = 12
"""Characters below which a word may stand anywhere by chance."""
FIELDS: Final = frozenset(
    {
        "access_token",
        "assertion",
        "client_assertion",
        "client_secret",
        "code",
        "code_verifier",
        "id_token",
        "refresh_token",
        "registration_access_token",
        "subject_token",
        "ticket",
        "token",
    }
)
"""What is secret in forms, in JSON and in the query of a redirect."""
LOUD: Final = ("tests/auth/", "tests/client/test_auth", "tests/server/test_scopes")
"""Tests in which our loggers write down everything."""


class Leaks(logging.Handler):
    """The secrets of one test, and what was written during it."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.secrets: set[str] = set()
        self.written: list[tuple[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.hear(f"the log of {record.name}", self.format(record))

    def hear(self, where: str, text: str) -> None:
        self.written.append((where, text))

    def found(self) -> list[str]:
        """Where which kind of secret was written; not the secret, which reports would repeat."""
        return [
            f"{where}: {text.replace(secret, '<SECRET>')[:500]}"
            for where, text in self.written
            for secret in self.secrets
            if secret in text
        ]

    # Learning.

    def learn(self, value: object) -> None:
        if isinstance(value, str) and len(value) >= SHORTEST:
            self.secrets.add(value)

    def learn_fields(self, pairs: Mapping[str, object]) -> None:
        for name, value in pairs.items():
            if name in FIELDS:
                self.learn(value)

    def learn_query(self, text: str) -> None:
        self.learn_fields(dict(parse_qsl(text)))

    def learn_body(self, body: bytes | None) -> None:
        if not body:
            return
        if body[:1] == b"{":
            try:
                fields = msgspec.json.decode(body)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                return
            self.learn_fields(cast("dict[str, Any]", fields))
        elif len(body) < 1_000_000 and re.fullmatch(rb"[\x21-\x7e]+", body):
            self.learn_query(body.decode())

    def learn_headers(self, headers: Mapping[str, str]) -> None:
        authorization = headers.get("authorization", "")
        scheme, _, credentials = authorization.partition(" ")
        if scheme.lower() in ("bearer", "dpop"):
            self.learn(credentials.strip())
        elif scheme.lower() == "basic":
            try:
                pair = base64.b64decode(credentials, validate=True).decode()
            except (binascii.Error, UnicodeDecodeError, ValueError):
                return
            self.learn(unquote_plus(pair.partition(":")[2]))
        self.learn(headers.get("dpop"))
        # Not every location is a URL that can be taken apart; some tests send what is none.
        self.learn_query(headers.get("location", "").partition("#")[0].partition("?")[2])
        for cookie in headers.get("set-cookie", "").split(";")[:1]:
            self.learn(cookie.partition("=")[2])


leaks: Final = Leaks()


@pytest.fixture(autouse=True)
def without_leaks(request: pytest.FixtureRequest) -> Generator[None]:
    """Fail a test in which a secret was written where somebody else reads."""
    name = request.node.nodeid
    if name.startswith(("tests/budget/", "tests/soak/")):
        yield
        return
    leaks.secrets.clear()
    leaks.written.clear()
    taps = pytest.MonkeyPatch()
    _tap(taps)
    logger = logging.getLogger("interlock")
    level = logger.level
    if name.startswith(LOUD):
        logger.setLevel(logging.DEBUG)
    logging.root.addHandler(leaks)
    try:
        yield
    finally:
        logging.root.removeHandler(leaks)
        logger.setLevel(level)
        taps.undo()
    if told := leaks.found():
        pytest.fail("A secret was written:\n" + "\n".join(told[:5]))


def _hear(where: str, headers: Iterable[Header], body: bytes) -> None:
    for name, value in headers:
        leaks.hear(f"a header of {where}", f"{name!r}: {value!r}")
    if body:
        leaks.hear(f"an answer of {where}", body.decode(errors="replace"))


class _Heard:
    """The way back to a client, with what goes it."""

    def __init__(self, way: Way, where: str) -> None:
        self._way = way
        self._where = where
        self.watch = way.watch
        self.unwatch = way.unwatch

    async def send(self, event: MutableMapping[str, Any], /) -> None:
        _hear(self._where, event.get("headers", ()), event.get("body", b""))
        await self._way.send(event)

    async def answer(self, headers: list[Header], body: bytes) -> None:
        _hear(self._where, headers, body)
        await self._way.answer(headers, body)

    async def whole(self, status: int, headers: list[Header], body: bytes) -> None:
        _hear(self._where, headers, body)
        await self._way.whole(status, headers, body)


def _tap(taps: pytest.MonkeyPatch) -> None:
    send, serve, handle = AiohttpEngine.send, App.__call__, Issuer.handle
    post = App.post
    begin = InterlockError.__init__

    async def sending(self: AiohttpEngine, request: Request) -> Response:
        leaks.learn_headers(request.headers)
        leaks.learn_body(request.body)
        response = await send(self, request)
        leaks.learn_headers(response.headers)
        read = response.read

        async def reading(limit: int) -> bytes:
            body = await read(limit)
            leaks.learn_body(body)
            return body

        response.read = reading  # type: ignore[method-assign]
        return response

    async def serving(self: App, scope: Scope, receive: Receive, send: Send) -> None:
        for name, value in scope.get("headers", ()):
            leaks.learn_headers({name.decode("latin-1"): value.decode("latin-1")})

        async def saying(event: Any) -> None:
            _hear(self.path, event.get("headers", ()), event.get("body", b""))
            await send(event)

        await serve(self, scope, receive, saying)

    async def posted(
        self: App, head: Head, headers: RawHeaders, query: bytes, body: bytes, way: Way
    ) -> None:
        for name, value in headers:
            leaks.learn_headers({name.decode("latin-1"): value.decode("latin-1")})
        await post(self, head, headers, query, body, _Heard(way, self.path))

    async def handling(self: Issuer, request: Asked) -> Given:
        leaks.learn_headers({name: values[0] for name, values in request.headers.items()})
        leaks.learn_body(request.body)
        response = await handle(self, request)
        leaks.learn_body(response.body)
        for name, value in response.headers:
            leaks.learn_headers({name.decode(): value.decode("latin-1")})
        if response.status >= 400 and response.body[:1] == b"{":
            leaks.hear("a refusal of the issuer", response.body.decode(errors="replace"))
        return response

    def beginning(self: InterlockError, *args: object) -> None:
        leaks.hear("an error", " ".join(map(str, args)))
        begin(self, *args)

    taps.setattr(AiohttpEngine, "send", sending)
    taps.setattr(App, "__call__", serving)
    taps.setattr(App, "post", posted)
    taps.setattr(Issuer, "handle", handling)
    taps.setattr(InterlockError, "__init__", beginning, raising=False)
