from __future__ import annotations

import pytest

from interlock.transport.http.guards import Guards, Head, Rejection

HOST = ("host", "127.0.0.1:4777")


def judge(guards: Guards, *headers: tuple[str, str]) -> int | Head:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    head = guards.inspect(raw)
    return head.status if type(head) is Rejection else head


def head(*headers: tuple[str, str]) -> Head:
    found = judge(Guards(), HOST, *headers)
    assert isinstance(found, Head), found
    return found


@pytest.mark.parametrize(
    ("host", "passes"),
    [
        ("127.0.0.1", True),
        ("127.0.0.1:4777", True),
        ("localhost", True),
        ("LocalHost:80", True),
        ("[::1]", True),
        ("[::1]:8000", True),
        ("evil.example.com", False),
        ("localhost.evil.example.com", False),
        ("evil.example.com:127.0.0.1", False),
        ("127.0.0.1@evil.example.com", False),
        ("127.0.0.1:4777:80", False),
        ("127.0.0.1/", False),
        ("127.0.0.1 evil", False),
        ("::1", False),
        ("0.0.0.0", False),
        ("", False),
    ],
)
def test_only_the_names_of_this_machine_are_hosts_unless_told_otherwise(host: str, passes: bool):
    guards = Guards()
    for _ in range(2):  # what was found good is remembered, what was not is not
        found = judge(guards, ("host", host))
        assert isinstance(found, Head) if passes else found == 403


def test_a_request_without_a_host_or_with_two_is_refused():
    assert judge(Guards()) == 403
    assert judge(Guards(), HOST, HOST) == 400


def test_a_named_host_is_allowed_and_a_star_allows_any():
    named = Guards(hosts=("mcp.example.com",))
    assert isinstance(judge(named, ("host", "MCP.example.com:443")), Head)
    assert judge(named, ("host", "localhost")) == 403
    assert isinstance(judge(Guards(hosts=("*",)), ("host", "anything")), Head)


def test_hosts_that_are_remembered_are_bounded():
    guards = Guards()
    for port in range(200):
        assert isinstance(judge(guards, ("host", f"localhost:{port}")), Head)
    assert len(guards._good_hosts) <= 64  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize(
    ("origin", "passes"),
    [
        ("http://localhost", True),
        ("http://localhost:6274", True),
        ("https://127.0.0.1:1", True),
        ("http://[::1]:5", True),
        ("HTTP://LOCALHOST", True),
        ("https://app.example.com", True),
        ("https://app.example.com:444", False),
        ("http://app.example.com", False),
        ("https://evil.example.com", False),
        ("http://localhost.evil.example.com", False),
        ("http://localhost@evil.example.com", False),
        ("http://localhost/path", False),
        ("file://localhost", False),
        ("null", False),
        ("localhost", False),
        ("", False),
    ],
)
def test_an_origin_is_this_machine_s_or_was_named(origin: str, passes: bool):
    found = judge(Guards(origins=("https://App.example.com",)), HOST, ("origin", origin))
    if passes:
        assert isinstance(found, Head)
        assert found.origin == origin
    else:
        assert found == 403


def test_loopback_origins_count_only_where_loopback_is_a_host():
    guards = Guards(hosts=("mcp.example.com",))
    host = ("host", "mcp.example.com")
    assert judge(guards, host, ("origin", "http://localhost")) == 403
    assert isinstance(judge(Guards(origins=("*",)), HOST, ("origin", "https://x.example")), Head)


@pytest.mark.parametrize(
    ("length", "verdict"),
    [("0", None), ("100", None), ("101", 413), ("9" * 18, 413), ("9" * 19, 400)]
    + [(text, 400) for text in ("-1", "1.5", "", "0x10", "1e3", "1,2")],
)
def test_a_body_that_says_it_is_too_long_is_refused_before_it_is_read(
    length: str, verdict: int | None
):
    found = judge(Guards(body_limit=100), HOST, ("content-length", length))
    assert (None if isinstance(found, Head) else found) == verdict


@pytest.mark.parametrize(
    ("kind", "is_json"),
    [
        ("application/json", True),
        ("Application/JSON", True),
        ("application/json; charset=utf-8", True),
        (" application/json ;x=y", True),
        ("application/jsonp", False),
        ("application/json-rpc", False),
        ("text/plain", False),
        ("", False),
    ],
)
def test_a_body_is_json_if_its_type_says_so(kind: str, is_json: bool):
    assert head(("content-type", kind)).json_body == is_json
    assert not head().json_body


def test_a_compressed_body_is_not_json_as_it_stands():
    kind = ("content-type", "application/json")
    assert not head(kind, ("content-encoding", "gzip")).json_body
    assert not head(("content-encoding", "br"), kind).json_body
    assert head(kind, ("content-encoding", "identity")).json_body


@pytest.mark.parametrize(
    ("accept", "takes"),
    [
        (("application/json, text/event-stream",), (True, True)),
        (("text/event-stream;q=0.5,application/json",), (True, True)),
        (("application/json", "text/event-stream"), (True, True)),
        (("*/*",), (True, True)),
        (("application/*",), (True, False)),
        (("text/*",), (False, True)),
        (("application/json",), (True, False)),
        (("TEXT/Event-Stream",), (False, True)),
        (("text/html",), (False, False)),
        (("",), (False, False)),
        ((), (True, True)),
    ],
)
def test_what_a_client_takes_is_what_its_accept_headers_allow(
    accept: tuple[str, ...], takes: tuple[bool, bool]
):
    found = head(*(("accept", value) for value in accept))
    assert (found.takes_json, found.takes_stream) == takes


def test_the_mirrored_headers_are_read_and_trimmed():
    found = head(
        ("mcp-protocol-version", " 2026-07-28 "),
        ("mcp-method", "\ttools/call"),
        ("mcp-name", "=?base64?w7xtbGF1dA==?="),
        ("mcp-session-id", "abc"),
        ("mcp-param-region", "ignored"),
    )
    mirror = found.mirror
    assert (mirror.version, mirror.method, mirror.name) == ("2026-07-28", "tools/call", "ümlaut")
    assert (mirror.fault, found.session) == (None, "abc")


@pytest.mark.parametrize("name", ["=?base64?!!!?=", "=?base64?w7xtbGF1dA?=", "caf\xe9"])
def test_a_name_that_cannot_be_decoded_is_for_the_ladder_to_answer(name: str):
    fault = head(("mcp-name", name)).mirror.fault
    assert fault is not None
    assert fault.startswith("Mcp-Name: ")


@pytest.mark.parametrize(
    "name", ["mcp-protocol-version", "mcp-method", "mcp-name", "mcp-session-id", "last-event-id"]
)
def test_what_is_said_twice_is_refused(name: str):
    assert judge(Guards(), HOST, (name, "a"), (name, "a")) == 400


def test_the_place_that_a_client_comes_back_to_is_read():
    assert head(("last-event-id", "abc-1-2")).last_event == "abc-1-2"
    assert head(("last-event-id", "")).last_event == ""
    assert head().last_event is None
