"""The pages that a person sees: HTML and one style, without scripts; all that others wrote is
escaped.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from html import escape
from typing import Final
from urllib.parse import urlsplit

from interlock.auth.issuer.clients import Client, shown
from interlock.auth.issuer.office import OFFLINE, OPENID, Office, Wish
from interlock.auth.issuer.people import Person
from interlock.auth.issuer.redirects import host, is_loopback, source
from interlock.auth.issuer.responses import Response, page
from interlock.auth.issuer.settings import Resource, served
from interlock.auth.metadata import is_loopback as is_here
from interlock.transport.http.plain import Header

_STYLE: Final = """
:root { color-scheme: light dark; --page: #f3f4f6; --card: #ffffff; --text: #16191d;
  --faint: #5b6470; --line: #dfe3e8; --field: #f8f9fa; --accent: #2450c8; --on: #ffffff;
  --warn: #8a5300; --warn-page: #fff6e3; --warn-line: #f0d9a8; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --page: #101215; --card: #191c21; --text: #e9ecf0;
  --faint: #9aa4b1; --line: #2c323a; --field: #13161a; --accent: #8fadff; --on: #0d1530;
  --warn: #ffce7a; --warn-page: #2a2213; --warn-line: #54431d; --bad: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 1.5rem 1rem;
  background: var(--page); color: var(--text);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { width: 100%; max-width: 27rem; padding: 1.75rem; background: var(--card);
  border: 1px solid var(--line); border-radius: 14px; box-shadow: 0 8px 30px rgb(0 0 0 / 7%); }
.mark { display: flex; align-items: center; gap: .55rem; margin: 0 0 1.1rem; color: var(--faint);
  font-size: .875rem; }
.mark i { flex: none; width: 1.05rem; height: 1.05rem; border: 3px solid var(--accent); border-radius: 50%;
  box-shadow: .5rem 0 0 -3px var(--card), .5rem 0 0 0 var(--accent); margin-right: .5rem; }
h1 { margin: 0 0 .4rem; font-size: 1.35rem; line-height: 1.3; overflow-wrap: anywhere; }
p { margin: 0 0 1rem; }
.faint, dt, label { color: var(--faint); font-size: .875rem; }
dl { margin: 0 0 1.1rem; border: 1px solid var(--line); border-radius: 10px; }
dl div { padding: .55rem .85rem; }
dl div + div { border-top: 1px solid var(--line); }
dd { margin: 0; overflow-wrap: anywhere; }
ul { margin: 0; padding: 0; list-style: none; }
li + li { margin-top: .35rem; }
code { font: .8125rem/1.4 ui-monospace, "SF Mono", Menlo, Consolas, monospace;
  color: var(--faint); overflow-wrap: anywhere; }
.warn { padding: .7rem .85rem; border: 1px solid var(--warn-line); border-radius: 10px;
  background: var(--warn-page); color: var(--warn); font-size: .9rem; }
.bad { color: var(--bad); font-size: .9rem; margin: .4rem 0 0; }
label { display: block; margin-bottom: .3rem; }
input { width: 100%; padding: .65rem .8rem; border: 1px solid var(--line); border-radius: 10px;
  background: var(--field); color: inherit; letter-spacing: .06em;
  font: 1rem/1.4 ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
.field { margin-bottom: 1.1rem; }
.row { display: flex; gap: .65rem; flex-flow: row-reverse wrap; }
button { flex: 1 1 8rem; padding: .7rem 1rem; border: 1px solid var(--line); border-radius: 10px;
  background: none; color: inherit; font: inherit; font-weight: 600; cursor: pointer; }
button.yes { background: var(--accent); border-color: var(--accent); color: var(--on); }
button.plain { flex: none; padding: 0; border: 0; font-weight: 400; font-size: inherit;
  color: var(--accent); text-decoration: underline; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
"""
_STYLE_SOURCE: Final = (
    "'sha256-" + base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode() + "'"
)

_PLAIN: Final = {
    OFFLINE: "Keep this access until you take it back, also while you are away",
    OPENID: "Know who you are",
}


def consent(
    office: Office,
    client: Client,
    wish: Wish,
    ticket: str,
    *,
    person: Person | None,
    complaint: str | None,
    status: int,
    headers: Iterable[Header],
) -> Response:
    """Who asks for what, and the two answers; with a field for the code unless *person* is known."""
    name = shown(client.name) or shown(client.id)
    resource = served(office.resources, wish.resource) or Resource(wish.resource)
    html = _CONSENT.format(
        client=escape(name),
        server=escape(resource.name or _short(resource.url)),
        warning=_warning(client, wish),
        rows="".join(_rows(client, wish, resource)),
        action=escape(f"{office.path}/decide"),
        ticket=escape(ticket),
        who=_who(person, complaint),
    )
    return _page(
        f"Let {name} in?",
        html,
        issuer=office.url,
        status=status,
        goes_to=source(wish.redirect_uri),
        headers=headers,
    )


def trouble(why: str, status: int = 400, headers: Iterable[Header] = ()) -> Response:
    """Something went wrong, and the browser is sent nowhere."""
    html = f"<h1>That did not work</h1><p>{escape(why)}</p>"
    html += '<p class="faint">Nothing was allowed. You can close this page.</p>'
    return _page(
        "That did not work", html, issuer=None, status=status, goes_to=None, headers=headers
    )


_CONSENT: Final = """<h1>Let “{client}” in?</h1>
<p>It asks to use <b>{server}</b> for you.</p>
{warning}<dl>{rows}</dl>
<form method="post" action="{action}" autocomplete="off">
<input type="hidden" name="ticket" value="{ticket}">
{who}<div class="row">
<button class="yes" name="choice" value="allow">Allow</button>
<button name="choice" value="deny" formnovalidate>Deny</button>
</div>
</form>"""


def _page(
    title: str,
    body: str,
    *,
    issuer: str | None,
    status: int,
    goes_to: str | None,
    headers: Iterable[Header],
) -> Response:
    at = f" · {escape(_short(issuer))}" if issuer is not None else ""
    html = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body><main>"
        f'<p class="mark"><i aria-hidden="true"></i>Interlock sign-in{at}</p>\n'
        f"{body}\n</main></body></html>\n"
    )
    return page(html, style=_STYLE_SOURCE, status=status, goes_to=goes_to, headers=tuple(headers))


def _rows(client: Client, wish: Wish, resource: Resource) -> Iterable[str]:
    yield _row("The app", _app(client))
    yield _row("Sends you back to", f"<b>{escape(host(wish.redirect_uri))}</b>")
    yield _row("For the server", f"<code>{escape(resource.url)}</code>")
    scopes = "".join(f"<li>{_scope(scope, resource)}</li>" for scope in wish.scopes)
    yield _row("It will be able to", f"<ul>{scopes}</ul>" if scopes else "Use it, no more is said")


def _row(name: str, value: str) -> str:
    return f"<div><dt>{name}</dt><dd>{value}</dd></div>"


def _app(client: Client) -> str:
    if client.origin == "document":
        return f"Vouched for by <b>{escape(urlsplit(client.id).hostname or client.id)}</b>"
    if client.origin == "registered":
        return "Registered itself; nobody has checked its name"
    return f"Known to whoever runs this server, as <code>{escape(shown(client.id))}</code>"


def _scope(scope: str, resource: Resource) -> str:
    words = resource.scopes.get(scope) or _PLAIN.get(scope)
    name = f"<code>{escape(scope)}</code>"
    return f"{escape(words)}<br>{name}" if words else name


def _warning(client: Client, wish: Wish) -> str:
    """What a person must know who cannot tell one program on their machine from another."""
    here = is_loopback(wish.redirect_uri) or not _is_web(wish.redirect_uri)
    if here and client.origin != "known":
        why = (
            "The answer goes to a program on this computer, and any program here could say that "
            "it is this app. Go on only if you have just started it yourself."
        )
    elif client.origin == "registered":
        why = (
            "Nobody has checked who this app is. Go on only if you know the address that it sends "
            "you back to."
        )
    else:
        return ""
    return f'<p class="warn" role="note">{why}</p>\n'


def _is_web(uri: str) -> bool:
    return uri.startswith("https://") or is_here(uri)


def _who(person: Person | None, complaint: str | None) -> str:
    said = (
        f'<p class="bad" id="complaint" role="alert">{escape(complaint)}</p>' if complaint else ""
    )
    if person is not None:
        return (
            f'<p class="faint">Signed in as <b>{escape(person.name)}</b>. <button class="plain" '
            f'name="choice" value="leave">That is not me</button></p>{said}'
        )
    about = ' aria-describedby="complaint" aria-invalid="true"' if complaint else ""
    return (
        '<div class="field"><label for="code">Your sign-in code, from whoever runs this server'
        '</label><input id="code" name="code" type="password" required autofocus maxlength="200" '
        f'autocomplete="one-time-code" spellcheck="false"{about}>{said}</div>\n'
    )


def _short(url: str) -> str:
    parts = urlsplit(url)
    return parts.netloc + (parts.path if parts.path != "/" else "")
