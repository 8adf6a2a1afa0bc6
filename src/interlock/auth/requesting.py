"""Token requests: what every grant sends alike, and what comes of it (RFC 6749 §§ 3.2, 5)."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal, cast
from urllib.parse import quote_plus, urlencode

import msgspec
from msgspec import Struct

from interlock.auth import dpop
from interlock.auth.jwt import SigningKey, letters
from interlock.auth.metadata import ASSERTION_TYPE, ClientAuth, Registered, origin
from interlock.auth.steps import Answer, Conversation, Fetch
from interlock.errors import AuthorizationFailed

TOKEN_LIMIT: Final = 16 * 1024
ASSERTION_SECONDS: Final = 120
_TOKEN: Final = re.compile(r"[\x21-\x7e]+")
_FORM: Final = "application/x-www-form-urlencoded"
_SHOWN: Final = 200
_SHORTEST_SECRET: Final = 4
"""Characters: what is shorter tells nothing, and stands in every other word."""
_SECRET: Final = (
    "assertion",
    "client_assertion",
    "client_secret",
    "code",
    "code_verifier",
    "refresh_token",
    "subject_token",
    "token",
)
_PROOFS: Final = ("authorization", "dpop")
_SECONDS: Final = re.compile(r"[0-9]{1,12}")
_SCOPE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,256}")
SCOPES_AT_MOST: Final = 100


class Tokens(Struct, frozen=True):
    """What a token endpoint gave. *expires_at* is Unix time, None where it did not say; *scopes*
    are None where they are what was asked for.
    """

    access_token: str
    token_type: Literal["Bearer", "DPoP"] = "Bearer"
    expires_at: float | None = None
    refresh_token: str | None = None
    scopes: tuple[str, ...] | None = None

    def __repr__(self) -> str:
        return f"Tokens({self.token_type}, expires_at={self.expires_at})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("token_type", self.token_type), ("expires_at", self.expires_at)]


class Counter:
    """The token endpoint of one issuer, as one client comes to it.

    *key* signs assertions (private_key_jwt), *proof* DPoP proofs, if tokens are to be bound to it.
    *nonces* are the newest that servers gave for proofs, by origin; they are written there.
    """

    def __init__(
        self,
        issuer: str,
        endpoint: str,
        client: Registered | None,
        method: ClientAuth,
        *,
        clock: Callable[[], float],
        key: SigningKey | None = None,
        proof: SigningKey | None = None,
        nonces: dict[str, str] | None = None,
    ) -> None:
        self.issuer = issuer
        self.endpoint = endpoint
        self._client = client
        self._method = method
        self._key = key
        self._proof = proof
        self._nonces = nonces if nonces is not None else {}
        self._clock = clock

    def request(
        self, form: Mapping[str, str | None], *, issued: str | None = None
    ) -> Conversation[Tokens]:
        """Ask for tokens with *form*, to which the client's own proof is added.

        *issued* is the type of what is asked for where that is no access token (RFC 8693). Raises
        `AuthorizationFailed` with OAuth's word for why. Nothing is tried twice, except where the
        endpoint wants a nonce first.
        """
        fields = {name: value for name, value in form.items() if value is not None}
        answer, secrets = yield from self._send(fields)
        if self._wants_nonce(answer):
            answer, secrets = yield from self._send(fields)
        if answer.status == 0:
            raise unreached(self.endpoint, answer)
        if answer.status != 200:
            raise refused(self.endpoint, answer, secrets)
        return self._read(answer, issued)

    def revoke(self, endpoint: str, token: str) -> Conversation[None]:
        """Have a token forgotten where it came from, and whatever came of it (RFC 7009)."""
        answer, secrets = yield from self._send({"token": token}, endpoint)
        if answer.status == 0:
            raise unreached(endpoint, answer)
        if answer.status != 200:
            raise refused(endpoint, answer, secrets)

    def _send(
        self, fields: Mapping[str, str], endpoint: str | None = None
    ) -> Conversation[tuple[Answer, list[str]]]:
        """What came of *fields*, and what of all that was sent is to be shown to nobody."""
        endpoint = endpoint or self.endpoint
        headers = {"accept": "application/json", "content-type": _FORM}
        body = dict(fields)
        client = self._client
        if client is not None:
            if client.client_id:
                # Beside the header too, where it says nothing new: some look for it there alone.
                body["client_id"] = client.client_id
            if self._method == "client_secret_basic":
                headers["authorization"] = basic(client.client_id, client.client_secret or "")
            elif self._method == "client_secret_post":
                body["client_secret"] = client.client_secret or ""
            elif self._method == "private_key_jwt":
                body["client_assertion_type"] = ASSERTION_TYPE
                body["client_assertion"] = self._assertion(client.client_id)
        if self._proof is not None and endpoint == self.endpoint:
            headers["dpop"] = dpop.prove(
                self._proof,
                "POST",
                endpoint,
                now=self._clock(),
                nonce=self._nonces.get(origin(endpoint)),
            )
        answer = yield Fetch("POST", endpoint, headers, urlencode(body).encode())
        assert isinstance(answer, Answer)
        if nonce := dpop.usable_nonce(answer.headers.get("dpop-nonce")):
            self._nonces[origin(endpoint)] = nonce
        secrets = [value for name, value in body.items() if name in _SECRET]
        secrets += [headers[name].rpartition(" ")[2] for name in _PROOFS if name in headers]
        return answer, secrets

    def _wants_nonce(self, answer: Answer) -> bool:
        return (
            self._proof is not None
            and answer.status in (400, 401)
            and dpop.usable_nonce(answer.headers.get("dpop-nonce")) is not None
            and _fields(answer.body).get("error") == "use_dpop_nonce"
        )

    def _assertion(self, client_id: str) -> str:
        """We are who we say, signed: for this issuer, for a moment (RFC 7523 § 3)."""
        if self._key is None:
            raise AuthorizationFailed(
                f"{self.issuer} wants a signed assertion, and there is no key"
            )
        now = int(self._clock())
        return self._key.sign(
            {
                "iss": client_id,
                "sub": client_id,
                "aud": self.issuer,
                "iat": now,
                "exp": now + ASSERTION_SECONDS,
                "jti": letters(os.urandom(16)),
            },
            typ="JWT",
        )

    def _read(self, answer: Answer, issued: str | None) -> Tokens:
        fields = _fields(answer.body)
        where = self.endpoint
        if issued is not None and fields.get("issued_token_type") != issued:
            raise AuthorizationFailed(f"{where} gave something else than the {issued} asked for")
        token = fields.get("access_token")
        if not _is_token(token):
            raise AuthorizationFailed(f"{where} gave no access token that can be sent")
        kind = str(fields.get("token_type", "")).lower()
        if kind not in (("bearer", "dpop") if issued is None else ("n_a", "bearer")):
            raise AuthorizationFailed(f"{where} gave a token of a type that is not known here")
        if self._proof is not None and kind != "dpop":
            raise AuthorizationFailed(
                f"{where} gave a token that is not bound to our key, though it says that it can"
            )
        if kind == "dpop" and self._proof is None:
            raise AuthorizationFailed(
                f"{where} bound its token to a key that was never shown to it"
            )
        refresh = fields.get("refresh_token")
        if refresh is not None and not _is_token(refresh):
            raise AuthorizationFailed(f"{where} gave a refresh token that cannot be sent")
        expires_in = fields.get("expires_in")
        if isinstance(expires_in, str) and _SECONDS.fullmatch(expires_in):
            expires_in = int(expires_in)  # Some write a string.
        seconds = None
        if isinstance(expires_in, int | float) and not isinstance(expires_in, bool):
            seconds = float(min(max(expires_in, 0), 10 * 365 * 86400))
        scope = fields.get("scope")
        return Tokens(
            cast("str", token),
            "DPoP" if kind == "dpop" else "Bearer",
            None if seconds is None else self._clock() + seconds,
            cast("str | None", refresh),
            usable_scopes(scope.split()) if isinstance(scope, str) else None,
        )


def usable_scopes(scopes: Iterable[str]) -> tuple[str, ...]:
    """Those of *scopes* that are some (RFC 6749 § 3.3), each once, and not more than reasonable."""
    found = dict.fromkeys(each for each in scopes if _SCOPE.fullmatch(each))
    return tuple(found)[:SCOPES_AT_MOST]


def unreached(place: str, answer: Answer) -> AuthorizationFailed:
    """What it means that nobody answers at *place*."""
    return AuthorizationFailed(f"{place} cannot be reached: {answer.body.decode(errors='replace')}")


def refused(place: str, answer: Answer, secrets: list[str]) -> AuthorizationFailed:
    """What an OAuth error means, in the peer's words as far as they can be shown."""
    fields = _fields(answer.body)
    error = fields.get("error")
    word = error if isinstance(error, str) and re.fullmatch(r"[\x21-\x7e]{1,64}", error) else None
    if word is not None and shown(word, secrets) != word:
        word = None
    text = f"{place} refused with {word or f'HTTP {answer.status}'}"
    description = fields.get("error_description")
    if isinstance(description, str) and description:
        text += f": {shown(description, secrets)}"
    return AuthorizationFailed(text, word)


def shown(text: str, secrets: list[str]) -> str:
    """A peer's words, without what only we and it should know, and nothing that moves a cursor."""
    for secret in secrets:
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, "…").replace(quote_plus(secret), "…")
    return "".join(each if each.isprintable() else " " for each in text)[:_SHOWN]


def basic(client_id: str, secret: str) -> str:
    """Both encoded as forms are before they are joined (RFC 6749 § 2.3.1)."""
    pair = f"{quote_plus(client_id)}:{quote_plus(secret)}"
    return "Basic " + base64.b64encode(pair.encode()).decode()


def _is_token(value: Any) -> bool:
    return (
        isinstance(value, str) and len(value) <= TOKEN_LIMIT and _TOKEN.fullmatch(value) is not None
    )


def _fields(body: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}
