"""Names at the door: what hosts accept, nothing colliding, nothing renamed by a neighbour."""

from __future__ import annotations

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.gateway.names import LIMIT, prefix, public_name, public_uri, scheme, split_uri

ACCEPTED = re.compile(r"[A-Za-z0-9_-]{1,64}")
SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")

servers = st.text(min_size=1, max_size=40)
plain = st.text(alphabet=string.ascii_letters + string.digits + "_-", min_size=1, max_size=40)
tools = st.text(min_size=1, max_size=130)


def test_a_plain_name_is_the_server_and_the_tool() -> None:
    assert public_name("git", "git_log") == "git__git_log"
    assert public_name("my-notes", "add") == "my-notes__add"
    assert public_uri("git", "file:///a") == "git+file:///a"


def test_a_public_uri_leads_back_to_the_server_s_own() -> None:
    assert split_uri("GIT+file:///a+b") == ("git", "file:///a+b")
    assert split_uri("file:///a") is None


def test_the_page_of_an_app_keeps_its_scheme() -> None:
    """Hosts know it by `ui://` (MCP Apps), so the server is named behind it."""
    assert public_uri("my_shop", "ui://cart/a+b") == "ui://my.shop+cart/a+b"
    assert split_uri("ui://my.shop+cart/a+b") == ("my.shop", "ui://cart/a+b")
    assert split_uri("ui://cart") is None


@pytest.mark.parametrize("name", ["a.b", "a/b", "ü", "a b", "x" * 64])
def test_a_name_that_some_host_refuses_is_cut_and_hashed(name: str) -> None:
    public = public_name("git", name)
    assert ACCEPTED.fullmatch(public)
    assert public.startswith("git__")
    assert re.search(r"_[0-9a-f]{6}$", public)


@given(servers, tools)
def test_every_host_accepts_every_name(server: str, tool: str) -> None:
    public = public_name(server, tool)
    assert ACCEPTED.fullmatch(public)
    assert len(public) <= LIMIT


@given(servers)
def test_a_scheme_is_one_by_rfc_3986(server: str) -> None:
    assert SCHEME.fullmatch(scheme(server))
    assert "+" not in scheme(server)


@given(st.lists(st.tuples(plain, plain), unique=True, min_size=2, max_size=8))
def test_two_servers_never_make_the_same_name(pairs: list[tuple[str, str]]) -> None:
    """Ours: `a` with `b__c` and `a__b` with `c` stay apart, whatever they are called."""
    names = [public_name(server, tool) for server, tool in pairs]
    assert len(set(names)) == len(names)


@given(plain, tools)
def test_the_first_separator_of_a_name_ends_its_server(server: str, tool: str) -> None:
    head, separator, _ = public_name(server, tool).partition("__")
    assert separator
    assert head == prefix(server)


@given(tools, tools)
def test_long_names_that_differ_anywhere_differ_at_the_door(one: str, other: str) -> None:
    assert (public_name("s", one) == public_name("s", other)) == (one == other)
