"""Which redirect ends a login, and how it is read."""

from __future__ import annotations

import pytest

from interlock.auth.redirect import LIMIT, PARAMETERS, read, refusal, state_of
from interlock.auth.steps import Visited


def test_parameters_are_decoded_as_a_form_is():
    found = read("code=a%2Fb+c&state=%C3%A9&empty=")
    assert found == Visited({"code": ("a/b c",), "state": ("é",), "empty": ("",)})


def test_a_repeated_parameter_keeps_all_its_values():
    assert read("code=1&state=s&code=2") == Visited({"code": ("1", "2"), "state": ("s",)})


def test_an_empty_query_is_no_parameters():
    assert read("") == Visited({})


@pytest.mark.parametrize(
    "query",
    [
        "code=" + "a" * LIMIT,
        "&".join(f"a{number}=1" for number in range(PARAMETERS + 1)),
        "code=%FF",
        "code=é",
        "code=\udcff",
    ],
)
def test_what_is_too_much_or_no_text_is_not_read(query: str):
    assert read(query) is None


@pytest.mark.parametrize(
    ("url", "state"),
    [
        ("https://a.example/authorize?x=1&state=abc", "abc"),
        ("https://a.example/authorize?state=a%2Fb", "a/b"),
        ("https://a.example/authorize", None),
        ("https://a.example/authorize?state=a&state=b", None),
        ("https://a.example/authorize?x=%FF&state=a", None),
    ],
)
def test_the_state_of_a_login_is_in_its_url(url: str, state: str | None):
    assert state_of(url) == state


@pytest.mark.parametrize(
    ("query", "state", "taken"),
    [
        ("code=1&state=s", "s", True),
        ("error=access_denied&state=s", "s", True),
        ("code=1", None, True),
        ("code=1&state=other", None, True),
        ("code=1&state=other", "s", False),
        ("code=1&state=", "s", False),
        ("code=1", "s", False),
        ("code=1&state=s&state=s", "s", False),
        ("code=1&state=s&state=other", "s", False),
        ("error=access_denied", "s", False),
        ("code=1&state=%C3%A9", "s", False),
        ("state=s", "s", False),
        ("", None, False),
        ("code=%FF&state=s", "s", False),
    ],
)
def test_only_what_this_login_waits_for_ends_it(query: str, state: str | None, taken: bool):
    assert (refusal(read(query), state) is None) is taken
