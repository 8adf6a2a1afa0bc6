"""The gate of a protected resource: an access token in each request, found good before anything else.

How a token comes is RFC 6750, with a proof RFC 9449; what is said to whoever has none, RFC 9728 and
2026-07-28 § Authorization. What a token says is its verifier's to know.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final
from urllib.parse import parse_qsl, quote, urlsplit

import msgspec
from msgspec import Struct

from interlock.auth.challenge import written
from interlock.auth.dpop import ALGORITHMS, check
from interlock.auth.jwt import SIZE_LIMIT, BadToken, peek
from interlock.auth.metadata import RESOURCE_PATH, ProtectedResource, origin, well_known
from interlock.auth.replay import Seen
from interlock.auth.settings import AuthSettings
from interlock.auth.verifiers import JwtVerifier, meant_for
from interlock.errors import ConfigError, PeerError, StoreError
from interlock.protocol.call import Principal
from interlock.protocol.gate import AccessToken, Admission, Denial, RawHeaders, TokenVerifier
from interlock.protocol.sealing import Keyring, Unsealed
from interlock.store.ports import Table

log: Final = logging.getLogger("interlock.auth")

REMEMBERED: Final = 10_000
"""How many tokens that were found good are remembered."""
SIGNED_SECONDS: Final = 300.0
"""For how long a token is remembered at most whose signature is all there is to it: nobody is asked
about it anyway."""
NONCE_SECONDS: Final = 300.0
"""How long a nonce for proofs is good."""
_SCOPES_LIMIT: Final = 2048
"""Characters of a challenge that scopes may take; beyond them only what is needed is said."""

_CREDENTIALS: Final = re.compile(rb"([A-Za-z]+) +([A-Za-z0-9\-._~+/]+=*) *")
"""A scheme, and a token as RFC 6750 § 2.1 has it."""
_NONCE: Final = b"interlock dpop nonce"


class _Known(Struct, frozen=True):
    """A token that was found good, and until when it need not be verified again."""

    principal: Principal
    until: float
    token: str
    jkt: str | None

    def __repr__(self) -> str:
        return "_Known(…)"

    def __rich_repr__(self) -> list[tuple[str, str]]:
        return []


class Bearer:
    """A `Gate` that lets in who brings a good access token.

    *offered* gives the scopes that what is behind it needs, to be told to clients. With a *table*,
    which other processes may share, no proof is taken twice by any of them; with a *keyring* they
    share nonces.
    """

    def __init__(
        self,
        settings: AuthSettings,
        verifier: TokenVerifier,
        *,
        offered: Callable[[], Iterable[str]] = tuple,
        table: Table | None = None,
        keyring: Keyring | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings
        self._verifier = verifier
        # Others may ask about a token though it is signed, and hear that it was revoked.
        self._remember = settings.remember
        if isinstance(verifier, JwtVerifier):
            self._remember = max(settings.remember, SIGNED_SECONDS)
        self._offered = offered
        self._keyring = keyring if keyring is not None else Keyring(clock=clock)
        self._clock = clock
        self._origin = origin(settings.resource)
        self._path = urlsplit(settings.resource).path
        self._place = well_known(settings.resource, RESOURCE_PATH)
        self._known: dict[bytes, _Known] = {}
        self._seen = Seen(table, clock=clock)

    def __repr__(self) -> str:
        return f"Bearer({self.settings.resource!r})"

    @property
    def resource(self) -> str:
        return self.settings.resource

    @property
    def documents(self) -> Mapping[str, bytes]:
        settings = self.settings
        supported = settings.supported
        if supported is None:
            supported = settings.required.union(self._offered())
        takes = settings.dpop != "off"
        document = msgspec.json.encode(
            ProtectedResource(
                resource=settings.resource,
                authorization_servers=list(settings.issuers),
                scopes_supported=sorted(supported) or None,
                bearer_methods_supported=["header"],
                resource_name=settings.resource_name,
                resource_documentation=settings.documentation,
                dpop_signing_alg_values_supported=list(ALGORITHMS) if takes else None,
                dpop_bound_access_tokens_required=settings.dpop == "required" or None,
            )
        )
        return {urlsplit(self._place).path: document, RESOURCE_PATH: document}

    async def admit(
        self, method: str, path: str, query: bytes, headers: RawHeaders
    ) -> Principal | Denial:
        given: bytes | None = None
        proofs: tuple[bytes, ...] = ()
        for name, value in headers:
            if name == b"authorization":
                if given is not None:
                    return self._refused(400, "invalid_request", "Two Authorization headers")
                given = value
            elif name == b"dpop":
                proofs = (*proofs, value)
        if query and _names_token(query):
            # It would stand in logs and histories (RFC 6750 § 2.3, 2026-07-28 § Authorization).
            why = "An access token belongs into the Authorization header, never into a URL"
            return self._refused(400, "invalid_request", why)
        if given is None:
            return self._refused(401, None, "An access token is needed: Authorization: Bearer …")
        known = self._known.get(given)
        if known is None or self._clock() >= known.until:
            found = await self._verified(given)
            if type(found) is Denial:
                return found
            known = found
        if known.jkt is None:
            return known.principal
        return await self._proven(known, method, path, proofs)

    def short(self, principal: Principal, scopes: Collection[str]) -> Denial:
        needed = frozenset(scopes)
        named = " ".join(sorted(needed))
        why = f"The access token does not allow this; it would need: {named}"
        # What it has as well: whoever asks for more is given what they ask for, and nothing else.
        whole = self.settings.reduce((principal.scopes or frozenset()) | needed) | needed
        shown = " ".join(sorted(whole - {"offline_access"}))
        return self._refused(
            403, "insufficient_scope", why, shown if len(shown) <= _SCOPES_LIMIT else named
        )

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        self._known.clear()
        close = getattr(self._verifier, "close", None)
        if close is not None:
            await close()

    async def _verified(self, given: bytes) -> _Known | Denial:
        """What the credentials of a request come to, if they are not remembered."""
        self._known.pop(given, None)
        match = _CREDENTIALS.fullmatch(given) if len(given) <= SIZE_LIMIT + 16 else None
        if match is None:
            why = "Authorization is not what is expected: Bearer and an access token"
            return self._refused(400, "invalid_request", why)
        scheme, token = match[1].lower(), match[2].decode()
        takes = self.settings.dpop
        if scheme not in (b"bearer", b"dpop") or (scheme == b"dpop" and takes == "off"):
            return self._refused(401, None, "This scheme is not taken here: use Bearer")
        try:
            found = await self._verifier.verify_token(token)
        except Exception as error:
            # The boundary: verifiers are other people's, and ask others. Whatever went wrong, it is
            # not known that the token is bad, and nobody comes in.
            if isinstance(error, PeerError | StoreError | OSError):
                log.warning("an access token cannot be verified: %s", error)
            else:
                log.exception("an access token cannot be verified")
            why = "Access tokens cannot be verified at the moment; try again"
            return Denial(503, why, ((b"retry-after", b"5"),))
        return self._judged(found, given, token, bound=scheme == b"dpop")

    def _judged(
        self, found: AccessToken | None, given: bytes, token: str, *, bound: bool
    ) -> _Known | Denial:
        settings, now = self.settings, self._clock()
        wrong = self._complaint(found, now, bound=bound)
        if found is None or wrong is not None:
            return self._refused(401, "invalid_token", wrong or _BAD)
        claimed = found.claims or {}
        # As claims have them, which verifiers may hand on as they came.
        scopes = found.scopes.split() if isinstance(found.scopes, str) else found.scopes
        issuer, subject = found.issuer or claimed.get("iss"), found.subject or claimed.get("sub")
        principal = Principal(
            subject if isinstance(subject, str) else "",
            issuer if isinstance(issuer, str) else "",
            found.client_id,
            settings.expand(scopes),
            found.expires_at,
        )
        if not principal.subject and not principal.client_id:
            return self._refused(401, "invalid_token", "The access token says of nobody who asks")
        if principal.lacks(settings.required):
            return self.short(principal, settings.required)
        until = now + self._remember
        if found.expires_at is not None:
            until = min(until, found.expires_at)
        known = _Known(principal, until, token, found.jkt)
        if settings.remember > 0 and until > now:
            while len(self._known) >= REMEMBERED:
                del self._known[next(iter(self._known))]
            self._known[given] = known
        return known

    def _complaint(self, found: AccessToken | None, now: float, *, bound: bool) -> str | None:
        """Why a token does not let in here, though its verifier may have found it good."""
        if found is None:
            return _BAD
        if found.expires_at is not None and now >= found.expires_at + found.leeway:
            return "The access token has expired"
        if found.resource is not None and not meant_for(found.resource, (self.resource,)):
            return "The access token is meant for another resource"
        if bound and found.jkt is None:
            return "The access token is bound to no key; send it as Bearer"
        if not bound and found.jkt is not None:
            # Whoever stole it would send it so (RFC 9449 § 7.2).
            return "The access token is bound to a key: send it as DPoP, with a proof"
        if found.jkt is None and (found.claims or {}).get("cnf") is not None:
            # To a certificate, say (RFC 8705 § 3): without proof of that whoever has it would come in.
            return "The access token is bound to what cannot be proven here (cnf)"
        if not bound and self.settings.dpop == "required":
            return "Only access tokens that are bound to a key are taken here (DPoP)"
        return None

    async def _proven(
        self, known: _Known, method: str, path: str, proofs: tuple[bytes, ...]
    ) -> Principal | Denial:
        """The holder of a bound token, if this request proves that it holds the key."""
        if len(proofs) != 1:
            return self._refused(401, _BAD_PROOF, "Exactly one DPoP header is expected: the proof")
        try:
            text = proofs[0].decode("ascii", "replace")
            proof = check(
                text,
                method,
                self._address(text, path),
                now=self._clock(),
                token=known.token,
            )
        except BadToken as error:
            return self._refused(401, _BAD_PROOF, str(error))
        if proof.thumbprint != known.jkt:
            why = "The proof is of another key than the access token is bound to"
            return self._refused(401, "invalid_token", why)
        if self.settings.dpop_nonces and not self._is_nonce(proof.nonce):
            nonce = self._keyring.seal(b"", bound=_NONCE, ttl=NONCE_SECONDS).encode()
            denial = self._refused(401, "use_dpop_nonce", "The proof needs the nonce given here")
            return Denial(401, denial.reason, (*denial.headers, (b"dpop-nonce", nonce)))
        try:
            first = await self._seen.first(proof)
        except StoreError as error:
            log.error("whether a proof is new cannot be looked up: %s", error)
            why = "Proofs cannot be looked up at the moment; try again"
            return Denial(503, why, ((b"retry-after", b"5"),))
        if not first:
            return self._refused(401, _BAD_PROOF, "The proof was used before")
        return known.principal

    def _address(self, proof: str, path: str) -> str:
        """The URL that a proof has to name: the resource's, or that of another path of its origin.

        What this process sees of a URL is often not what its client wrote, behind a proxy; the
        resource's own URL is known.
        """
        here = self._origin + quote(path)
        return here if peek(proof).text("htu") == here else self.resource

    def _is_nonce(self, nonce: str | None) -> bool:
        try:
            return nonce is not None and self._keyring.open(nonce, bound=_NONCE) == b""
        except Unsealed:
            return False

    def _refused(
        self, status: int, error: str | None, why: str, scope: str | None = None
    ) -> Denial:
        """A denial with its challenges: Bearer, and DPoP where that is taken."""
        if scope is None:
            scope = " ".join(sorted(self.settings.required)) or None
        said = {"error": error, "error_description": why if error is not None else None}
        common = {"resource_metadata": self._place, "scope": scope}
        of_proof = error in (_BAD_PROOF, "use_dpop_nonce")
        challenges = [written("Bearer", {**common, **({} if of_proof else said)})]
        if self.settings.dpop != "off":
            # The older scheme first: there are clients that read no further.
            more = {"algs": " ".join(ALGORITHMS), **said, **common}
            challenges.append(written("DPoP", more))
        header = ", ".join(challenges).encode("ascii", "replace")
        return Denial(status, why, ((b"www-authenticate", header),))


_BAD: Final = "The access token is not valid here, or not any more"
_BAD_PROOF: Final = "invalid_dpop_proof"


def _names_token(query: bytes) -> bool:
    return b"token" in query and any(
        name == "access_token" for name, _ in parse_qsl(query.decode("latin-1"), True)
    )


def gate_of(
    admission: Admission,
    verifier: TokenVerifier | None,
    *,
    offered: Callable[[], Iterable[str]],
    table: Table | None,
    keyring: Keyring,
) -> Bearer:
    """The gate that a server's `auth=` asks for; raises `ConfigError` for what is no `AuthSettings`.

    Without a *verifier* good tokens are those that one of its issuers has signed.
    """
    if not isinstance(admission, AuthSettings):
        raise ConfigError(f"auth= takes AuthSettings(…), not {type(admission).__name__}")
    verifier = verifier or JwtVerifier(admission.issuers, admission.resource)
    return Bearer(admission, verifier, offered=offered, table=table, keyring=keyring)
