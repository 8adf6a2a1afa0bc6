"""What a head is found to ask for, from fields that a parser has split already."""

from __future__ import annotations

import pytest

from interlock.transport.http.guards import Guards, Head
from interlock.transport.http.heads import Asked, BadRequest, judge

HOST = (b"host", b"localhost")
Fields = list[tuple[bytes, bytes]]


def asked(
    target: bytes = b"/mcp",
    *fields: tuple[bytes, bytes],
    method: str = "POST",
    http11: bool = True,
    secure: bool = False,
    guards: Guards | None = None,
) -> Asked:
    return judge(
        method,
        target,
        list(fields) or [HOST],
        http11=http11,
        secure=secure,
        ours="/mcp",
        guards=guards or Guards(),
    )


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/mcp", "/mcp", b""),
        (b"/mcp?a=%20&b", "/mcp", b"a=%20&b"),
        (b"/mcp?", "/mcp", b""),
        (b"/a%2Fb%20c", "/a/b c", b""),
        (b"/%e2%9c%93", "/\u2713", b""),
        (b"/%ff", "/\ufffd", b""),
        (b"/a//b/../c", "/a//b/../c", b""),
        (b"http://localhost/mcp?x", "/mcp", b"x"),
        (b"HTTP://localhost:80", "/", b""),
        (b"http://localhost?x/y", "/", b"x/y"),
    ],
)
def test_the_path_and_the_query_of_a_target(target: bytes, path: str, query: bytes):
    found = asked(target)
    assert (found.path, found.query) == (path, query)


def test_what_a_target_says_of_the_host_counts_and_host_does_not():
    found = asked(b"http://other:1/mcp", (b"x", b"1"), HOST)
    assert found.headers == [(b"host", b"other:1"), (b"x", b"1")]
    assert found.head is None
    assert asked(b"http://localhost/mcp", (b"host", b"other")).head is not None


@pytest.mark.parametrize(
    ("status", "target", "fields"),
    [
        (400, b"/mcp", [HOST, HOST]),
        (400, b"/mcp", [(b"x", b"1")]),
        (400, b"/mcp", [(b"host", b"a b")]),
        (400, b"/mcp", [(b"host", b"a@b")]),
        (400, b"/mcp", [(b"host", b"a:b:c")]),
        (400, b"/mcp#x", [HOST]),
        (400, b"/mcp?x#y", [HOST]),
        (400, b"*", [HOST]),
        (400, b"mcp", [HOST]),
        (400, b"ftp://localhost/", [HOST]),
        (400, b"http:///mcp", [HOST]),
        (400, b"http://a@localhost/mcp", [HOST]),
        (421, b"https://localhost/mcp", [HOST]),
        (400, b"/mcp", [HOST, (b"transfer-encoding", b"gzip")]),
        (501, b"/mcp", [HOST, (b"transfer-encoding", b"gzip"), (b"transfer-encoding", b"chunked")]),
        (417, b"/mcp", [HOST, (b"expect", b"more")]),
    ],
)
def test_what_is_refused(status: int, target: bytes, fields: Fields):
    with pytest.raises(BadRequest) as caught:
        asked(target, *fields)
    assert caught.value.status == status


def test_connect_is_refused_whatever_it_names():
    for target in (b"localhost:1", b"/mcp"):
        with pytest.raises(BadRequest) as caught:
            asked(target, method="CONNECT")
        assert caught.value.status == 501


def test_https_is_answered_where_there_is_tls():
    assert asked(b"https://localhost/mcp", secure=True).path == "/mcp"


def test_http_1_0_needs_no_host_but_has_no_codings_and_nothing_to_wait_for():
    assert asked(b"/mcp", (b"x", b"1"), http11=False).path == "/mcp"
    assert not asked(b"/mcp", HOST, (b"expect", b"100-continue"), http11=False).expects
    assert asked(b"/mcp", HOST, (b"expect", b"100-Continue")).expects
    with pytest.raises(BadRequest, match=r"HTTP/1\.0"):
        asked(b"/mcp", HOST, (b"transfer-encoding", b"chunked"), http11=False)


def test_how_long_a_body_is():
    assert asked().length == 0
    assert asked(b"/mcp", HOST, (b"content-length", b"007")).length == 7
    assert asked(b"/mcp", HOST, (b"transfer-encoding", b"CHUNKED")).length is None


@pytest.mark.parametrize(
    ("found", "ours"),
    [
        (asked(), True),
        (asked(b"/mcp/"), True),
        (asked(b"/%6Dcp"), True),
        (asked(b"/mcp/x"), False),
        (asked(b"/MCP"), False),
        (asked(method="GET"), False),
        (asked(b"/mcp", (b"host", b"evil.example")), False),
        (asked(b"/mcp", HOST, (b"origin", b"https://evil.example")), False),
        (asked(b"/mcp", HOST, (b"content-length", b"9" * 17)), False),
    ],
)
def test_a_head_is_there_for_posts_to_the_endpoint_that_the_guards_let_through(
    found: Asked, ours: bool
):
    assert isinstance(found.head, Head) == ours


def test_the_same_said_in_asgi():
    found = asked(b"/a%20b?c", HOST, method="GET", http11=False)
    scope = found.scope(True, ("::1", 5, 0, 0), "/run/socket")
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == ("/a b", b"/a%20b", b"c")
    assert (scope["scheme"], scope["http_version"], scope["method"]) == ("https", "1.0", "GET")
    assert (scope["client"], scope["server"]) == (("::1", 5), None)
    assert scope["headers"] == [HOST]
