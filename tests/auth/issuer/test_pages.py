from __future__ import annotations

import pytest
from tests.auth.issuer.box import BACK, FILES, WEB_BACK, Box, asked, body
from tests.spec.marking import requirement

from interlock.auth.issuer.clients import Client
from interlock.auth.issuer.settings import Resource


@requirement("SEC-01")
async def test_a_page_loads_nothing_runs_nothing_and_is_framed_by_nobody():
    page = await Box().browser.open(asked())
    policy = page.response.header("content-security-policy") or ""
    parts = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert parts["default-src"] == "'none'"
    assert parts["frame-ancestors"] == "'none'"
    assert parts["base-uri"] == "'none'"
    assert parts["style-src"].startswith("'sha256-")
    assert parts["form-action"] == "'self' http://127.0.0.1:8123"
    assert page.response.header("x-frame-options") == "DENY"
    assert page.response.header("referrer-policy") == "no-referrer"
    assert page.response.header("x-content-type-options") == "nosniff"
    assert page.response.header("cache-control") == "no-store"
    assert "<script" not in page.html
    assert " style=" not in page.html


async def test_a_page_of_trouble_has_nowhere_to_go():
    page = await Box().browser.open(asked(client_id="nobody"))
    policy = page.response.header("content-security-policy") or ""
    assert "form-action 'none'" in policy
    assert "<form" not in page.html


@requirement("AS-02", "SEC-01")
async def test_a_person_sees_who_asks_for_what_and_where_it_leads():
    page = await Box().browser.open(asked(client_id="web", redirect_uri=WEB_BACK))
    for seen in ("Web app", "app.example.com", FILES, "Read your files", "Change your files"):
        assert seen in page.html
    assert 'class="warn"' not in page.html


@requirement("AS-02")
async def test_an_unchecked_app_on_this_machine_comes_with_a_warning():
    box = Box()
    said = body(
        await box.register(
            client_name="Claims a lot", redirect_uris=[BACK], token_endpoint_auth_method="none"
        )
    )
    page = await box.browser.open(asked(client_id=said["client_id"]))
    assert "any program here could say that it is this app" in page.html
    assert "nobody has checked its name" in page.html


async def test_an_unchecked_app_elsewhere_comes_with_another():
    box = Box()
    said = body(await box.register(redirect_uris=[WEB_BACK]))
    page = await box.browser.open(asked(client_id=said["client_id"], redirect_uri=WEB_BACK))
    assert "Nobody has checked who this app is" in page.html


@pytest.mark.parametrize("evil", ['"><img src=x>', "</style><b>", "{ticket}", "&amp;<"])
async def test_what_others_wrote_is_escaped_wherever_it_stands(evil: str):
    resource = Resource(FILES, {"read": evil}, evil)
    client = Client(id="app", name=evil, redirect_uris=(BACK,))
    box = Box(resources=(resource,), clients=(client,))
    page = await box.browser.open(asked(scope="read"))
    if "<" in evil:
        assert evil not in page.html
    assert page.html.count(page.ticket) == 1
