"""`WWW-Authenticate`, as it is written and as it is met."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.spec.marking import requirement

from interlock.auth.challenge import CHALLENGES, LIMIT, Challenge, parse, written

WORD = st.text(string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~", min_size=1, max_size=12)
VALUE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=40)
PARAMETERS = st.dictionaries(WORD, VALUE, max_size=5)
METADATA = "https://a.example/.well-known/oauth-protected-resource"


@given(WORD, PARAMETERS)
def test_what_is_written_is_read(scheme: str, parameters: dict[str, str]):
    expected: dict[str, str] = {}
    for name, value in parameters.items():
        expected.setdefault(name.lower(), value)
    found = parse([written(scheme, parameters)])
    assert found == [Challenge(scheme.lower(), expected)]


@requirement("CD-01")
@given(st.lists(st.tuples(WORD, PARAMETERS), max_size=4))
def test_several_may_stand_in_one_header(challenges: list[tuple[str, dict[str, str]]]):
    together = ", ".join(written(scheme, parameters) for scheme, parameters in challenges)
    apart = [written(scheme, parameters) for scheme, parameters in challenges]
    assert parse([together]) == parse(apart)
    assert len(parse(apart)) == len(challenges)


@given(st.lists(st.text()))
def test_no_text_is_too_strange_to_be_read(values: list[str]):
    parse(values)


@given(st.text(alphabet='aB ,="\\\t\udcff\n=~', max_size=60))
def test_no_order_of_what_separates_is_too_strange(value: str):
    parse([value])


HEADER = (
    'Negotiate, Basic realm="a, \\"b\\"", Bearer error="invalid_token" , '
    f'resource_metadata="{METADATA}",scope=files:read, DPoP algs="ES256 EdDSA"'
)


@pytest.mark.parametrize("place", range(len(HEADER)))
def test_a_header_cut_anywhere_can_be_read(place: int):
    whole = {name: value for each in parse([HEADER]) for name, value in each.parameters.items()}
    for found in parse([HEADER[:place]]):
        for name, value in found.parameters.items():
            assert whole[name].startswith(value)


def test_schemes_and_parameters_are_told_apart():
    """RFC 9110 § 11.6.1: the commas between challenges are those between parameters."""
    assert parse([HEADER]) == [
        Challenge("negotiate", {}),
        Challenge("basic", {"realm": 'a, "b"'}),
        Challenge(
            "bearer",
            {"error": "invalid_token", "resource_metadata": METADATA, "scope": "files:read"},
        ),
        Challenge("dpop", {"algs": "ES256 EdDSA"}),
    ]


@requirement("CD-01")
@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", []),
        (",, ,", []),
        ("Bearer", [Challenge("bearer", {})]),
        ("BEARER Scope=a", [Challenge("bearer", {"scope": "a"})]),
        ('Bearer scope = "a b"', [Challenge("bearer", {"scope": "a b"})]),
        ('Bearer scope="a", scope="b"', [Challenge("bearer", {"scope": "a"})]),
        ('Bearer scope=""', [Challenge("bearer", {"scope": ""})]),
        ("Basic YWJj==, Bearer a=b", [Challenge("basic", {}), Challenge("bearer", {"a": "b"})]),
        ('scope="a"', []),
        ('Bearer scope="a', [Challenge("bearer", {})]),
        (
            f"Bearer resource_metadata={METADATA}",
            [Challenge("bearer", {"resource_metadata": METADATA})],
        ),
        (
            "Bearer scope=files:read, error=a",
            [Challenge("bearer", {"scope": "files:read", "error": "a"})],
        ),
    ],
)
def test_headers_as_they_are_met(header: str, expected: list[Challenge]):
    assert parse([header]) == expected


def test_what_cannot_be_read_gives_its_parameters_to_nobody():
    found = parse(['Bearer realm="open, resource_metadata=https://evil.example'])
    assert [dict(each.parameters) for each in found] == [{}]


def test_scopes_are_words():
    assert parse(['Bearer scope="a  b"'])[0].scopes == ("a", "b")
    assert parse(["Bearer"])[0].scopes == ()


def test_only_so_much_is_read():
    assert parse([f'Bearer a="{"x" * LIMIT}", b=c']) == [Challenge("bearer", {})]
    assert len(parse(["Bearer, " * 1000])) == CHALLENGES
    assert len(parse(["Bearer"] * 1000)) == CHALLENGES


def test_what_cannot_stand_in_a_header_is_written_as_something_else():
    value = written("Bearer", {"error_description": 'a"b\\c\r\nX: y\x00é', "scope": None})
    assert value == 'Bearer error_description="a\\"b\\\\c??X: y??"'
    assert written("Bearer", {"scope": None}) == "Bearer"
