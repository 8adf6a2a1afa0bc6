"""The authorization endpoint: a client sends a person's browser, and the person decides (RFC 6749
§ 4.1.1, RFC 7636, RFC 8707, RFC 9207).
"""

from __future__ import annotations

import logging
import re
from typing import Final

from msgspec import Struct

from interlock.auth.issuer.clients import Client
from interlock.auth.issuer.office import OFFLINE, OPENID, Code, Office, Wish
from interlock.auth.issuer.pages import consent, trouble
from interlock.auth.issuer.people import Person, Session, Wait
from interlock.auth.issuer.records import fingerprint, handle, same
from interlock.auth.issuer.redirects import fits
from interlock.auth.issuer.requests import Form, Request, parse
from interlock.auth.issuer.responses import Refused, Response, redirect
from interlock.transport.http.plain import Header

log: Final = logging.getLogger("interlock.issuer")

OPEN_WISHES: Final = 10_000
"""Pages that may be open before persons: anybody can have one made."""
STATE_LIMIT: Final = 4096
_CHALLENGE: Final = re.compile(r"[A-Za-z0-9\-_]{43}")
_BROWSER: Final = re.compile(r"[A-Za-z0-9\-_]{43}")
_STALE: Final = "This page is no longer good. Go back to the app and start again."


async def authorize(office: Office, request: Request) -> Response:
    """Show the person who the client is and what it wants."""
    try:
        form = parse(request.query)
        client, redirect_uri = await _whither(office, form)
    except Refused as refused:
        # Where the browser would be sent is not known to be the client's: it stays here.
        return trouble(refused.description)
    try:
        form.hold()
        browser = _browser(office, request)
        wish = _wish(office, form, client, redirect_uri, browser)
    except Refused as refused:
        return _back(office, redirect_uri, _state(form), refused)
    if await office.wishes.table.count() >= OPEN_WISHES:
        return trouble("Too many are asking at the moment. Try again in some minutes.", 503)
    return await _ask(office, request, client, wish, browser)


async def decide(office: Office, request: Request) -> Response:
    """Take what a person decided on the page that they were shown, once."""
    try:
        form = request.form()
        form.hold()
        _hold_origin(office, request)
        ticket = form.needed("ticket")
        choice = form.needed("choice")
    except Refused as refused:
        return trouble(refused.description)
    browser = office.people.browser(request)
    wish = await office.wishes.take(fingerprint("wish", ticket))
    if wish is None or browser is None or not same(wish.browser, fingerprint("browser", browser)):
        return trouble(_STALE)
    try:
        client = await office.clients.find(wish.client_id)
    except Refused as refused:
        return trouble(refused.description)
    if client is None or not _returns_to(client, wish.redirect_uri):
        return trouble(_STALE)
    if choice == "deny":
        refused = Refused("access_denied", "The person did not allow it")
        return _back(office, wish.redirect_uri, wish.state, refused)
    if choice == "leave":
        gone = await office.people.sign_out(request)
        return await _ask(office, request, client, wish, browser, signed_out=True, headers=[gone])
    if choice != "allow":
        return trouble(_STALE)
    return await _allow(office, request, form, client, wish, browser)


async def _allow(
    office: Office, request: Request, form: Form, client: Client, wish: Wish, browser: str
) -> Response:
    headers: list[Header] = []
    signed: tuple[Person, Session] | None = await office.people.signed_in(request)
    if signed is None:
        code = form.one("code")
        if code is None:
            why = _Complaint("Type the sign-in code first.", 401)
            return await _ask(office, request, client, wish, browser, complaint=why)
        try:
            found = await office.people.sign_in(code, request, browser)
        except Wait as wait:
            seconds = int(wait.seconds) + 1
            why = _Complaint(f"Too many codes were tried. Wait {seconds} seconds.", 429)
            return await _ask(office, request, client, wish, browser, complaint=why)
        if found is None:
            log.warning("a wrong sign-in code was typed, from %.60r", request.peer)
            why = _Complaint("That is not the sign-in code.", 401)
            return await _ask(office, request, client, wish, browser, complaint=why)
        person, session, cookie = found
        headers.append(cookie)
        log.info("%.100r signed in", person.subject)
    else:
        person, session = signed
    until = office.clock() + office.lifetimes.code
    code = Code(
        wish=wish, subject=person.subject, since=session.since, until=until, family=handle()[:22]
    )
    presented = handle()
    kept = office.lifetimes.code * 2
    await office.codes.put(fingerprint("code", presented), code, kept, 0)
    log.info("%.100r allowed client %.200r", person.subject, client.id)
    said = {"code": presented, "state": wish.state, "iss": office.url}
    return redirect(wish.redirect_uri, said, headers)


class _Complaint(Struct, frozen=True):
    text: str
    status: int


async def _ask(
    office: Office,
    request: Request,
    client: Client,
    wish: Wish,
    browser: str,
    *,
    complaint: _Complaint | None = None,
    signed_out: bool = False,
    headers: list[Header] | None = None,
) -> Response:
    """The page, good for one answer from this browser."""
    ticket = handle()
    await office.wishes.put(fingerprint("wish", ticket), wish, office.lifetimes.page)
    signed = None if signed_out else await office.people.signed_in(request)
    return consent(
        office,
        client,
        wish,
        ticket,
        person=signed[0] if signed is not None else None,
        complaint=complaint.text if complaint is not None else None,
        status=complaint.status if complaint is not None else 200,
        headers=[office.people.meet(browser), *(headers or [])],
    )


async def _whither(office: Office, form: Form) -> tuple[Client, str]:
    """Who asks, and where the browser may be sent back to."""
    redirect_uri = form.needed("redirect_uri")
    client = await office.clients.find(form.needed("client_id"))
    if client is None:
        raise Refused("invalid_request", "No client with that client_id is known here.")
    if not _returns_to(client, redirect_uri):
        raise Refused(
            "invalid_request", "The redirect_uri is not one that this client has registered."
        )
    return client, redirect_uri


def _returns_to(client: Client, redirect_uri: str) -> bool:
    return fits(redirect_uri, client.redirect_uris, native=client.native)


def _wish(office: Office, form: Form, client: Client, redirect_uri: str, browser: str) -> Wish:
    if form.one("request") is not None:
        raise Refused("request_not_supported", "Parameters are given as they are")
    if form.one("request_uri") is not None:
        raise Refused("request_uri_not_supported", "Parameters are given as they are")
    if form.needed("response_type") != "code":
        raise Refused("unsupported_response_type", "The response_type must be code")
    if form.one("response_mode") not in ("query", None):
        raise Refused("invalid_request", "The response_mode must be query")
    if "authorization_code" not in client.grants:
        raise Refused("unauthorized_client", "The client may not ask persons")
    challenge = form.needed("code_challenge")
    if form.one("code_challenge_method") != "S256" or not _CHALLENGE.fullmatch(challenge):
        # Without a method it would be plain (RFC 7636 § 4.3).
        raise Refused("invalid_request", "A code_challenge of the method S256 is needed")
    jkt = form.one("dpop_jkt")
    if jkt is not None and not _CHALLENGE.fullmatch(jkt):
        raise Refused("invalid_request", "dpop_jkt must be the thumbprint of a key")
    state, nonce = form.one("state"), form.one("nonce")
    if len(state or "") > STATE_LIMIT or len(nonce or "") > STATE_LIMIT:
        raise Refused("invalid_request", f"At most {STATE_LIMIT} characters are given back")
    if "none" in (form.one("prompt") or "").split():
        raise Refused("consent_required", "A person is always asked here")
    resource, scopes = _scopes(office, form, client)
    return Wish(
        client_id=client.id,
        redirect_uri=redirect_uri,
        state=state,
        resource=resource,
        scopes=scopes,
        challenge=challenge,
        nonce=nonce,
        jkt=jkt,
        browser=fingerprint("browser", browser),
    )


def _scopes(office: Office, form: Form, client: Client) -> tuple[str, tuple[str, ...]]:
    wanted = set((form.one("scope") or "").split())
    named = form.several("resource")
    special: set[str] = wanted & {OFFLINE}
    if office.downstream:
        special |= wanted & {OPENID}
    if OPENID in special and not named and office.only_resource() is None:
        # Only who the person is: for tokens at other servers (ID-JAG).
        return office.url, tuple(sorted(special))
    resource = office.target(named)
    asked = " ".join(sorted(wanted - special)) or None
    return resource.url, tuple(sorted({*office.granted(asked, resource, client.scopes), *special}))


def _back(office: Office, redirect_uri: str, state: str | None, refused: Refused) -> Response:
    """Tell the client that it gets nothing."""
    said = {
        "error": refused.error,
        "error_description": refused.description,
        "state": state,
        "iss": office.url,
    }
    return redirect(redirect_uri, said)


def _state(form: Form) -> str | None:
    try:
        state = form.one("state")
    except Refused:
        return None
    return state if len(state or "") <= STATE_LIMIT else None


def _browser(office: Office, request: Request) -> str:
    """What this browser is told by: what it was given before, or something new."""
    given = office.people.browser(request)
    return given if given is not None and _BROWSER.fullmatch(given) else handle()


def _hold_origin(office: Office, request: Request) -> None:
    """Raise `Refused` for a form that a page elsewhere sent; browsers say so, where they do."""
    origin = request.header("origin")
    # With no referrer an own page's origin is "null" as well; the ticket tells it from others.
    site = request.header("sec-fetch-site")
    if origin not in (office.origin, "null", None) or site not in ("same-origin", "none", None):
        raise Refused("invalid_request", "That form did not come from a page of this server.")
