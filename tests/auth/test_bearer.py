"""Who is let in, and what whoever is not is told. No request of these has a body: none was read."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from tests.auth.tokens import ISSUER, NOW, RESOURCE
from tests.spec.marking import requirement

from interlock.auth import bearer as room
from interlock.auth.bearer import Bearer
from interlock.auth.challenge import Challenge, parse
from interlock.auth.dpop import prove
from interlock.auth.jwt import SigningKey
from interlock.auth.settings import AuthSettings
from interlock.auth.verifiers import StaticVerifier
from interlock.errors import ConnectFailed, StoreError
from interlock.protocol.call import Principal
from interlock.protocol.gate import AccessToken, Denial, Gate
from interlock.protocol.sealing import Keyring
from interlock.store.memory import MemoryStore
from interlock.testing.clock import Clock

KEY = SigningKey.generate()
PLACE = "https://api.example.com/.well-known/oauth-protected-resource/mcp"
TOKENS = {
    "good": AccessToken("good", "editor", ["read"], NOW + 600, subject="ada", issuer=ISSUER),
    "more": AccessToken("more", "editor", ["read", "write"], subject="ada", issuer=ISSUER),
    "poor": AccessToken("poor", "editor", [], subject="ada", issuer=ISSUER),
    "late": AccessToken("late", "editor", ["read"], NOW, subject="ada"),
    "lenient": AccessToken("lenient", "editor", ["read"], NOW - 1, subject="a", leeway=60),
    "elsewhere": AccessToken("elsewhere", "editor", ["read"], resource="https://other.example"),
    "here": AccessToken("here", "editor", ["read"], resource="https://API.example.com/mcp/"),
    "nobody": AccessToken("nobody", scopes=["read"]),
    "claims": AccessToken(
        "claims", "editor", "read write", claims={"sub": "ada", "iss": ISSUER, "x": 1}
    ),
    "bound": AccessToken("bound", "editor", ["read"], subject="ada", jkt=KEY.thumbprint),
    "tls": AccessToken("tls", "editor", ["read"], claims={"cnf": {"x5t#S256": "bwcK0esc3ACC"}}),
    "signed.by.issuer": AccessToken("", "editor", ["read"], subject="ada", jkt=KEY.thumbprint),
    "a.signed.one": AccessToken("a.signed.one", "editor", ["read"], subject="ada"),
    "odd": AccessToken("odd", "editor", ["read"], claims={"cnf": {"jkt": 7}}),
}


class Counting:
    """Knows the tokens, and how often it was asked; fails with *fault* if there is one."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.closed = 0
        self.fault: Exception | None = None
        self.taken_back: set[str] = set()
        self._known = StaticVerifier(TOKENS)

    async def verify_token(self, token: str) -> AccessToken | None:
        self.asked.append(token)
        if self.fault is not None:
            raise self.fault
        return None if token in self.taken_back else await self._known.verify_token(token)

    async def close(self) -> None:
        self.closed += 1


class Place:
    """A gate, and a client before it."""

    def __init__(self, *, table: bool = False, **settings: Any) -> None:
        self.clock = Clock(NOW)
        self.verifier = Counting()
        settings = {
            "issuer_url": ISSUER,
            "resource_server_url": RESOURCE,
            "required_scopes": ["read"],
            **settings,
        }
        self.gate = Bearer(
            AuthSettings(**settings),
            self.verifier,
            offered=lambda: ["write"],
            table=MemoryStore().table("proofs") if table else None,
            clock=self.clock,
            keyring=Keyring(clock=self.clock),
        )

    async def come(
        self,
        *values: str,
        method: str = "POST",
        path: str = "/mcp",
        query: bytes = b"",
        proofs: tuple[str, ...] = (),
    ) -> Principal | Denial:
        headers = [(b"host", b"x"), *((b"authorization", each.encode()) for each in values)]
        headers += [(b"dpop", each.encode()) for each in proofs]
        return await self.gate.admit(method, path, query, headers)

    async def enter(self, value: str, **options: Any) -> Principal:
        found = await self.come(value, **options)
        assert isinstance(found, Principal), found
        return found

    async def fail(self, *values: str, **options: Any) -> tuple[int, Challenge]:
        """The status, and the challenge of the last scheme."""
        found = await self.come(*values, **options)
        assert isinstance(found, Denial), found
        return found.status, challenges(found)[-1]

    def proof(self, token: str = "bound", url: str = RESOURCE, **options: Any) -> str:
        options = {"method": "POST", "now": self.clock(), "key": KEY, **options}
        key, method = options.pop("key"), options.pop("method")
        return prove(key, method, url, token=token, **options)


def challenges(denial: Denial) -> list[Challenge]:
    return parse(value.decode() for name, value in denial.headers if name == b"www-authenticate")


def test_it_is_a_gate():
    assert isinstance(Place().gate, Gate)


async def test_a_good_token_says_who_comes():
    principal = await Place().enter("Bearer good")
    assert principal == Principal("ada", ISSUER, "editor")
    assert principal.scopes == {"read"}
    assert principal.expires_at == NOW + 600


@pytest.mark.parametrize("value", ["bearer good", "BEARER  good", "Bearer good  "])
async def test_the_scheme_is_read_as_http_has_it(value: str):
    await Place().enter(value)


@requirement("RS9-02", "RS9-03")
async def test_who_has_no_token_is_told_where_to_learn_how_to_get_one():
    status, challenge = await Place().fail()
    assert (status, challenge.scheme) == (401, "bearer")
    assert challenge.parameters == {"resource_metadata": PLACE, "scope": "read"}


@requirement("RS9-04")
@pytest.mark.parametrize(
    "values",
    [
        ("Bearer good", "Bearer good"),
        ("Bearer",),
        ("Bearer ",),
        ("",),
        ("good",),
        ("Bearer good more",),
        ("Bearer good,more",),
        ("Bearer caf\u00e9",),
        ("Bearer " + "x" * 20_000,),
    ],
)
async def test_what_is_no_credential_is_malformed(values: tuple[str, ...]):
    place = Place()
    status, challenge = await place.fail(*values)
    assert (status, challenge.parameters["error"]) == (400, "invalid_request")
    assert not place.verifier.asked


@requirement("RS9-09")
async def test_a_token_in_a_url_is_refused_even_beside_a_good_one():
    place = Place()
    for values in [(), ("Bearer good",)]:
        status, challenge = await place.fail(*values, query=b"a=1&access_token=good")
        assert (status, challenge.parameters["error"]) == (400, "invalid_request")
        assert "good" not in challenge.parameters["error_description"]
    await place.enter("Bearer good", query=b"page_token=1&access_tokens=2")


async def test_another_scheme_is_as_good_as_none():
    status, challenge = await Place().fail("Basic YTpi")
    assert (status, "error" in challenge.parameters) == (401, False)


@requirement("RS9-04", "RS9-08")
@pytest.mark.parametrize("token", ["bad", "late", "elsewhere", "nobody"])
async def test_a_token_that_is_not_good_here_is_invalid(token: str):
    place = Place()
    status, challenge = await place.fail(f"Bearer {token}")
    assert (status, challenge.parameters["error"]) == (401, "invalid_token")
    assert challenge.parameters["resource_metadata"] == PLACE
    assert await place.fail(f"Bearer {token}") == (status, challenge)


@pytest.mark.parametrize("token", ["here", "lenient", "claims"])
async def test_a_token_may_be_good_in_several_ways(token: str):
    await Place().enter(f"Bearer {token}")


async def test_what_a_verifier_leaves_to_claims_is_read_there():
    principal = await Place().enter("Bearer claims")
    assert principal == Principal("ada", ISSUER, "editor")
    assert principal.scopes == {"read", "write"}


@requirement("RS9-04", "RS9-05")
async def test_who_lacks_a_scope_that_everybody_needs_is_told_which():
    status, challenge = await Place().fail("Bearer poor")
    assert status == 403
    assert challenge.parameters["error"] == "insufficient_scope"
    assert challenge.scopes == ("read",)
    assert challenge.parameters["resource_metadata"] == PLACE


@requirement("RS9-05", "RS9-07")
async def test_who_needs_more_is_told_to_ask_for_that_and_what_they_have():
    place = Place(implies={"admin": ["files:write", "read"]})
    denial = place.gate.short(Principal("ada", scopes=frozenset({"read", "x"})), ["files:write"])
    (challenge,) = challenges(denial)
    assert denial.status == 403
    assert challenge.parameters["error"] == "insufficient_scope"
    assert challenge.scopes == ("files:write", "read", "x")
    held = frozenset({"admin", "files:write", "read", "offline_access"})
    (challenge,) = challenges(place.gate.short(Principal("ada", scopes=held), ["y"]))
    assert challenge.scopes == ("admin", "y")


async def test_what_is_told_has_bounds():
    many = frozenset(f"scope{number}" for number in range(1000))
    (challenge,) = challenges(Place().gate.short(Principal("ada", scopes=many), ["y"]))
    assert challenge.scopes == ("y",)


@requirement("RS9-06")
async def test_a_scope_that_implies_others_lets_in_for_them():
    place = Place(required_scopes=["list"], implies={"write": ["read"], "read": ["list"]})
    principal = await place.enter("Bearer more")
    assert principal.scopes == {"read", "write", "list"}


async def test_a_good_token_is_verified_once_and_not_beyond_its_end():
    place = Place(remember=1000)
    for _ in range(3):
        first = await place.enter("Bearer good")
        assert await place.enter("Bearer good") is first
    assert place.verifier.asked == ["good"]
    place.clock.turn(599)
    await place.enter("Bearer good")
    place.clock.turn(1)
    status, challenge = await place.fail("Bearer good")
    assert (status, challenge.parameters["error"]) == (401, "invalid_token")


async def test_a_token_is_asked_about_again_when_it_may_have_been_revoked():
    place = Place(remember=30)
    await place.enter("Bearer more")
    place.clock.turn(30)
    await place.enter("Bearer more")
    assert len(place.verifier.asked) == 2
    place = Place(remember=0)
    await place.enter("Bearer more")
    await place.enter("Bearer more")
    assert len(place.verifier.asked) == 2


async def test_a_signed_token_is_asked_about_again_where_it_was_asked_about():
    """Many issuers sign what they also take back: whoever asks them is to hear of it."""
    place = Place(remember=30)
    await place.enter("Bearer a.signed.one")
    place.clock.turn(30)
    place.verifier.taken_back.add("a.signed.one")
    status, _ = await place.fail("Bearer a.signed.one")
    assert status == 401


async def test_a_proof_is_for_the_token_that_came_whatever_its_verifier_calls_it():
    place = Place(dpop="allowed")
    token = "signed.by.issuer"
    await place.enter(f"DPoP {token}", proofs=(place.proof(token),))
    status, challenge = await place.fail(f"DPoP {token}", proofs=(place.proof(""),))
    assert (status, challenge.parameters["error"]) == (401, "invalid_dpop_proof")


async def test_what_is_remembered_has_bounds(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(room, "REMEMBERED", 2)
    place = Place()
    for token in ("good", "more", "here", "good"):
        await place.enter(f"Bearer {token}")
    assert place.verifier.asked == ["good", "more", "here", "good"]


@pytest.mark.parametrize(
    "fault", [ConnectFailed("nobody there"), TimeoutError(), StoreError("locked"), KeyError("bug")]
)
async def test_when_nobody_can_say_whether_a_token_is_good_it_is_not_called_bad(
    fault: Exception, caplog: pytest.LogCaptureFixture
):
    place = Place()
    place.verifier.fault = fault
    with caplog.at_level(logging.WARNING, "interlock.auth"):
        denial = await place.come("Bearer secret")
    assert isinstance(denial, Denial)
    assert denial.status == 503
    assert dict(denial.headers) == {b"retry-after": b"5"}
    assert caplog.records
    assert "secret" not in caplog.text
    place.verifier.fault = None
    await place.enter("Bearer good")


@requirement("RS9-01", "RS9-02", "AU-02")
async def test_its_documents_say_who_lets_whom_in_here():
    place = Place(resource_name="Files", service_documentation_url="https://docs.example.com")
    documents = place.gate.documents
    assert set(documents) == {
        "/.well-known/oauth-protected-resource/mcp",
        "/.well-known/oauth-protected-resource",
    }
    for document in documents.values():
        assert json.loads(document) == {
            "resource": RESOURCE,
            "authorization_servers": [ISSUER],
            "scopes_supported": ["read", "write"],
            "bearer_methods_supported": ["header"],
            "resource_name": "Files",
            "resource_documentation": "https://docs.example.com",
        }


async def test_which_scopes_there_are_may_be_said_otherwise():
    (document, _) = Place(scopes_supported=["read"]).gate.documents.values()
    assert json.loads(document)["scopes_supported"] == ["read"]


async def test_its_end_is_its_verifiers_and_it_may_begin_again():
    place = Place()
    await place.gate.start()
    await place.enter("Bearer good")
    await place.gate.stop()
    assert place.verifier.closed == 1
    await place.gate.start()
    await place.enter("Bearer good")
    assert place.verifier.asked == ["good", "good"]


async def test_nothing_of_it_shows_a_token():
    place = Place()
    await place.enter("Bearer good")
    assert "good" not in repr(place.gate)


# Proofs of possession.


@requirement("XD-03")
async def test_a_bound_token_lets_in_with_a_proof():
    place = Place(dpop="allowed")
    for _ in range(3):
        principal = await place.enter("DPoP bound", proofs=(place.proof(),))
        assert principal.subject == "ada"
    assert place.verifier.asked == ["bound"]
    await place.enter("Bearer good")


async def test_both_schemes_are_offered_where_both_are_taken():
    denial = await Place(dpop="allowed").come()
    assert isinstance(denial, Denial)
    first, second = challenges(denial)
    assert (first.scheme, second.scheme) == ("bearer", "dpop")
    assert first.parameters == {"resource_metadata": PLACE, "scope": "read"}
    assert "ES256" in second.parameters["algs"].split()


@requirement("XD-03")
async def test_a_proof_is_for_one_request():
    place = Place(dpop="allowed")
    used = place.proof()
    await place.enter("DPoP bound", proofs=(used,))
    stranger = SigningKey.generate()
    bad: list[tuple[str, ...]] = [
        (),
        (used,),
        (place.proof(), place.proof()),
        ("nonsense",),
        (place.proof(method="GET"),),
        (place.proof(url="https://api.example.com/other"),),
        (place.proof(url="https://evil.example/mcp"),),
        (place.proof(token="other"),),
        (place.proof(now=NOW - 301),),
        (place.proof(now=NOW + 301),),
        (place.proof(key=stranger),),
    ]
    for proofs in bad:
        status, challenge = await place.fail("DPoP bound", proofs=proofs)
        assert (status, challenge.scheme) == (401, "dpop")
        expected = "invalid_token" if proofs == bad[-1] else "invalid_dpop_proof"
        assert challenge.parameters["error"] == expected, proofs


async def test_a_proof_may_name_another_path_that_is_served_beside_the_resource():
    place = Place(dpop="allowed")
    proof = place.proof(url="https://api.example.com/sse", method="GET")
    await place.enter("DPoP bound", method="GET", path="/sse", proofs=(proof,))
    proof = place.proof(url="https://api.example.com/sse", method="GET")
    status, _ = await place.fail("DPoP bound", method="GET", path="/mcp", proofs=(proof,))
    assert status == 401


async def test_behind_a_proxy_a_proof_names_what_its_client_wrote():
    place = Place(dpop="allowed")
    await place.enter("DPoP bound", path="/inner/mcp", proofs=(place.proof(),))


@requirement("XD-03")
@pytest.mark.parametrize(
    ("value", "dpop"),
    [
        ("Bearer bound", "off"),
        ("Bearer bound", "allowed"),
        ("Bearer bound", "required"),
        ("DPoP good", "allowed"),
        ("Bearer good", "required"),
    ],
)
async def test_a_token_comes_as_what_it_is(value: str, dpop: str):
    place = Place(dpop=dpop)
    status, challenge = await place.fail(value, proofs=(place.proof(),))
    assert (status, challenge.parameters["error"]) == (401, "invalid_token")


@pytest.mark.parametrize("token", ["tls", "odd"])
@pytest.mark.parametrize("dpop", ["off", "allowed", "required"])
async def test_a_token_bound_to_what_is_not_proven_here_lets_nobody_in(token: str, dpop: str):
    """RFC 8705 § 3: whoever has one that is bound to a certificate has to show that."""
    status, challenge = await Place(dpop=dpop).fail(f"Bearer {token}")
    assert (status, challenge.parameters["error"]) == (401, "invalid_token")


async def test_where_proofs_are_not_taken_the_scheme_is_none():
    place = Place()
    status, challenge = await place.fail("DPoP bound", proofs=(place.proof(),))
    assert (status, challenge.scheme) == (401, "bearer")


@requirement("XD-03")
async def test_a_proof_needs_a_fresh_nonce_where_those_are_wanted():
    place = Place(dpop="required", dpop_nonces=True)

    async def refused(nonce: str | None) -> str:
        denial = await place.come("DPoP bound", proofs=(place.proof(nonce=nonce),))
        assert isinstance(denial, Denial)
        assert challenges(denial)[-1].parameters["error"] == "use_dpop_nonce"
        assert denial.status == 401
        return dict(denial.headers)[b"dpop-nonce"].decode()

    nonce = await refused(None)
    await place.enter("DPoP bound", proofs=(place.proof(nonce=nonce),))
    await place.enter("DPoP bound", proofs=(place.proof(nonce=nonce),))
    await refused("forged")
    place.clock.turn(room.NONCE_SECONDS + 1)
    await refused(nonce)


@requirement("XD-03")
async def test_a_proof_is_taken_once_by_all_who_share_a_table():
    table = MemoryStore().table("proofs")
    places = [Place(dpop="allowed"), Place(dpop="allowed")]
    for place in places:
        place.gate = Bearer(place.gate.settings, place.verifier, table=table, clock=place.clock)
    proof = places[0].proof()
    await places[0].enter("DPoP bound", proofs=(proof,))
    status, challenge = await places[1].fail("DPoP bound", proofs=(proof,))
    assert (status, challenge.parameters["error"]) == (401, "invalid_dpop_proof")


async def test_its_documents_say_that_proofs_are_needed():
    (document, _) = Place(dpop="required").gate.documents.values()
    said = json.loads(document)
    assert said["dpop_bound_access_tokens_required"] is True
    assert "ES256" in said["dpop_signing_alg_values_supported"]
