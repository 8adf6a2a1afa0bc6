"""The authorization server as an ASGI application: requests are read, answered, written."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

import msgspec

from interlock.auth.dpop import ALGORITHMS
from interlock.auth.issuer.authorizing import authorize, decide
from interlock.auth.issuer.clients import Client
from interlock.auth.issuer.grants import GRANTS, token
from interlock.auth.issuer.looking import introspect, revoke
from interlock.auth.issuer.office import OFFLINE, OPENID, Office
from interlock.auth.issuer.pages import trouble
from interlock.auth.issuer.people import Person, someone
from interlock.auth.issuer.registration import register
from interlock.auth.issuer.remote import Fetcher
from interlock.auth.issuer.requests import BODY_LIMIT, Request, read
from interlock.auth.issuer.responses import Refused, Response, answer, published, refusal
from interlock.auth.issuer.settings import Downstream, Lifetimes, Resources, Trusted
from interlock.auth.jwt import ASYMMETRIC
from interlock.auth.metadata import (
    ID_JAG_PROFILE,
    OPENID_PATH,
    SERVER_PATH,
    AuthorizationServer,
)
from interlock.errors import StoreError
from interlock.store.memory import MemoryStore
from interlock.store.ports import Store
from interlock.transport.http.fetching import Fetcher as Fetching
from interlock.transport.http.plain import Header, Receive, Scope, Send, length, whole

log: Final = logging.getLogger("interlock.issuer")

BODY_SECONDS: Final = 30.0
PUBLISHED: Final = 300
"""Seconds that others may keep metadata and keys."""
_CLIENT_AUTH: Final = ["none", "client_secret_basic", "client_secret_post", "private_key_jwt"]
_CORS: Final[tuple[Header, ...]] = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", b"DPoP-Nonce, WWW-Authenticate"),
)
_PREFLIGHT: Final[tuple[Header, ...]] = (
    *_CORS,
    (b"access-control-allow-methods", b"GET, POST, OPTIONS"),
    (b"access-control-allow-headers", b"Authorization, Content-Type, DPoP, MCP-Protocol-Version"),
    (b"access-control-max-age", b"600"),
)

_Endpoint: TypeAlias = Callable[[Office, Request], Awaitable[Response]]


class Issuer:
    """An authorization server whose identifier is *url*, exactly as written.

    It makes tokens for *resources*, lets in the clients that *people* allow, *clients* that are
    known beforehand, those that register themselves unless *registration* is off, and those whose
    id is a document on a host that *documents* says yes to, unless that is None. *fetcher* gets
    these, and keys; one of its own does by default, from public addresses. Without *people*
    there is one person, with a new code at each start: `people[0].code`, for a terminal. *schemes*
    are private URI schemes that redirects may have besides those with a dot in them. *trusted* are
    others whose assertions count, *downstream* those for whom this one is the identity provider.

    What is kept is in *store*, which must be as private as the signing keys in it, unless they are
    sealed with *secret*. Several processes may share it. `Host` must be the issuer's own, or one of
    *hosts* ("*" for any). Serve it with `serve_http`, or call `handle` with a request.
    """

    def __init__(
        self,
        url: str,
        *,
        resources: Resources = (),
        people: Sequence[Person] = (),
        clients: Iterable[Client] = (),
        store: Store | None = None,
        fetcher: Fetcher | None = None,
        trusted: Iterable[Trusted] = (),
        downstream: Iterable[Downstream] = (),
        registration: bool = True,
        documents: Callable[[str], bool] | None = lambda _: True,
        schemes: Collection[str] = (),
        dpop_nonces: bool = False,
        hosts: Collection[str] = (),
        secret: bytes | str | None = None,
        lifetimes: Lifetimes | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.url = url
        self.people = tuple(people) or (someone(),)
        self.office = Office(
            url,
            store=store if store is not None else MemoryStore(clock=clock),
            people=self.people,
            resources=resources,
            clients=clients,
            fetcher=fetcher,
            trusted=trusted,
            downstream=downstream,
            registration=registration,
            documents=documents,
            schemes=schemes,
            dpop_nonces=dpop_nonces,
            secret=secret,
            lifetimes=lifetimes if lifetimes is not None else Lifetimes(),
            clock=clock,
        )
        self._hosts = {(urlsplit(url).hostname or "").lower(), *(host.lower() for host in hosts)}
        self._open = False
        self._closed = False
        self._starting = asyncio.Lock()
        self._needs_fetcher = fetcher is None
        self._own_fetcher: Fetching | None = None
        self._documents = self._published()
        path = self.office.path
        self._pages: Mapping[str, tuple[str, _Endpoint]] = {
            f"{path}/authorize": ("GET", authorize),
            f"{path}/decide": ("POST", decide),
        }
        self._calls: Mapping[str, _Endpoint] = {
            f"{path}/token": token,
            f"{path}/revoke": revoke,
            f"{path}/introspect": introspect,
            **({f"{path}/register": register} if registration else {}),
        }

    def __repr__(self) -> str:
        return f"Issuer({self.url!r})"

    async def start(self) -> None:
        """Open the store and find the keys in it, or make them. Safe to call again."""
        async with self._starting:
            self._closed = False
            if not self._open:
                await self.office.store.open()
                self._open = True
                if self._needs_fetcher:
                    self.office.remote.fetcher = self._own_fetcher = Fetching()
                await self.office.keys.load()

    def close(self) -> None:
        """Answer nothing from here on."""
        self._closed = True

    async def stop(self) -> None:
        """Close, and close the store if it was opened here."""
        self.close()
        async with self._starting:
            if self._open:
                self._open = False
                if self._own_fetcher is not None:
                    await self._own_fetcher.close()
                await self.office.store.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            body = await _body(receive)
            if body is None:
                return
            response = await self._respond(scope, body)
            if scope["method"] == "HEAD":
                response = msgspec.structs.replace(response, body=b"")
            await whole(send, response.status, _headers(response), response.body)
        else:
            await send({"type": "websocket.close", "code": 1000})

    async def handle(self, request: Request) -> Response:
        """Answer one request: all that happens, without a connection."""
        if self._closed:
            return _unavailable("The server is stopping")
        try:
            if not self._open:
                await self.start()
            await self.office.keys.load()
            return await self._answer(request)
        except Refused as refused:
            return refusal(refused)
        except StoreError as error:
            log.error("the store fails: %s", error)
            return _unavailable("What is kept cannot be reached; try again")
        except Exception:
            # The boundary: what went wrong is for the operator, who reads the log.
            log.exception("a request to %s failed", request.path[:200])
            return refusal(Refused("server_error", "That failed; the log here says why", 500))

    async def _respond(self, scope: Scope, body: bytes | Response) -> Response:
        try:
            if isinstance(body, Response):
                return body
            return await self.handle(read(scope, body))
        except Refused as refused:
            return refusal(refused)

    async def _answer(self, request: Request) -> Response:
        self._hold_host(request)
        path = request.path
        if (found := self._pages.get(path)) is not None:
            method, endpoint = found
            if request.method != method:
                return trouble(f"This page takes {method}.", 405, _allow(method))
            return await endpoint(self.office, request)
        document = self._documents.get(path)
        keys = path == f"{self.office.path}/jwks"
        call = self._calls.get(path)
        if document is None and not keys and call is None:
            raise Refused("invalid_request", "Nothing is served at that path", 404)
        if request.method == "OPTIONS":
            return Response(204, _PREFLIGHT)
        if call is None:
            if request.method not in ("GET", "HEAD"):
                return _not_allowed("GET")
            value = document if document is not None else {"keys": self.office.keys.public}
            return _readable(published(value, PUBLISHED))
        if request.method != "POST":
            return _not_allowed("POST")
        try:
            return _readable(await call(self.office, request))
        except Refused as refused:
            return _readable(refusal(refused))

    def _hold_host(self, request: Request) -> None:
        # A page elsewhere whose name was made to point here could read what it is answered.
        try:
            name = urlsplit(f"//{request.header('host') or ''}").hostname or ""
        except ValueError:
            name = ""
        if "*" not in self._hosts and name not in self._hosts:
            raise Refused("invalid_request", "Host is not this issuer's; name it with hosts=", 403)

    def _published(self) -> dict[str, Any]:
        """The metadata, by path (RFC 8414 § 3, OpenID Connect Discovery § 4)."""
        office = self.office
        scopes: set[str] = set()
        if not callable(office.resources):
            scopes.update(scope for each in office.resources for scope in each.scopes)
        special = [OFFLINE, *([OPENID] if office.downstream else [])]
        jags = any(each.people for each in office.trusted.values())
        metadata = AuthorizationServer(
            issuer=office.url,
            authorization_endpoint=office.place("authorize"),
            token_endpoint=office.place("token"),
            registration_endpoint=office.place("register") if office.registration else None,
            revocation_endpoint=office.place("revoke"),
            introspection_endpoint=office.place("introspect"),
            jwks_uri=office.place("jwks"),
            scopes_supported=[*sorted(scopes), *special],
            response_types_supported=["code"],
            response_modes_supported=["query"],
            grant_types_supported=list(GRANTS),
            token_endpoint_auth_methods_supported=_CLIENT_AUTH,
            token_endpoint_auth_signing_alg_values_supported=list(ASYMMETRIC),
            revocation_endpoint_auth_methods_supported=_CLIENT_AUTH,
            introspection_endpoint_auth_methods_supported=_CLIENT_AUTH[1:],
            code_challenge_methods_supported=["S256"],
            authorization_response_iss_parameter_supported=True,
            client_id_metadata_document_supported=office.documents,
            dpop_signing_alg_values_supported=list(ALGORITHMS),
            authorization_grant_profiles_supported=[ID_JAG_PROFILE] if jags else None,
        )
        plain: dict[str, Any] = msgspec.to_builtins(metadata)
        openid = {
            **plain,
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        }
        return {
            SERVER_PATH + office.path: plain,
            OPENID_PATH + office.path: openid,
            office.path + OPENID_PATH: openid,
        }

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            event = await receive()
            name = event["type"].removeprefix("lifespan.")
            try:
                await (self.start() if name == "startup" else self.stop())
            except Exception as error:
                # The boundary: an HTTP server wants to be told, not raised at.
                log.exception("the issuer failed at %s", name)
                await send({"type": f"lifespan.{name}.failed", "message": str(error)})
                return
            await send({"type": f"lifespan.{name}.complete"})
            if name == "shutdown":
                return


async def _body(receive: Receive) -> bytes | Response | None:
    """The body of a request; what is answered if it is too much, None if the client left."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                event = await receive()
                if event["type"] == "http.disconnect":
                    return None
                body += event.get("body", b"")
                if len(body) > BODY_LIMIT:
                    why = f"At most {BODY_LIMIT} bytes are taken"
                    return _last(Refused("invalid_request", why, 413))
                if not event.get("more_body"):
                    return bytes(body)
    except TimeoutError:
        return _last(Refused("invalid_request", "The body took too long", 408))


def _last(refused: Refused) -> Response:
    # The rest of the body is not read, so nothing can follow it.
    refused.headers += ((b"connection", b"close"),)
    return refusal(refused)


def _headers(response: Response) -> list[Header]:
    return [*response.headers, length(response.body)]


def _readable(response: Response) -> Response:
    """Let pages of any origin read a response: it depends on no cookie."""
    return msgspec.structs.replace(response, headers=(*response.headers, *_CORS))


def _allow(method: str) -> tuple[Header, ...]:
    return ((b"allow", method.encode()),)


def _not_allowed(method: str) -> Response:
    why = {"error": "invalid_request", "error_description": f"This endpoint takes {method}"}
    return _readable(answer(why, 405, _allow(method)))


def _unavailable(why: str) -> Response:
    return refusal(Refused("temporarily_unavailable", why, 503))
