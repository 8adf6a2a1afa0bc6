"""Which heads are known again, and which are never taken for one that was read."""

from __future__ import annotations

import msgspec
import pytest

from interlock.transport.http.familiar import PAUSE, REMEMBERED, SHORT, STRANGERS, Familiar, Room
from interlock.transport.http.guards import Guards
from interlock.transport.http.heads import Asked, judge

LONGEST = 64 * 1024


def a_head(length: bytes = b"17", *, before: bytes = b"", behind: bytes = b"") -> bytes:
    lines = [b"POST /mcp HTTP/1.1", b"host: localhost", b"content-type: application/json"]
    return b"\r\n".join([*lines, before + b"x: y", b"Content-Length: " + length, behind + b"z: 1"])


def whole(head: bytes) -> bytes:
    return head + b"\r\n\r\n"


def asked(length: int | None = 17, **changes: object) -> Asked:
    found = judge(
        "POST",
        b"/mcp",
        [(b"host", b"localhost"), (b"content-type", b"application/json")],
        http11=True,
        secure=False,
        ours="/mcp",
        guards=Guards(),
    )
    return msgspec.structs.replace(found, length=length, **changes)


@pytest.fixture
def familiar() -> Familiar:
    familiar = Familiar(LONGEST, Room())
    familiar.learn(whole(a_head()), asked())
    return familiar


@pytest.mark.parametrize("length", [b"1", b"17", b"007", b"65536"])
def test_the_same_head_is_known_whatever_its_length(familiar: Familiar, length: bytes):
    head = whole(a_head(length))
    found = familiar.recall(b"rest" + head + b"{...}", 4)
    assert found is not None
    assert found == (asked(), 4 + len(head), int(length))


@pytest.mark.parametrize(
    "head",
    [
        whole(a_head(b"65537")),
        whole(a_head(b"100000")),
        whole(a_head(b"")),
        whole(a_head(b"-1")),
        whole(a_head(b"+1")),
        whole(a_head(b"1_0")),
        whole(a_head(b"0x1")),
        whole(a_head("\u0661".encode())),
        whole(a_head(b" 17")),
        whole(a_head(b"17 ")),
        whole(a_head(b"17", before=b"X")),
        whole(a_head(b"17", behind=b"Z")),
        whole(a_head(b"17\r\nContent-Length: 17")),
        whole(a_head(b"17\r\nTransfer-Encoding: chunked")),
        whole(a_head()).replace(b"POST", b"post"),
        whole(a_head())[:-1],
        a_head(),
        b"",
    ],
)
def test_a_head_that_differs_in_anything_else_is_not(familiar: Familiar, head: bytes):
    assert familiar.recall(head, 0) is None


@pytest.mark.parametrize(
    ("head", "found"),
    [
        (whole(a_head()), asked(head=None)),
        (whole(a_head()), asked(length=None)),
        (whole(a_head()), asked(length=0)),
        (whole(a_head()), asked(length=LONGEST + 1)),
        (whole(a_head()), asked(expects=True)),
        (whole(a_head()), asked(http11=False)),
        (whole(a_head(before=b"a" * SHORT)), asked()),
        (whole(b"POST /mcp HTTP/1.1\r\nhost: localhost"), asked()),
    ],
    ids=["not let in", "chunked", "no body", "long", "asks first", "1.0", "long head", "no length"],
)
def test_what_no_client_of_the_endpoint_says_again_is_not_remembered(head: bytes, found: Asked):
    familiar = Familiar(LONGEST, Room())
    familiar.learn(head, found)
    assert not familiar.heads


def test_the_one_that_was_not_used_for_longest_gives_way(familiar: Familiar):
    def known(number: int) -> bool:
        return familiar.recall(whole(a_head(before=b"%d" % number)), 0) is not None

    for number in range(REMEMBERED):
        assert familiar.recall(whole(a_head()), 0) is not None
        familiar.learn(whole(a_head(before=b"%d" % number)), asked())
    assert len(familiar.heads) == REMEMBERED
    assert familiar.recall(whole(a_head()), 0) is not None
    assert [known(number) for number in range(REMEMBERED)] == [False] + [True] * (REMEMBERED - 1)


def test_a_client_that_never_says_the_same_is_not_listened_to_for_a_while():
    familiar = Familiar(LONGEST, Room())

    def said(number: int) -> bool:
        head = whole(a_head(before=b"%d" % number))
        known = familiar.recall(head, 0) is not None
        if not known:
            familiar.learn(head, asked())
        return known

    assert not any(said(number) for number in range(STRANGERS))
    assert len(familiar.heads) == REMEMBERED
    assert not said(STRANGERS)
    assert not familiar.heads
    assert not any(said(1) for _ in range(PAUSE - 1))
    assert all(said(1) for _ in range(10))


def test_connections_share_the_room_and_give_it_back():
    head = whole(a_head())
    room = Room(20 * len(head))
    one, other = Familiar(LONGEST, room), Familiar(LONGEST, room)
    one.learn(head, asked())
    other.learn(head, asked())
    one.learn(whole(a_head(b"18")).replace(b"POST", b"PUSH"), asked())
    assert len(one.heads) == 1  # In place of its own, not of the other's.
    assert len(other.heads) == 1
    third = Familiar(LONGEST, room)
    third.learn(head, asked())
    assert not third.heads
    one.forget()
    third.learn(head, asked())
    assert len(third.heads) == 1
    third.forget()
    other.forget()
    assert room.left == 20 * len(head)
