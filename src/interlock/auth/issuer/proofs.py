"""DPoP at the token endpoint (RFC 9449 § 5): which key a token is to be bound to."""

from __future__ import annotations

from typing import Final

from interlock.auth.dpop import WINDOW, Proof, check
from interlock.auth.issuer.office import Office
from interlock.auth.issuer.requests import Request
from interlock.auth.issuer.responses import Refused
from interlock.auth.jwt import BadToken
from interlock.protocol.sealing import Unsealed
from interlock.transport.http.plain import Header

NONCE_SECONDS: Final = 300.0
_NONCE: Final = b"interlock dpop nonce"


def proven(office: Office, request: Request) -> Proof | None:
    """What the proof of *request* proves; None if it has none.

    Whether it came before is `spend`'s to say, once the rest of the request has turned out good:
    else strangers could fill up what is remembered.
    """
    proof = request.header("dpop")
    if proof is None:
        return None
    try:
        found = check(proof, request.method, office.place("token"), now=office.clock())
    except BadToken as error:
        raise Refused("invalid_dpop_proof", f"The proof does not hold. {error}") from None
    if office.dpop_nonces:
        try:
            office.keys.sealing.open(found.nonce or "", bound=_NONCE)
        except Unsealed:
            raise Refused(
                "use_dpop_nonce",
                "The proof needs the nonce of the header DPoP-Nonce",
                headers=[nonce(office)],
            ) from None
    return found


async def spend(office: Office, proof: Proof | None) -> None:
    """Raise `Refused` if a proof was used before."""
    if proof is None:
        return
    # It could come as long as its time allows, on either side of now.
    if not await office.once("proof", proof.thumbprint, proof.id, ttl=2 * WINDOW + 1):
        raise Refused("invalid_dpop_proof", "The proof was used before; make one for each request")


def nonce(office: Office) -> Header:
    """What proofs are to contain from now on."""
    text = office.keys.sealing.seal(b"", bound=_NONCE, ttl=NONCE_SECONDS)
    return b"dpop-nonce", text.encode()
