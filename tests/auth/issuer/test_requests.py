from __future__ import annotations

import pytest
from rich.pretty import pretty_repr
from tests.auth.issuer.box import ANNA, APP, SECRET, SIGN_IN

from interlock.auth.issuer.requests import FIELDS, Request, parse, read
from interlock.auth.issuer.responses import Refused, redirect


def test_a_parameter_without_a_value_is_as_good_as_not_there():
    form = parse("a=&b&c=1")
    assert (form.one("a"), form.one("b"), form.one("c"), form.one("d")) == (None, None, "1", None)
    with pytest.raises(Refused, match="missing"):
        form.needed("a")


def test_a_parameter_is_there_once_but_for_those_that_may_be_more_often():
    form = parse("resource=x&resource=y&resource=x&a=1")
    form.hold()
    assert form.several("resource") == ["x", "y"]
    for text in ("a=1&a=1", "a=1&a=", "a=&a="):
        with pytest.raises(Refused, match="more than once"):
            parse(text).hold()


@pytest.mark.parametrize(
    "data",
    [
        b"a=\xff",
        b"a=%ff",
        b"a=%00",
        b"a=%0a",
        b"a=%7f",
        b"a=" + b"x" * 30_000,
        b"x" * 200 + b"=1",
        b"&".join(b"a%d=1" % number for number in range(FIELDS + 1)),
    ],
)
def test_a_form_that_is_too_much_is_refused(data: bytes):
    with pytest.raises(Refused):
        parse(data)


def test_a_form_reads_what_browsers_write():
    form = parse("name=J%C3%BCrgen+M&x=a%26b%3Dc")
    assert form.one("name") == "Jürgen M"
    assert form.one("x") == "a&b=c"


def test_a_cookie_is_found_among_others_and_the_first_of_a_name_counts():
    request = Request("GET", "/", headers={"cookie": ("a=1; b=2;c=3; a=4", "d=x=y")})
    assert [request.cookie(name) for name in "abcde"] == ["1", "2", "3", "x=y", None]


def test_a_request_is_read_from_what_an_http_server_hands_over():
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/token",
        "query_string": b"a=1",
        "headers": [(b"Content-Type", b"text/plain; charset=x"), (b"a", b"1"), (b"a", b"2")],
        "client": None,
    }
    request = read(scope, b"x")
    assert (request.query, request.media_type, request.peer) == ("a=1", "text/plain", "")
    with pytest.raises(Refused, match="more than once"):
        request.header("a")


def test_nothing_that_is_shown_of_a_request_or_a_person_is_secret():
    request = Request("POST", "/token", SECRET, {"authorization": (SECRET,)}, SECRET.encode())
    response = redirect("https://a.example/", {"code": SECRET})
    kept = APP.with_secret(SECRET)
    for shown in (request, response, kept, ANNA, parse(f"a={SECRET}")):
        for text in (repr(shown), pretty_repr(shown)):
            assert SECRET not in text
            assert SIGN_IN not in text
            assert (kept.secret_hash or "-") not in text
