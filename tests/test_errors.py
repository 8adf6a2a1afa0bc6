from __future__ import annotations

import re

import pytest

from interlock import errors
from interlock.errors import (
    HttpError,
    HttpRpcError,
    InterlockError,
    MissingCapability,
    PeerError,
    ResourceNotFound,
    RpcError,
    ServerExited,
)


def drawn() -> dict[str, str]:
    """The tree at the top of the room: each name and the one it hangs from."""
    parents: dict[str, str] = {}
    path: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"    ([ │├└─]*)([A-Z]\w+)(?:$|  )", line)
        if found is None:
            continue
        depth = len(found[1])
        path = [step for step in path if step[0] < depth]
        if path:
            parents[found[2]] = path[-1][1]
        path.append((depth, found[2]))
    return parents


def test_the_tree_is_drawn_as_it_grows():
    grown = {
        name: thing.__bases__[0].__name__
        for name, thing in vars(errors).items()
        if isinstance(thing, type) and thing is not InterlockError
        if issubclass(thing, InterlockError)
    }
    assert drawn() == grown


def test_an_rpc_error_says_its_code_and_carries_its_data():
    error = RpcError(5, "No", [1])
    assert str(error) == "No (error 5)"
    assert (error.code, error.message, error.data) == (5, "No", [1])


def test_a_missing_capability_is_named_in_the_shape_of_what_is_declared():
    error = MissingCapability({"sampling": {}, "roots": {}})
    assert "sampling, roots" in error.message
    assert error.data == {"requiredCapabilities": {"sampling": {}, "roots": {}}}


def test_a_missing_resource_is_named():
    assert ResourceNotFound("a:b").data == {"uri": "a:b"}


def test_an_http_error_is_the_peer_s_unless_it_came_with_an_answer():
    assert isinstance(HttpError("u", 502), PeerError)
    assert str(HttpError("u", 502, "bad")) == "u answered with HTTP 502: bad"
    answer = HttpRpcError(RpcError(5, "No", 1), 400)
    assert (answer.code, answer.data, answer.status) == (5, 1, 400)
    assert not isinstance(answer, PeerError)


@pytest.mark.parametrize(
    ("code", "stderr", "text"),
    [
        (None, (), "server 'x' closed its output; it wrote nothing to stderr"),
        (-9, (), "server 'x' was ended by signal 9; it wrote nothing to stderr"),
        (2, ("a", "b"), "server 'x' exited with code 2; its last lines on stderr:\n  a\n  b"),
    ],
)
def test_a_server_that_exited_says_how_and_what_it_said_last(
    code: int | None, stderr: tuple[str, ...], text: str
):
    assert str(ServerExited("x", code, stderr)) == text
